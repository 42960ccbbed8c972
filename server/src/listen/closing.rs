//! The end of a port. A system makes connections on the server's behalf until it is closed, and one that was made but not
//! accepted by then is reset, after its client may have sent a request. So before that, no more are made.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;

/// How long connections that were being made may take to be there: a way to the client and back.
pub(super) const SETTLING: Duration = Duration::from_millis(250);

/// Has the system pass over what asks for a connection: the client's own system asks again a second later, and learns that
/// the port is closed. Connections that are there, or half made, are not touched. Fails where the system cannot do this.
#[cfg(target_os = "linux")]
pub(super) fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    use socket2::{SockFilter, SockRef};
    // A program for the kernel's packet filter, which sees what came from the TCP header on (RFC 9293, section 3.1).
    let [load, and, equals, done] = [0x30, 0x54, 0x15, 0x06];
    let (flags, syn, ack) = (13, 0x02, 0x10);
    SockRef::from(listener).attach_filter(&[
        SockFilter::new(load, 0, 0, flags),
        SockFilter::new(and, 0, 0, syn | ack),
        SockFilter::new(equals, 0, 1, syn),
        SockFilter::new(done, 0, 0, 0),
        SockFilter::new(done, 0, 0, u32::MAX),
    ])
}

/// Other systems have no such thing.
#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_new(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}
