//! Clients and references that were not written here: Triton's client, KServe's, and ONNX Runtime in Python.

use crate::binary::Server;
use crate::models::Models;
use crate::{config, python};

const EXPLICIT: [&str; 4] = ["--model-control", "explicit", "--log", "warn"];
const ALL_OPSETS: [(&str, &str); 1] = [("ALLOW_RELEASED_ONNX_OPSET_ONLY", "0")];

/// Some hundred of the cases, evenly spread; all of them where the tests run in full.
fn backend_tests(flags: &[&str]) -> String {
    let models = Models::empty();
    let sample = if config::full() { &[][..] } else { &["--sample", "300"] };
    let folder = models.path().to_str().unwrap();
    python::script("backend_tests.py", &[&["prepare", "--models", folder], sample].concat());
    let server = Server::start_in(models.path(), &EXPLICIT, &ALL_OPSETS);
    let url = format!("http://{}", server.address);
    let said = python::script("backend_tests.py", &[&["run", "--url", &url], sample, flags].concat());
    server.stop();
    said
}

/// The script itself fails where ONNX Runtime in Python is right and Hedef is not.
fn tell(said: &str) {
    let counts: Vec<_> = said.lines().rev().take(3).collect();
    assert!(counts[1].contains(" passed, ") && counts[1].ends_with(" 0 failed"), "{said}");
    println!("{}", counts.into_iter().rev().collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_backend_tests_of_onnx_come_out_as_in_onnx_runtime_with_binary_tensors() {
    tell(&backend_tests(&[]));
}

#[test]
fn the_backend_tests_of_onnx_come_out_as_in_onnx_runtime_with_json() {
    tell(&backend_tests(&["--json"]));
}

#[test]
fn triton_s_client_is_content() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let server = Server::start(models.path(), &["--log", "warn"]);
    python::script("triton_client.py", &["run", "--url", &server.address.to_string()]);
    server.stop();
}

#[test]
fn triton_s_client_and_the_standard_ones_are_content_over_grpc() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let server = Server::start(models.path(), &["--log", "warn", "--grpc-listen", "127.0.0.1:0"]);
    for address in [server.address, server.address_for("gRPC")] {
        python::script("grpc_client.py", &["--url", &address.to_string()]);
    }
    server.stop();
}

#[test]
fn kserve_s_client_is_content_over_http_and_grpc() {
    let server = Server::samples();
    let repository = config::samples();
    let url = server.address.to_string();
    println!("{}", python::script("kserve_client.py", &["--url", &url, "--repository", repository.to_str().unwrap()]));
    server.stop();
}

#[test]
fn the_sample_models_answer_random_inputs_as_onnx_runtime_in_python_does() {
    let server = Server::samples();
    let repository = config::samples();
    let url = format!("http://{}", server.address);
    python::script("reference.py", &["--url", &url, "--repository", repository.to_str().unwrap()]);
    server.stop();
}
