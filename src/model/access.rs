//! Who may call a function, and how often: what a `[[function]]` says about its callers.

use serde::{Deserialize, Serialize};

use super::invalid_value::InvalidValue;

/// What a caller of a function has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Nothing.
    #[default]
    Open,
    /// A token of `front.tokens`.
    Token,
    /// A certificate that `front.tls.client_ca` signed.
    Identity,
}

/// How often something may happen: evenly at a rate, with a burst after a time of less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    /// In the long run, for each second.
    pub per_second: u32,
    /// At once, after a while of nothing; as many as in a second if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

/// With more than one for each nanosecond, the time between two would be none.
const MOST_PER_SECOND: u32 = 1_000_000_000;

impl RateLimit {
    /// At once, after a while of nothing.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.per_second)
    }

    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if !(1..=MOST_PER_SECOND).contains(&self.per_second) {
            invalid.push(InvalidValue::new("per_second", format!("from 1 to {MOST_PER_SECOND}")));
        }
        if self.burst == Some(0) {
            invalid.push(InvalidValue::new("burst", "at least 1, or nothing would ever pass"));
        }
        invalid
    }
}

/// What [`super::FunctionSpec::identities`] and their like are written as.
const IDENTITY_EXPECTED: &str =
    "one of \"spiffe://domain/path\", \"dns:name\" and \"cn:common name\", as the certificate of a caller has it";

/// What is wrong with a list of identities, which stands at the key `identities`.
pub fn validate_identities(identities: &[String]) -> Vec<InvalidValue> {
    let is_identity = |text: &String| {
        let kinds = ["spiffe://", "dns:", "cn:"];
        kinds.iter().any(|kind| text.strip_prefix(kind).is_some_and(|name| !name.is_empty()))
    };
    let wrong = identities.iter().enumerate().filter(|(_, text)| !is_identity(text));
    wrong.map(|(index, _)| InvalidValue::new(format!("identities[{index}]"), IDENTITY_EXPECTED)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_of_nothing_is_named() {
        let rate = |per_second, burst| {
            let invalid = RateLimit { per_second, burst }.validate();
            invalid.into_iter().map(|value| value.key).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(rate(100, None), "");
        assert_eq!(rate(1, Some(1)), "");
        assert_eq!(rate(0, Some(0)), "per_second burst");
        assert_eq!(RateLimit { per_second: 7, burst: None }.burst(), 7);
    }

    #[test]
    fn an_identity_says_of_what_kind_it_is() {
        let identities = ["spiffe://a/b", "dns:a", "cn:a b", "a", "dns:", "spiffe:a"].map(str::to_owned);
        let keys: Vec<String> = validate_identities(&identities).into_iter().map(|value| value.key).collect();
        assert_eq!(keys, ["identities[3]", "identities[4]", "identities[5]"]);
    }
}
