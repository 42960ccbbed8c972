use hedef_core::Data;

use crate::json::{self, Scalar, Unfit};

/// Appends one cell to `data` as an element of its type.
pub(super) fn push(data: &mut Data, cell: &[u8]) -> Result<(), Unfit> {
    if let Data::Bytes(elements) = data {
        elements.to_mut().push(cell.to_vec());
        return Ok(());
    }
    let lossy = String::from_utf8_lossy(cell);
    let text = lossy.trim();
    let float = matches!(data, Data::Fp16(_) | Data::Bf16(_) | Data::Fp32(_) | Data::Fp64(_));
    let scalar = match number(text) {
        Some(number) => Scalar::Number(number),
        None if text.is_empty() && float => Scalar::Number("NaN"),
        None if is_word(text, &["true"]) => Scalar::Bool(true),
        None if is_word(text, &["false"]) => Scalar::Bool(false),
        // What no number type and no BOOL takes.
        None => Scalar::Null,
    };
    json::push(data, scalar).map_err(|unfit| Unfit { found: Scalar::String(text.into()).to_string(), ..unfit })
}

/// Whether a cell can stand in a header only, where numbers are wanted.
pub(super) fn is_no_number(text: &str) -> bool {
    number(text).is_none() && !is_word(text, &["true", "false"])
}

/// The text of a number as [`json::push`] takes it.
fn number(text: &str) -> Option<&str> {
    if is_word(text, &["nan", "+nan", "-nan"]) {
        return Some("NaN");
    }
    if is_word(text, &["inf", "+inf", "infinity", "+infinity"]) {
        return Some("Infinity");
    }
    if is_word(text, &["-inf", "-infinity"]) {
        return Some("-Infinity");
    }
    let unsigned = text.strip_prefix('+').unwrap_or(text);
    let first = unsigned.strip_prefix('-').filter(|_| unsigned.len() == text.len()).unwrap_or(unsigned);
    let digits = first.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    // Rust's own grammar of floats, so that `.5` and `5.` are numbers too.
    (digits && first.parse::<f64>().is_ok()).then_some(unsigned)
}

fn is_word(text: &str, words: &[&str]) -> bool {
    words.iter().any(|word| word.eq_ignore_ascii_case(text))
}
