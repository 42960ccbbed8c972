//! Which loads are tried elsewhere first, with a place that only takes notes.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};

use prometheus::Registry;

use super::tests::{TextLoader, line, write};
use super::{Candidate, Overrides, Quarantine, Refused, Repository, State, Trusted};
use crate::metrics::Metrics;

/// Notes whom it was asked about, and refuses models that contain a word.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Quarantine for Notes {
    fn try_out(&self, candidate: &Candidate<'_>) -> Result<(), Refused> {
        let id = &candidate.version.id;
        self.0.lock().unwrap().push(format!("{id} {:?}", candidate.overrides.instances));
        let text = fs::read_to_string(candidate.version.file).unwrap();
        let refused = || Refused { reason: "it bites".into(), outcome: "crashed" };
        if text.contains("bite") { Err(refused()) } else { Ok(()) }
    }

    fn stop(&self) {
        self.0.lock().unwrap().push("stop".into());
    }
}

impl Notes {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn repository(root: &Path, trusted: Trusted) -> (Repository, Notes, Registry) {
    let (notes, registry) = (Notes::default(), Registry::new());
    let repository = Repository::new(vec![root.into()], Box::new(TextLoader), Metrics::new(&registry).unwrap());
    (repository.with_quarantine(Box::new(notes.clone()), trusted), notes, registry)
}

#[test]
fn what_is_there_at_the_start_is_trusted_until_it_changes() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/1/model.onnx", "7");
    let (repository, notes, _) = repository(root.path(), Trusted::AtStart);
    repository.load_all();
    assert_eq!(line(&repository, "a").state, State::Ready);
    repository.load("a", Overrides::default()).unwrap();
    assert!(notes.take().is_empty());
    write(root.path(), "a/1/model.onnx", "88");
    repository.load("a", Overrides::default()).unwrap();
    repository.load("a", Overrides::default()).unwrap();
    let with = Overrides { instances: Some(2), ..Overrides::default() };
    repository.load("a", with).unwrap();
    assert_eq!(notes.take(), ["a/1 None", "a/1 Some(2)"]);
    write(root.path(), "b/1/model.onnx", "9");
    repository.load_at_start("b").unwrap();
    assert!(notes.take().is_empty());
    repository.stop_loading();
    assert_eq!(notes.take(), ["stop"]);
}

#[test]
fn what_does_not_pass_is_not_loaded_and_the_old_version_goes_on() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "a/1/model.onnx", "7");
    let (repository, notes, registry) = repository(root.path(), Trusted::Never);
    repository.load_all();
    assert_eq!(notes.take(), ["a/1 None"]);
    write(root.path(), "a/1/model.onnx", "bite");
    let error = repository.load("a", Overrides::default()).unwrap_err().to_string();
    assert_eq!(error, "model `a/1` cannot be loaded: it bites");
    let line = line(&repository, "a");
    assert_eq!((line.state, line.reason.as_str()), (State::Ready, "still serving; the last reload failed: it bites"));
    let counted = registry.gather().into_iter().filter(|family| family.name() == "hedef_model_trials_total");
    let labels = |metric: &prometheus::proto::Metric| metric.get_label()[1].value().to_string();
    let outcomes: Vec<_> =
        counted.flat_map(|family| family.get_metric().iter().map(labels).collect::<Vec<_>>()).collect();
    assert_eq!(outcomes, ["crashed", "ok"]);
}
