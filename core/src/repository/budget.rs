//! How much memory all models together may take.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::{Repository, Slot, State, Version, hold};
use crate::{Error, Model, ModelId};

/// Why a model that was in the way of others is unavailable.
pub(super) const EVICTED: &str = "unloaded to stay within the memory budget; the next request loads it";

/// The memory that loaded models may take, and what happens beyond it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// The bytes, mapped ones included.
    pub bytes: u64,
    /// What happens to a model that does not fit.
    pub over: OverBudget,
}

/// What happens to a model that does not fit into the budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverBudget {
    /// Others make room, the one not asked for the longest time first.
    Evict,
    /// It is not loaded.
    Refuse,
}

/// What loads under way are expected to take.
pub(super) type Reserved = Mutex<HashMap<ModelId, u64>>;

/// Room for a model that is being loaded, until dropped.
pub(super) struct Room {
    reserved: Arc<Reserved>,
    id: ModelId,
}

impl Drop for Room {
    fn drop(&mut self) {
        hold(&self.reserved).remove(&self.id);
    }
}

impl Repository {
    /// Whether a model would have to push others out.
    pub(super) fn is_crowded(&self, version: &Version<'_>) -> bool {
        let Some(budget) = self.budget.filter(|budget| budget.over == OverBudget::Evict) else { return false };
        let taken = self.taken(&version.id, &hold(&self.reserved));
        taken.saturating_add(self.loader.estimate(version)) > budget.bytes
    }

    /// Leaves a model to be loaded by its first request.
    pub(super) fn postpone(&self, id: &ModelId) {
        tracing::info!(model = %id, "the memory budget is used up; the first request loads the model");
        self.put_to_sleep(id);
        self.metrics.ready(id, true);
    }

    /// Makes room for a model before it is loaded, by what its files say. It is held until the model is in its slot.
    pub(super) fn admit(&self, version: &Version<'_>) -> Result<Option<Room>, Error> {
        let Some(budget) = self.budget else { return Ok(None) };
        let (id, needed) = (&version.id, self.loader.estimate(version));
        if self.fit(id, needed, budget)? {
            // What made room gives its memory back first, or both would be there at once.
            self.settle();
        }
        Ok(Some(Room { reserved: Arc::clone(&self.reserved), id: id.clone() }))
    }

    /// Makes room for what a model turned out to take; to be called while the room it was admitted to is held.
    pub(super) fn accommodate(&self, model: &Model) -> Result<(), Error> {
        let Some(budget) = self.budget else { return Ok(()) };
        self.fit(model.id(), model.status().memory.total(), budget).map(drop)
    }

    /// Makes room for a model that can be seen now, unless it had to make some already: of two that were loaded at the same
    /// time, neither saw the other before, and both are there. To be called while its room is held.
    pub(super) fn push_out(&self, model: Option<&Model>) {
        let Some((model, budget)) = model.zip(self.budget) else { return };
        let mut reserved = hold(&self.reserved);
        if self.models().iter().any(|seen| seen.id() == model.id()) {
            // What is refused was refused before it could be seen.
            let _ = self.fit_in(&mut reserved, model.id(), model.status().memory.total(), budget);
        }
    }

    /// Reserves room, and says whether somebody had to make some.
    fn fit(&self, id: &ModelId, needed: u64, budget: Budget) -> Result<bool, Error> {
        // Held to the end, so that two loads do not count on the same room.
        self.fit_in(&mut hold(&self.reserved), id, needed, budget)
    }

    fn fit_in(
        &self,
        reserved: &mut HashMap<ModelId, u64>,
        id: &ModelId,
        needed: u64,
        budget: Budget,
    ) -> Result<bool, Error> {
        let refused = |taken: u64| {
            let mib = |bytes: u64| bytes.div_ceil(1 << 20);
            let reason = format!(
                "it needs about {} MiB of memory; other models take {} of the {} MiB of --memory-budget",
                mib(needed),
                mib(taken),
                mib(budget.bytes)
            );
            Err(Error::OverBudget { model: id.to_string(), reason })
        };
        let mut made = false;
        loop {
            let taken = self.taken(id, reserved);
            if taken.saturating_add(needed) <= budget.bytes {
                break;
            }
            if budget.over == OverBudget::Refuse || needed > budget.bytes {
                return refused(taken);
            }
            let mut others = self.models();
            others.retain(|model| model.id() != id);
            // What is left is being loaded: it makes room for itself when it is there.
            let Some(oldest) = others.iter().min_by_key(|model| model.last_used_ns()) else { break };
            tracing::info!(model = %oldest.id(), makes_room_for = %id, "model is unloaded to stay within the memory budget");
            self.put_to_sleep(oldest.id());
            self.metrics.evicted(oldest.id());
            made = true;
        }
        reserved.insert(id.clone(), needed);
        Ok(made)
    }

    /// The bytes that all models but `id` take, or are expected to.
    fn taken(&self, id: &ModelId, reserved: &HashMap<ModelId, u64>) -> u64 {
        let loaded = self.models();
        // A model that is being loaded counts as it will be.
        let loaded = loaded.iter().filter(|model| !reserved.contains_key(model.id()));
        let loaded = loaded.map(|model| (model.id(), model.status().memory.total()));
        loaded
            .chain(reserved.iter().map(|(id, bytes)| (id, *bytes)))
            .filter(|(other, _)| *other != id)
            .fold(0, |sum, (_, bytes)| sum.saturating_add(bytes))
    }

    fn put_to_sleep(&self, id: &ModelId) {
        let asleep = Slot { state: State::Unavailable, reason: EVICTED.into(), model: None };
        self.change(&id.name, |entry| {
            entry.slots.insert(id.version, asleep.clone());
        });
        self.metrics.memory(id, super::ModelMemory::default());
    }
}
