//! The header in which a client says how long it will wait: `grpc-timeout`, as gRPC over HTTP/2 defines it, here for
//! every scoring request. Source: <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>.

use std::time::Duration;

use http::{HeaderMap, HeaderName};

use crate::error::ApiError;

/// The header's name.
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// How long the client will wait, if it says so. Fails on a header that is no time.
pub(crate) fn asked(headers: &HeaderMap) -> Result<Option<Duration>, ApiError> {
    let Some(value) = headers.get(TIMEOUT) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    parse(text).map(Some).ok_or_else(|| ApiError::NoTimeout(text.chars().take(40).collect()))
}

/// At most eight digits and a unit.
fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_is_understood() {
        let cases = [("2H", 7_200_000_000), ("3M", 180_000_000), ("1S", 1_000_000), ("500m", 500_000), ("7u", 7)];
        for (text, microseconds) in cases {
            assert_eq!(parse(text), Some(Duration::from_micros(microseconds)), "{text}");
        }
        assert_eq!(parse("99999999n"), Some(Duration::from_nanos(99_999_999)));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in ["", "1", "S", "-1S", "1.5S", "123456789S", "1s", "1 S", "1é", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
