//! Choosing packages, with the loader of the other tests.

use prometheus::Registry;

use super::tests::{TextLoader, answer, line, write};
use super::{Package, Repository, State, scan};
use crate::ModelName;
use crate::metrics::Metrics;

fn package(root: &std::path::Path, version: u64) -> Package {
    let folder = root.join(version.to_string());
    let file = scan(std::slice::from_ref(&folder)).packages.into_values().next().unwrap().versions.remove(&1).unwrap();
    let settings = Some(folder.join("model.toml")).filter(|file| file.is_file());
    Package { name: ModelName::new("m").unwrap(), folder, settings, versions: [(version, file)].into() }
}

fn repository(root: &std::path::Path) -> Repository {
    Repository::new(vec![root.join("roots")], Box::new(TextLoader), Metrics::new(&Registry::new()).unwrap())
}

#[test]
fn what_is_chosen_stands_above_the_roots_and_is_served_when_it_is_published() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "roots/m/9/model.onnx", "9");
    write(root.path(), "3/model.onnx", "3");
    write(root.path(), "4/model.onnx", "4");
    let repository = repository(root.path());
    repository.choose([package(root.path(), 3)]);
    repository.load_all();
    assert_eq!((answer(&repository, "m"), line(&repository, "m").version), (3, Some(3)));
    let prepared = repository.prepare(package(root.path(), 4)).unwrap();
    assert_eq!((answer(&repository, "m"), prepared.model().id().version), (3, 4));
    repository.publish(prepared);
    assert_eq!((answer(&repository, "m"), repository.versions("m").unwrap()), (4, vec![4]));
    // A reload finds what was chosen, an older version can be chosen again, and none at all.
    repository.load("m", super::Overrides::default()).unwrap();
    assert_eq!(answer(&repository, "m"), 4);
    repository.publish(repository.prepare(package(root.path(), 3)).unwrap());
    assert_eq!(repository.versions("m").unwrap(), [3]);
    repository.unchoose(&ModelName::new("m").unwrap()).unwrap();
    assert_eq!((answer(&repository, "m"), repository.versions("m").unwrap()), (9, vec![9]));
}

#[test]
fn one_that_cannot_be_loaded_changes_nothing_and_one_that_nothing_replaces_is_forgotten() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("roots")).unwrap();
    write(root.path(), "1/model.onnx", "1");
    write(root.path(), "2/model.onnx", "two");
    let repository = repository(root.path());
    repository.load_all();
    repository.publish(repository.prepare(package(root.path(), 1)).unwrap());
    let Err(error) = repository.prepare(package(root.path(), 2)) else { panic!() };
    assert!(error.to_string().contains("not a number"), "{error}");
    assert_eq!((answer(&repository, "m"), line(&repository, "m").state), (1, State::Ready));
    repository.unchoose(&ModelName::new("m").unwrap()).unwrap();
    assert!(repository.index().is_empty());
}

#[test]
fn a_model_that_makes_way_counts_as_coming_until_it_is_back() {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), "roots/m/1/model.onnx", "1");
    let repository = repository(root.path());
    repository.load_all();
    repository.make_way(&ModelName::new("m").unwrap()).unwrap();
    assert!(repository.model("m", None).is_err());
    assert_eq!(line(&repository, "m").state, State::Loading);
    repository.load("m", super::Overrides::default()).unwrap();
    assert_eq!((answer(&repository, "m"), line(&repository, "m").state), (1, State::Ready));
}
