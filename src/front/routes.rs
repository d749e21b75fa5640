//! Which function a request is for.
//!
//! Three ways lead to a function, looked at in this order:
//!
//! 1. `/invoke/{function}` and `/invoke/{function}/{rest}`, if a function of that name exists;
//! 2. the configured routes: one with the request's host before one without, and among those the longest matching path;
//! 3. nothing: 404.
//!
//! Paths are matched and forwarded byte for byte: nothing is decoded or normalised, so that what was matched is what the runner sees.

use std::sync::Arc;

use http::Method;
use http::uri::Uri;

use super::config::Forward;
use super::plainest_path::plainest_path;
use crate::model::{Access, Function, Intent};

/// Where the built-in way to every function begins.
const INVOKE: &str = "/invoke/";

/// One configured route, with its function found.
#[derive(Clone, Debug)]
pub(super) struct Route {
    /// Lower case, without port.
    pub(super) host: Option<String>,
    /// Starts with `/`; ends with one only if it is the root.
    pub(super) path: String,
    pub(super) function: Arc<Function>,
    pub(super) forward: Forward,
    /// Protocols that clients may switch to, in lower case.
    pub(super) upgrade: Arc<[String]>,
}

/// The routes, best match first.
#[derive(Debug, Default)]
pub(super) struct RouteTable {
    routes: Vec<Route>,
}

/// A request's function and what of its target reaches the runner.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) function: Arc<Function>,
    pub(super) rest: String,
    pub(super) intent: Intent,
    /// Protocols that the client may switch to.
    pub(super) upgrade: Option<Arc<[String]>>,
}

impl RouteTable {
    pub(super) fn new(mut routes: Vec<Route>) -> Self {
        routes.sort_by_key(|route| std::cmp::Reverse((route.host.is_some(), route.path.len())));
        Self { routes }
    }

    /// The function of a request that is not for `/invoke/`.
    pub(super) fn find(&self, host: Option<&str>, uri: &Uri) -> Option<Destination> {
        let path = uri.path();
        let route = self.routes.iter().find(|route| is_host(route, host) && below(path, &route.path).is_some())?;
        let path = match route.forward {
            Forward::AsIs => path,
            Forward::BelowRoute => below(path, &route.path)?,
        };
        let upgrade = (!route.upgrade.is_empty()).then(|| Arc::clone(&route.upgrade));
        let function = Arc::clone(&route.function);
        Some(Destination { function, rest: with_query(path, uri), intent: Intent::HttpRequest, upgrade })
    }
}

impl RouteTable {
    /// Whether any route asks who is calling, or counts how often.
    pub(super) fn has_guarded(&self) -> bool {
        self.routes.iter().any(|route| is_guarded(&route.function))
    }

    /// The function that asks who is calling (or how often), if a server could read a path that is forwarded for `chosen` as one of its own.
    pub(super) fn disguised(&self, host: Option<&str>, forwarded: &str, chosen: &Arc<Function>) -> Option<&Arc<Function>> {
        let path = plainest_path(forwarded.split('?').next().unwrap_or_default());
        let route = self.routes.iter().filter(|route| route.forward == Forward::AsIs).find(|route| {
            let head = path.get(..route.path.len());
            let is_below = route.path == "/"
                || head.is_some_and(|head| head.eq_ignore_ascii_case(&route.path))
                    && path[route.path.len()..].chars().next().is_none_or(|next| next == '/');
            is_below && is_host(route, host)
        })?;
        (route.function.name() != chosen.name() && is_guarded(&route.function)).then_some(&route.function)
    }
}

fn is_guarded(function: &Function) -> bool {
    function.spec.access != Access::Open || function.spec.rate_limit.is_some()
}

fn is_host(route: &Route, host: Option<&str>) -> bool {
    let wanted = route.host.as_deref();
    wanted.is_none_or(|wanted| host.is_some_and(|host| plain_host(host).eq_ignore_ascii_case(wanted.trim_end_matches('.'))))
}

/// The name and the rest of a request for `/invoke/{function}{rest}`.
pub(super) fn invoke_target(uri: &Uri) -> Option<(&str, &str)> {
    let tail = uri.path().strip_prefix(INVOKE)?;
    let name_end = tail.find('/').unwrap_or(tail.len());
    Some(tail.split_at(name_end))
}

/// A plain `POST /invoke/{function}` is Fn's invoke; whatever says more than that is an HTTP request to the function.
pub(super) fn invoke_intent(method: &Method, rest: &str) -> Intent {
    if *method == Method::POST && rest.is_empty() { Intent::Invoke } else { Intent::HttpRequest }
}

/// `path` with the request's query.
pub(super) fn with_query(path: &str, uri: &Uri) -> String {
    match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    }
}

/// What of `path` is below `prefix`, in whole segments.
fn below<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The host that `authority` names, without its port; and without the dot at its end, with which it is the same name (RFC 1034 section 3.1): servers take either for theirs.
fn plain_host(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        // A colon within brackets belongs to an IPv6 address.
        Some((host, port)) if !port.ends_with(']') => host,
        _ => authority,
    };
    host.trim_end_matches('.')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::FunctionSpec;

    fn function(name: &str) -> Arc<Function> {
        Arc::new(Function::new(FunctionSpec::named(name.parse().unwrap())))
    }

    fn route(host: Option<&str>, path: &str, name: &str, forward: Forward) -> Route {
        Route { host: host.map(str::to_owned), path: path.to_owned(), function: function(name), forward, upgrade: Arc::default() }
    }

    fn table() -> RouteTable {
        RouteTable::new(vec![
            route(None, "/", "web", Forward::AsIs),
            route(None, "/img", "resize", Forward::BelowRoute),
            route(None, "/img/raw", "raw", Forward::AsIs),
            route(Some("api.example"), "/", "api", Forward::BelowRoute),
            route(Some("[::1]"), "/", "six", Forward::AsIs),
            route(Some("dotted.example."), "/", "dotted", Forward::AsIs),
        ])
    }

    fn found(host: Option<&str>, target: &str) -> (String, String) {
        let found = table().find(host, &target.parse().unwrap()).unwrap();
        (found.function.name().to_string(), found.rest)
    }

    #[test]
    fn the_longest_path_wins_and_a_host_wins_over_none() {
        for (host, target, name, rest) in [
            (None, "/", "web", "/"),
            (None, "/a?b=c", "web", "/a?b=c"),
            (None, "/img", "resize", ""),
            (None, "/img?w=1", "resize", "?w=1"),
            (None, "/img/cat.png?w=1", "resize", "/cat.png?w=1"),
            (None, "/imgs", "web", "/imgs"),
            (None, "/img/raw/1", "raw", "/img/raw/1"),
            (Some("api.example"), "/img/x", "api", "/img/x"),
            (Some("API.example:8080"), "/x", "api", "/x"),
            (Some("api.example."), "/x", "api", "/x"),
            (Some("api.example.:443"), "/x", "api", "/x"),
            (Some("[::1]:80"), "/x", "six", "/x"),
            (Some("dotted.example"), "/x", "dotted", "/x"),
            (Some("dotted.example.:80"), "/x", "dotted", "/x"),
            (Some("other"), "/img/%2e%2e//x", "resize", "/%2e%2e//x"),
        ] {
            assert_eq!(found(host, target), (name.to_owned(), rest.to_owned()), "{host:?} {target}");
        }
    }

    #[test]
    fn a_guarded_route_cannot_be_reached_by_a_path_that_only_a_server_reads_as_its_own() {
        let guarded =
            Arc::new(Function::new(FunctionSpec { access: Access::Token, ..FunctionSpec::named("tok".parse().unwrap()) }));
        let tok = Route { function: Arc::clone(&guarded), ..route(None, "/tok", "tok", Forward::AsIs) };
        let table =
            RouteTable::new(vec![route(None, "/", "web", Forward::AsIs), tok, route(None, "/tok/open", "web", Forward::AsIs)]);
        assert!(table.has_guarded());
        let web = function("web");
        let caught = |path: &str| table.disguised(Some("a"), path, &web).is_some();
        for path in ["/tok/s", "/tok", "/TOK/s", "/%74ok/s?x", "/x/../tok/s", "//tok/s", "/%2e/tok"] {
            assert!(caught(path), "{path}");
        }
        for path in ["/", "/token", "/x/tok", "/tok/open/x", "/a?b=/tok", ""] {
            assert!(!caught(path), "{path}");
        }
        assert!(table.disguised(None, "/tok/s", &guarded).is_none(), "it is its own");
    }

    #[test]
    fn nothing_is_found_where_no_route_leads() {
        let table = RouteTable::new(vec![route(Some("a"), "/x", "f", Forward::AsIs)]);
        assert_eq!(table.find(Some("b"), &"/x".parse().unwrap()), None);
        assert_eq!(table.find(None, &"/x".parse().unwrap()), None);
        assert_eq!(table.find(Some("a"), &"/xy".parse().unwrap()), None);
    }

    #[test]
    fn a_plain_post_is_fns_invoke_and_all_else_an_http_request() {
        let target = |text: &str| {
            let uri: Uri = text.parse().unwrap();
            invoke_target(&uri).map(|(name, rest)| (name.to_owned(), rest.to_owned()))
        };
        assert_eq!(target("/invoke/hello"), Some(("hello".into(), String::new())));
        assert_eq!(target("/invoke/hello/a/b?c"), Some(("hello".into(), "/a/b".into())));
        assert_eq!(target("/invoke"), None);
        assert_eq!(invoke_intent(&Method::POST, ""), Intent::Invoke);
        assert_eq!(invoke_intent(&Method::POST, "/a"), Intent::HttpRequest);
        assert_eq!(invoke_intent(&Method::GET, ""), Intent::HttpRequest);
    }
}
