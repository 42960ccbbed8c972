//! Reads a bundle from its first byte to its last.

use std::fmt;
use std::io::{self, Read};
use std::mem;

use super::tar::{BLOCK, describe, header, padding, size};
use super::{
    BundleError, File, Hasher, MANIFEST, MOST_MANIFEST_BYTES, Manifest, PublicKey, SIGNATURE, Signature, path, verify,
};

/// How much of a file is lent at a time.
const CHUNK: usize = 64 << 10;

/// A bundle whose manifest was signed by one of the keys, and whose files are read one after the other.
///
/// ```no_run
/// # use hedef_protocols::bundle::{Bundle, BundleError, PublicKey};
/// # fn unpack(file: std::fs::File, keys: &[PublicKey]) -> Result<(), BundleError> {
/// let mut bundle = Bundle::open(file, keys)?;
/// while let Some(mut member) = bundle.next()? {
///     println!("{}", member.file().path);
///     while let Some(bytes) = member.chunk()? {
///         // to be written
///     }
/// }
/// // Only now is all of it known to be right.
/// # Ok(())
/// # }
/// ```
pub struct Bundle<R> {
    reader: R,
    manifest: Manifest,
    bytes: Vec<u8>,
    key: PublicKey,
    at: Place,
    /// Of the file that is being read.
    hasher: Hasher,
    chunk: Vec<u8>,
}

/// Where in a bundle the reader stands.
enum Place {
    /// Before the header of the file of that number.
    Before(usize),
    /// In that file, with so many bytes to come.
    Within(usize, u64),
    /// All was read, and the end was right.
    End,
    /// Something was wrong.
    GivenUp,
}

impl<R: Read> Bundle<R> {
    /// Reads the manifest and its signature, verifies them with `keys`, and parses the manifest: nothing that was not signed
    /// is looked at, but for the sizes of these two.
    pub fn open(mut reader: R, keys: &[PublicKey]) -> Result<Self, BundleError> {
        let (bytes, signature) = signed(&mut reader)?;
        let key = *verify(&bytes, &signature, keys)?;
        let manifest = Manifest::parse(&bytes)?;
        let (at, hasher, chunk) = (Place::Before(0), Hasher::default(), Vec::new());
        Ok(Self { reader, manifest, bytes, key, at, hasher, chunk })
    }

    /// What the bundle holds.
    #[must_use]
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The bytes of `manifest.json`.
    #[must_use]
    pub fn manifest_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The bytes of the whole bundle: what its manifest calls for.
    #[must_use]
    pub fn size(&self) -> u64 {
        let member = |size: u64| BLOCK as u64 + size.saturating_add(padding(size) as u64);
        let own = member(self.bytes.len() as u64) + member(Signature::TEXT_BYTES as u64 + 1) + 2 * BLOCK as u64;
        self.manifest.files.iter().fold(own, |sum, file| sum.saturating_add(member(file.size)))
    }

    /// The key that it was signed with.
    #[must_use]
    pub const fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The next file, after what is left of the one before; `None` at the end, once that was found to be right too.
    ///
    /// Fails where the bundle is not, byte for byte, what its manifest says. After that it fails for good.
    #[expect(clippy::should_implement_trait, reason = "it lends from itself, which an iterator cannot")]
    pub fn next(&mut self) -> Result<Option<Member<'_, R>>, BundleError> {
        while self.fill()? {}
        let number = match mem::replace(&mut self.at, Place::GivenUp) {
            Place::Before(number) => number,
            Place::End => {
                self.at = Place::End;
                return Ok(None);
            }
            Place::Within(..) | Place::GivenUp => return Err(BundleError::GivenUp),
        };
        let Some(file) = self.manifest.files.get(number) else {
            end(&mut self.reader)?;
            self.at = Place::End;
            return Ok(None);
        };
        expect_header(&mut self.reader, &path::place(&file.path), &file.path, file.size)?;
        if file.size == 0 {
            check_hash(file, Hasher::default())?;
        }
        self.at = Place::Within(number, file.size);
        Ok(Some(Member { file: file.clone(), bundle: self }))
    }

    /// Reads all that is left, and returns what the bundle holds.
    pub fn verify_all(mut self) -> Result<Manifest, BundleError> {
        while self.next()?.is_some() {}
        Ok(self.manifest)
    }

    /// Reads the next bytes of the file that is being read into `chunk`; says whether there were any. The last bytes come only
    /// if the hash of all of them is right.
    fn fill(&mut self) -> Result<bool, BundleError> {
        let (number, left) = match mem::replace(&mut self.at, Place::GivenUp) {
            Place::Within(number, left) => (number, left),
            other => {
                self.at = other;
                return Ok(false);
            }
        };
        let Some(file) = self.manifest.files.get(number).filter(|_| left > 0) else {
            self.at = Place::Before(number + 1);
            return Ok(false);
        };
        let length = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let place = || path::place(&file.path);
        self.chunk.resize(length, 0);
        self.reader.read_exact(&mut self.chunk).map_err(|error| BundleError::read(place(), error))?;
        self.hasher.update(&self.chunk);
        let left = left - length as u64;
        if left == 0 {
            check_hash(file, mem::take(&mut self.hasher))?;
            zeros(&mut self.reader, padding(file.size), &place())?;
        }
        self.at = Place::Within(number, left);
        Ok(true)
    }
}

impl<R> fmt::Debug for Bundle<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("manifest", &self.manifest).field("key", &self.key).finish_non_exhaustive()
    }
}

/// A file of a bundle that is being read.
#[derive(Debug)]
pub struct Member<'b, R> {
    file: File,
    bundle: &'b mut Bundle<R>,
}

impl<R: Read> Member<'_, R> {
    /// What the manifest says of it.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }

    /// Its next bytes, at most 64 KiB; `None` after the last, which come only if the hash of the whole file is right.
    pub fn chunk(&mut self) -> Result<Option<&[u8]>, BundleError> {
        if matches!(self.bundle.at, Place::GivenUp) {
            return Err(BundleError::GivenUp);
        }
        Ok(if self.bundle.fill()? { Some(&self.bundle.chunk) } else { None })
    }
}

/// Reads the bytes of the manifest, and the signature.
fn signed(reader: &mut impl Read) -> Result<(Vec<u8>, Signature), BundleError> {
    let block = read_block(reader, MANIFEST)?;
    let size = size(&block).filter(|size| block == header(MANIFEST, *size));
    let Some(size) = size else {
        return Err(BundleError::unexpected(
            "the bundle's beginning",
            "the plain file `manifest.json`",
            describe(&block),
        ));
    };
    let Some(length) = usize::try_from(size).ok().filter(|length| *length <= MOST_MANIFEST_BYTES) else {
        let expected = format!("at most {MOST_MANIFEST_BYTES} bytes");
        return Err(BundleError::unexpected(MANIFEST, expected, size.to_string()));
    };
    let manifest = read_small(reader, MANIFEST, length)?;
    let length = Signature::TEXT_BYTES + 1;
    expect_header(reader, SIGNATURE, SIGNATURE, length as u64)?;
    let line = read_small(reader, SIGNATURE, length)?;
    let text = std::str::from_utf8(&line).ok().and_then(|line| line.strip_suffix('\n')).unwrap_or_default();
    Ok((manifest, Signature::parse(text)?))
}

/// What `manifest.sig` holds.
pub(super) fn signature_line(signature: &Signature) -> String {
    format!("{signature}\n")
}

/// Reads a small file with its padding.
fn read_small(reader: &mut impl Read, place: &str, length: usize) -> Result<Vec<u8>, BundleError> {
    let mut bytes = vec![0; length];
    reader.read_exact(&mut bytes).map_err(|error| BundleError::read(place, error))?;
    zeros(reader, padding(length as u64), place)?;
    Ok(bytes)
}

fn read_block(reader: &mut impl Read, place: &str) -> Result<[u8; BLOCK], BundleError> {
    let mut block = [0; BLOCK];
    reader.read_exact(&mut block).map_err(|error| BundleError::read(place, error))?;
    Ok(block)
}

fn expect_header(reader: &mut impl Read, place: &str, path: &str, size: u64) -> Result<(), BundleError> {
    let block = read_block(reader, place)?;
    if block == header(path, size) {
        return Ok(());
    }
    Err(BundleError::unexpected(place, format!("a plain file of {size} bytes"), describe(&block)))
}

fn check_hash(file: &File, hasher: Hasher) -> Result<(), BundleError> {
    let found = hasher.finish();
    if found == file.sha256 {
        return Ok(());
    }
    Err(BundleError::unexpected(path::place(&file.path), format!("SHA-256 {}", file.sha256), found.to_string()))
}

/// Reads so many zeros, at most two blocks.
fn zeros(reader: &mut impl Read, count: usize, place: &str) -> Result<(), BundleError> {
    let mut block = [0; 2 * BLOCK];
    let bytes = block.get_mut(..count).unwrap_or_default();
    reader.read_exact(bytes).map_err(|error| BundleError::read(place, error))?;
    if bytes.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    Err(BundleError::unexpected(place, "zeros after it", "something else"))
}

/// Reads the end of the archive: two blocks of zeros and nothing more.
fn end(reader: &mut impl Read) -> Result<(), BundleError> {
    let place = "the archive's end";
    let block = read_block(reader, place)?;
    if block != [0; BLOCK] {
        return Err(BundleError::unexpected(place, "two blocks of zeros", describe(&block)));
    }
    zeros(reader, BLOCK, place)?;
    match reader.read_exact(&mut [0]) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(BundleError::read(place, error)),
        Ok(()) => Err(BundleError::unexpected(place, "nothing after it", "more bytes")),
    }
}
