use std::fmt;
use std::io::{self, Read};

use ring::digest::{Context, SHA256};

use super::BundleError;

/// A SHA-256; as text, 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The hash of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(bytes);
        hasher.finish()
    }

    /// Reads 64 hexadecimal digits, in capitals or not.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect::<Option<Vec<_>>>();
        let bytes = bytes.filter(|_| rest.is_empty()).and_then(|bytes| bytes.try_into().ok());
        bytes.map(Self).ok_or_else(|| {
            let found: String = text.escape_debug().take(80).collect();
            BundleError::unexpected("a SHA-256", "64 hexadecimal digits", format!("`{found}`"))
        })
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hashes what comes piece by piece.
#[derive(Clone)]
pub struct Hasher(Context);

impl Hasher {
    /// Reads all there is, and returns how many bytes it was and their hash.
    pub fn drain(mut reader: impl Read) -> io::Result<(u64, Sha256)> {
        let (mut hasher, mut size, mut chunk) = (Self::default(), 0, vec![0; 64 << 10]);
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok((size, hasher.finish())),
                Ok(length) => {
                    hasher.update(chunk.get(..length).unwrap_or_default());
                    size += length as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all that was taken.
    #[must_use]
    pub fn finish(self) -> Sha256 {
        let digest = self.0.finish();
        let mut hash = Sha256([0; 32]);
        // Both are of 32 bytes.
        hash.0.iter_mut().zip(digest.as_ref()).for_each(|(to, from)| *to = *from);
        hash
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self(Context::new(&SHA256))
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hasher")
    }
}
