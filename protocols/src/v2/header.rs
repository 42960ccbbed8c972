use crate::Error;

/// The media type parameter that carries the length of the JSON where custom headers get lost:
/// `application/vnd.sagemaker-triton.binary+json;json-header-size=N`, and `vertex-ai` alike.
const PARAMETER: &str = "json-header-size";

/// How many bytes of a body are JSON, when tensors in binary follow: from the header
/// `Inference-Header-Content-Length`, else from the content type. `None` when the whole body is JSON.
///
/// Fails when the length is no number.
pub fn json_length(header: Option<&str>, content_type: Option<&str>) -> Result<Option<usize>, Error> {
    let parameter = || {
        content_type?.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            (name.trim() == PARAMETER).then(|| value.trim().trim_matches('"'))
        })
    };
    let (place, text) = match (header, parameter()) {
        (Some(text), _) => ("header `Inference-Header-Content-Length`", text.trim()),
        (None, Some(text)) => ("content type, `json-header-size`", text),
        (None, None) => return Ok(None),
    };
    // Rust's parser would take a leading plus sign.
    let length = if text.starts_with('+') { None } else { text.parse().ok() };
    length.map(Some).ok_or_else(|| Error::unexpected(place, "a number of bytes", format!("`{text}`")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_the_json_stands_in_a_header_or_in_the_content_type() {
        let sagemaker = Some("application/vnd.sagemaker-triton.binary+json;json-header-size=217");
        assert_eq!(json_length(None, None), Ok(None));
        assert_eq!(json_length(None, Some("application/json; charset=utf-8")), Ok(None));
        assert_eq!(json_length(Some("0"), None), Ok(Some(0)));
        assert_eq!(json_length(None, sagemaker), Ok(Some(217)));
        assert_eq!(json_length(Some("9"), sagemaker), Ok(Some(9)));
    }

    #[test]
    fn a_length_that_is_no_number_is_refused() {
        for text in ["", "abc", "-1", "+1", "1.0", "99999999999999999999999"] {
            let message = json_length(Some(text), None).unwrap_err().to_string();
            assert_eq!(
                message,
                format!("header `Inference-Header-Content-Length`: expected a number of bytes, found `{text}`")
            );
        }
    }
}
