//! Puts the protocols on HTTP and gRPC ports, with limits, health, metrics and a clean stop.
//!
//! [`Server::bind`] takes the port, [`Server::serve`] answers on it until it is told to stop. The routes stand in
//! `router.rs`, what happens around every one of them in `middleware.rs`, and how a failure becomes a status in
//! `error.rs`.

#![cfg_attr(not(feature = "grpc"), expect(dead_code, reason = "what gRPC alone needs"))]

mod access;
mod app;
mod body;
mod call;
pub mod config;
mod deadline;
mod encoding;
mod error;
mod family;
#[cfg(fuzzing)]
pub mod fuzzing;
mod grpc;
mod lifecycle;
mod limit;
mod listen;
mod live;
mod log;
mod metrics;
mod middleware;
mod overrides;
mod payload;
mod piece;
pub mod probe;
mod request_id;
mod room;
mod router;
mod routes;
mod seen;
mod seldom;
mod target;
#[cfg(test)]
mod testing;
mod tls;
mod traces;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hedef_core::repository::Repository;
use prometheus::Registry;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use crate::access::keys::{KeyEntry, NewKey};
pub use crate::access::permission::Permission;
use crate::access::{Access, Entrance};
use crate::app::{App, Parts};
pub use crate::body::work;
pub use crate::config::{
    Admin, AzureSettings, Caps, ClientAuth, Config, CredentialSettings, Drain, InvalidConfig, JwtSettings, Settings,
    TlsSettings, TraceSettings,
};
use crate::lifecycle::Lifecycle;
use crate::listen::Port;
pub use crate::live::FileError;
use crate::live::Follow;
pub use crate::log::{AccessLine, Log};
use crate::metrics::Metrics;
use crate::middleware::Flood;
use crate::room::Budget;
use crate::traces::{Exporter, Traces};

/// How long spans that still wait may take at the end.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A server whose ports are taken: connections wait until [`Server::serve`] runs.
pub struct Server {
    ports: Vec<Listening>,
    app: App,
    /// What is read again while the server runs.
    files: Vec<Arc<dyn Follow>>,
    reload: Arc<Notify>,
    exporter: Option<Exporter>,
}

/// A port of a server.
struct Listening {
    entrance: Entrance,
    port: Port,
    address: SocketAddr,
    purpose: Option<&'static str>,
    /// Whether there is nothing but health and metrics.
    watched: bool,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Where it was to listen.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// A file of keys or certificates cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Traces could never be sent.
    #[error("the collector of traces cannot be reached within TLS: {0}")]
    Traces(String),
    /// The registry holds the server's metrics already.
    #[error("the metrics cannot be declared: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Connections and requests that had not ended when the grace period was over.
    pub abandoned: usize,
}

impl Server {
    /// Takes the ports. `registry` gets the server's metrics; `GET /metrics` tells everything in it.
    pub async fn bind(config: Config, repository: Arc<Repository>, registry: Registry) -> Result<Self, StartError> {
        let access = Access::open(&config.credentials, config.admin)?;
        let tls = config.tls.as_ref().map(tls::open).transpose()?.map(Arc::new);
        let wanted = [
            (Entrance::Main, Some(config.listen), None, false),
            (Entrance::Main, config.grpc_listen, Some("gRPC"), false),
            (Entrance::Admin, config.admin_listen, Some("administration"), false),
            (Entrance::Main, config.metrics_listen, Some("metrics"), true),
        ];
        let mut ports = Vec::new();
        for (entrance, address, purpose, watched) in wanted {
            let Some(address) = address else { continue };
            let failed = |source| StartError::Bind { address, source };
            let port = Port::bind(address, tls.clone()).await.map_err(failed)?;
            let address = port.address().map_err(failed)?;
            let open = match entrance {
                Entrance::Main => config.admin.main && !watched,
                Entrance::Admin => config.admin.own,
            };
            if open && !config.credentials.are_asked() && !address.ip().is_loopback() {
                tracing::warn!("whoever reaches {address} can load and unload models: no key is asked for");
            }
            ports.push(Listening { entrance, port, address, purpose, watched });
        }
        let mut files = access.files();
        files.extend(tls.map(|tls| tls as Arc<dyn Follow>));
        let metrics = Metrics::new(registry)?;
        let traces = config.traces.as_ref().map(|traces| Traces::new(traces, &metrics)).transpose();
        let (traces, exporter) = traces.map_err(StartError::Traces)?.unzip();
        let memory = Budget::new(config.caps.request_memory);
        let app = App::from(Parts {
            config,
            access,
            repository,
            metrics,
            lifecycle: Lifecycle::default(),
            refusals: Flood::new(1),
            failures: Flood::new(100),
            memory,
            traces,
        });
        Ok(Self { ports, app, files, reload: Arc::default(), exporter })
    }

    /// The addresses taken, with the real ports where the settings said 0: the server's own, then those for one purpose.
    pub fn addresses(&self) -> impl Iterator<Item = (SocketAddr, Option<&'static str>)> {
        self.ports.iter().map(|listening| (listening.address, listening.purpose))
    }

    /// `https` where it speaks TLS, else `http`.
    #[must_use]
    pub fn scheme(&self) -> &'static str {
        if self.app.config.tls.is_some() { "https" } else { "http" }
    }

    /// Whether there are keys or certificates that are read again when their files change.
    #[must_use]
    pub const fn follows_files(&self) -> bool {
        !self.files.is_empty()
    }

    /// What makes a running server look at those files at once, each time it is notified.
    #[must_use]
    pub fn reload(&self) -> Arc<Notify> {
        Arc::clone(&self.reload)
    }

    /// Answers until `stop` is ready and everything that was begun by then is finished.
    ///
    /// On `stop` readiness goes off at once; after the lame-duck time no connection is accepted any more; then
    /// requests under way finish, at most for the grace period.
    pub async fn serve(self, stop: impl Future<Output = ()>) -> Stopped {
        let lifecycle = self.app.lifecycle.clone();
        let (drain, caps) = (self.app.config.drain, self.app.config.caps.clone());
        let stopping = async {
            stop.await;
            tracing::info!("stopping: not ready any more, finishing what is under way");
            lifecycle.stopping.raise();
            sleep(drain.lame_duck).await;
            lifecycle.draining.raise();
        };
        let sent = CancellationToken::new();
        let exporting = self.exporter.map(|exporter| AbortOnDropHandle::new(tokio::spawn(exporter.run(sent.clone()))));
        let _beating = AbortOnDropHandle::new(tokio::spawn(beat()));
        let following = live::follow(self.files, self.app.config.reload_interval, self.reload);
        let site = router::new(self.app);
        let serving = self.ports.into_iter().map(|Listening { entrance, port, watched, .. }| {
            let site = if watched { site.with_only(router::for_metrics()) } else { site.through(entrance) };
            port.serve(site, &lifecycle, drain, caps.clone())
        });
        let serving = async { tokio::join!(stopping, join_all(serving)).1.into_iter().sum() };
        let abandoned = tokio::select! { abandoned = serving => abandoned, never = following => match never {} };
        if abandoned > 0 {
            tracing::warn!(abandoned, "the grace period ended with {abandoned} connections or requests unfinished");
        }
        sent.cancel();
        if let Some(exporting) = exporting
            && timeout(LAST_SPANS, exporting).await.is_err()
        {
            tracing::warn!("the last spans were not sent: the collector of traces takes too long");
        }
        Stopped { abandoned }
    }
}

/// Does nothing once a second.
///
/// tokio wakes a thread that sleeps whenever a timer is set that goes off before all others, and a request that has to wait
/// sets some, which as a rule are seconds away and never go off: each woke another thread for nothing. This one is before
/// them.
async fn beat() -> Infallible {
    let mut beats = interval(Duration::from_secs(1));
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
    }
}

/// Binds and serves in one go.
pub async fn serve(
    config: Config,
    repository: Arc<Repository>,
    registry: Registry,
    stop: impl Future<Output = ()>,
) -> Result<Stopped, StartError> {
    Ok(Server::bind(config, repository, registry).await?.serve(stop).await)
}
