//! The token in `Authorization: Bearer` (RFC 6750 section 2.1), and what is said to who has none. A token in a query or a body (sections
//! 2.2 and 2.3) is none to us: it would be written into logs.

use http::HeaderMap;
use http::header::AUTHORIZATION;

/// What a 401 asks for if nothing was shown (RFC 6750 section 3).
pub const CHALLENGE: &str = "Bearer realm=\"runpool\"";
/// And if what was shown opens nothing (section 3.1).
pub const INVALID_CHALLENGE: &str = "Bearer realm=\"runpool\", error=\"invalid_token\"";
/// And if it opens something else.
pub const INSUFFICIENT_CHALLENGE: &str = "Bearer realm=\"runpool\", error=\"insufficient_scope\"";

/// There is no telling which token was meant.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum BearerError {
    /// A proxy in front may have looked at another of them than we would (RFC 9110 section 5.3 allows this field once).
    #[error("there are several `Authorization` headers: expected one")]
    Several,
    /// Another scheme, or characters that no token has.
    #[error("expected `Authorization: Bearer` and a token")]
    NoBearer,
}

/// The token that a request shows, if it shows one.
///
/// # Errors
/// See [`BearerError`]. The error repeats nothing that was sent.
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, BearerError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(BearerError::Several);
    }
    let (scheme, token) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or(BearerError::NoBearer)?;
    // Names of schemes have no case (RFC 9110 section 11.1), and one space or more stands behind them.
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || !is_token(token) {
        return Err(BearerError::NoBearer);
    }
    Ok(Some(token))
}

/// `b64token` of RFC 6750 section 2.1.
fn is_token(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    !body.is_empty() && body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn shown(values: &[&'static str]) -> Result<Option<String>, BearerError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_static(value));
        }
        bearer(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn one_header_shows_one_token() {
        assert_eq!(shown(&[]), Ok(None));
        for text in ["Bearer a-Z_0~9+/==", "bearer a-Z_0~9+/==", "BEARER   a-Z_0~9+/== "] {
            assert_eq!(shown(&[text]), Ok(Some("a-Z_0~9+/==".to_owned())), "{text}");
        }
    }

    #[test]
    fn what_is_no_token_or_more_than_one_is_none() {
        for text in ["", "Bearer", "Bearer ", "Bearer ==", "Bearer a b", "Bearer a,b", "Basic YQ==", "Bearera"] {
            assert_eq!(shown(&[text]), Err(BearerError::NoBearer), "{text}");
        }
        assert_eq!(shown(&["Bearer a", "Bearer a"]), Err(BearerError::Several));
    }
}
