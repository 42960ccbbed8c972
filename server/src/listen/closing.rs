//! The end of a port. A system makes connections on the server's behalf until it is closed, and one that was made but not
//! accepted by then is reset, after its client may have sent a request. So before that, no more are made.

use std::io;
use std::time::Duration;

#[cfg(target_os = "linux")]
use socket2::SockRef;
use tokio::net::TcpListener;

/// How long connections that were being made may take to be there: a way to the client and back.
pub(super) const SETTLING: Duration = Duration::from_millis(250);

/// Has the system make no more connections, or at least none to other machines; those that are there, or half made, are not
/// touched. Fails where it cannot do this.
#[cfg(target_os = "linux")]
pub(super) fn refuse_new(listener: &TcpListener) -> io::Result<()> {
    let socket = SockRef::from(listener);
    pass_over(&socket).or_else(|_| keep_to_loopback(&socket))
}

/// Passes over what asks for a connection: the client's own system asks again a second later, and learns that the port is
/// closed. Some kernels, 6.18 for one, let only who may set up the network (`CAP_NET_ADMIN`) do this.
#[cfg(target_os = "linux")]
fn pass_over(socket: &SockRef<'_>) -> io::Result<()> {
    use socket2::SockFilter;
    // A program for the kernel's packet filter, which sees what came from the TCP header on (RFC 9293, section 3.1).
    let [load, and, equals, done] = [0x30, 0x54, 0x15, 0x06];
    let (flags, syn, ack) = (13, 0x02, 0x10);
    socket.attach_filter(&[
        SockFilter::new(load, 0, 0, flags),
        SockFilter::new(and, 0, 0, syn | ack),
        SockFilter::new(equals, 0, 1, syn),
        SockFilter::new(done, 0, 0, 0),
        SockFilter::new(done, 0, 0, u32::MAX),
    ])
}

/// Takes the port away from all interfaces but the loopback: clients on other machines are refused at once. Anybody may do
/// this, from Linux 5.7 on.
#[cfg(target_os = "linux")]
fn keep_to_loopback(socket: &SockRef<'_>) -> io::Result<()> {
    socket.bind_device(Some(b"lo"))
}

/// Other systems have no such thing.
#[cfg(not(target_os = "linux"))]
pub(super) fn refuse_new(_: &TcpListener) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpStream;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_there_is_accepted() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            for way in [refuse_new, |listener: &TcpListener| keep_to_loopback(&SockRef::from(listener))] {
                // Not every machine has IPv6.
                let Ok(listener) = TcpListener::bind(address).await else { continue };
                let _there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                way(&listener).unwrap();
                listener.accept().await.unwrap();
            }
        }
    }

    #[tokio::test]
    async fn no_other_is_made_where_that_is_allowed() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if pass_over(&SockRef::from(&listener)).is_ok() {
            let connecting = TcpStream::connect(listener.local_addr().unwrap());
            assert!(timeout(SETTLING, connecting).await.is_err());
        }
    }
}
