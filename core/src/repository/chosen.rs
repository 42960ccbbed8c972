//! Packages that were chosen: each stands above what the roots hold of its name.
//!
//! Who chooses loads first ([`Repository::prepare`]), asks the model what it likes, and then has it served
//! ([`Repository::publish`]): there is no time in which the model is not there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Room;
use super::entry::{Slot, State};
use super::{Candidate, Found, Overrides, Package, Repository, Version, hold, scan};
use crate::settings::Settings;
use crate::{Error, Model, ModelId, ModelName};

/// A model that is loaded and not served. Dropping it unloads it.
pub struct Prepared {
    package: Package,
    model: Arc<Model>,
    took: Duration,
    /// Held until it is in its slot, so that others do not count on it.
    room: Option<Room>,
}

impl Prepared {
    /// The model.
    #[must_use]
    pub const fn model(&self) -> &Arc<Model> {
        &self.model
    }
}

impl Repository {
    /// Puts packages above what the roots hold. None of them is loaded yet.
    pub fn choose(&self, packages: impl IntoIterator<Item = Package>) {
        hold(&self.chosen).extend(packages.into_iter().map(|package| (package.name.clone(), package)));
        self.refresh();
    }

    /// What is there: in the roots, and chosen. Blocks.
    #[must_use]
    pub fn look(&self) -> Found {
        let mut found = scan(&self.roots);
        let chosen = hold(&self.chosen);
        found.packages.extend(chosen.iter().map(|(name, package)| (name.clone(), package.clone())));
        found
    }

    /// Loads the version of a package that its settings ask for, beside what is served. Blocks.
    ///
    /// It counts in the memory budget while it is there.
    pub fn prepare(&self, package: Package) -> Result<Prepared, Error> {
        let began = Instant::now();
        let failed = |reason: String| Error::Load { model: package.name.to_string(), reason };
        let settings = package.settings.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read);
        let settings = settings.map_err(failed)?;
        let available: Vec<_> = package.versions.keys().copied().collect();
        let wanted = settings.versions.pick(&available).last().copied();
        let found = wanted.and_then(|version| Some((version, package.versions.get(&version)?)));
        let none = || failed(format!("no version is among those that model.toml asks for; there is {available:?}"));
        let (version, file) = found.ok_or_else(none)?;
        let id = ModelId { name: package.name.clone(), version };
        let version = Version { id, file, folder: &package.folder, settings: &settings };
        let candidate =
            Candidate { version: &version, settings: package.settings.as_deref(), overrides: &Overrides::default() };
        let (model, room) = self.make(&candidate, false)?;
        Ok(Prepared { model: Arc::new(model), took: began.elapsed(), room, package })
    }

    /// Unloads a model to make room for another version of it, which counts as being loaded until it, or the same version
    /// again, is. Blocks.
    pub fn make_way(&self, name: &ModelName) -> Result<(), Error> {
        self.unload(name.as_str())?;
        self.change(name, |entry| {
            for slot in entry.slots.values_mut() {
                *slot = Slot { state: State::Loading, reason: "another version is being loaded".into(), model: None };
            }
        });
        Ok(())
    }

    /// Serves a prepared model instead of all other versions of its name, from one request to the next. Requests under
    /// way finish on those. Blocks until they have, for a while.
    pub fn publish(&self, prepared: Prepared) {
        let Prepared { package, model, took, room } = prepared;
        let id = model.id().clone();
        let lock = self.lock_of(&id.name);
        let _changing = hold(&lock);
        hold(&self.chosen).insert(id.name.clone(), package);
        let before: Vec<_> = self.versions(id.name.as_str()).unwrap_or_default();
        self.announce(&model, took);
        let slot = Slot { state: State::Ready, reason: String::new(), model: Some(model) };
        self.change(&id.name, |entry| {
            entry.slots = [(id.version, slot.clone())].into();
            entry.uploaded = None;
            entry.overrides = Arc::default();
        });
        self.push_out(slot.model.as_deref());
        drop((slot, room));
        self.metrics.ready(&id, true);
        for version in before.into_iter().filter(|version| *version != id.version) {
            self.metrics.unloaded(&ModelId { name: id.name.clone(), version });
        }
        self.settle();
    }

    /// Goes back from a chosen package to what the roots hold of that name; if that is nothing, or cannot be loaded, the
    /// model is unloaded. Blocks.
    pub fn unchoose(&self, name: &ModelName) -> Result<(), Error> {
        hold(&self.chosen).remove(name);
        if !self.refresh().packages.contains_key(name) {
            return self.forget(name);
        }
        self.load(name.as_str(), Overrides::default()).inspect_err(|_| {
            // What it was to replace is not wanted any more.
            let _ = self.unload(name.as_str());
        })
    }
}
