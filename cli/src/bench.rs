//! `hedef bench`: how fast a server is, or the bare runtime.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use hedef_bench::{
    BareSubject, Callers, Expect, Format, HttpSubject, Inputs, Layout, Length, Load, Plan, Progress, Settings, Subject,
    Target, run as measure, sweep,
};
use hedef_core::repository::OnnxLoader;
use serde_json::Value;

use crate::arguments::{Bench, BenchFormat, BenchLoad, BenchScenario, Engine};
use crate::engine::loader;
use crate::logging::print;

/// The time that each layout of a sweep is measured for.
const SWEEP: Duration = Duration::from_millis(1500);
const USUAL_CALLERS: u32 = 8;

/// Measures, prints the figures, and fails where a request was not answered rightly.
pub(crate) fn run(bench: &Bench, engine: &Engine) -> anyhow::Result<()> {
    let progress = Progress::on_terminal();
    let (table, json, errors) = match &bench.in_process {
        Some(path) if bench.layout.sweep => {
            let (loader, load) = (loader(engine, true)?.0, &bench.load);
            let duration = load.duration.unwrap_or(SWEEP);
            let length = Length { duration, requests: load.requests, warm_up: load.warm_up.min(duration / 4) };
            let layouts = (layout(bench, &loader), cpus(&loader));
            let swept = sweep(&loader.runtime, path, &inputs(bench), layouts, length, &progress)?;
            (swept.table(), swept.json(), swept.errors())
        }
        Some(path) => report(&mut bare(bench, path, engine)?, bench, &progress)?,
        None => report(&mut server(bench)?, bench, &progress)?,
    };
    let to_stdout = bench.json.as_deref() == Some(Path::new("-"));
    if !to_stdout {
        print(&table);
    }
    if let Some(file) = &bench.json {
        let text = format!("{json:#}\n");
        if to_stdout {
            print(&text);
        } else {
            std::fs::write(file, text).with_context(|| file.display().to_string())?;
        }
    }
    // Under overload or within a time limit, refusals are what is measured.
    let strict = bench.load.rate.is_none() && bench.callers.timeout_ms.is_none() && !bench.load.find_max;
    anyhow::ensure!(errors == 0 || !strict, "{errors} requests were not answered rightly");
    Ok(())
}

fn report(
    subject: &mut dyn Subject,
    bench: &Bench,
    progress: &Progress,
) -> Result<(String, Value, u64), hedef_bench::Error> {
    let report = measure(subject, &settings(bench), progress)?;
    Ok((report.table(), report.json(), report.errors()))
}

fn server(bench: &Bench) -> anyhow::Result<HttpSubject> {
    let (Some(address), Some(model)) = (bench.address.clone(), bench.model.clone()) else {
        anyhow::bail!("expected the server's address and a model's name");
    };
    let format = match bench.inputs.format {
        BenchFormat::Json => Format::Json,
        BenchFormat::Binary => Format::Binary,
    };
    let timeout = bench.callers.timeout_ms.map(Duration::from_millis);
    let target = Target { address, model, version: bench.model_version.clone(), format, timeout };
    let defaults = Callers::default();
    let callers = Callers {
        most_connections: bench.load.connections.map_or(defaults.most_connections, size),
        busy_poll: bench.callers.busy_poll,
        leave: bench.callers.leave,
        leave_within: bench.callers.leave_within,
        give_up: bench.callers.give_up,
        expect: match &bench.inputs.expect {
            None => Expect::Anything,
            Some(first) if first.as_os_str() == "first" => Expect::First,
            Some(file) => Expect::File(file.clone()),
        },
    };
    Ok(HttpSubject::new(target, &inputs(bench), callers)?)
}

fn bare(bench: &Bench, path: &Path, engine: &Engine) -> anyhow::Result<BareSubject> {
    let loader = loader(engine, true)?.0;
    Ok(BareSubject::new(&loader.runtime, path, layout(bench, &loader), &inputs(bench))?)
}

fn layout(bench: &Bench, loader: &OnnxLoader) -> Layout {
    Layout {
        device: bench.layout.device,
        instances: bench.layout.instances.map_or(cpus(loader).get(), size),
        threads: size(bench.layout.threads),
        batch: size(bench.inputs.batch),
        arena: bench.layout.arena,
        own_sessions: bench.layout.own_sessions,
    }
}

/// The processors that this process may keep busy.
fn cpus(loader: &OnnxLoader) -> NonZeroUsize {
    NonZeroUsize::new(loader.slots.all()).unwrap_or(NonZeroUsize::MIN)
}

fn inputs(bench: &Bench) -> Inputs {
    let inputs = &bench.inputs;
    Inputs { batch: size(inputs.batch), shapes: inputs.shape.clone(), file: inputs.input.clone() }
}

fn settings(bench: &Bench) -> Settings {
    let load = &bench.load;
    Settings {
        plan: plan(load, bench.in_process.is_some()),
        duration: load.duration,
        requests: load.requests,
        warm_up: load.warm_up,
        bound: load.p99.or(bench.callers.timeout_ms.map(Duration::from_millis)),
        seed: load.seed,
    }
}

fn plan(load: &BenchLoad, in_process: bool) -> Plan {
    let callers = load.connections.map(size);
    match load.scenario {
        _ if load.find_max => Plan::Server { rate: None },
        Some(BenchScenario::SingleStream) => Plan::SingleStream,
        Some(BenchScenario::MultiStream) => Plan::MultiStream,
        Some(BenchScenario::Server) => Plan::Server { rate: load.rate },
        Some(BenchScenario::Offline) => Plan::Offline { callers },
        None => Plan::Load(match load.rate {
            Some(rate) => Load::Open { rate },
            // The bare runtime has as many callers as threads.
            None if in_process => Load::Closed { callers: callers.unwrap_or(usize::MAX) },
            None => Load::Closed { callers: callers.unwrap_or(size(USUAL_CALLERS)) },
        }),
    }
}

/// Flags are small numbers; memory sizes are not smaller.
fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
