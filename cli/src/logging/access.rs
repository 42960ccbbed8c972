//! The lines of the access log, as the other lines of the log look. They are written without the machinery that those
//! go through, which takes as long for a line as a small model for its answer.

use std::cell::RefCell;
use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hedef_server::AccessLine;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{self, FormatTime};

use crate::arguments::LogFormat;

/// Writes `line` into `to`.
pub(super) fn write(line: &AccessLine<'_>, format: LogFormat, to: &mut Vec<u8>) -> io::Result<()> {
    let method = line.method.as_str().as_bytes();
    let status = line.status.as_str().as_bytes();
    match format {
        LogFormat::Text => {
            now(to)?;
            put(to, [b"  INFO ", method, b" "]);
            shown(line.path, to)?;
            put(to, [b" ", status, b" request.id=", line.id.as_bytes()]);
            if let Some(key) = line.key {
                put(to, [b" key=", key.as_bytes()]);
            }
            if let Some(subject) = line.subject {
                write!(to, " subject={subject:?}")?;
            }
            if let Some(model) = line.model {
                let mut version = itoa::Buffer::new();
                let version = version.format(model.version).as_bytes();
                put(to, [b" model=", model.name.as_str().as_bytes(), b"/", version]);
            }
            put(to, [b" http.status=", status, b" http.ms="]);
            millis(line.took, to);
        }
        LogFormat::Json => {
            put(to, [b"{\"timestamp\":\""]);
            now(to)?;
            put(to, [b"\",\"level\":\"INFO\",\"message\":"]);
            serde_json::to_writer(&mut *to, &format_args!("{} {} {}", line.method, line.path, line.status.as_str()))?;
            put(to, [b",\"request.id\":\"", line.id.as_bytes(), b"\""]);
            for (name, value) in [("key", line.key), ("subject", line.subject)] {
                if let Some(value) = value {
                    put(to, [b",\"", name.as_bytes(), b"\":"]);
                    serde_json::to_writer(&mut *to, value)?;
                }
            }
            if let Some(model) = line.model {
                put(to, [b",\"model\":"]);
                serde_json::to_writer(&mut *to, &format_args!("{model}"))?;
            }
            put(to, [b",\"http.status\":", status, b",\"http.ms\":"]);
            millis(line.took, to);
            put(to, [b"}"]);
        }
    }
    put(to, [b"\n"]);
    Ok(())
}

/// Writes one part after the other.
fn put<const PARTS: usize>(to: &mut Vec<u8>, parts: [&[u8]; PARTS]) {
    for part in parts {
        to.extend_from_slice(part);
    }
}

/// Writes a text that may hold what a terminal would obey, such as U+009B, or take for the end of the line.
fn shown(text: &str, to: &mut Vec<u8>) -> io::Result<()> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        put(to, [text.as_bytes()]);
        return Ok(());
    }
    text.chars().try_for_each(|char| match char {
        control if control.is_control() => write!(to, "{}", control.escape_unicode()),
        other => write!(to, "{other}"),
    })
}

/// Writes a time in milliseconds, to the microsecond.
fn millis(time: Duration, to: &mut Vec<u8>) {
    let mut whole = itoa::Buffer::new();
    let whole = whole.format(time.as_millis()).as_bytes();
    put(to, [whole, b".", &digits::<3>(time.subsec_micros() % 1000)]);
}

/// The last digits of `number`, zeros in front.
fn digits<const COUNT: usize>(mut number: u32) -> [u8; COUNT] {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

thread_local! {
    /// The last second that was written, since 1970, and how.
    static SECOND: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

/// Writes the time, as `2026-01-31T23:59:59.123456Z`.
fn now(to: &mut Vec<u8>) -> io::Result<()> {
    let since = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut now = since();
    SECOND.with_borrow_mut(|(second, text)| {
        while *second != now.as_secs() {
            text.clear();
            time::SystemTime.format_time(&mut Writer::new(text)).map_err(io::Error::other)?;
            // What it writes is of this second only if that is not over yet.
            (*second, now) = (now.as_secs(), since());
            text.truncate("2026-01-31T23:59:59".len());
        }
        put(to, [text.as_bytes(), b".", &digits::<6>(now.subsec_micros()), b"Z"]);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode};
    use serde_json::Value;

    use super::*;

    const INFER: &str = "/v2/models/iris/infer";

    fn written(format: LogFormat, path: &str, subject: Option<&str>) -> String {
        let mut text = Vec::new();
        let model = hedef_core::ModelId { name: hedef_core::ModelName::new("iris").unwrap(), version: 3 };
        let line = AccessLine {
            method: &Method::POST,
            path,
            status: StatusCode::OK,
            id: "7f",
            key: subject.map(|_| "jwt"),
            subject,
            model: Some(&model),
            took: Duration::from_nanos(12_034_900),
        };
        write(&line, format, &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn text_is_as_other_lines_are() {
        let line = written(LogFormat::Text, INFER, None);
        let (time, rest) = line.split_at("2026-01-31T23:59:59.123456Z".len());
        assert!(time.starts_with("20") && time.ends_with('Z') && time.as_bytes()[19] == b'.', "{time}");
        let told = "POST /v2/models/iris/infer 200 request.id=7f model=iris/3 http.status=200 http.ms=12.034\n";
        assert_eq!(rest, format!("  INFO {told}"));
    }

    #[test]
    fn a_terminal_shows_a_path_and_does_not_obey_it() {
        let line = written(LogFormat::Text, "/é\u{9b}31m\u{85}\u{7f}", None);
        assert!(line.contains(r" POST /é\u{9b}31m\u{85}\u{7f} 200 "), "{line}");
    }

    #[test]
    fn json_is_json_whoever_asked() {
        let line = written(LogFormat::Json, INFER, Some("a \"b\"\n"));
        let told: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line.lines().count(), 1);
        assert_eq!((&told["subject"], &told["key"]), (&Value::from("a \"b\"\n"), &Value::from("jwt")));
        assert_eq!(told["message"], "POST /v2/models/iris/infer 200");
        assert_eq!((&told["model"], &told["http.ms"]), (&Value::from("iris/3"), &Value::from(12.034)));
    }
}
