//! The rules of ARCHITECTURE.md, held true.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use toml::{Table, Value};

use crate::config;

/// For each package, the packages of this workspace that it may use.
const INWARD: [(&str, &[&str]); 6] = [
    ("hedef-core", &[]),
    ("hedef-protocols", &["hedef-core"]),
    ("hedef-server", &["hedef-core", "hedef-protocols"]),
    ("hedef-bench", &["hedef-core", "hedef-protocols"]),
    ("hedef-edge", &["hedef-core", "hedef-protocols", "hedef-server"]),
    ("hedef", &["hedef-core", "hedef-protocols", "hedef-server", "hedef-bench"]),
];

/// For each package, what it must not know of.
const FOREIGN: [(&str, &[&str]); 5] = [
    ("hedef-core", &["axum", "hyper", "tower", "http", "tonic", "rumqttc", "serde_json", "clap", "anyhow"]),
    ("hedef-protocols", &["tokio", "axum", "hyper", "tower", "tonic", "rumqttc", "clap", "anyhow", "ort"]),
    ("hedef-server", &["clap", "anyhow", "ort"]),
    ("hedef-bench", &["axum", "hyper", "tokio", "clap", "anyhow", "ort"]),
    ("hedef-edge", &["axum", "tower", "tonic", "rumqttc", "clap", "anyhow", "ort"]),
];

/// The files of the checkout with that ending, those not yet committed too.
fn files(ending: &str) -> Vec<(String, String)> {
    let list = ["ls-files", "--cached", "--others", "--exclude-standard"];
    let output = Command::new("git").args(list).current_dir(config::root()).output();
    let output = output.unwrap_or_else(|error| panic!("git, to list the files: {error}"));
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter(|name| name.ends_with(ending));
    // Of names listed, some files may just have been removed; bytes that are no text are for nobody here.
    let read = |name: &str| Some((name.to_string(), fs::read_to_string(config::root().join(name)).ok()?));
    let files: Vec<_> = names.filter_map(read).collect();
    assert!(!files.is_empty(), "no file ends with {ending}: {}", String::from_utf8_lossy(&output.stderr));
    files
}

fn manifest(folder: &Path) -> Table {
    fs::read_to_string(folder.join("Cargo.toml")).unwrap().parse().unwrap()
}

/// The manifests of the workspace's packages by name.
fn packages() -> Vec<(String, Table)> {
    let members = manifest(config::root())["workspace"]["members"].as_array().unwrap().clone();
    let folders = members.iter().map(|member| config::root().join(member.as_str().unwrap()));
    folders.map(|folder| manifest(&folder)).map(|package| (package_name(&package), package)).collect()
}

fn package_name(manifest: &Table) -> String {
    manifest["package"]["name"].as_str().unwrap().to_string()
}

/// Every table of dependencies of one of these kinds, those for some platforms only too.
fn dependencies(manifest: &Table, kinds: &[&str]) -> Vec<(String, Value)> {
    let platforms = manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values);
    let tables = platforms.filter_map(Value::as_table).chain([manifest]);
    let tables = tables.flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)?.as_table()));
    tables.flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// Lines of code that contain `needle` as a word of its own, or followed by something else than a letter.
fn lines_with<'a>(text: &'a str, needle: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let starts_word = move |line: &str| {
        line.match_indices(needle).any(|(at, _)| {
            let before = line.get(..at).and_then(|before| before.chars().next_back());
            !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':')
        })
    };
    let code = |line: &str| !line.trim_start().starts_with("//");
    text.lines().enumerate().map(|(at, line)| (at + 1, line)).filter(move |(_, line)| code(line) && starts_word(line))
}

#[track_caller]
fn none(rule: &str, found: &[String]) {
    assert!(found.is_empty(), "{rule}:\n  {}", found.join("\n  "));
}

#[test]
fn dependencies_point_inward() {
    let mut found = Vec::new();
    let packages = packages();
    for (name, manifest) in &packages {
        let rule = INWARD.iter().find(|(package, _)| package == name);
        let (_, allowed) = rule.unwrap_or_else(|| panic!("say in INWARD what package {name} may use"));
        for (used, _) in dependencies(manifest, &["dependencies", "build-dependencies", "dev-dependencies"]) {
            let inside = packages.iter().any(|(package, _)| *package == used);
            if inside && !allowed.contains(&used.as_str()) {
                found.push(format!("{name} uses {used}"));
            }
        }
    }
    none("a package may only use those further in", &found);
}

#[test]
fn packages_do_not_know_what_is_not_their_business() {
    let mut found = Vec::new();
    for (name, manifest) in packages() {
        let foreign = FOREIGN.iter().find(|(package, _)| *package == name).map_or(&[][..], |(_, foreign)| foreign);
        for (used, _) in dependencies(&manifest, &["dependencies", "build-dependencies"]) {
            if foreign.contains(&used.as_str()) {
                found.push(format!("{name} uses {used}"));
            }
        }
    }
    none("these belong further out", &found);
}

#[test]
fn dependencies_stand_in_the_workspace() {
    let mut found = Vec::new();
    for (name, manifest) in packages() {
        for (used, value) in dependencies(&manifest, &["dependencies", "build-dependencies", "dev-dependencies"]) {
            let inherits = value.get("workspace").and_then(Value::as_bool) == Some(true);
            if !inherits || value.get("version").is_some() || value.get("path").is_some() {
                found.push(format!("{name}: {used} = {value:?}"));
            }
        }
    }
    none("expected `workspace = true`", &found);
}

#[test]
fn every_package_takes_the_workspace_s_lints_and_unsafe_code_is_denied() {
    for (name, manifest) in packages() {
        let inherits = manifest.get("lints").and_then(|lints| lints.get("workspace")).and_then(Value::as_bool);
        assert_eq!(inherits, Some(true), "{name}: expected `[lints] workspace = true`");
    }
    let lints = &manifest(config::root())["workspace"]["lints"];
    assert_eq!(lints["rust"]["unsafe_code"].as_str(), Some("deny"));
    assert_eq!(lints["clippy"]["unwrap_used"].as_str(), Some("warn"));
}

#[test]
fn onnx_runtime_s_binding_is_named_in_one_folder_and_pinned() {
    let names = |text: &str| {
        lines_with(text, "ort::").next().is_some() || text.lines().any(|line| line.trim_start().starts_with("use ort"))
    };
    let files = files(".rs");
    let inside: Vec<_> = files.iter().filter(|(_, text)| names(text)).map(|(name, _)| name.as_str()).collect();
    let own = file!().rsplit('/').next().unwrap();
    let inside: Vec<_> = inside.into_iter().filter(|name| !name.ends_with(own)).collect();
    let outside: Vec<_> = inside.iter().filter(|name| !name.starts_with("core/src/backend/onnx/")).collect();
    assert!(outside.is_empty() && !inside.is_empty(), "{outside:?}");
    let ort = &manifest(config::root())["workspace"]["dependencies"]["ort"];
    assert!(ort["version"].as_str().unwrap().starts_with('='), "{ort:?}");
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let long = |(name, text): &(String, String)| {
        let lines = text.lines().count();
        (lines > 600).then(|| format!("{name}: {lines} lines"))
    };
    none("a file is one idea: look for the seam", &files(".rs").iter().filter_map(long).collect::<Vec<_>>());
}

#[test]
fn the_environment_is_read_in_files_named_config_only() {
    let mut found = Vec::new();
    for (name, text) in files(".rs").iter().filter(|(name, _)| !name.ends_with("/config.rs")) {
        let reads = [concat!("env::", "var"), concat!("env::", "vars"), concat!("option_", "env!")];
        for (at, line) in text.lines().enumerate().filter(|(_, line)| reads.iter().any(|read| line.contains(read))) {
            found.push(format!("{name}:{}: {}", at + 1, line.trim()));
        }
    }
    none("settings are resolved once, in config.rs", &found);
}

#[test]
fn no_test_is_ignored_and_none_sleeps() {
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        let end_to_end = name.starts_with("tests/") && name != "tests/wait.rs";
        for (at, line) in text.lines().enumerate() {
            let ignored = line.contains(concat!("#[", "ignore"));
            let sleeps = end_to_end && line.contains(concat!("sleep", "("));
            if ignored || sleeps {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("a test runs always, and waits for a state, not for a time", &found);
}

#[test]
fn modules_are_named_for_what_they_hold() {
    const EMPTY_NAMES: [&str; 8] = ["util", "utils", "common", "helper", "helpers", "manager", "misc", "types"];
    let named = |(name, _): &(String, String)| {
        let path = PathBuf::from(name);
        let words = path.with_extension("");
        words.iter().any(|part| EMPTY_NAMES.iter().any(|empty| part == *empty)).then(|| name.clone())
    };
    none("these names say nothing", &files(".rs").iter().filter_map(named).collect::<Vec<_>>());
}

#[test]
fn nothing_in_the_checkout_names_a_machine_or_a_registry() {
    let needles = [
        concat!("/work", "/main"),
        concat!("/work", "/shared"),
        concat!("/ro", "ot/"),
        concat!("/ho", "me/"),
        concat!("/Us", "ers/"),
        concat!("artif", "actory"),
        concat!("index.", "crates.io"),
        concat!("--index", "-url"),
        concat!("--extra-", "index"),
    ];
    let mut found = Vec::new();
    for (name, text) in files("") {
        for (at, line) in text.lines().enumerate() {
            if needles.iter().any(|needle| line.contains(needle)) {
                found.push(format!("{name}:{}: {}", at + 1, line.trim()));
            }
        }
    }
    none("paths and hosts of one machine help nobody else", &found);
}

#[test]
fn every_unsafe_block_says_why_it_is_sound() {
    let mut found = Vec::new();
    for (name, text) in files(".rs") {
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines_with(&text, "unsafe").filter(|(_, line)| line.contains("unsafe {")) {
            let before = &lines[at.saturating_sub(6)..at];
            if !before.iter().any(|line| line.contains("// SAFETY:")) && !name.ends_with("structure.rs") {
                found.push(format!("{name}:{at}: {}", line.trim()));
            }
        }
    }
    none("expected a `// SAFETY:` comment just above", &found);
}

#[test]
fn the_images_say_the_version_of_the_workspace() {
    let version = manifest(config::root())["workspace"]["package"]["version"].as_str().unwrap().to_owned();
    let dockerfile = fs::read_to_string(config::root().join("Dockerfile")).unwrap();
    let said: Vec<_> = lines_with(&dockerfile, "image.version=").map(|(_, line)| line.trim().to_owned()).collect();
    assert_eq!(said, vec![format!("org.opencontainers.image.version=\"{version}\" \\"); 2]);
}

#[test]
fn the_map_names_every_package_and_every_folder_is_there() {
    let map = fs::read_to_string(config::root().join("ARCHITECTURE.md")).unwrap();
    for (name, _) in packages() {
        assert!(map.contains(&format!("`{name}`")), "ARCHITECTURE.md does not name `{name}`");
    }
    let folders = map.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("/` |").map(|(folder, _)| folder));
    let folders: Vec<_> = folders.collect();
    assert!(folders.len() >= 4, "{folders:?}");
    for folder in folders {
        assert!(
            config::root().join(folder).is_dir(),
            "ARCHITECTURE.md names the folder `{folder}/`, which is not there"
        );
    }
}
