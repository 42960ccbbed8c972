//! Where a server listens.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use crate::Error;

/// A server's address, such as `http://127.0.0.1:8080`, and what stands before its paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// The host and the port, as the `Host` header says them.
    pub(crate) host: String,
    /// Where to connect.
    pub(crate) socket: SocketAddr,
    /// What stands before every path; empty or `/…` without a slash at its end.
    pub(crate) prefix: String,
}

impl FromStr for Address {
    type Err = Error;

    /// Reads `http://HOST[:PORT][/PREFIX]`; `http://` may be left out. The host is looked up here, once.
    fn from_str(given: &str) -> Result<Self, Error> {
        let wrong = |found: String| Error::Address { given: given.to_owned(), found };
        let rest = match given.split_once("://") {
            None => given,
            Some(("http", rest)) => rest,
            Some((scheme, _)) => return Err(wrong(format!("the scheme `{scheme}`"))),
        };
        let (host, prefix) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if host.is_empty() {
            return Err(wrong("no host".into()));
        }
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let host = if has_port { host.to_owned() } else { format!("{host}:80") };
        let mut found = host.to_socket_addrs().map_err(|error| wrong(format!("a host that is not known: {error}")))?;
        let socket = found.next().ok_or_else(|| wrong("a host without an address".into()))?;
        Ok(Self { host, socket, prefix: prefix.trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_with_and_without_their_parts() {
        let read = |given: &str| given.parse::<Address>().map(|address| address.to_string());
        assert_eq!(read("http://127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(read("127.0.0.1:8080/").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(read("http://[::1]/models/").unwrap(), "http://[::1]:80/models");
        assert!(read("https://127.0.0.1").unwrap_err().to_string().contains("`https`"));
        assert!(read("http://").is_err());
    }
}
