//! Who may show what: the tokens of `[front]` and `[admin]`.

use serde::{Deserialize, Serialize};

use crate::access::TokenHash;
use crate::model::RateLimit;

/// A token of a caller: `{ name = "shop", hash = "sha256:…", rate_limit = { per_second = 10 } }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontToken {
    /// What functions list, and logs say instead of the token.
    pub name: String,
    /// Its hash, as `runpool token make` prints it.
    pub hash: TokenHash,
    /// How often it may call, whatever it calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// What a token opens of the admin listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdminRole {
    /// All that changes nothing.
    #[default]
    Read,
    /// Everything.
    Operate,
}

/// A token of an operator, or of a machine that looks: `{ name = "prometheus", hash = "sha256:…", role = "read" }`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// What logs say instead of the token.
    pub name: String,
    /// Its hash, as `runpool token make` prints it.
    pub hash: TokenHash,
    /// What it opens.
    #[serde(default)]
    pub role: AdminRole,
}
