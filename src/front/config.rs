//! `[front]`, `[admin]` and `[[route]]`.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::forwarding::ForwardedStyle;
use super::token_config::{AdminToken, FrontToken};
use crate::access::validate_names;
use crate::model::{Access, ByteSize, FunctionName, FunctionSpec, InvalidValue, human_duration};
use crate::server::{Admitted, ConnectionLimits, Exposure};
use crate::tls::ServerTlsConfig;

/// `[front]`: where clients call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FrontConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Needed for an address that is not loopback, unless whoever calls has to show who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
    /// TLS.
    pub tls: ServerTlsConfig,
    /// Tokens that callers may show: to the functions with `access = "token"`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<FrontToken>,
    /// Calls in hand at once; one more is answered 503 `overloaded`.
    pub max_in_flight: usize,
    /// The longest body of a call; a longer one is answered 413.
    pub max_body: ByteSize,
    /// A body up to this length is held until a runner took the call, so that several can be tried. A longer one streams.
    pub held_body: ByteSize,
    /// How long a body that is to be held may take to arrive.
    #[serde(with = "human_duration")]
    pub body_timeout: Duration,
    /// Memory for bodies that are held, of all calls together; a call that finds none is answered 503 `overloaded`.
    pub max_buffered: ByteSize,
    /// Whether other processes of the same user may listen on the same address, for a restart without a gap: the next process listens before this one ends.
    pub reuse_port: bool,
    /// The name that runners read in `Via`; empty: there is none. A request that has passed this name already is answered 508.
    pub via: String,
    /// Proxies before this one whose `X-Forwarded-*` and `Forwarded` are believed.
    pub trusted_hops: u32,
    /// How runners are told who called.
    pub forwarded: ForwardedStyle,
    /// Limits of the listener.
    pub limits: ConnectionLimits,
}

impl Default for FrontConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            expose: None,
            tls: ServerTlsConfig::default(),
            tokens: Vec::new(),
            max_in_flight: 10_000,
            max_body: ByteSize::gib(1),
            held_body: ByteSize::kib(64),
            body_timeout: Duration::from_secs(60),
            max_buffered: ByteSize::mib(256),
            reuse_port: false,
            via: "runpool".to_owned(),
            trusted_hops: 0,
            forwarded: ForwardedStyle::default(),
            limits: ConnectionLimits::default(),
        }
    }
}

impl FrontConfig {
    /// The values that cannot be used. Whether anybody may listen there depends on the functions too: see [`FrontConfig::check_exposure`].
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid: Vec<InvalidValue> = self.tls.validate().into_iter().map(|value| value.within("tls")).collect();
        invalid.extend(validate_names(self.tokens.iter().map(|token| (token.name.as_str(), &token.hash))));
        for (index, token) in self.tokens.iter().enumerate() {
            let rate_limit = token.rate_limit.iter().flat_map(|limit| limit.validate());
            invalid.extend(rate_limit.map(|value| value.within(&format!("tokens[{index}].rate_limit"))));
        }
        if self.max_in_flight == 0 {
            invalid.push(InvalidValue::new("max_in_flight", "at least 1"));
        }
        if self.held_body > self.max_body {
            invalid.push(InvalidValue::new("held_body", format!("at most max_body ({})", self.max_body)).beside("max_body"));
        }
        if self.body_timeout.is_zero() {
            invalid.push(InvalidValue::new("body_timeout", "more than 0s"));
        }
        if self.max_buffered < self.held_body {
            invalid
                .push(InvalidValue::new("max_buffered", format!("at least held_body ({})", self.held_body)).beside("held_body"));
        }
        // A pseudonym is a token (RFC 9110 section 7.6.3).
        if !self.via.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte)) {
            invalid.push(InvalidValue::new("via", "a name of letters, digits and `-._~:`, or \"\" for none"));
        }
        invalid.extend(self.limits.validate().into_iter().map(|value| value.within("limits")));
        invalid
    }

    /// Who can call these functions.
    pub fn admitted(&self, functions: &[FunctionSpec]) -> Admitted {
        let is_guarded = !functions.is_empty() && functions.iter().all(|spec| spec.access != Access::Open);
        if is_guarded || self.tls.authenticates() {
            Admitted::Authenticated
        } else {
            Admitted::Anybody("access = \"token\" or \"identity\" for every function, or tls.client_certificates = \"required\"")
        }
    }

    /// What is wrong with listening there in front of these functions, if anything (P8).
    pub fn check_exposure(&self, functions: &[FunctionSpec]) -> Option<InvalidValue> {
        Exposure::check(self.expose, self.listen, self.admitted(functions))
    }
}

/// `[admin]`: where operators look.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Needed for an address that is not loopback, unless whoever asks has to show who it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expose: Option<Exposure>,
    /// TLS.
    pub tls: ServerTlsConfig,
    /// Tokens, one of which has to be shown for everything but liveness and readiness. None: nobody is asked.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<AdminToken>,
    /// Runners that the pool must have before `/readyz` says ready.
    pub ready_runners: usize,
    /// Calls of which the balancer remembers why they went where they went, for `runpool explain`: so many of the last that went at once to the first runner and
    /// were answered, and as many of the last others; 0 is none. Of the former, one each millisecond and worker while they come faster. Some hundred bytes each.
    pub explained_calls: usize,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8081)),
            expose: None,
            tls: ServerTlsConfig::default(),
            tokens: Vec::new(),
            ready_runners: 1,
            explained_calls: 512,
        }
    }
}

/// All that are remembered are looked through for one.
const MOST_EXPLAINED: usize = 1_000_000;

impl AdminConfig {
    /// Who can look.
    pub fn admitted(&self) -> Admitted {
        if self.tls.authenticates() || !self.tokens.is_empty() {
            Admitted::Authenticated
        } else {
            Admitted::Anybody("tokens, or tls.client_certificates = \"required\"")
        }
    }

    /// The values that cannot be used.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid: Vec<InvalidValue> = Exposure::check(self.expose, self.listen, self.admitted()).into_iter().collect();
        invalid.extend(self.tls.validate().into_iter().map(|value| value.within("tls")));
        invalid.extend(validate_names(self.tokens.iter().map(|token| (token.name.as_str(), &token.hash))));
        if self.explained_calls > MOST_EXPLAINED {
            invalid.push(InvalidValue::new("explained_calls", format!("at most {MOST_EXPLAINED}")));
        }
        invalid
    }
}

/// What of the client's path reaches the runner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Forward {
    /// The whole path, unchanged.
    AsIs,
    /// The path below the route's.
    #[default]
    BelowRoute,
}

/// One `[[route]]`: which requests go to which function. The longest matching path wins; a route with a host wins over one without.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteConfig {
    /// The host the client asked for, without port; absent: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Path prefix, in whole segments: `/a` matches `/a` and `/a/b`, not `/ab`.
    pub path: String,
    /// The function.
    pub function: FunctionName,
    /// What of the path reaches the runner.
    #[serde(default)]
    pub forward: Forward,
    /// Protocols that clients may switch to here, such as `websocket`; of all others no runner hears. Only plain runners are asked to switch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upgrade: Vec<String>,
}

impl RouteConfig {
    /// The values that cannot be used. Whether the function exists is not known here.
    pub fn validate(&self) -> Vec<InvalidValue> {
        let mut invalid = Vec::new();
        if !self.path.starts_with('/') || self.path.contains(['?', '#']) {
            invalid.push(InvalidValue::new("path", "a path that starts with `/` and has no query, such as \"/\" or \"/shop\""));
        }
        // A colon would be a port, unless it belongs to an IPv6 address in brackets.
        let is_host =
            |host: &str| !host.is_empty() && !host.contains(['/', ' ', '@']) && (host.starts_with('[') || !host.contains(':'));
        if self.host.as_deref().is_some_and(|host| !is_host(host)) {
            invalid.push(InvalidValue::new("host", "a host name without scheme, port and path, such as \"shop.example\""));
        }
        for (index, protocol) in self.upgrade.iter().enumerate() {
            if !is_protocol_to_switch_to(protocol) {
                let expected = "one protocol that is not HTTP, such as \"websocket\": a switch to HTTP/2 no longer exists (RFC 9113, section 3.1), and would lead past access and limits";
                invalid.push(InvalidValue::new(format!("upgrade[{index}]"), expected));
            }
        }
        invalid
    }
}

/// Whether `text` is a protocol with or without a version (RFC 9110, section 7.8), and none of HTTP's, drafts of it included.
fn is_protocol_to_switch_to(text: &str) -> bool {
    let is_token = |part: &str| part != "*" && http::HeaderName::from_bytes(part.as_bytes()).is_ok();
    let name = text.to_ascii_lowercase();
    text.splitn(2, '/').all(is_token) && !["http", "h2", "h3", "pri"].iter().any(|http| name.starts_with(http))
}

/// `[shutdown]`: how long ending may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShutdownConfig {
    /// From the signal until the listeners close: `/readyz` answers 503, calls are still taken, whoever balances before us looks away.
    #[serde(with = "human_duration")]
    pub grace: Duration,
    /// From then until calls in flight are cut.
    #[serde(with = "human_duration")]
    pub deadline: Duration,
}

impl Default for ShutdownConfig {
    fn default() -> Self {
        Self { grace: Duration::from_secs(2), deadline: Duration::from_secs(30) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::TokenHash;
    use crate::front::AdminRole;
    use crate::model::RateLimit;
    use crate::tls::ClientCertificates;

    fn keys(invalid: Vec<InvalidValue>) -> Vec<String> {
        invalid.into_iter().map(|value| value.key).collect()
    }

    #[test]
    fn what_a_front_cannot_be_is_named() {
        assert_eq!(FrontConfig::default().validate(), []);
        let mut config = FrontConfig {
            listen: "0.0.0.0:80".parse().unwrap(),
            max_in_flight: 0,
            max_body: ByteSize(1),
            body_timeout: Duration::ZERO,
            ..FrontConfig::default()
        };
        config.limits.max_streams = 0;
        assert_eq!(keys(config.validate()), ["max_in_flight", "held_body", "body_timeout", "limits.max_streams"]);
    }

    #[test]
    fn what_is_wrong_with_tokens_is_named() {
        let token = |name: &str, rate_limit| FrontToken { name: name.into(), hash: TokenHash::of(name), rate_limit };
        let never = Some(RateLimit { per_second: 0, burst: None });
        let config = FrontConfig { tokens: vec![token("a", None), token("a", never)], ..FrontConfig::default() };
        assert_eq!(keys(config.validate()), ["tokens[1].name", "tokens[1].hash", "tokens[1].rate_limit.per_second"]);
    }

    #[test]
    fn beyond_loopback_everybody_must_show_who_it_is_or_the_operator_says_otherwise() {
        let front = FrontConfig { listen: "0.0.0.0:80".parse().unwrap(), ..FrontConfig::default() };
        let open = FunctionSpec::named("open".parse().unwrap());
        let guarded = FunctionSpec { access: Access::Token, ..open.clone() };
        let is_fine = |front: &FrontConfig, functions: &[FunctionSpec]| front.check_exposure(functions).is_none();
        assert!(is_fine(&front, std::slice::from_ref(&guarded)));
        assert!(!is_fine(&front, &[guarded, open.clone()]) && !is_fine(&front, &[]));
        let tls = ServerTlsConfig {
            certificate: Some("c".into()),
            client_certificates: ClientCertificates::Required,
            ..ServerTlsConfig::default()
        };
        assert!(is_fine(&FrontConfig { tls: tls.clone(), ..front.clone() }, std::slice::from_ref(&open)));
        assert!(is_fine(&FrontConfig { expose: Some(Exposure::WithoutAuthentication), ..front }, &[open]));

        let admin = AdminConfig { listen: "0.0.0.0:81".parse().unwrap(), ..AdminConfig::default() };
        assert_eq!(keys(admin.validate()), ["listen"]);
        let token = AdminToken { name: "a".into(), hash: TokenHash::of("a"), role: AdminRole::Read };
        assert_eq!(keys(AdminConfig { tokens: vec![token], ..admin.clone() }.validate()), [""; 0]);
        let required =
            AdminConfig { tls: ServerTlsConfig { key: Some("k".into()), client_ca: Some("a".into()), ..tls }, ..admin };
        assert_eq!(keys(required.validate()), [""; 0]);
    }

    #[test]
    fn what_a_route_cannot_be_is_named() {
        let route = |host: Option<&str>, path: &str| RouteConfig {
            host: host.map(str::to_owned),
            path: path.to_owned(),
            function: "f".parse().unwrap(),
            forward: Forward::AsIs,
            upgrade: Vec::new(),
        };
        for (host, path) in [(None, "/"), (Some("shop.example"), "/a/b"), (Some("[::1]"), "/")] {
            assert_eq!(route(host, path).validate(), [], "{host:?} {path}");
        }
        for path in ["", "a", "/a?b", "/a#b"] {
            assert_eq!(keys(route(None, path).validate()), ["path"], "{path}");
        }
        for host in ["", "http://shop", "shop:80", "a b"] {
            assert_eq!(keys(route(Some(host), "/").validate()), ["host"], "{host}");
        }
        let switching = |protocol: &str| RouteConfig { upgrade: vec!["a/1".into(), protocol.into()], ..route(None, "/") };
        for protocol in ["websocket", "WebSocket", "tls/1.0"] {
            assert_eq!(switching(protocol).validate(), [], "{protocol}");
        }
        for protocol in ["h2c", "h2c-14", "h3-29", "PRI", "*", "HTTP/2.0", "", "a b", "a/b/c", "websocket, h2c"] {
            assert_eq!(keys(switching(protocol).validate()), ["upgrade[1]"], "{protocol}");
        }
    }
}
