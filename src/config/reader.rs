//! Reads the structs of the floors out of a tree, and says where in the tree it failed.
//!
//! A deserializer of our own, because none that exists tells an unknown key from a wrong value without looking at the words of a
//! message, and because text from variables and flags is to be read as whatever type is wanted: that is known only here.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

use super::tree::{Node, Step, Value};

/// What was wrong, and where.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ReadError {
    /// From the root; collected on the way out, innermost step first.
    steps: Vec<Step>,
    pub(super) wrong: Wrong,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wrong {
    /// The last step of the path is a key that nobody knows.
    UnknownKey { known: &'static [&'static str] },
    /// The table lacks a key.
    MissingKey { key: &'static str },
    /// The value is a word, and not one of these.
    UnknownWord { words: &'static [&'static str] },
    /// The value is of another type or out of range; what serde expected.
    Mismatch { expected: String },
    /// What the type itself says.
    Refused { message: String },
}

impl ReadError {
    const fn new(wrong: Wrong) -> Self {
        Self { steps: Vec::new(), wrong }
    }

    fn below(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The path from the root.
    pub(super) fn path(&self) -> Vec<Step> {
        self.steps.iter().rev().cloned().collect()
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.wrong)
    }
}

impl std::error::Error for ReadError {}

impl serde::de::Error for ReadError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Wrong::Refused { message: message.to_string() })
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::new(Wrong::Mismatch { expected: expected.to_string() })
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn serde::de::Expected) -> Self {
        Self::new(Wrong::Mismatch { expected: expected.to_string() })
    }

    fn unknown_variant(_: &str, words: &'static [&'static str]) -> Self {
        Self::new(Wrong::UnknownWord { words })
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::new(Wrong::UnknownKey { known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Wrong::MissingKey { key })
    }
}

/// Reads a `T` out of a tree.
pub(super) fn read<'de, T: serde::Deserialize<'de>>(node: &'de Node) -> Result<T, ReadError> {
    T::deserialize(Reader(&node.value))
}

#[derive(Clone, Copy)]
struct Reader<'de>(&'de Value);

/// Text is read as the number or truth value that is wanted; what cannot be read so is left to the visitor to refuse.
macro_rules! from_text {
    ($($method:ident $visit:ident $type:ty,)+) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
            match self.0 {
                Value::Untyped(text) => match text.trim().parse::<$type>() {
                    Ok(value) => visitor.$visit(value),
                    Err(_) => Err(ReadError::invalid_type(Unexpected::Str(text), &stringify!($type))),
                },
                _ => self.deserialize_any(visitor),
            }
        }
    )+};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = ReadError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Boolean(value) => visitor.visit_bool(*value),
            Value::Integer(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) | Value::Untyped(text) => visitor.visit_str(text),
            Value::Date(_) => Err(ReadError::invalid_type(Unexpected::Other("a date"), &visitor)),
            Value::List(items) => visitor.visit_seq(Items { items: items.iter().enumerate() }),
            Value::Table(entries) => visitor.visit_map(Entries { entries: entries.iter(), next: None }),
        }
    }

    from_text! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    /// What is written is there; TOML has no null.
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        match self.0 {
            Value::Text(text) | Value::Untyped(text) => visitor.visit_enum(StrDeserializer::<ReadError>::new(text)),
            _ => Err(ReadError::new(Wrong::UnknownWord { words })),
        }
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The elements of a list.
struct Items<'de> {
    items: std::iter::Enumerate<std::slice::Iter<'de, Node>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        let Some((index, item)) = self.items.next() else { return Ok(None) };
        seed.deserialize(Reader(&item.value)).map(Some).map_err(|error| error.below(Step::Index(index)))
    }
}

/// The entries of a table.
struct Entries<'de> {
    entries: std::collections::btree_map::Iter<'de, String, Node>,
    next: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ReadError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, ReadError> {
        let Some((key, node)) = self.entries.next() else { return Ok(None) };
        self.next = Some((key, node));
        let reader = StrDeserializer::<ReadError>::new(key);
        seed.deserialize(reader).map(Some).map_err(|error| error.below(Step::Key(key.clone())))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        let Some((key, node)) = self.next.take() else {
            return Err(ReadError::custom("a value was asked for before its key"));
        };
        seed.deserialize(Reader(&node.value)).map_err(|error| error.below(Step::Key(key.to_owned())))
    }
}

#[cfg(test)]
mod tests {
    use super::super::origin::Origin;
    use super::super::root::Config;
    use super::*;

    fn tree(key: &str, value: Value) -> Node {
        let mut root = Node::empty();
        root.set(key, Node { origin: Origin::Default, value });
        root
    }

    fn untyped(key: &str, text: &str) -> Result<Config, ReadError> {
        read(&tree(key, Value::Untyped(text.into())))
    }

    #[test]
    fn text_without_type_is_read_as_what_is_wanted() {
        assert_eq!(untyped("workers", "3").unwrap().workers, 3);
        assert_eq!(untyped("front.listen", "127.0.0.1:1").unwrap().front.listen.port(), 1);
        assert!(!untyped("telemetry.native_histograms", "false").unwrap().telemetry.native_histograms);
        assert_eq!(untyped("placement.placer", "naive").unwrap().placement.placer, crate::placement::PlacerChoice::Naive);
        assert_eq!(untyped("pool.idle_timeout", "3s").unwrap().pool.idle_timeout, Some(std::time::Duration::from_secs(3)));
        assert_eq!(untyped("telemetry.sample_ratio", "0.5").unwrap().telemetry.sample_ratio, 0.5);
    }

    #[test]
    fn an_error_knows_its_place_and_its_kind() {
        let error = untyped("workers", "many").unwrap_err();
        assert_eq!(error.path(), [Step::Key("workers".into())]);
        assert_eq!(error.wrong, Wrong::Mismatch { expected: "u16".into() });

        let error = read::<Config>(&tree("front.limits.max_header", Value::Integer(1))).unwrap_err();
        let path: Vec<Step> = ["front", "limits", "max_header"].map(|key| Step::Key(key.into())).into();
        assert_eq!(error.path(), path);
        assert!(matches!(error.wrong, Wrong::UnknownKey { known } if known.contains(&"max_headers")));

        let error = read::<Config>(&tree("placement.placer", Value::Text("fastest".into()))).unwrap_err();
        assert!(matches!(error.wrong, Wrong::UnknownWord { words } if words.contains(&"naive")));
    }

    #[test]
    fn text_in_the_file_is_no_number() {
        assert!(read::<Config>(&tree("workers", Value::Text("3".into()))).is_err());
    }
}
