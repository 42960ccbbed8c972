//! Which model a path names.

use std::borrow::Cow;

use axum::extract::{FromRequestParts, RawPathParams};
use http::request::Parts;

use crate::call::Call;
use crate::error::ApiError;

/// The `{model}` and the `{version}` of a path, of a model that the request may use. Without a version, the repository
/// picks one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'p> {
    pub(crate) model: Cow<'p, str>,
    pub(crate) version: Option<Cow<'p, str>>,
}

impl Target<'_> {
    /// The same beyond the request that names it.
    pub(crate) fn into_owned(self) -> Target<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Target { model: owned(self.model), version: self.version.map(owned) }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target<'static> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let target = Self::of_path(parts, state).await?;
        Call::of(&parts.extensions)?.check_model(&target.model)?;
        Ok(target)
    }
}

impl Target<'static> {
    async fn of_path<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let no_route = |parts: &Parts| ApiError::NoRoute(parts.uri.path().into());
        let params = RawPathParams::from_request_parts(parts, state).await.map_err(|_| no_route(parts))?;
        let find = |name| params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned().into());
        let model = find("model").ok_or_else(|| no_route(parts))?;
        Ok(Self { model, version: find("version") })
    }
}

/// The target of `…:predict`, the verb at the end of the last segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Predict(pub(crate) Target<'static>);

impl<S: Send + Sync> FromRequestParts<S> for Predict {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let mut target = Target::of_path(parts, state).await?;
        let last = target.version.as_mut().unwrap_or(&mut target.model);
        let no_verb = || ApiError::NoVerb(parts.uri.path().into());
        let (name, verb) = last.rsplit_once(':').ok_or_else(no_verb)?;
        match verb {
            "predict" => {
                *last = name.to_owned().into();
                Call::of(&parts.extensions)?.check_model(&target.model)?;
                Ok(Self(target))
            }
            "classify" | "regress" | "explain" => Err(ApiError::Verb(verb.into())),
            _ => Err(no_verb()),
        }
    }
}
