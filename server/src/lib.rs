//! Puts the protocols on an HTTP port, with limits, health, metrics and a clean stop.
//!
//! [`Server::bind`] takes the port, [`Server::serve`] answers on it until it is told to stop. The routes stand in
//! `router.rs`, what happens around every one of them in `middleware.rs`, and how a failure becomes a status in
//! `error.rs`.

mod app;
mod body;
mod call;
pub mod config;
mod deadline;
mod encoding;
mod error;
mod family;
mod lifecycle;
mod limit;
mod listen;
mod metrics;
mod middleware;
mod overrides;
mod payload;
mod request_id;
mod room;
mod router;
mod routes;
mod target;
#[cfg(test)]
mod testing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hedef_core::repository::Repository;
use prometheus::Registry;
use tokio::time::sleep;

use crate::app::{App, Parts};
pub use crate::config::{Admin, AzureSettings, Caps, Config, Drain, InvalidConfig, Settings};
use crate::lifecycle::Lifecycle;
use crate::listen::Port;
use crate::metrics::Metrics;
use crate::middleware::Flood;
use crate::room::Budget;

/// A server whose port is taken: connections wait until [`Server::serve`] runs.
pub struct Server {
    port: Port,
    address: SocketAddr,
    app: App,
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
    /// Takes the port. `registry` gets the server's metrics; `GET /metrics` tells everything in it.
    pub async fn bind(config: Config, repository: Arc<Repository>, registry: Registry) -> Result<Self, StartError> {
        let failed = |source| StartError::Bind { address: config.listen, source };
        let port = Port::bind(config.listen).await.map_err(failed)?;
        let address = port.address().map_err(failed)?;
        let metrics = Metrics::new(registry)?;
        let memory = Budget::new(config.caps.request_memory);
        let app = App::from(Parts {
            config,
            repository,
            metrics,
            lifecycle: Lifecycle::default(),
            refusals: Flood::default(),
            memory,
        });
        Ok(Self { port, address, app })
    }

    /// The address taken: with the real port where the settings said 0.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
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
        let serving = self.port.serve(router::new(self.app), &lifecycle, drain, caps);
        let ((), abandoned) = tokio::join!(stopping, serving);
        if abandoned > 0 {
            tracing::warn!(abandoned, "the grace period ended with {abandoned} connections or requests unfinished");
        }
        Stopped { abandoned }
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
