//! From a bundle to a model package in its place.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::Path;

use hedef_core::ModelName;
use hedef_protocols::bundle::{Bundle, BundleError, MANIFEST, Manifest, PublicKey, RuntimeVersion, Timestamp};

use super::record::Record;
use super::store::{Store, remove, sync_folder};
use super::wanted::Wanted;
use crate::steps::Step;

/// Why there is no package.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotUnpacked {
    #[error(transparent)]
    Bundle(#[from] BundleError),
    #[error("{0}")]
    Unfit(String),
    #[error("the bundle cannot be read: {0}")]
    Part(io::Error),
    #[error("the disk cannot be written: {0}")]
    Disk(#[from] io::Error),
}

impl NotUnpacked {
    /// Whether the bundle that came is there no more, or cannot be read.
    pub(super) const fn is_of_part(&self) -> bool {
        matches!(self, Self::Part(_) | Self::Bundle(BundleError::Read { .. }))
    }
}

/// What a bundle has to fit to.
pub(super) struct Fit<'f> {
    pub(super) name: &'f ModelName,
    pub(super) wanted: &'f Wanted,
    pub(super) record: &'f Record,
    pub(super) keys: &'f [PublicKey],
    /// The time, if it is known.
    pub(super) now: Option<u64>,
    /// The 22 of ONNX Runtime 1.22.
    pub(super) runtime: u32,
}

impl Fit<'_> {
    /// Verifies a bundle and unpacks it into its place. Blocks.
    ///
    /// Nothing of it is written before its signature was verified and its manifest fits; nothing is in its place before
    /// all of it was verified and survives a power cut.
    pub(super) fn unpack(&self, part: &Path, store: &Store) -> Result<Manifest, NotUnpacked> {
        let mut bundle = Bundle::open(BufReader::new(File::open(part).map_err(NotUnpacked::Part)?), self.keys)?;
        self.check(bundle.manifest()).map_err(NotUnpacked::Unfit)?;
        let (place, folder) =
            (store.release(self.name, self.wanted.version), store.unfinished(self.name, self.wanted.version));
        remove(&folder);
        fs::create_dir_all(&folder)?;
        let mut folders = vec![folder.clone()];
        write(&folder.join(MANIFEST), |file| Ok(file.write_all(bundle.manifest_bytes())?))?;
        while let Some(mut member) = bundle.next()? {
            // The bundle has plain relative paths alone.
            let path = folder.join(&member.file().path);
            for parent in path.ancestors().skip(1).take_while(|parent| *parent != folder) {
                if !folders.iter().any(|known| known == parent) {
                    folders.push(parent.to_owned());
                }
            }
            fs::create_dir_all(path.parent().unwrap_or(&folder))?;
            write(&path, |file| {
                while let Some(bytes) = member.chunk()? {
                    file.write_all(bytes)?;
                }
                Ok(())
            })?;
            store.steps.made(Step::OneFileUnpacked);
        }
        for folder in &folders {
            sync_folder(folder)?;
        }
        store.steps.made(Step::Unpacked);
        // What is there is the same, or left over: no record speaks of it.
        remove(&place);
        fs::rename(&folder, &place)?;
        for parent in place.ancestors().skip(1).take(2) {
            sync_folder(parent)?;
        }
        store.steps.made(Step::InPlace);
        Ok(bundle.manifest().clone())
    }

    fn check(&self, manifest: &Manifest) -> Result<(), String> {
        self.record.check(self.name.as_str(), self.wanted, manifest)?;
        if let Some((expires, now)) = manifest.expires.as_ref().zip(self.now)
            && Timestamp::seconds(expires) <= now
        {
            return Err(format!("the bundle has expired: it was good until {expires}"));
        }
        if let Some(needed) = manifest.min_runtime
            && needed > (RuntimeVersion { major: 1, minor: self.runtime, patch: u32::MAX })
        {
            return Err(format!("the bundle needs ONNX Runtime {needed} or later, found 1.{}", self.runtime));
        }
        Ok(())
    }
}

/// Writes a file that is not there yet; returns when its content survives a power cut.
fn write(path: &Path, write: impl FnOnce(&mut File) -> Result<(), NotUnpacked>) -> Result<(), NotUnpacked> {
    let mut file = File::create_new(path)?;
    write(&mut file)?;
    Ok(file.sync_all()?)
}
