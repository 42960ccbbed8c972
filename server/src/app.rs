//! What every handler shares, and the two steps that every scoring handler takes in the same way.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use hedef_core::repository::{IndexEntry, Repository};
use hedef_core::{Model, ModelVersion, Request, Response};

use crate::call::Call;
use crate::config::Config;
use crate::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::limit::{binary_body_limit, body_limit};
use crate::metrics::Metrics;
use crate::payload::{self, Limit};
use crate::target::Target;

/// The state behind the routes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Parts>);

/// What the state is made of.
pub(crate) struct Parts {
    pub(crate) config: Config,
    pub(crate) repository: Arc<Repository>,
    pub(crate) metrics: Metrics,
    pub(crate) lifecycle: Lifecycle,
}

impl App {
    /// Looks up the model of a scoring request and notes it for the log and the metrics.
    pub(crate) fn model(&self, call: &Call, target: &Target) -> Result<Arc<Model>, ApiError> {
        let model = self.repository.model(&target.model, target.version.as_deref())?;
        call.found(model.id());
        Ok(model)
    }

    /// Reads the body of a request to `model`, of which `json` bytes are JSON if the client says so.
    pub(crate) fn body<'a>(
        &'a self,
        call: &'a Call,
        model: &'a Model,
        request: http::Request<Body>,
        json: Option<usize>,
    ) -> impl Future<Output = Result<Bytes, ApiError>> + Send + use<'a> {
        let (signature, limits) = (model.signature(), self.config.body_limits);
        let bytes = match json {
            Some(json) => binary_body_limit(signature, limits, json),
            None => body_limit(signature, limits),
        };
        payload::read(self, call, request, Limit { bytes, model: Some(model.id()) })
    }

    /// Scores `request` within the time that the call has, and at most `queue_us` microseconds of it waiting for
    /// its turn; 0 and `None` set no such limit.
    pub(crate) async fn infer(
        &self,
        call: &Call,
        model: &Model,
        request: Request,
        queue_us: Option<u64>,
    ) -> Result<Response, ApiError> {
        let due = call.deadline();
        let queue_limit = queue_us.filter(|limit| *limit > 0).map(Duration::from_micros);
        let begun = queue_limit.and_then(|limit| Instant::now().checked_add(limit)).map_or(due, |at| at.min(due));
        let answer = call.in_time(pin!(model.infer(request.with_deadline(Some(begun))))).await;
        Ok(answer.ok_or_else(|| ApiError::Timeout(call.allowed().as_millis()))??)
    }

    /// The names of all models that can score, each once.
    pub(crate) fn model_names(&self) -> Vec<String> {
        let models = self.repository.models();
        let names: BTreeSet<_> = models.iter().map(|model| model.id().name.as_str()).collect();
        names.into_iter().map(String::from).collect()
    }

    /// What the index holds of a model, or of one version of it. Fails when that is nothing.
    pub(crate) fn entries(&self, target: &Target) -> Result<Vec<IndexEntry>, ApiError> {
        let version = target.version.as_deref();
        let fits = |number: ModelVersion| version.is_none_or(|version| version == number.to_string());
        let wanted =
            |entry: &IndexEntry| entry.name.as_str() == target.model && entry.version.map_or(version.is_none(), fits);
        let entries: Vec<_> = self.repository.index().into_iter().filter(wanted).collect();
        let known = if entries.is_empty() { self.repository.model(&target.model, version).err() } else { None };
        known.map_or(Ok(entries), |error| Err(error.into()))
    }

    /// The model behind `/score`: the one in the settings, else the only one that is known.
    pub(crate) fn score_model(&self) -> Result<Target, ApiError> {
        let setting = self.config.azure.score_model.as_ref();
        let known: BTreeSet<_> = self.repository.index().into_iter().map(|entry| entry.name).collect();
        let only = if known.len() == 1 { known.first() } else { None };
        let model = setting.or(only).map(ToString::to_string).ok_or_else(|| {
            let known: Vec<_> = known.iter().map(|name| format!("`{name}`")).collect();
            ApiError::NoScoreModel(known.join(", "))
        })?;
        Ok(Target { model, version: None })
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
