//! Whether the models answer as they should: the golden requests of their packages.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use hedef_core::repository::Repository;
use hedef_core::{Model, ModelName};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::scoring::{Answer, Question, ScoreError, ask, score};

/// The tolerances where a file has none.
const USUAL: [f64; 2] = [1e-3, 1e-5];

/// The most golden files of one model that are asked.
const MOST: usize = 32;

/// A golden file: its name and what is in it.
type Golden = (String, Vec<u8>);

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
fn files(folder: &Path) -> Vec<Golden> {
    let entries = fs::read_dir(folder.join("golden")).into_iter().flatten().flatten();
    let files =
        entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|ending| ending == "json"));
    let mut files: Vec<_> = files.collect();
    files.sort();
    let name = |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    files.iter().take(MOST).map(|path| (name(path), fs::read(path).unwrap_or_default())).collect()
}

/// Asks a model the golden requests in these files of its package. Fails with the first difference.
pub(crate) async fn try_model(model: &Model, folder: &Path, files: &[String]) -> Result<(), String> {
    for file in files {
        let path = folder.join(file);
        let text = tokio::task::spawn_blocking(move || fs::read(path)).await.map_err(|error| error.to_string())?;
        let golden = Request::read(file, &text.map_err(|error| format!("{file}: {error}"))?)?;
        golden.judge(ask(model, golden.question(None)).await)?;
    }
    Ok(())
}

async fn try_one(repository: &Arc<Repository>, model: &str, (name, text): &Golden) -> Result<(), String> {
    let golden = Request::read(name, text)?;
    // Who stops the device drops this.
    golden.judge(score(repository, golden.question(Some(model)), &CancellationToken::new()).await)
}

/// A golden request with what is expected.
struct Request {
    name: String,
    golden: Value,
    body: String,
}

impl Request {
    fn read(name: &str, text: &[u8]) -> Result<Self, String> {
        let golden: Value = serde_json::from_slice(text).map_err(|error| format!("{name}: {error}"))?;
        let body = golden.get("request").map(Value::to_string).unwrap_or_default();
        Ok(Self { name: name.into(), golden, body })
    }

    fn question<'q>(&'q self, model: Option<&'q str>) -> Question<'q> {
        Question { model, content_type: Some("application/json"), body: self.body.as_bytes(), filter: None }
    }

    fn judge(&self, answer: Result<Answer, ScoreError>) -> Result<(), String> {
        let wrong = |reason: String| format!("{}: {reason}", self.name);
        let answer = answer.map_err(|error| wrong(error.told()))?;
        let answer: Value =
            serde_json::from_slice(&answer.body.unwrap_or_default()).map_err(|error| wrong(error.to_string()))?;
        let [rtol, atol] = USUAL;
        let tolerance = |name, usual| self.golden.get(name).and_then(Value::as_f64).unwrap_or(usual);
        let expected = self.golden.pointer("/response/outputs").unwrap_or(&Value::Null);
        let found = answer.get("outputs").unwrap_or(&Value::Null);
        let close = Close { rtol: tolerance("rtol", rtol), atol: tolerance("atol", atol) };
        close.compare(expected, found).map_err(wrong)
    }
}

/// How close numbers have to be.
struct Close {
    rtol: f64,
    atol: f64,
}

impl Close {
    /// Fails with the first place where `found` lacks something of `expected`.
    fn compare(&self, expected: &Value, found: &Value) -> Result<(), String> {
        let short = |value: &Value| value.to_string().chars().take(80).collect::<String>();
        let differ = || Err(format!("expected {}, found {}", short(expected), short(found)));
        match (expected, found) {
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                expected.iter().zip(found).try_for_each(|(expected, found)| self.compare(expected, found))
            }
            (Value::Object(expected), Value::Object(found)) => expected.iter().try_for_each(|(name, expected)| {
                self.compare(expected, found.get(name).unwrap_or(&Value::Null))
                    .map_err(|difference| format!("{name}: {difference}"))
            }),
            (Value::Number(wanted), Value::Number(number)) => match (wanted.as_f64(), number.as_f64()) {
                (Some(wanted), Some(number)) if (wanted - number).abs() <= self.atol + self.rtol * wanted.abs() => {
                    Ok(())
                }
                _ => differ(),
            },
            (expected, found) if expected == found => Ok(()),
            _ => differ(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_may_differ_by_the_tolerance_and_nothing_else_may() {
        let close = Close { rtol: 0.01, atol: 0.0 };
        let compare = |expected: Value, found: Value| close.compare(&expected, &found);
        assert_eq!(compare(json!([{"data": [1.0, "a"]}]), json!([{"data": [1.009, "a"], "more": 1}])), Ok(()));
        for (expected, found) in [
            (json!([1.0]), json!([1.02])),
            (json!([1.0]), json!([1.0, 2.0])),
            (json!({"a": 1}), json!({})),
            (json!("a"), json!("b")),
            (json!([0.0]), json!(["NaN"])),
        ] {
            assert!(compare(expected.clone(), found).is_err(), "{expected}");
        }
    }
}
