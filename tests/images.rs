//! Images: the contracts of the edge samples, and the tensors that images become.

use std::fs;

use serde_json::{Value, json};

use crate::binary::Server;
use crate::config;
use crate::http::{Answer, Client};
use crate::models::Models;
use crate::python;

fn one() -> Vec<u8> {
    fs::read(config::samples().join("digits/one.png")).unwrap()
}

/// Serves the sample models, of which `/score` means digits.
fn digits() -> Server {
    Server::start(&config::samples(), &["--score-model", "digits"])
}

fn post(client: &Client, path: &str, media: &str, body: &[u8]) -> Answer {
    client.post_with(path, &[("content-type", media)], body)
}

fn is_a_one(finding: &Value) {
    let confidence = finding["confidence"].as_f64().unwrap();
    assert_eq!(finding["value"], "1");
    assert!((confidence - 0.9999).abs() < 1e-3, "{confidence}");
}

#[test]
fn score_answers_an_image_with_inferences() {
    let server = digits();
    let client = server.client();
    let answer = post(&client, "/score", "image/png", &one()).expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let inferences = answer.json()["inferences"].as_array().unwrap().clone();
    assert_eq!(inferences.len(), 5, "the surest of ten");
    assert_eq!(inferences[0]["type"], "classification");
    is_a_one(&inferences[0]["classification"]["tag"]);
    // The same route goes on taking numbers.
    client.post("/score", json!({ "data": [vec![0; 64]] }).to_string()).expect(200);
    let metrics = client.get("/metrics").expect(200).text();
    assert!(metrics.contains("model=\"digits\""), "{metrics}");
}

#[test]
fn image_answers_with_predictions_and_takes_forms_too() {
    let server = digits();
    let client = server.client();
    let form = [
        b"--b\r\nContent-Disposition: form-data; name=\"imageData\"; filename=\"one.png\"\r\n\r\n",
        one().as_slice(),
        b"\r\n--b--\r\n",
    ]
    .concat();
    for (media, body) in
        [("application/octet-stream", one()), ("image/png", one()), ("multipart/form-data; boundary=b", form)]
    {
        let answer = post(&client, "/image", media, &body).expect(200).json();
        let [id, project, iteration, created] =
            ["id", "project", "iteration", "created"].map(|key| answer[key].as_str().unwrap());
        assert!(!id.is_empty() && created.len() == 20 && created.ends_with('Z'), "{answer}");
        assert_eq!([project, iteration], ["digits", "1"]);
        let first = &answer["predictions"][0];
        assert_eq!(
            (&first["tagName"], &first["tagId"], &first["boundingBox"]),
            (&json!("1"), &json!(""), &Value::Null)
        );
        assert!((first["probability"].as_f64().unwrap() - 0.9999).abs() < 1e-3, "{answer}");
    }
    let empty = post(&client, "/image", "multipart/form-data; boundary=b", b"--b--").expect(400).json();
    assert_eq!(empty["message"], "the form: `imageData` is missing");
    assert_eq!(client.get("/").expect(200).text(), "Healthy");
}

#[test]
fn what_cannot_be_scored_is_refused_with_its_reason() {
    let server = digits();
    let client = server.client();
    let said = |answer: Answer| answer.json()["message"].as_str().unwrap().to_owned();
    let one = one();
    let cut = said(post(&client, "/score", "image/png", &one[..one.len() - 20]).expect(400));
    assert_eq!(cut, "the image: expected a whole PNG, found one that is cut off");
    let other = said(post(&client, "/image", "image/bmp", b"BM").expect(400));
    assert_eq!(other, "the image: expected JPEG or PNG, found something else");
    // A head of 60,000 times 60,000 pixels, its checksum right.
    let mut bomb = one.clone();
    bomb[16..24].copy_from_slice(&[0, 0, 0xEA, 0x60, 0, 0, 0xEA, 0x60]);
    let mut crc = flate2::Crc::new();
    crc.update(&bomb[12..29]);
    bomb[29..33].copy_from_slice(&crc.sum().to_be_bytes());
    assert!(said(post(&client, "/score", "image/png", &bomb).expect(400)).contains("60000 times 60000"));
    let large = vec![0; (4 << 20) + 1];
    assert!(said(post(&client, "/image", "application/octet-stream", &large).expect(413)).contains("4194304 bytes"));
    let pinned = [("content-type", "image/png"), ("azureml-model-deployment", "iris")];
    let none = client.post_with("/score", &pinned, &one).expect(415);
    assert!(said(none).contains("model `iris/1` takes no images: say in its model.toml"));
}

#[test]
fn images_become_the_tensors_that_pillow_and_numpy_make_of_them() {
    let models = Models::empty();
    python::script("images.py", &["make", models.path().to_str().unwrap()]);
    let server = Server::start(models.path(), &[]);
    let said = python::script("images.py", &["ask", &format!("http://{}", server.address)]);
    assert!(said.contains(" 0 failures"), "{said}");
}

#[test]
fn the_grid_of_custom_visions_older_models_is_read_as_numpy_reads_it() {
    let models = Models::empty();
    python::script("custom_vision.py", &["make", models.path().to_str().unwrap()]);
    let server = Server::start(models.path(), &[]);
    let said = python::script("custom_vision.py", &["ask", &format!("http://{}", server.address)]);
    assert!(said.contains("12 images") && said.contains(" 0 failures"), "{said}");
}

#[test]
fn where_nothing_is_found_score_says_so_without_a_body() {
    let models = Models::samples(&["digits"]);
    let settings = models.path().join("digits/model.toml");
    let text = fs::read_to_string(&settings).unwrap() + "threshold = 0.5\n";
    fs::write(&settings, text).unwrap();
    let server = Server::start(models.path(), &[]);
    let client = server.client();
    assert_eq!(
        post(&client, "/score", "image/png", &one()).expect(200).json()["inferences"].as_array().unwrap().len(),
        1
    );
    // A blank image is like no digit.
    let blank = fs::read(config::root().join("fuzz/seeds/image_decode/black.png")).unwrap();
    assert!(post(&client, "/score", "image/png", &blank).expect(204).body.is_empty());
    assert_eq!(post(&client, "/image", "image/png", &blank).expect(200).json()["predictions"], json!([]));
}

#[test]
fn check_says_how_images_are_read_and_what_answers_are_made_of() {
    let said = crate::binary::run(&["check", config::samples().join("digits").to_str().unwrap()], b"").stdout;
    for line in [
        "images  stretched to 8 times 8, grey, row by row, as FP32 [1,64]: value * 0.0627451",
        "answers classes, by their scores in `probabilities`; 10 labels; at most 5, with scores from 0",
    ] {
        assert!(said.lines().any(|found| found.trim() == line), "{said}");
    }
}

#[test]
fn a_wrong_plan_stops_the_load_and_says_what_is_wrong() {
    let models = Models::samples(&["digits"]);
    fs::write(models.path().join("digits/model.toml"), "[image]\nwidth = 9\nheight = 8\n").unwrap();
    let said = crate::binary::run(&["check", models.path().join("digits").to_str().unwrap()], b"");
    let all = said.stdout + &said.stderr;
    assert!(said.code != Some(0) && all.contains("image: width, height: expected 64 pixels"), "{all}");
}
