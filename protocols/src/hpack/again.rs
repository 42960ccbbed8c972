//! Fields that come again as they were, though their sender does not keep them in the table: paths, for many.

/// So many are known,
const KNOWN: usize = 2;
/// and of none more than so many bytes.
const LONGEST: usize = 256;

/// The last fields that came as literals, with names of the static table.
#[derive(Debug)]
pub(super) struct Again<F> {
    known: [Option<Known<F>>; KNOWN],
    /// The one that is forgotten next.
    next: usize,
}

#[derive(Debug)]
struct Known<F> {
    /// Of the name.
    index: usize,
    /// The value as it stands in a block.
    coded: Box<[u8]>,
    field: F,
    size: usize,
}

impl<F: Clone> Again<F> {
    pub(super) const fn new() -> Self {
        Self { known: [const { None }; KNOWN], next: 0 }
    }

    /// Takes a field from the beginning of `rest`, if it is known; with its size.
    pub(super) fn find(&self, index: usize, rest: &mut &[u8]) -> Option<(F, usize)> {
        let mut all = self.known.iter().flatten().filter(|known| known.index == index);
        let (known, after) = all.find_map(|known| Some((known, rest.strip_prefix(&*known.coded)?)))?;
        *rest = after;
        Some((known.field.clone(), known.size))
    }

    /// Notes a field that came.
    pub(super) fn note(&mut self, index: usize, coded: &[u8], field: &F, size: usize) {
        if coded.len() > LONGEST {
            return;
        }
        if let Some(place) = self.known.get_mut(self.next) {
            *place = Some(Known { index, coded: coded.into(), field: field.clone(), size });
        }
        self.next = (self.next + 1) % KNOWN;
    }
}
