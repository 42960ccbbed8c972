//! Model bundles: one version of a model package as one file, signed, so that devices can take it from anywhere.
//!
//! A bundle is a tar archive of one form (`tar tf` lists it, `tar xf` unpacks it): `manifest.json`, `manifest.sig`, then the
//! files that the manifest names, in its order, then two blocks of zeros and nothing more. What the manifest, the signature
//! and the files leave open is fixed: a member's header has to be, byte for byte, that of a plain file of that name and size
//! (ustar, POSIX.1-1988: mode 0644, owner 0, time 0), so that there are no links, devices, sparse files or long names, and the
//! same input makes the same bytes. Unpacked, the files are a model package: `7/model.onnx`, `model.toml`, `golden/…`.
//!
//! ```text
//! {"format": 1, "name": "iris", "version": 7,
//!  "min_runtime": "1.22.0",                          optional: the oldest ONNX Runtime that is to run it
//!  "expires": "2027-01-31T00:00:00Z",                optional: UTC in whole seconds
//!  "allow_downgrade": true,                          optional: may replace a higher version
//!  "golden": ["golden/one-flower.json"],             optional: the files whose requests tell whether it works
//!  "files": [{"path": "7/model.onnx", "size": 1234, "sha256": "…"}]}
//! ```
//!
//! The signature is Ed25519 (RFC 8032) over the bytes of `manifest.json` as they are, and is verified before they are looked
//! at. Keys and signatures are one line of text each: `hedef-public-key:`, `hedef-secret-key:` or `hedef-signature:`, and base64.

mod error;
mod hash;
mod keys;
mod manifest;
mod path;
mod read;
mod tar;
#[cfg(test)]
mod tests;
mod time;
mod write;

pub use error::BundleError;
pub use hash::{Hasher, Sha256};
pub use keys::{PublicKey, SecretKey, Signature, verify};
pub use manifest::{File, MOST_FILES, MOST_VERSION, Manifest, RuntimeVersion, model_name};
pub use read::{Bundle, Member};
pub use tar::MOST_FILE_BYTES;
pub use time::Timestamp;
pub use write::BundleWriter;

/// The name of the manifest in a bundle.
pub const MANIFEST: &str = "manifest.json";
/// The name of its signature.
pub const SIGNATURE: &str = "manifest.sig";
/// The most bytes of a manifest.
pub const MOST_MANIFEST_BYTES: usize = 256 << 10;
