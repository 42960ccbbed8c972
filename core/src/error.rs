//! What can go wrong, and of which kind it is.

use std::time::Duration;

use crate::name::InvalidModelName;
use crate::{ModelId, ModelName};

/// The seven kinds of failure that every way into Hedef can tell its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The caller sent something wrong; sending it again cannot help.
    InvalidArgument,
    /// No such model, version or path.
    NotFound,
    /// Known, but not done here.
    Unsupported,
    /// A queue or a limit is full; later may work.
    ResourceExhausted,
    /// Not ready now; later may work.
    Unavailable,
    /// The time allowed ran out.
    DeadlineExceeded,
    /// A fault on this side.
    Internal,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::InvalidArgument,
        Self::NotFound,
        Self::Unsupported,
        Self::ResourceExhausted,
        Self::Unavailable,
        Self::DeadlineExceeded,
        Self::Internal,
    ];

    /// The kind as a metric's label, such as `invalid_argument`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::Unsupported => "unsupported",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Internal => "internal",
        }
    }
}

/// Why tensors are no request for a model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum InvalidRequest {
    #[error("input `{name}` is missing: expected {expected}")]
    MissingInput { name: String, expected: String },
    #[error("unknown input `{name}`: the model takes {expected}")]
    UnknownInput { name: String, expected: String },
    #[error("input `{name}` is given twice")]
    DuplicateInput { name: String },
    #[error("input `{name}`: expected {expected}, got {found}")]
    WrongInput { name: String, expected: String, found: String },
    #[error("input `{name}`: expected at most 65536 rows without elements, got {found}")]
    TooHollow { name: String, found: String },
    #[error("inputs differ in rows: `{first}` has {rows}, `{other}` has {found}")]
    UnequalRows { first: String, rows: usize, other: String, found: usize },
    #[error("unknown output `{name}`: the model gives {expected}")]
    UnknownOutput { name: String, expected: String },
    #[error("output `{name}` is asked for twice")]
    DuplicateOutput { name: String },
}

/// Why a model gave no answer, or cannot.
#[derive(Clone, Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error(transparent)]
    InvalidRequest(InvalidRequest),
    #[error(transparent)]
    InvalidName(#[from] InvalidModelName),
    #[error("no model is named `{name}`")]
    UnknownModel { name: String },
    #[error("model `{name}` has no version `{version}`: there is {available}")]
    UnknownVersion { name: ModelName, version: String, available: String },
    #[error("model `{model}` is not ready: {reason}")]
    NotReady { model: String, reason: String },
    #[error("model `{model}` was unloaded to stay within the memory budget; the next request loads it")]
    Evicted { model: ModelId },
    #[error("the queue of model `{model}` is full: {waiting} requests are waiting")]
    Overloaded { model: ModelId, waiting: usize, wait: Duration },
    #[error("model `{model}` is too busy to answer in time: the answer would take about {} ms", .wait.as_millis())]
    TooBusy { model: ModelId, wait: Duration },
    #[error("the time allowed for model `{model}` ran out while the request was waiting")]
    DeadlineExceeded { model: ModelId },
    #[error("model `{model}` is being unloaded")]
    Unloading { model: ModelId },
    #[error("model `{model}` refused these inputs: {reason}")]
    Rejected { model: String, reason: String },
    #[error("model `{model}` failed: {reason}")]
    Failed { model: String, reason: String },
    #[error("model `{model}` cannot be loaded: {reason}")]
    Load { model: String, reason: String },
    #[error("model `{model}` cannot be loaded: {reason}")]
    OverBudget { model: String, reason: String },
    #[error("{0}")]
    Unsupported(String),
    #[error("ONNX Runtime cannot be used: {0}")]
    Runtime(String),
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::InvalidRequest(_)
            | Self::InvalidName(_)
            | Self::Rejected { .. }
            | Self::Load { .. }
            | Self::OverBudget { .. } => Kind::InvalidArgument,
            Self::UnknownModel { .. } | Self::UnknownVersion { .. } => Kind::NotFound,
            Self::NotReady { .. } | Self::Evicted { .. } | Self::Unloading { .. } => Kind::Unavailable,
            Self::Overloaded { .. } | Self::TooBusy { .. } => Kind::ResourceExhausted,
            Self::DeadlineExceeded { .. } => Kind::DeadlineExceeded,
            Self::Unsupported(_) => Kind::Unsupported,
            Self::Failed { .. } | Self::Runtime(_) => Kind::Internal,
        }
    }

    /// How long to wait before asking again, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { wait, .. } | Self::TooBusy { wait, .. } => Some(*wait),
            _ => None,
        }
    }
}
