//! Tensors that are no input of the model.

use super::{Case, FEATURES, GOOD, IRIS, SIMPLE, iris};

const ROW: &str = r#""shape":[1,16],"datatype":"INT32","data":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15]"#;

/// A request with both inputs of `simple`, one row; `second` says all of the second but the name.
fn simple(second: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"INPUT0",{ROW}}},{{"name":"INPUT1",{second}}}]}}"#)
}

/// A request with one input for an identity model.
fn identity(datatype: &str, data: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"INPUT","shape":[1,4],"datatype":"{datatype}","data":{data}}}]}}"#)
}

pub(super) fn cases() -> Vec<Case> {
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
