//! The security daemon's interface for modules: signatures, and the certificates to trust.
//!
//! Source: Azure/iotedge, `edgelet-http-workload` and `workloadVersion_2020_07_07.yaml`. At most ten requests at a time are
//! answered; more are closed without a word, and asking again is the caller's matter.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::Request;
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::topics::percent_encoded;
use crate::link::Stream;

/// How long a call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes of an answer.
const LARGEST: usize = 1 << 20;

/// Why the daemon did not help.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the fields are")]
pub enum WorkloadError {
    #[error("IOTEDGE_WORKLOADURI: expected unix:///PATH or http://HOST:PORT, found `{0}`")]
    Uri(String),
    #[error("the security daemon cannot be reached: {0}")]
    Unreachable(#[from] io::Error),
    #[error("the security daemon did not answer within {} s", PATIENCE.as_secs())]
    Slow,
    #[error("the security daemon closed the connection: {0}")]
    Closed(String),
    #[error("the security daemon answered {status}: {message}")]
    Refused { status: u16, message: String },
    #[error("the security daemon answered with something else than was asked for")]
    Answer,
}

/// The daemon, as one module sees it.
#[derive(Clone, Debug)]
pub struct Workload<'w> {
    /// Where it is.
    pub uri: &'w str,
    /// The module's generation.
    pub generation: &'w str,
    /// The version of its interface.
    pub api_version: &'w str,
}

#[derive(Deserialize)]
struct Signed {
    digest: String,
}

#[derive(Deserialize)]
struct Trusted {
    certificate: String,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
}

impl Workload<'_> {
    /// Signs a text with the module's key: HMAC-SHA256 in base64.
    pub async fn sign(&self, module: &str, text: &str) -> Result<String, WorkloadError> {
        let (module, generation) = (percent_encoded(module), percent_encoded(self.generation));
        let path = format!("/modules/{module}/genid/{generation}/sign?api-version={}", self.api_version);
        let data = BASE64_STANDARD.encode(text);
        let body = format!(r#"{{"keyId":"primary","algo":"HMACSHA256","data":"{data}"}}"#);
        Ok(self.call::<Signed>("POST", &path, body).await?.digest)
    }

    /// The certificates that the hub's is vouched for by, in PEM.
    pub async fn trust_bundle(&self) -> Result<String, WorkloadError> {
        let path = format!("/trust-bundle?api-version={}", self.api_version);
        Ok(self.call::<Trusted>("GET", &path, String::new()).await?.certificate)
    }

    async fn call<T: for<'d> Deserialize<'d>>(
        &self,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<T, WorkloadError> {
        timeout(PATIENCE, self.ask(method, path, body)).await.map_err(|_| WorkloadError::Slow)?
    }

    async fn ask<T: for<'d> Deserialize<'d>>(
        &self,
        method: &str,
        path: &str,
        body: String,
    ) -> Result<T, WorkloadError> {
        let closed = |error: hyper::Error| WorkloadError::Closed(error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(self.open().await?)).await.map_err(closed)?;
        let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
        let request = request.header(CONTENT_TYPE, "application/json").body(Full::new(Bytes::from(body)));
        let request = request.map_err(|_| WorkloadError::Uri(self.uri.into()))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(closed)?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), LARGEST).collect().await;
            let body = body.map_err(|error| WorkloadError::Closed(error.to_string()))?.to_bytes();
            if status.is_success() {
                return serde_json::from_slice(&body).map_err(|_| WorkloadError::Answer);
            }
            let told = serde_json::from_slice(&body).map(|refusal: Refusal| refusal.message);
            Err(WorkloadError::Refused { status: status.as_u16(), message: told.unwrap_or_default() })
        };
        let mut connection = std::pin::pin!(connection);
        let mut answer = std::pin::pin!(answer);
        let mut open = true;
        loop {
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                _ = &mut connection, if open => open = false,
            }
        }
    }

    async fn open(&self) -> Result<Box<dyn Stream>, WorkloadError> {
        if let Some(path) = self.uri.strip_prefix("unix://") {
            return Ok(Box::new(UnixStream::connect(path).await?));
        }
        match self.uri.strip_prefix("http://") {
            Some(address) => Ok(Box::new(TcpStream::connect(address.trim_end_matches('/')).await?)),
            None => Err(WorkloadError::Uri(self.uri.into())),
        }
    }
}
