//! Typed row-major arrays.

use std::fmt;

use bytemuck::AnyBitPattern;
use half::{bf16, f16};
use smallvec::SmallVec;

use crate::{DataType, Elements};

/// The dimensions of a tensor, outermost first. A scalar has none.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Shape(SmallVec<[usize; 4]>);

impl Shape {
    /// Makes a shape of these dimensions.
    #[must_use]
    pub fn new(dims: impl AsRef<[usize]>) -> Self {
        Self(SmallVec::from_slice(dims.as_ref()))
    }

    /// The dimensions.
    #[must_use]
    pub fn dims(&self) -> &[usize] {
        &self.0
    }

    /// How many dimensions there are.
    #[must_use]
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// The product of the dimensions, 1 for a scalar; `None` when it overflows.
    #[must_use]
    pub fn elements(&self) -> Option<usize> {
        // A zero anywhere makes the product zero, even beside dimensions whose product overflows.
        if self.0.contains(&0) {
            return Some(0);
        }
        self.0.iter().try_fold(1_usize, |product, dim| product.checked_mul(*dim))
    }

    /// The first dimension, if there is one.
    #[must_use]
    pub fn rows(&self) -> Option<usize> {
        self.0.first().copied()
    }

    /// The dimensions of one row: all but the first.
    #[must_use]
    pub fn row(&self) -> &[usize] {
        self.0.get(1..).unwrap_or(&[])
    }

    /// The same row dimensions with another first dimension. A scalar stays a scalar.
    #[must_use]
    pub fn with_rows(&self, rows: usize) -> Self {
        let mut dims = self.0.clone();
        if let Some(first) = dims.first_mut() {
            *first = rows;
        }
        Self(dims)
    }
}

impl<const N: usize> From<[usize; N]> for Shape {
    fn from(dims: [usize; N]) -> Self {
        Self::new(dims)
    }
}

impl From<Vec<usize>> for Shape {
    fn from(dims: Vec<usize>) -> Self {
        Self::new(dims)
    }
}

impl FromIterator<usize> for Shape {
    fn from_iter<I: IntoIterator<Item = usize>>(dims: I) -> Self {
        Self(dims.into_iter().collect())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_dims(f, &self.0)
    }
}

/// Writes dimensions as `[2,3]`.
pub(crate) fn write_dims(f: &mut fmt::Formatter<'_>, dims: &[impl fmt::Display]) -> fmt::Result {
    f.write_str("[")?;
    for (position, dim) in dims.iter().enumerate() {
        if position > 0 {
            f.write_str(",")?;
        }
        write!(f, "{dim}")?;
    }
    f.write_str("]")
}

/// Declares [`Data`] and [`Element`] together, so that a data type cannot be forgotten in one of them.
macro_rules! data {
    ($($variant:ident($element:ty) as $view:ident, $doc:literal;)*) => {
        /// The elements of a tensor, row-major, in memory aligned for their type.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Data {
            $(#[doc = $doc] $variant(Elements<$element>),)*
        }

        impl Data {
            /// The type of the elements.
            #[must_use]
            pub const fn data_type(&self) -> DataType {
                match self { $(Self::$variant(_) => DataType::$variant,)* }
            }

            /// How many elements there are.
            #[must_use]
            #[expect(clippy::len_without_is_empty, reason = "an empty tensor is a shape's business")]
            pub fn len(&self) -> usize {
                match self { $(Self::$variant(elements) => elements.len(),)* }
            }

            /// Holds no elements, with room for `capacity` of them.
            #[must_use]
            pub fn with_capacity(data_type: DataType, capacity: usize) -> Self {
                match data_type { $(DataType::$variant => Self::$variant(Vec::with_capacity(capacity).into()),)* }
            }

            /// Holds no elements, but the memory that there was, where it is for such elements and has room for `capacity`
            /// of them; else the same as [`Data::with_capacity`].
            #[must_use]
            pub fn emptied(self, data_type: DataType, capacity: usize) -> Self {
                match (self, data_type) {
                    $((Self::$variant(elements), DataType::$variant) => Self::$variant(elements.emptied(capacity)),)*
                    _ => Self::with_capacity(data_type, capacity),
                }
            }

            /// Copies the elements `range`; elements beyond the end are left out.
            #[must_use]
            pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
                match self {
                    $(Self::$variant(elements) => {
                        let end = range.end.min(elements.len());
                        Self::$variant(elements.get(range.start.min(end)..end).unwrap_or_default().to_vec().into())
                    })*
                }
            }

            /// Repeats the first element; there are none where there was none.
            #[must_use]
            pub fn repeat_first(&self, count: usize) -> Self {
                match self {
                    $(Self::$variant(elements) => {
                        let repeated = elements.first().map(|first| vec![first.clone(); count]);
                        Self::$variant(repeated.unwrap_or_default().into())
                    })*
                }
            }

            /// Appends the elements of `other`, and says whether the types agreed; if not, nothing changes.
            pub fn append(&mut self, other: &Self) -> bool {
                match (self, other) {
                    $((Self::$variant(all), Self::$variant(more)) => { all.to_mut().extend_from_slice(more); true })*
                    _ => false,
                }
            }
        }

        $(impl Element for $element {
            const DATA_TYPE: DataType = DataType::$variant;
            fn into_data(elements: impl Into<Elements<Self>>) -> Data { Data::$variant(elements.into()) }
            fn elements(data: &Data) -> Option<&[Self]> {
                match data { Data::$variant(elements) => Some(elements), _ => None }
            }
            fn view(bytes: &[u8]) -> Option<&[Self]> { $view(bytes) }
        })*
    };
}

/// A Rust type that is the element of one data type.
pub trait Element: Clone + Sized {
    /// The data type whose elements these are.
    const DATA_TYPE: DataType;
    /// Wraps elements.
    fn into_data(elements: impl Into<Elements<Self>>) -> Data;
    /// The elements, if they are of this type.
    fn elements(data: &Data) -> Option<&[Self]>;
    /// Little-endian bytes as elements, if they lie in memory as elements do.
    fn view(bytes: &[u8]) -> Option<&[Self]>;
}

fn numbers<T: AnyBitPattern>(bytes: &[u8]) -> Option<&[T]> {
    if cfg!(target_endian = "little") { bytemuck::try_cast_slice(bytes).ok() } else { None }
}

/// Not each pattern of bytes is an element.
const fn never<T>(_: &[u8]) -> Option<&[T]> {
    None
}

data! {
    Bool(bool) as never, "Booleans.";
    Uint8(u8) as numbers, "Unsigned 8-bit integers.";
    Uint16(u16) as numbers, "Unsigned 16-bit integers.";
    Uint32(u32) as numbers, "Unsigned 32-bit integers.";
    Uint64(u64) as numbers, "Unsigned 64-bit integers.";
    Int8(i8) as numbers, "Signed 8-bit integers.";
    Int16(i16) as numbers, "Signed 16-bit integers.";
    Int32(i32) as numbers, "Signed 32-bit integers.";
    Int64(i64) as numbers, "Signed 64-bit integers.";
    Fp16(f16) as numbers, "Half-precision numbers.";
    Bf16(bf16) as numbers, "bfloat16 numbers.";
    Fp32(f32) as numbers, "Single-precision numbers.";
    Fp64(f64) as numbers, "Double-precision numbers.";
    Bytes(Vec<u8>) as never, "Byte strings.";
}

/// A typed row-major array whose number of elements is the product of its dimensions.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    shape: Shape,
    data: Data,
}

impl Tensor {
    /// Makes a tensor; fails when `data` does not have exactly the elements that `shape` wants.
    pub fn new(shape: impl Into<Shape>, data: Data) -> Result<Self, ShapeMismatch> {
        let shape = shape.into();
        if shape.elements() == Some(data.len()) {
            Ok(Self { shape, data })
        } else {
            Err(ShapeMismatch { shape, elements: data.len() })
        }
    }

    /// Makes a tensor of Rust values.
    pub fn from_elements<T: Element>(shape: impl Into<Shape>, elements: Vec<T>) -> Result<Self, ShapeMismatch> {
        Self::new(shape, T::into_data(elements))
    }

    /// The type of the elements.
    #[must_use]
    pub const fn data_type(&self) -> DataType {
        self.data.data_type()
    }

    /// The dimensions.
    #[must_use]
    pub const fn shape(&self) -> &Shape {
        &self.shape
    }

    /// The elements.
    #[must_use]
    pub const fn data(&self) -> &Data {
        &self.data
    }

    /// The elements as Rust values, if that is their type.
    #[must_use]
    pub fn elements<T: Element>(&self) -> Option<&[T]> {
        T::elements(&self.data)
    }

    /// Takes the tensor apart.
    #[must_use]
    pub fn into_parts(self) -> (Shape, Data) {
        (self.shape, self.data)
    }

    /// Copies `count` rows from row `first` on. A scalar is copied whole.
    #[must_use]
    pub fn rows(&self, first: usize, count: usize) -> Self {
        let Some(rows) = self.shape.rows() else { return self.clone() };
        let first = first.min(rows);
        let count = count.min(rows - first);
        // The tensor's own elements bound these products, so they cannot overflow.
        let row = self.data.len().checked_div(rows).unwrap_or(0);
        Self { shape: self.shape.with_rows(count), data: self.data.slice(first * row..(first + count) * row) }
    }

    /// Makes `axis` as long as `length`: cut off at its end, or filled up with the first element of `filler`. `None`
    /// when there is no such axis, or when the filler is of another type.
    #[must_use]
    pub fn with_length(&self, axis: usize, length: usize, filler: &Data) -> Option<Self> {
        let (outer, rest) = self.shape.dims().split_at_checked(axis)?;
        let (old, inner) = rest.split_first()?;
        let (outer, inner) = (outer.iter().product::<usize>(), inner.iter().product::<usize>());
        let mut shape = self.shape.clone();
        *shape.0.get_mut(axis)? = length;
        let more = filler.repeat_first(length.saturating_sub(*old).checked_mul(inner)?);
        let mut data = Data::with_capacity(self.data_type(), shape.elements()?);
        for first in (0..outer).map(|row| row * old * inner) {
            data.append(&self.data.slice(first..first + length.min(*old) * inner));
            if more.len() > 0 && !data.append(&more) {
                return None;
            }
        }
        Self::new(shape, data).ok()
    }

    /// The shape of tensors joined along axis 0. `None` when there is none, or when types or row dimensions differ.
    pub(crate) fn joined_shape(parts: &[&Self]) -> Option<Shape> {
        let first = parts.first()?;
        let fits = |part: &Self| part.data_type() == first.data_type() && part.shape.row() == first.shape.row();
        let rows = |part: &&Self| part.shape.rows().filter(|_| fits(part));
        let all = parts.iter().map(rows).try_fold(0_usize, |all, rows| all.checked_add(rows?));
        all.map(|rows| first.shape.with_rows(rows))
    }

    /// Joins tensors along axis 0. `None` when there is none, or when types or row dimensions differ.
    #[must_use]
    pub fn concat(parts: &[&Self]) -> Option<Self> {
        Self::concat_in(parts, None)
    }

    /// The same, in the memory of `spare` where that is large enough: what is large the system else maps anew each time, and
    /// makes its pages one by one, which takes longer than to copy the elements.
    #[must_use]
    pub fn concat_in(parts: &[&Self], spare: Option<Self>) -> Option<Self> {
        let shape = Self::joined_shape(parts)?;
        let (data_type, elements) = (parts.first()?.data_type(), parts.iter().map(|part| part.data.len()).sum());
        let mut data = match spare {
            Some(spare) => spare.data.emptied(data_type, elements),
            None => Data::with_capacity(data_type, elements),
        };
        for part in parts {
            data.append(&part.data);
        }
        Some(Self { shape, data })
    }
}

/// The number of elements is not the product of the dimensions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shape {shape} does not hold {elements} elements")]
pub struct ShapeMismatch {
    /// The dimensions asked for.
    pub shape: Shape,
    /// The elements given.
    pub elements: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_holds_what_its_shape_says() {
        assert!(Tensor::from_elements([2, 3], vec![0_f32; 6]).is_ok());
        assert!(Tensor::from_elements([2, 3], vec![0_f32; 5]).is_err());
        assert!(Tensor::from_elements([], vec![7_i64]).is_ok());
        assert!(Tensor::from_elements([0, usize::MAX, usize::MAX], Vec::<f32>::new()).is_ok());
        assert!(Tensor::from_elements([usize::MAX, 2], vec![0_u8]).is_err());
    }

    #[test]
    fn tensors_are_joined_in_memory_that_is_large_enough_and_for_such_elements() {
        let part = |elements: &[f32]| Tensor::from_elements([elements.len()], elements.to_vec()).unwrap();
        let (a, b) = (part(&[1.0, 2.0]), part(&[3.0]));
        let place = |tensor: &Tensor| tensor.elements::<f32>().unwrap().as_ptr();
        let spare = part(&[7.0; 5]);
        let before = place(&spare);
        let joined = Tensor::concat_in(&[&a, &b], Some(spare)).unwrap();
        assert_eq!((&joined, place(&joined)), (&part(&[1.0, 2.0, 3.0]), before));
        let other = Tensor::from_elements([4], vec![0_i64; 4]).unwrap();
        for spare in [part(&[7.0]), other] {
            assert_eq!(Tensor::concat_in(&[&a, &b], Some(spare)), Some(part(&[1.0, 2.0, 3.0])));
        }
    }

    #[test]
    fn rows_taken_out_of_a_concatenation_are_the_parts() {
        let a = Tensor::from_elements([1, 2], vec![1_i32, 2]).unwrap();
        let b = Tensor::from_elements([2, 2], vec![3_i32, 4, 5, 6]).unwrap();
        let both = Tensor::concat(&[&a, &b]).unwrap();
        assert_eq!(both.rows(0, 1), a);
        assert_eq!(both.rows(1, 2), b);
    }

    #[test]
    fn tensors_of_other_rows_or_types_are_not_joined() {
        let a = Tensor::from_elements([1, 2], vec![1_i32, 2]).unwrap();
        let wide = Tensor::from_elements([1, 3], vec![1_i32, 2, 3]).unwrap();
        let float = Tensor::from_elements([1, 2], vec![1_f32, 2.0]).unwrap();
        assert_eq!(Tensor::concat(&[&a, &wide]), None);
        assert_eq!(Tensor::concat(&[&a, &float]), None);
    }

    #[test]
    fn an_axis_is_filled_up_and_cut_back() {
        let short = Tensor::from_elements([2, 2, 1], vec![1_i32, 2, 3, 4]).unwrap();
        let filler = Data::Int32(vec![9].into());
        let long = short.with_length(1, 3, &filler).unwrap();
        assert_eq!(long, Tensor::from_elements([2, 3, 1], vec![1_i32, 2, 9, 3, 4, 9]).unwrap());
        assert_eq!(long.with_length(1, 2, &filler).unwrap(), short);
        assert_eq!(short.with_length(3, 1, &filler), None);
        assert_eq!(short.with_length(1, 3, &Data::Fp32(vec![0.0].into())), None);
    }

    #[test]
    fn empty_rows_can_be_joined_and_taken() {
        let none = Tensor::from_elements([0, 2], Vec::<f32>::new()).unwrap();
        let one = Tensor::from_elements([1, 2], vec![1_f32, 2.0]).unwrap();
        let joined = Tensor::concat(&[&none, &one]).unwrap();
        assert_eq!(joined.rows(0, 0), none);
        assert_eq!(joined.rows(0, 1), one);
    }
}
