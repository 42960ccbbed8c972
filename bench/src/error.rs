//! Why nothing could be measured.

use hedef_core::Kind;

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("address `{given}`: expected http://HOST:PORT, got {found}")]
    Address { given: String, found: String },
    #[error("{address}: {reason}")]
    Unreachable { address: String, reason: String },
    #[error("{request}: expected status 200, got {status}: {message}")]
    Refused { request: String, status: u16, message: String },
    #[error("{request}: expected {expected}, got {found}")]
    Answer { request: String, expected: &'static str, found: String },
    #[error("{place}: {reason}")]
    Inputs { place: String, reason: String },
    #[error("{file}: {error}")]
    File { file: String, error: std::io::Error },
    #[error("{0}")]
    Settings(String),
    #[error(transparent)]
    Protocol(#[from] hedef_protocols::Error),
    #[error(transparent)]
    Core(#[from] hedef_core::Error),
}

impl Error {
    /// The kind of this failure.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Address { .. } | Self::Inputs { .. } | Self::Settings(_) => Kind::InvalidArgument,
            Self::File { .. } => Kind::NotFound,
            Self::Unreachable { .. } => Kind::Unavailable,
            Self::Refused { status: 404, .. } => Kind::NotFound,
            Self::Refused { status: 400..500, .. } => Kind::InvalidArgument,
            Self::Refused { .. } | Self::Answer { .. } => Kind::Unavailable,
            Self::Protocol(error) => error.kind(),
            Self::Core(error) => error.kind(),
        }
    }
}
