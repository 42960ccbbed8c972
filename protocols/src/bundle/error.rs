use std::io;

use hedef_core::Kind;

/// Why bytes are no bundle, no manifest or no key, or are not to be trusted.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum BundleError {
    #[error("manifest.json: {0}")]
    Json(crate::Error),
    #[error("manifest.json: expected format 1, found {found}: it is for a later version of Hedef")]
    Format { found: String },
    #[error("{place}: `{what}` is missing")]
    Missing { place: String, what: &'static str },
    #[error("{place}: expected {expected}, found {found}")]
    Unexpected { place: String, expected: String, found: String },
    #[error("there is no public key to verify a bundle with")]
    NoKeys,
    #[error("the signature is by none of the {keys} public keys that are trusted, or not of this manifest")]
    WrongSignature { keys: usize },
    #[error("the bundle ends within {place}")]
    Truncated { place: String },
    #[error("the bundle was found to be wrong before")]
    GivenUp,
    #[error("reading {place} failed: {error}")]
    Read { place: String, error: io::Error },
    #[error("writing {place} failed: {error}")]
    Write { place: String, error: io::Error },
    #[error("the system gave no random numbers")]
    NoRandomness,
}

impl BundleError {
    /// Makes a [`BundleError::Unexpected`].
    pub(super) fn unexpected(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { place: place.into(), expected: expected.into(), found: found.into() }
    }

    /// The end of the bundle is [`BundleError::Truncated`], all else the fault of who reads.
    pub(super) fn read(place: impl Into<String>, error: io::Error) -> Self {
        let place = place.into();
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Truncated { place }
        } else {
            Self::Read { place, error }
        }
    }

    /// The kind of this failure.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Json(_)
            | Self::Missing { .. }
            | Self::Unexpected { .. }
            | Self::NoKeys
            | Self::WrongSignature { .. }
            | Self::Truncated { .. }
            | Self::GivenUp => Kind::InvalidArgument,
            Self::Format { .. } => Kind::Unsupported,
            Self::Read { .. } | Self::Write { .. } | Self::NoRandomness => Kind::Internal,
        }
    }
}
