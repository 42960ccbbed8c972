//! Models in OpenVINO: fetched as a person would, right, also from many threads at once, and plain about precision.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hedef_core::backend::Backend;
use hedef_core::backend::onnx::{ModelFacts, OnnxBackend, Runtime, SessionOptions};
use hedef_core::runtime::{Package, host_target, pinned};
use hedef_core::settings::{OpenVino, Precision};
use hedef_core::{Device, Tensor};
use serde_json::Value;

use crate::binary::{Server, hedef, run};
use crate::config;
use crate::models::{Models, sample};
use crate::numbers::difference;

/// ONNX Runtime with the plug-in beside it, where that takes this machine's processor.
fn runtime() -> Option<&'static Path> {
    let library = plug_in()?;
    let is_intel = fs::read_to_string("/proc/cpuinfo").is_ok_and(|told| told.contains("GenuineIntel"));
    if !is_intel {
        eprintln!("skipped: this processor is not Intel's");
    }
    Some(library).filter(|_| is_intel)
}

/// ONNX Runtime with the plug-in beside it, fetched once into the target folder; `None` where there is no plug-in for
/// this kind of machine.
fn plug_in() -> Option<&'static Path> {
    static FETCHED: OnceLock<Option<PathBuf>> = OnceLock::new();
    FETCHED.get_or_init(|| Some(fetched(&pinned(Package::OpenVino, host_target()).ok()?.folder_name()))).as_deref()
}

fn fetched(name: &str) -> PathBuf {
    let folder = config::target().join(name);
    fs::create_dir_all(&folder).unwrap();
    // Another test process may be fetching it.
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    let complete = folder.join("complete");
    if !complete.exists() {
        let said = run(&["runtime", "fetch", "--with", "openvino", "--to", folder.to_str().unwrap()], b"");
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        File::create(complete).unwrap();
    }
    let library = run(&["runtime", "locate", folder.to_str().unwrap()], b"");
    PathBuf::from(library.stdout.trim())
}

fn flag(library: &Path) -> [&str; 2] {
    ["--onnxruntime", library.to_str().unwrap()]
}

#[test]
fn models_in_openvino_answer_as_on_the_cpu() {
    let Some(library) = runtime() else { return };
    let models = Models::samples(&["iris", "digits"]);
    for name in ["iris", "digits"] {
        models.settings(name, "device = \"openvino\"\n");
    }
    let (own, cpu) = (Server::start(models.path(), &flag(library)), Server::samples());
    for (model, file) in [
        ("iris", "seven-flowers"),
        ("iris", "far-from-any-flower"),
        ("digits", "eight-images"),
        ("digits", "one-image"),
    ] {
        let file = config::samples().join(model).join("golden").join(file).with_extension("json");
        let golden: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let ask = |server: &Server| {
            let path = format!("/v2/models/{model}/infer");
            server.client().post(&path, golden["request"].to_string()).expect(200).json()["outputs"].clone()
        };
        // Where the CPU has instructions for bf16 the answers are right to about three digits of the largest.
        assert_eq!(difference(&ask(&cpu), &ask(&own), [2e-2, 5e-3]), None, "{model}");
    }
    assert!(own.log().contains("device=\"openvino\""), "{}", own.log());
    let ended = own.stop();
    assert!(ended.status.success(), "{}: {}", ended.status, ended.log);
}

#[test]
fn check_says_what_openvino_computes_in_and_which_nodes_it_does_not_take() {
    let Some(library) = runtime() else { return };
    let models = Models::samples(&["iris", "digits"]);
    let check = |name: &str, settings: &str| {
        models.settings(name, settings);
        let model = models.path().join(name);
        let said = run(&[&["check", model.to_str().unwrap()][..], &flag(library)].concat(), b"");
        assert_eq!(said.code, Some(0), "{}", said.stderr);
        said.stdout
    };
    let auto = check("digits", "device = \"openvino\"\n");
    assert!(
        auto.contains("openvino: asked for; computes in f32, since") || auto.contains("computes in bf16"),
        "{auto}"
    );
    let f32 = check("digits", "device = \"openvino\"\nopenvino = { precision = \"f32\" }\n");
    assert!(f32.contains("openvino: asked for; computes in f32, as model.toml says"), "{f32}");
    assert!(check("iris", "device = \"openvino\"\n").contains("0 of 4 nodes run there, the others on the CPU"));
}

#[test]
fn without_the_plug_in_the_error_names_the_command_that_fetches_it_and_other_models_go_on() {
    let library = run(&["runtime", "locate"], b"").stdout;
    let models = Models::samples(&["iris", "digits"]);
    models.settings("digits", "device = \"openvino\"\n");
    let empty = tempfile::tempdir().unwrap();
    let cache = [("XDG_CACHE_HOME", empty.path().to_str().unwrap())];
    let server = Server::start_in(models.path(), &flag(Path::new(library.trim())), &cache);
    assert!(server.log().contains("`hedef runtime fetch --with openvino`"), "{}", server.log());
    server.client().get("/v2/models/digits/ready").expect(503);
    server.client().get("/v2/models/iris/ready").expect(200);
    server.stop();
}

#[test]
fn a_processor_that_openvino_does_not_take_is_named_with_what_to_do() {
    if runtime().is_some() {
        return;
    }
    let Some(library) = plug_in() else { return };
    let models = Models::samples(&["digits"]);
    models.settings("digits", "device = \"openvino\"\n");
    let said = run(&[&["check", models.path().join("digits").to_str().unwrap()][..], &flag(library)].concat(), b"");
    assert_ne!(said.code, Some(0));
    assert!(said.stderr.contains("does not take this machine's processor, whose maker is "), "{}", said.stderr);
    assert!(said.stderr.contains("Without device = \"openvino\" in model.toml"), "{}", said.stderr);
}

#[test]
fn one_session_in_openvino_gives_right_answers_to_many_threads_at_once_and_pins_none() {
    const THREADS: usize = 4;
    const RUNS: usize = 2_500;
    let Some(library) = runtime() else { return };
    let runtime = Runtime::start(library).unwrap();
    let options = |device| SessionOptions {
        instances: 2,
        openvino: OpenVino { precision: Precision::F32 },
        ..SessionOptions::plain(device)
    };
    let open =
        |device| OnnxBackend::open(&runtime, &sample("digits"), &options(device), &ModelFacts::default()).unwrap();
    let ((cpu, _), (own, placement)) = (open(Device::Cpu), open(Device::OpenVino));
    assert_eq!((placement.device, placement.reason.contains("f32")), (Device::OpenVino, true));
    let rows = |count: usize, seed: usize| {
        let element = |at: usize| f32::from(u8::try_from((at * 7 + seed * 31) % 17).unwrap());
        Tensor::from_elements([count, 64], (0..count * 64).map(element).collect::<Vec<_>>()).unwrap()
    };
    // Other shapes in turn: each is a state of its own inside OpenVINO.
    let cases: Vec<_> = [1, 2, 1, 5, 8, 3].into_iter().zip(0..).map(|(count, seed)| rows(count, seed)).collect();
    let score = |backend: &OnnxBackend, case: &Tensor| backend.run(&[case], &[0], None).unwrap().remove(0);
    let expected: Vec<_> = cases.iter().map(|case| score(&cpu, case)).collect();
    let allowed = processors_of_threads();
    std::thread::scope(|scope| {
        let work = |first: usize| {
            let (cases, expected, own) = (&cases, &expected, &own);
            move || {
                for at in (first..first + RUNS).map(|step| step % cases.len()) {
                    let found = score(own, &cases[at]);
                    let (found, expected) = (found.elements::<f32>().unwrap(), expected[at].elements::<f32>().unwrap());
                    assert_eq!(found.len(), expected.len());
                    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                    assert!(apart < 1e-4, "case {at}: {apart}");
                }
            }
        };
        let workers: Vec<_> = (0..THREADS).map(|first| scope.spawn(work(first))).collect();
        // OpenVINO would pin a thread while it runs, and free it after.
        while workers.iter().any(|worker| !worker.is_finished()) {
            assert_eq!(processors_of_threads(), allowed, "a thread is pinned");
        }
    });
}

/// The sets of processors that this process's threads may run on.
fn processors_of_threads() -> BTreeSet<String> {
    let threads = fs::read_dir("/proc/self/task").unwrap().flatten();
    // A thread that has just ended has no file any more.
    let texts = threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    let line = |text: String| text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).map(String::from);
    texts.filter_map(line).collect()
}

#[test]
fn a_package_for_a_target_that_lacks_it_is_refused_before_anything_is_fetched() {
    let arguments = ["runtime", "fetch", "--with", "openvino", "--target", "aarch64-apple-darwin", "--to"];
    let folder = tempfile::tempdir().unwrap();
    let output = hedef(&arguments).arg(folder.path()).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && text.contains("OpenVINO") && text.contains("x86_64-unknown-linux-gnu"),
        "{text}"
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was to be fetched");
}
