//! The commands that end by themselves.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use hedef_edge::config::Settings;
use serde_json::Value;

use crate::config;
use crate::device::Home;

fn run(home: &Home, arguments: &[&str], variables: &[(&str, String)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hedef-edge"));
    command.args(arguments).current_dir(home.path());
    for name in ["HEDEF_ROOTS", "HEDEF_METRICS_LISTEN", "HEDEF_DATA", "HEDEF_LOG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap()
}

#[test]
fn check_asks_the_models_their_golden_requests() {
    let home = Home::new("");
    let models = config::root().join("models");
    let said = run(&home, &["check", models.to_str().unwrap()], &[]);
    assert!(said.status.success(), "{said:?}");
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    for (model, of) in [("diabetes", 3), ("digits", 3), ("iris", 4), ("language", 4)] {
        assert_eq!(report[model]["right"], of, "{report}");
        assert_eq!(report[model]["of"], of, "{report}");
    }
    assert!(!home.path().join("data").exists(), "nothing is written");
}

#[test]
fn check_fails_where_an_answer_is_wrong_or_a_model_is_not_loaded() {
    let home = Home::new("");
    let own = home.path().join("models");
    let iris = config::root().join("models/iris");
    fs::create_dir_all(own.join("iris/1")).unwrap();
    fs::create_dir_all(own.join("iris/golden")).unwrap();
    fs::create_dir_all(own.join("broken/1")).unwrap();
    fs::copy(iris.join("1/model.onnx"), own.join("iris/1/model.onnx")).unwrap();
    let golden = fs::read_to_string(iris.join("golden/one-flower.json")).unwrap();
    fs::write(own.join("iris/golden/one-flower.json"), golden.replace("versicolor", "tulip")).unwrap();
    fs::write(own.join("broken/1/model.onnx"), "no model").unwrap();
    let said = run(&home, &["check", own.to_str().unwrap()], &[]);
    assert_eq!(said.status.code(), Some(1), "{said:?}");
    let report: Value = serde_json::from_slice(&said.stdout).unwrap();
    assert!(report["iris"]["difference"].as_str().unwrap().contains("tulip"), "{report}");
    assert!(report["broken"]["not loaded"].as_str().unwrap().contains("ONNX"), "{report}");
    assert!(!run(&home, &["check", home.path().join("none").to_str().unwrap()], &[]).status.success());
}

#[test]
fn health_is_that_of_the_device_with_these_settings() {
    let home = Home::new("");
    let device = home.start();
    let address = [("HEDEF_METRICS_LISTEN", device.metrics().to_string())];
    crate::wait::until("the device is ready", || {
        run(&home, &["health", "edge.toml"], &address).status.success().then_some(())
    });
    let (status, log) = device.stop();
    assert!(status.success(), "{log}");
    let said = run(&home, &["health", "edge.toml"], &address);
    assert_eq!(said.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&said.stderr).contains("does not answer"), "{said:?}");
}

/// The settings of the archive, and what stands in them as an example.
#[test]
fn the_settings_that_are_installed_are_right() {
    let home = Home::new("");
    let shipped = fs::read_to_string(config::root().join("deploy/edge/edge.toml")).unwrap();
    let unit = fs::read_to_string(config::root().join("deploy/edge/hedef-edge.service")).unwrap();
    let with_examples: Vec<_> = shipped.lines().filter(|line| line.contains(['=', '[', ']'])).collect();
    let with_examples = with_examples.join("\n").replace("# ", "");
    for text in [&shipped, &with_examples] {
        let file = home.path().join("shipped.toml");
        fs::write(&file, text).unwrap();
        let settings = Settings::read(Some(&file)).unwrap();
        assert!(unit.contains("StateDirectory=hedef-edge\n") && settings.data == Path::new("/var/lib/hedef-edge"));
        assert_eq!(settings.broker.is_some(), text.contains("\n[broker]"));
    }
}
