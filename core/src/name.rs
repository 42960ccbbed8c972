use std::fmt;
use std::sync::Arc;

/// The name of a model: 1 to 128 of `A-Z a-z 0-9 . _ -`, not starting with a dot.
///
/// Such a name is safe as a file name, as a part of a URL and as the value of a metric's label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// Checks a name.
    pub fn new(name: &str) -> Result<Self, InvalidModelName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let right = (1..=128).contains(&name.len()) && !name.starts_with('.') && name.chars().all(allowed);
        if right { Ok(Self(name.into())) } else { Err(InvalidModelName(name.chars().take(128).collect())) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A text that cannot be a model's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be a model's name: expected 1 to 128 of A-Z a-z 0-9 . _ - and no leading dot")]
pub struct InvalidModelName(pub String);

/// One version of a model: the name of its folder, a whole number from 1 on.
pub type ModelVersion = u64;

/// One loaded or loadable thing: a name and a version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelId {
    /// The model's name.
    pub name: ModelName,
    /// The version under that name.
    pub version: ModelVersion,
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for wrong in ["", ".", "..", "../x", "a/b", "a b", "é", "a\0", &"x".repeat(129)] {
            assert!(ModelName::new(wrong).is_err(), "{wrong:?}");
        }
        assert!(ModelName::new("iris-2.1_b").is_ok());
    }
}
