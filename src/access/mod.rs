//! Who may: tokens, the names in certificates, and how often.
//!
//! * [`TokenHash`] and [`TokenList`]: bearer tokens (RFC 6750) that are known by their hash, compared in constant time.
//! * [`RateLimiter`]: so many in a second, with a burst.
//! * [`NewToken`]: a token that nobody can guess.
//!
//! What lives here decides and does nothing else: no sockets, no clock (time is an argument), no configuration file. Which token opens
//! what is decided by those who listen. It imports `model` only.

mod bearer;
mod rate_limiter;
mod token_hash;
mod token_list;

pub use bearer::{BearerError, CHALLENGE, INSUFFICIENT_CHALLENGE, INVALID_CHALLENGE, bearer};
pub use rate_limiter::RateLimiter;
pub use token_hash::{InvalidTokenHash, NewToken, TokenHash};
pub use token_list::{NamedToken, TokenList, validate_names};
