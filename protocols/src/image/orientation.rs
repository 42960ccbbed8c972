//! How a camera was held. Source: EXIF 2.3, the tag `Orientation`.

/// Which way up an image is: EXIF's 1 to 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Orientation(u8);

impl Default for Orientation {
    fn default() -> Self {
        Self(1)
    }
}

/// `Orientation`, and the type of its value.
const TAG: u16 = 0x0112;
const SHORT: u16 = 3;

impl Orientation {
    /// Reads it from EXIF's TIFF structure. What is not there, or wrong, is the right way up.
    pub(super) fn of_exif(exif: &[u8]) -> Self {
        Self::find(exif).unwrap_or_default()
    }

    fn find(exif: &[u8]) -> Option<Self> {
        let little = match exif.get(..4)? {
            b"II*\0" => true,
            b"MM\0*" => false,
            _ => return None,
        };
        let short = |at: usize| {
            let bytes = *exif.get(at..)?.first_chunk()?;
            Some(if little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
        };
        let bytes = *exif.get(4..)?.first_chunk()?;
        let offset = if little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) };
        let directory = usize::try_from(offset).ok()?;
        // Twelve bytes each: tag, type, count, value.
        let mut entries = (0..usize::from(short(directory)?)).map(|entry| directory.saturating_add(2 + 12 * entry));
        let entry = entries.find(|entry| short(*entry) == Some(TAG))?;
        let value = short(entry.checked_add(8)?).filter(|_| short(entry + 2) == Some(SHORT))?;
        u8::try_from(value).ok().filter(|value| (1..=8).contains(value)).map(Self)
    }

    /// Whether the image lies on its side.
    pub(super) const fn turns(self) -> bool {
        self.0 >= 5
    }

    /// Where the pixel stands in the file that is at `(x, y)` of the image the right way up, which has that width and height.
    pub(super) const fn source(self, (x, y): (usize, usize), (width, height): (usize, usize)) -> (usize, usize) {
        let (right, down) = (width - 1 - x, height - 1 - y);
        match self.0 {
            2 => (right, y),
            3 => (right, down),
            4 => (x, down),
            5 => (y, x),
            6 => (y, right),
            7 => (down, right),
            8 => (down, x),
            _ => (x, y),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A directory of one entry, the one that says it.
    fn exif(order: &[u8; 2], value: u16) -> Vec<u8> {
        let little = order == b"II";
        let two = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let four = |number: u32| if little { number.to_le_bytes() } else { number.to_be_bytes() };
        let mut out = order.to_vec();
        out.extend(two(42));
        out.extend(four(8));
        for number in [1, TAG, SHORT] {
            out.extend(two(number));
        }
        out.extend(four(1));
        out.extend(two(value));
        out
    }

    #[test]
    fn it_is_read_in_either_order_of_bytes_and_else_is_the_right_way_up() {
        assert_eq!(Orientation::of_exif(&exif(b"II", 6)), Orientation(6));
        assert_eq!(Orientation::of_exif(&exif(b"MM", 3)), Orientation(3));
        for wrong in [exif(b"II", 0), exif(b"II", 9), exif(b"XX", 6), exif(b"MM", 6)[..15].to_vec(), vec![]] {
            assert_eq!(Orientation::of_exif(&wrong), Orientation::default());
        }
    }

    #[test]
    fn every_pixel_of_the_file_is_shown_once() {
        for orientation in (1..=8).map(Orientation) {
            let (width, height) = if orientation.turns() { (2, 3) } else { (3, 2) };
            let all = (0..height).flat_map(|y| (0..width).map(move |x| (x, y)));
            let mut shown: Vec<_> = all.map(|at| orientation.source(at, (width, height))).collect();
            shown.sort_unstable();
            assert_eq!(shown, [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)], "{orientation:?}");
        }
        // A camera turned to the right: what it saw at the top left is shown at the top right.
        assert_eq!(Orientation(6).source((1, 0), (2, 3)), (0, 0));
    }
}
