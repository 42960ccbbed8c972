//! What is known of one model's updates: a state machine without any input or output, as the journal keeps it.
//!
//! ```text
//! at rest → downloading → verifying → testing → trial → at rest: active
//!               └────────────┴───────────┴→ at rest: failed  └→ at rest: rolled back
//! ```

use hedef_protocols::bundle::{Manifest, Sha256};
use serde::{Deserialize, Serialize};

use super::wanted::{Wanted, hash};
use crate::care::LastEnd;

/// So often the process may end within one step before the bundle is blamed.
const TRIES: u32 = 2;

/// So often the machine may go down within one step before the bundle is given up: mostly it has nothing to do with that.
const MOST_CUTS: u32 = 5;

/// The most bundles that are remembered as bad; the oldest are forgotten.
const MOST_REFUSED: usize = 64;

/// A version that is on the device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The version.
    pub version: u64,
    /// The hash of the bundle that it came in.
    #[serde(with = "hash")]
    pub sha256: Sha256,
}

/// What is under way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Nothing.
    #[default]
    Rest,
    /// The bundle comes.
    Downloading {
        /// Which.
        wanted: Wanted,
    },
    /// The bundle is here; whether it is right is not known.
    Verifying {
        /// Which.
        wanted: Wanted,
        /// How often this was begun, but for the power cuts.
        tries: u32,
        /// How often the machine went down within it.
        #[serde(default)]
        cuts: u32,
    },
    /// Its files are here and right; whether it works is not known.
    Testing {
        /// Which.
        wanted: Wanted,
        /// Whether its signer says that it may replace a higher version.
        downgrade: bool,
        /// How often this was begun, but for the power cuts.
        tries: u32,
        /// How often the machine went down within it.
        #[serde(default)]
        cuts: u32,
    },
    /// The active version is on trial.
    Trial {
        /// How often the process has begun with it, but for the power cuts.
        tries: u32,
        /// How often the machine went down with it.
        #[serde(default)]
        cuts: u32,
    },
}

/// How the last update ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With a new version that proved itself.
    Active,
    /// Before anything was changed.
    Failed,
    /// With the version of before.
    RolledBack,
}

/// What is known of one model's updates.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version that is served. None: what the settings' folders hold, if anything.
    pub active: Option<Release>,
    /// The one before, whose files are kept.
    pub previous: Option<Release>,
    /// The last version that proved itself.
    pub last_good: Option<u64>,
    /// The highest version that was ever taken.
    pub highest: u64,
    /// Bundles that crashed or failed in use: never taken again.
    #[serde(with = "hashes")]
    pub refused: Vec<Sha256>,
    /// The bundle that the last update ended without: not taken again until something else was wanted or somebody asks.
    #[serde(with = "maybe_hash")]
    pub declined: Option<Sha256>,
    /// The last wish that was taken up: not taken up again, whatever came of it, until it changes or somebody asks.
    #[serde(default, with = "maybe_hash")]
    pub settled: Option<Sha256>,
    /// What is under way.
    pub phase: Phase,
    /// How the last update ended.
    pub outcome: Option<Outcome>,
    /// What went wrong.
    pub error: Option<String>,
}

/// What somebody wants means nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needless {
    /// It is served, or on its way.
    Here,
    /// It is known to be no good.
    Refused,
    /// It was taken up before, and nobody asked again.
    Declined,
}

impl Record {
    /// Whether an update to `wanted` is to begin. `again`: somebody asks for it, whatever became of it before.
    pub fn admits(&self, wanted: &Wanted, again: bool) -> Result<(), Needless> {
        let hash = wanted.sha256;
        if self.active.as_ref().is_some_and(|active| active.sha256 == hash) {
            return Err(Needless::Here);
        }
        if !again && [self.declined, self.settled].contains(&Some(hash)) {
            return Err(Needless::Declined);
        }
        if self.refused.contains(&hash) {
            return Err(Needless::Refused);
        }
        Ok(())
    }

    /// The bundle that is on its way, verified or tested.
    #[must_use]
    pub const fn wanted(&self) -> Option<&Wanted> {
        match &self.phase {
            Phase::Downloading { wanted } | Phase::Verifying { wanted, .. } | Phase::Testing { wanted, .. } => {
                Some(wanted)
            }
            Phase::Rest | Phase::Trial { .. } => None,
        }
    }

    /// Begins an update, of a wish or of what somebody asked for at once.
    pub fn begin(&mut self, wanted: Wanted, wish: bool) {
        if wish {
            self.settled = Some(wanted.sha256);
        }
        self.declined = None;
        self.error = None;
        self.phase = Phase::Downloading { wanted };
    }

    /// The bundle that comes is to come from somewhere else.
    pub fn moved(&mut self, wish: Wanted) {
        if let Phase::Downloading { wanted } = &mut self.phase {
            *wanted = wish;
        }
    }

    /// The whole bundle is here.
    pub fn downloaded(&mut self) {
        if let Phase::Downloading { wanted } = &self.phase {
            self.phase = Phase::Verifying { wanted: wanted.clone(), tries: 1, cuts: 0 };
        }
    }

    /// Whether a signed manifest is what was wanted for the model `name`, and no step back.
    pub fn check(&self, name: &str, wanted: &Wanted, manifest: &Manifest) -> Result<(), String> {
        if manifest.name.as_str() != name {
            return Err(format!("the bundle: expected model `{name}`, found `{}`", manifest.name));
        }
        if manifest.version != wanted.version {
            return Err(format!("the bundle: expected version {}, found {}", wanted.version, manifest.version));
        }
        if manifest.version < self.highest && !manifest.allow_downgrade {
            let (highest, version) = (self.highest, manifest.version);
            return Err(format!(
                "the bundle: expected version {highest} or higher, which was here, or one that is signed as a downgrade, \
                 found {version}"
            ));
        }
        let same = |release: &&Release| release.version == manifest.version && release.sha256 != wanted.sha256;
        if self.active.iter().chain(&self.previous).any(|release| same(&release)) {
            return Err(format!("version {} is here with other contents: give it a new number", manifest.version));
        }
        Ok(())
    }

    /// The files are in place, and are what their signer says.
    pub fn verified(&mut self, downgrade: bool) {
        if let Phase::Verifying { wanted, .. } = &self.phase {
            self.phase = Phase::Testing { wanted: wanted.clone(), downgrade, tries: 1, cuts: 0 };
        }
    }

    /// The model knew its golden answers: it is to be served, on trial. To be kept before it is.
    pub fn passed(&mut self) {
        if let Phase::Testing { wanted, downgrade, .. } = &self.phase {
            let release = Release { version: wanted.version, sha256: wanted.sha256 };
            // Who signs a step back means that.
            self.highest = if *downgrade { release.version } else { self.highest.max(release.version) };
            self.previous = self.active.replace(release);
            self.phase = Phase::Trial { tries: 1, cuts: 0 };
        }
    }

    /// The active version has proved itself.
    pub fn confirmed(&mut self) {
        self.end(Outcome::Active, None);
        self.last_good = self.active.as_ref().map(|active| active.version);
    }

    /// The update ends before anything was changed. `blame`: the bundle is not to be tried again whoever asks.
    pub fn failed(&mut self, error: String, blame: bool) {
        let hash = self.wanted().map(|wanted| wanted.sha256);
        self.end(Outcome::Failed, Some(error));
        self.declined = hash;
        if blame {
            self.refuse(hash);
        }
    }

    /// Something that cannot be begun is wanted.
    pub fn declines(&mut self, wanted: &Wanted, error: String) {
        self.end(Outcome::Failed, Some(error));
        self.declined = Some(wanted.sha256);
    }

    /// Nobody wants what is on its way any more.
    pub fn abandoned(&mut self) {
        if self.wanted().is_some() {
            self.phase = Phase::Rest;
            self.error = None;
        }
    }

    /// Nobody wants what is on its way any more, nor anything else. It may be wanted again.
    pub fn dropped(&mut self) {
        self.abandoned();
        self.settled = None;
    }

    /// Goes back to the version of before. To be kept before that is done.
    pub fn roll_back(&mut self, error: String, blame: bool) {
        let hash = self.active.take().map(|active| active.sha256);
        self.active = self.previous.take();
        // A step back that was signed and did not work opens the way to nothing else.
        self.highest = self.highest.max(self.active.as_ref().map_or(0, |active| active.version));
        self.end(Outcome::RolledBack, Some(error));
        self.declined = hash;
        if blame {
            self.refuse(hash);
        }
    }

    /// The active version is there no more: goes back to the one before. It may come again, if it is wanted.
    pub fn lost(&mut self, error: String) {
        if matches!(self.phase, Phase::Trial { .. }) {
            return self.roll_back(error, false);
        }
        self.active = self.previous.take();
        self.settled = None;
        // What is on its way goes on.
        if self.phase == Phase::Rest {
            self.end(Outcome::RolledBack, Some(error));
        }
    }

    /// The process begins anew. Says whether something was given up. To be kept before a model is loaded.
    pub fn restarted(&mut self, last_end: LastEnd) -> bool {
        let (Phase::Verifying { tries, cuts, .. } | Phase::Testing { tries, cuts, .. } | Phase::Trial { tries, cuts }) =
            &mut self.phase
        else {
            return false;
        };
        let error = match last_end {
            LastEnd::Clean => return false,
            LastEnd::Crash if *tries < TRIES => {
                *tries += 1;
                return false;
            }
            LastEnd::Crash => format!("the process ended {tries} times with it"),
            LastEnd::PowerCut => {
                *cuts += 1;
                if *cuts < MOST_CUTS {
                    return false;
                }
                format!("the machine went down {cuts} times with it")
            }
        };
        // A power cut is no proof.
        let blame = last_end == LastEnd::Crash;
        match self.phase {
            Phase::Trial { .. } => self.roll_back(error, blame),
            _ => self.failed(error, blame),
        }
        true
    }

    /// The word for the state.
    #[must_use]
    pub const fn state(&self) -> &'static str {
        match (&self.phase, self.outcome) {
            (Phase::Downloading { .. }, _) => "downloading",
            (Phase::Verifying { .. }, _) => "verifying",
            (Phase::Testing { .. }, _) => "testing",
            (Phase::Trial { .. }, _) => "trial",
            (Phase::Rest, Some(Outcome::Failed)) => "failed",
            (Phase::Rest, Some(Outcome::RolledBack)) => "rolledback",
            (Phase::Rest, Some(Outcome::Active) | None) => "active",
        }
    }

    fn end(&mut self, outcome: Outcome, error: Option<String>) {
        self.phase = Phase::Rest;
        self.outcome = Some(outcome);
        self.error = error;
        self.declined = None;
    }

    fn refuse(&mut self, hash: Option<Sha256>) {
        if let Some(hash) = hash.filter(|hash| !self.refused.contains(hash)) {
            if self.refused.len() >= MOST_REFUSED {
                self.refused.remove(0);
            }
            self.refused.push(hash);
        }
    }
}

/// A hash that may be missing, as text.
mod maybe_hash {
    use hedef_protocols::bundle::Sha256;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hash: &Option<Sha256>, serializer: S) -> Result<S::Ok, S::Error> {
        hash.map(|hash| hash.to_string()).serialize(serializer)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<Sha256>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| Sha256::parse(&text)).transpose().map_err(de::Error::custom)
    }
}

/// A list of hashes, as text.
mod hashes {
    use hedef_protocols::bundle::Sha256;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(hashes: &[Sha256], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(hashes.iter().map(ToString::to_string))
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<Sha256>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        texts.iter().map(|text| Sha256::parse(text)).collect::<Result<_, _>>().map_err(de::Error::custom)
    }
}
