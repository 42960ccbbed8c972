//! Bodies that are no request: not JSON, not cut where they say, not packed as they say.

use super::{Case, FEATURES, GOOD, IRIS, iris};

pub(super) fn texts() -> Vec<Case> {
    vec![
        ("an empty body", IRIS, String::new(), 400, &["JSON", "byte 0"]),
        ("no JSON", IRIS, "hello".into(), 400, &["JSON", "byte 0"]),
        ("cut JSON", IRIS, r#"{"inputs":[{"name":"feat"#.into(), 400, &["JSON", "byte"]),
        ("a list for the whole", IRIS, "[1,2,3]".into(), 400, &["JSON", "expected"]),
        ("something after the end", IRIS, format!("{} x", iris(GOOD)), 400, &["JSON", "the end", "x"]),
        ("a key twice", IRIS, iris(&format!(r#"{GOOD},"shape":[1,4]"#)), 400, &["`shape`", "twice"]),
        ("deeper than any request", IRIS, format!(r#"{{"x":{}"#, "[".repeat(100_000)), 400, &["nested deeper"]),
        ("inputs that are no list", IRIS, r#"{"inputs":{"features":[1,2,3,4]}}"#.into(), 400, &["JSON", "`[`"]),
        ("no inputs key", IRIS, r#"{"instances":[[1,2,3,4]]}"#.into(), 400, &["`inputs` is missing"]),
        ("unknown model", "nothing", iris(GOOD), 404, &["`nothing`"]),
        ("a name that is a path", "..%2F..%2Fetc", iris(GOOD), 404, &["`../../etc`"]),
        ("unknown version", "iris/versions/9", iris(GOOD), 404, &["`iris`", "`9`", "there is 1"]),
        ("a version that is no number", "iris/versions/latest", iris(GOOD), 404, &["`iris`", "`latest`"]),
    ]
}

/// What is wrong, the headers, the body, the status, and what the message has to contain.
pub(super) type RawCase = (&'static str, Vec<(&'static str, String)>, Vec<u8>, u16, &'static [&'static str]);

pub(super) fn framed() -> Vec<RawCase> {
    let json =
        |size: &str| iris(&format!(r#""shape":[1,4],"datatype":"FP32","parameters":{{"binary_data_size":{size}}}"#));
    let length = |value: &dyn ToString| vec![("inference-header-content-length", value.to_string())];
    let with = |size: &str, tensor: usize| {
        let json = json(size);
        (length(&json.len()), [json.as_bytes(), &vec![0; tensor]].concat())
    };
    let framed = |name, (headers, body), message: &'static [&'static str]| (name, headers, body, 400_u16, message);
    let header = |name, value: &str, message: &'static [&'static str]| {
        (name, length(&value), iris(GOOD).into_bytes(), 400_u16, message)
    };
    let both = iris(&format!(r#"{GOOD},"parameters":{{"binary_data_size":16}}"#));
    let mut not_utf8 = iris(GOOD).into_bytes();
    not_utf8[13] = 0xff;
    vec![
        framed("a truncated tensor", with("16", 10), &[FEATURES, "16 bytes of binary data", "10 bytes"]),
        framed("bytes left over", with("16", 20), &["binary data", "4 bytes left over"]),
        framed(
            "a size that is not the shape's",
            with("12", 12),
            &[FEATURES, "16 bytes for 4 elements of FP32", "12 bytes"],
        ),
        framed("a negative size", with("-1", 16), &["`features`: `binary_data_size`", "-1"]),
        framed("a size beyond all memory", with("18446744073709551615", 16), &[FEATURES, "18446744073709551615"]),
        framed(
            "data in both places",
            (length(&both.len()), [both.as_bytes(), &[0; 16]].concat()),
            &[FEATURES, "either `data` or `binary_data_size`"],
        ),
        header("a length beyond the body", "100000", &["`Inference-Header-Content-Length`", "100000"]),
        header("a length that is no number", "abc", &["`Inference-Header-Content-Length`", "`abc`"]),
        header("a negative length", "-5", &["`Inference-Header-Content-Length`", "`-5`"]),
        header("a length that cuts the JSON", "20", &["JSON"]),
        ("a raw body of the wrong size", length(&0), vec![0; 15], 400, &[FEATURES, "16 bytes", "15"]),
        ("text that is not UTF-8", vec![], not_utf8, 400, &["UTF-8", "byte"]),
        (
            "an unknown content encoding",
            vec![("content-encoding", "br".into())],
            iris(GOOD).into_bytes(),
            415,
            &["`br`", "gzip, deflate"],
        ),
        ("gzip that is none", vec![("content-encoding", "gzip".into())], iris(GOOD).into_bytes(), 400, &["Gzip"]),
        (
            "an unknown media type",
            vec![("content-type", "image/png".into())],
            iris(GOOD).into_bytes(),
            415,
            &["`image/png`", "application/json"],
        ),
        ("a body over the limit", vec![], vec![b' '; (1 << 20) + 1], 413, &["at most 1048576 bytes"]),
    ]
}

/// BYTES that break off or run on, for four strings.
pub(super) fn strings() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
    let request = |tensor: &[u8]| {
        let size = tensor.len();
        let json = format!(
            r#"{{"inputs":[{{"name":"INPUT","shape":[1,4],"datatype":"BYTES","parameters":{{"binary_data_size":{size}}}}}]}}"#
        );
        [json.as_bytes(), tensor].concat()
    };
    vec![
        ("a string that overruns", request(b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0c\xff\0\0\0d"), &["`INPUT`", "255"]),
        ("three strings for four", request(b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0c"), &["`INPUT`", "4"]),
        ("five strings for four", request(&b"\0\0\0\0".repeat(5)), &["`INPUT`", "4"]),
        ("a length that is cut", request(b"\x01\0\0\0a\x01\0\0\0b\x01\0\0\0c\x01\0"), &["`INPUT`"]),
    ]
}
