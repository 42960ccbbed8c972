use std::borrow::Cow;
use std::collections::HashMap;

use hedef_core::{Signature, Tensor, TensorSpec};

use super::columns::{Assignment, assign};
use super::example::list;
use super::nested::{Collector, b64};
use crate::Error;
use crate::json::Value;

type Tensors = Vec<(String, Tensor)>;
type Member<'a> = (Cow<'a, str>, Value<'a>);

/// A list of rows: bare values or lists for the only input, or objects.
pub(super) fn rows(rows: &Value<'_>, signature: &Signature) -> Result<Tensors, Error> {
    let Value::Array(all) = rows else {
        return Err(Error::unexpected("the rows", "a list", "no list"));
    };
    if all.iter().any(|row| is_object(row, signature)) {
        return objects(all, signature)?.tensors(signature);
    }
    let [spec] = signature.inputs.as_slice() else {
        let expected = format!("an object with {} for each row", list(&signature.inputs));
        return Err(Error::unexpected("the rows", expected, "rows without names"));
    };
    Ok(vec![named(spec, Collector::new(spec).whole(rows)?)])
}

/// Names of columns beside rows of so many values.
pub(super) fn columns_and_data(columns: &Value<'_>, data: &Value<'_>, signature: &Signature) -> Result<Tensors, Error> {
    let Value::Array(names) = columns else {
        return Err(Error::unexpected("`columns`", "a list of names", "no list"));
    };
    let Value::Array(all) = data else {
        return Err(Error::unexpected("`data`", "a list of rows", "no list"));
    };
    let name = |name: &'_ _| match name {
        Value::String(name) => Ok(name.to_string()),
        Value::Number(name) => Ok((*name).to_string()),
        _ => Err(Error::unexpected("`columns`", "a list of names", "something else in it")),
    };
    let names: Vec<String> = names.iter().map(name).collect::<Result<_, _>>()?;
    let mut rows = Vec::with_capacity(all.len());
    for (index, row) in all.iter().enumerate() {
        let place = || format!("`data`, row {index}");
        let Value::Array(cells) = row else {
            return Err(Error::unexpected(place(), format!("a list of {}", names.len()), "no list"));
        };
        if cells.len() != names.len() {
            let found = format!("a list of {}", cells.len());
            return Err(Error::unexpected(place(), format!("a list of {}, one for each column", names.len()), found));
        }
        rows.push(cells.iter().collect());
    }
    Table { columns: names.iter().map(String::as_str).collect(), rows }.tensors(signature)
}

/// An object of whole tensors or of columns of features; anything else is the only input.
pub(super) fn columns(columns: &Value<'_>, signature: &Signature) -> Result<Tensors, Error> {
    match (columns, signature.inputs.as_slice()) {
        // The name that Azure's examples give to a tensor without one.
        (Value::Object(members), [spec]) if only_tensor(members).is_some() && &*spec.name != "tensor" => {
            let tensor = only_tensor(members).unwrap_or(columns);
            Ok(vec![named(spec, Collector::new(spec).whole(tensor)?)])
        }
        (Value::Object(members), _) if is_object(columns, signature) => members_as_columns(members, signature),
        (_, [spec]) => Ok(vec![named(spec, Collector::new(spec).whole(columns)?)]),
        _ => {
            let expected = format!("an object with {}", list(&signature.inputs));
            Err(Error::unexpected("the inputs", expected, "one tensor without a name"))
        }
    }
}

fn only_tensor<'m, 'a>(members: &'m [Member<'a>]) -> Option<&'m Value<'a>> {
    match members {
        [(name, tensor)] if name == "tensor" => Some(tensor),
        _ => None,
    }
}

fn members_as_columns(members: &[Member<'_>], signature: &Signature) -> Result<Tensors, Error> {
    let names = members.iter().map(|(name, _)| &**name);
    if let Assignment::ByName(positions) = assign(names, signature)? {
        let column = |(spec, position): (&TensorSpec, usize)| {
            let value = members.get(position).map_or(&Value::Null, |(_, value)| value);
            Ok(named(spec, Collector::new(spec).whole(value)?))
        };
        return signature.inputs.iter().zip(positions).map(column).collect();
    }
    let mut columns = Vec::with_capacity(members.len());
    for (name, value) in members {
        let place = || format!("column `{}`", name.chars().take(128).collect::<String>());
        let Value::Array(cells) = value else {
            return Err(Error::unexpected(place(), "a list, one value for each row", "no list"));
        };
        let rows = columns.first().map_or(cells.len(), |first: &&Vec<_>| first.len());
        if cells.len() != rows {
            let expected = format!("a list of {rows}, as the column before it");
            return Err(Error::unexpected(place(), expected, format!("a list of {}", cells.len())));
        }
        columns.push(cells);
    }
    let rows = columns.first().map_or(0, |first| first.len());
    let row = |index| columns.iter().filter_map(|column| column.get(index)).collect();
    Table { columns: members.iter().map(|(name, _)| &**name).collect(), rows: (0..rows).map(row).collect() }
        .tensors(signature)
}

/// Whether `value` is an object with names, rather than bytes.
fn is_object(value: &Value<'_>, signature: &Signature) -> bool {
    matches!(value, Value::Object(_)) && (b64(value).is_none() || signature.input("b64").is_some())
}

/// Rows that are objects, all with the keys of the first.
fn objects<'v, 'a>(all: &'v [Value<'a>], signature: &Signature) -> Result<Table<'v, 'a>, Error> {
    let mut columns: Vec<&str> = Vec::new();
    let mut rows = Vec::with_capacity(all.len());
    for (index, row) in all.iter().enumerate() {
        let place = || format!("row {index}");
        let (Value::Object(members), true) = (row, is_object(row, signature)) else {
            return Err(Error::unexpected(place(), "an object, as other rows are", "none"));
        };
        if index == 0 {
            columns = members.iter().map(|(name, _)| &**name).collect();
        }
        rows.push(
            in_order(members, &columns).map_err(|(expected, found)| Error::unexpected(place(), expected, found))?,
        );
    }
    Ok(Table { columns, rows })
}

/// The values of an object in the order of `columns`, or what was expected and found.
fn in_order<'v, 'a>(members: &'v [Member<'a>], columns: &[&str]) -> Result<Vec<&'v Value<'a>>, (String, String)> {
    if members.len() != columns.len() {
        return Err((format!("the {} names of row 0", columns.len()), format!("{} names", members.len())));
    }
    if members.iter().zip(columns).all(|((name, _), column)| name == column) {
        return Ok(members.iter().map(|(_, value)| value).collect());
    }
    let by_name: HashMap<&str, &Value<'a>> = members.iter().map(|(name, value)| (&**name, value)).collect();
    let cell = |column: &&str| {
        let expected = || format!("`{}`, as in row 0", column.chars().take(128).collect::<String>());
        by_name.get(column).copied().ok_or_else(|| (expected(), "other names".to_string()))
    };
    columns.iter().map(cell).collect()
}

/// Rows whose values stand under the names of columns: as many in each row as there are names.
struct Table<'v, 'a> {
    columns: Vec<&'v str>,
    rows: Vec<Vec<&'v Value<'a>>>,
}

impl Table<'_, '_> {
    fn tensors(&self, signature: &Signature) -> Result<Tensors, Error> {
        let positions = match assign(self.columns.iter().copied(), signature)? {
            Assignment::ByName(positions) => positions,
            Assignment::Stacked => return self.stacked(signature),
        };
        let input = |(spec, position): (&TensorSpec, usize)| {
            let cells = self.rows.iter().filter_map(|row| row.get(position).copied());
            Ok(named(spec, Collector::new(spec).rows(cells)?))
        };
        signature.inputs.iter().zip(positions).map(input).collect()
    }

    fn stacked(&self, signature: &Signature) -> Result<Tensors, Error> {
        let cells = || self.rows.iter().flatten().copied();
        let input = |spec| Ok(named(spec, Collector::new(spec).cells(self.columns.len(), cells())?));
        signature.inputs.iter().map(input).collect()
    }
}

fn named(spec: &TensorSpec, tensor: Tensor) -> (String, Tensor) {
    (spec.name.to_string(), tensor)
}
