//! `hedef keys`: makes API keys.

use hedef_server::KeyEntry;

use crate::arguments::{Keys, Permission};
use crate::logging::{print, tell};

/// Makes a key.
pub(crate) fn run(command: Keys) -> anyhow::Result<()> {
    let Keys::New(new) = command;
    let allow = new.allow.into_iter().map(|permission| match permission {
        Permission::Score => hedef_server::Permission::Score,
        Permission::Admin => hedef_server::Permission::Admin,
        Permission::Metrics => hedef_server::Permission::Metrics,
    });
    let entry = KeyEntry {
        name: new.name,
        sha256: String::new(),
        allow: allow.collect(),
        models: Some(new.model).filter(|models| !models.is_empty()),
        requests_per_second: new.requests_per_second,
        burst: new.burst,
    };
    let made = hedef_server::NewKey::make(entry).map_err(anyhow::Error::msg)?;
    // So that `>> keys.toml` adds the entry and shows the key.
    print(&format!("{}\n", made.entry));
    tell(&format!("the key, which is shown this once: {}", made.key));
    Ok(())
}
