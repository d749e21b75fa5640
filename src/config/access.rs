//! Who comes in where: what listeners, tokens, certificates and functions say about it must fit together (P8).

use super::checks::{Findings, Places};
use super::errors::ConfigError;
use super::expectation::nearest;
use super::load::{Role, Tables};
use super::root::Config;
use crate::model::{Access, FunctionSpec};
use crate::tls::ClientCertificates;

/// Looks at it as far as the role is concerned: an agent guards nothing but its own listener, which its settings tell alone.
pub(super) fn check(config: &Config, role: Role, tables: Tables, places: &Places<'_>, findings: &mut Findings) {
    if role == Role::Runner {
        return;
    }
    let is_same = config.front.listen == config.admin.listen && config.front.listen.port() != 0;
    if is_same {
        findings.errors.push(places.error("admin.listen", "expected another address than front.listen has"));
    }
    registration(config, places, &mut findings.errors);
    if tables == Tables::Whole {
        if let Some(invalid) = config.front.check_exposure(&config.functions) {
            findings.errors.push(places.error(&format!("front.{}", invalid.key), format!("expected {}", invalid.expected)));
        }
        for (index, spec) in config.functions.iter().enumerate() {
            function(config, index, spec, places, &mut findings.errors);
        }
    }
    cleartext(config, places, &mut findings.warnings);
}

/// Whoever registers a runner is sent calls.
fn registration(config: &Config, places: &Places<'_>, errors: &mut Vec<ConfigError>) {
    let registration = &config.pool.registration;
    let is_guarded = registration.wants_tokens() || config.admin.tls.authenticates();
    if !registration.enabled || is_guarded {
        return;
    }
    if !registration.insecure {
        let problem = "expected tokens or token_file beside it, or admin.tls.client_certificates = \"required\", or insecure = true while \
                       the admin listener is on loopback";
        errors.push(places.error("pool.registration.enabled", problem));
    } else if !config.admin.listen.ip().is_loopback() {
        let problem = "expected false, with tokens or token_file: the admin listener is not on loopback, and whoever registers a runner is \
                       sent calls";
        errors.push(places.error("pool.registration.insecure", problem));
    }
}

fn function(config: &Config, index: usize, spec: &FunctionSpec, places: &Places<'_>, errors: &mut Vec<ConfigError>) {
    let names: Vec<&str> = config.front.tokens.iter().map(|token| token.name.as_str()).collect();
    let key = |name: &str| format!("function[{index}].{name}");
    match spec.access {
        Access::Open => {}
        Access::Token if names.is_empty() => {
            errors.push(places.error(&key("access"), "expected a token in front.tokens that callers could show; there is none"));
        }
        Access::Token => {
            for (place, name) in spec.tokens.iter().enumerate().filter(|(_, name)| !names.contains(&name.as_str())) {
                let problem = format!("expected the name of one of front.tokens: {}", names.join(", "));
                let error = places.error(&key(&format!("tokens[{place}]")), problem);
                errors.push(error.suggesting(nearest(name, names.iter().copied())));
            }
        }
        Access::Identity if config.front.tls.client_certificates == ClientCertificates::None => {
            let problem =
                "expected front.tls.client_certificates = \"required\" or \"optional\", since nobody is asked for a certificate";
            errors.push(places.error(&key("access"), problem));
        }
        Access::Identity => {}
    }
}

/// RFC 6750 section 5.3: tokens are for encrypted connections.
fn cleartext(config: &Config, places: &Places<'_>, warnings: &mut Vec<ConfigError>) {
    let problem = "tokens come here in clear, and whoever is on the way can use them: tls beside it encrypts";
    let is_open = |listen: std::net::SocketAddr| !listen.ip().is_loopback();
    if !config.front.tokens.is_empty() && is_open(config.front.listen) && !config.front.tls.is_on() {
        warnings.push(places.error("front.listen", problem));
    }
    let has_tokens = !config.admin.tokens.is_empty() || config.pool.registration.wants_tokens();
    if has_tokens && is_open(config.admin.listen) && !config.admin.tls.is_on() {
        warnings.push(places.error("admin.listen", problem));
    }
}
