//! What the settings say of updates.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use hedef_protocols::bundle::{PublicKey, Sha256, model_name};
use serde::Deserialize;

use super::pace::{Pace, Window};
use super::trial::Terms;
use super::wanted::Wanted;

/// How models are updated.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Updates {
    /// The public keys of those whose bundles are taken; without any, none are.
    pub trusted_keys: Vec<String>,
    /// A file of more of them, one on each line.
    pub trusted_keys_file: Option<PathBuf>,
    /// The folder whose `.bundle` files are taken; without it, `inbox` in the folder of data.
    pub inbox: Option<PathBuf>,
    /// Whether bundles may come over HTTP without TLS from other hosts than this.
    pub allow_http: bool,
    /// The certificates to trust; without it, those of the system.
    pub ca_file: Option<PathBuf>,
    /// The most bytes in a second.
    pub rate_bytes_per_s: Option<u64>,
    /// The hours of the day in which bundles may come, by UTC: `22-6`.
    pub window: Option<Window>,
    /// How long golden requests may take together.
    pub selftest_s: u64,
    /// So many good runs confirm a new version.
    pub trial_runs: u64,
    /// So does the time.
    pub trial_s: u64,
    /// The part of a trial's runs that may be bad.
    pub trial_bad: f64,
    /// A run on trial that takes longer is bad.
    pub trial_latency_ms: Option<u64>,
    /// The versions that are wanted, where no twin says so.
    pub models: Vec<Model>,
}

impl Default for Updates {
    fn default() -> Self {
        Self {
            trusted_keys: Vec::new(),
            trusted_keys_file: None,
            inbox: None,
            allow_http: false,
            ca_file: None,
            rate_bytes_per_s: None,
            window: None,
            selftest_s: 60,
            trial_runs: 100,
            trial_s: 600,
            trial_bad: 0.05,
            trial_latency_ms: None,
            models: Vec::new(),
        }
    }
}

/// A version of a model that is wanted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Model {
    /// The model.
    pub name: String,
    /// The version.
    pub version: u64,
    /// Where its bundle is.
    pub url: String,
    /// The hash of the bundle.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

impl Model {
    fn wanted(&self, plain_http: bool) -> Result<Wanted, String> {
        model_name(&self.name).map_err(|error| error.to_string())?;
        let sha256 = Sha256::parse(&self.sha256).map_err(|error| error.to_string())?;
        let wanted = Wanted { version: self.version, url: self.url.clone(), sha256, size: self.size };
        wanted.check(plain_http)?;
        Ok(wanted)
    }
}

impl Updates {
    /// What is wrong with them. Reads no file.
    pub(crate) fn check(&self) -> Result<(), String> {
        for key in &self.trusted_keys {
            PublicKey::parse(key).map_err(|error| format!("`trusted_keys`: {error}"))?;
        }
        self.pace().check()?;
        if self.selftest_s == 0 || self.trial_s == 0 || self.trial_runs == 0 {
            return Err("`selftest_s`, `trial_s` and `trial_runs`: expected more than zero, found 0".into());
        }
        if !(0.0..=1.0).contains(&self.trial_bad) {
            return Err(format!("`trial_bad`: expected 0 to 1, found {}", self.trial_bad));
        }
        for model in &self.models {
            model.wanted(self.allow_http).map_err(|error| format!("model `{}`: {error}", model.name))?;
        }
        Ok(())
    }

    /// The keys of those who are trusted.
    pub(super) fn keys(&self) -> Result<Vec<PublicKey>, String> {
        let own = self.trusted_keys.iter().map(|key| PublicKey::parse(key));
        let mut keys = own.collect::<Result<Vec<_>, _>>().map_err(|error| format!("`trusted_keys`: {error}"))?;
        if let Some(file) = &self.trusted_keys_file {
            let wrong = |error: &dyn std::fmt::Display| format!("`trusted_keys_file` {}: {error}", file.display());
            let text = fs::read_to_string(file).map_err(|error| wrong(&error))?;
            keys.extend(PublicKey::parse_all(&text).map_err(|error| wrong(&error))?);
        }
        Ok(keys)
    }

    /// The versions that are wanted; those that were checked.
    pub(super) fn wanted(&self) -> impl Iterator<Item = (hedef_core::ModelName, Wanted)> {
        self.models
            .iter()
            .filter_map(|model| Some((model_name(&model.name).ok()?, model.wanted(self.allow_http).ok()?)))
    }

    pub(super) const fn pace(&self) -> Pace {
        Pace { rate_bytes_per_s: self.rate_bytes_per_s, window: self.window }
    }

    pub(super) fn terms(&self) -> Terms {
        Terms {
            runs: self.trial_runs,
            time: Duration::from_secs(self.trial_s),
            bad: self.trial_bad,
            latency: self.trial_latency_ms.map(Duration::from_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<(), String> {
        hedef_core::settings::parse::<Updates>(text).map_err(|error| error.to_string())?.check()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(check(""), Ok(()));
        assert_eq!(check("window = '22-6'\nrate_bytes_per_s = 1000"), Ok(()));
        for (text, expected) in [
            ("trusted_keys = ['x']", "`trusted_keys`"),
            ("window = '6-6'", "`window`"),
            ("rate_bytes_per_s = 0", "`rate_bytes_per_s`"),
            ("trial_bad = 2.0", "`trial_bad`"),
            ("trial_runs = 0", "`trial_runs`"),
            ("[[models]]\nname = 'm'\nversion = 1\nurl = 'http://h/'\nsha256 = 'x'\nsize = 1", "model `m`: a SHA-256"),
            ("windw = '1-2'", "windw"),
        ] {
            let error = check(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
