use std::collections::HashSet;
use std::sync::Arc;

use hedef_core::{Data, DataType, Shape, Signature, Tensor, TensorSpec};

use crate::json::{BytesAs, NonFinite, Style, write_elements, write_nested, write_str};

/// The outputs of a response.
type Outputs = [(Arc<str>, Tensor)];

/// How to tell outputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Telling<'s> {
    pub(crate) non_finite: NonFinite,
    /// Where the labels are, if values are to stand under them.
    pub(crate) labels: Option<&'s Signature>,
    /// Whether outputs whose names end in `_bytes` are bytes even where they are text.
    pub(crate) bytes_by_name: bool,
}

/// The labels of an output's values, if each can be the key of one value.
pub(crate) fn labels(spec: &TensorSpec) -> Option<&[String]> {
    let labels = spec.labels.as_deref().filter(|_| spec.data_type != DataType::Bytes)?;
    let mut seen = HashSet::with_capacity(labels.len());
    labels.iter().all(|label| seen.insert(label)).then_some(labels)
}

/// Appends outputs as a list of rows: bare for one output, as objects for several. Outputs that do not have the same
/// number of rows become one object of whole outputs.
pub(crate) fn write_rows(out: &mut Vec<u8>, outputs: &Outputs, telling: Telling<'_>) {
    let told: Vec<Told<'_>> = outputs.iter().map(|(name, tensor)| Told::new(name, tensor, telling)).collect();
    if let [only] = told.as_slice() {
        return only.write_whole(out);
    }
    let mut counts = outputs.iter().map(|(_, tensor)| tensor.shape().rows());
    let Some(rows) = counts.next().flatten().filter(|rows| counts.all(|count| count == Some(*rows))) else {
        return write_object(out, &told, |told, out| told.write_whole(out));
    };
    write_list(out, rows, |out, row| write_object(out, &told, |told, out| told.write_row(out, row)));
}

/// Appends outputs whole: the only one bare, several as an object.
pub(crate) fn write_columns(out: &mut Vec<u8>, outputs: &Outputs, telling: Telling<'_>) {
    let told: Vec<Told<'_>> = outputs.iter().map(|(name, tensor)| Told::new(name, tensor, telling)).collect();
    match told.as_slice() {
        [only] => only.write_whole(out),
        several => write_object(out, several, |told, out| told.write_whole(out)),
    }
}

/// One output and all that decides how it is told.
struct Told<'t> {
    name: &'t str,
    tensor: &'t Tensor,
    labels: Option<&'t [String]>,
    style: Style,
}

impl<'t> Told<'t> {
    fn new(name: &'t str, tensor: &'t Tensor, telling: Telling<'t>) -> Self {
        let spec = telling.labels.and_then(|signature| signature.outputs.get(signature.output(name)?));
        let classes = tensor.shape().dims().last().copied();
        let labels = spec.and_then(labels).filter(|labels| Some(labels.len()) == classes && tensor.shape().rank() <= 2);
        let by_name = telling.bytes_by_name && name.ends_with("_bytes");
        let bytes = if by_name || !is_text(tensor.data()) { BytesAs::Object } else { BytesAs::Text };
        Self { name, tensor, labels, style: Style { non_finite: telling.non_finite, bytes } }
    }

    fn write_whole(&self, out: &mut Vec<u8>) {
        match (self.labels, self.tensor.shape().dims()) {
            (Some(labels), [rows, _]) => write_list(out, *rows, |out, row| self.write_labelled(out, row, labels)),
            (Some(labels), _) => self.write_labelled(out, 0, labels),
            (None, _) => self.write_nested(out, self.tensor.shape(), self.tensor.data()),
        }
    }

    fn write_row(&self, out: &mut Vec<u8>, row: usize) {
        if let (Some(labels), 2) = (self.labels, self.tensor.shape().rank()) {
            return self.write_labelled(out, row, labels);
        }
        let (shape, data) = self.tensor.rows(row, 1).into_parts();
        self.write_nested(out, &Shape::new(shape.row()), &data);
    }

    fn write_nested(&self, out: &mut Vec<u8>, shape: &Shape, data: &Data) {
        let written = write_nested(out, shape, data, self.style);
        debug_assert!(written.is_ok(), "bytes that are no text are told as objects");
    }

    /// Appends the values of one row as an object under their labels.
    fn write_labelled(&self, out: &mut Vec<u8>, row: usize, labels: &[String]) {
        let mut values = Vec::new();
        let start = row * labels.len();
        let written = write_elements(&mut values, self.tensor.data(), start..start + labels.len(), self.style);
        debug_assert!(written.is_ok(), "only numbers have labels");
        // No number has a comma in its text.
        let values = values.get(1..values.len().saturating_sub(1)).unwrap_or_default().split(|byte| *byte == b',');
        out.push(b'{');
        for (position, (label, value)) in labels.iter().zip(values).enumerate() {
            write_key(out, position, label);
            out.extend_from_slice(value);
        }
        out.push(b'}');
    }
}

fn is_text(data: &Data) -> bool {
    match data {
        Data::Bytes(elements) => elements.iter().all(|element| std::str::from_utf8(element).is_ok()),
        _ => true,
    }
}

fn write_object(out: &mut Vec<u8>, outputs: &[Told<'_>], write: impl Fn(&Told<'_>, &mut Vec<u8>)) {
    out.push(b'{');
    for (position, told) in outputs.iter().enumerate() {
        write_key(out, position, told.name);
        write(told, out);
    }
    out.push(b'}');
}

fn write_key(out: &mut Vec<u8>, position: usize, key: &str) {
    if position > 0 {
        out.push(b',');
    }
    write_str(out, key);
    out.push(b':');
}

fn write_list(out: &mut Vec<u8>, count: usize, write: impl Fn(&mut Vec<u8>, usize)) {
    out.push(b'[');
    for index in 0..count {
        if index > 0 {
            out.push(b',');
        }
        write(out, index);
    }
    out.push(b']');
}
