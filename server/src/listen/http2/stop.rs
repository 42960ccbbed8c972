//! The end of a connection that the server wants.
//!
//! It says that it goes, asks with a PING whether that was heard, and then names the last stream that it takes; what belongs
//! to later streams is ignored (RFC 9113, section 6.8).

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep};

use super::frame::{GOAWAY, PING, Reason};
use crate::listen::HEARING;
use crate::listen::outgoing::Outgoing;

/// What its PING holds.
pub(super) const STOPS: [u8; 8] = *b"hedef:go";

/// How far the end has come.
#[derive(Debug, Default)]
pub(super) enum Stop {
    #[default]
    Not,
    /// The client was told, and has said nothing; the alarm is there while nothing of it is under way.
    Told(Option<Pin<Box<Sleep>>>),
    Heard,
}

impl Stop {
    /// Tells the client.
    pub(super) fn begin(&mut self, out: &mut Outgoing) {
        if matches!(self, Self::Not) {
            *self = Self::Told(None);
            goes(out, u32::MAX >> 1, Reason::None);
            out.frame(PING, 0, 0, &STOPS);
        }
    }

    /// Notes that the client has heard, the last of whose streams is taken; `false` if that was known.
    pub(super) fn heard(&mut self, out: &mut Outgoing, last: u32) -> bool {
        let is_news = matches!(self, Self::Told(_));
        if is_news {
            *self = Self::Heard;
            goes(out, last, Reason::None);
        }
        is_news
    }

    /// Ready when the connection may end: the client has heard, or has not in time, and nothing of it is under way.
    ///
    /// It may be gone without a word, and would hold the stop to the end of the grace period. An answer that still goes out
    /// may be large, and its client slow: other limits are for that.
    pub(super) fn poll_end(&mut self, under_way: bool, wrote: &AtomicBool, context: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Heard if !under_way => Poll::Ready(()),
            Self::Told(alarm) if under_way => {
                *alarm = None;
                Poll::Pending
            }
            Self::Told(alarm) => {
                let alarm = alarm.get_or_insert_with(|| {
                    wrote.store(false, Ordering::Relaxed);
                    Box::pin(sleep(HEARING))
                });
                loop {
                    ready!(alarm.as_mut().poll(context));
                    if !wrote.swap(false, Ordering::Relaxed) {
                        return Poll::Ready(());
                    }
                    alarm.as_mut().reset(Instant::now() + HEARING);
                }
            }
            Self::Not | Self::Heard => Poll::Pending,
        }
    }
}

/// Says that the connection ends, and which stream is the last that was taken.
pub(super) fn goes(out: &mut Outgoing, last: u32, reason: Reason) {
    out.frame(GOAWAY, 0, 0, &[last.to_be_bytes(), reason.code()].concat());
}
