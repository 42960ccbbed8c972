//! Puts the protocols on HTTP and gRPC ports, with limits, health, metrics and a clean stop.
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
mod grpc;
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

use futures_util::future::join_all;
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

/// A server whose ports are taken: connections wait until [`Server::serve`] runs.
pub struct Server {
    ports: Vec<(Port, SocketAddr)>,
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
    /// Takes the ports. `registry` gets the server's metrics; `GET /metrics` tells everything in it.
    pub async fn bind(config: Config, repository: Arc<Repository>, registry: Registry) -> Result<Self, StartError> {
        let mut ports = Vec::new();
        for address in [Some(config.listen), config.grpc_listen].into_iter().flatten() {
            let failed = |source| StartError::Bind { address, source };
            let port = Port::bind(address).await.map_err(failed)?;
            let address = port.address().map_err(failed)?;
            ports.push((port, address));
        }
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
        Ok(Self { ports, app })
    }

    /// The addresses taken, with the real ports where the settings said 0: the server's, and the one for gRPC if there
    /// is one.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.ports.iter().map(|(_, address)| *address)
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
        let site = router::new(self.app);
        let serving = self.ports.into_iter().map(|(port, _)| port.serve(site.clone(), &lifecycle, drain, caps.clone()));
        let ((), abandoned) = tokio::join!(stopping, join_all(serving));
        let abandoned = abandoned.into_iter().sum();
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
