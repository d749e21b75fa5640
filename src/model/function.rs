//! Functions: what is invoked, and how it is run.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::access::{Access, RateLimit, validate_identities};
use super::byte_size::ByteSize;
use super::invalid_value::InvalidValue;
use super::time::human_duration;

/// The name of a function, part of URLs, metric labels and file names.
///
/// 1 to 128 characters out of `A–Z a–z 0–9 . _ -`, not starting with a dot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FunctionName(Arc<str>);

/// The text cannot name a function.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{text}` cannot name a function: expected 1 to 128 characters of A-Z, a-z, 0-9, `.`, `_` and `-`, not starting with `.`"
)]
pub struct InvalidName {
    text: String,
}

impl FunctionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FunctionName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if text.is_empty() || text.len() > 128 || text.starts_with('.') || !text.chars().all(allowed) {
            return Err(InvalidName { text: text.to_owned() });
        }
        Ok(Self(text.into()))
    }
}

impl TryFrom<String> for FunctionName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<FunctionName> for String {
    fn from(name: FunctionName) -> Self {
        name.as_str().to_owned()
    }
}

impl std::borrow::Borrow<str> for FunctionName {
    /// So that maps are searched by text, without making a name of it.
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How an agent talks to a function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// The Fn FDK contract: a worker that stays warm and answers HTTP on a unix socket.
    #[default]
    HttpStream,
    /// One process per call: the body on standard input, the answer on standard output, the exit code decides.
    Exec,
}

/// The specification of a function: all that decides how it runs, which its [`Digest`] names exactly, and who may call it.
///
/// This is both a `[[function]]` table of the configuration and the document that a balancer PUTs to an agent. Who may call it is the
/// balancer's own matter: it is part neither of that document ([`FunctionSpec::document`]) nor of the digest. Its `Debug` form shows the
/// names in [`FunctionSpec::config`], never the values.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FunctionSpec {
    /// The name, unique in a configuration.
    pub name: FunctionName,
    /// The application it belongs to, for the function's own information (`FN_APP_NAME`).
    #[serde(default = "default_app")]
    pub app: String,
    /// How an agent talks to it.
    #[serde(default)]
    pub format: Format,
    /// The program and its arguments. Empty for a function that only names a placement key in front of plain HTTP runners.
    #[serde(default)]
    pub command: Vec<String>,
    /// The working directory of the program. In a file it is relative to that file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// How long one call may run, from the moment a worker takes it.
    #[serde(default = "default_timeout", with = "human_duration")]
    pub timeout: Duration,
    /// How long a worker may take from its start until it listens.
    #[serde(default = "default_init_timeout", with = "human_duration")]
    pub init_timeout: Duration,
    /// How long a worker stays warm without a call.
    #[serde(default = "default_idle_timeout", with = "human_duration")]
    pub idle_timeout: Duration,
    /// The memory one worker is admitted with, and may use.
    #[serde(default = "default_memory")]
    pub memory: ByteSize,
    /// How many calls of this function one runner may run at once; 0 is no limit but the runner's slots.
    #[serde(default)]
    pub concurrency: u32,
    /// Whether a call may run a second time after the connection to its runner was lost.
    #[serde(default, skip_serializing_if = "is_never")]
    pub idempotent: Idempotent,
    /// Environment of the program. Values may be secrets: they are masked wherever a configuration is printed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// What its callers have to show.
    #[serde(default, skip_serializing_if = "is_open")]
    pub access: Access,
    /// The names of those of `front.tokens` that may call it; every one of them if absent. Only with `access = "token"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// Whose certificates may call it: `spiffe://…`, `dns:…`, `cn:…`; every one that the front's `client_ca` signed if absent. Only with
    /// `access = "identity"`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub identities: Vec<String>,
    /// How often it may be called, whoever calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimit>,
}

/// Which calls of a function may run twice with the effect of once (RFC 9110 section 9.2.2). Such a call, if the connection to its runner is lost before its
/// answer began, is tried on another runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Idempotent {
    /// None: a call runs at most once.
    #[default]
    Never,
    /// Those whose method is idempotent by RFC 9110: GET, HEAD, OPTIONS, PUT and DELETE.
    ByMethod,
    /// Every one.
    Always,
}

impl Idempotent {
    /// Whether a call of this method may run twice.
    pub fn allows(self, method: &http::Method) -> bool {
        match self {
            Self::Never => false,
            Self::ByMethod => method.is_idempotent(),
            Self::Always => true,
        }
    }
}

/// Serde wants a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_never(idempotent: &Idempotent) -> bool {
    *idempotent == Idempotent::Never
}

/// Serde wants a reference.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives a reference")]
fn is_open(access: &Access) -> bool {
    *access == Access::Open
}

fn default_app() -> String {
    "default".to_owned()
}

const fn default_timeout() -> Duration {
    Duration::from_secs(30)
}

const fn default_init_timeout() -> Duration {
    Duration::from_secs(5)
}

const fn default_idle_timeout() -> Duration {
    Duration::from_secs(30)
}

const fn default_memory() -> ByteSize {
    ByteSize::mib(128)
}

impl FunctionSpec {
    /// A function of this name with every other value at its default.
    pub fn named(name: FunctionName) -> Self {
        Self {
            name,
            app: default_app(),
            format: Format::default(),
            command: Vec::new(),
            directory: None,
            timeout: default_timeout(),
            init_timeout: default_init_timeout(),
            idle_timeout: default_idle_timeout(),
            memory: default_memory(),
            concurrency: 0,
            idempotent: Idempotent::Never,
            config: BTreeMap::new(),
            access: Access::default(),
            tokens: Vec::new(),
            identities: Vec::new(),
            rate_limit: None,
        }
    }

    /// The JSON that an agent is told, whose members have a fixed order: how the function runs, without what is between its callers and the balancer.
    pub fn document(&self) -> Vec<u8> {
        let plain = Self::named(self.name.clone());
        let how_it_runs = Self {
            access: plain.access,
            tokens: plain.tokens,
            identities: plain.identities,
            rate_limit: plain.rate_limit,
            idempotent: plain.idempotent,
            ..self.clone()
        };
        // A specification has string keys and no floating point: it always has a JSON form.
        serde_json::to_vec(&how_it_runs).unwrap_or_default()
    }

    /// The values that cannot be used. Whether a command is needed depends on who runs the function: not looked at here.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        for (key, duration) in
            [("timeout", self.timeout), ("init_timeout", self.init_timeout), ("idle_timeout", self.idle_timeout)]
        {
            if duration.is_zero() {
                invalid.push(InvalidValue::new(key, "more than 0s"));
            }
        }
        if self.memory.bytes() == 0 {
            invalid.push(InvalidValue::new("memory", "more than 0B"));
        }
        if self.format == Format::Exec && self.command.is_empty() {
            invalid.push(InvalidValue::new("command", "a program: format = \"exec\" runs one for each call"));
        }
        if self.command.first().is_some_and(String::is_empty) {
            invalid.push(InvalidValue::new("command", "a program as first element, not an empty text"));
        }
        if self.command.iter().any(|part| part.contains('\0')) {
            invalid.push(InvalidValue::new("command", "no zero byte in an argument"));
        }
        // What execve(2) cannot pass on.
        for (name, value) in &self.config {
            if name.is_empty() || name.contains(['=', '\0']) {
                invalid
                    .push(InvalidValue::new(format!("config.{name}"), "the name of an environment variable: not empty, no `=`"));
            } else if value.contains('\0') {
                invalid.push(InvalidValue::new(format!("config.{name}"), "no zero byte in the value"));
            }
        }
        if !self.tokens.is_empty() && self.access != Access::Token {
            invalid.push(InvalidValue::new("tokens", "access = \"token\" beside it, which makes callers show one"));
        }
        if !self.identities.is_empty() && self.access != Access::Identity {
            invalid.push(InvalidValue::new("identities", "access = \"identity\" beside it, which makes callers show one"));
        }
        invalid.extend(validate_identities(&self.identities));
        let rate_limit = self.rate_limit.iter().flat_map(RateLimit::validate);
        invalid.extend(rate_limit.map(|value| value.within("rate_limit")));
        invalid
    }
}

impl fmt::Debug for FunctionSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Taken apart by name, so that a new field cannot be forgotten here.
        let Self {
            name,
            app,
            format,
            command,
            directory,
            timeout,
            init_timeout,
            idle_timeout,
            memory,
            concurrency,
            idempotent,
            config,
            access,
            tokens,
            identities,
            rate_limit,
        } = self;
        let masked: BTreeMap<&str, &str> = config.keys().map(|key| (key.as_str(), "***")).collect();
        f.debug_struct("FunctionSpec")
            .field("name", name)
            .field("app", app)
            .field("format", format)
            .field("command", command)
            .field("directory", directory)
            .field("timeout", timeout)
            .field("init_timeout", init_timeout)
            .field("idle_timeout", idle_timeout)
            .field("memory", memory)
            .field("concurrency", concurrency)
            .field("idempotent", idempotent)
            .field("config", &masked)
            .field("access", access)
            .field("tokens", tokens)
            .field("identities", identities)
            .field("rate_limit", rate_limit)
            .finish()
    }
}

/// SHA-256 of a function's specification, written as 64 hexadecimal digits: equal digests mean the same version.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

impl Digest {
    /// The digest of a specification: SHA-256 over its [document](FunctionSpec::document).
    pub fn of(spec: &FunctionSpec) -> Self {
        let hash = Sha256::digest(spec.document());
        let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self(hex.into())
    }

    /// The 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if text.len() == 64 && text.bytes().all(is_digit) {
            Ok(Self(text.into()))
        } else {
            Err(format!("`{text}` is not a digest: expected 64 hexadecimal digits in lower case"))
        }
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.as_str().to_owned()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One exact version of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// How it runs.
    pub spec: FunctionSpec,
    /// Which version this is.
    pub digest: Digest,
}

impl Function {
    /// The version that `spec` describes.
    pub fn new(spec: FunctionSpec) -> Self {
        let digest = Digest::of(&spec);
        Self { spec, digest }
    }

    /// The function's name.
    pub fn name(&self) -> &FunctionName {
        &self.spec.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> FunctionSpec {
        FunctionSpec::named(name.parse().unwrap())
    }

    #[test]
    fn a_digest_changes_with_every_part_of_the_specification() {
        let base = named("greet");
        let changed = [
            FunctionSpec { app: "other".into(), ..base.clone() },
            FunctionSpec { format: Format::Exec, ..base.clone() },
            FunctionSpec { command: vec!["cat".into()], ..base.clone() },
            FunctionSpec { directory: Some("/tmp".into()), ..base.clone() },
            FunctionSpec { timeout: Duration::from_secs(1), ..base.clone() },
            FunctionSpec { init_timeout: Duration::from_secs(1), ..base.clone() },
            FunctionSpec { idle_timeout: Duration::from_secs(1), ..base.clone() },
            FunctionSpec { memory: ByteSize(1), ..base.clone() },
            FunctionSpec { concurrency: 1, ..base.clone() },
            FunctionSpec { config: BTreeMap::from([("A".into(), "b".into())]), ..base.clone() },
            named("greet2"),
        ];
        let mut digests: Vec<_> = changed.iter().map(Digest::of).collect();
        digests.push(Digest::of(&base));
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), changed.len() + 1);
        assert_eq!(Digest::of(&base), Digest::of(&named("greet")));
    }

    #[test]
    fn who_may_call_a_function_is_told_to_no_agent_and_makes_no_new_version() {
        let guarded = FunctionSpec {
            access: Access::Token,
            tokens: vec!["shop".into()],
            identities: vec!["dns:a".into()],
            rate_limit: Some(RateLimit { per_second: 1, burst: None }),
            idempotent: Idempotent::Always,
            ..named("greet")
        };
        assert_eq!(Digest::of(&guarded), Digest::of(&named("greet")));
        assert_eq!(serde_json::from_slice::<FunctionSpec>(&guarded.document()).unwrap(), named("greet"));
        let kept: FunctionSpec = serde_json::from_value(serde_json::to_value(&guarded).unwrap()).unwrap();
        assert_eq!(kept, guarded);
    }

    #[test]
    fn a_printed_specification_shows_no_secret() {
        let mut spec = named("greet");
        spec.config.insert("PASSWORD".into(), "hunter2".into());
        let printed = format!("{spec:?} {:?}", Function::new(spec.clone()));
        assert!(printed.contains("PASSWORD") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn what_a_function_cannot_be_is_named() {
        assert_eq!(named("greet").validate(), []);
        let mut spec = FunctionSpec { timeout: Duration::ZERO, memory: ByteSize(0), format: Format::Exec, ..named("greet") };
        spec.config.insert("A=B".into(), "c".into());
        let invalid: Vec<String> = spec.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(invalid, ["timeout", "memory", "command", "config.A=B"]);
        let spec = FunctionSpec {
            tokens: vec!["a".into()],
            identities: vec!["a".into()],
            rate_limit: Some(RateLimit { per_second: 0, burst: None }),
            ..named("greet")
        };
        let invalid: Vec<String> = spec.validate().into_iter().map(|value| value.key).collect();
        assert_eq!(invalid, ["tokens", "identities", "identities[0]", "rate_limit.per_second"]);
    }

    #[test]
    fn a_specification_survives_its_json_form() {
        let mut spec = named("greet");
        spec.config.insert("KEY".into(), "value".into());
        let json = serde_json::to_string(&spec).unwrap();
        let back: FunctionSpec = serde_json::from_str(&json).unwrap();
        assert_eq!(Digest::of(&back), Digest::of(&spec));
    }

    #[test]
    fn names_that_could_leave_their_place_are_refused() {
        for name in ["", ".hidden", "a/b", "a b", "naïve", "..", &"x".repeat(129)] {
            assert!(name.parse::<FunctionName>().is_err(), "{name}");
        }
        assert!("resize-image_v2.1".parse::<FunctionName>().is_ok());
    }
}
