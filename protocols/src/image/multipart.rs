//! A file in a form, as browsers and `curl -F` send it. Source: RFC 7578, and RFC 2046 for what is around the parts.

use crate::Error;

/// The content of the field called `name` of a body of that content type, `multipart/form-data; boundary=…`.
///
/// Fails where the body is none of that type, or has no such field.
pub fn field<'b>(body: &'b [u8], content_type: &str, name: &'static str) -> Result<&'b [u8], Error> {
    let wrong = |expected: &str, found: &str| Error::unexpected("the form", expected, found);
    let boundary = parameter(content_type, "boundary").filter(|boundary| !boundary.is_empty());
    let boundary = boundary.ok_or_else(|| wrong("a boundary in its content type", "none"))?;
    let between = [b"\r\n--", boundary.as_bytes()].concat();
    // The first boundary has no line before it where the body begins with it.
    let opening = between.get(2..).unwrap_or_default();
    let mut rest = match body.strip_prefix(opening) {
        Some(rest) => Some(rest),
        None => find(body, &between).and_then(|at| body.get(at + between.len()..)),
    };
    while let Some(part) = rest.filter(|part| !part.starts_with(b"--")) {
        let end = find(part, &between).ok_or_else(|| wrong("its boundary at its end", "none"))?;
        let (part, after) = part.split_at(end);
        let head = find(part, b"\r\n\r\n").ok_or_else(|| wrong("an empty line after the head of a part", "none"))?;
        let (head, content) = part.split_at(head);
        if is_called(head, name) {
            return Ok(content.get(4..).unwrap_or_default());
        }
        rest = after.get(between.len()..);
    }
    Err(Error::Missing { place: "the form".into(), what: name })
}

/// Whether a part's head says that it is the field of that name.
fn is_called(head: &[u8], name: &str) -> bool {
    let lines = head.split(|byte| *byte == b'\n').filter_map(|line| std::str::from_utf8(line.trim_ascii()).ok());
    lines.filter_map(|line| line.split_once(':')).any(|(header, value)| {
        header.trim_ascii().eq_ignore_ascii_case("content-disposition") && parameter(value, "name") == Some(name)
    })
}

/// A parameter of a header's value, bare or in quotes.
fn parameter<'v>(value: &'v str, name: &str) -> Option<&'v str> {
    let mut parameters = value.split(';').skip(1).filter_map(|part| part.split_once('='));
    let (_, value) = parameters.find(|(found, _)| found.trim().eq_ignore_ascii_case(name))?;
    let value = value.trim();
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|found| found == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=xyz";

    fn read(body: &str) -> Result<&str, String> {
        let found = field(body.as_bytes(), TYPE, "imageData").map_err(|error| error.to_string())?;
        Ok(std::str::from_utf8(found).unwrap())
    }

    fn part(name: &str, content: &str) -> String {
        format!(
            "--xyz\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n{content}\r\n"
        )
    }

    #[test]
    fn a_field_is_found_by_its_name_among_others_and_byte_for_byte() {
        let content = "\r\n--xy\r\n\r\nz--";
        let body = part("other", "1") + &part("imageData", content) + &part("more", "") + "--xyz--\r\n";
        assert_eq!(read(&body), Ok(content));
        assert_eq!(read(&format!("preamble\r\n{body}")), Ok(content));
        let quoted = field(body.as_bytes(), "multipart/form-data; charset=x; Boundary=\"xyz\"", "imageData");
        assert_eq!(quoted, Ok(content.as_bytes()));
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(read(&(part("image", "1") + "--xyz--")), Err("the form: `imageData` is missing".into()));
        assert_eq!(read(""), Err("the form: `imageData` is missing".into()));
        assert!(read(&part("imageData", "1").replace("\r\n--", "")).unwrap_err().contains("its boundary at its end"));
        assert!(read("--xyz\r\nx\r\n--xyz--").unwrap_err().contains("an empty line"));
        for other in ["multipart/form-data", "multipart/form-data; boundary=", "image/png"] {
            assert!(field(b"", other, "imageData").unwrap_err().to_string().contains("a boundary"));
        }
    }
}
