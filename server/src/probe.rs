//! Asks a running server whether it is ready: for the health checks of containers, where there is no other program to ask.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// How long each step may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Why a server counts as not ready.
#[derive(Debug, thiserror::Error)]
pub enum Unready {
    /// There is nobody, or nobody who answers.
    #[error("{address} does not answer: {source}")]
    Silent {
        /// Who was asked.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// What answers is no server of ours.
    #[error("expected an answer in HTTP, found `{0}`")]
    NotHttp(String),
    /// It says that it is not ready.
    #[error("not ready: expected the status 200, found {0}")]
    Status(String),
}

/// Connects to the server that listens on `address`, for two seconds at most.
///
/// # Errors
/// [`Unready::Silent`] where nobody listens.
pub fn connect(address: SocketAddr) -> Result<TcpStream, Unready> {
    let address = SocketAddr::new(reachable(address.ip()), address.port());
    let connected = TcpStream::connect_timeout(&address, LIMIT).and_then(|stream| {
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        Ok(stream)
    });
    connected.map_err(|source| Unready::Silent { address, source })
}

/// Who listens on all addresses can be reached on the loopback address.
const fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

/// Asks the server at `address` over `stream`, which may be one within TLS, whether it is ready.
///
/// # Errors
/// [`Unready`] unless it says that it is.
pub fn ask(address: SocketAddr, mut stream: impl Read + Write) -> Result<(), Unready> {
    let silent = |source| Unready::Silent { address, source };
    let request = format!("GET /v2/health/ready HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).and_then(|()| stream.flush()).map_err(silent)?;
    let mut line = [0; "HTTP/1.1 200".len()];
    stream.read_exact(&mut line).map_err(silent)?;
    let line = String::from_utf8_lossy(&line);
    match line.strip_prefix("HTTP/1.1 ") {
        Some("200") => Ok(()),
        Some(status) => Err(Unready::Status(status.to_owned())),
        None => Err(Unready::NotHttp(line.escape_debug().collect())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// Asks somebody who answers these bytes.
    fn answered(bytes: &'static [u8]) -> Result<(), Unready> {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 512];
            let count = stream.read(&mut request).unwrap();
            stream.write_all(bytes).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let said = connect(address).and_then(|stream| ask(address, stream));
        let request = answering.join().unwrap();
        assert!(request.starts_with("GET /v2/health/ready HTTP/1.1\r\nhost: "), "{request}");
        said
    }

    #[test]
    fn a_server_is_ready_if_it_says_so() {
        answered(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    }

    #[test]
    fn a_server_that_says_otherwise_or_something_else_is_not() {
        let told = |bytes| answered(bytes).unwrap_err().to_string();
        assert_eq!(told(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), "not ready: expected the status 200, found 503");
        assert_eq!(told(b"SSH-2.0-Server\r\n"), "expected an answer in HTTP, found `SSH-2.0-Serv`");
        assert!(told(b"HTTP/1.1").contains("does not answer"));
    }

    #[test]
    fn nobody_is_not_ready() {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(matches!(connect(address), Err(Unready::Silent { .. })));
    }
}
