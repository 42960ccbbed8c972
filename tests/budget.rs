//! More models than memory: those not asked for make room.

use serde_json::{Value, json};

use crate::binary::Server;
use crate::models::Models;

/// Two networks of which the budget holds one.
fn pair() -> Models {
    let models = Models::empty();
    for name in ["left", "right"] {
        models.make_as(name, "cnn", &["--mb", "40"]);
    }
    models
}

fn serve(models: &Models, flags: &[&str]) -> Server {
    Server::start(models.path(), &[&["--memory-budget", "64", "--graph-cache", "off"], flags].concat())
}

fn line(server: &Server, name: &str) -> Value {
    let index = server.client().post("/v2/repository/index", "").expect(200).json();
    index.as_array().unwrap().iter().find(|line| line["name"] == name).unwrap().clone()
}

fn ask(server: &Server, name: &str, status: u16) -> Value {
    let image = json!({ "name": "image", "datatype": "FP32", "shape": [1, 3, 16, 16], "data": vec![0.5; 768] });
    let body = json!({ "inputs": [image] }).to_string();
    server.client().post(&format!("/v2/models/{name}/infer"), &body).expect(status).json()
}

#[test]
fn a_model_that_made_room_is_ready_and_loaded_by_its_next_request() {
    let models = pair();
    let server = serve(&models, &[]);
    server.client().get("/v2/health/ready").expect(200);
    let asleep = if line(&server, "left")["state"] == "READY" { "right" } else { "left" };
    let awake = if asleep == "left" { "right" } else { "left" };
    assert!(line(&server, asleep)["reason"].as_str().unwrap().contains("the next request loads it"));
    for name in [asleep, awake] {
        server.client().get(&format!("/v2/models/{name}/ready")).expect(200);
    }
    let before = server.resident_kb();
    for name in [asleep, awake, asleep] {
        assert_eq!(ask(&server, name, 200)["model_name"], name);
        assert_eq!(line(&server, name)["state"], "READY");
    }
    server.client().get(&format!("/v2/models/{awake}")).expect(200);
    assert!(server.resident_kb() < before + 30_000, "{} kB after {before}", server.resident_kb());
    let metrics = server.client().get("/metrics").expect(200).text();
    assert!(
        metrics.contains(&format!(r#"hedef_model_on_demand_loads_total{{model="{asleep}",version="1"}} 2"#)),
        "{metrics}"
    );
    assert!(metrics.contains(&format!(r#"hedef_model_evictions_total{{model="{awake}",version="1"}} 2"#)), "{metrics}");
}

#[test]
fn with_refuse_what_does_not_fit_is_not_loaded() {
    let models = pair();
    let server = serve(&models, &["--over-budget", "refuse"]);
    let refused = if line(&server, "left")["state"] == "READY" { "right" } else { "left" };
    let reason = line(&server, refused)["reason"].as_str().unwrap().to_owned();
    assert!(reason.contains("--memory-budget") && server.log().contains(&reason), "{reason}");
    assert!(ask(&server, refused, 503)["error"].as_str().unwrap().contains("--memory-budget"));
}

#[test]
fn a_request_waits_for_its_model_no_longer_than_it_may() {
    let models = pair();
    let server = serve(&models, &["--request-timeout-ms", "1"]);
    let asleep = if line(&server, "left")["state"] == "READY" { "right" } else { "left" };
    // Its time is over while it waits, by whichever clock looks first.
    let late = ask(&server, asleep, 504);
    let error = late["error"].as_str().unwrap();
    assert!(error.contains("within 1 ms") || error.contains("time allowed"), "{late}");
}
