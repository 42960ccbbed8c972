//! An answer on its way: its head is written, and its body piece by piece.
//!
//! Source: RFC 9112, sections 4, 6 and 7; RFC 9110, section 6.4.1.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, StatusCode};
use hyper::body::Body as _;

use super::head::Unfit;
use crate::listen::date::Date;
use crate::listen::outgoing::Outgoing;
use crate::listen::{UNSENT, may_have_body};
use crate::middleware::answer::Answered;

/// What of a request says how its answer is sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) is_http11: bool,
    /// Whether a body may stand in the answer.
    pub(super) wants_body: bool,
    /// Whether the connection may serve others.
    pub(super) keeps_alive: bool,
}

impl Default for Asked {
    fn default() -> Self {
        Self { is_http11: true, wants_body: true, keeps_alive: false }
    }
}

/// What is still to be sent of an answer.
pub(super) struct Sending {
    /// `None` where nothing is.
    body: Option<Body>,
    framing: Framing,
}

/// How a client knows where a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Framing {
    /// There is so much to come.
    Length(u64),
    Chunked,
    /// With the connection.
    Close,
}

/// The answer to what is no request.
pub(super) fn refusal(unfit: Unfit) -> Response {
    let text = serde_json::json!({ "error": unfit.to_string() }).to_string();
    (unfit.status(), [(CONTENT_TYPE, "application/json")], text).into_response()
}

impl Sending {
    /// Writes the head of an answer. Where others cannot follow it, because of it, `asked` is told.
    pub(super) fn begin(answer: Answered, asked: &mut Asked, out: &mut Outgoing, date: &mut Date) -> Self {
        let Answered { response, own } = answer;
        let (head, body) = response.into_parts();
        let exact = body.size_hint().exact();
        let has_body = may_have_body(head.status);
        let framing = match exact {
            _ if !has_body => Framing::Length(0),
            Some(length) => Framing::Length(length),
            None if asked.is_http11 => Framing::Chunked,
            None => Framing::Close,
        };
        asked.keeps_alive &= framing != Framing::Close || !asked.wants_body;
        asked.keeps_alive &=
            head.headers.get(CONNECTION).is_none_or(|value| !value.as_bytes().eq_ignore_ascii_case(b"close"));

        let tail = out.tail();
        if head.status == StatusCode::OK {
            tail.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        } else {
            let reason = head.status.canonical_reason().unwrap_or_default();
            tail.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", head.status.as_str()).as_bytes());
        }
        own.each(|name, value| field(name, value, tail));
        // What the answer to another method would be as long as stands in its head.
        let own_length = has_body && (asked.wants_body || exact.is_some_and(|length| length > 0));
        match framing {
            Framing::Length(length) if own_length => {
                field(&CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes(), tail);
            }
            Framing::Chunked if asked.wants_body => field(&TRANSFER_ENCODING, b"chunked", tail),
            _ => {}
        }
        let is_open = framing == Framing::Chunked || framing == Framing::Close;
        write(&head.headers, own_length || !has_body || (is_open && asked.wants_body), tail);
        if !asked.keeps_alive {
            field(&CONNECTION, b"close", tail);
        } else if !asked.is_http11 {
            field(&CONNECTION, b"keep-alive", tail);
        }
        if !head.headers.contains_key(DATE) {
            field(&DATE, date.now(), tail);
        }
        tail.extend_from_slice(b"\r\n");
        let body = Some(body).filter(|_| asked.wants_body && framing != Framing::Length(0));
        Self { body, framing }
    }

    /// Brings more of the answer to `out`; ready with `true` once all is there, and with `false` where there is enough for
    /// now.
    pub(super) fn poll(&mut self, out: &mut Outgoing, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        while let Some(body) = &mut self.body {
            if out.len() > UNSENT {
                return Poll::Ready(Ok(false));
            }
            let bytes = match ready!(Pin::new(&mut *body).poll_frame(context)) {
                None => None,
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) => Some(bytes),
                    // Trailers, which hardly anybody reads.
                    Err(_) => continue,
                },
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(format!("an answer broke off: {error}")))),
            };
            let is_last = bytes.is_none() || body.is_end_stream();
            self.framing.add(bytes.unwrap_or_default(), is_last, out)?;
            if is_last {
                self.body = None;
            }
        }
        Poll::Ready(Ok(true))
    }
}

impl Framing {
    /// Adds what comes next of a body, maybe the last.
    fn add(&mut self, bytes: Bytes, is_last: bool, out: &mut Outgoing) -> io::Result<()> {
        match self {
            Self::Close => out.add(bytes),
            Self::Length(rest) => {
                let left = rest.checked_sub(bytes.len() as u64).filter(|left| !is_last || *left == 0);
                *rest = left.ok_or_else(|| io::Error::other("an answer is not as long as it said"))?;
                out.add(bytes);
            }
            Self::Chunked => {
                // One without data would be the last.
                if !bytes.is_empty() {
                    out.tail().extend_from_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
                    out.add(bytes);
                    out.tail().extend_from_slice(b"\r\n");
                }
                if is_last {
                    out.tail().extend_from_slice(b"0\r\n\r\n");
                }
            }
        }
        Ok(())
    }
}

/// Writes the headers that are not about the connection; with `has_length` none of the length.
fn write(headers: &HeaderMap, has_length: bool, tail: &mut Vec<u8>) {
    for (name, value) in headers {
        if *name == CONNECTION || *name == TRANSFER_ENCODING || (has_length && *name == CONTENT_LENGTH) {
            continue;
        }
        field(name, value.as_bytes(), tail);
    }
}

fn field(name: &HeaderName, value: &[u8], tail: &mut Vec<u8>) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        tail.extend_from_slice(part);
    }
}
