//! The lines that the README shows print what it shows.

use std::fs;
use std::process::Command;

use serde_json::Value;

use crate::binary::Server;
use crate::config;
use crate::numbers::difference;

/// One `$ …` line of a block marked `console`, and what is shown below it.
struct Example {
    command: String,
    shown: String,
}

fn examples(markdown: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    let mut inside = false;
    let mut continues = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            inside = line.trim() == "```console";
        } else if let (true, Some(command)) = (inside, line.strip_prefix("$ ")) {
            examples.push(Example { command: command.into(), shown: String::new() });
            continues = command.ends_with('\\');
        } else if let (true, Some(example)) = (inside, examples.last_mut()) {
            let text = if continues { &mut example.command } else { &mut example.shown };
            text.push('\n');
            text.push_str(line);
            continues = continues && line.ends_with('\\');
        }
    }
    examples
}

#[test]
fn the_readme_s_curl_lines_print_what_it_shows() {
    assert!(config::program("curl").is_some(), "this test runs the README's lines: apt-get install curl");
    let server = Server::samples();
    let readme = fs::read_to_string(config::root().join("README.md")).unwrap();
    let examples: Vec<_> =
        examples(&readme).into_iter().filter(|example| example.command.starts_with("curl")).collect();
    assert!(examples.len() >= 3, "the README shows only {} curl lines", examples.len());
    for Example { command, shown } in examples {
        let command = command.replace("127.0.0.1:8080", &server.address.to_string());
        let output = Command::new("sh").args(["-c", &command]).current_dir(config::root()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        let printed = String::from_utf8(output.stdout).unwrap();
        let shown = shown.replace("127.0.0.1:8080", &server.address.to_string());
        let json = |text: &str| serde_json::from_str::<Value>(text.trim()).ok();
        let wrong = match (json(&shown), json(&printed)) {
            (Some(shown), Some(printed)) => difference(&shown, &printed, [1e-5, 1e-5]),
            _ => (shown.trim() != printed.trim()).then(|| "the texts differ".into()),
        };
        assert_eq!(wrong, None, "{command}\nthe README shows: {shown}\nprinted: {printed}");
    }
}
