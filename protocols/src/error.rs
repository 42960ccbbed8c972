use hedef_core::{InvalidRequest, Kind};

/// Why bytes are no request, or why a response cannot be told in the encoding asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum Error {
    #[error("JSON: expected {expected} at byte {at}, found {found}")]
    Json { expected: &'static str, at: usize, found: String },
    #[error("JSON: the key `{key}` stands twice in one object, again at byte {at}")]
    DuplicateKey { key: String, at: usize },
    #[error("JSON: nested deeper than {limit} levels at byte {at}")]
    TooDeep { limit: usize, at: usize },
    #[error("JSON: not UTF-8 at byte {at}")]
    NotUtf8 { at: usize },
    #[error("the message is no protocol buffer of its type: {reason}")]
    Protobuf { reason: String },
    #[error("{place}: too many elements: at most {limit} more are allowed in a request of its size")]
    TooManyElements { place: String, limit: usize },
    #[error("the memory that requests under way may hold is taken: try again later")]
    NoRoom,
    #[error("{place}: `{what}` is missing")]
    Missing { place: String, what: &'static str },
    #[error("{place}: expected {expected}, found {found}")]
    Unexpected { place: String, expected: String, found: String },
    #[error("{place}: {reason}")]
    Unsupported { place: String, reason: String },
    #[error(
        "output `{output}`: element {index} is not UTF-8, so no JSON string can hold it: \
         ask for `binary_data`, or for base64 with the output's parameter `content_type`"
    )]
    NotText { output: String, index: usize },
    #[error("{problem}; the model takes {expected}, for example {example}")]
    Rows { problem: String, expected: String, example: String },
    #[error(transparent)]
    Request(#[from] InvalidRequest),
}

impl Error {
    /// Makes an [`Error::Unexpected`].
    pub(crate) fn unexpected(place: impl Into<String>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Unexpected { place: place.into(), expected: expected.into(), found: found.into() }
    }

    /// The kind of this failure.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Json { .. }
            | Self::DuplicateKey { .. }
            | Self::TooDeep { .. }
            | Self::NotUtf8 { .. }
            | Self::Protobuf { .. }
            | Self::TooManyElements { .. }
            | Self::Missing { .. }
            | Self::Unexpected { .. }
            | Self::NotText { .. }
            | Self::Rows { .. }
            | Self::Request(_) => Kind::InvalidArgument,
            Self::Unsupported { .. } => Kind::Unsupported,
            Self::NoRoom => Kind::ResourceExhausted,
        }
    }
}
