//! What has to come of bytes that are sent on a fresh connection. Those bytes take streams below [`OWN`].

use super::client::{Client, End, Result};
use super::wire::{STREAM_WINDOW, WINDOW, settings};
use crate::binary::Server;

/// The first stream of what is asked behind them.
const OWN: u32 = 1001;

fn after(server: &Server, values: &[(u16, u32)], bytes: &[u8]) -> Result<Client> {
    let mut client = Client::new(server, values)?;
    client.go_on_from(OWN);
    client.send(bytes);
    Ok(client)
}

fn among(reason: u32, reasons: &[u32]) -> Result {
    reasons
        .contains(&reason)
        .then_some(())
        .ok_or_else(|| format!("expected one of the reasons {reasons:?}, got {reason}"))
}

/// The connection ends for one of these reasons, and that reason is said.
pub(crate) fn ends(server: &Server, bytes: &[u8], reasons: &[u32]) -> Result {
    let mut client = after(server, &[], bytes)?;
    among(client.closed()?.ok_or("the connection ended without a word")?, reasons)
}

/// The request is refused by an answer or a reset, and the connection goes on (RFC 9113, 8.1.1).
pub(crate) fn refuses(server: &Server, stream: u32, bytes: &[u8], reasons: &[u32]) -> Result {
    let mut client = after(server, &[], bytes)?;
    match client.end(stream)? {
        End::Reset(reason) => among(reason, reasons)?,
        End::Answered(answer) if answer.status().starts_with('4') => (),
        End::Answered(answer) => return Err(format!("expected a refusal, was answered {}", answer.status())),
        End::Gone(reason) => return Err(format!("expected a refusal of the stream, the connection ended: {reason:?}")),
    }
    client.go_on()
}

/// The same, or all of the connection ends.
pub(crate) fn refuses_or_ends(server: &Server, stream: u32, bytes: &[u8], reasons: &[u32]) -> Result {
    match after(server, &[], bytes)?.end(stream)? {
        End::Gone(reason) => among(reason.ok_or("the connection ended without a word")?, reasons),
        _ => refuses(server, stream, bytes, reasons),
    }
}

/// The stream is reset and the connection goes on, or all of it ends: an error of a stream may be taken for one of the
/// connection (RFC 9113, 5.4.1), and some rules leave it open. The stream's own answer has no window to come.
pub(crate) fn resets_or_ends(server: &Server, stream: u32, bytes: &[u8], reasons: &[u32]) -> Result {
    let mut client = after(server, &[(STREAM_WINDOW, 0)], bytes)?;
    match client.end(stream)? {
        End::Reset(reason) => {
            among(reason, reasons)?;
            client.send(settings(&[(STREAM_WINDOW, WINDOW)]));
            client.go_on()
        }
        End::Gone(reason) => {
            client.closed()?;
            among(reason.ok_or("the connection ended without a word")?, reasons)
        }
        End::Answered(answer) => Err(format!("expected an error, was answered {}", answer.status())),
    }
}

/// Nothing comes of it.
pub(crate) fn ignores(server: &Server, bytes: &[u8]) -> Result {
    after(server, &[], bytes)?.go_on()
}

/// The request is answered so, and the connection goes on.
pub(crate) fn answers(server: &Server, stream: u32, bytes: &[u8], status: &str) -> Result {
    let mut client = after(server, &[], bytes)?;
    client.answer(stream)?.expect(status)?;
    client.go_on()
}
