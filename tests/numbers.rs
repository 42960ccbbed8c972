//! JSON compared with a tolerance for numbers.

use serde_json::Value;

/// Says where two values differ; `tolerance` is relative and absolute.
pub(crate) fn difference(expected: &Value, found: &Value, tolerance: [f64; 2]) -> Option<String> {
    walk(expected, found, tolerance, &mut String::new())
}

fn walk(expected: &Value, found: &Value, tolerance: [f64; 2], path: &mut String) -> Option<String> {
    let differ = || Some(format!("at `{path}`: expected {expected}, found {found}"));
    match (expected, found) {
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            let pairs = left.iter().zip(right).enumerate().map(|(at, pair)| (at.to_string(), pair));
            pairs.into_iter().find_map(|(at, (left, right))| below(path, &at, left, right, tolerance))
        }
        (Value::Object(left), Value::Object(right)) if left.keys().eq(right.keys()) => {
            left.iter().find_map(|(key, value)| below(path, key, value, &right[key], tolerance))
        }
        (Value::Number(left), Value::Number(right)) => {
            let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
            let [relative, absolute] = tolerance;
            if (left - right).abs() <= absolute + relative * left.abs() { None } else { differ() }
        }
        _ if expected == found => None,
        _ => differ(),
    }
}

fn below(path: &mut String, part: &str, left: &Value, right: &Value, tolerance: [f64; 2]) -> Option<String> {
    let length = path.len();
    path.push('/');
    path.push_str(part);
    let found = walk(left, right, tolerance, path);
    path.truncate(length);
    found
}
