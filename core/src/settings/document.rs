//! TOML documents, read into types.
//!
//! `toml` parses them. It could fill types, too, but offers each of them what it reads in four forms, and all four are compiled
//! for each: that was a twentieth of the device's program. Here a table is a map, an array a sequence, and nothing else.

use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue};

/// What is wrong in a document, and where: the line, and the key. The line itself is not shown: it may hold a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct InvalidDocument {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong in it.
    pub message: String,
}

/// Reads a document into a `T`.
///
/// Fails for what is no TOML or no `T`. There are no dates, and enums are the names of their variants.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, InvalidDocument> {
    let read = |text| {
        let table = DeTable::parse(text).map_err(|error| {
            let at = error.span().map(|span| span.start);
            Wrong(Box::new(Fault { at, named: true, message: error.message().to_owned() }))
        })?;
        T::deserialize(Node { at: 0, value: DeValue::Table(table.into_inner()) })
    };
    read(text).map_err(|Wrong(fault): Wrong| {
        let before = text.get(..fault.at.unwrap_or(0)).unwrap_or_default();
        InvalidDocument { line: before.matches('\n').count() + 1, message: fault.message }
    })
}

/// What is wrong: small, since what may give it is compiled for each type.
#[derive(Debug)]
struct Wrong(Box<Fault>);

#[derive(Debug)]
struct Fault {
    /// Where it begins, in bytes.
    at: Option<usize>,
    /// Whether the message names the key that it is about.
    named: bool,
    message: String,
}

impl Wrong {
    /// The same, at that place if it has none yet.
    #[cold]
    fn at(mut self, at: usize) -> Self {
        self.0.at.get_or_insert(at);
        self
    }

    /// The same, about that key if it names none yet.
    #[cold]
    fn about(mut self, key: &str) -> Self {
        if !self.0.named {
            self.0.message = format!("`{key}`: {}", self.0.message);
        }
        self.named()
    }

    /// The same, which names the key by itself.
    fn named(mut self) -> Self {
        self.0.named = true;
        self
    }
}

impl Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: Display>(message: T) -> Self {
        Self(Box::new(Fault { at: None, named: false, message: message.to_string() }))
    }
}

/// A value, and where it begins.
struct Node<'de> {
    at: usize,
    value: DeValue<'de>,
}

impl<'de> From<Spanned<DeValue<'de>>> for Node<'de> {
    fn from(value: Spanned<DeValue<'de>>) -> Self {
        Self { at: value.span().start, value: value.into_inner() }
    }
}

impl Node<'_> {
    /// Says that it is not what was expected.
    fn unlike(&self, expected: &dyn Expected) -> Wrong {
        let found = match &self.value {
            // It may be a secret.
            DeValue::String(_) => Unexpected::Other("string"),
            DeValue::Integer(number) => {
                whole(number).map_or(Unexpected::Other("integer out of range"), Unexpected::Signed)
            }
            DeValue::Float(number) => Unexpected::Float(number.as_str().parse().unwrap_or(f64::NAN)),
            DeValue::Boolean(value) => Unexpected::Bool(*value),
            DeValue::Datetime(_) => Unexpected::Other("date"),
            DeValue::Array(_) => Unexpected::Seq,
            DeValue::Table(_) => Unexpected::Map,
        };
        <Wrong as de::Error>::invalid_type(found, expected).at(self.at)
    }
}

fn whole(number: &toml::de::DeInteger<'_>) -> Option<i64> {
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Methods that do what another does.
macro_rules! alike {
    ($other:ident: $($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
            self.$other(visitor)
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.value {
            DeValue::String(_) => self.deserialize_str(visitor),
            DeValue::Integer(_) | DeValue::Float(_) => self.deserialize_f64(visitor),
            DeValue::Boolean(_) => self.deserialize_bool(visitor),
            DeValue::Datetime(_) => Err(self.unlike(&visitor)),
            DeValue::Array(_) => self.deserialize_seq(visitor),
            DeValue::Table(_) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match &self.value {
            DeValue::String(text) => visitor.visit_str(text).map_err(|wrong: Wrong| wrong.at(self.at)),
            _ => Err(self.unlike(&visitor)),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let number = match &self.value {
            DeValue::Integer(number) => whole(number),
            _ => None,
        };
        match number {
            Some(number) => visitor.visit_i64(number).map_err(|wrong: Wrong| wrong.at(self.at)),
            None => Err(self.unlike(&visitor)),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let number = match &self.value {
            // What is too large would be read as infinite.
            DeValue::Float(text) => {
                let named = text.as_str().ends_with("inf") || text.as_str().ends_with("nan");
                text.as_str().parse().ok().filter(|number: &f64| named || number.is_finite())
            }
            _ => None,
        };
        match number {
            Some(number) => visitor.visit_f64(number).map_err(|wrong: Wrong| wrong.at(self.at)),
            None => self.deserialize_i64(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.value {
            DeValue::Boolean(value) => visitor.visit_bool(value).map_err(|wrong: Wrong| wrong.at(self.at)),
            _ => Err(self.unlike(&visitor)),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let at = self.at;
        match self.value {
            DeValue::Array(items) => {
                let mut items = Items(items.into_iter());
                let read = visitor.visit_seq(&mut items).map_err(|wrong| wrong.at(at))?;
                match items.0.next() {
                    None => Ok(read),
                    Some(item) => {
                        Err(<Wrong as de::Error>::custom("more elements than expected").at(item.span().start))
                    }
                }
            }
            value => Err(Self { at, value }.unlike(&visitor)),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        let at = self.at;
        match self.value {
            DeValue::Table(members) => {
                let members = Members { rest: members.into_iter(), member: None };
                visitor.visit_map(members).map_err(|wrong| wrong.at(at))
            }
            value => Err(Self { at, value }.unlike(&visitor)),
        }
    }

    alike! { deserialize_str: deserialize_string }
    alike! { deserialize_f64: deserialize_f32 }
    alike! { deserialize_i64:
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    /// What is there is something: what is nothing is left out.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Wrong> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match &self.value {
            DeValue::String(name) => {
                let name: StrDeserializer<'_, Wrong> = (**name).into_deserializer();
                visitor.visit_enum(name).map_err(|wrong| wrong.at(self.at))
            }
            _ => Err(self.unlike(&visitor)),
        }
    }

    forward_to_deserialize_any! { char bytes byte_buf unit unit_struct tuple_struct identifier ignored_any }
}

/// What an array holds.
struct Items<'de>(<DeArray<'de> as IntoIterator>::IntoIter);

impl<'de> SeqAccess<'de> for &mut Items<'de> {
    type Error = Wrong;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        self.0.next().map(|item| seed.deserialize(Node::from(item))).transpose()
    }
}

/// What a table holds, and the key before with its value.
struct Members<'de> {
    rest: <DeTable<'de> as IntoIterator>::IntoIter,
    member: Option<(Spanned<DeString<'de>>, Node<'de>)>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Wrong;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Wrong> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        let name: StrDeserializer<'_, Wrong> = (**key.get_ref()).into_deserializer();
        let read = seed.deserialize(name).map(Some);
        let read = read.map_err(|wrong| wrong.at(key.span().start).named());
        self.member = Some((key, value.into()));
        read
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Wrong> {
        let (key, value) = self.member.take().ok_or_else(|| <Wrong as de::Error>::custom("a key has no value"))?;
        seed.deserialize(value).map_err(|wrong| wrong.about(key.get_ref()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Color {
        Red,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        pair: [f32; 2],
        color: Color,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        name: String,
        small: Option<u8>,
        on: bool,
        inner: Vec<Inner>,
        any: BTreeMap<String, toml::Value>,
    }

    const WHOLE: &str = "name = \"a\\nb\"\nsmall = 0xff\non = true\nany = { x = [1, 2.5, \"y\"], \"z z\" = false }\n\
                         [[inner]]\npair = [1, 2.5]\ncolor = \"red\"\n";

    #[test]
    fn every_kind_of_value_is_read() {
        let found: Outer = parse(WHOLE).unwrap();
        assert_eq!((found.name.as_str(), found.small, found.on), ("a\nb", Some(255), true));
        assert_eq!(found.inner, [Inner { pair: [1.0, 2.5], color: Color::Red }]);
        let list = ["1", "2.5", "\"y\""].map(|text| text.parse::<toml::Value>().unwrap());
        assert_eq!(found.any["x"], toml::Value::Array(list.into()));
        assert_eq!(found.any["z z"], toml::Value::Boolean(false));
        assert_eq!(parse::<Outer>(WHOLE), toml::from_str(WHOLE).map_err(|_| unreachable!()));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (from, to, said) in [
            ("small = 0xff", "small = 256", "line 2: `small`: invalid value: integer `256`, expected u8"),
            (
                "small = 0xff",
                "small = 99999999999999999999",
                "line 2: `small`: invalid type: integer out of range, expected u8",
            ),
            ("small = 0xff", "small = \"x\"", "line 2: `small`: invalid type: string, expected u8"),
            ("small = 0xff", "small = ", "line 2: "),
            ("on = true", "on = 2020-01-01", "line 3: `on`: invalid type: date, expected a boolean"),
            ("on = true", "off = true", "line 3: unknown field `off`, expected one of `name`"),
            ("on = true\n", "", "line 1: missing field `on`"),
            ("any = {", "any = 1 #", "line 4: `any`: invalid type: integer `1`, expected a map"),
            ("pair = [1, 2.5]", "pair = [1]", "line 6: `pair`: invalid length 1, expected an array of length 2"),
            ("pair = [1, 2.5]", "pair = [1,\n2, 3]", "line 7: `pair`: more elements than expected"),
            ("pair = [1, 2.5]", "pair = [1, 1e999]", "line 6: `pair`: invalid type: floating point"),
            ("pair = [1, 2.5]", "pair = [1,\n[]]", "line 7: `pair`: invalid type: sequence, expected f32"),
            ("color = \"red\"", "color = \"blue\"", "line 7: `color`: unknown variant `blue`, expected `red`"),
            ("color = \"red\"", "color = {}", "line 7: `color`: invalid type: map, expected enum Color"),
            ("color = \"red\"\n", "", "line 5: `inner`: missing field `color`"),
        ] {
            let error = parse::<Outer>(&WHOLE.replace(from, to)).unwrap_err().to_string();
            assert!(error.starts_with(said), "{to}: {error}");
        }
    }
}
