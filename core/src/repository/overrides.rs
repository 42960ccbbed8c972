//! Changes to a model that came with a load.

use crate::settings::{Settings, VersionPolicy};

/// Changes to a model for one load.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    /// Replaces `batching.max_rows`; 0 turns batching off.
    pub max_batch_rows: Option<u32>,
    /// Replaces `instances`.
    pub instances: Option<u16>,
    /// Replaces `versions`.
    pub versions: Option<VersionPolicy>,
    /// Files that stand in for the model's folder: relative paths without `..`, and contents.
    pub files: Vec<(String, Vec<u8>)>,
}

impl Overrides {
    /// Changes `settings`.
    pub fn apply(&self, settings: &mut Settings) {
        match self.max_batch_rows {
            Some(0) => settings.batching.enabled = Some(false),
            Some(rows) => settings.batching.max_rows = Some(rows),
            None => {}
        }
        settings.instances = self.instances.or(settings.instances);
        if let Some(versions) = &self.versions {
            settings.versions.clone_from(versions);
        }
    }
}
