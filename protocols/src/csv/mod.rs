//! Comma-separated values, one row of a model's inputs in each line.
//!
//! Source: RFC 4180. Lines end in CR LF or LF; quotes hold commas, quotes (doubled) and line ends. A byte order mark
//! is skipped.

mod cell;
#[cfg(test)]
mod tests;

use csv::{ByteRecord, ReaderBuilder};
use hedef_core::{Data, DataType, Dim, Request, Signature, Tensor, TensorSpec};

use crate::Error;
use crate::rows::{self, Assignment};

/// Whether the first line holds the names of the columns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// It does.
    Present,
    /// It does not.
    Absent,
    /// It does if it names an input, or if it holds no number at all where the model takes only numbers.
    #[default]
    Auto,
}

/// Reads rows as the inputs of a model.
///
/// With a header, columns go to the inputs of their names; columns of other names are stacked in their order into
/// the only input, if it has two dimensions and takes so many. Without one, the columns are the only input: stacked,
/// or one value for each row. Numbers may have spaces around them and are taken as in JSON, also `nan`, `inf` and a
/// leading `+`; an empty cell is NaN for floats and an error for integers and BOOL, which also takes `True` and
/// `False`. Empty lines are skipped; `""` is an empty cell in a line of its own. BYTES are the text of the cell as it stands. Fails with the line and the column.
pub fn decode(bytes: &[u8], header: Header, signature: &Signature) -> Result<Request, Error> {
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut record = ByteRecord::new();
    let mut more = read(&mut reader, &mut record)?;
    let mut assignment = None;
    if more && has_header(header, &record, signature) {
        assignment = Some(by_header(&record, signature)?);
        more = read(&mut reader, &mut record)?;
    }
    let assignment = match assignment {
        Some(assignment) => assignment,
        None => by_position(record.len(), signature)?,
    };
    let mut table = Table::new(assignment, signature);
    while more {
        table.push(&record)?;
        more = read(&mut reader, &mut record)?;
    }
    Ok(Request::new(signature, table.tensors()?)?)
}

/// Reads the next line, or says that there is none.
fn read(reader: &mut csv::Reader<&[u8]>, record: &mut ByteRecord) -> Result<bool, Error> {
    reader.read_byte_record(record).map_err(|error| Error::unexpected("CSV", "rows of values", error.to_string()))
}

fn has_header(header: Header, record: &ByteRecord, signature: &Signature) -> bool {
    match header {
        Header::Present => true,
        Header::Absent => false,
        Header::Auto => {
            let names = || record.iter().map(|cell| std::str::from_utf8(cell).unwrap_or_default().trim());
            let numbers = signature.inputs.iter().all(|spec| spec.data_type != DataType::Bytes);
            let words = || names().all(cell::is_no_number) && names().any(|name| !name.is_empty());
            names().any(|name| signature.input(name).is_some()) || (numbers && words())
        }
    }
}

/// The columns of each input.
#[derive(Debug)]
struct Columns {
    /// How many cells each line has.
    width: usize,
    /// For each input of the signature.
    inputs: Vec<Range>,
}

/// The cells of a line that belong to one input.
type Range = std::ops::Range<usize>;

fn by_header(record: &ByteRecord, signature: &Signature) -> Result<Columns, Error> {
    let name = |cell| std::str::from_utf8(cell).map(str::trim);
    let names: Result<Vec<&str>, _> = record.iter().map(name).collect();
    let names = names.map_err(|_| Error::unexpected("CSV, line 1", "names in UTF-8", "other bytes"))?;
    let width = names.len();
    let inputs = match rows::assign(names.iter().copied(), signature)? {
        Assignment::ByName(positions) => positions.into_iter().map(|position| position..position + 1).collect(),
        Assignment::Stacked => std::iter::once(0..width).collect(),
    };
    Ok(Columns { width, inputs })
}

fn by_position(width: usize, signature: &Signature) -> Result<Columns, Error> {
    let [spec] = signature.inputs.as_slice() else {
        let expected = format!("a header that names {}", rows::list(&signature.inputs));
        return Err(Error::unexpected("CSV", expected, "none"));
    };
    // Without any line nothing is known but what the model declares.
    let columns = match spec.dims.as_deref() {
        Some([_, Dim::Fixed(columns)]) if width == 0 => *columns,
        _ => width.max(1),
    };
    let place = || format!("CSV, input `{}`", spec.name);
    match rows::stacks(signature, columns) {
        Some(false) => {
            Err(Error::unexpected(place(), format!("{} columns", rows::wanted(signature)), width.to_string()))
        }
        None if columns > 1 => {
            let expected = format!("one column, as lines hold no rows for {spec}");
            Err(Error::unexpected(place(), expected, width.to_string()))
        }
        _ => Ok(Columns { width: columns, inputs: std::iter::once(0..columns).collect() }),
    }
}

/// The inputs, as far as they are read.
struct Table<'s> {
    columns: Columns,
    inputs: Vec<(&'s TensorSpec, Data)>,
    rows: usize,
}

impl<'s> Table<'s> {
    fn new(columns: Columns, signature: &'s Signature) -> Self {
        let inputs = signature.inputs.iter().map(|spec| (spec, Data::with_capacity(spec.data_type, 0)));
        Self { columns, inputs: inputs.collect(), rows: 0 }
    }

    fn push(&mut self, record: &ByteRecord) -> Result<(), Error> {
        let line = record.position().map_or(0, csv::Position::line);
        let width = self.columns.width;
        if record.len() != width {
            let found = record.len().to_string();
            return Err(Error::unexpected(format!("CSV, line {line}"), format!("{width} values"), found));
        }
        for ((spec, data), range) in self.inputs.iter_mut().zip(&self.columns.inputs) {
            for column in range.clone() {
                let text = record.get(column).unwrap_or_default();
                let place = || format!("CSV, line {line}, column {}, input `{}`", column + 1, spec.name);
                cell::push(data, text).map_err(|unfit| Error::unexpected(place(), unfit.expected, unfit.found))?;
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn tensors(self) -> Result<Vec<(String, Tensor)>, Error> {
        let rows = self.rows;
        let tensor = |((spec, data), range): ((&TensorSpec, Data), Range)| {
            let stacked = range.len() != 1 || spec.dims.as_ref().is_some_and(|dims| dims.len() == 2);
            let dims = if stacked { vec![rows, range.len()] } else { vec![rows] };
            let shape = rows::fit(spec, dims);
            let tensor = Tensor::new(shape, data);
            let place = || format!("input `{}`", spec.name);
            let tensor = tensor.map_err(|error| Error::unexpected(place(), spec.to_string(), error.to_string()))?;
            Ok((spec.name.to_string(), tensor))
        };
        self.inputs.into_iter().zip(self.columns.inputs).map(tensor).collect()
    }
}
