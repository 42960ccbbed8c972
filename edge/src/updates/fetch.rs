//! Brings a bundle here: from a server, in as many goes as it takes, or from a file.
//!
//! Source: RFC 9110, ranges (section 14), `If-Range` (13.1.5) and redirects (15.4). A server that does not know ranges, or
//! has another file by now, answers with the whole, and all begins anew.

use std::fs::{self, File};
use std::future::{Future, pending};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{
    CONTENT_RANGE, DATE, ETAG, HOST, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, LOCATION, RANGE, USER_AGENT,
};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::clock::{self, Clock};
use super::pace::Pace;
use super::part::{NotTaken, Part};
use super::wanted::Place;
use crate::link::{self, Address};
use crate::steps::{Step, Steps};

/// How long a server may take to answer.
const ANSWER: Duration = Duration::from_secs(30);

/// How long it may be silent within an answer.
const SILENCE: Duration = Duration::from_secs(60);

/// So many bytes have to come while it is waited for that long: others wait for this download.
const LEAST: u64 = 1000;

/// How often it may send us elsewhere.
const MOST_REDIRECTS: usize = 5;

/// How much of a file is copied at a time.
const CHUNK: usize = 64 << 10;

/// Why a bundle is not here.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotHere {
    #[error("{host} cannot be reached: {error}")]
    Unreachable { host: String, error: io::Error },
    #[error("the connection to {host} was lost: {reason}")]
    Lost { host: String, reason: String },
    #[error("{host} was silent for {} s", .limit.as_secs())]
    Silent { host: String, limit: Duration },
    #[error("{host} sent fewer than {LEAST} bytes in {} s", SILENCE.as_secs())]
    Slow { host: String },
    #[error("{host} answered {status}")]
    Status { host: String, status: u16 },
    #[error("{host} redirects more than {MOST_REDIRECTS} times")]
    Redirects { host: String },
    #[error("{0}")]
    Place(String),
    #[error("expected a bundle of {size} bytes, found {found}")]
    Size { size: u64, found: String },
    #[error("the disk is full")]
    Full,
    #[error("the disk cannot be written or read: {0}")]
    Disk(io::Error),
    #[error("the file cannot be read: {0}")]
    File(io::Error),
}

impl NotHere {
    fn of(reason: NotTaken, size: u64) -> Self {
        match reason {
            NotTaken::TooMany => Self::Size { size, found: "more".into() },
            NotTaken::Disk(error) if error.kind() == io::ErrorKind::StorageFull => Self::Full,
            NotTaken::Disk(error) => Self::Disk(error),
        }
    }
}

/// How a bundle is brought.
pub(super) struct Fetch<'f> {
    pub(super) clock: &'f Clock,
    pub(super) pace: Pace,
    pub(super) plain_http: bool,
    /// The certificates to trust; none means those of the system.
    pub(super) ca_file: Option<&'f Path>,
    /// Where it is kept what the server calls the file.
    pub(super) tag: PathBuf,
    pub(super) steps: &'f Steps,
    /// Told of how much is here.
    pub(super) progress: &'f (dyn Fn(u64) + Sync),
}

impl Fetch<'_> {
    /// Brings what is missing of a bundle. Can be dropped at any time, and begun again later.
    pub(super) async fn bring(&self, from: Place, part: &mut Part) -> Result<(), NotHere> {
        if part.length() == part.size() {
            return Ok(());
        }
        match from {
            Place::File(path) => self.copy(&path, part).await,
            server @ Place::Server { .. } => self.download(server, part).await,
        }
    }

    async fn copy(&self, path: &Path, part: &mut Part) -> Result<(), NotHere> {
        let facts = fs::metadata(path).map_err(NotHere::File)?;
        if !facts.is_file() || facts.len() != part.size() {
            let found = if facts.is_file() { facts.len().to_string() } else { "no plain file".into() };
            return Err(NotHere::Size { size: part.size(), found });
        }
        let mut file = File::open(path).map_err(NotHere::File)?;
        file.seek(SeekFrom::Start(part.length())).map_err(NotHere::File)?;
        let mut rate = Rate::new(self.pace);
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = block_in_place(|| file.read(&mut chunk)).map_err(NotHere::File)?;
            if read == 0 {
                break;
            }
            self.take(part, chunk.get(..read).unwrap_or_default(), &mut rate).await?;
        }
        if part.length() < part.size() {
            return Err(NotHere::Size { size: part.size(), found: part.length().to_string() });
        }
        Ok(())
    }

    async fn download(&self, mut place: Place, part: &mut Part) -> Result<(), NotHere> {
        for _ in 0..=MOST_REDIRECTS {
            let Place::Server { tls, host, port, authority, path } = &place else { break };
            let address = Address { host: host.clone(), port: *port, tls: *tls, path: None };
            let roots = tls.then(|| link::roots(self.ca_file)).transpose().map_err(NotHere::File)?;
            let unreachable = |error| NotHere::Unreachable { host: host.clone(), error };
            let stream = link::open(&address, roots.as_ref()).await.map_err(unreachable)?;
            let lost = |error: hyper::Error| NotHere::Lost { host: host.clone(), reason: chain(&error) };
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(lost)?;
            let request = self.request(authority, path, part.length()).map_err(NotHere::Place)?;
            let exchange = async {
                let answer = timeout(ANSWER, sender.send_request(request)).await;
                let answer =
                    answer.map_err(|_| NotHere::Silent { host: host.clone(), limit: ANSWER })?.map_err(lost)?;
                if *tls && let Some(date) = text(answer.headers(), DATE).and_then(clock::http_date) {
                    self.clock.was_told(date);
                }
                if let Some(location) = redirect(&answer) {
                    return place.redirected(&location, self.plain_http).map(Some).map_err(NotHere::Place);
                }
                self.receive(host, answer, part).await.map(|()| None)
            };
            match alongside(connection, exchange).await? {
                None => return Ok(()),
                Some(next) => place = next,
            }
        }
        let host = if let Place::Server { host, .. } = place { host } else { String::new() };
        Err(NotHere::Redirects { host })
    }

    fn request(&self, authority: &str, path: &str, here: u64) -> Result<Request<Empty<Bytes>>, String> {
        let mut request = Request::builder().uri(path).header(HOST, authority);
        request = request.header(USER_AGENT, concat!("hedef-edge/", env!("CARGO_PKG_VERSION")));
        if here > 0 {
            request = request.header(RANGE, format!("bytes={here}-"));
            // After a power cut there may be anything in it.
            let tag = fs::read(&self.tag).ok().and_then(|tag| HeaderValue::from_bytes(&tag).ok());
            if let Some(tag) = tag.filter(|tag| !tag.is_empty()) {
                request = request.header(IF_RANGE, tag);
            }
        }
        request.body(Empty::new()).map_err(|_| "`url`: it cannot be asked for".into())
    }

    async fn receive(&self, host: &str, answer: Response<Incoming>, part: &mut Part) -> Result<(), NotHere> {
        let (status, size) = (answer.status(), part.size());
        let wrong_size = |found: String| NotHere::Size { size, found };
        let length =
            answer.headers().get("content-length").and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        match status {
            StatusCode::OK => {
                // The whole, whatever was asked for.
                part.start_over().map_err(NotHere::Disk)?;
                if let Some(length) = length.filter(|length| *length != size) {
                    return Err(wrong_size(length.to_string()));
                }
            }
            StatusCode::PARTIAL_CONTENT => {
                let (from, whole) = text(answer.headers(), CONTENT_RANGE).and_then(range).unwrap_or((u64::MAX, None));
                if let Some(whole) = whole.filter(|whole| *whole != size) {
                    return Err(wrong_size(whole.to_string()));
                }
                if from != part.length() {
                    part.start_over().map_err(NotHere::Disk)?;
                    let reason = "it answered with another part than was asked for".into();
                    return Err(NotHere::Lost { host: host.into(), reason });
                }
            }
            // What is here is already as long as what the server has.
            StatusCode::RANGE_NOT_SATISFIABLE => return Err(wrong_size(format!("{} or fewer", part.length()))),
            status => {
                return Err(NotHere::Status { host: host.into(), status: status.as_u16() });
            }
        }
        // Without it another file could not be told from this one; then the hash tells at the end. Mostly it is there already.
        let tag = tag(answer.headers()).unwrap_or_default();
        if fs::read(&self.tag).ok().as_deref() != Some(tag.as_bytes()) {
            let _ = fs::write(&self.tag, tag);
        }
        let mut rate = Rate::new(self.pace);
        let (mut body, mut speed) = (answer.into_body(), Speed::default());
        loop {
            let began = Instant::now();
            let frame = timeout(SILENCE, body.frame()).await;
            let frame = frame.map_err(|_| NotHere::Silent { host: host.into(), limit: SILENCE })?;
            let waited = began.elapsed();
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| NotHere::Lost { host: host.into(), reason: chain(&error) })?;
            if let Ok(bytes) = frame.into_data() {
                self.take(part, &bytes, &mut rate).await?;
                if speed.is_too_slow(waited, bytes.len() as u64) {
                    return Err(NotHere::Slow { host: host.into() });
                }
            }
        }
        if part.length() < size {
            // A server may hand out less at a time than was asked for, and without a length an end is no sign of anything.
            let reason = format!("it ended after {} bytes of {size}", part.length());
            return Err(NotHere::Lost { host: host.into(), reason });
        }
        Ok(())
    }

    /// Takes bytes, and waits as long as the pace asks for.
    async fn take(&self, part: &mut Part, bytes: &[u8], rate: &mut Rate) -> Result<(), NotHere> {
        for bytes in bytes.chunks(CHUNK) {
            let size = part.size();
            block_in_place(|| part.append(bytes)).map_err(|reason| NotHere::of(reason, size))?;
            self.steps.made(Step::SomeBytes);
            (self.progress)(part.length());
            rate.wait(bytes.len() as u64).await;
        }
        Ok(())
    }
}

/// How far a pace lets a download go on.
struct Rate {
    pace: Pace,
    due: Instant,
}

impl Rate {
    fn new(pace: Pace) -> Self {
        Self { pace, due: Instant::now() }
    }

    /// Waits until so many bytes may have come, and while the window is shut.
    async fn wait(&mut self, bytes: u64) {
        if self.pace.rate_bytes_per_s.is_some() {
            self.due = self.due.max(Instant::now() - Duration::from_secs(1)) + self.pace.time_for(bytes);
            sleep_until(self.due).await;
        }
        open(self.pace).await;
    }
}

/// How fast a server is, without the time that we had it wait.
#[derive(Default)]
struct Speed {
    waited: Duration,
    bytes: u64,
}

impl Speed {
    /// Counts bytes that were waited for.
    fn is_too_slow(&mut self, waited: Duration, bytes: u64) -> bool {
        self.waited += waited;
        self.bytes = self.bytes.saturating_add(bytes);
        let looked = self.waited >= SILENCE;
        let slow = looked && self.bytes < LEAST;
        if looked {
            *self = Self::default();
        }
        slow
    }
}

/// Waits until the window is open.
pub(super) async fn open(pace: Pace) {
    // The clock may jump while we wait.
    const LOOK: Duration = Duration::from_secs(60);
    while let Some(shut) = pace.window.map(|window| window.opens_in(clock::wall())).filter(|shut| !shut.is_zero()) {
        sleep(shut.min(LOOK)).await;
    }
}

/// Works on an exchange and on the connection that it needs.
async fn alongside<T>(connection: impl Future<Output = hyper::Result<()>>, exchange: impl Future<Output = T>) -> T {
    let rest = async {
        // How it ended, the exchange tells.
        let _ = connection.await;
        pending().await
    };
    tokio::select! {
        biased;
        done = exchange => done,
        never = rest => never,
    }
}

fn redirect(answer: &Response<Incoming>) -> Option<String> {
    let redirects = matches!(answer.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    text(answer.headers(), LOCATION).filter(|_| redirects).map(str::to_owned)
}

fn text(headers: &HeaderMap, name: hyper::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// What a server calls its file, so strictly that parts fit together.
fn tag(headers: &HeaderMap) -> Option<&str> {
    text(headers, ETAG).filter(|tag| !tag.starts_with("W/")).or_else(|| text(headers, LAST_MODIFIED))
}

/// Reads `bytes 3-9/10`: where it begins, and how long the whole is, if that is known.
fn range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, whole) = text.strip_prefix("bytes ")?.split_once('/')?;
    let from = range.split_once('-')?.0.parse().ok()?;
    if whole == "*" { Some((from, None)) } else { Some((from, Some(whole.parse().ok()?))) }
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read() {
        assert_eq!(range("bytes 3-9/10"), Some((3, Some(10))));
        assert_eq!(range("bytes 3-9/*"), Some((3, None)));
        for wrong in ["", "bytes", "bytes */10", "bytes a-9/10", "items 3-9/10"] {
            assert_eq!(range(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_server_that_drips_is_too_slow_and_one_that_rests_is_not() {
        let second = Duration::from_secs(1);
        let mut speed = Speed::default();
        assert_eq!((0..600).filter(|_| speed.is_too_slow(second, 1)).count(), 10);
        let mut speed = Speed::default();
        assert_eq!((0..600).filter(|_| speed.is_too_slow(second, 20)).count(), 0);
        // What came before does not make up for it.
        assert!(!speed.is_too_slow(second, 1 << 40) && !speed.is_too_slow(SILENCE, 1) && speed.is_too_slow(SILENCE, 1));
    }

    #[test]
    fn weak_tags_do_not_say_that_parts_fit_together() {
        let headers = |pairs: &[(hyper::header::HeaderName, &str)]| {
            pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect::<HeaderMap>()
        };
        assert_eq!(tag(&headers(&[(ETAG, "\"a\""), (LAST_MODIFIED, "x")])), Some("\"a\""));
        assert_eq!(tag(&headers(&[(ETAG, "W/\"a\""), (LAST_MODIFIED, "x")])), Some("x"));
        assert_eq!(tag(&headers(&[])), None);
    }
}
