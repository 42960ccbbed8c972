use std::borrow::Cow;

use proptest::prelude::*;

use super::*;
use crate::Error;

fn refusal(text: &str) -> String {
    Value::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn a_wrong_text_says_what_was_expected_where_and_what_stands_there() {
    let cases = [
        ("[1 x", "JSON: expected `,` or `]` at byte 3, found `x`"),
        ("[1,]", "JSON: expected a value at byte 3, found `]`"),
        ("", "JSON: expected a value at byte 0, found the end"),
        ("{\"a\" 1}", "JSON: expected `:` at byte 5, found `1`"),
        ("{a:1}", "JSON: expected a key in quotes at byte 1, found `a`"),
        ("1 2", "JSON: expected the end at byte 2, found `2`"),
        ("01", "JSON: expected the end at byte 1, found `1`"),
        ("-", "JSON: expected a digit at byte 1, found the end"),
        ("\"a\nb\"", "JSON: expected no control character in a string at byte 2, found `\\n`"),
        ("\"abc", "JSON: expected `\"` at byte 4, found the end"),
        (r#"{"a":1,"b":2,"a":3}"#, "JSON: the key `a` stands twice in one object, again at byte 19"),
    ];
    for (text, expected) in cases {
        assert_eq!(refusal(text), expected, "{text}");
    }
    assert_eq!(Value::parse(b"[\"\xff\"]").unwrap_err().to_string(), "JSON: not UTF-8 at byte 2");
}

#[test]
fn nesting_has_an_end() {
    let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(Value::parse(nested(64).as_bytes()).is_ok());
    assert_eq!(refusal(&nested(65)), "JSON: nested deeper than 64 levels at byte 64");
    assert_eq!(refusal(&"{\"a\":".repeat(1_000_000)), "JSON: nested deeper than 64 levels at byte 320");
}

#[test]
fn a_key_that_stands_twice_among_many_is_found() {
    let mut members: Vec<_> = (0..100).map(|key| format!("\"{key}\":0")).collect();
    assert!(Value::parse(format!("{{{}}}", members.join(",")).as_bytes()).is_ok());
    members.push("\"\\u0037\":0".to_string());
    assert!(refusal(&format!("{{{}}}", members.join(","))).contains("the key `7` stands twice"));
}

#[test]
fn escapes_are_resolved_and_plain_strings_are_borrowed() {
    let text = r#"["plain é","\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\u0000"]"#;
    let Value::Array(strings) = Value::parse(text.as_bytes()).unwrap() else { panic!() };
    assert!(matches!(&strings[0], Value::String(Cow::Borrowed("plain é"))));
    assert_eq!(strings[1], Value::String("\"\\/\u{8}\u{c}\n\r\té😀\0".into()));
    for wrong in [r#""\ud800""#, r#""\ud800\n""#, r#""\udc00""#, r#""\ud800\ud800""#, r#""\u00g0""#, r#""\x""#] {
        assert!(Value::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn the_numbers_that_json_lacks_are_read_bare() {
    let value = Value::parse(b"[NaN,Infinity,-Infinity]").unwrap();
    assert_eq!(value, Value::Array(["NaN", "Infinity", "-Infinity"].map(Value::Number).to_vec()));
    for wrong in ["-NaN", "nan", "Inf", "+1", ".5", "5.", "1e", "1e+", "0x1", "Nan", "Infinit"] {
        assert!(Value::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}

#[test]
fn a_value_taken_can_be_read_again_and_errors_count_from_the_beginning() {
    let mut reader = Reader::new(b" [ 1, [2, \"x\"] ] ").unwrap();
    reader.begin_array().unwrap();
    assert!(reader.next_element().unwrap());
    reader.skip_value().unwrap();
    assert!(reader.next_element().unwrap());
    let mut again = reader.take_value().unwrap();
    assert!(!reader.next_element().unwrap());
    reader.end().unwrap();
    again.begin_array().unwrap();
    assert!(again.next_element().unwrap());
    let error = Error::Json { expected: "a string", at: 7, found: "`2`".to_string() };
    assert_eq!(again.string(), Err(error));
}

fn same(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match (ours, theirs) {
        (Value::Null, Theirs::Null) => true,
        (Value::Bool(a), Theirs::Bool(b)) => a == b,
        (Value::Number(text), Theirs::Number(number)) => **text == number.to_string(),
        (Value::String(a), Theirs::String(b)) => a == b,
        (Value::Array(a), Theirs::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Theirs::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(&**key).is_some_and(|b| same(a, b)))
        }
        _ => false,
    }
}

fn any_value() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Into::into),
            prop::collection::btree_map(any::<String>(), inner, 0..8)
                .prop_map(|members| serde_json::Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Whether both parsers judge `bytes` alike, where they mean to.
fn judge_alike(bytes: &[u8]) -> Result<(), TestCaseError> {
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    match (Value::parse(bytes), theirs) {
        (Ok(ours), Ok(theirs)) => prop_assert!(names_number(&ours) || same_up_to_spelling(&ours, &theirs)),
        (Ok(_), Err(error)) => {
            let text = String::from_utf8_lossy(bytes);
            let extra = text.contains("NaN") || text.contains("Infinity");
            prop_assert!(extra || error.to_string().contains("number out of range"), "{text}: {error}");
        }
        (Err(Error::DuplicateKey { .. } | Error::TooDeep { .. }), Ok(_)) | (Err(_), Err(_)) => {}
        (Err(error), Ok(_)) => prop_assert!(false, "{}: {error}", String::from_utf8_lossy(bytes)),
    }
    Ok(())
}

fn names_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Number("NaN" | "Infinity" | "-Infinity"))
}

/// Like [`same`], but `1.50` and `1.5` are the same number.
fn same_up_to_spelling(ours: &Value<'_>, theirs: &serde_json::Value) -> bool {
    use serde_json::Value as Theirs;
    match (ours, theirs) {
        (Value::Number(_), Theirs::Number(_)) => true,
        (Value::Array(a), Theirs::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same_up_to_spelling(a, b))
        }
        (Value::Object(a), Theirs::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(&**key).is_some_and(|b| same_up_to_spelling(a, b)))
        }
        _ => same(ours, theirs),
    }
}

proptest! {
    #[test]
    fn every_value_is_read_as_serde_json_wrote_it(value in any_value(), pretty: bool) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        prop_assert!(same(&Value::parse(&text).unwrap(), &value));
    }

    #[test]
    fn a_damaged_text_is_judged_as_serde_json_judges_it(
        value in any_value(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut text = serde_json::to_vec(&value).unwrap();
        for (at, byte, how) in damage {
            let at = at.index(text.len() + 1);
            match how {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                _ if at < text.len() => drop(text.remove(at)),
                _ => {}
            }
        }
        judge_alike(&text)?;
    }

    #[test]
    fn a_text_of_jsons_own_characters_is_judged_as_serde_json_judges_it(
        text in r#"[\[\]{},: ]{0,3}["\\u0-9dDeE+\-.tfnaNIl \[\]{},:/b]{0,24}"#,
    ) {
        judge_alike(text.as_bytes())?;
    }

    #[test]
    fn a_string_written_is_the_string_read(text: String) {
        let mut out = Vec::new();
        write_str(&mut out, &text);
        prop_assert_eq!(Value::parse(&out).unwrap(), Value::String(Cow::Borrowed(&*text)));
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}
