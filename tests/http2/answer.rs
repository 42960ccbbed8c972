//! What comes of a request, and the rules for it.

use std::fmt::{self, Debug, Formatter};

/// What went wrong, in words.
pub(crate) type Result<T = ()> = std::result::Result<T, String>;

/// What came on a stream.
#[derive(Clone, Default)]
pub(crate) struct Answer {
    pub(crate) head: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
    pub(crate) ended: bool,
    pub(crate) reset: Option<u32>,
}

impl Answer {
    pub(crate) fn status(&self) -> &str {
        self.header(":status").unwrap_or("none")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The same, if it is right for its own length and has that status.
    pub(crate) fn expect(self, status: &str) -> Result<Self> {
        let length = self.header("content-length").and_then(|length| length.parse().ok());
        if self.status() != status || length.is_some_and(|length: usize| length != self.body.len()) {
            return Err(format!("expected {status} and {length:?} bytes, got {self:?}"));
        }
        Ok(self)
    }
}

impl Debug for Answer {
    fn fmt(&self, to: &mut Formatter<'_>) -> fmt::Result {
        let (ended, text) = (if self.ended { "whole" } else { "open" }, String::from_utf8_lossy(&self.body));
        write!(to, "{} {ended}, reset {:?}, {} bytes: {text:.200}", self.status(), self.reset, self.body.len())
    }
}

/// How something ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    Answered(Answer),
    /// The stream, for that reason.
    Reset(u32),
    /// The connection, for a reason if one was said.
    Gone(Option<u32>),
}

/// The rules for every head of an answer (RFC 9113, 8.2 and 8.3.2).
pub(super) fn checked(fields: &[(String, String)]) -> Result {
    let forbidden = ["connection", "transfer-encoding", "keep-alive", "upgrade", "proxy-connection"];
    let statuses = fields.iter().filter(|(name, _)| name == ":status").count();
    let pseudo = fields.iter().filter(|(name, _)| name.starts_with(':')).count();
    let first = fields.first().is_some_and(|(name, _)| name == ":status");
    let wrong = fields.iter().any(|(name, _)| {
        name.is_empty() || name.chars().any(|c| c.is_ascii_uppercase()) || forbidden.contains(&name.as_str())
    });
    let right = !wrong && pseudo == statuses && statuses <= 1 && (statuses == 0 || first);
    right.then_some(()).ok_or_else(|| format!("a wrong head: {fields:?}"))
}
