//! The server's settings: raw in [`Settings`], checked in [`Config`].

mod access;
mod tls;
mod traces;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hedef_core::ModelName;
use http::HeaderValue;

pub(crate) use access::AdminOpen;
pub use access::{CredentialSettings, JwtSettings};
pub use tls::{ClientAuth, TlsSettings};
pub use traces::TraceSettings;
pub(crate) use traces::{Collector, Traces};

use crate::log::Log;

/// The settings as a person gives them. The defaults serve a developer's machine.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where to listen too, for clients that want a port of its own for gRPC. Both ports answer HTTP and gRPC alike.
    pub grpc_listen: Option<SocketAddr>,
    /// The most bytes a request's body may have once decompressed, where the model's signature does not tell.
    pub body_limit: usize,
    /// The most bytes that a model whose rows are large may have instead.
    pub body_limit_cap: usize,
    /// The time a scoring request may take from its head to its answer.
    pub request_timeout: Duration,
    /// Whether models can be loaded and unloaded over the network.
    pub admin: Admin,
    /// Where to listen for administration, which the other port is closed for then. All else is answered there too.
    pub admin_listen: Option<SocketAddr>,
    /// Where to listen too, for health and metrics alone.
    pub metrics_listen: Option<SocketAddr>,
    /// The origins whose pages may score; `*` allows all.
    pub cors_origins: Vec<String>,
    /// What requests identify themselves with.
    pub credentials: CredentialSettings,
    /// TLS on every port; none is plain.
    pub tls: Option<TlsSettings>,
    /// How often the files of keys and certificates are looked at.
    pub reload_interval: Duration,
    /// The Azure Machine Learning routes.
    pub azure: AzureSettings,
    /// How the server stops.
    pub drain: Drain,
    /// What strangers may take.
    pub caps: Caps,
    /// Traces of requests; none sends none.
    pub traces: Option<TraceSettings>,
    /// The log, where it can be changed while the server runs.
    pub log: Option<Arc<dyn Log>>,
    /// Which part of the requests that succeed get a line in the log, from 0 to 1. Those that fail have one anyway.
    pub access_log: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            grpc_listen: None,
            body_limit: 64 << 20,
            body_limit_cap: 1 << 30,
            request_timeout: Duration::from_secs(60),
            admin: Admin::Auto,
            admin_listen: None,
            metrics_listen: None,
            cors_origins: Vec::new(),
            credentials: CredentialSettings::default(),
            tls: None,
            reload_interval: Duration::from_secs(1),
            azure: AzureSettings::default(),
            drain: Drain::default(),
            caps: Caps::default(),
            traces: None,
            log: None,
            access_log: 0.0,
        }
    }
}

/// What connections and requests may take, however many and whatever they are.
#[derive(Clone, Debug)]
pub struct Caps {
    /// The connections that may be open at the same time. A few more are let in for health and metrics.
    pub connections: usize,
    /// The bytes that the head of a request may have.
    pub header_bytes: usize,
    /// The headers that a request may have.
    pub headers: usize,
    /// The time within which a new connection has to bring the head of its first request.
    pub header_timeout: Duration,
    /// The least bytes a second at which a body has to come, over any ten seconds; 0 is no least.
    pub body_rate: usize,
    /// The time for which a client may take nothing of its answer.
    pub answer_timeout: Duration,
    /// The elements of tensors, and values of JSON, in a request however few bytes it is sent in; one of more bytes
    /// may have as many as it has bytes.
    pub elements: usize,
    /// The bytes of memory that requests under way may hold in all.
    pub request_memory: usize,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            connections: 4096,
            header_bytes: 128 << 10,
            headers: MOST_HEADERS,
            header_timeout: Duration::from_secs(30),
            body_rate: 1 << 10,
            answer_timeout: Duration::from_secs(60),
            elements: 1 << 20,
            request_memory: 1 << 30,
        }
    }
}

/// The headers that a request may have without memory being allocated for them.
pub(crate) const MOST_HEADERS: usize = 100;

/// Whether models can be loaded and unloaded over the network. Where keys or tokens are asked for, it takes one with the
/// permission in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Admin {
    /// Where keys or tokens are asked for, on a port of its own, and when listening on loopback addresses alone.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The settings of the Azure Machine Learning routes.
#[derive(Clone, Debug, Default)]
pub struct AzureSettings {
    /// The model behind `/score`; none means the only model there is.
    pub score_model: Option<String>,
    /// The name in the OpenAPI document.
    pub service_name: Option<String>,
    /// The version in the OpenAPI document.
    pub service_version: Option<String>,
    /// What stands before `/score` and `/swagger.json`, such as `/api/iris`.
    pub path_prefix: Option<String>,
}

/// How the server stops, in three steps that follow one another.
#[derive(Clone, Copy, Debug)]
pub struct Drain {
    /// How long requests are still accepted after readiness went off, so that load balancers notice.
    pub lame_duck: Duration,
    /// How long a connection that is already open may still begin a request once no new one is accepted.
    pub linger: Duration,
    /// How long requests under way may take before they are given up.
    pub grace: Duration,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            lame_duck: Duration::from_millis(500),
            linger: Duration::from_millis(250),
            grace: Duration::from_secs(25),
        }
    }
}

/// Settings that were checked and resolved.
#[derive(Clone, Debug)]
pub struct Config {
    pub(crate) listen: SocketAddr,
    pub(crate) grpc_listen: Option<SocketAddr>,
    pub(crate) body_limits: BodyLimits,
    pub(crate) request_timeout: Duration,
    pub(crate) admin: AdminOpen,
    pub(crate) admin_listen: Option<SocketAddr>,
    pub(crate) metrics_listen: Option<SocketAddr>,
    pub(crate) cors: Cors,
    pub(crate) credentials: CredentialSettings,
    pub(crate) tls: Option<TlsSettings>,
    pub(crate) reload_interval: Duration,
    pub(crate) azure: Azure,
    pub(crate) drain: Drain,
    pub(crate) caps: Caps,
    pub(crate) traces: Option<Traces>,
    pub(crate) log: Option<Arc<dyn Log>>,
    pub(crate) access_log: f64,
}

/// The most bytes a request's body may have once decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BodyLimits {
    /// Where no signature says otherwise.
    pub(crate) usual: usize,
    /// What no signature can raise it beyond.
    pub(crate) cap: usize,
}

/// The checked settings of the Azure Machine Learning routes.
#[derive(Clone, Debug)]
pub(crate) struct Azure {
    pub(crate) score_model: Option<ModelName>,
    pub(crate) service_name: String,
    pub(crate) service_version: String,
    /// Empty, or with a leading slash and without one at the end.
    pub(crate) path_prefix: String,
}

/// The origins whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cors {
    Any,
    Only(Vec<HeaderValue>),
}

/// A setting that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum InvalidConfig {
    #[error("the {setting} must be more than zero")]
    Zero { setting: &'static str },
    #[error("score model: {0}")]
    ScoreModel(String),
    #[error(
        "path prefix `{0}`: expected segments of A-Z a-z 0-9 . _ ~ - between slashes, such as `/api/iris`, \
         and not below /v1, /v2 or /metrics"
    )]
    PathPrefix(String),
    #[error("tokens: expected an issuer and an audience, or those for other services would do here")]
    Jwt,
    #[error("a port for administration makes no sense where administration is off")]
    AdminPort,
    #[error("CORS origin `{0}`: expected `*` or a scheme and a host, such as `https://example.com`")]
    Origin(String),
    #[error(
        "endpoint for traces `{0}`: expected a URL such as `http://localhost:4318/v1/traces`, without a password in it"
    )]
    TraceEndpoint(String),
    #[error("header `{0}` for the collector of traces: expected `name=value`, the value percent-encoded")]
    TraceHeader(String),
    #[error("part of the requests to trace: expected a number from 0 to 1, got {0}")]
    TraceSample(String),
    #[error("part of the requests to log: expected a number from 0 to 1, got {0}")]
    AccessLog(String),
}

impl Config {
    /// Checks settings. Fails on the first that cannot be, naming it.
    pub fn new(settings: Settings) -> Result<Self, InvalidConfig> {
        positive("body limit", settings.body_limit > 0)?;
        positive("cap on body limits", settings.body_limit_cap > 0)?;
        positive("request timeout", !settings.request_timeout.is_zero())?;
        positive("grace period", !settings.drain.grace.is_zero())?;
        positive("reload interval", !settings.reload_interval.is_zero())?;
        positive("limit on connections", settings.caps.connections > 0)?;
        positive("limit on headers", settings.caps.headers > 0 && settings.caps.header_bytes > 0)?;
        positive("header timeout", !settings.caps.header_timeout.is_zero())?;
        positive("answer timeout", !settings.caps.answer_timeout.is_zero())?;
        positive("limit on elements", settings.caps.elements > 0)?;
        positive("memory of requests", settings.caps.request_memory > 0)?;
        if settings.credentials.jwt.as_ref().is_some_and(|jwt| jwt.issuer.is_empty() || jwt.audience.is_empty()) {
            return Err(InvalidConfig::Jwt);
        }
        if !(0.0..=1.0).contains(&settings.access_log) {
            return Err(InvalidConfig::AccessLog(settings.access_log.to_string()));
        }
        let admin = AdminOpen::new(&settings)?;
        Ok(Self {
            listen: settings.listen,
            grpc_listen: settings.grpc_listen,
            body_limits: BodyLimits { usual: settings.body_limit, cap: settings.body_limit_cap },
            request_timeout: settings.request_timeout,
            admin,
            admin_listen: settings.admin_listen,
            metrics_listen: settings.metrics_listen,
            cors: Cors::new(&settings.cors_origins)?,
            credentials: settings.credentials,
            tls: settings.tls,
            reload_interval: settings.reload_interval,
            azure: Azure::new(settings.azure)?,
            drain: settings.drain,
            caps: settings.caps,
            traces: settings.traces.map(Traces::new).transpose()?,
            log: settings.log,
            access_log: settings.access_log,
        })
    }

    /// Where the server is to listen.
    #[must_use]
    pub const fn listen(&self) -> SocketAddr {
        self.listen
    }
}

impl Azure {
    fn new(settings: AzureSettings) -> Result<Self, InvalidConfig> {
        let score_model = settings.score_model.as_deref().map(ModelName::new).transpose();
        Ok(Self {
            score_model: score_model.map_err(|error| InvalidConfig::ScoreModel(error.to_string()))?,
            service_name: settings.service_name.unwrap_or_else(|| "hedef".into()),
            service_version: settings.service_version.unwrap_or_else(|| "1.0".into()),
            path_prefix: path_prefix(settings.path_prefix.as_deref().unwrap_or_default())?,
        })
    }
}

impl Cors {
    fn new(origins: &[String]) -> Result<Self, InvalidConfig> {
        if origins.iter().any(|origin| origin == "*") {
            return Ok(Self::Any);
        }
        let parse = |origin: &String| {
            let wrong = || InvalidConfig::Origin(origin.clone());
            let value = HeaderValue::from_str(origin).map_err(|_| wrong())?;
            if origin.contains("://") && !origin.ends_with('/') { Ok(value) } else { Err(wrong()) }
        };
        origins.iter().map(parse).collect::<Result<_, _>>().map(Self::Only)
    }
}

fn positive(setting: &'static str, holds: bool) -> Result<(), InvalidConfig> {
    if holds { Ok(()) } else { Err(InvalidConfig::Zero { setting }) }
}

/// Brings a prefix to the form that routes are made with: empty, or `/a/b`.
fn path_prefix(given: &str) -> Result<String, InvalidConfig> {
    let trimmed = given.trim_matches('/');
    if trimmed.is_empty() {
        return Ok(String::new());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '~' | '-');
    let right = trimmed.split('/').all(|segment| !segment.is_empty() && segment.chars().all(allowed));
    let taken = trimmed.split('/').next().is_some_and(|first| matches!(first, "v1" | "v2" | "metrics"));
    if right && !taken { Ok(format!("/{trimmed}")) } else { Err(InvalidConfig::PathPrefix(given.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_prefix_stands_between_slashes_or_is_refused() {
        assert_eq!(path_prefix("").as_deref(), Ok(""));
        assert_eq!(path_prefix("/").as_deref(), Ok(""));
        assert_eq!(path_prefix("api/iris/").as_deref(), Ok("/api/iris"));
        for wrong in ["a//b", "{m}", "a b", "*", "a?b", "v2", "/v1/x"] {
            assert!(path_prefix(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn settings_that_cannot_be_are_named() {
        let refusal = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            Config::new(settings).unwrap_err().to_string()
        };
        assert_eq!(refusal(|s| s.body_limit = 0), "the body limit must be more than zero");
        assert_eq!(refusal(|s| s.request_timeout = Duration::ZERO), "the request timeout must be more than zero");
        assert!(refusal(|s| s.azure.score_model = Some("../x".into())).starts_with("score model: `../x`"));
        assert!(refusal(|s| s.cors_origins = vec!["example.com".into()]).contains("`example.com`"));
    }
}
