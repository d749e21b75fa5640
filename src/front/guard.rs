//! Who may call which function, and how often: looked at when a call's function is known, before a byte of its body is read.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use rustc_hash::FxHashMap;

use super::token_config::FrontToken;
use crate::access::{CHALLENGE, INSUFFICIENT_CHALLENGE, INVALID_CHALLENGE, RateLimiter, TokenList, bearer};
use crate::model::{Access, Function, FunctionName, FunctionSpec, RateLimit};
use crate::tls::PeerIdentity;

/// The rules of all functions.
#[derive(Debug, Default)]
pub(super) struct Guard {
    /// In the order of `known`.
    tokens: TokenList,
    known: Vec<KnownToken>,
    /// Of the functions that have any: the others may be called by everybody, as often as they like.
    rules: FxHashMap<FunctionName, Rule>,
}

#[derive(Debug)]
struct KnownToken {
    name: String,
    limiter: Option<Arc<RateLimiter>>,
}

#[derive(Debug)]
struct Rule {
    demand: Demand,
    limiter: Option<Arc<RateLimiter>>,
}

/// What callers of a function have to show.
#[derive(Debug)]
enum Demand {
    Nothing,
    /// One of the tokens with these names; any, if there are none.
    Token(Vec<String>),
    /// A certificate with one of these names; any, if there are none.
    Identity(Vec<String>),
}

/// Why a call is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Denied {
    /// Nobody knows who asks.
    Unauthorized {
        detail: String,
        /// For `WWW-Authenticate`.
        challenge: &'static str,
    },
    /// It is known, and may not.
    Forbidden {
        detail: String,
        /// For `WWW-Authenticate`, if another token would help.
        challenge: Option<&'static str>,
    },
    /// Not now.
    RateLimited { detail: String, wait: Duration },
}

impl Guard {
    /// The rules of these functions, for callers with these tokens.
    pub(super) fn new<'a>(functions: impl IntoIterator<Item = &'a FunctionSpec>, tokens: &[FrontToken]) -> Self {
        let limiter = |limit: Option<RateLimit>| limit.map(|limit| Arc::new(RateLimiter::new(limit)));
        let rules = functions.into_iter().filter(|spec| spec.access != Access::Open || spec.rate_limit.is_some());
        let rules = rules.map(|spec| {
            let demand = match spec.access {
                Access::Open => Demand::Nothing,
                Access::Token => Demand::Token(spec.tokens.clone()),
                Access::Identity => Demand::Identity(spec.identities.clone()),
            };
            (spec.name.clone(), Rule { demand, limiter: limiter(spec.rate_limit) })
        });
        Self {
            tokens: tokens.iter().map(|token| token.hash.clone()).collect(),
            known: tokens
                .iter()
                .map(|token| KnownToken { name: token.name.clone(), limiter: limiter(token.rate_limit) })
                .collect(),
            rules: rules.collect(),
        }
    }

    /// Goes on counting where `former` was, for what may happen as often as there: a reload gives nobody a new burst.
    pub(super) fn go_on_from(&mut self, former: &Self) {
        let keep = |own: &mut Option<Arc<RateLimiter>>, theirs: Option<&Arc<RateLimiter>>| {
            if let (Some(own), Some(theirs)) = (own, theirs)
                && own.limit() == theirs.limit()
            {
                *own = Arc::clone(theirs);
            }
        };
        for (name, rule) in &mut self.rules {
            keep(&mut rule.limiter, former.rules.get(name).and_then(|rule| rule.limiter.as_ref()));
        }
        for token in &mut self.known {
            let theirs = former.known.iter().find(|theirs| theirs.name == token.name);
            keep(&mut token.limiter, theirs.and_then(|theirs| theirs.limiter.as_ref()));
        }
    }

    /// Lets a call of `function` in that comes `now`, counted from an origin that is always the same. A token that was asked for is taken out of the headers:
    /// it was for us, and no function should see it.
    ///
    /// # Errors
    /// See [`Denied`].
    pub(super) fn admit(
        &self,
        function: &Function,
        headers: &mut HeaderMap,
        identity: Option<&PeerIdentity>,
        now: impl Fn() -> Duration,
    ) -> Result<(), Denied> {
        if self.rules.is_empty() {
            return Ok(());
        }
        let name = function.name();
        let Some(rule) = self.rules.get(name.as_str()) else { return Ok(()) };
        match &rule.demand {
            Demand::Nothing => {}
            Demand::Token(names) => {
                let token = self.token(headers, name)?;
                if !names.is_empty() && !names.contains(&token.name) {
                    let detail = format!("the token `{}` does not open function `{name}`", token.name);
                    return Err(Denied::Forbidden { detail, challenge: Some(INSUFFICIENT_CHALLENGE) });
                }
                headers.remove(AUTHORIZATION);
                // First the caller's own limit: one that is over it takes nothing from the others.
                take(token.limiter.as_deref(), now(), || format!("the token `{}` has made as many calls as it may", token.name))?;
            }
            Demand::Identity(names) => {
                let Some(identity) = identity else {
                    let detail =
                        format!("function `{name}` is for callers with a certificate: expected one in the TLS handshake");
                    return Err(Denied::Forbidden { detail, challenge: None });
                };
                if !names.is_empty() && !names.iter().any(|name| identity.is(name)) {
                    let detail = format!("the caller's certificate does not open function `{name}`");
                    return Err(Denied::Forbidden { detail, challenge: None });
                }
            }
        }
        take(rule.limiter.as_deref(), now(), || format!("function `{name}` was called as often as it may be"))
    }

    fn token(&self, headers: &HeaderMap, function: &FunctionName) -> Result<&KnownToken, Denied> {
        let unauthorized = |detail, challenge| Err(Denied::Unauthorized { detail, challenge });
        match bearer(headers) {
            Ok(None) => {
                let detail = format!("function `{function}` is for callers with a token: expected `Authorization: Bearer`");
                unauthorized(detail, CHALLENGE)
            }
            Err(error) => unauthorized(error.to_string(), CHALLENGE),
            Ok(Some(token)) => match self.tokens.find(token).and_then(|index| self.known.get(index)) {
                Some(known) => Ok(known),
                None => unauthorized("the token is none of those that are known here".to_owned(), INVALID_CHALLENGE),
            },
        }
    }
}

fn take(limiter: Option<&RateLimiter>, now: Duration, detail: impl FnOnce() -> String) -> Result<(), Denied> {
    let Some(limiter) = limiter else { return Ok(()) };
    limiter.take(now).map_err(|wait| Denied::RateLimited { detail: detail(), wait })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::TokenHash;

    fn spec(name: &str, access: Access) -> FunctionSpec {
        FunctionSpec { access, ..FunctionSpec::named(name.parse().unwrap()) }
    }

    fn token(name: &str) -> FrontToken {
        FrontToken { name: name.into(), hash: TokenHash::of(&format!("{name}-token")), rate_limit: None }
    }

    fn authorization(token: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        headers
    }

    /// The outcome in a word, and whether the token is still there.
    fn asked(
        guard: &Guard,
        spec: &FunctionSpec,
        mut headers: HeaderMap,
        identity: Option<&PeerIdentity>,
    ) -> (&'static str, bool) {
        let word = match guard.admit(&Function::new(spec.clone()), &mut headers, identity, || Duration::ZERO) {
            Ok(()) => "in",
            Err(Denied::Unauthorized { challenge, .. }) if challenge == CHALLENGE => "who?",
            Err(Denied::Unauthorized { .. }) => "unknown",
            Err(Denied::Forbidden { challenge: Some(_), .. }) => "another token",
            Err(Denied::Forbidden { challenge: None, .. }) => "not you",
            Err(Denied::RateLimited { .. }) => "later",
        };
        (word, headers.contains_key(AUTHORIZATION))
    }

    #[test]
    fn an_open_function_lets_everybody_in_and_leaves_the_token_alone() {
        let open = spec("open", Access::Open);
        let guard = Guard::new([&open], &[token("shop")]);
        assert_eq!(asked(&guard, &open, HeaderMap::new(), None), ("in", false));
        assert_eq!(asked(&guard, &open, authorization("whatever"), None), ("in", true));
    }

    #[test]
    fn a_function_for_tokens_lets_those_in_that_it_names_and_keeps_the_token() {
        let (any, one) = (spec("any", Access::Token), FunctionSpec { tokens: vec!["shop".into()], ..spec("one", Access::Token) });
        let guard = Guard::new([&any, &one], &[token("till"), token("shop")]);
        for function in [&any, &one] {
            assert_eq!(asked(&guard, function, HeaderMap::new(), None), ("who?", false));
            assert_eq!(asked(&guard, function, authorization("nobody"), None), ("unknown", true));
            assert_eq!(asked(&guard, function, authorization("shop-token"), None), ("in", false));
        }
        assert_eq!(asked(&guard, &any, authorization("till-token"), None), ("in", false));
        assert_eq!(asked(&guard, &one, authorization("till-token"), None), ("another token", true));
        let without = Guard::new([&any], &[]);
        assert_eq!(asked(&without, &any, authorization("shop-token"), None).0, "unknown", "nothing known is nobody let in");
    }

    #[test]
    fn a_function_for_identities_lets_those_in_that_it_names() {
        let any = spec("any", Access::Identity);
        let one = FunctionSpec { identities: vec!["dns:shop".into()], ..spec("one", Access::Identity) };
        let guard = Guard::new([&any, &one], &[token("shop")]);
        let identity = |name: &str| PeerIdentity { dns_names: vec![name.into()], ..PeerIdentity::default() };
        let (shop, till) = (identity("shop"), identity("till"));
        for function in [&any, &one] {
            assert_eq!(asked(&guard, function, authorization("shop-token"), None), ("not you", true));
            assert_eq!(asked(&guard, function, authorization("shop-token"), Some(&shop)), ("in", true));
        }
        assert_eq!(asked(&guard, &any, HeaderMap::new(), Some(&till)).0, "in");
        assert_eq!(asked(&guard, &one, HeaderMap::new(), Some(&till)).0, "not you");
    }

    #[test]
    fn a_caller_over_its_own_limit_takes_nothing_from_the_function() {
        let function = FunctionSpec { rate_limit: Some(RateLimit { per_second: 1, burst: Some(2) }), ..spec("f", Access::Token) };
        let greedy = FrontToken { rate_limit: Some(RateLimit { per_second: 1, burst: None }), ..token("greedy") };
        let guard = Guard::new([&function], &[greedy, token("shop")]);
        let words = ["greedy", "greedy", "greedy", "shop", "shop"]
            .map(|name| asked(&guard, &function, authorization(&format!("{name}-token")), None).0);
        assert_eq!(words, ["in", "later", "later", "in", "later"]);
    }

    #[test]
    fn a_reload_gives_nobody_a_new_burst_unless_the_limit_is_another() {
        let limited =
            |per_second| FunctionSpec { rate_limit: Some(RateLimit { per_second, burst: None }), ..spec("f", Access::Open) };
        let before = Guard::new([&limited(1)], &[]);
        assert_eq!(asked(&before, &limited(1), HeaderMap::new(), None).0, "in");
        for (per_second, expected) in [(1, "later"), (2, "in")] {
            let mut after = Guard::new([&limited(per_second)], &[]);
            after.go_on_from(&before);
            assert_eq!(asked(&after, &limited(per_second), HeaderMap::new(), None).0, expected);
        }
    }
}
