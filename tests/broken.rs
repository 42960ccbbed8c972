//! Broken requests: each gets the right status and a message that names the tensor, the expectation and the finding.

use crate::binary::Server;
use crate::config;
use crate::http::Client;
use crate::models::Models;
use crate::python;

const IRIS: &str = "iris";
const SIMPLE: &str = "simple";

/// What is wrong, the model, the body, the status, and what the message has to contain.
type Case = (&'static str, &'static str, String, u16, &'static [&'static str]);

/// A request with one input for `iris`, of which `rest` says all but the name.
fn iris(rest: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"features",{rest}}}]}}"#)
}

/// A request with both inputs of `simple`, one row; `second` says all of the second but the name.
fn simple(second: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"INPUT0",{ROW}}},{{"name":"INPUT1",{second}}}]}}"#)
}

/// A request with one input for an identity model.
fn identity(datatype: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"INPUT","shape":[1,4],"datatype":"{datatype}","data":{data}}}]}}"#)
}

const GOOD: &str = r#""shape":[1,4],"datatype":"FP32","data":[5.1,3.5,1.4,0.2]"#;
const ROW: &str = r#""shape":[1,16],"datatype":"INT32","data":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]"#;
const FEATURES: &str = "`features`";

fn tensors() -> Vec<Case> {
    let with = |rest: &str| format!(r#"{{"inputs":[{{"name":"features",{GOOD}}}],{rest}}}"#);
    vec![
        (
            "too few elements",
            IRIS,
            iris(r#""shape":[2,4],"datatype":"FP32","data":[1,2,3]"#),
            400,
            &[FEATURES, "8 elements", "[2,4]", "found 3"],
        ),
        (
            "too many elements",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":[1,2,3,4,5,6]"#),
            400,
            &[FEATURES, "4 elements", "found 6"],
        ),
        (
            "too few in a nested list",
            IRIS,
            iris(r#""shape":[2,4],"datatype":"FP32","data":[[1,2,3,4],[1,2,3]]"#),
            400,
            &["`features`, list [1]", "4 elements", "found 3"],
        ),
        (
            "nesting too flat",
            IRIS,
            iris(r#""shape":[2,4],"datatype":"FP32","data":[[1,2,3,4],5]"#),
            400,
            &["`features`", "a list of 4", "5"],
        ),
        (
            "nesting too deep",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":[[[1],[2],[3],[4]]]"#),
            400,
            &["`features`", "a list"],
        ),
        (
            "negative dimension",
            IRIS,
            iris(r#""shape":[-1,4],"datatype":"FP32","data":[1,2,3,4]"#),
            400,
            &["`features`: `shape`", "from 0 on", "-1"],
        ),
        (
            "fractional dimension",
            IRIS,
            iris(r#""shape":[1.5,4],"datatype":"FP32","data":[1,2,3,4]"#),
            400,
            &["`features`: `shape`", "1.5"],
        ),
        (
            "shape that is no list",
            IRIS,
            iris(r#""shape":4,"datatype":"FP32","data":[1,2,3,4]"#),
            400,
            &["`features`: `shape`", "a list of whole numbers", "4"],
        ),
        (
            "more elements than a machine counts",
            IRIS,
            iris(r#""shape":[4611686018427387904,4],"datatype":"FP32","data":[1]"#),
            400,
            &[FEATURES, "a shape that memory can hold", "4611686018427387904"],
        ),
        (
            "dimension beyond 64 bits",
            IRIS,
            iris(r#""shape":[99999999999999999999,4],"datatype":"FP32","data":[1]"#),
            400,
            &["`features`: `shape`", "99999999999999999999"],
        ),
        (
            "wrong rank",
            IRIS,
            iris(r#""shape":[4],"datatype":"FP32","data":[1,2,3,4]"#),
            400,
            &[FEATURES, "expected FP32 [-1,4], got FP32 [4]"],
        ),
        (
            "scalar for a matrix",
            IRIS,
            iris(r#""shape":[],"datatype":"FP32","data":[1]"#),
            400,
            &[FEATURES, "expected FP32 [-1,4], got FP32 []"],
        ),
        (
            "fixed dimension missed",
            IRIS,
            iris(r#""shape":[1,5],"datatype":"FP32","data":[1,2,3,4,5]"#),
            400,
            &[FEATURES, "expected FP32 [-1,4], got FP32 [1,5]"],
        ),
        (
            "wrong data type",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"INT64","data":[1,2,3,4]"#),
            400,
            &[FEATURES, "expected FP32 [-1,4], got INT64 [1,4]"],
        ),
        (
            "unknown data type",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FLOAT","data":[1,2,3,4]"#),
            400,
            &["`features`: `datatype`", "FP32", "found `FLOAT`"],
        ),
        (
            "data type in small letters",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"fp32","data":[1,2,3,4]"#),
            400,
            &["`features`: `datatype`", "`fp32`"],
        ),
        (
            "input given twice",
            IRIS,
            format!(r#"{{"inputs":[{{"name":"features",{GOOD}}},{{"name":"features",{GOOD}}}]}}"#),
            400,
            &[FEATURES, "twice"],
        ),
        (
            "unknown input",
            IRIS,
            format!(r#"{{"inputs":[{{"name":"sepals",{GOOD}}}]}}"#),
            400,
            &["unknown input `sepals`", "`features` FP32 [-1,4]"],
        ),
        (
            "missing input",
            SIMPLE,
            format!(r#"{{"inputs":[{{"name":"INPUT0",{ROW}}}]}}"#),
            400,
            &["input `INPUT1` is missing", "INT32 [-1,16]"],
        ),
        ("no input at all", IRIS, r#"{"inputs":[]}"#.into(), 400, &["input `features` is missing", "FP32 [-1,4]"]),
        (
            "inputs of unequal rows",
            SIMPLE,
            simple(
                r#""shape":[2,16],"datatype":"INT32","data":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]"#,
            ),
            400,
            &["`INPUT0` has 1", "`INPUT1` has 2"],
        ),
        ("no name", IRIS, format!(r#"{{"inputs":[{{{GOOD}}}]}}"#), 400, &["inputs[0]", "`name` is missing"]),
        ("no shape", IRIS, iris(r#""datatype":"FP32","data":[1,2,3,4]"#), 400, &[FEATURES, "`shape` is missing"]),
        ("no data type", IRIS, iris(r#""shape":[1,4],"data":[1,2,3,4]"#), 400, &[FEATURES, "`datatype` is missing"]),
        ("no data", IRIS, iris(r#""shape":[1,4],"datatype":"FP32""#), 400, &[FEATURES, "`data` is missing"]),
        (
            "data that is no list",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":"abc""#),
            400,
            &[FEATURES, "to be a list", "abc"],
        ),
        (
            "text for a number",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":[1,"2",3,4]"#),
            400,
            &["`features`, element [1]", "\"2\""],
        ),
        (
            "null for a number",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":[1,null,3,4]"#),
            400,
            &["`features`, element [1]", "null"],
        ),
        (
            "object for a number",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":[1,2,{"a":1},4]"#),
            400,
            &["`features`, element [2]", "an object"],
        ),
        (
            "number beyond FP32",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","data":[1,2,3,1e39]"#),
            400,
            &["`features`, element [3]", "1e39"],
        ),
        (
            "integer beyond UINT8",
            "identity_uint8",
            identity("UINT8", "[1,2,256,4]"),
            400,
            &["`INPUT`, element [2]", "255", "256"],
        ),
        ("negative UINT64", "identity_uint64", identity("UINT64", "[1,2,3,-1]"), 400, &["`INPUT`, element [3]", "-1"]),
        (
            "integer beyond INT64",
            "identity_int64",
            identity("INT64", "[1,2,3,9223372036854775808]"),
            400,
            &["`INPUT`, element [3]", "9223372036854775808"],
        ),
        (
            "fraction for an integer",
            "identity_int32",
            identity("INT32", "[1,2.5,3,4]"),
            400,
            &["`INPUT`, element [1]", "2.5"],
        ),
        (
            "two for a boolean",
            "identity_bool",
            identity("BOOL", "[true,false,2,true]"),
            400,
            &["`INPUT`, element [2]", "true", "found `2`"],
        ),
        (
            "number for a string",
            "identity_bytes",
            identity("BYTES", r#"["a","b","c",4]"#),
            400,
            &["`INPUT`, element [3]", "found `4`"],
        ),
        (
            "number beyond FP16",
            "identity_fp16",
            identity("FP16", "[1,2,3,70000]"),
            400,
            &["`INPUT`, element [3]", "70000"],
        ),
        (
            "unknown output",
            IRIS,
            with(r#""outputs":[{"name":"petals"}]"#),
            400,
            &["unknown output `petals`", "`probabilities`"],
        ),
        (
            "output asked for twice",
            IRIS,
            with(r#""outputs":[{"name":"label"},{"name":"label"}]"#),
            400,
            &["output `label`", "twice"],
        ),
        ("output without a name", IRIS, with(r#""outputs":[{}]"#), 400, &["outputs[0]", "`name` is missing"]),
        (
            "classes that are no count",
            IRIS,
            with(r#""outputs":[{"name":"probabilities","parameters":{"classification":"2"}}]"#),
            400,
            &["output `probabilities`: `classification`", "a whole number", "\"2\""],
        ),
        (
            "classes of strings",
            IRIS,
            with(r#""outputs":[{"name":"label","parameters":{"classification":1}}]"#),
            400,
            &["output `label`"],
        ),
        ("an id that is no string", IRIS, with(r#""id":42"#), 400, &["`id`", "a string", "42"]),
        ("a parameter that only servers set", IRIS, with(r#""parameters":{"triton_x":1}"#), 400, &["`triton_"]),
        (
            "shared memory",
            IRIS,
            iris(r#""shape":[1,4],"datatype":"FP32","parameters":{"shared_memory_region":"r"}"#),
            501,
            &[FEATURES, "shared memory is not supported"],
        ),
        ("a sequence", IRIS, with(r#""parameters":{"sequence_id":7}"#), 501, &["sequences are not supported"]),
        ("a timeout that is none", IRIS, with(r#""parameters":{"timeout":-5}"#), 400, &["`timeout`", "-5"]),
    ]
}

fn texts() -> Vec<Case> {
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
type RawCase = (&'static str, Vec<(&'static str, String)>, Vec<u8>, u16, &'static [&'static str]);

fn framed() -> Vec<RawCase> {
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

fn strings() -> Vec<(&'static str, Vec<u8>, &'static [&'static str])> {
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

/// The faults of one answer, in words.
fn faults(name: &str, answer: &crate::http::Answer, status: u16, words: &[&str]) -> Option<String> {
    let message = answer.json()["error"].as_str().unwrap_or_default().to_string();
    let missing: Vec<_> = words.iter().filter(|word| !message.contains(*word)).collect();
    let right = answer.status == status && missing.is_empty() && message.len() < 2000;
    (!right).then(|| format!("{name}: expected {status} and {missing:?}, got {} `{message}`", answer.status))
}

fn still_good(client: &Client) {
    let answer = client.post("/v2/models/iris/infer", iris(GOOD)).expect(200).json();
    assert_eq!(answer["outputs"][0]["data"][0], "setosa");
}

#[test]
fn every_broken_request_is_refused_with_the_tensor_the_expectation_and_the_finding() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let samples = config::samples();
    // Dropped at the end, it fails the test if its log tells of a panic.
    let server = Server::start(models.path(), &[samples.to_str().unwrap(), "--body-limit-mib", "1"]);
    let client = server.client();
    let mut wrong = Vec::new();
    let mut kinds = 0;
    for (name, model, body, status, words) in tensors().into_iter().chain(texts()) {
        let answer = client.post(&format!("/v2/models/{model}/infer"), body);
        wrong.extend(faults(name, &answer, status, words));
        kinds += 1;
    }
    for (name, headers, body, status, words) in framed() {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let answer = client.post_with("/v2/models/iris/infer", &headers, body);
        wrong.extend(faults(name, &answer, status, words));
        kinds += 1;
    }
    for (name, body, words) in strings() {
        let length = body.windows(2).position(|pair| pair == b"]}").unwrap() + 2;
        let headers = [("inference-header-content-length", &*length.to_string())];
        let answer = client.post_with("/v2/models/identity_bytes/infer", &headers, body);
        wrong.extend(faults(name, &answer, 400, words));
        kinds += 1;
    }
    assert!(wrong.is_empty(), "{} of {kinds} are answered otherwise:\n  {}", wrong.len(), wrong.join("\n  "));
    assert!(kinds >= 40, "only {kinds}");
    still_good(&client);
}

#[test]
fn a_refusal_by_the_model_itself_is_told_without_paths() {
    let models = Models::empty();
    python::script("triton_client.py", &["prepare", "--models", models.path().to_str().unwrap()]);
    let samples = config::samples();
    let server = Server::start(models.path(), &[samples.to_str().unwrap()]);
    let client = server.client();
    let request =
        |index: i64| format!(r#"{{"inputs":[{{"name":"index","shape":[1,1],"datatype":"INT64","data":[{index}]}}]}}"#);
    client.post("/v2/models/pick/infer", request(3)).expect(200);
    let refused = client.post("/v2/models/pick/infer", request(99)).expect(400).json();
    let message = refused["error"].as_str().unwrap();
    assert!(message.contains("`pick") && message.contains("99") && !message.contains(".cc"), "{message}");
    client.post("/v2/models/pick/infer", request(0)).expect(200);
    still_good(&client);
}
