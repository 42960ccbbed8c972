//! Why a request is not let in.

use std::time::Duration;

use hedef_core::Kind;
use http::StatusCode;

use super::permission::Permission;
use crate::error::Code;

/// Why a request is not let in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("a key or token is needed: send `Authorization: Bearer ...`, or a key as `x-api-key` or `api-key`")]
    Missing,
    #[error("the key is not known")]
    UnknownKey,
    #[error("the token is not right: {0}")]
    WrongToken(&'static str),
    #[error("`{guest}` has no permission for this: expected `{permission}`")]
    NotAllowed { guest: String, permission: Permission },
    #[error("`{guest}` has no permission for model `{model}`")]
    ModelNotAllowed { guest: String, model: String },
    #[error("`{guest}` sends more requests than it may: the next is due in {} ms", .wait.as_millis().max(1))]
    TooMany { guest: String, wait: Duration },
}

impl Refusal {
    /// The kind of failure.
    pub(crate) const fn kind(&self) -> Kind {
        match self {
            Self::TooMany { .. } => Kind::ResourceExhausted,
            _ => Kind::InvalidArgument,
        }
    }

    /// The HTTP status.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Missing | Self::UnknownKey | Self::WrongToken(_) => StatusCode::UNAUTHORIZED,
            Self::NotAllowed { .. } | Self::ModelNotAllowed { .. } => StatusCode::FORBIDDEN,
            Self::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The gRPC code.
    pub(crate) const fn code(&self) -> Code {
        match self {
            Self::Missing | Self::UnknownKey | Self::WrongToken(_) => Code::Unauthenticated,
            Self::NotAllowed { .. } | Self::ModelNotAllowed { .. } => Code::PermissionDenied,
            Self::TooMany { .. } => Code::ResourceExhausted,
        }
    }

    /// The header `WWW-Authenticate`. Source: RFC 6750, section 3.
    pub(crate) const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Missing => Some(r#"Bearer realm="hedef""#),
            Self::UnknownKey | Self::WrongToken(_) => Some(r#"Bearer realm="hedef", error="invalid_token""#),
            Self::NotAllowed { .. } => Some(r#"Bearer realm="hedef", error="insufficient_scope""#),
            Self::ModelNotAllowed { .. } | Self::TooMany { .. } => None,
        }
    }

    /// How long to wait before asking again.
    pub(crate) const fn wait(&self) -> Option<Duration> {
        match self {
            Self::TooMany { wait, .. } => Some(*wait),
            _ => None,
        }
    }

    /// The reason, for metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::UnknownKey => "unknown_key",
            Self::WrongToken(_) => "wrong_token",
            Self::NotAllowed { .. } => "permission",
            Self::ModelNotAllowed { .. } => "model",
            Self::TooMany { .. } => "rate",
        }
    }
}
