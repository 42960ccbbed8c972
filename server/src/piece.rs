use bytes::{Buf, BufMut, BytesMut};

/// Where numbers of any type may lie; a line of the processor's cache begins there.
const ALIGNMENT: usize = 64;

/// A piece of what comes of a body, to be put together.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Piece {
    /// How many bytes it has.
    pub(crate) whole: usize,
    /// Which of them a tensor begins with, as far as that is known. It lies so that the tensor need not be copied.
    pub(crate) tensor: usize,
}

impl Piece {
    /// The same with at least so many bytes.
    pub(crate) fn at_least(self, bytes: usize) -> Self {
        Self { whole: self.whole.max(bytes), ..self }
    }

    /// Memory for it. Pages that no byte reaches cost nothing.
    pub(crate) fn memory(self) -> BytesMut {
        let mut memory = BytesMut::with_capacity(self.whole.saturating_add(ALIGNMENT));
        let unused = memory.as_ptr().wrapping_add(self.tensor).align_offset(ALIGNMENT) % ALIGNMENT;
        memory.put_bytes(0, unused);
        memory.advance(unused);
        memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_lies_where_it_need_not_be_copied() {
        for tensor in [0, 1, 77, 4095] {
            let mut memory = Piece { whole: 100, tensor }.at_least(5000).memory();
            let place = memory.as_ptr();
            memory.put_bytes(1, 5000);
            assert_eq!(memory.as_ptr(), place, "there was room for all");
            assert!(memory[tensor..].as_ptr().addr().is_multiple_of(ALIGNMENT));
            assert_eq!(memory.freeze()[tensor..].as_ptr(), place.wrapping_add(tensor));
        }
    }
}
