//! What every handler shares, and the two steps that every scoring handler takes in the same way.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use hedef_core::repository::{IndexEntry, Repository};
use hedef_core::{Error, Model, ModelVersion, Request, Response};
use hedef_protocols::v2;
use http::HeaderMap;
use tokio::time::timeout_at;

use crate::access::Access;
use crate::call::Call;
use crate::config::Config;
use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::limit::{binary_body_limit, body_limit};
use crate::listen::young::Soon;
use crate::metrics::Metrics;
use crate::middleware::Flood;
use crate::payload::{self, Limit, Received, Source};
use crate::room::Budget;
use crate::target::Target;
use crate::traces::Traces;

/// Decoding more bytes than this takes longer than asking whether there is hope for the request.
const WORTH_ASKING: usize = 16 << 10;

/// The state behind the routes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// What the state is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) access: Access,
    pub(crate) repository: Arc<Repository>,
    pub(crate) metrics: Metrics,
    pub(crate) lifecycle: Lifecycle,
    /// Stands before the log lines of refusals.
    pub(crate) refusals: Flood,
    /// Stands before those of other failures.
    pub(crate) failures: Flood,
    /// What requests under way may hold.
    pub(crate) memory: Budget,
    /// Follows requests, where there is somebody to tell.
    pub(crate) traces: Option<Traces>,
}

impl App {
    /// Looks up the model of a scoring request and notes it for the log and the metrics.
    pub(crate) async fn model(&self, call: &Call, target: &Target<'_>) -> Result<Arc<Model>, ApiError> {
        call.checked()?;
        let model = self.loaded(call, target).await?;
        call.found(&model);
        Ok(model)
    }

    /// Fails where a body of so many bytes would be decoded for nothing, since there is no hope for its request.
    pub(crate) fn admits(&self, call: &Call, model: &Model, bytes: usize) -> Result<(), ApiError> {
        // Small ones are decoded before the question is answered.
        if bytes < WORTH_ASKING { Ok(()) } else { Ok(model.admits(Some(call.deadline()))?) }
    }

    /// Reads the body of a request to `model`, of which `json` bytes are JSON if the client says so.
    pub(crate) async fn body<'a>(
        &'a self,
        call: &Call,
        model: &Model,
        (headers, body): (&HeaderMap, &mut impl Source),
        json: Option<usize>,
    ) -> Result<Received<'a>, ApiError> {
        let (signature, limits) = (model.signature(), self.config.body_limits);
        let bytes = match json {
            Some(json) => binary_body_limit(signature, limits, json),
            None => body_limit(signature, limits),
        };
        // How long its sender waits may stand in the JSON, before tensors that nobody needs to read then.
        let look = |first: &[u8]| {
            let json = json.and_then(|json| first.get(..json)).filter(|json| json.len() <= WORTH_ASKING);
            let Some(timeout) = json.and_then(|json| v2::timeout_us(json, signature)) else { return Ok(()) };
            call.shorten(Duration::from_micros(timeout));
            self.admits(call, model, usize::MAX)
        };
        payload::check_type(headers)?;
        payload::read(self, call, headers, body, Limit { bytes, model: Some(model.id()) }, &look).await
    }

    /// Looks up a model, and waits for its load if it made room for others; the load goes on if the call's time is up.
    pub(crate) async fn loaded(&self, call: &Call, target: &Target<'_>) -> Result<Arc<Model>, ApiError> {
        call.check_model(&target.model)?;
        let version = target.version.as_deref();
        match self.repository.model(&target.model, version) {
            Err(Error::Evicted { .. }) => {
                // In a box, as it is seldom there and every request's future would hold its place.
                let awake = Box::pin(self.repository.awake(&target.model, version));
                let awake = Box::pin(timeout_at(call.deadline().into(), awake)).await;
                Ok(awake.map_err(|_| ApiError::Timeout(call.allowed().as_millis()))??)
            }
            found => Ok(found?),
        }
    }

    /// Fails where a model cannot score now.
    pub(crate) fn can_score(&self, target: &Target<'_>) -> Result<(), Error> {
        match self.repository.model(&target.model, target.version.as_deref()) {
            // It made room for others, and comes back when it is asked.
            Ok(_) | Err(Error::Evicted { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Scores `request` within the time that the call has, of which the request itself may ask for less:
    /// `timeout_us` microseconds from the head of the call on.
    pub(crate) async fn infer(
        &self,
        call: &Call,
        model: &Model,
        request: Request,
        timeout_us: Option<u64>,
    ) -> Result<Response, ApiError> {
        if let Some(limit) = timeout_us.filter(|limit| *limit > 0) {
            call.shorten(Duration::from_micros(limit));
        }
        let due = call.deadline();
        let request = call.decoded(request).with_deadline(Some(due));
        let response = match Soon::new(model.at_once(request)).await {
            Ok(answer) => answer?,
            Err(request) => {
                // In a box, as it takes its time anyway, and every request's future would hold its place.
                let mut queued = Box::pin(model.queued(request));
                let answer = call.in_time(queued.as_mut()).await;
                answer.ok_or_else(|| ApiError::Timeout(call.allowed().as_millis()))??
            }
        };
        call.ran(&response);
        Ok(response)
    }

    /// The names of all models that can score and that the request may use, each once.
    pub(crate) fn model_names(&self, call: &Call) -> Vec<String> {
        let models = self.repository.models();
        let names = models.iter().map(|model| model.id().name.as_str());
        let mut names: Vec<_> = names.filter(|name| call.may_use(name)).map(String::from).collect();
        names.dedup();
        names
    }

    /// What the index holds of a model, or of one version of it. Fails when that is nothing.
    pub(crate) fn entries(&self, target: &Target<'_>) -> Result<Vec<IndexEntry>, ApiError> {
        let version = target.version.as_deref();
        let fits = |number: ModelVersion| version.is_none_or(|version| version == number.to_string());
        let wanted =
            |entry: &IndexEntry| entry.name.as_str() == target.model && entry.version.map_or(version.is_none(), fits);
        let entries: Vec<_> = self.repository.index().into_iter().filter(wanted).collect();
        let known = if entries.is_empty() { self.repository.model(&target.model, version).err() } else { None };
        known.map_or(Ok(entries), |error| Err(error.into()))
    }

    /// The model behind `/score`: the one in the settings, else the only one that is known and that the request may use.
    pub(crate) fn score_model(&self, call: &Call) -> Result<Target<'static>, ApiError> {
        let setting = self.config.azure.score_model.as_ref();
        let known = self.repository.index().into_iter().map(|entry| entry.name);
        let mut known: Vec<_> = known.filter(|name| call.may_use(name.as_str())).collect();
        known.dedup();
        let only = if known.len() == 1 { known.first() } else { None };
        let model = setting.or(only).map(ToString::to_string).ok_or_else(|| {
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            ApiError::NoScoreModel(known.join(", "))
        })?;
        Ok(Target { model: model.into(), version: None })
    }

    /// Where a model runs now, if it is loaded.
    pub(crate) fn device_of(&self, model: &str) -> Option<String> {
        self.repository.model(model, None).ok().map(|model| model.status().device.clone())
    }

    /// Whether this server can score: its models are there and no stop has begun.
    pub(crate) fn is_ready(&self) -> bool {
        !self.lifecycle.is_stopping() && self.repository.is_ready()
    }
}

impl From<Parts> for App {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
