//! The words of the program as plain data: calls, functions, identifiers, sizes, durations, outcomes.
//!
//! What lives here is passed between all floors, so it does no I/O, reads no clock, spawns nothing and
//! imports no other floor. Every type says its unit; every parser says what it expected.
//!
//! Start with [`Call`] (one invocation) and [`Function`] (what is invoked). [`Outcome`] is the closed set of
//! words that the answer, the access log and the metrics share.

mod access;
mod backoff;
mod boxed;
mod byte_size;
mod call;
mod function;
mod hop_text;
mod ids;
mod invalid_value;
mod outcome;
mod rfc3339;
mod time;

pub use access::{Access, RateLimit, validate_identities};
pub use backoff::Backoff;
pub use boxed::boxed;
pub use byte_size::ByteSize;
pub use call::{Call, CallHead, CallKind, HopFields, Intent, TraceContext};
pub use function::{Digest, Format, Function, FunctionName, FunctionSpec, Idempotent, InvalidName};
pub use hop_text::{AddressText, HopText};
pub use ids::{CallId, IncarnationId, InvalidId, RunnerId};
pub use invalid_value::InvalidValue;
pub use outcome::Outcome;
pub use rfc3339::Rfc3339;
pub use time::{ParseDurationError, format_duration, human_duration, option_human_duration, parse_duration};
