//! The body of a request: read whole, unpacked, and never larger than allowed.

use std::borrow::Cow;
use std::fmt::Display;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use hedef_core::ModelId;
use hedef_protocols::{DecodeLimits, v2};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body_util::BodyExt;
use hyper::body::Body as HttpBody;
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::body::work;
use crate::call::Call;
use crate::encoding::{Coding, Unpacked};
use crate::error::ApiError;
use crate::listen::young::grow_up;
use crate::piece::Piece;
use crate::room::Room;
use crate::seldom;

/// Bodies up to this size are unpacked in place; larger ones on a thread of their own, as that takes milliseconds.
pub(crate) const IN_PLACE: usize = 16 << 10;

/// The media types that JSON and tensors come in. `curl -d` says the second without being asked.
const MEDIA_TYPES: [&str; 4] =
    ["application/json", "application/x-www-form-urlencoded", "application/octet-stream", "text/plain"];

/// A body that bytes come from.
pub(crate) trait Source: HttpBody<Data = Bytes, Error: Display> + Send + Unpin {
    /// Has what comes put behind `start`, which is taken then, and given as one piece once all its bytes are there, or
    /// the body ends. One that cannot do this takes nothing.
    fn gather(&mut self, _start: &mut Bytes, _piece: Piece) {}

    /// How much of such a piece is there, as far as that is known.
    fn here(&self) -> usize {
        0
    }
}

impl Source for axum::body::Body {}

impl<B: Source> Source for &mut B {
    fn gather(&mut self, start: &mut Bytes, piece: Piece) {
        (**self).gather(start, piece);
    }

    fn here(&self) -> usize {
        (**self).here()
    }
}

/// The bytes of a request's body, of a route that is not about one model.
#[derive(Debug)]
pub(crate) struct Payload(pub(crate) Bytes);

impl FromRequest<App> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &App) -> Result<Self, ApiError> {
        let call = Call::of(request.extensions())?;
        let limit = Limit { bytes: app.config.body_limits.usual, model: None };
        let (head, mut body) = request.into_parts();
        check_type(&head.headers)?;
        read(app, &call, &head.headers, &mut body, limit, &|_| Ok(())).await.map(|body| Self(body.bytes))
    }
}

/// The most bytes that a body may have once decompressed, and the model that this is for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit<'a> {
    pub(crate) bytes: usize,
    pub(crate) model: Option<&'a ModelId>,
}

impl Limit<'_> {
    pub(crate) fn exceeded(self, found: Option<usize>) -> ApiError {
        ApiError::BodyTooLarge { limit: self.bytes, model: self.model.cloned(), found }
    }
}

/// Looks at the first bytes of a body.
type Look<'a> = &'a (dyn Fn(&[u8]) -> Result<(), ApiError> + Sync);

/// A body, and the memory that its request holds.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) bytes: Bytes,
    pub(crate) room: Room<'a>,
    /// How many values may stand in it, and elements in its tensors.
    elements: usize,
    /// Whether its memory holds nothing else, so that tensors may keep it.
    is_alone: bool,
}

impl<'a> Received<'a> {
    /// A body that was read, of a request with so much room. Where it `is_alone` its memory holds nothing else.
    pub(crate) fn of(app: &App, bytes: Bytes, is_alone: bool, room: Room<'a>) -> Self {
        let elements = app.config.caps.elements.max(bytes.len());
        Self { bytes, room, elements, is_alone }
    }

    /// How many bytes there are.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Decodes the body, which takes as long as `weight` bytes of JSON, within what its request may take, and lets it
    /// go, if no tensor keeps it.
    pub(crate) fn decode<T>(
        &mut self,
        call: &Call,
        weight: usize,
        decode: impl FnOnce(&[u8], DecodeLimits<'_>) -> Result<T, hedef_protocols::Error>,
    ) -> Result<T, ApiError> {
        call.decodes();
        let (bytes, elements, is_alone, room) =
            (std::mem::take(&mut self.bytes), self.elements, self.is_alone, &self.room);
        let before = room.asked();
        let (decoded, is_kept) = work(weight, move || {
            let message = is_alone.then_some(&bytes);
            let decoded = decode(&bytes, DecodeLimits { elements, room: &|bytes| room.take(bytes), message });
            let is_kept = is_alone && !bytes.is_unique();
            // Before its memory is another's.
            drop(bytes);
            (decoded, is_kept)
        });
        let decoded = decoded.map_err(|error| match error {
            hedef_protocols::Error::NoRoom => self.room.refusal(),
            error => error.into(),
        })?;
        // What is left of the body is what was made of it, or all of it.
        self.room.shrink_to(self.room.asked() - if is_kept { 0 } else { before });
        Ok(decoded)
    }
}

/// Reads the body of a request with those headers whole and unpacks it. What of a large one comes first is shown to
/// `look`, whose failure spares the rest.
pub(crate) async fn read<'a>(
    app: &'a App,
    call: &Call,
    headers: &HeaderMap,
    body: &mut impl Source,
    limit: Limit<'_>,
    look: Look<'_>,
) -> Result<Received<'a>, ApiError> {
    let coding = announced(headers, body, limit)?;
    let room = app.memory.enter(app.metrics.in_flight.get())?;
    let pace = app.config.caps.body_rate;
    let bytes =
        call.in_time(pin!(whole(body, headers, limit, &room, pace, look))).await.ok_or(ApiError::BodyTimeout)??;
    app.metrics.request_bytes.inc_by(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    if bytes.len() > IN_PLACE {
        grow_up().await;
    }
    let elements = app.config.caps.elements.max(bytes.len());
    let bytes = match coding {
        Some(coding) => unpack(coding, &bytes, limit, &room)?,
        None => bytes,
    };
    let is_alone = bytes.is_unique();
    Ok(Received { bytes, room, elements, is_alone })
}

/// Checks what the head says of the body.
fn announced(headers: &HeaderMap, body: &impl Source, limit: Limit<'_>) -> Result<Option<Coding>, ApiError> {
    let coding = Coding::of_request(headers)?;
    let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if least > limit.bytes { Err(limit.exceeded(Some(least))) } else { Ok(coding) }
}

/// Fails where a body can be neither JSON nor tensors.
pub(crate) fn check_type(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    if value == MEDIA_TYPES[0] {
        return Ok(());
    }
    let found = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
    let essence = found.split(';').next().unwrap_or_default().trim();
    if essence.is_empty() || MEDIA_TYPES.contains(&essence) || essence.ends_with("+json") {
        return Ok(());
    }
    Err(ApiError::ContentType { found: essence.into(), expected: "application/json or application/octet-stream" })
}

/// Reads all of a body that comes at no less than `rate` bytes a second.
async fn whole(
    body: &mut impl Source,
    headers: &HeaderMap,
    limit: Limit<'_>,
    room: &Room<'_>,
    rate: usize,
    look: Look<'_>,
) -> Result<Bytes, ApiError> {
    // Its announced length, which is within the limit.
    room.need(usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX))?;
    let mut pace = Pace::new(rate);
    let Some(first) = pace.next(body).await? else { return Ok(Bytes::new()) };
    if body.is_end_stream() && first.len() <= limit.bytes {
        return Ok(first);
    }
    look(&first)?;
    // In a box, as most are there at once and every request's future would hold its place.
    Box::pin(gather(body, headers, first, limit, room, pace)).await
}

/// Puts what comes of a body behind the first of it.
async fn gather(
    body: &mut impl Source,
    headers: &HeaderMap,
    mut first: Bytes,
    limit: Limit<'_>,
    room: &Room<'_>,
    mut pace: Pace,
) -> Result<Bytes, ApiError> {
    let rest = usize::try_from(body.size_hint().lower()).unwrap_or(0);
    let tensor = json_length(headers).ok().flatten().unwrap_or(0);
    let piece = Piece { whole: first.len().saturating_add(rest), tensor };
    if body.size_hint().exact().is_some() {
        body.gather(&mut first, piece);
    }
    let mut all = if first.is_empty() {
        pace.next(body).await?.unwrap_or_default().into()
    } else {
        let mut all = piece.memory();
        all.extend_from_slice(&first);
        all
    };
    // It may hold more memory than it has bytes.
    drop(first);
    while all.len() <= limit.bytes {
        let Some(more) = pace.next(body).await? else { return Ok(all.freeze()) };
        if all.len() + more.len() > all.capacity() {
            // It will be twice as large.
            room.need(all.capacity().max(more.len()))?;
        }
        all.extend_from_slice(&more);
    }
    Err(limit.exceeded(None))
}

/// How long a body may take for its least bytes.
const WINDOW: Duration = Duration::from_secs(10);

/// Sees to it that a body, or a message in one, comes at no less than a rate.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The least bytes that have to come in each window.
    least: usize,
    came: usize,
    /// The end of the current window, once somebody had to wait.
    due: Option<Instant>,
}

impl Pace {
    /// Wants `rate` bytes a second, or more.
    pub(crate) fn new(rate: usize) -> Self {
        let seconds = usize::try_from(WINDOW.as_secs()).unwrap_or(usize::MAX);
        Self { least: rate.saturating_mul(seconds), came: 0, due: None }
    }

    /// Begins anew, with the next message.
    pub(crate) fn restart(&mut self) {
        (self.came, self.due) = (0, None);
    }

    /// The next bytes; `None` at the end. What is there already takes no look at the clock.
    pub(crate) async fn next(&mut self, body: &mut impl Source) -> Result<Option<Bytes>, ApiError> {
        let ready = {
            let mut waiting = pin!(next(body));
            poll_fn(|context| Poll::Ready(waiting.as_mut().poll(context))).await
        };
        let bytes = match ready {
            Poll::Ready(bytes) => bytes?,
            Poll::Pending => self.wait(body).await?,
        };
        self.came = self.came.saturating_add(bytes.as_ref().map_or(0, Bytes::len));
        Ok(bytes)
    }

    async fn wait(&mut self, body: &mut impl Source) -> Result<Option<Bytes>, ApiError> {
        // What had come of the next piece when this window began.
        let mut before = body.here();
        loop {
            let due = *self.due.get_or_insert_with(|| Instant::now() + WINDOW);
            // In a box, as it is seldom there and every request's future would hold its place.
            if let Ok(bytes) = Box::pin(timeout_at(due, next(body))).await {
                return bytes;
            }
            let here = body.here();
            if self.came.saturating_add(here.saturating_sub(before)) < self.least {
                return Err(ApiError::BodyTooSlow { least: self.least, window: WINDOW.as_secs() });
            }
            before = here;
            self.restart();
        }
    }
}

/// The next bytes of a body; `None` at its end.
pub(crate) async fn next(body: &mut impl Source) -> Result<Option<Bytes>, ApiError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ApiError::BodyBroken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

fn unpack(coding: Coding, packed: &[u8], limit: Limit<'_>, room: &Room<'_>) -> Result<Bytes, ApiError> {
    let unpacked = coding.decompress(packed, limit.bytes, &|bytes| room.take(bytes));
    match unpacked.map_err(|error| ApiError::BodyBroken(format!("{coding:?}: {error}")))? {
        Unpacked::Whole(plain) => Ok(plain.into()),
        Unpacked::TooLarge => Err(limit.exceeded(None)),
        Unpacked::NoRoom => Err(room.refusal()),
    }
}

/// The header that tells how many bytes of the body are JSON; tensors follow them.
pub(crate) const JSON_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

fn text(value: &HeaderValue) -> Cow<'_, str> {
    String::from_utf8_lossy(value.as_bytes())
}

/// How many bytes of the body are JSON, where the client says so.
pub(crate) fn json_length(headers: &HeaderMap) -> Result<Option<usize>, ApiError> {
    let length = seldom::find(headers, &JSON_LENGTH).map(text);
    let media_type = headers.get(CONTENT_TYPE).map(text);
    Ok(v2::json_length(length.as_deref(), media_type.as_deref())?)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::request_id::RequestId;
    use crate::room::Budget;
    use crate::testing::house;

    fn of_type(name: &'static str) -> Result<(), ApiError> {
        check_type(&HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(name))]))
    }

    #[test]
    fn media_types_that_cannot_be_json_or_tensors_are_refused() {
        for right in
            ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json", "text/plain"]
        {
            assert!(of_type(right).is_ok(), "{right}");
        }
        for wrong in ["text/csv", "image/png", "multipart/form-data; boundary=x", "application/xml"] {
            assert!(matches!(of_type(wrong), Err(ApiError::ContentType { .. })), "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        let body = || Body::from(vec![0; 100]);
        let limit = |bytes| Limit { bytes, model: None };
        let budget = Budget::new(1 << 20);
        let room = budget.enter(1).unwrap();
        assert_eq!(whole(&mut body(), &HeaderMap::new(), limit(100), &room, 0, &|_| Ok(())).await.unwrap().len(), 100);
        assert!(matches!(
            whole(&mut body(), &HeaderMap::new(), limit(99), &room, 0, &|_| Ok(())).await,
            Err(ApiError::BodyTooLarge { limit: 99, .. })
        ));
        assert!(
            whole(&mut Body::empty(), &HeaderMap::new(), limit(1), &room, 0, &|_| Ok(())).await.unwrap().is_empty()
        );
    }

    /// A body of so many pieces, each after so many seconds.
    fn slow(pieces: usize, bytes: usize, seconds: u64) -> Body {
        let piece = move |at: usize| async move {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
            (at < pieces).then(|| (Ok::<_, ApiError>(Bytes::from(vec![0; bytes])), at + 1))
        };
        Body::from_stream(Box::pin(futures_util::stream::unfold(0, piece)))
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_trickles_is_given_up_and_one_that_is_slow_is_not() {
        let limit = Limit { bytes: 1 << 20, model: None };
        let budget = Budget::new(1 << 20);
        let room = budget.enter(1).unwrap();
        let start = Instant::now();
        let trickles = whole(&mut slow(100, 1, 3), &HeaderMap::new(), limit, &room, 1, &|_| Ok(())).await;
        assert!(matches!(trickles, Err(ApiError::BodyTooSlow { least: 10, window: 10 })), "{trickles:?}");
        assert_eq!(start.elapsed(), WINDOW);
        assert_eq!(
            whole(&mut slow(20, 50, 3), &HeaderMap::new(), limit, &room, 10, &|_| Ok(())).await.unwrap().len(),
            1000
        );
        assert_eq!(
            whole(&mut slow(3, 1, 9), &HeaderMap::new(), limit, &room, 0, &|_| Ok(())).await.unwrap().len(),
            3,
            "no rate is wanted"
        );
    }

    #[tokio::test]
    async fn a_body_counts_as_long_as_a_tensor_keeps_it() {
        let house = house(|_| ());
        let app = &house.app;
        // Kept; not kept; others hold it too, so that nobody may.
        for (keeps, is_alone) in [(true, true), (false, true), (true, false)] {
            let room = app.memory.enter(1).unwrap();
            room.need(1 << 20).unwrap();
            let mut received = Received::of(app, Bytes::from(vec![0; 1 << 20]), is_alone, room);
            let call = Call::new(RequestId::of(&HeaderMap::new()), Duration::MAX, Ok(None), None);
            let decode = |_: &[u8], limits: DecodeLimits<'_>| {
                assert!((limits.room)(100_000));
                Ok(limits.message.cloned().filter(|_| keeps))
            };
            let kept = received.decode(&call, 0, decode).unwrap();
            assert_eq!(kept.is_some(), keeps && is_alone);
            assert_eq!(received.room.asked(), 100_000 + if kept.is_some() { 1 << 20 } else { 0 });
        }
    }

    #[tokio::test]
    async fn memory_for_a_body_is_reserved_as_it_grows() {
        let limit = Limit { bytes: 8 << 20, model: None };
        let budget = Budget::new(2 << 20);
        let whole_of = async |pieces| {
            let room = budget.enter(1).unwrap();
            whole(&mut slow(pieces, 100 << 10, 0), &HeaderMap::new(), limit, &room, 0, &|_| Ok(()))
                .await
                .map(|bytes| (bytes.len(), budget.held()))
        };
        let (length, held) = whole_of(5).await.unwrap();
        assert!(length == 500 << 10 && held > 400 << 10, "{held}");
        assert!(matches!(whole_of(50).await, Err(ApiError::TooMuchMemory { .. } | ApiError::NoMemory { .. })));
        assert_eq!(budget.held(), 0);
    }
}
