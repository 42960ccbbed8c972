//! API keys: their file, and finding the one that a request brought.
//!
//! The file holds SHA-256 hashes. A key is 32 random bytes, which nobody can guess, so a slow hash would only slow down
//! the server.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hedef_core::ModelName;
use hedef_core::settings::parse;
use ring::digest::{Digest, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;

use super::permission::{Permission, Permissions};
use super::rate::{Limiter, Rate};

/// What every key begins with, so that people and scanners know it for what it is.
const PREFIX: &str = "hedef_";

/// The name under which requests with a token are counted.
pub(crate) const TOKEN: &str = "token";

/// The file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    keys: Vec<KeyEntry>,
}

/// What the file says of one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyEntry {
    /// The name in logs and metrics.
    pub name: String,
    /// The key's SHA-256 hash in hexadecimal digits.
    pub sha256: String,
    /// What it may do; scoring, where nothing is said.
    #[serde(default = "scoring")]
    pub allow: Vec<Permission>,
    /// The only models that it may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<Vec<String>>,
    /// How many requests a second it may send in the long run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<f64>,
    /// How many of them may come at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

fn scoring() -> Vec<Permission> {
    vec![Permission::Score]
}

/// A new key.
pub struct NewKey {
    /// The key itself, which stands nowhere else.
    pub key: String,
    /// Its entry for the file, as TOML.
    pub entry: String,
}

impl NewKey {
    /// Makes a key for `entry`, whose hash is filled in. Fails where the entry cannot be.
    pub fn make(mut entry: KeyEntry) -> Result<Self, String> {
        let mut secret = [0; 32];
        SystemRandom::new().fill(&mut secret).map_err(|_| "the system gives no random bytes")?;
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
        entry.sha256 = digest(&SHA256, key.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        Key::new(&entry, None)?;
        let entry = toml::to_string(&File { keys: vec![entry] }).map_err(|error| error.to_string())?;
        Ok(Self { key, entry })
    }
}

/// One key, as requests meet it.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) permissions: Permissions,
    pub(crate) models: Option<Vec<ModelName>>,
    pub(crate) limiter: Option<Arc<Limiter>>,
    digest: [u8; 32],
}

impl Key {
    /// Checks an entry. A key that was there `before`, with the same rate, goes on counting.
    fn new(entry: &KeyEntry, before: Option<&Keys>) -> Result<Self, String> {
        let name = &entry.name;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !(1..=64).contains(&name.len()) || !name.chars().all(allowed) || name == TOKEN {
            return Err(format!(
                "key `{}`: expected a name of 1 to 64 of A-Z a-z 0-9 . _ -, other than `{TOKEN}`",
                name.chars().take(64).collect::<String>().escape_debug()
            ));
        }
        let wrong = |what: String| format!("key `{name}`: {what}");
        // What stands there may be the key itself, by mistake.
        let digest = hexadecimal(&entry.sha256).ok_or_else(|| {
            wrong(format!("sha256: expected 64 hexadecimal digits, got {} bytes", entry.sha256.len()))
        })?;
        if entry.allow.is_empty() {
            return Err(wrong("allow: expected at least one permission".into()));
        }
        let models = entry.models.as_ref().map(|models| models.iter().map(|model| ModelName::new(model)).collect());
        let models = models.transpose().map_err(|error| wrong(error.to_string()))?;
        let rate = match (entry.requests_per_second, entry.burst) {
            (Some(per_second), burst) => Some(Rate::new(per_second, burst).map_err(wrong)?),
            (None, Some(_)) => return Err(wrong("burst: expected requests_per_second beside it".into())),
            (None, None) => None,
        };
        let limiter = rate.map(|rate| {
            let old = before.and_then(|keys| keys.0.get(&start(&digest))?.limiter.as_ref());
            let same = old.filter(|limiter| limiter.rate == rate).cloned();
            same.unwrap_or_else(|| Arc::new(Limiter::new(rate)))
        });
        let permissions = entry.allow.iter().copied().collect();
        Ok(Self { name: name.clone(), permissions, models, limiter, digest })
    }
}

/// The keys of a file, by the start of their hash. The start tells nothing of a key to whoever measures how long the
/// search for it takes; the whole is compared in constant time.
#[derive(Debug, Default)]
pub(crate) struct Keys(HashMap<u64, Arc<Key>>);

impl Keys {
    /// Reads a file. `before` is what the file held until now.
    pub(crate) fn parse(text: &[u8], before: Option<&Self>) -> Result<Self, String> {
        let text = std::str::from_utf8(text).map_err(|_| "expected TOML in UTF-8")?;
        // One that is being written is empty for a moment, and nobody should be locked out by that.
        if text.trim().is_empty() && before.is_some_and(|before| before.len() > 0) {
            return Err("the file is empty: `keys = []` says that there are none any more".into());
        }
        let file: File = parse(text).map_err(|error| error.to_string())?;
        let mut keys = Self::default();
        for entry in &file.keys {
            let key = Key::new(entry, before)?;
            if keys.0.values().any(|other| other.name == key.name) {
                return Err(format!("key `{}`: there are two of that name", key.name));
            }
            if let Some(other) = keys.0.insert(start(&key.digest), Arc::new(key)) {
                return Err(format!("key `{}`: its hash stands under `{}` too", entry.name, other.name));
            }
        }
        Ok(keys)
    }

    /// The key that `presented` is.
    pub(crate) fn find(&self, presented: &[u8]) -> Option<&Arc<Key>> {
        let digest = bytes(digest(&SHA256, presented))?;
        let key = self.0.get(&start(&digest))?;
        bool::from(key.digest.ct_eq(&digest)).then_some(key)
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

fn bytes(digest: Digest) -> Option<[u8; 32]> {
    digest.as_ref().try_into().ok()
}

fn start(digest: &[u8; 32]) -> u64 {
    digest.first_chunk().map_or(0, |start| u64::from_le_bytes(*start))
}

fn hexadecimal(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(text.get(at..at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn entry(name: &str) -> KeyEntry {
        KeyEntry {
            name: name.into(),
            sha256: String::new(),
            allow: scoring(),
            models: None,
            requests_per_second: None,
            burst: None,
        }
    }

    #[test]
    fn a_new_key_is_found_by_its_entry_and_no_other_is() {
        let full = KeyEntry {
            allow: vec![Permission::Score, Permission::Metrics],
            models: Some(vec!["iris".into()]),
            requests_per_second: Some(5.0),
            burst: Some(10),
            ..entry("full")
        };
        let (one, two) = (NewKey::make(entry("one")).unwrap(), NewKey::make(full).unwrap());
        assert!(one.key.starts_with("hedef_") && one.key.len() == 49 && one.key != two.key);
        let file = format!("{}\n{}", one.entry, two.entry);
        assert!(!file.contains(&one.key[6..]));
        let keys = Keys::parse(file.as_bytes(), None).unwrap();
        assert_eq!(keys.find(one.key.as_bytes()).unwrap().name, "one");
        let two = keys.find(two.key.as_bytes()).unwrap();
        assert!(two.permissions.allow(Permission::Metrics) && !two.permissions.allow(Permission::Admin));
        assert_eq!((two.models.as_ref().unwrap().len(), two.limiter.is_some()), (1, true));
        for wrong in ["", "hedef_", &one.key[..48], &one.key.to_uppercase()] {
            assert!(keys.find(wrong.as_bytes()).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_without_its_secrets() {
        let hash = "ab".repeat(32);
        let cases = [
            (
                "[[keys]]\nname = \"a\"\nsha256 = \"hedef_secret\"".to_string(),
                "key `a`: sha256: expected 64 hexadecimal digits, got 12 bytes",
            ),
            ("[[keys]]\nname = \"a\"\nkey = \"hedef_secret\"".into(), "line 3: unknown field `key`"),
            ("[[keys]]\nname = \"a\"\nsha256 = \"hedef_secret".into(), "line 3: "),
            ("keys = [\"hedef_secret\"]".into(), "line 1: `keys`: invalid type: string"),
            (format!("[[keys]]\nname = \"a b\"\nsha256 = \"{hash}\""), "key `a b`: expected a name"),
            (format!("[[keys]]\nname = \"token\"\nsha256 = \"{hash}\""), "other than `token`"),
            (format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nallow = [\"all\"]"), "unknown variant `all`"),
            (format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nallow = []"), "at least one permission"),
            (format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nmodels = [\"../x\"]"), "`../x`"),
            (format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\nburst = 3"), "requests_per_second"),
            (
                format!("[[keys]]\nname = \"a\"\nsha256 = \"{hash}\"\n[[keys]]\nname = \"b\"\nsha256 = \"{hash}\""),
                "under `a` too",
            ),
        ];
        for (text, expected) in cases {
            let error = Keys::parse(text.as_bytes(), None).unwrap_err();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
        assert_eq!(Keys::parse(b"", None).unwrap().len(), 0);
    }

    #[test]
    fn an_empty_file_takes_no_key_away_but_one_that_says_so_does() {
        let keys = Keys::parse(NewKey::make(entry("a")).unwrap().entry.as_bytes(), None).unwrap();
        assert!(Keys::parse(b" \n", Some(&keys)).unwrap_err().contains("empty"));
        assert_eq!(Keys::parse(b"keys = []", Some(&keys)).unwrap().len(), 0);
    }

    #[test]
    fn a_limit_goes_on_counting_when_the_file_is_read_again() {
        let limited = |per_second| KeyEntry { requests_per_second: Some(per_second), burst: Some(1), ..entry("a") };
        let made = NewKey::make(limited(0.01)).unwrap();
        let keys = Keys::parse(made.entry.as_bytes(), None).unwrap();
        let take = |keys: &Keys| keys.find(made.key.as_bytes()).unwrap().limiter.as_ref().unwrap().take(Instant::now());
        assert!(take(&keys).is_ok());
        let again = Keys::parse(made.entry.as_bytes(), Some(&keys)).unwrap();
        assert!(take(&again).is_err());
        let other = made.entry.replace("0.01", "0.02");
        assert!(take(&Keys::parse(other.as_bytes(), Some(&again)).unwrap()).is_ok());
    }
}
