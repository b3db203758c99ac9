//! The one table of routes: method, path, who may ask, and every status that it can answer.
//!
//! Owns matching, and is what the OpenAPI text and the metric labels are held against. It never looks at a body.
//!
//! A dozen rows are matched by hand and not by `axum::Router`: the router boxes a future for each request, and matching by
//! hand leaves one table where a router, labels for metrics and a list of statuses would be three.

use axum::http::Method;

use crate::auth::permissions::Right;

/// What a request asks for, by who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// For anybody who reaches the port.
    Open(Open),
    /// For holders of an API key.
    Keyed(Keyed),
}

/// What anybody may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Is the process alive?
    Live,
    /// Should traffic come here?
    Ready,
    /// Prometheus' text.
    Metrics,
    /// This API as OpenAPI 3.1.
    Description,
}

/// What holders of an API key may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyed {
    /// Call an agent.
    Call,
    /// List agents.
    List,
    /// Look at one agent.
    Show,
    /// Disconnect one agent.
    Disconnect,
    /// Look at this node.
    Node,
    /// Revoke tokens.
    Revoke,
    /// List revocations.
    Revocations,
    /// Take a revocation back.
    Unrevoke,
}

impl Keyed {
    /// What a key must be allowed to do for it: the one list of which route takes which right.
    #[must_use]
    pub const fn right(self) -> Right {
        match self {
            Self::Call => Right::Call,
            Self::List | Self::Show => Right::List,
            Self::Disconnect => Right::Disconnect,
            Self::Node => OBSERVE,
            Self::Revoke | Self::Revocations | Self::Unrevoke => Right::Administer,
        }
    }
}

/// What the node's figures take, and the metrics where they are not open: they are those of all tenants.
pub const OBSERVE: Right = Right::Observe;

/// One row of the table.
#[derive(Debug)]
pub struct Row {
    /// What it is.
    pub route: Route,
    /// The method; HEAD is taken as GET.
    pub method: Method,
    /// The path; a name in braces, such as `{agent}`, stands for one segment.
    pub template: &'static str,
    /// Every status of its answers.
    pub statuses: &'static [u16],
}

const CALLS: &str = "/v1/agents/{agent}/calls";
const AGENT: &str = "/v1/agents/{agent}";
/// The agents' WebSocket, which lives on the other port.
const AGENTS_OWN_PATH: &str = "/v1/agent";

/// Every route; the hot one first.
pub const TABLE: [Row; 12] = [
    row(
        Route::Keyed(Keyed::Call),
        Method::POST,
        CALLS,
        &[200, 400, 401, 403, 404, 408, 409, 410, 413, 422, 429, 499, 500, 502, 503, 504],
    ),
    row(Route::Keyed(Keyed::List), Method::GET, "/v1/agents", &[200, 400, 401, 403, 429]),
    row(Route::Keyed(Keyed::Show), Method::GET, AGENT, &[200, 400, 401, 403, 404, 429, 500, 503]),
    row(Route::Keyed(Keyed::Disconnect), Method::DELETE, AGENT, &[204, 400, 401, 403, 404, 429, 503]),
    row(Route::Keyed(Keyed::Node), Method::GET, "/v1/node", &[200, 401, 403, 429]),
    row(
        Route::Keyed(Keyed::Revoke),
        Method::POST,
        "/v1/revocations",
        &[201, 400, 401, 403, 408, 413, 429, 500, 503, 507],
    ),
    row(Route::Keyed(Keyed::Revocations), Method::GET, "/v1/revocations", &[200, 400, 401, 403, 429]),
    row(
        Route::Keyed(Keyed::Unrevoke),
        Method::DELETE,
        "/v1/revocations/{revocation}",
        &[204, 401, 403, 404, 429, 500, 503, 507],
    ),
    row(Route::Open(Open::Live), Method::GET, "/livez", &[200, 403]),
    row(Route::Open(Open::Ready), Method::GET, "/readyz", &[200, 403, 503]),
    row(Route::Open(Open::Metrics), Method::GET, "/metrics", &[200, 401, 403, 429]),
    row(Route::Open(Open::Description), Method::GET, "/openapi.json", &[200, 403]),
];

const fn row(route: Route, method: Method, template: &'static str, statuses: &'static [u16]) -> Row {
    Row { route, method, template, statuses }
}

/// What a method and a path lead to.
#[derive(Debug)]
pub enum Found<'p> {
    /// A route: its index in [`TABLE`], and the segment that stands for a name as it was written (empty where there is none).
    Route(usize, &'p str),
    /// The path exists, the method does not; these do.
    WrongMethod(String),
    /// The path of agents: it is served by the other port.
    AgentsPort,
    /// Nothing.
    Nothing,
}

/// Finds the route of a request.
#[must_use]
pub fn find<'p>(method: &Method, path: &'p str) -> Found<'p> {
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    let mut allowed = String::new();
    for (index, row) in TABLE.iter().enumerate() {
        let Some(agent) = capture(row.template, path) else {
            continue;
        };
        if row.method == *method {
            return Found::Route(index, agent);
        }
        if !allowed.is_empty() {
            allowed.push_str(", ");
        }
        allowed.push_str(row.method.as_str());
        if row.method == Method::GET {
            allowed.push_str(", HEAD");
        }
    }
    match path {
        _ if !allowed.is_empty() => Found::WrongMethod(allowed),
        AGENTS_OWN_PATH => Found::AgentsPort,
        _ => Found::Nothing,
    }
}

/// The segment that stands where the template has a name in braces, or the empty text where it has none; `None` when the path is
/// another.
fn capture<'p>(template: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, (_, after))) =
        template.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    else {
        return (template == path).then_some("");
    };
    let agent = path.strip_prefix(before)?.strip_suffix(after)?;
    (!agent.is_empty() && !agent.contains('/')).then_some(agent)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    fn route_of(method: Method, path: &str) -> Option<(Route, &str)> {
        match find(&method, path) {
            Found::Route(index, agent) => Some((TABLE[index].route, agent)),
            _ => None,
        }
    }

    #[test]
    fn paths_lead_to_their_routes() {
        for (method, path, expected) in [
            (Method::POST, "/v1/agents/web-1/calls", Some((Route::Keyed(Keyed::Call), "web-1"))),
            (Method::POST, "/v1/agents/calls/calls", Some((Route::Keyed(Keyed::Call), "calls"))),
            (Method::GET, "/v1/agents", Some((Route::Keyed(Keyed::List), ""))),
            (Method::GET, "/v1/agents/web-1", Some((Route::Keyed(Keyed::Show), "web-1"))),
            (Method::HEAD, "/v1/agents/web-1", Some((Route::Keyed(Keyed::Show), "web-1"))),
            (Method::DELETE, "/v1/agents/a%40b", Some((Route::Keyed(Keyed::Disconnect), "a%40b"))),
            (Method::DELETE, "/v1/revocations/2a", Some((Route::Keyed(Keyed::Unrevoke), "2a"))),
            (Method::POST, "/v1/revocations", Some((Route::Keyed(Keyed::Revoke), ""))),
            (Method::DELETE, "/v1/revocations/", None),
            (Method::HEAD, "/livez", Some((Route::Open(Open::Live), ""))),
            (Method::GET, "/v1/agents/", None),
            (Method::GET, "/v1/agents/a/b", None),
            (Method::POST, "/v1/agents//calls", None),
            (Method::POST, "/v1/agents/a/calls/", None),
            (Method::GET, "/livez/", None),
            (Method::GET, "/", None),
            (Method::GET, "", None),
        ] {
            assert_eq!(route_of(method.clone(), path), expected, "{method} {path}");
        }
    }

    #[test]
    fn a_wrong_method_names_the_right_ones() {
        for (method, path, allowed) in [
            (Method::PUT, "/v1/agents/web-1", "GET, HEAD, DELETE"),
            (Method::GET, "/v1/agents/web-1/calls", "POST"),
            (Method::POST, "/readyz", "GET, HEAD"),
        ] {
            match find(&method, path) {
                Found::WrongMethod(found) => assert_eq!(found, allowed),
                other => panic!("{method} {path}: {other:?}"),
            }
        }
    }

    #[test]
    fn agents_are_told_of_their_port() {
        assert!(matches!(find(&Method::GET, "/v1/agent"), Found::AgentsPort));
        assert!(matches!(find(&Method::GET, "/v1/nodes"), Found::Nothing));
    }

    /// The OpenAPI text and the table say the same: paths, methods, statuses, and who needs a key.
    #[test]
    fn the_openapi_text_says_what_the_table_says() {
        let text: Value = serde_json::from_str(super::super::operate::OPENAPI).unwrap();
        assert_eq!(text["openapi"], "3.1.0");
        assert_eq!(text["info"]["version"], env!("CARGO_PKG_VERSION"));
        let mut written = BTreeMap::new();
        for (path, operations) in text["paths"].as_object().unwrap() {
            for (method, operation) in operations.as_object().unwrap() {
                if method == "parameters" {
                    continue;
                }
                let statuses: Vec<u16> =
                    operation["responses"].as_object().unwrap().keys().map(|status| status.parse().unwrap()).collect();
                let open = operation["security"].as_array().is_some_and(|s| s.is_empty());
                written.insert((path.clone(), method.to_uppercase()), (statuses, open));
            }
        }
        let table: BTreeMap<_, _> = TABLE
            .iter()
            .map(|row| {
                let key = (row.template.to_owned(), row.method.to_string());
                (key, (row.statuses.to_vec(), matches!(row.route, Route::Open(_))))
            })
            .collect();
        assert_eq!(written, table);
    }

    /// Every `$ref` of the OpenAPI text leads somewhere.
    #[test]
    fn the_openapi_references_resolve() {
        fn walk(root: &Value, value: &Value) {
            match value {
                Value::Object(map) => {
                    if let Some(Value::String(reference)) = map.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    map.values().for_each(|value| walk(root, value));
                }
                Value::Array(list) => list.iter().for_each(|value| walk(root, value)),
                _ => {}
            }
        }
        let text: Value = serde_json::from_str(super::super::operate::OPENAPI).unwrap();
        walk(&text, &text);
    }
}
