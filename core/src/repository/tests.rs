//! Loading, reloading and unloading with a loader that needs no ONNX Runtime: a model file's text is its answer.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;

use super::quota;
use super::watch::View;
use super::{IndexEntry, Load, Overrides, Repository, State, Version};
use crate::backend::{Backend, RunError, Stop};
use crate::host::{Cpus, machine};
use crate::metrics::Metrics;
use crate::model::{Parts, Slots, Status, Tuning};
use crate::{DataType, Dim, Kind, Model, Request, Signature, Tensor, TensorSpec};

/// Answers with the number that stood in the model file.
#[derive(Debug)]
struct Constant(Signature, i64);

impl Backend for Constant {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn run(&self, _: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        Ok(vec![Tensor::from_elements([1], vec![self.1]).unwrap()])
    }
}

pub(super) struct TextLoader;

impl Load for TextLoader {
    fn load(&self, version: &Version<'_>) -> Result<Parts, String> {
        let text = fs::read_to_string(version.file).map_err(|error| error.to_string())?;
        let number = text.trim().parse().map_err(|_| format!("not a number: `{}`", text.trim()))?;
        let spec = TensorSpec::new("y", DataType::Int64, Some(vec![Dim::Fixed(1)]));
        let signature = Signature { inputs: vec![], outputs: vec![spec], batch_axis: false };
        let backend = Arc::new(Constant(signature.clone(), number));
        let instances = usize::from(version.settings.instances.unwrap_or(1));
        let status = Status { instances, ..Status::default() };
        Ok(Parts {
            id: version.id.clone(),
            signature,
            backend,
            status,
            queue_capacity: 8,
            tuning: Tuning { elastic: version.settings.instances.is_none(), ..Tuning::default() },
            slots: Arc::new(Slots::new(2)),
            later: None,
            image: None,
        })
    }
}

pub(super) fn write(root: &Path, file: &str, text: &str) {
    let path = root.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn repository(root: &Path) -> Repository {
    Repository::new(vec![root.into()], Box::new(TextLoader), Metrics::new(&Registry::new()).unwrap())
}

fn ask(model: &Model) -> i64 {
    let request = Request::new(model.signature(), Vec::<(&str, _)>::new()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(model.infer(request)).unwrap().outputs[0].1.elements::<i64>().unwrap()[0]
}

pub(super) fn answer(repository: &Repository, name: &str) -> i64 {
    ask(&repository.model(name, None).unwrap())
}

pub(super) fn line(repository: &Repository, name: &str) -> IndexEntry {
    repository.index().into_iter().find(|entry| entry.name.as_str() == name).unwrap()
}

#[test]
fn one_model_that_cannot_load_does_not_stop_the_others() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "bad/model.onnx", "x");
    write(root.path(), "good/model.onnx", "7");
    write(root.path(), "wrong/model.onnx", "7");
    write(root.path(), "wrong/model.toml", "unknown_key = 1");
    let repository = repository(root.path());
    assert!(!repository.is_ready());
    repository.load_all();
    assert!(repository.is_ready());
    assert_eq!(answer(&repository, "good"), 7);
    assert_eq!(line(&repository, "bad").state, State::Unavailable);
    assert!(line(&repository, "bad").reason.contains("not a number"));
    assert!(line(&repository, "wrong").reason.contains("unknown_key"));
    let error = repository.model("bad", None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.to_string().contains("not a number"), "{error}");
}

#[test]
fn a_reload_swaps_and_a_failed_one_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "m/model.onnx", "1");
    let repository = repository(root.path());
    repository.load_all();
    let old = repository.model("m", None).unwrap();
    write(root.path(), "m/model.onnx", "2");
    // The old version is held, so its instance cannot end; the reload must not wait for that for ever.
    assert_eq!(ask(&old), 1);
    drop(old);
    repository.load("m", Overrides::default()).unwrap();
    assert_eq!(answer(&repository, "m"), 2);
    write(root.path(), "m/model.onnx", "broken");
    assert!(repository.load("m", Overrides::default()).is_err());
    assert_eq!(answer(&repository, "m"), 2);
    assert_eq!(line(&repository, "m").state, State::Ready);
    assert!(line(&repository, "m").reason.contains("the last reload failed"));
}

#[test]
fn versions_follow_the_policy_and_the_highest_is_the_default() {
    let root = tempfile::tempdir().unwrap();
    for version in ["1", "2", "10"] {
        write(root.path(), &format!("m/{version}/model.onnx"), version);
    }
    write(root.path(), "m/model.toml", "versions = \"all\"");
    let repository = repository(root.path());
    repository.load_all();
    assert_eq!(repository.versions("m").unwrap(), [1, 2, 10]);
    assert_eq!(answer(&repository, "m"), 10);
    assert_eq!(ask(&repository.model("m", Some("2")).unwrap()), 2);
    let error = repository.model("m", Some("3")).unwrap_err();
    assert_eq!(error.to_string(), "model `m` has no version `3`: there is 1, 2, 10");
    write(root.path(), "m/model.toml", "versions = [1]");
    repository.load("m", Overrides::default()).unwrap();
    assert_eq!(repository.versions("m").unwrap(), [1]);
}

#[test]
fn an_unloaded_model_says_so_and_can_come_back() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "m/model.onnx", "1");
    let repository = repository(root.path());
    assert_eq!((line(&repository, "m").version, line(&repository, "m").reason.as_str()), (None, "not loaded"));
    repository.load("m", Overrides::default()).unwrap();
    repository.unload("m").unwrap();
    assert_eq!(line(&repository, "m").reason, "unloaded");
    assert_eq!(repository.model("m", None).unwrap_err().kind(), Kind::Unavailable);
    repository.load("m", Overrides::default()).unwrap();
    assert_eq!(answer(&repository, "m"), 1);
    assert_eq!(repository.unload("nobody").unwrap_err().kind(), Kind::NotFound);
    assert_eq!(repository.load("nobody", Overrides::default()).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn files_and_settings_can_come_with_a_load() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "m/model.onnx", "1");
    let repository = repository(root.path());
    let files = vec![("3/model.onnx".to_string(), b"42".to_vec())];
    repository.load("m", Overrides { files, instances: Some(2), ..Overrides::default() }).unwrap();
    assert_eq!(answer(&repository, "m"), 42);
    let model = repository.model("m", Some("3")).unwrap();
    assert_eq!(model.status().instances, 2);
    drop(model);
    let outside = vec![("../x/model.onnx".to_string(), b"42".to_vec())];
    let error = repository.load("m", Overrides { files: outside, ..Overrides::default() }).unwrap_err();
    assert!(error.to_string().contains("inside the model's folder"), "{error}");
    repository.load("m", Overrides::default()).unwrap();
    assert_eq!(answer(&repository, "m"), 1);
}

#[test]
fn the_watcher_waits_until_files_have_come_to_rest() {
    let root = tempfile::tempdir().unwrap();
    let repository = repository(root.path());
    repository.load_all();
    let mut view = View::default();
    write(root.path(), "m/1/model.onnx", "1");
    view.follow(&repository);
    assert!(repository.model("m", None).is_err(), "seen once");
    write(root.path(), "m/1/model.onnx", "11");
    view.follow(&repository);
    assert!(repository.model("m", None).is_err(), "changed since");
    view.follow(&repository);
    assert_eq!(answer(&repository, "m"), 11);
    write(root.path(), "m/2/model.onnx", "broken file");
    view.follow(&repository);
    view.follow(&repository);
    assert_eq!(answer(&repository, "m"), 11, "the old version goes on");
    fs::remove_dir_all(root.path().join("m")).unwrap();
    view.follow(&repository);
    assert_eq!(answer(&repository, "m"), 11, "gone once");
    view.follow(&repository);
    assert_eq!(repository.model("m", None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn closing_waits_for_what_is_queued() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "m/model.onnx", "1");
    let repository = Arc::new(repository(root.path()));
    repository.load_all();
    assert!(repository.close(Duration::from_secs(60)));
    assert_eq!(repository.model("m", None).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_quota_that_changes_moves_the_models_that_follow_it() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "follows/model.onnx", "1");
    write(root.path(), "fixed/model.onnx", "2");
    write(root.path(), "fixed/model.toml", "instances = 2");
    let repository = repository(root.path());
    repository.load_all();
    let slots = Slots::new(1);
    let measure = |quota: &str| {
        let files = [
            ("sys/devices/system/cpu/online", "0-15\n"),
            ("proc/self/cgroup", "0::/box\n"),
            ("proc/self/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"),
            ("sys/fs/cgroup/box/cpu.max", quota),
        ];
        Cpus::measure(machine(&files).path())
    };
    let instances = |name: &str| repository.model(name, None).unwrap().report().instances;
    quota::follow(&repository, &slots, &measure("400000 100000\n"));
    assert_eq!((slots.all(), instances("follows"), instances("fixed")), (4, 4, 2));
    quota::follow(&repository, &slots, &measure("150000 100000\n"));
    assert_eq!((slots.all(), instances("follows")), (2, 4), "threads bound the runs, idle instances cost nothing");
    assert_eq!((answer(&repository, "follows"), answer(&repository, "fixed")), (1, 2));
}
