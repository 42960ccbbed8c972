//! Models on a GPU. These tests run where ONNX Runtime with CUDA (`hedef runtime fetch --with cuda`, or `ORT_DYLIB_PATH`)
//! and a device are there, and pass at once where they are not.

use std::fs;
use std::path::Path;

use hedef_core::backend::Backend;
use hedef_core::backend::onnx::{ModelFacts, OnnxBackend, Runtime, SessionOptions};
use hedef_core::runtime::{Dirs, ensure};
use hedef_core::{Device, Tensor};
use serde_json::Value;

use crate::binary::{Server, run};
use crate::config;
use crate::mixing;
use crate::models::{Models, sample};
use crate::numbers::difference;

/// What a GPU adds up in another order than the CPU, relative and absolute.
const TOLERANCE: [f64; 2] = [1e-4, 1e-5];

/// Whether there is a GPU, and an ONNX Runtime that can use it.
fn gpu() -> bool {
    let library = || ensure(None, &Dirs::from_process(), |_| {}).unwrap().path;
    let there =
        Path::new("/dev/nvidia0").exists() && library().with_file_name("libonnxruntime_providers_cuda.so").exists();
    println!("{}", if there { "there is a GPU" } else { "there is no GPU: nothing was tested" });
    there
}

#[test]
fn models_on_cuda_answer_as_on_the_cpu() {
    if !gpu() {
        return;
    }
    let (own, cpu) =
        (Models::samples(&["iris", "digits", "language"]), Models::samples(&["iris", "digits", "language"]));
    for name in ["iris", "digits", "language"] {
        own.settings(name, "device = \"cuda:0\"\n");
        cpu.settings(name, "device = \"cpu\"\n");
    }
    let (own, cpu) = (Server::start(own.path(), &[]), Server::start(cpu.path(), &[]));
    let mut compared = 0;
    for name in ["iris", "digits", "language"] {
        for file in fs::read_dir(config::samples().join(name).join("golden")).unwrap() {
            let golden: Value = serde_json::from_slice(&fs::read(file.unwrap().path()).unwrap()).unwrap();
            let ask = |server: &Server| {
                let path = format!("/v2/models/{name}/infer");
                server.client().post(&path, golden["request"].to_string()).expect(200).json()["outputs"].clone()
            };
            assert_eq!(difference(&ask(&cpu), &ask(&own), TOLERANCE), None, "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
    assert!(own.log().contains("device=\"cuda:0\""), "{}", own.log());
    let ended = own.stop();
    assert!(ended.status.success(), "{}: {}", ended.status, ended.log);
}

#[test]
fn one_session_on_cuda_gives_right_answers_to_many_threads_at_once() {
    const THREADS: usize = 8;
    const RUNS: usize = 1_000;
    if !gpu() {
        return;
    }
    let runtime = Runtime::start(&ensure(None, &Dirs::from_process(), |_| {}).unwrap().path).unwrap();
    let open = |device| {
        let options = SessionOptions::plain(device);
        OnnxBackend::open(&runtime, &sample("digits"), &options, &ModelFacts::default()).unwrap()
    };
    let ((cpu, _), (own, placement)) = (open(Device::Cpu), open(Device::Cuda(0)));
    assert_eq!(placement.device, Device::Cuda(0));
    let rows = |count: usize, seed: usize| {
        let element = |at: usize| f32::from(u8::try_from((at * 7 + seed * 31) % 17).unwrap());
        Tensor::from_elements([count, 64], (0..count * 64).map(element).collect::<Vec<_>>()).unwrap()
    };
    // Those of many rows go through pinned memory.
    let cases: Vec<_> =
        [1, 2, 300, 5, 1000, 0, 3].into_iter().zip(0..).map(|(count, seed)| rows(count, seed)).collect();
    let outputs: Vec<usize> = (0..cpu.signature().outputs.len()).collect();
    let score = |backend: &OnnxBackend, case: &Tensor| backend.run(&[case], &outputs, None).unwrap();
    let expected: Vec<_> = cases.iter().map(|case| score(&cpu, case)).collect();
    std::thread::scope(|scope| {
        for first in 0..THREADS {
            let (cases, expected, own) = (&cases, &expected, &own);
            scope.spawn(move || {
                for at in (first..first + RUNS).map(|step| step % cases.len()) {
                    for (found, expected) in score(own, &cases[at]).iter().zip(&expected[at]) {
                        assert_eq!(found.shape(), expected.shape(), "case {at}");
                        let pair = (found.elements::<f32>(), expected.elements::<f32>());
                        let (Some(found), Some(expected)) = pair else {
                            assert_eq!(found.data(), expected.data(), "case {at}");
                            continue;
                        };
                        let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                        assert!(apart < 1e-4, "case {at}: {apart}");
                    }
                }
            });
        }
    });
}

#[test]
fn requests_that_share_runs_on_cuda_get_what_they_would_have_got_alone() {
    if gpu() {
        mixing::requests_get_what_they_would_have_got_alone("cuda:0", 8_000);
    }
}

#[test]
fn a_device_that_is_not_there_is_named_and_other_models_go_on() {
    if !gpu() {
        return;
    }
    let models = Models::samples(&["iris", "digits"]);
    models.settings("digits", "device = \"cuda:77\"\n");
    let server = Server::start(models.path(), &[]);
    assert!(server.log().contains("there is no device cuda:77"), "{}", server.log());
    server.client().get("/v2/models/digits/ready").expect(503);
    server.client().get("/v2/models/iris/ready").expect(200);
    let ended = server.stop();
    assert!(ended.status.success(), "{}: {}", ended.status, ended.log);
}

#[test]
fn a_model_beyond_its_memory_limit_is_refused_and_says_which_setting_to_raise() {
    if !gpu() {
        return;
    }
    let models = Models::empty();
    models.make_as("large", "cnn", &["--mb", "100"]);
    let check = |settings: &str| {
        models.settings("large", settings);
        run(&["check", models.path().join("large").to_str().unwrap()], b"")
    };
    let refused = check("device = \"cuda:0\"\ncuda = { memory_limit_mib = 64 }\n");
    let text = format!("{}{}", refused.stdout, refused.stderr);
    assert!(refused.code != Some(0) && text.contains("cuda.memory_limit_mib"), "{text}");
    let enough = check("device = \"cuda:0\"\ncuda = { memory_limit_mib = 2048 }\n");
    assert_eq!(enough.code, Some(0), "{}{}", enough.stdout, enough.stderr);
}

#[test]
fn a_run_that_needs_more_memory_than_there_is_fails_alone() {
    if !gpu() {
        return;
    }
    let models = Models::empty();
    models.make_as("large", "cnn", &["--mb", "20"]);
    models.settings("large", "device = \"cuda:0\"\ncuda = { memory_limit_mib = 1024 }\n[batching]\nmax_rows = 1\n");
    let server = Server::start(models.path(), &[]);
    let client = server.client();
    let ask = |rows: usize| {
        let data = vec!["0"; rows * 3 * 16 * 16].join(",");
        let body = format!(
            "{{\"inputs\":[{{\"name\":\"image\",\"datatype\":\"FP32\",\"shape\":[{rows},3,16,16],\"data\":[{data}]}}]}}"
        );
        client.post("/v2/models/large/infer", body)
    };
    ask(1).expect(200);
    ask(8000).expect(500);
    assert!(server.log().contains("memory"), "{}", server.log());
    ask(1).expect(200);
    server.stop();
}

#[test]
fn a_model_whose_runs_are_quicker_on_the_cpu_or_that_cuda_cannot_run_stays_there_by_itself() {
    if !gpu() {
        return;
    }
    let models = Models::samples(&["iris", "digits"]);
    models.make_as("large", "cnn", &["--mb", "100"]);
    let server = Server::start(models.path(), &[]);
    let device = |name: &str| {
        let log = server.log();
        let line = log.lines().find(|line| line.contains(&format!("model={name}/1"))).unwrap().to_owned();
        (line.contains("device=\"cpu\""), line)
    };
    for (name, on_cpu, reason) in [
        ("iris", true, "none of its nodes can run on CUDA"),
        ("digits", true, "a run takes"),
        ("large", false, "a run takes"),
    ] {
        let (found, line) = device(name);
        assert!(found == on_cpu && line.contains(reason), "{line}");
    }
    server.stop();
}
