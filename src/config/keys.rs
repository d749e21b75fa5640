//! Which keys there are: asked of the types themselves, so that no list of them has to be kept.
//!
//! A [`Probe`] is a deserializer that leads a type along one path and looks at what it asks for there: a struct tells its fields,
//! anything else is a value. It then stops the reading with an error, since it has nothing to give.

use std::cell::RefCell;
use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize as _;
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::root::Config;

/// A key that has a value, and can be set by a variable or a flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// The dotted path: `front.limits.max_headers`.
    pub(super) path: String,
    pub(super) shape: Shape,
}

/// What is at a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    One,
    List,
}

impl Key {
    /// The environment variable that sets it: `RUNPOOL_FRONT_LIMITS_MAX_HEADERS`.
    pub(super) fn variable(&self) -> String {
        format!("RUNPOOL_{}", self.path.replace('.', "_").to_ascii_uppercase())
    }
}

/// Every key, in the order of the structs' fields. Lists of tables (`[[function]]`, `[[route]]`) are not among them.
pub(super) fn all() -> &'static [Key] {
    static KEYS: OnceLock<Vec<Key>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut keys = Vec::new();
        collect(&mut Vec::new(), &mut keys);
        keys
    })
}

fn collect(path: &mut Vec<&'static str>, keys: &mut Vec<Key>) {
    match probe(path) {
        Found::Struct(fields) => {
            for field in fields {
                path.push(field);
                collect(path, keys);
                path.pop();
            }
        }
        Found::One => keys.push(Key { path: path.join("."), shape: Shape::One }),
        Found::List => keys.push(Key { path: path.join("."), shape: Shape::List }),
        Found::ListOfStructs => {}
    }
}

/// What a type asks for at the end of a path.
#[derive(Clone, Copy, Debug)]
enum Found {
    Struct(&'static [&'static str]),
    One,
    List,
    ListOfStructs,
}

fn probe(path: &[&'static str]) -> Found {
    let found = RefCell::new(Found::One);
    // The probe always stops the reading; what matters is what it found before.
    let _ = Config::deserialize(Probe { path, found: &found });
    found.into_inner()
}

#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [&'static str],
    found: &'a RefCell<Found>,
}

/// The probe has seen what it wanted.
#[derive(Debug)]
struct Stop;

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the probe stopped")
    }
}

impl std::error::Error for Stop {}

impl serde::de::Error for Stop {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Stop;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
        Err(Stop)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if self.path.is_empty() {
            self.found.replace(Found::List);
            visitor.visit_seq(self)
        } else {
            Err(Stop)
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        if !self.path.is_empty() {
            return visitor.visit_map(self);
        }
        self.found.replace_with(|found| match found {
            Found::List => Found::ListOfStructs,
            _ => Found::Struct(fields),
        });
        Err(Stop)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map enum identifier ignored_any
    }
}

/// A table with one entry: the next step of the path.
impl<'de> MapAccess<'de> for Probe<'_> {
    type Error = Stop;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Stop> {
        let Some((first, rest)) = self.path.split_first() else { return Err(Stop) };
        self.path = rest;
        seed.deserialize(StrDeserializer::<Stop>::new(first)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(*self)
    }
}

/// A list, of whose first element the type is asked.
impl<'de> SeqAccess<'de> for Probe<'_> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        seed.deserialize(*self).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(path: &str) -> Option<Shape> {
        all().iter().find(|key| key.path == path).map(|key| key.shape)
    }

    #[test]
    fn keys_of_every_kind_are_found() {
        for path in
            ["workers", "front.listen", "front.expose", "front.limits.max_headers", "pool.idle_timeout", "telemetry.log_filter"]
        {
            assert_eq!(shape(path), Some(Shape::One), "{path}");
        }
        for path in ["pool.runners", "telemetry.buckets", "telemetry.labels", "pool.refusal_statuses"] {
            assert_eq!(shape(path), Some(Shape::List), "{path}");
        }
        assert_eq!(shape("function"), None);
        assert_eq!(shape("front"), None);
    }

    /// A struct that hides its fields from the probe (`#[serde(flatten)]`) would fail here.
    #[test]
    fn every_value_of_the_defaults_has_a_key() {
        fn leaves(path: &str, value: &serde_json::Value, found: &mut Vec<String>) {
            match value.as_object() {
                Some(entries) => {
                    for (key, value) in entries {
                        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                        leaves(&path, value, found);
                    }
                }
                None => found.push(path.to_owned()),
            }
        }
        let mut found = Vec::new();
        leaves("", &serde_json::to_value(Config::default()).unwrap(), &mut found);
        assert!(found.len() > 40);
        for path in found {
            assert!(shape(&path).is_some(), "{path} cannot be set by a variable");
        }
    }

    #[test]
    fn no_two_keys_share_a_variable() {
        let mut variables: Vec<String> = all().iter().map(Key::variable).collect();
        variables.sort();
        let count = variables.len();
        variables.dedup();
        assert_eq!(variables.len(), count);
        assert!(variables.contains(&"RUNPOOL_FRONT_LIMITS_MAX_HEADERS".to_owned()));
    }
}
