//! Golden requests: files that hold a request, the answer that it has to get, and how close that has to come.
//!
//! ```text
//! {"request": {"inputs": […]}, "response": {"outputs": […]}, "rtol": 0.001, "atol": 0.00001}
//! ```
//!
//! Request and response are bodies of the Open Inference Protocol v2; the tolerances may be left out.

use serde_json::Value;

use crate::Error;

/// The tolerances where a file has none.
const USUAL: [f64; 2] = [1e-3, 1e-5];

/// A golden request.
#[derive(Clone, Debug)]
pub struct Golden {
    request: Vec<u8>,
    outputs: Value,
    close: Close,
}

impl Golden {
    /// Reads the file `name`. Fails where it lacks the request or the outputs, or has a tolerance that is no number from 0 on.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, Error> {
        let place = || format!("golden request `{name}`");
        let unexpected = |expected: &str, found: String| Error::unexpected(place(), expected, found);
        let mut file: Value = serde_json::from_slice(bytes).map_err(|error| unexpected("JSON", error.to_string()))?;
        let request = file.get("request").map(Value::to_string);
        let request = request.ok_or_else(|| Error::Missing { place: place(), what: "request" })?.into_bytes();
        let outputs = file.pointer_mut("/response/outputs").map(Value::take).filter(Value::is_array);
        let outputs = outputs.ok_or_else(|| Error::Missing { place: place(), what: "response.outputs" })?;
        let tolerance = |key: &str, usual: f64| match file.get(key) {
            None => Ok(usual),
            Some(value) => value
                .as_f64()
                .filter(|number| *number >= 0.0)
                .ok_or_else(|| unexpected("tolerances from 0 on", format!("`{key}` = {value}"))),
        };
        let [rtol, atol] = USUAL;
        let close = Close { rtol: tolerance("rtol", rtol)?, atol: tolerance("atol", atol)? };
        Ok(Self { request, outputs, close })
    }

    /// The request: the body of `POST /v2/models/{model}/infer`.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Holds an answer in JSON against the one that is expected. Fails with the first difference.
    pub fn compare(&self, answer: &[u8]) -> Result<(), String> {
        let answer: Value = serde_json::from_slice(answer).map_err(|error| error.to_string())?;
        self.close.compare(&self.outputs, answer.get("outputs").unwrap_or(&Value::Null))
    }
}

/// How close numbers have to be.
#[derive(Clone, Copy, Debug)]
struct Close {
    rtol: f64,
    atol: f64,
}

impl Close {
    /// Fails with the first place where `found` lacks something of `expected`.
    fn compare(&self, expected: &Value, found: &Value) -> Result<(), String> {
        let short = |value: &Value| value.to_string().chars().take(80).collect::<String>();
        let differ = || Err(format!("expected {}, found {}", short(expected), short(found)));
        match (expected, found) {
            (Value::Array(expected), Value::Array(found)) if expected.len() == found.len() => {
                expected.iter().zip(found).try_for_each(|(expected, found)| self.compare(expected, found))
            }
            (Value::Object(expected), Value::Object(found)) => expected.iter().try_for_each(|(name, expected)| {
                self.compare(expected, found.get(name).unwrap_or(&Value::Null))
                    .map_err(|difference| format!("{name}: {difference}"))
            }),
            (Value::Number(wanted), Value::Number(number)) => match (wanted.as_f64(), number.as_f64()) {
                (Some(wanted), Some(number)) if (wanted - number).abs() <= self.atol + self.rtol * wanted.abs() => {
                    Ok(())
                }
                _ => differ(),
            },
            (expected, found) if expected == found => Ok(()),
            _ => differ(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn compare(outputs: Value, found: Value) -> Result<(), String> {
        let file = json!({ "request": {}, "response": { "outputs": outputs }, "rtol": 0.01, "atol": 0 });
        let golden = Golden::parse("a", file.to_string().as_bytes()).unwrap();
        golden.compare(json!({ "outputs": found }).to_string().as_bytes())
    }

    #[test]
    fn numbers_may_differ_by_the_tolerance_and_nothing_else_may() {
        assert_eq!(compare(json!([{"data": [1.0, "a"]}]), json!([{"data": [1.009, "a"], "more": 1}])), Ok(()));
        for (expected, found) in [
            (json!([1.0]), json!([1.02])),
            (json!([1.0]), json!([1.0, 2.0])),
            (json!([{"a": 1}]), json!([{}])),
            (json!(["a"]), json!(["b"])),
            (json!([0.0]), json!(["NaN"])),
            (json!([1]), Value::Null),
        ] {
            assert!(compare(expected.clone(), found).is_err(), "{expected}");
        }
        let difference = compare(json!([{"name": "y", "data": [1.0]}]), json!([{"name": "y", "data": [2.0]}]));
        assert_eq!(difference, Err("data: expected 1.0, found 2.0".into()));
    }

    #[test]
    fn files_that_are_no_golden_requests_are_told() {
        for (file, refusal) in [
            ("", "golden request `a`: expected JSON, found EOF"),
            ("[]", "golden request `a`: `request` is missing"),
            (r#"{"request": {}}"#, "golden request `a`: `response.outputs` is missing"),
            (r#"{"request": {}, "response": {"outputs": 1}}"#, "golden request `a`: `response.outputs` is missing"),
            (
                r#"{"request": {}, "response": {"outputs": []}, "rtol": "x"}"#,
                "expected tolerances from 0 on, found `rtol` = \"x\"",
            ),
            (
                r#"{"request": {}, "response": {"outputs": []}, "atol": -1}"#,
                "expected tolerances from 0 on, found `atol` = -1",
            ),
        ] {
            let refused = Golden::parse("a", file.as_bytes()).unwrap_err().to_string();
            assert!(refused.contains(refusal), "{refused}");
        }
    }

    #[test]
    fn the_request_is_a_body() {
        let golden = Golden::parse("a", br#"{"request": {"inputs": [1.50]}, "response": {"outputs": []}}"#).unwrap();
        assert_eq!(golden.request(), br#"{"inputs":[1.5]}"#);
        assert!(golden.compare(b"nothing").is_err());
        assert_eq!(golden.compare(br#"{"outputs": []}"#), Ok(()));
    }
}
