use std::fmt;

use hedef_core::{Data, DataType, Shape};

use super::scalar::{FromScalar, expectation, from_scalar};
use super::{Next, Reader, Unfit};
use crate::{DecodeLimits, Error};

/// What an array of elements has to be.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// How messages call the tensor, such as ``input `x` ``.
    pub place: &'a dyn fmt::Display,
    /// The type of the elements.
    pub data_type: DataType,
    /// The dimensions.
    pub shape: &'a Shape,
    /// What it may take.
    pub limits: DecodeLimits<'a>,
}

/// Takes the next value of `reader` as the elements of one tensor, row-major: one flat array of all of them, or
/// arrays nested as deep as the shape has dimensions. A scalar may also stand bare.
///
/// What each data type takes is said at [`super::push`]. Fails with the position, the expectation and the finding
/// when an element does not fit its type, when there are more or fewer than the shape wants, when the nesting is
/// not the shape's, or at the limits. Memory is bounded by the text, whatever the shape claims.
pub fn elements(reader: &mut Reader<'_>, expected: Expected<'_>) -> Result<Data, Error> {
    macro_rules! scan {
        ($($variant:ident)*) => {
            match expected.data_type { $(DataType::$variant => scan(reader, expected).map(|all| Data::$variant(all.into())),)* }
        };
    }
    scan!(Bool Uint8 Uint16 Uint32 Uint64 Int8 Int16 Int32 Int64 Fp16 Bf16 Fp32 Fp64 Bytes)
}

fn scan<T: FromScalar>(reader: &mut Reader<'_>, expected: Expected<'_>) -> Result<Vec<T>, Error> {
    let unheard =
        || Error::unexpected(expected.place.to_string(), "a shape that memory can hold", expected.shape.to_string());
    let total = expected.shape.elements().ok_or_else(unheard)?;
    expected.limits.admit(total, expected.place)?;
    // Two bytes is what the shortest element and its comma take.
    let capacity = total.min(reader.remaining() / 2 + 1);
    expected.limits.take(capacity.saturating_mul(T::FOOTPRINT))?;
    let mut scan = Scan { expected, elements: Vec::with_capacity(capacity), path: Vec::new() };
    match reader.peek()? {
        Next::Array => {}
        _ if expected.shape.rank() == 0 => {
            scan.element(reader, None)?;
            return Ok(scan.elements);
        }
        _ => {
            return Err(Error::unexpected(
                expected.place.to_string(),
                "`data` to be a list",
                reader.scalar()?.to_string(),
            ));
        }
    }
    let mut lookahead = reader.clone();
    lookahead.begin_array()?;
    if expected.shape.rank() > 1 && lookahead.next_element()? && lookahead.peek()? == Next::Array {
        scan.nested(reader, expected.shape.dims())?;
    } else {
        scan.flat(reader, total)?;
    }
    Ok(scan.elements)
}

struct Scan<'a, T> {
    expected: Expected<'a>,
    elements: Vec<T>,
    /// The indices of the arrays around the current one.
    path: Vec<usize>,
}

impl<T: FromScalar> Scan<'_, T> {
    fn flat(&mut self, reader: &mut Reader<'_>, total: usize) -> Result<(), Error> {
        reader.begin_array()?;
        while reader.next_element()? {
            if self.elements.len() == total {
                return Err(self.wrong_count(reader, total, total));
            }
            self.element(reader, Some(self.elements.len()))?;
            self.run(reader, total - self.elements.len());
        }
        if self.elements.len() == total { Ok(()) } else { Err(self.wrong_count_of(total, self.elements.len())) }
    }

    fn nested(&mut self, reader: &mut Reader<'_>, dims: &[usize]) -> Result<(), Error> {
        let (&size, inner) = dims.split_first().unwrap_or((&0, &[]));
        if reader.peek()? != Next::Array {
            let found = reader.scalar()?.to_string();
            return Err(Error::unexpected(self.place(None), format!("a list of {size}"), found));
        }
        reader.begin_array()?;
        let mut index = 0;
        while reader.next_element()? {
            if index == size {
                return Err(self.wrong_count(reader, size, index));
            }
            if inner.is_empty() {
                self.element(reader, Some(index))?;
                index += self.run(reader, size - index - 1);
            } else {
                self.path.push(index);
                self.nested(reader, inner)?;
                self.path.pop();
            }
            index += 1;
        }
        if index == size { Ok(()) } else { Err(self.wrong_count_of(size, index)) }
    }

    /// Takes elements that are spelled plainly, each behind a comma, as long as they come but at most `most`, and says
    /// how many there were. Most of a large tensor is read here.
    fn run(&mut self, reader: &mut Reader<'_>, most: usize) -> usize {
        let bytes = reader.rest();
        let mut rest = bytes;
        let mut count = 0;
        while count < most
            && let [b',', behind @ ..] = rest
        {
            // Python puts a space behind the comma.
            let behind = behind.strip_prefix(b" ").unwrap_or(behind);
            let Some((element, length)) = T::plain(behind) else { break };
            self.elements.push(element);
            rest = behind.get(length..).unwrap_or_default();
            count += 1;
        }
        reader.advance(bytes.len() - rest.len());
        count
    }

    #[inline]
    fn element(&mut self, reader: &mut Reader<'_>, index: Option<usize>) -> Result<(), Error> {
        if let Some((element, length)) = T::plain(reader.rest()) {
            reader.advance(length);
            self.elements.push(element);
            return Ok(());
        }
        self.any_element(reader, index)
    }

    fn any_element(&mut self, reader: &mut Reader<'_>, index: Option<usize>) -> Result<(), Error> {
        if matches!(reader.peek()?, Next::Array | Next::Object) {
            let found = if reader.peek()? == Next::Array { "a list" } else { "an object" };
            return Err(Error::unexpected(self.place(index), expectation(T::DATA_TYPE), found));
        }
        let element = from_scalar(&mut reader.scalar()?);
        self.elements.push(element.map_err(|unfit| self.unfit(index, unfit))?);
        Ok(())
    }

    #[cold]
    fn unfit(&self, index: Option<usize>, unfit: Unfit) -> Error {
        Error::unexpected(self.place(index), unfit.expected, unfit.found)
    }

    /// Counts the rest of an array that holds more than `size` elements, of which `before` are taken.
    #[cold]
    fn wrong_count(&self, reader: &mut Reader<'_>, size: usize, before: usize) -> Error {
        let mut count = before;
        loop {
            count += 1;
            match reader.skip_value().and_then(|_| reader.next_element()) {
                Ok(true) => {}
                Ok(false) => return self.wrong_count_of(size, count),
                Err(error) => return error,
            }
        }
    }

    #[cold]
    fn wrong_count_of(&self, size: usize, found: usize) -> Error {
        let expected = format!("{size} elements for shape {}", self.expected.shape);
        Error::unexpected(self.place(None), expected, found.to_string())
    }

    /// Where element `index` of the current array stands, or the array itself.
    #[cold]
    fn place(&self, index: Option<usize>) -> String {
        let indices: Vec<String> = self.path.iter().copied().chain(index).map(|index| index.to_string()).collect();
        match (indices.is_empty(), index) {
            (true, _) => self.expected.place.to_string(),
            (false, Some(_)) => format!("{}, element [{}]", self.expected.place, indices.join(",")),
            (false, None) => format!("{}, list [{}]", self.expected.place, indices.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, data_type: DataType, shape: &[usize]) -> Result<Data, String> {
        let shape = Shape::from(shape.to_vec());
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        let data = elements(
            &mut reader,
            Expected { place: &"input `x`", data_type, shape: &shape, limits: DecodeLimits::NONE },
        );
        let data = data.map_err(|error| error.to_string())?;
        reader.end().map(|()| data).map_err(|error| error.to_string())
    }

    #[test]
    fn flat_and_nested_arrays_hold_the_same_elements() {
        let flat = read("[1,2,3,4,5,6]", DataType::Int32, &[2, 3]);
        assert_eq!(flat, Ok(Data::Int32(vec![1, 2, 3, 4, 5, 6].into())));
        assert_eq!(flat, read(" [ [1, 2,3] ,[4,5,6]]", DataType::Int32, &[2, 3]));
        assert_eq!(read("5", DataType::Int8, &[]), Ok(Data::Int8(vec![5].into())));
        assert_eq!(read("[5]", DataType::Int8, &[]), Ok(Data::Int8(vec![5].into())));
    }

    #[test]
    fn empty_tensors_are_flat_or_nested_too() {
        let none = Ok(Data::Fp32(vec![].into()));
        assert_eq!(read("[]", DataType::Fp32, &[0, 3]), none);
        assert_eq!(read("[]", DataType::Fp32, &[2, 0]), none);
        assert_eq!(read("[[],[]]", DataType::Fp32, &[2, 0]), none);
        assert_eq!(read("[]", DataType::Fp32, &[0, usize::MAX, usize::MAX]), none);
    }

    #[test]
    fn a_wrong_number_of_elements_says_where_and_how_many() {
        let cases = [
            ("[1,2,3]", "input `x`: expected 4 elements for shape [2,2], found 3"),
            ("[1,2,3,4,5,6]", "input `x`: expected 4 elements for shape [2,2], found 6"),
            ("[[1,2]]", "input `x`: expected 2 elements for shape [2,2], found 1"),
            ("[[1,2],[3]]", "input `x`, list [1]: expected 2 elements for shape [2,2], found 1"),
            ("[[1,2],[3,4,5]]", "input `x`, list [1]: expected 2 elements for shape [2,2], found 3"),
            ("[[1,2],3]", "input `x`, list [1]: expected a list of 2, found `3`"),
            ("[[1,2],[3,[4]]]", "input `x`, element [1,1]: expected FP64 (a number from"),
            ("[1,2,[3,4]]", "input `x`, element [2]: expected FP64 (a number from"),
            ("[1,2,{},4]", ", found an object"),
            ("7", "input `x`: expected `data` to be a list, found `7`"),
        ];
        for (text, expected) in cases {
            let found = read(text, DataType::Fp64, &[2, 2]).unwrap_err();
            assert!(found.contains(expected), "{text}: {found}");
        }
    }

    #[test]
    fn elements_that_do_not_fit_are_named() {
        let cases = [
            ("[0,300]", DataType::Int8, "[1]: expected INT8 (a whole number from -128 to 127), found `300`"),
            ("[0,-1]", DataType::Uint64, "found `-1`"),
            ("[0,18446744073709551616]", DataType::Uint64, "found `18446744073709551616`"),
            ("[0,1.5]", DataType::Int32, "found `1.5`"),
            ("[0,NaN]", DataType::Int32, "found `NaN`"),
            ("[0,true]", DataType::Int32, "found `true`"),
            ("[0,null]", DataType::Fp32, "found `null`"),
            ("[0,\"1\"]", DataType::Fp32, "found `\"1\"`"),
            ("[0,1e999]", DataType::Fp32, "expected FP32 (a number from -3.4028235e38 to 3.4028235e38), found `1e999`"),
            ("[0,1e39]", DataType::Bf16, "found `1e39`"),
            ("[0,65520]", DataType::Fp16, "found `65520`"),
            ("[0,1e309]", DataType::Fp64, "found `1e309`"),
            ("[0,2]", DataType::Bool, "expected BOOL (true, false, 0 or 1), found `2`"),
            ("[\"\",1]", DataType::Bytes, "expected BYTES (a string), found `1`"),
        ];
        for (text, data_type, expected) in cases {
            let found = read(text, data_type, &[2]).unwrap_err();
            assert!(found.starts_with("input `x`, element [1]: expected ") && found.contains(expected), "{found}");
        }
    }

    #[test]
    fn numbers_are_read_in_every_spelling() {
        let extremes = read("[9223372036854775807,-9223372036854775808,1e2,7.0,-0]", DataType::Int64, &[5]);
        assert_eq!(extremes, Ok(Data::Int64(vec![i64::MAX, i64::MIN, 100, 7, 0].into())));
        assert_eq!(
            read("[true,0,1,false]", DataType::Bool, &[4]),
            Ok(Data::Bool(vec![true, false, true, false].into()))
        );
        let Ok(Data::Fp32(floats)) = read(r#"[NaN,"NaN",Infinity,"-Infinity",-0.0,1e-45]"#, DataType::Fp32, &[6])
        else {
            panic!()
        };
        assert!(floats[0].is_nan() && floats[1].is_nan());
        let bits = [f32::INFINITY, f32::NEG_INFINITY, -0.0, f32::from_bits(1)].map(f32::to_bits);
        assert_eq!(floats[2..].iter().map(|float| float.to_bits()).collect::<Vec<_>>(), bits);
    }

    #[test]
    fn the_limits_are_held_before_anything_is_read() {
        use std::cell::Cell;
        let asked = Cell::new(0);
        let read = |limit, room: usize, data_type| {
            let shape = Shape::from(vec![4]);
            let room = |bytes| {
                asked.set(bytes);
                bytes <= room
            };
            let limits = DecodeLimits { elements: limit, room: &room, message: None };
            // What is no JSON shows that it was not looked at.
            let mut reader = Reader::new(b"[\"\",\"\",\"\",!").unwrap();
            elements(&mut reader, Expected { place: &"input `x`", data_type, shape: &shape, limits })
                .map_err(|error| error.to_string())
        };
        assert_eq!(
            read(3, 1 << 20, DataType::Bytes),
            Err("input `x`: too many elements: at most 3 more are allowed in a request of its size".into())
        );
        assert_eq!(asked.get(), 0);
        assert_eq!(read(4, 223, DataType::Bytes), Err(Error::NoRoom.to_string()));
        assert_eq!(asked.get(), 4 * 56, "a string's place, and the least that the heap gives for its bytes");
        assert!(read(4, 224, DataType::Bytes).unwrap_err().starts_with("JSON"));
        assert_eq!(read(4, 7, DataType::Int16), Err(Error::NoRoom.to_string()));
    }

    #[test]
    fn a_huge_shape_takes_no_memory() {
        let error = read("[1,2]", DataType::Fp64, &[1 << 30, 1 << 30]).unwrap_err();
        assert!(error.ends_with("found 2"), "{error}");
        assert!(read("[1,2]", DataType::Fp64, &[usize::MAX, 2]).unwrap_err().contains("memory can hold"));
    }
}
