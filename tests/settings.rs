//! `docs/settings.md` tells every flag, variable and key of `model.toml` that there is: it is made from the command and
//! from the source of the settings, and held against them here. After a change, `HEDEF_BLESS=1 cargo test settings` writes
//! it anew.

use std::fmt::Write as _;
use std::fs;

use crate::binary::{hedef, run};
use crate::config;

const HEAD: &str = "# Settings\n\nMade by `HEDEF_BLESS=1 cargo test settings` from the code; a test holds it against that.\n\n\
    `hedef serve --print-config` prints what is in force and where each value came from: a flag comes before its variable,\n\
    and both before the default.\n";

/// The tables of `model.toml`, and the structs that read them.
const TABLES: [(&str, &str); 8] = [
    ("Settings", ""),
    ("Batching", "batching."),
    ("PaddingSettings", "batching.padding."),
    ("Memory", "memory."),
    ("Cuda", "cuda."),
    ("OpenVino", "openvino."),
    ("ImageSettings", "image."),
    ("WarmUp", "warm_up.INPUT."),
];

/// The keys of `model.toml`, from the documentation of the fields that they are read into.
fn keys() -> String {
    let read = |file| fs::read_to_string(config::root().join("core/src").join(file)).unwrap();
    let source = read("settings.rs") + &read("settings/image.rs");
    let mut text = String::from(
        "\n## `model.toml`\n\nBeside a model's versions, in its folder. Every key is optional; an unknown one stops the load.\n\n\
         | Key | |\n|---|---|\n",
    );
    for (name, prefix) in TABLES {
        let start = format!("pub struct {name} {{");
        let body = source.split(&start).nth(1).unwrap_or_else(|| panic!("no `{start}`")).split("\n}").next().unwrap();
        let mut words = Vec::new();
        for line in body.lines().map(str::trim) {
            if let Some(more) = line.strip_prefix("///") {
                words.push(more.trim());
            } else if let Some((key, of)) = line.strip_prefix("pub ").and_then(|field| field.split_once(": ")) {
                // A table of its own has its keys further down.
                let is_table = |word: &str| TABLES.iter().any(|(table, _)| *table == word);
                if !of.split(|c: char| !c.is_alphanumeric()).any(is_table) {
                    writeln!(text, "| `{prefix}{key}` | {} |", words.join(" ").replace('|', "\\|")).unwrap();
                }
                words.clear();
            }
        }
    }
    text
}

#[test]
fn the_settings_are_told_as_they_are() {
    let flags = run(&["settings"], b"");
    assert_eq!(flags.code, Some(0), "{}", flags.stderr);
    let made = [HEAD, &flags.stdout, &keys()].concat();
    let file = config::root().join("docs/settings.md");
    if config::bless() {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, &made).unwrap();
    }
    let told = fs::read_to_string(&file).unwrap_or_default();
    assert!(told == made, "docs/settings.md is not what the code says: HEDEF_BLESS=1 cargo test settings");
    for key in ["`batching.objective_p99_ms`", "`HEDEF_LISTEN`", "`--memory-budget MIB`", "`warm_up.INPUT.values`"] {
        assert!(told.contains(key), "{key}");
    }
}

#[test]
fn what_is_in_force_is_told_with_where_it_came_from() {
    let mut command = hedef(&["serve", "some/models", "--print-config", "--grace-ms", "7"]);
    let output = command.env("HEDEF_LISTEN", "127.0.0.1:1234").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let line =
        |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {said}"));
    for (name, value, source) in [
        ("roots ", "some/models", "the command line"),
        ("grace-ms ", "7", "the command line"),
        ("listen ", "127.0.0.1:1234", "the variable HEDEF_LISTEN"),
        ("model-control ", "all", "default"),
        ("score-model ", "", "not set"),
    ] {
        let (told, from) = line(name).split_once('#').unwrap();
        assert_eq!((told.split_once('=').unwrap().1.trim(), from.trim()), (value, source), "{name}");
    }
}
