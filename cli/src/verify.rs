//! `hedef verify`: whether a bundle is whole and signed, and what it holds.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, Read};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hedef_protocols::bundle::{Bundle, BundleError, Hasher, Manifest, PublicKey, Sha256, Timestamp};

use crate::arguments::Verify;
use crate::logging::print;

/// Reads the whole bundle and prints what it holds.
pub(crate) fn run(verify: &Verify) -> anyhow::Result<()> {
    let keys = fs::read_to_string(&verify.keys).with_context(|| verify.keys.display().to_string())?;
    let keys = PublicKey::parse_all(&keys).with_context(|| verify.keys.display().to_string())?;
    let seen = look(&verify.bundle, &keys).with_context(|| verify.bundle.display().to_string())?;
    print(&seen.told());
    refuse_expired(seen.manifest.expires.as_ref())
}

/// A bundle that was verified.
pub(crate) struct Seen {
    pub(crate) manifest: Manifest,
    pub(crate) key: PublicKey,
    /// The bytes of the whole file.
    pub(crate) size: u64,
    /// Their hash.
    pub(crate) sha256: Sha256,
}

/// Verifies the bundle in `file`.
pub(crate) fn look(file: &Path, keys: &[PublicKey]) -> anyhow::Result<Seen> {
    let mut counted = Counted { file: BufReader::new(File::open(file)?), size: 0, hasher: Hasher::default() };
    let bundle = Bundle::open(&mut counted, keys)?;
    let key = *bundle.key();
    let manifest = bundle.verify_all()?;
    Ok(Seen { manifest, key, size: counted.size, sha256: counted.hasher.finish() })
}

/// Fails where the moment is past.
pub(crate) fn refuse_expired(expires: Option<&Timestamp>) -> anyhow::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match expires.filter(|expires| expires.seconds() <= now) {
        None => Ok(()),
        Some(expires) => Err(BundleError::Unexpected {
            place: "the bundle".into(),
            expected: "one that is not yet expired".into(),
            found: format!("that it expired on {expires}"),
        }
        .into()),
    }
}

impl Seen {
    /// What a person wants to know.
    pub(crate) fn told(&self) -> String {
        let manifest = &self.manifest;
        let mut text = format!("{}/{}\n", manifest.name, manifest.version);
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "  {name:<11} {value}");
        };
        line("size", &format!("{} bytes", self.size));
        line("sha256", &self.sha256.to_string());
        line("signed with", &self.key.to_string());
        if let Some(expires) = &manifest.expires {
            line("expires", &expires.to_string());
        }
        if let Some(runtime) = &manifest.min_runtime {
            line("runs on", &format!("ONNX Runtime {runtime} and newer"));
        }
        if manifest.allow_downgrade {
            line("replaces", "higher versions too");
        }
        for file in &manifest.files {
            let golden = if manifest.golden.contains(&file.path) { "  golden request" } else { "" };
            line("file", &format!("{}  {} bytes{golden}", file.path, file.size));
        }
        text
    }

    /// What a device twin says to have the bundle taken.
    pub(crate) fn twin(&self, file_name: &str) -> serde_json::Value {
        let Manifest { name, version, .. } = &self.manifest;
        let url = format!("https://HOST/{file_name}");
        let wanted = serde_json::json!({
            "version": version, "url": url, "sha256": self.sha256.to_string(), "size": self.size,
        });
        serde_json::json!({ "models": { name.as_str(): wanted } })
    }
}

/// Counts and hashes what is read.
struct Counted<R> {
    file: R,
    size: u64,
    hasher: Hasher,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        let length = self.file.read(to)?;
        self.size += length as u64;
        self.hasher.update(to.get(..length).unwrap_or_default());
        Ok(length)
    }
}
