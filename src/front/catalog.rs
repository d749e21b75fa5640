//! What there is to call: functions by name, and the routes that lead to them. Immutable, and swapped whole at a reload.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Uri};

use super::config::RouteConfig;
use super::guard::Guard;
use super::routes::{Destination, Route, RouteTable, invoke_intent, invoke_target, with_query};
use super::token_config::FrontToken;
use crate::model::{Function, FunctionName, FunctionSpec};

/// Functions and routes.
#[derive(Debug, Default)]
pub struct Catalog {
    functions: BTreeMap<FunctionName, Arc<Function>>,
    routes: RouteTable,
    /// See [`Catalog::on_shared_servers`].
    is_watchful: bool,
    guard: Guard,
}

/// Functions or routes that do not fit together.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CatalogError {
    /// Two functions have one name.
    #[error("function `{0}` is defined twice")]
    DuplicateFunction(FunctionName),
    /// A route leads to a function that is not defined.
    #[error("route `{path}` leads to function `{function}`, which is not defined: expected one of {defined}")]
    UnknownFunction {
        /// The route's path.
        path: String,
        /// The name that is not defined.
        function: FunctionName,
        /// The names that are.
        defined: String,
    },
    /// Two routes match the same requests.
    #[error("route `{path}` (host {host}) is defined twice")]
    DuplicateRoute {
        /// The path of both.
        path: String,
        /// The host of both, or `any`.
        host: String,
    },
    /// A route's path is not one.
    #[error("route path `{path}` is not a path: expected it to start with `/` and to have no query")]
    InvalidPath {
        /// The text.
        path: String,
    },
}

/// Why a request has no destination.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NoDestination {
    /// `/invoke/` with a name that no function has.
    UnknownFunction(String),
    /// A path that no route matches.
    NoRoute(String),
    /// A path that a server could read as one of this function, which asks who is calling.
    Disguised(String),
}

impl Catalog {
    /// Functions and the routes to them. Nobody has a token yet: see [`Catalog::guarded_by`].
    ///
    /// # Errors
    /// See [`CatalogError`].
    pub fn new(functions: Vec<FunctionSpec>, routes: &[RouteConfig]) -> Result<Self, CatalogError> {
        let mut by_name = BTreeMap::new();
        for spec in functions {
            let name = spec.name.clone();
            if by_name.insert(name.clone(), Arc::new(Function::new(spec))).is_some() {
                return Err(CatalogError::DuplicateFunction(name));
            }
        }
        let mut table: Vec<Route> = Vec::with_capacity(routes.len());
        for config in routes {
            let route = resolve(config, &by_name)?;
            if table.iter().any(|other| other.path == route.path && other.host == route.host) {
                let host = route.host.unwrap_or_else(|| "any".to_owned());
                return Err(CatalogError::DuplicateRoute { path: config.path.clone(), host });
            }
            table.push(route);
        }
        let guard = Guard::new(by_name.values().map(|function| &function.spec), &[]);
        Ok(Self { functions: by_name, routes: RouteTable::new(table), is_watchful: false, guard })
    }

    /// The same for callers with these tokens.
    #[must_use]
    pub fn guarded_by(mut self, tokens: &[FrontToken]) -> Self {
        self.guard = Guard::new(self.functions.values().map(|function| &function.spec), tokens);
        self
    }

    /// Who may call what.
    pub(super) const fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Goes on counting calls where `former` was.
    pub(super) fn go_on_from(&mut self, former: &Self) {
        self.guard.go_on_from(&former.guard);
    }

    /// The functions, by name.
    pub fn functions(&self) -> impl Iterator<Item = &Arc<Function>> {
        self.functions.values()
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<&Arc<Function>> {
        self.functions.get(name)
    }

    /// All functions are paths of the same servers, which read paths in their own way: what could be read as the path of a function that asks who is calling is
    /// then refused to all others.
    #[must_use]
    pub fn on_shared_servers(mut self) -> Self {
        self.is_watchful = self.routes.has_guarded();
        self
    }

    /// Which function a request is for.
    pub(super) fn destination(&self, method: &Method, host: Option<&str>, uri: &Uri) -> Result<Destination, NoDestination> {
        let destination = self.named_or_routed(method, host, uri)?;
        if self.is_watchful
            && let Some(other) = self.routes.disguised(host, &destination.rest, &destination.function)
        {
            return Err(NoDestination::Disguised(other.name().to_string()));
        }
        Ok(destination)
    }

    fn named_or_routed(&self, method: &Method, host: Option<&str>, uri: &Uri) -> Result<Destination, NoDestination> {
        let invoked = invoke_target(uri);
        if let Some((name, rest)) = invoked
            && let Some(function) = self.function(name)
        {
            let intent = invoke_intent(method, rest);
            return Ok(Destination { function: Arc::clone(function), rest: with_query(rest, uri), intent, upgrade: None });
        }
        self.routes.find(host, uri).ok_or_else(|| match invoked {
            Some((name, _)) => NoDestination::UnknownFunction(name.to_owned()),
            None => NoDestination::NoRoute(uri.path().to_owned()),
        })
    }
}

fn resolve(config: &RouteConfig, functions: &BTreeMap<FunctionName, Arc<Function>>) -> Result<Route, CatalogError> {
    if !config.path.starts_with('/') || config.path.contains(['?', '#']) {
        return Err(CatalogError::InvalidPath { path: config.path.clone() });
    }
    let function = functions.get(&config.function).cloned().ok_or_else(|| {
        let defined: Vec<&str> = functions.keys().map(FunctionName::as_str).collect();
        let defined = if defined.is_empty() { "none".to_owned() } else { defined.join(", ") };
        CatalogError::UnknownFunction { path: config.path.clone(), function: config.function.clone(), defined }
    })?;
    let trimmed = config.path.trim_end_matches('/');
    let path = if trimmed.is_empty() { "/" } else { trimmed }.to_owned();
    let host = config.host.as_ref().map(|host| host.to_ascii_lowercase());
    let upgrade = config.upgrade.iter().map(|protocol| protocol.to_ascii_lowercase()).collect();
    Ok(Route { host, path, function, forward: config.forward, upgrade })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::Forward;

    fn spec(name: &str) -> FunctionSpec {
        FunctionSpec::named(name.parse().unwrap())
    }

    fn route(path: &str, function: &str) -> RouteConfig {
        RouteConfig {
            host: None,
            path: path.into(),
            function: function.parse().unwrap(),
            forward: Forward::AsIs,
            upgrade: Vec::new(),
        }
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let error =
            |functions: Vec<FunctionSpec>, routes: &[RouteConfig]| Catalog::new(functions, routes).unwrap_err().to_string();
        assert_eq!(error(vec![spec("a"), spec("a")], &[]), "function `a` is defined twice");
        assert_eq!(
            error(vec![spec("a"), spec("b")], &[route("/x", "c")]),
            "route `/x` leads to function `c`, which is not defined: expected one of a, b"
        );
        assert_eq!(error(vec![spec("a")], &[route("/x", "a"), route("/x/", "a")]), "route `/x/` (host any) is defined twice");
        assert_eq!(
            error(vec![spec("a")], &[route("x", "a")]),
            "route path `x` is not a path: expected it to start with `/` and to have no query"
        );
    }

    #[test]
    fn invoke_reaches_known_functions_and_leaves_other_names_to_the_routes() {
        let catalog = Catalog::new(vec![spec("web"), spec("hello")], &[route("/", "web")]).unwrap();
        let find = |target: &str| catalog.destination(&Method::POST, None, &target.parse().unwrap()).unwrap();
        assert_eq!(find("/invoke/hello").function.name().as_str(), "hello");
        assert_eq!(find("/invoke/hello?x=1").rest, "?x=1");
        assert_eq!(find("/invoke/other").function.name().as_str(), "web");
        assert_eq!(find("/invoke/other").rest, "/invoke/other");

        let bare = Catalog::new(vec![spec("hello")], &[]).unwrap();
        let none = |target: &str| bare.destination(&Method::GET, None, &target.parse().unwrap()).unwrap_err();
        assert_eq!(none("/invoke/other/x"), NoDestination::UnknownFunction("other".into()));
        assert_eq!(none("/nope"), NoDestination::NoRoute("/nope".into()));
    }

    #[test]
    fn on_shared_servers_no_open_function_lends_its_way_to_a_guarded_one() {
        let guarded = FunctionSpec { access: crate::model::Access::Token, ..spec("tok") };
        let routes = [RouteConfig { upgrade: Vec::new(), ..route("/", "web") }, route("/tok", "tok")];
        let catalog = || Catalog::new(vec![spec("web"), guarded.clone()], &routes).unwrap();
        let find = |catalog: &Catalog, target: &str| {
            catalog.destination(&Method::GET, Some("a"), &target.parse().unwrap()).map(|found| found.function.name().to_string())
        };
        let shared = catalog().on_shared_servers();
        for target in ["/invoke/web/tok/s", "/%74ok/s", "//tok/s", "/x/../tok/s"] {
            assert_eq!(find(&shared, target), Err(NoDestination::Disguised("tok".into())), "{target}");
            assert_eq!(find(&catalog(), target), Ok("web".into()), "functions of agents share no paths: {target}");
        }
        assert_eq!(find(&shared, "/tok/s"), Ok("tok".into()));
        assert_eq!(find(&shared, "/other"), Ok("web".into()));
    }
}
