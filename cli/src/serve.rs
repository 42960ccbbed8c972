//! `hedef serve`: the server.

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use hedef_core::Model;
use hedef_core::host::short_turns;
use hedef_core::metrics::Metrics;
use hedef_core::repository::{self, Budget, QuotaWatcher, Repository, RunWatcher, View, Watcher};
use hedef_server::{AzureSettings, Config, Drain, Log, Server, Settings};
use prometheus::Registry;
use tokio::sync::Notify;

use crate::arguments::{Engine, ModelControl, OverBudget, Serve};
use crate::caps;
use crate::engine::{Started, loader};
use crate::logging::print;
use crate::quarantine;
use crate::security;
use crate::traces;

/// How often the processors that this process may use are counted again.
const QUOTA_INTERVAL: Duration = Duration::from_secs(5);

/// How often the runs under way are looked at.
const STUCK_INTERVAL: Duration = Duration::from_secs(1);

/// Serves until SIGTERM or Ctrl-C, then finishes what is under way.
pub(crate) fn run(serve: Serve, engine: &Engine, log: Arc<dyn Log>) -> anyhow::Result<()> {
    let began = Instant::now();
    let config = Config::new(Settings { log: Some(log), ..settings(&serve) })?;
    let grace = Duration::from_millis(serve.grace_ms);
    if let Some(root) = serve.roots.iter().find(|root| !root.exists()) {
        anyhow::bail!("root {} is not there: give folders of models, a model's folder or .onnx files", root.display());
    }
    let registry = Registry::new();
    let metrics = Metrics::new(&registry).context("metrics")?;
    let quarantine = quarantine::place(&serve.quarantine, engine);
    let (loader, engine) = loader(engine, false)?;
    let slots = Arc::clone(&loader.slots);
    let repository = Repository::new(serve.roots.clone(), Box::new(loader), metrics).with_budget(budget(&serve));
    let repository = match quarantine {
        Some((place, trusted)) => repository.with_quarantine(place, trusted),
        None => repository,
    };
    let repository = Arc::new(repository);
    let stuck = RunWatcher::start(Arc::clone(&repository), Duration::from_secs(serve.stuck_run_s), STUCK_INTERVAL);
    let stuck = stuck.context("cannot watch runs")?;
    let quota = QuotaWatcher::start(Arc::clone(&repository), slots, "/".into(), QUOTA_INTERVAL);
    let quota = quota.context("cannot follow the processors' quota")?;
    let network = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("hedef-network")
        .on_thread_start(short_turns)
        .build()?;
    let server = network.block_on(Server::bind(config, Arc::clone(&repository), registry))?;
    let addresses = server.addresses().map(|(address, purpose)| {
        let purpose = purpose.map(|purpose| format!(" for {purpose}")).unwrap_or_default();
        format!("{}://{address}{purpose}", server.scheme())
    });
    let addresses: Vec<_> = addresses.collect();
    let start = Start { began, engine, listening: began.elapsed() };

    // The server answers while models load: live at once, ready when they are.
    let view = View::before_loading(&repository, serve.model_control == ModelControl::Explicit);
    let loading = {
        let repository = Arc::clone(&repository);
        std::thread::Builder::new()
            .name("hedef-start".into())
            .spawn(move || load(&repository, &serve, view, &addresses, start))?
    };
    let hurry = server.follows_files().then(|| server.reload());
    let stopping = async {
        tokio::select! { () = stop_signal() => (), () = hurry_on_hangup(hurry) => () }
        repository.stop_loading();
    };
    // This thread accepts connections.
    short_turns();
    let stopped = network.block_on(server.serve(stopping));
    let watcher = loading.join().map_err(|_| anyhow::anyhow!("the thread that loads models panicked"))??;
    drop((watcher, quota, stuck));
    let drained = repository.close(grace);
    drop(network);
    anyhow::ensure!(stopped.abandoned == 0 && drained, "stopped with requests unanswered: the grace period was over");
    tracing::info!("stopped: everything accepted was answered");
    Ok(())
}

fn budget(serve: &Serve) -> Option<Budget> {
    let over = match serve.over_budget {
        OverBudget::Evict => repository::OverBudget::Evict,
        OverBudget::Refuse => repository::OverBudget::Refuse,
    };
    serve.memory_budget.map(|mib| Budget { bytes: u64::from(mib) << 20, over })
}

fn settings(serve: &Serve) -> Settings {
    let settings = Settings {
        listen: serve.listen,
        grpc_listen: serve.grpc_listen,
        body_limit: mib(serve.body_limit_mib),
        body_limit_cap: mib(serve.body_limit_cap_mib),
        request_timeout: Duration::from_millis(serve.request_timeout_ms),
        azure: AzureSettings {
            score_model: serve.score_model.clone(),
            path_prefix: serve.score_path_prefix.clone(),
            ..AzureSettings::default()
        },
        drain: Drain {
            lame_duck: Duration::from_millis(serve.lame_duck_ms),
            grace: Duration::from_millis(serve.grace_ms),
            ..Drain::default()
        },
        caps: caps::resolve(&serve.caps),
        access_log: serve.access_log,
        traces: traces::resolve(&serve.traces),
        ..Settings::default()
    };
    security::resolve(&serve.security, settings)
}

/// The start of the server so far.
struct Start {
    began: Instant,
    engine: Started,
    /// From the beginning to where requests are accepted.
    listening: Duration,
}

impl Start {
    /// Says where the time went, once the models have been loaded.
    fn log(&self, models: &[Arc<Model>]) {
        let ready = self.began.elapsed();
        let each: Vec<_> = models.iter().map(|model| format!("{}: {}", model.id(), model.status().stages)).collect();
        tracing::info!(
            start.find_us = self.engine.found.as_micros(),
            start.runtime_us = self.engine.runtime.as_micros(),
            start.listen_us = self.listening.as_micros(),
            start.models_us = (ready - self.listening).as_micros(),
            start.ready_us = ready.as_micros(),
            "ready after {:.1} ms, of which ONNX Runtime {:.1}, models {:.1}; {}",
            milliseconds(ready),
            milliseconds(self.engine.runtime),
            milliseconds(ready - self.listening),
            each.join("; ")
        );
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn mib(mebibytes: u32) -> usize {
    usize::try_from(mebibytes).unwrap_or(usize::MAX).saturating_mul(1 << 20)
}

/// Loads what is to be there from the start, says so, and follows the roots if told to.
fn load(
    repository: &Arc<Repository>,
    serve: &Serve,
    view: View,
    addresses: &[String],
    start: Start,
) -> anyhow::Result<Option<Watcher>> {
    match serve.model_control {
        ModelControl::All => repository.load_all(),
        ModelControl::Explicit => {
            for name in &serve.load_model {
                // The others are loaded all the same.
                if let Err(error) = repository.load_at_start(name) {
                    tracing::error!(model = name, "--load-model {name}: {error}");
                }
            }
            repository.finish_start();
        }
    }
    start.log(&repository.models());
    print(&welcome(&repository.models(), addresses, start.began.elapsed()));
    let interval = Duration::from_millis(serve.watch_interval_ms);
    let watcher = serve.watch.then(|| Watcher::start(Arc::clone(repository), view, interval)).transpose();
    watcher.context("cannot follow the roots")
}

/// What is served, where, and a line to try.
fn welcome(models: &[Arc<Model>], addresses: &[String], took: Duration) -> String {
    let (address, others) =
        addresses.split_first().map_or_else(Default::default, |(first, others)| (first.as_str(), others));
    let mut text =
        format!("\nhedef {} listens on {address} after {} ms\n", env!("CARGO_PKG_VERSION"), took.as_millis());
    for other in others {
        let _ = writeln!(text, "  and on {other}");
    }
    if models.is_empty() {
        text.push_str("  no model is loaded\n");
    }
    for model in models {
        let inputs: Vec<_> = model.signature().inputs.iter().map(|spec| format!("{} {spec}", spec.name)).collect();
        let _ = writeln!(text, "  {:<20} {}", model.id().to_string(), inputs.join(", "));
    }
    let mut examples =
        models.iter().filter_map(|model| Some((model, hedef_protocols::v2::example(model.signature())?)));
    if let Some((model, example)) = examples.next() {
        let _ = writeln!(text, "\ntry:\n  curl {address}/v2/models/{}/infer -d '{example}'", model.id().name);
    }
    text.push('\n');
    text
}

/// Passes each SIGHUP on, for ever. Without anybody to pass it to, it ends the process as usual.
async fn hurry_on_hangup(hurry: Option<Arc<Notify>>) {
    #[cfg(unix)]
    if let Some(hurry) = hurry {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::hangup()) {
            Ok(mut hangup) => {
                while hangup.recv().await.is_some() {
                    hurry.notify_one();
                }
            }
            Err(error) => tracing::warn!("SIGHUP will not be noticed: {error}"),
        }
    }
    std::future::pending::<()>().await;
}

/// Ready on SIGTERM or Ctrl-C.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => {
                tokio::select! { _ = terminate.recv() => (), _ = tokio::signal::ctrl_c() => () }
                return;
            }
            Err(error) => tracing::warn!("SIGTERM will not be noticed: {error}"),
        }
    }
    if let Err(error) = tokio::signal::ctrl_c().await {
        tracing::warn!("Ctrl-C will not be noticed: {error}");
        std::future::pending::<()>().await;
    }
}
