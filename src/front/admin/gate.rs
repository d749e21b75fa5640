//! Tokens of the admin listener: what has to be shown for what.
//!
//! Liveness and readiness are for machines that know no token, and say little. Registration has tokens of its own. Everything else wants a token as soon as
//! there is one: with the role `read` for what changes nothing (GET, HEAD), with `operate` for the rest.

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::WWW_AUTHENTICATE;
use http::{HeaderValue, Method};

use super::problems::Failure;
use crate::access::{CHALLENGE, INSUFFICIENT_CHALLENGE, INVALID_CHALLENGE, TokenList, bearer};
use crate::front::{AdminRole, AdminToken};
use crate::model::Outcome;

/// The tokens that are asked for. Clones are the same.
#[derive(Clone, Debug)]
pub struct AdminGate {
    tokens: Arc<ArcSwap<Tokens>>,
}

#[derive(Debug)]
struct Tokens {
    /// In the order of `known`.
    list: TokenList,
    known: Vec<AdminToken>,
}

impl AdminGate {
    pub(super) fn new(tokens: &[AdminToken]) -> Self {
        Self { tokens: Arc::new(ArcSwap::from_pointee(Tokens::new(tokens))) }
    }

    /// Replaces the tokens. Some are never replaced by none, nor none by some: that would open what was closed, which takes a restart.
    pub fn set_tokens(&self, tokens: &[AdminToken]) {
        if self.tokens.load().known.is_empty() == tokens.is_empty() {
            self.tokens.store(Arc::new(Tokens::new(tokens)));
        }
    }
}

impl Tokens {
    fn new(tokens: &[AdminToken]) -> Self {
        Self { list: tokens.iter().map(|token| token.hash.clone()).collect(), known: tokens.to_vec() }
    }
}

/// Lets those in who show what is asked for.
pub(super) async fn check(State(gate): State<AdminGate>, request: Request, next: Next) -> Response {
    let wanted = if matches!(*request.method(), Method::GET | Method::HEAD) { AdminRole::Read } else { AdminRole::Operate };
    let tokens = gate.tokens.load_full();
    if tokens.known.is_empty() {
        return next.run(request).await;
    }
    let shown = bearer(request.headers());
    let token = shown.ok().flatten();
    match token.and_then(|token| tokens.list.find(token)).and_then(|index| tokens.known.get(index)) {
        None => {
            let detail = match shown {
                Err(error) => error.to_string(),
                Ok(_) => "expected `Authorization: Bearer` with a token of admin.tokens".to_owned(),
            };
            unauthorized(token, detail)
        }
        Some(known) if known.role < wanted => {
            let detail = format!("the token `{}` is for looking: expected one with role = \"operate\"", known.name);
            with_challenge(Failure::new(Outcome::Forbidden, detail), INSUFFICIENT_CHALLENGE)
        }
        Some(known) => {
            if wanted == AdminRole::Operate {
                tracing::info!(token = known.name, method = %request.method(), path = request.uri().path(), "an operator changes something");
            }
            next.run(request).await
        }
    }
}

/// The answer to who showed no token, or one that opens nothing.
pub(super) fn unauthorized(shown: Option<&str>, detail: impl Into<String>) -> Response {
    let challenge = if shown.is_some() { INVALID_CHALLENGE } else { CHALLENGE };
    with_challenge(Failure::new(Outcome::Unauthorized, detail), challenge)
}

fn with_challenge(failure: Failure, challenge: &'static str) -> Response {
    let mut response = failure.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}
