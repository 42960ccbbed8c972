//! Every flag with its variable and its default as a table, and what is in force in one run with where it came from.

use std::fmt::Write as _;
use std::io::{Write as _, stdout};

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command, CommandFactory};

use crate::arguments::Arguments;

/// Prints the flags of every command as Markdown. `docs/settings.md` is made of it.
pub(crate) fn print_table() -> anyhow::Result<()> {
    let mut root = Arguments::command();
    root.build();
    let mut text = section("Flags of every command", root.get_arguments());
    for command in root.get_subcommands().filter(|command| !command.is_hide_set()) {
        add_sections(&mut text, "hedef", command);
    }
    Ok(stdout().write_all(text.as_bytes())?)
}

fn add_sections(text: &mut String, parent: &str, command: &Command) {
    let name = format!("{parent} {}", command.get_name());
    text.push_str(&section(&format!("`{name}`"), command.get_arguments().filter(|argument| !argument.is_global_set())));
    for below in command.get_subcommands() {
        add_sections(text, &name, below);
    }
}

/// A table of arguments; empty where there is none to tell of.
fn section<'a>(title: &str, arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments.filter(|argument| is_setting(argument)).map(row).collect();
    if rows.is_empty() {
        return rows;
    }
    format!("\n## {title}\n\n| Flag | Variable | Default | |\n|---|---|---|---|\n{rows}")
}

fn is_setting(argument: &Arg) -> bool {
    !argument.is_hide_set() && !matches!(argument.get_id().as_str(), "help" | "version")
}

fn row(argument: &Arg) -> String {
    let value = argument.get_value_names().and_then(|names| names.first()).map(|name| name.as_str());
    let value = value.filter(|_| argument.get_action().takes_values());
    let flag = match (argument.get_long(), value) {
        (Some(long), Some(value)) => format!("--{long} {value}"),
        (Some(long), None) => format!("--{long}"),
        (None, value) => value.unwrap_or(argument.get_id().as_str()).to_owned(),
    };
    let variable = argument.get_env().map(|name| format!("`{}`", name.display())).unwrap_or_default();
    let defaults: Vec<_> = argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default =
        if value.is_none() || defaults.is_empty() { String::new() } else { format!("`{}`", defaults.join(",")) };
    let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    let mut help = format!("{}.", help.trim_end_matches('.'));
    let choices: Vec<_> =
        argument.get_possible_values().iter().map(|choice| format!("`{}`", choice.get_name())).collect();
    if value.is_some() && !choices.is_empty() {
        let _ = write!(help, " One of {}.", choices.join(", "));
    }
    format!("| `{flag}` | {variable} | {default} | {help} |\n")
}

/// Prints each setting of `hedef serve` as it is in force, and where it came from.
pub(crate) fn print_in_force(matches: &ArgMatches) -> anyhow::Result<()> {
    let mut root = Arguments::command();
    root.build();
    let Some((name, own)) = matches.subcommand() else { return Ok(()) };
    let Some(command) = root.find_subcommand(name) else { return Ok(()) };
    let lines = command.get_arguments().filter(|argument| is_setting(argument) && argument.get_id() != "print_config");
    let text: String = lines.map(|argument| line(argument, own)).collect();
    Ok(stdout().write_all(text.as_bytes())?)
}

/// `name = value   # where from`.
fn line(argument: &Arg, matches: &ArgMatches) -> String {
    let id = argument.get_id().as_str();
    let name = argument.get_long().unwrap_or(id);
    let raw = matches.try_get_raw(id).ok().flatten();
    let values: Vec<_> = raw.into_iter().flatten().map(|value| value.to_string_lossy().into_owned()).collect();
    let source = match (matches.value_source(id), argument.get_env()) {
        (Some(ValueSource::CommandLine), _) => "the command line".to_owned(),
        (Some(ValueSource::EnvVariable), Some(variable)) => format!("the variable {}", variable.display()),
        (Some(_), _) => "default".to_owned(),
        (None, _) => "not set".to_owned(),
    };
    // What is kept out of the help is a secret.
    let value = if argument.is_hide_env_values_set() && values.iter().any(|value| !value.is_empty()) {
        "(not shown)".to_owned()
    } else {
        values.join(",")
    };
    let value = format!("{name} = {value}");
    format!("{value:<56} # {source}\n")
}
