//! Whether the models answer as they should: the golden requests of their packages.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hedef_core::repository::Repository;
use hedef_core::{Model, ModelName};
use hedef_protocols::golden::Golden;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::scoring::{Answer, Question, ScoreError, ask, score};
use crate::watchdog::Beat;

/// The most golden files of one model that are asked.
const MOST: usize = 32;

/// A golden file: its name and what is in it.
type Found = (String, Vec<u8>);

/// Scores every golden request of every model that is loaded, and compares. Returns whether all is well, and for each model
/// how many answers were right and the first difference.
pub async fn run(repository: &Arc<Repository>) -> (bool, Value) {
    let names: Vec<_> = repository.models().iter().map(|model| model.id().name.clone()).collect();
    let looking = Arc::clone(repository);
    let read = tokio::task::spawn_blocking(move || {
        let found = looking.look();
        let files =
            |name: &ModelName| found.packages.get(name).map(|package| files(&package.folder)).unwrap_or_default();
        names.into_iter().map(|name| (files(&name), name)).collect::<Vec<_>>()
    });
    let (mut well, mut models) = (true, serde_json::Map::new());
    for (files, name) in read.await.unwrap_or_default() {
        let (mut right, mut difference) = (0, None);
        for file in &files {
            match try_one(repository, name.as_str(), file).await {
                Ok(()) => right += 1,
                Err(wrong) => {
                    difference.get_or_insert(wrong);
                }
            }
        }
        well &= difference.is_none();
        models.insert(name.to_string(), json!({ "right": right, "of": files.len(), "difference": difference }));
    }
    well &= !models.is_empty();
    (well, Value::Object(models))
}

/// Blocks. A file that cannot be read is empty, and no golden request.
fn files(folder: &Path) -> Vec<Found> {
    let entries = fs::read_dir(folder.join("golden")).into_iter().flatten().flatten();
    let files =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let mut files: Vec<_> = files.collect();
    files.sort_unstable();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    files.iter().take(MOST).map(|path| (name(path), fs::read(path).unwrap_or_default())).collect()
}

/// Asks a model the golden requests in these files of its package. Fails with the first difference.
pub(crate) async fn try_model(model: &Model, folder: &Path, files: &[String]) -> Result<(), String> {
    for file in files {
        let path = folder.join(file);
        let text = tokio::task::spawn_blocking(move || fs::read(path)).await.map_err(|error| error.to_string())?;
        let golden = read(file, &text.map_err(|error| format!("{file}: {error}"))?)?;
        judge(file, &golden, ask(model, question(&golden, None)).await)?;
    }
    Ok(())
}

async fn try_one(repository: &Arc<Repository>, model: &str, (name, text): &Found) -> Result<(), String> {
    let golden = read(name, text)?;
    // Who stops the device drops this.
    let answer = score(repository, question(&golden, Some(model)), &CancellationToken::new(), &Beat::unwatched()).await;
    judge(name, &golden, answer)
}

fn read(name: &str, text: &[u8]) -> Result<Golden, String> {
    Golden::parse(name, text).map_err(|error| error.to_string())
}

fn question<'q>(golden: &'q Golden, model: Option<&'q str>) -> Question<'q> {
    Question { model, content_type: Some("application/json"), body: golden.request(), filter: None, due: None }
}

fn judge(name: &str, golden: &Golden, answer: Result<Answer, ScoreError>) -> Result<(), String> {
    let wrong = |reason: String| format!("{name}: {reason}");
    let answer = answer.map_err(|error| wrong(error.told()))?;
    golden.compare(&answer.body.unwrap_or_default()).map_err(wrong)
}
