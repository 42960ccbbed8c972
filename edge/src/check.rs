//! `hedef-edge check`: whether this machine scores the models as it should, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use hedef_core::repository::{Repository, State};
use prometheus::Registry;
use serde_json::json;

use crate::config::Settings;
use crate::device::{StartError, loader};
use crate::{selftest, updates};

/// How long runs that are under way may take at the end.
const LAST_RUNS: Duration = Duration::from_secs(1);

/// Loads the models of the settings, and those that updates brought, and asks them the golden requests of their packages. Returns whether every model was
/// loaded and every answer right, and what to tell a person.
pub async fn run(settings: &Settings) -> Result<(bool, String), StartError> {
    let metrics = hedef_core::metrics::Metrics::new(&Registry::new())?;
    let (loader, _) = loader(settings)?;
    let repository = Repository::new(settings.models.clone(), Box::new(loader), metrics);
    repository.choose(updates::served(&settings.data));
    let repository = Arc::new(repository);
    let loading = Arc::clone(&repository);
    let loaded = tokio::task::spawn_blocking(move || loading.load_all()).await.is_ok();
    let (right, mut models) = selftest::run(&repository).await;
    let mut well = loaded && right;
    for entry in repository.index().into_iter().filter(|entry| entry.state != State::Ready) {
        well = false;
        if let Some(models) = models.as_object_mut() {
            models.insert(entry.name.to_string(), json!({ "not loaded": entry.reason }));
        }
    }
    tokio::task::spawn_blocking(move || repository.close(LAST_RUNS)).await.unwrap_or_default();
    Ok((well, format!("{models:#}\n")))
}
