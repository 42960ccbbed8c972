//! Azure Machine Learning's scoring contract: `/score`.
//!
//! Source: the `azureml-inference-server-http` package, and the request bodies in Azure's documentation of no-code
//! deployment, MLflow models and automated machine learning.

use std::borrow::Cow;

use hedef_core::{DataType, Request, Response, Signature};

use crate::json::{NonFinite, Value};
use crate::rows::{self, Telling};
use crate::{DecodeLimits, Error};

/// Reads the body of `POST /score`, in any form that [`rows::decode`] knows.
pub fn decode(body: &[u8], signature: &Signature) -> Result<Request, Error> {
    rows::decode(body, signature)
}

/// The same, within limits: [`Error::TooManyElements`] and [`Error::NoRoom`] tell of them.
pub fn decode_within(body: &[u8], signature: &Signature, limits: DecodeLimits<'_>) -> Result<Request, Error> {
    rows::decode_within(body, signature, limits)
}

/// Reads the query of `GET /score?x=[[1,2]]&y=3`.
///
/// Each value is JSON if it can be, else text; for a BYTES input only strings, lists and objects are JSON. A key
/// given several times holds the list of its values, and one value that is no list or object is a list of one: one
/// row. Percent signs and plus signs are resolved.
pub fn decode_query(query: &str, signature: &Signature) -> Result<Request, Error> {
    let pairs: Vec<_> = form_urlencoded::parse(query.as_bytes()).collect();
    let mut members: Vec<(Cow<'_, str>, Vec<Value<'_>>)> = Vec::new();
    for (key, text) in &pairs {
        let value = query_value(key, text, signature);
        if let Some((_, values)) = members.iter_mut().find(|(name, _)| name == key) {
            values.push(value);
            continue;
        }
        if members.len() == MOST_KEYS {
            return Err(Error::unexpected("the query", format!("at most {MOST_KEYS} different keys"), "more"));
        }
        members.push((key.clone(), vec![value]));
    }
    let members = members.into_iter().map(|(name, mut values)| match values.as_slice() {
        [Value::Array(_) | Value::Object(_)] => (name, values.pop().unwrap_or(Value::Null)),
        _ => (name, Value::Array(values)),
    });
    rows::decode_members(members.collect(), signature)
}

/// A query of more keys is no list of inputs.
const MOST_KEYS: usize = 1000;

fn query_value<'q>(key: &str, text: &'q str, signature: &Signature) -> Value<'q> {
    let spec = signature.input(key).and_then(|position| signature.inputs.get(position));
    let as_text = spec.is_some_and(|spec| spec.data_type == DataType::Bytes);
    match Value::parse(text.as_bytes()) {
        Ok(Value::Number(_) | Value::Bool(_) | Value::Null) if as_text => Value::String(text.into()),
        Ok(value) => value,
        Err(_) => Value::String(text.into()),
    }
}

/// Writes the answer of a model without code of its own: a list of rows.
///
/// One output is told bare, several as an object for each row. An output with labels is told as `{label: value}`,
/// as scikit-learn's ZipMap does, unless a label stands twice. Outputs that do not have the same number of rows
/// become one object of whole outputs. NaN and the infinities are quoted; bytes that are no text become
/// `{"b64":"…"}`.
#[must_use]
pub fn encode(response: &Response, signature: &Signature) -> Vec<u8> {
    let mut out = Vec::new();
    let telling = Telling { non_finite: NonFinite::Quoted, labels: Some(signature), bytes_by_name: false };
    rows::write_rows(&mut out, &response.outputs, telling);
    out
}

#[cfg(test)]
mod tests {
    use hedef_core::{Dim, ModelId, ModelName, Tensor, TensorSpec, Timings};

    use super::*;

    fn signature() -> Signature {
        let spec = |name, data_type| TensorSpec::new(name, data_type, Some(vec![Dim::Free, Dim::Fixed(1)]));
        let inputs = vec![spec("age", DataType::Int64), spec("job", DataType::Bytes)];
        let mut outputs = vec![TensorSpec::new("p", DataType::Fp32, Some(vec![Dim::Free, Dim::Fixed(2)]))];
        outputs[0].labels = Some(["no".to_string(), "yes".to_string()].into());
        Signature { inputs, outputs, batch_axis: true }
    }

    fn read(query: &str) -> Result<Vec<Tensor>, String> {
        let request = decode_query(query, &signature()).map_err(|error| error.to_string())?;
        Ok(request.inputs().to_vec())
    }

    fn people(ages: Vec<i64>, jobs: Vec<&str>) -> Result<Vec<Tensor>, String> {
        let jobs = jobs.into_iter().map(|job| job.as_bytes().to_vec()).collect::<Vec<_>>();
        let rows = ages.len();
        Ok(vec![Tensor::from_elements([rows, 1], ages).unwrap(), Tensor::from_elements([rows, 1], jobs).unwrap()])
    }

    #[test]
    fn a_query_is_one_row_or_lists() {
        assert_eq!(read("age=30&job=old+baker"), people(vec![30], vec!["old baker"]));
        assert_eq!(read("age=30&job=%22b%C3%A4cker%22"), people(vec![30], vec!["bäcker"]));
        assert_eq!(read("age=[30,61]&job=[%22a%22,%22b%22]"), people(vec![30, 61], vec!["a", "b"]));
        assert_eq!(read("age=30&job=a&age=61&job=b"), people(vec![30, 61], vec!["a", "b"]));
        assert_eq!(read("input_data={%22age%22:[30],%22job%22:[%22a%22]}"), people(vec![30], vec!["a"]));
    }

    #[test]
    fn a_text_that_looks_like_a_number_is_a_text_where_one_is_wanted() {
        assert_eq!(read("age=30&job=31"), people(vec![30], vec!["31"]));
        assert_eq!(read("age=30&job=null"), people(vec![30], vec!["null"]));
        assert!(read("age=x&job=31").unwrap_err().starts_with("input `age`, element [0]: expected INT64"));
        assert!(read("").unwrap_err().contains("expected one of `input_data`"));
        assert!(read("age=1&age={}&job=1").is_err());
    }

    #[test]
    fn a_query_of_many_keys_is_refused() {
        let query: Vec<_> = (0..=MOST_KEYS).map(|key| format!("k{key}=1")).collect();
        assert_eq!(read(&query.join("&")), Err("the query: expected at most 1000 different keys, found more".into()));
    }

    #[test]
    fn the_answer_is_a_list_of_rows_under_their_labels() {
        let probabilities = Tensor::from_elements([2, 2], vec![0.25_f32, 0.75, 1.0, f32::NAN]).unwrap();
        let model = ModelId { name: ModelName::new("m").unwrap(), version: 1 };
        let outputs = vec![("p".into(), probabilities)];
        let answer = encode(&Response { model, outputs, timings: Timings::default() }, &signature());
        assert_eq!(String::from_utf8(answer).unwrap(), r#"[{"no":0.25,"yes":0.75},{"no":1.0,"yes":"NaN"}]"#);
    }

    #[test]
    fn the_body_may_be_of_the_open_inference_protocol() {
        let body = br#"{"inputs":[{"name":"age","shape":[1,1],"datatype":"INT64","data":[30]},
            {"name":"job","shape":[1,1],"datatype":"BYTES","data":["baker"]}]}"#;
        let request = decode(body, &signature()).unwrap();
        assert_eq!(Ok(request.inputs().to_vec()), people(vec![30], vec!["baker"]));
    }
}
