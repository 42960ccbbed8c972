//! Which version of a model is wanted here, and where it is.

use std::net::IpAddr;
use std::path::PathBuf;

use hedef_protocols::bundle::{MOST_VERSION, Sha256};
use hyper::Uri;
use serde::{Deserialize, Serialize};

/// A version of a model that is wanted here: its bundle, which has to have that size and that hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The version.
    pub version: u64,
    /// Where the bundle is: `https://`, `http://` or `file://`.
    pub url: String,
    /// The hash of the bundle.
    #[serde(with = "hash")]
    pub sha256: Sha256,
    /// Its bytes.
    pub size: u64,
}

impl Wanted {
    /// Checks what somebody wants. Fails with a sentence.
    pub fn check(&self, plain_http: bool) -> Result<(), String> {
        if !(1..=MOST_VERSION).contains(&self.version) {
            return Err(format!("`version`: expected 1 to {MOST_VERSION}, found {}", self.version));
        }
        if self.size == 0 {
            return Err("`size`: expected the bytes of the bundle, found 0".into());
        }
        Place::parse(&self.url, plain_http).map(drop)
    }
}

/// Where a bundle is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this device.
    File(PathBuf),
    /// On a server.
    Server {
        /// Whether TLS is spoken.
        tls: bool,
        /// Its name or address, without brackets.
        host: String,
        /// Its port.
        port: u16,
        /// Host and port as the URL has them.
        authority: String,
        /// Path and query.
        path: String,
    },
}

impl Place {
    /// Reads a URL. HTTP without TLS is for this device alone, unless `plain_http` allows more.
    pub fn parse(url: &str, plain_http: bool) -> Result<Self, String> {
        // A URL may carry what lets its holder in.
        let shown: String = without_secrets(url).chars().take(200).collect();
        let wrong = |expected: &str| Err(format!("`url`: expected {expected}, found `{shown}`"));
        if let Some(path) = url.strip_prefix("file://") {
            return if path.starts_with('/') { Ok(Self::File(path.into())) } else { wrong("file:///PATH") };
        }
        let Ok(uri) = url.parse::<Uri>() else { return wrong("a URL") };
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return wrong("https://, http:// or file://"),
        };
        let Some(authority) = uri.authority().filter(|authority| !authority.as_str().contains('@')) else {
            return wrong("a host, and no name and password");
        };
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        if !tls && !plain_http && !here {
            return wrong("https://, since `allow_http` is not set");
        }
        Ok(Self::Server {
            tls,
            port: authority.port_u16().unwrap_or(if tls { 443 } else { 80 }),
            authority: authority.as_str().into(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).into(),
            host,
        })
    }

    /// Where a redirect from here leads to. From TLS it does not lead out of it, and to no file.
    pub(super) fn redirected(&self, location: &str, plain_http: bool) -> Result<Self, String> {
        let Self::Server { tls, authority, path, .. } = self else { return Err("a file does not redirect".into()) };
        let scheme = if *tls { "https" } else { "http" };
        let url = if location.starts_with("//") {
            format!("{scheme}:{location}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else if location.contains("://") {
            location.to_owned()
        } else {
            let folder = path.split('?').next().unwrap_or_default().rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{scheme}://{authority}{folder}/{location}")
        };
        match Self::parse(url.split('#').next().unwrap_or_default(), plain_http)? {
            Self::Server { tls: false, .. } if *tls => Err("the server redirects from https:// to http://".into()),
            Self::File(_) => Err("the server redirects to a file".into()),
            place => Ok(place),
        }
    }
}

/// A URL as it may be shown: without name and password, and without the query, which may be as good as a password.
fn without_secrets(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = url.split_once("://").map_or(("", url), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://…@{host}{path}"),
        None => url.into(),
    }
}

/// Hashes as text.
pub(super) mod hash {
    use hedef_protocols::bundle::Sha256;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::updates) fn serialize<S: Serializer>(hash: &Sha256, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(hash)
    }

    pub(in crate::updates) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Sha256, D::Error> {
        Sha256::parse(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(url: &str) -> Option<(bool, String, u16, String)> {
        match Place::parse(url, true).ok()? {
            Place::Server { tls, host, port, path, .. } => Some((tls, host, port, path)),
            Place::File(_) => None,
        }
    }

    #[test]
    fn urls_are_places() {
        assert_eq!(server("https://a.b/c/d?e=f"), Some((true, "a.b".into(), 443, "/c/d?e=f".into())));
        assert_eq!(server("http://[::1]:8/"), Some((false, "::1".into(), 8, "/".into())));
        assert_eq!(
            Place::parse("file:///media/usb/a b.bundle", false),
            Ok(Place::File("/media/usb/a b.bundle".into()))
        );
        for wrong in ["ftp://a/b", "https://u:p@a/b", "file://a", "/a", "", "https://", "https://a b/"] {
            assert!(Place::parse(wrong, true).is_err(), "{wrong}");
        }
        assert!(
            Place::parse("http://127.0.0.1:1/a", false).is_ok() && Place::parse("http://localhost/a", false).is_ok()
        );
        let refused = Place::parse("http://a/b?secret=1", false).unwrap_err();
        assert!(refused.contains("`http://a/b`"), "{refused}");
        for url in ["https://u:secret@a/b", "http://u@secret@a", "ftp://secret@a/b#secret", "https://a b/?secret"] {
            let refused = Place::parse(url, true).unwrap_err();
            assert!(!refused.contains("secret"), "{refused}");
        }
    }

    #[test]
    fn redirects_lead_on_but_not_out_of_tls() {
        let here = Place::parse("https://a:1/b/c?d", false).unwrap();
        for (location, expected) in [
            ("/x", "https://a:1/x"),
            ("x?y", "https://a:1/b/x?y"),
            ("//e/x", "https://e/x"),
            ("https://e/x#f", "https://e/x"),
        ] {
            assert_eq!(here.redirected(location, false), Place::parse(expected, false), "{location}");
        }
        assert!(here.redirected("http://localhost/x", true).is_err());
        assert!(here.redirected("file:///etc/passwd", true).is_err());
    }
}
