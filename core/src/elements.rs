use std::fmt;
use std::ops::Deref;

use bytes::Bytes;

use crate::Element;

/// The elements of a tensor: of its own, or part of the message that brought them, which nobody copies then.
#[derive(Clone)]
pub struct Elements<T> {
    own: Vec<T>,
    /// Little-endian, and aligned for `T`; where it is empty, they are its own.
    lent: Bytes,
}

impl<T: Element> Elements<T> {
    /// Keeps `bytes`, which are elements one behind the other, little-endian. Gives them back where they do not lie as
    /// elements of this type have to: then they have to be copied.
    pub fn lent(bytes: Bytes) -> Result<Self, Bytes> {
        if T::view(&bytes).is_some() { Ok(Self { own: Vec::new(), lent: bytes }) } else { Err(bytes) }
    }

    /// The elements to be changed, which are copied first where they are part of a message.
    pub fn to_mut(&mut self) -> &mut Vec<T> {
        if !self.lent.is_empty() {
            *self = self.to_vec().into();
        }
        &mut self.own
    }

    /// No elements, in the memory that they had of their own, if it has room for so many, and not for far more.
    #[must_use]
    pub fn emptied(mut self, capacity: usize) -> Self {
        if !(capacity..=capacity.saturating_mul(8)).contains(&self.own.capacity()) {
            return Vec::with_capacity(capacity).into();
        }
        self.own.clear();
        self.own.into()
    }

    /// For how many elements there is memory of their own.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.own.capacity()
    }
}

impl<T: Element> Deref for Elements<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // What gives no view was not taken.
        if self.lent.is_empty() { &self.own } else { T::view(&self.lent).unwrap_or_default() }
    }
}

impl<T> From<Vec<T>> for Elements<T> {
    fn from(elements: Vec<T>) -> Self {
        Self { own: elements, lent: Bytes::new() }
    }
}

impl<T> FromIterator<T> for Elements<T> {
    fn from_iter<I: IntoIterator<Item = T>>(elements: I) -> Self {
        Vec::from_iter(elements).into()
    }
}

impl<'a, T: Element> IntoIterator for &'a Elements<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Element + PartialEq> PartialEq for Elements<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Element + fmt::Debug> fmt::Debug for Elements<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// These numbers as bytes, `shift` bytes away from where a number may lie.
    fn message(numbers: &[f32], shift: usize) -> Bytes {
        let mut whole = vec![0; 4 * numbers.len() + 8];
        let first = whole.as_ptr().align_offset(4) + shift;
        let end = first + 4 * numbers.len();
        whole[first..end].copy_from_slice(&numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>());
        Bytes::from(whole).slice(first..end)
    }

    #[test]
    fn numbers_that_lie_as_they_have_to_are_not_copied() {
        let bytes = message(&[1.0, -2.5], 0);
        let place = bytes.as_ptr();
        let mut elements = Elements::<f32>::lent(bytes).unwrap();
        assert_eq!((&*elements, elements.as_ptr().cast(), elements.capacity()), (&[1.0, -2.5][..], place, 0));
        assert_eq!(elements, vec![1.0, -2.5].into());
        let other = elements.clone();
        elements.to_mut().push(7.0);
        assert_eq!((&*elements, &*other), (&[1.0, -2.5, 7.0][..], &[1.0, -2.5][..]));
    }

    #[test]
    fn what_does_not_lie_so_is_given_back() {
        let bytes = message(&[1.0, -2.5], 1);
        assert_eq!(Elements::<f32>::lent(bytes.clone()).unwrap_err(), bytes);
        assert!(Elements::<f32>::lent(message(&[1.0], 0).slice(..3)).is_err(), "no whole number of elements");
        assert!(Elements::<bool>::lent(Bytes::from_static(&[2])).is_err(), "not each byte is one");
        assert!(Elements::<Vec<u8>>::lent(Bytes::from_static(&[0; 48])).is_err());
    }
}
