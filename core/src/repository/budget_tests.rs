//! A memory budget, with models whose memory is the number in their file.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use prometheus::{Encoder, Registry, TextEncoder};

use super::budget::EVICTED;
use super::*;
use crate::Error;
use crate::backend::{Backend, RunError, Stop};
use crate::model::{Slots, Status, Tuning};
use crate::{DataType, Dim, Request, Signature, Tensor, TensorSpec};

#[derive(Debug)]
struct Nothing(Signature);

impl Backend for Nothing {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn run(&self, _: &[&Tensor], _: &[usize], _: Option<&Stop>) -> Result<Vec<Tensor>, RunError> {
        Ok(vec![Tensor::from_elements([1], vec![1_i64]).unwrap()])
    }
}

/// Loads that wait at a gate while it is shut, and are counted.
#[derive(Default)]
struct Gate {
    shut: Mutex<bool>,
    moved: Condvar,
    loads: AtomicUsize,
}

impl Gate {
    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap() = shut;
        self.moved.notify_all();
    }
}

struct Sized(Arc<Gate>);

impl Load for Sized {
    fn load(&self, version: &Version<'_>) -> Result<Parts, String> {
        drop(self.0.moved.wait_while(self.0.shut.lock().unwrap(), |shut| *shut).unwrap());
        self.0.loads.fetch_add(1, Ordering::Relaxed);
        let private = self.estimate(version);
        let spec = TensorSpec::new("y", DataType::Int64, Some(vec![Dim::Fixed(1)]));
        let signature = Signature { inputs: vec![], outputs: vec![spec], batch_axis: false };
        let memory = ModelMemory { mapped: 0, private };
        let instances = usize::from(version.settings.instances.unwrap_or(1));
        Ok(Parts {
            id: version.id.clone(),
            backend: Arc::new(Nothing(signature.clone())),
            signature,
            status: Status { memory, instances, ..Status::default() },
            queue_capacity: 8,
            tuning: Tuning::default(),
            slots: Arc::new(Slots::new(2)),
            later: None,
            image: None,
        })
    }

    fn estimate(&self, version: &Version<'_>) -> u64 {
        fs::read_to_string(version.file).unwrap().trim().parse().unwrap()
    }
}

struct House {
    _root: tempfile::TempDir,
    repository: Arc<Repository>,
    gate: Arc<Gate>,
    registry: Registry,
}

fn house(models: &[(&str, u64)], bytes: u64, over: OverBudget) -> House {
    let root = tempfile::tempdir().unwrap();
    for (name, bytes) in models {
        write(root.path(), name, *bytes);
    }
    let (gate, registry) = (Arc::new(Gate::default()), Registry::new());
    let loader = Box::new(Sized(Arc::clone(&gate)));
    let repository = Repository::new(vec![root.path().into()], loader, Metrics::new(&registry).unwrap());
    let repository = Arc::new(repository.with_budget(Some(Budget { bytes, over })));
    House { _root: root, repository, gate, registry }
}

fn write(root: &Path, name: &str, bytes: u64) {
    fs::create_dir_all(root.join(name)).unwrap();
    fs::write(root.join(name).join("model.onnx"), bytes.to_string()).unwrap();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

impl House {
    fn load(&self, name: &str) -> Result<(), Error> {
        self.repository.load(name, Overrides::default())
    }

    fn loaded(&self) -> Vec<String> {
        self.repository.models().iter().map(|model| model.id().name.to_string()).collect()
    }

    fn ask(&self, name: &str) {
        let model = block_on(self.repository.awake(name, None)).unwrap();
        let request = Request::new(model.signature(), Vec::<(&str, _)>::new()).unwrap();
        block_on(model.infer(request)).unwrap();
    }

    fn reason(&self, name: &str) -> String {
        self.repository.index().into_iter().find(|entry| entry.name.as_str() == name).unwrap().reason
    }

    fn metric(&self, line: &str) -> bool {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap().contains(line)
    }
}

#[test]
fn the_model_not_asked_for_the_longest_time_makes_room_and_comes_back_when_asked() {
    let house = house(&[("a", 40), ("b", 40), ("c", 40)], 100, OverBudget::Evict);
    house.repository.finish_start();
    house.load("a").unwrap();
    house.load("b").unwrap();
    house.ask("a");
    house.load("c").unwrap();
    assert_eq!(house.loaded(), ["a", "c"]);
    assert_eq!(house.reason("b"), EVICTED);
    assert!(house.metric(r#"hedef_model_evictions_total{model="b",version="1"} 1"#));
    assert!(house.metric(r#"hedef_model_memory_bytes{kind="private",model="b",version="1"} 0"#));
    let asleep = house.repository.model("b", None).unwrap_err();
    assert!(asleep.to_string().contains("the next request loads it"), "{asleep}");
    assert_eq!(house.repository.versions("b").unwrap(), [1]);

    house.ask("b");
    assert_eq!(house.loaded(), ["b", "c"]);
    assert!(house.metric(r#"hedef_model_on_demand_loads_total{model="b",version="1"} 1"#));
    assert!(house.metric(r#"hedef_model_memory_bytes{kind="private",model="b",version="1"} 40"#));
    assert!(house.repository.is_ready());
}

/// Neither is there while the other is measured.
#[test]
fn of_two_that_are_loaded_at_once_one_makes_room() {
    for _ in 0..50 {
        let house = house(&[("a", 60), ("b", 60)], 100, OverBudget::Evict);
        house.gate.set(true);
        std::thread::scope(|scope| {
            let loads = ["a", "b"].map(|name| {
                scope.spawn({
                    let house = &house;
                    move || house.load(name)
                })
            });
            while hold(&house.repository.reserved).len() < 2 {
                std::thread::yield_now();
            }
            house.gate.set(false);
            for load in loads {
                load.join().unwrap().unwrap();
            }
        });
        assert_eq!(house.loaded().len(), 1);
    }
}

#[test]
fn with_refuse_the_load_fails_and_says_what_is_taken() {
    let house = house(&[("a", 80 << 20), ("b", 40 << 20)], 100 << 20, OverBudget::Refuse);
    house.load("a").unwrap();
    let refused = house.load("b").unwrap_err().to_string();
    assert!(refused.contains("about 40 MiB") && refused.contains("80 of the 100 MiB"), "{refused}");
    assert_eq!(house.loaded(), ["a"]);
    house.load("a").unwrap();
    house.repository.unload("a").unwrap();
    house.load("b").unwrap();
}

#[test]
fn what_fits_into_no_budget_pushes_nobody_out() {
    let house = house(&[("a", 80), ("b", 101)], 100, OverBudget::Evict);
    house.load("a").unwrap();
    house.load("b").unwrap_err();
    assert_eq!(house.loaded(), ["a"]);
}

#[test]
fn at_the_start_what_does_not_fit_is_left_to_its_first_request() {
    let house = house(&[("a", 60), ("b", 60), ("c", 60)], 100, OverBudget::Evict);
    house.repository.load_all();
    let names = ["a", "b", "c"];
    assert_eq!(house.loaded().len(), 1);
    assert!(house.repository.is_ready());
    for name in names {
        house.ask(name);
        assert_eq!(house.loaded(), [name]);
    }
}

#[test]
fn all_who_ask_for_a_model_wait_for_one_load() {
    let house = house(&[("a", 60), ("b", 60)], 100, OverBudget::Evict);
    house.load("a").unwrap();
    house.load("b").unwrap();
    let before = house.gate.loads.load(Ordering::Relaxed);
    house.gate.set(true);
    block_on(async {
        let ask = || {
            let repository = Arc::clone(&house.repository);
            tokio::spawn(async move { repository.awake("a", Some("1")).await.map(|model| model.id().to_string()) })
        };
        let all: Vec<_> = (0..20).map(|_| ask()).collect();
        // Who leaves does not stop the load for the others.
        all[0].abort();
        tokio::task::yield_now().await;
        house.gate.set(false);
        for one in all.into_iter().skip(1) {
            assert_eq!(one.await.unwrap().unwrap(), "a/1");
        }
    });
    assert_eq!(house.gate.loads.load(Ordering::Relaxed), before + 1);
}

#[test]
fn a_model_comes_back_as_it_was_loaded() {
    let house = house(&[("a", 60), ("b", 60)], 100, OverBudget::Evict);
    let files = vec![("1/model.onnx".to_owned(), b"50".to_vec())];
    house.repository.load("a", Overrides { instances: Some(3), files, ..Overrides::default() }).unwrap();
    house.load("b").unwrap();
    assert_eq!(house.loaded(), ["b"]);
    let again = block_on(house.repository.awake("a", None)).unwrap();
    assert_eq!((again.status().instances, again.status().memory.private), (3, 50));
}

#[test]
fn a_model_that_cannot_come_back_says_why() {
    let house = house(&[("a", 60), ("b", 60)], 100, OverBudget::Evict);
    house.load("a").unwrap();
    house.load("b").unwrap();
    fs::remove_dir_all(house._root.path().join("a")).unwrap();
    let error = block_on(house.repository.awake("a", None)).unwrap_err().to_string();
    assert!(error.contains("its files are gone"), "{error}");
    house.repository.unload("b").unwrap();
    assert_eq!(block_on(house.repository.awake("b", None)).unwrap_err().kind(), crate::Kind::Unavailable);
}

#[test]
fn models_that_push_one_another_out_are_all_answered() {
    let names = ["a", "b", "c", "d"];
    let house = house(&names.map(|name| (name, 40)), 100, OverBudget::Evict);
    house.repository.load_all();
    std::thread::scope(|scope| {
        for turn in 0..4 {
            let house = &house;
            scope.spawn(move || {
                for step in 0..25 {
                    let name = names[(turn + step) % 4];
                    match block_on(house.repository.awake(name, None)) {
                        Ok(model) => assert_eq!(model.id().name.as_str(), name),
                        // Pushed out again each time it was loaded.
                        Err(error) => assert!(matches!(error, Error::Evicted { .. }), "{error}"),
                    }
                }
            });
        }
    });
    let taken: u64 = house.repository.models().iter().map(|model| model.status().memory.total()).sum();
    assert!(taken <= 100, "{taken}");
    assert!(house.repository.close(std::time::Duration::from_secs(30)));
}

#[test]
fn a_prepared_model_counts_until_it_is_dropped() {
    let house = house(&[("a", 6), ("b", 6)], 10, OverBudget::Refuse);
    let package = |name: &str| house.repository.look().packages.remove(name).unwrap();
    let first = house.repository.prepare(package("a")).unwrap();
    assert!(house.repository.prepare(package("b")).is_err());
    drop(first);
    assert!(house.repository.prepare(package("b")).is_ok());
}
