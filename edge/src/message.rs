//! A message as it lies in the queue.

/// What came, or what is to be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// What it came by, or is to go to: an input, an output or a topic.
    pub place: String,
    /// What is said about it, as names and values.
    pub properties: Vec<(String, String)>,
    /// What it says.
    pub body: Vec<u8>,
}

/// The form on disk; another one gets another number.
const FORM: u8 = 1;

impl Message {
    /// The value of a property.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Writes it down: the form, the number of texts (two bytes), each text with its length before it (four bytes), and the
    /// body up to the end. `None` where it has more properties than can be counted.
    #[must_use]
    pub fn encode(&self) -> Option<Vec<u8>> {
        let texts = self.properties.iter().flat_map(|(name, value)| [name, value]);
        let texts: Vec<_> = std::iter::once(&self.place).chain(texts).collect();
        let size: usize = texts.iter().map(|text| text.len() + 4).sum();
        let mut out = Vec::with_capacity(3 + size + self.body.len());
        out.push(FORM);
        out.extend_from_slice(&u16::try_from(texts.len()).ok()?.to_le_bytes());
        for text in texts {
            out.extend_from_slice(&u32::try_from(text.len()).ok()?.to_le_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&self.body);
        Some(out)
    }

    /// Reads what was written down. `None` where it is of another form.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (form, rest) = bytes.split_first()?;
        let (count, mut rest) = rest.split_first_chunk::<2>()?;
        if *form != FORM {
            return None;
        }
        let mut texts = Vec::new();
        for _ in 0..u16::from_le_bytes(*count) {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (text, behind) = behind.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            texts.push(std::str::from_utf8(text).ok()?.to_owned());
            rest = behind;
        }
        let mut texts = texts.into_iter();
        let place = texts.next()?;
        let mut properties = Vec::new();
        while let Some(name) = texts.next() {
            properties.push((name, texts.next()?));
        }
        Some(Self { place, properties, body: rest.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_message_is_read_as_it_was_written(
            place in ".*",
            properties in prop::collection::vec((".*", ".*"), 0..5),
            body in prop::collection::vec(any::<u8>(), 0..100),
            cut in 0_usize..100,
        ) {
            let message = Message { place, properties, body };
            let bytes = message.encode().unwrap();
            let _ = Message::decode(&bytes[..cut.min(bytes.len())]);
            prop_assert_eq!(Message::decode(&bytes), Some(message));
        }

        #[test]
        fn any_bytes_are_a_message_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Message::decode(&bytes);
        }
    }
}
