//! `hedef`: the command people type.

mod arguments;
mod bench;
mod caps;
mod check;
mod engine;
mod health;
mod keygen;
mod keys;
mod logging;
mod package;
mod quarantine;
mod runtime;
mod score;
mod security;
mod serve;
mod settings;
mod traces;
mod verify;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use crate::arguments::{Arguments, Command};

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let arguments = Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let usual = if matches!(arguments.command, Command::Serve(_)) { "info" } else { "warn" };
    let result = logging::start(&arguments.logging, usual).and_then(|log| match arguments.command {
        Command::Serve(serve) if serve.print_config => settings::print_in_force(&matches),
        Command::Serve(serve) => serve::run(*serve, &arguments.engine, log),
        Command::Check(check) => check::run(&check, &arguments.engine),
        Command::Score(score) => score::run(&score, &arguments.engine),
        Command::Bench(bench) => bench::run(&bench, &arguments.engine),
        Command::Package(package) => package::run(&package, &arguments.engine),
        Command::Verify(verify) => verify::run(&verify),
        Command::Keygen(keygen) => keygen::run(&keygen),
        Command::Keys(command) => keys::run(command),
        Command::TryLoad(wanted) => quarantine::run(&wanted, &arguments.engine),
        Command::Runtime(command) => runtime::run(command),
        Command::Health(health) => health::run(&health),
        Command::Settings => settings::print_table(),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "hedef", &mut std::io::stdout());
            Ok(())
        }
    });
    logging::finish();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            logging::fail(&format!("{error:#}"));
            exit_code(&error)
        }
    }
}

/// One code for each kind of failure, those of `sysexits.h`.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    use hedef_core::Kind;
    use hedef_protocols::bundle::BundleError;
    let kind = error
        .downcast_ref::<hedef_core::Error>()
        .map(hedef_core::Error::kind)
        .or_else(|| error.downcast_ref::<hedef_protocols::Error>().map(hedef_protocols::Error::kind))
        .or_else(|| error.downcast_ref::<BundleError>().map(BundleError::kind))
        .or_else(|| error.downcast_ref::<hedef_bench::Error>().map(hedef_bench::Error::kind));
    ExitCode::from(match kind {
        None => 1,
        Some(Kind::InvalidArgument | Kind::Unsupported) => 65,
        Some(Kind::NotFound) => 66,
        Some(Kind::Unavailable | Kind::ResourceExhausted) => 69,
        Some(Kind::Internal) => 70,
        Some(Kind::DeadlineExceeded) => 75,
    })
}
