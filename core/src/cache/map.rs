//! A file of the cache, mapped into memory.
#![expect(unsafe_code, reason = "a mapped file is memory that others could change")]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// The bytes of a file that only this user writes, mapped for reading.
#[derive(Debug)]
pub(crate) struct Map(Mmap);

impl Map {
    /// Maps the whole of `file`.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        // SAFETY: the bytes must not change or end while they are mapped. The file lies in a folder that only this
        // user may write, checked before (`folder.rs`), and Hedef never writes to a file of the cache that has its
        // final name: files appear whole, by a rename, and go by being unlinked, which leaves mapped bytes alone.
        let map = unsafe { MmapOptions::new().map(file)? };
        Ok(Self(map))
    }

    /// Takes the pages that were read so far out of this process; those that are used again come back from the system's
    /// cache of the file.
    pub(crate) fn let_go(&self) {
        #[cfg(unix)]
        {
            // SAFETY: the pages are those of a file that nobody writes to: what comes back is what was there.
            let gone = unsafe { self.0.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
            if let Err(error) = gone {
                tracing::debug!(error.detail = %error, "mapped pages could not be let go");
            }
        }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}
