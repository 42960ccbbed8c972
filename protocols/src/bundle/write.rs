//! Writes a bundle.

use std::fmt;
use std::io::{Read, Write};

use super::read::signature_line;
use super::tar::{BLOCK, header, padding};
use super::{BundleError, File, Hasher, MANIFEST, Manifest, SIGNATURE, SecretKey, path};

/// Writes a bundle: [`BundleWriter::begin`], [`BundleWriter::file`] for each file of the manifest in its order, and
/// [`BundleWriter::finish`]. The same input makes the same bytes.
pub struct BundleWriter<W> {
    out: W,
    files: std::vec::IntoIter<File>,
}

impl<W: Write> BundleWriter<W> {
    /// Signs and writes the manifest. Fails where it is not right.
    pub fn begin(mut out: W, manifest: &Manifest, key: &SecretKey) -> Result<Self, BundleError> {
        let bytes = manifest.to_bytes();
        let manifest = Manifest::parse(&bytes)?;
        let signature = signature_line(&key.sign(&bytes));
        for (name, bytes) in [(MANIFEST, &bytes[..]), (SIGNATURE, signature.as_bytes())] {
            let failed = |error| BundleError::Write { place: name.into(), error };
            let size = bytes.len() as u64;
            out.write_all(&header(name, size)).map_err(failed)?;
            out.write_all(bytes).map_err(failed)?;
            pad(&mut out, size).map_err(failed)?;
        }
        Ok(Self { out, files: manifest.files.into_iter() })
    }

    /// Writes the next file. Fails where its content is not what the manifest says.
    pub fn file(&mut self, mut content: impl Read) -> Result<(), BundleError> {
        let Some(file) = self.files.next() else {
            return Err(BundleError::unexpected("the bundle", "no more files", "one more"));
        };
        let place = || path::place(&file.path);
        let failed = |error| BundleError::Write { place: place(), error };
        self.out.write_all(&header(&file.path, file.size)).map_err(failed)?;
        let (mut hasher, mut chunk, mut written) = (Hasher::default(), vec![0; BLOCK * BLOCK], 0);
        loop {
            let length = match content.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => length,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(BundleError::Read { place: place(), error }),
            };
            let bytes = chunk.get(..length).unwrap_or_default();
            written += length as u64;
            if written > file.size {
                break;
            }
            hasher.update(bytes);
            self.out.write_all(bytes).map_err(failed)?;
        }
        if written != file.size || hasher.finish() != file.sha256 {
            return Err(BundleError::unexpected(place(), "the content that the manifest was made of", "another"));
        }
        pad(&mut self.out, file.size).map_err(failed)
    }

    /// Writes the end, and returns what was written to. Fails where a file was not written.
    pub fn finish(mut self) -> Result<W, BundleError> {
        if let Some(file) = self.files.next() {
            return Err(BundleError::unexpected("the bundle", path::place(&file.path), "its end"));
        }
        let failed = |error| BundleError::Write { place: "the archive's end".into(), error };
        self.out.write_all(&[0; 2 * BLOCK]).map_err(failed)?;
        self.out.flush().map_err(failed)?;
        Ok(self.out)
    }
}

impl<W> fmt::Debug for BundleWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BundleWriter").field("to_come", &self.files.as_slice()).finish_non_exhaustive()
    }
}

fn pad(out: &mut impl Write, size: u64) -> std::io::Result<()> {
    let zeros = [0; BLOCK];
    out.write_all(zeros.get(..padding(size)).unwrap_or_default())
}
