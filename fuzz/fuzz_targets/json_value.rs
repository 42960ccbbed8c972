//! Any text is refused, or is a value that survives being written and read again.

#![no_main]

use hedef_protocols::json::{Value, write_str};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = Value::parse(bytes) else { return };
    let mut out = Vec::new();
    write(&mut out, &value);
    assert_eq!(Value::parse(&out).as_ref(), Ok(&value));
});

fn write(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::String(text) => write_str(out, text),
        Value::Array(elements) => {
            out.push(b'[');
            for (position, element) in elements.iter().enumerate() {
                comma(out, position);
                write(out, element);
            }
            out.push(b']');
        }
        Value::Object(members) => {
            out.push(b'{');
            for (position, (key, value)) in members.iter().enumerate() {
                comma(out, position);
                write_str(out, key);
                out.push(b':');
                write(out, value);
            }
            out.push(b'}');
        }
    }
}

fn comma(out: &mut Vec<u8>, position: usize) {
    if position > 0 {
        out.push(b',');
    }
}
