use std::sync::Arc;

use hedef_core::{DataType, Dim, ModelId, ModelName, Response, Tensor, TensorSpec, Timings};
use proptest::prelude::*;

use super::*;
use crate::json::NonFinite;

fn spec(name: &str, data_type: DataType, row: &[usize]) -> TensorSpec {
    let row = row.iter().map(|size| if *size == 0 { Dim::Free } else { Dim::Fixed(*size) });
    TensorSpec::new(name, data_type, Some(std::iter::once(Dim::Free).chain(row).collect()))
}

fn signature(inputs: Vec<TensorSpec>) -> Signature {
    Signature { inputs, outputs: vec![], batch_axis: true }
}

fn iris() -> Signature {
    signature(vec![spec("features", DataType::Fp32, &[2])])
}

/// One [N,1] input for each column, as scikit-learn and automated machine learning export.
fn people() -> Signature {
    signature(vec![spec("age", DataType::Int64, &[1]), spec("job", DataType::Bytes, &[1])])
}

fn read(body: &str, signature: &Signature) -> Result<Vec<Tensor>, String> {
    let request = decode(body.as_bytes(), signature);
    request.map(|request| request.inputs().to_vec()).map_err(|error| error.to_string())
}

/// The refusal without what the model takes and the example.
fn refusal(body: &str, signature: &Signature) -> String {
    let refusal = read(body, signature).unwrap_err();
    let (problem, help) = refusal.split_once("; the model takes ").unwrap_or_else(|| panic!("no help: {refusal}"));
    assert!(help.contains(", for example {\"input_data\":"), "{help}");
    problem.to_string()
}

fn floats(dims: &[usize], elements: Vec<f32>) -> Result<Vec<Tensor>, String> {
    Ok(vec![Tensor::from_elements(dims.to_vec(), elements).unwrap()])
}

fn people_of(ages: Vec<i64>, jobs: &[&str]) -> Result<Vec<Tensor>, String> {
    let jobs = jobs.iter().map(|job| job.as_bytes().to_vec()).collect();
    let rows = [ages.len(), 1];
    Ok(vec![Tensor::from_elements(rows, ages).unwrap(), Tensor::from_elements(rows, jobs).unwrap()])
}

#[test]
fn rows_of_the_only_input_come_in_many_bodies() {
    let bodies = [
        "[[1,2.5],[3,4]]",
        r#"{"input_data":[[1,2.5],[3,4]]}"#,
        r#"{"input_data":{"columns":["a","b"],"index":[0,1],"data":[[1,2.5],[3,4]]}}"#,
        r#"{"input_data":{"columns":[0,1],"data":[[1,2.5],[3,4]]},"params":{}}"#,
        r#"{"input_data":[{"a":1,"b":2.5},{"b":4,"a":3}]}"#,
        r#"[{"a":1,"b":2.5},{"a":3,"b":4}]"#,
        r#"[{"features":[1,2.5]},{"features":[3,4]}]"#,
        r#"{"input_data":{"features":[[1,2.5],[3,4]]}}"#,
        r#"{"input_data":{"tensor":[[1,2.5],[3,4]]}}"#,
        r#"{"input_data":{"a":[1,3],"b":[2.5,4]}}"#,
        r#"{"data":[[1,2.5],[3,4]],"method":"predict"}"#,
        r#"{"columns":["a","b"],"data":[[1,2.5],[3,4]]}"#,
        r#"{"data":[{"a":1,"b":2.5},{"a":3,"b":4}]}"#,
        r#"{"Inputs":{"data":[{"a":1,"b":2.5},{"a":3,"b":4}]},"GlobalParameters":{"method":"predict"}}"#,
        r#"{"Inputs":{"WebServiceInput0":[{"a":1,"b":2.5},{"a":3,"b":4}]},"GlobalParameters":{}}"#,
        r#"{"Inputs":{"features":[[1,2.5],[3,4]]}}"#,
        r#"{"inputs":[{"name":"features","shape":[2,2],"datatype":"FP32","data":[1,2.5,3,4]}]}"#,
        r#"{"inputs":[[1,2.5],[3,4]]}"#,
        r#"{"inputs":{"features":[[1,2.5],[3,4]]}}"#,
        r#"{"instances":[[1,2.5],[3,4]]}"#,
        r#"{"features":[[1,2.5],[3,4]]}"#,
    ];
    for body in bodies {
        assert_eq!(read(body, &iris()), floats(&[2, 2], vec![1.0, 2.5, 3.0, 4.0]), "{body}");
    }
}

#[test]
fn columns_become_the_inputs_of_their_names() {
    let bodies = [
        r#"[{"age":30,"job":"baker"},{"job":"smith","age":61}]"#,
        r#"[{"age":[30],"job":["baker"]},{"age":[61],"job":["smith"]}]"#,
        r#"{"input_data":{"columns":["job","age"],"data":[["baker",30],["smith",61]]}}"#,
        r#"{"input_data":{"age":[30,61],"job":["baker","smith"]}}"#,
        r#"{"Inputs":{"age":[30,61],"job":["baker","smith"]}}"#,
        r#"{"age":[[30],[61]],"job":[["baker"],["smith"]]}"#,
    ];
    for body in bodies {
        assert_eq!(read(body, &people()), people_of(vec![30, 61], &["baker", "smith"]), "{body}");
    }
}

#[test]
fn inputs_may_be_named_like_the_wrappers() {
    let two = signature(vec![spec("data", DataType::Int8, &[]), spec("inputs", DataType::Int8, &[])]);
    let one = |element| Tensor::from_elements([1], vec![element]).unwrap();
    assert_eq!(read(r#"{"data":[1],"inputs":[2]}"#, &two), Ok(vec![one(1_i8), one(2)]));
    let data = signature(vec![spec("data", DataType::Int8, &[])]);
    assert_eq!(read(r#"{"data":[1]}"#, &data), Ok(vec![one(1_i8)]));
}

#[test]
fn one_value_for_each_row_fills_the_second_dimension() {
    let one = signature(vec![spec("x", DataType::Fp32, &[1])]);
    assert_eq!(read("[1,2]", &one), floats(&[2, 1], vec![1.0, 2.0]));
    let text = signature(vec![spec("text", DataType::Bytes, &[1])]);
    let bytes = Ok(vec![Tensor::from_elements([2, 1], vec![b"hi".to_vec(), vec![0xFF, 0]]).unwrap()]);
    assert_eq!(read(r#"["hi",{"b64":"/wA="}]"#, &text), bytes);
    assert_eq!(read(r#"{"instances":[{"text":"hi"},{"text":{"b64":"/wA"}}]}"#, &text), bytes);
    assert_eq!(read(r#"[["hi"],[{"b64":"/wA="}]]"#, &text), bytes);
}

#[test]
fn a_sample_of_another_rank_is_not_guessed_at() {
    let cases = [
        ("[1,2]", "input `features`: expected FP32 [-1,2], got FP32 [2]"),
        ("[[[1,2]]]", "input `features`: expected FP32 [-1,2], got FP32 [1,1,2]"),
        ("[[1,2,3]]", "input `features`: expected FP32 [-1,2], got FP32 [1,3]"),
        (r#"{"inputs":1}"#, "input `features`: expected FP32 [-1,2], got FP32 []"),
    ];
    for (body, expected) in cases {
        assert_eq!(refusal(body, &iris()), expected);
    }
}

#[test]
fn elements_are_checked_as_everywhere() {
    let one = |data_type| signature(vec![spec("x", data_type, &[])]);
    let fits = |body: &str, data_type| read(body, &one(data_type)).is_ok();
    assert!(fits(r#"[1,true,2]"#, DataType::Fp32) == fits("[1,2]", DataType::Bool));
    assert!(fits("[3.0,1e2,-0]", DataType::Int8) && !fits("[3.5]", DataType::Int8) && !fits("[128]", DataType::Int8));
    assert!(fits("[1,0,true]", DataType::Bool) && !fits("[2]", DataType::Bool));
    assert!(fits(r#"[NaN,"NaN",-Infinity,"Infinity"]"#, DataType::Bf16) && !fits(r#"["1"]"#, DataType::Fp32));
    assert!(fits("[18446744073709551615]", DataType::Uint64) && !fits("[65520]", DataType::Fp16));
    assert!(!fits("[null]", DataType::Fp32) && !fits("[1]", DataType::Bytes));
    let refused = refusal(r#"[{"age":30,"job":"x"},{"age":"31","job":"x"}]"#, &people());
    assert!(refused.starts_with("input `age`, element [1]: expected INT64 (a whole number from "), "{refused}");
    assert!(refused.ends_with("found `\"31\"`"), "{refused}");
}

#[test]
fn ragged_rows_are_refused_with_their_place() {
    let cases = [
        ("[[1,2],[3]]", "input `features`, element [1]: expected a list of 2, as the one before it, found a list of 1"),
        ("[[1,2],3]", "input `features`, element [1]: expected a list of 2, as the one before it, found `3`"),
        (
            "[[1,2],[3,[4]]]",
            "input `features`, element [1,1]: expected one FP32, found a list, where the lists before it hold single values",
        ),
        (
            r#"{"columns":["a","b"],"data":[[1,2],[3]]}"#,
            "`data`, row 1: expected a list of 2, one for each column, found a list of 1",
        ),
        (
            r#"{"input_data":{"a":[1,2],"b":[3]}}"#,
            "column `b`: expected a list of 2, as the column before it, found a list of 1",
        ),
        (r#"[{"a":1,"b":2},{"a":1}]"#, "row 1: expected the 2 names of row 0, found 1 names"),
        (r#"[{"a":1,"b":2},{"a":1,"c":2}]"#, "row 1: expected `b`, as in row 0, found other names"),
        (r#"[{"a":1,"b":2},[1,2]]"#, "row 1: expected an object, as other rows are, found none"),
    ];
    for (body, expected) in cases {
        assert_eq!(refusal(body, &iris()), expected, "{body}");
    }
}

#[test]
fn a_refusal_shows_what_the_model_takes_and_an_example_that_it_takes() {
    let refused = read("[[1]]", &people()).unwrap_err();
    let expected = "the rows: expected an object with `age` INT64 [-1,1], `job` BYTES [-1,1] for each row, \
                    found rows without names; the model takes `age` INT64 [-1,1], `job` BYTES [-1,1], \
                    for example {\"input_data\":[{\"age\":1,\"job\":\"text\"}]}";
    assert_eq!(refused, expected);
    let scalar = signature(vec![TensorSpec::new("x", DataType::Fp32, Some(vec![]))]);
    for signature in [iris(), people(), scalar] {
        let example = body(&signature, "input_data", Limits { list: 9, elements: 9 });
        assert!(read(&example, &signature).is_ok(), "{example}");
    }
    assert_eq!(refusal(r#"{"rows":[]}"#, &iris()).split(", found ").last(), Some("`rows`"));
    assert_eq!(refusal(r#"[{"age":1}]"#, &people()), "input `job` is missing: expected BYTES [-1,1]");
    assert!(refusal(r#"[{"age":1,"job":"x","pay":2}]"#, &people()).starts_with("unknown input `pay`"));
    assert!(refusal("5", &iris()).starts_with("the body: expected a list of rows or an object"));
    // What is no JSON at all needs no example.
    assert!(!read("[[1,2]", &iris()).unwrap_err().contains("example"));
}

#[test]
fn no_rows_are_a_request_of_no_rows() {
    for body in ["[]", r#"{"instances":[]}"#, r#"{"columns":["a","b"],"data":[]}"#, r#"{"data":{"a":[],"b":[]}}"#] {
        assert_eq!(read(body, &iris()), floats(&[0, 2], vec![]), "{body}");
    }
    assert_eq!(read(r#"{"age":[],"job":[]}"#, &people()), people_of(vec![], &[]));
}

fn told(outputs: Vec<(&str, Tensor, Option<Vec<&str>>)>, labelled: bool) -> String {
    let spec = |(name, tensor, labels): &(&str, Tensor, Option<Vec<&str>>)| TensorSpec {
        labels: labels.as_ref().map(|labels| labels.iter().map(ToString::to_string).collect()),
        ..TensorSpec::new(name, tensor.data_type(), None)
    };
    let signature = Signature { inputs: vec![], outputs: outputs.iter().map(spec).collect(), batch_axis: true };
    let outputs: Vec<(Arc<str>, Tensor)> = outputs.into_iter().map(|(name, tensor, _)| (name.into(), tensor)).collect();
    let model = ModelId { name: ModelName::new("m").unwrap(), version: 1 };
    let response = Response { model, outputs, timings: Timings::default() };
    let labels = labelled.then_some(&signature);
    let telling = Telling { non_finite: NonFinite::Quoted, labels, bytes_by_name: false };
    let mut out = Vec::new();
    write_rows(&mut out, &response.outputs, telling);
    String::from_utf8(out).unwrap()
}

fn probabilities() -> Tensor {
    Tensor::from_elements([2, 2], vec![0.25_f32, 0.75, 1.0, f32::NAN]).unwrap()
}

fn names() -> Tensor {
    Tensor::from_elements([2], vec![b"b".to_vec(), b"a".to_vec()]).unwrap()
}

#[test]
fn one_output_is_bare_and_several_are_objects() {
    assert_eq!(told(vec![("p", probabilities(), None)], false), r#"[[0.25,0.75],[1.0,"NaN"]]"#);
    assert_eq!(told(vec![("l", names(), None)], false), r#"["b","a"]"#);
    let both = vec![("l", names(), None), ("p", probabilities(), None)];
    assert_eq!(told(both, false), r#"[{"l":"b","p":[0.25,0.75]},{"l":"a","p":[1.0,"NaN"]}]"#);
    let scalar = Tensor::from_elements([], vec![7_i32]).unwrap();
    assert_eq!(told(vec![("n", scalar.clone(), None)], false), "7");
    assert_eq!(told(vec![("l", names(), None), ("n", scalar, None)], false), r#"{"l":["b","a"],"n":7}"#);
}

#[test]
fn labels_become_keys_unless_one_stands_twice() {
    let labels = Some(vec!["x", "y\""]);
    let expected = r#"[{"x":0.25,"y\"":0.75},{"x":1.0,"y\"":"NaN"}]"#;
    assert_eq!(told(vec![("p", probabilities(), labels.clone())], true), expected);
    assert_eq!(told(vec![("p", probabilities(), labels.clone())], false), r#"[[0.25,0.75],[1.0,"NaN"]]"#);
    let both = vec![("l", names(), None), ("p", probabilities(), labels)];
    assert_eq!(told(both, true), r#"[{"l":"b","p":{"x":0.25,"y\"":0.75}},{"l":"a","p":{"x":1.0,"y\"":"NaN"}}]"#);
    let twice = Some(vec!["crane", "crane"]);
    assert_eq!(told(vec![("p", probabilities(), twice)], true), r#"[[0.25,0.75],[1.0,"NaN"]]"#);
    let short = Some(vec!["x"]);
    assert_eq!(told(vec![("p", probabilities(), short)], true), r#"[[0.25,0.75],[1.0,"NaN"]]"#);
}

#[test]
fn bytes_that_are_no_text_become_objects() {
    let bytes = Tensor::from_elements([2], vec![vec![0xFF, 0], b"a".to_vec()]).unwrap();
    assert_eq!(told(vec![("l", bytes, None)], false), r#"[{"b64":"/wA="},{"b64":"YQ=="}]"#);
}

fn bits(tensors: &[Tensor]) -> Vec<u32> {
    tensors[0].elements::<f32>().unwrap().iter().map(|e| if e.is_nan() { u32::MAX } else { e.to_bits() }).collect()
}

proptest! {
    #[test]
    fn rows_of_an_answer_are_rows_of_a_request(
        rows in proptest::collection::vec(proptest::array::uniform2(proptest::num::f32::ANY), 0..20),
    ) {
        let tensor = Tensor::from_elements([rows.len(), 2], rows.as_flattened().to_vec()).unwrap();
        let answer = told(vec![("features", tensor.clone(), None)], false);
        prop_assert_eq!(bits(&read(&answer, &iris()).unwrap()), bits(std::slice::from_ref(&tensor)));
        let labelled = told(vec![("features", tensor.clone(), Some(vec!["a", "b"]))], true);
        let back = read(&labelled, &iris()).unwrap();
        prop_assert_eq!(bits(&back), bits(&[tensor]));
    }

    #[test]
    fn objects_of_an_answer_are_rows_of_a_request(
        all in proptest::collection::vec((any::<i64>(), ".{0,6}"), 1..20),
    ) {
        let (ages, jobs): (Vec<i64>, Vec<String>) = all.into_iter().unzip();
        let jobs: Vec<&str> = jobs.iter().map(String::as_str).collect();
        let tensors = people_of(ages, &jobs).unwrap();
        let answer = told(vec![("age", tensors[0].clone(), None), ("job", tensors[1].clone(), None)], true);
        prop_assert_eq!(read(&answer, &people()), Ok(tensors));
    }
}
