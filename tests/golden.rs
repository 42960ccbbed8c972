//! The sample models answer as the libraries that trained them.

use std::fs;

use serde_json::Value;

use crate::binary::Server;
use crate::config;
use crate::numbers::difference;

#[test]
fn every_golden_request_gets_the_training_library_s_answer() {
    let server = Server::samples();
    let client = server.client();
    let mut compared = 0;
    for model in ["diabetes", "digits", "iris", "language"] {
        for entry in fs::read_dir(config::samples().join(model).join("golden")).unwrap() {
            let file = entry.unwrap().path();
            let golden: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            let body = golden["request"].to_string();
            let answer = client.post(&format!("/v2/models/{model}/infer"), body).expect(200).json();
            let tolerance = [&golden["rtol"], &golden["atol"]].map(|value| value.as_f64().unwrap());
            if let Some(difference) = difference(&golden["response"]["outputs"], &answer["outputs"], tolerance) {
                panic!("{}: {difference}", file.display());
            }
            compared += 1;
        }
    }
    assert!(compared >= 14, "only {compared} golden files were found");
}
