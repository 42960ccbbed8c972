//! The fields that every connection knows: RFC 7541, appendix A.

/// The name and the value of each; the first one's index is 1.
pub(super) static FIELDS: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

/// The index of the first field of each name by the name's [`place`]; 0 where there is none.
static PLACES: [u8; 128] = places();

#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "nothing is left of it but its value")]
const fn places() -> [u8; 128] {
    let mut places = [0; 128];
    let mut at = FIELDS.len();
    while at > 0 {
        at -= 1;
        let place = place(FIELDS[at].0.as_bytes());
        places[place] = at as u8 + 1;
    }
    places
}

/// A number below 128 that no two of the names share: the factors were found by trying.
#[inline]
const fn place(name: &[u8]) -> usize {
    match name {
        [first, .., last] => {
            let ends = *first as usize * 18 + *last as usize * 47;
            name.len().wrapping_mul(62).wrapping_add(ends) % 256 / 2
        }
        _ => 0,
    }
}

/// The index of the first field with this name.
#[inline]
pub(super) fn find(name: &[u8]) -> Option<usize> {
    let index = usize::from(*PLACES.get(place(name))?);
    (field(index)?.0.as_bytes() == name).then_some(index)
}

/// The index of the field with this value, among those that share the name of the one at `first`.
#[inline]
pub(super) fn find_value(first: usize, value: &[u8]) -> Option<usize> {
    let fields = FIELDS.get(first.checked_sub(1)?..)?;
    let name = fields.first()?.0;
    let mut alike = fields.iter().take_while(|(other, _)| *other == name);
    alike.position(|(_, known)| known.as_bytes() == value).map(|after| first + after)
}

/// The field at `index`.
#[inline]
pub(super) fn field(index: usize) -> Option<&'static (&'static str, &'static str)> {
    FIELDS.get(index.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_found_by_its_name_and_its_value() {
        for (at, (name, value)) in FIELDS.iter().enumerate() {
            let first = FIELDS.iter().position(|(other, _)| other == name).unwrap() + 1;
            assert_eq!(find(name.as_bytes()), Some(first), "{name}");
            assert_eq!(find_value(first, value.as_bytes()), Some(at + 1), "{name}: {value}");
        }
        assert_eq!((find_value(8, b"201"), find_value(8, b"")), (None, None));
    }

    #[test]
    fn other_names_are_not_found() {
        for name in ["", "x", "grpc-status", ":statuz", "content-typ", "Date", "dote"] {
            assert_eq!(find(name.as_bytes()), None, "{name}");
        }
    }
}
