//! One runner as a source lists it: an address, or a table with what else is to be known.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::member::{DEFAULT_WEIGHT, Terms};
use crate::model::InvalidValue;
use crate::runner::http::RunnerAddress;

/// One listed runner. In a configuration or file it is `"10.0.0.7:9001"`, or `{ address = "10.0.0.7:9001", weight = 50, labels = { zone = "a" } }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnerEntry {
    /// `host:port`. A name is looked up whenever a connection is made.
    pub address: String,
    /// What else is said about it.
    pub terms: Terms,
}

impl RunnerEntry {
    /// An entry of which nothing but the address is said.
    pub fn new(address: impl Into<String>) -> Self {
        Self { address: address.into(), terms: Terms::default() }
    }

    /// What is wrong with it; keys are relative to the entry, and empty for the address of an entry that is only that.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if self.address.parse::<RunnerAddress>().is_err() {
            invalid.push(InvalidValue::new("address", ADDRESS_EXPECTED));
        }
        if self.terms.weight > MAX_WEIGHT {
            invalid.push(InvalidValue::new("weight", format!("from 0 to {MAX_WEIGHT}")));
        }
        if self.terms.labels.len() > MAX_LABELS {
            invalid.push(InvalidValue::new("labels", format!("at most {MAX_LABELS}")));
        }
        if self.terms.labels.iter().any(|(name, value)| name.is_empty() || name.len() > MAX_LABEL || value.len() > MAX_LABEL) {
            invalid.push(InvalidValue::new("labels", format!("names and values of at most {MAX_LABEL} bytes, no name empty")));
        }
        invalid
    }

    /// Whether it says no more than an address.
    fn is_plain(&self) -> bool {
        self.terms == Terms::default()
    }
}

impl From<&str> for RunnerEntry {
    fn from(address: &str) -> Self {
        Self::new(address)
    }
}

impl PartialEq<&str> for RunnerEntry {
    fn eq(&self, address: &&str) -> bool {
        self.is_plain() && self.address == *address
    }
}

/// What an address has to be.
pub(super) const ADDRESS_EXPECTED: &str = "host:port, such as \"10.0.0.7:9001\", \"runner-1:9001\" or \"[::1]:9001\"";
/// The largest weight: sums of 10,000 of them fit into 32 bits.
pub const MAX_WEIGHT: u32 = 10_000;
const MAX_LABELS: usize = 32;
const MAX_LABEL: usize = 128;

/// The table form.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    address: String,
    #[serde(default = "default_weight", skip_serializing_if = "is_default_weight")]
    weight: u32,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    max_in_flight: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    max_connections: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slots: Option<u32>,
}

const fn default_weight() -> u32 {
    DEFAULT_WEIGHT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_default_weight(weight: &u32) -> bool {
    *weight == DEFAULT_WEIGHT
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Serialize for RunnerEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.is_plain() {
            return serializer.serialize_str(&self.address);
        }
        let Self { address, terms } = self.clone();
        let Terms { weight, labels, max_in_flight, max_connections, slots } = terms;
        Table { address, weight, labels, max_in_flight, max_connections, slots }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for RunnerEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = RunnerEntry;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an address in quotes, such as \"10.0.0.7:9001\", or a table with the key `address`")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RunnerEntry, E> {
        Ok(RunnerEntry::new(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RunnerEntry, A::Error> {
        let table = Table::deserialize(MapAccessDeserializer::new(map))?;
        let Table { address, weight, labels, max_in_flight, max_connections, slots } = table;
        Ok(RunnerEntry { address, terms: Terms { weight, labels, max_in_flight, max_connections, slots } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_is_an_address_or_a_table_and_is_written_as_it_was() {
        for text in [
            r#""a:1""#,
            r#"{"address":"a:1","weight":0,"labels":{"zone":"b"},"max_in_flight":3,"max_connections":4,"slots":8}"#,
            r#"{"address":"a:1","max_in_flight":1}"#,
        ] {
            let entry: RunnerEntry = serde_json::from_str(text).unwrap();
            assert_eq!((entry.address.as_str(), serde_json::to_string(&entry).unwrap()), ("a:1", text.to_owned()));
            assert_eq!(entry.validate(), []);
        }
    }

    #[test]
    fn what_an_entry_cannot_be_is_named() {
        for (text, named) in [
            ("5", "expected an address in quotes"),
            (r#"{"adress":"a:1"}"#, "unknown field `adress`"),
            (r#"{"weight":1}"#, "missing field `address`"),
        ] {
            let error = serde_json::from_str::<RunnerEntry>(text).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let wrong: RunnerEntry = serde_json::from_str(r#"{"address":"a","weight":10001,"labels":{"":"x"}}"#).unwrap();
        let keys: Vec<String> = wrong.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["address", "weight", "labels"]);
    }
}
