//! The settings of traces.

use http::uri::{PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use super::InvalidConfig;

/// Where traces go, and of which requests.
#[derive(Clone, Debug)]
pub struct TraceSettings {
    /// The URL that OTLP over HTTP is posted to, such as `http://localhost:4318/v1/traces`.
    pub endpoint: String,
    /// The part of the requests that are traced whose caller does not trace: 0 is none, 1 is all.
    pub sample: f64,
    /// What traces call this server.
    pub service_name: String,
    /// Headers for the collector: `name=value` with commas between, values percent-encoded, as
    /// `OTEL_EXPORTER_OTLP_HEADERS` has it.
    pub headers: String,
}

/// The checked settings of traces.
#[derive(Clone, Debug)]
pub(crate) struct Traces {
    pub(crate) sample: f64,
    pub(crate) service_name: String,
    pub(crate) collector: Collector,
}

/// Whom spans are posted to.
#[derive(Clone, Debug)]
pub(crate) struct Collector {
    pub(crate) secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What the `Host` header says.
    pub(crate) authority: HeaderValue,
    pub(crate) path: PathAndQuery,
    pub(crate) headers: HeaderMap,
}

impl Traces {
    pub(super) fn new(settings: TraceSettings) -> Result<Self, InvalidConfig> {
        if !(0.0..=1.0).contains(&settings.sample) {
            return Err(InvalidConfig::TraceSample(settings.sample.to_string()));
        }
        let collector = Collector::new(&settings.endpoint, &settings.headers)?;
        Ok(Self { sample: settings.sample, service_name: settings.service_name, collector })
    }
}

impl Collector {
    fn new(endpoint: &str, headers: &str) -> Result<Self, InvalidConfig> {
        let wrong = || InvalidConfig::TraceEndpoint(endpoint.into());
        let parts = endpoint.parse::<Uri>().map_err(|_| wrong())?.into_parts();
        let secure = match parts.scheme {
            Some(scheme) if scheme == Scheme::HTTP => false,
            Some(scheme) if scheme == Scheme::HTTPS => true,
            _ => return Err(wrong()),
        };
        // A name and a password there would go to the log with the rest.
        let authority = parts.authority.filter(|authority| !authority.as_str().contains('@')).ok_or_else(wrong)?;
        let host = authority.host().trim_matches(['[', ']']);
        if host.is_empty() {
            return Err(wrong());
        }
        Ok(Self {
            secure,
            host: host.into(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| wrong())?,
            path: parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/")),
            headers: self::headers(headers)?,
        })
    }
}

/// The headers of a list. An error names the header alone: values are secrets.
fn headers(list: &str) -> Result<HeaderMap, InvalidConfig> {
    let mut headers = HeaderMap::new();
    for part in list.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let wrong = || InvalidConfig::TraceHeader(name.trim().into());
        let parsed = HeaderName::try_from(name.trim()).map_err(|_| wrong())?;
        let plain = decoded(value.trim()).filter(|value| !value.is_empty()).ok_or_else(wrong)?;
        let mut value = HeaderValue::from_bytes(&plain).map_err(|_| wrong())?;
        value.set_sensitive(true);
        headers.append(parsed, value);
    }
    Ok(headers)
}

/// Takes percent-encoding off; `None` where it is broken.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut parts = text.split('%');
    let mut plain = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        plain.push(u8::from_str_radix(digits, 16).ok()?);
        plain.extend_from_slice(rest.as_bytes());
    }
    Some(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_a_url() {
        let collector = |endpoint| Collector::new(endpoint, "").map(|it| (it.secure, it.host, it.port, it.path));
        let found = |secure, host: &str, port, path| Ok((secure, host.into(), port, PathAndQuery::from_static(path)));
        assert_eq!(collector("http://localhost:4318/v1/traces"), found(false, "localhost", 4318, "/v1/traces"));
        assert_eq!(collector("https://[::1]/x?y=z"), found(true, "::1", 443, "/x?y=z"));
        assert_eq!(collector("http://collector"), found(false, "collector", 80, "/"));
        for wrong in ["", "localhost:4318", "ftp://host/", "/v1/traces", "http://", "http://user:secret@host/"] {
            assert_eq!(collector(wrong), Err(InvalidConfig::TraceEndpoint(wrong.into())), "{wrong}");
        }
    }

    #[test]
    fn headers_come_as_a_list_and_errors_do_not_tell_their_values() {
        let found = headers("authorization=Bearer%20abc, x-tenant = a=b ,").unwrap();
        assert_eq!(
            (&found["authorization"], &found["x-tenant"]),
            (&"Bearer abc".parse().unwrap(), &"a=b".parse().unwrap())
        );
        for wrong in ["sec ret=1", "name", "name=", "name=%zz", "name=%0a"] {
            let name = wrong.split('=').next().unwrap();
            assert_eq!(headers(wrong), Err(InvalidConfig::TraceHeader(name.into())), "{wrong}");
        }
    }
}
