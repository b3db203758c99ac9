//! Keys that may do some things and not others, over the real port.

use std::time::Duration;

use serde_json::json;

use super::super::route::{OBSERVE, Open, Route, TABLE};
use super::super::{Live, MetricsAccess};
use super::CALLS;
use super::node::{Got, KEY, KEY_SHA256, Node, keys, keys_that_may, limits, start};
use crate::auth::api_key::{ApiKeySource, ApiKeys};
use crate::auth::permissions::{Permissions, Right};
use crate::control::Access;
use crate::directory::{LastClose, NewAgent};
use crate::kit::ids::ConnId;
use crate::kit::labels::Condition;
use crate::kit::network::PrefixBits;
use crate::kit::tick::Now;
use crate::kit::token_bucket::Rate;
use crate::net::arrivals::ArrivalLimits;
use crate::session::reason::Reason;
use crate::wire::envelope::Encoding;

/// Another key: its text, and its hash.
const OTHER: (&str, &str) = ("other", "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa");

fn with(head: &str, key: &str) -> String {
    format!("{head}\r\nAuthorization: Bearer {key}")
}

fn condition(key: &str, value: &str) -> Vec<Condition> {
    vec![(key.to_owned(), value.to_owned())]
}

/// Every route with every right alone: what a key may do is what the table says, and nothing else.
#[test]
fn each_route_takes_its_right_and_no_other() {
    for right in Right::ALL {
        let permissions = Permissions::new(Some(&[right]), None, Vec::new());
        let node = start(keys_that_may(permissions.clone()), limits());
        for metrics in [MetricsAccess::Open, MetricsAccess::Keyed] {
            node.shared.swap(Live { access: keys_that_may(permissions.clone()), limits: limits(), metrics });
            for row in &TABLE {
                let path = row.template.replace("{agent}", "nobody");
                let head = with(&format!("{} {path} HTTP/1.1", row.method), KEY);
                let got = node.ask(&head, r#"{"method":"echo"}"#);
                let needs = match row.route {
                    Route::Keyed(route) => Some(route.right()),
                    Route::Open(Open::Metrics) if metrics == MetricsAccess::Keyed => Some(OBSERVE),
                    Route::Open(_) => None,
                };
                let allowed = needs.is_none_or(|needs| needs == right);
                assert_eq!(got.status != 403, allowed, "{right:?} {head}: {got:?}");
                assert!(row.statuses.contains(&got.status), "{right:?} {head}: {got:?}");
                if let Some(needs) = needs.filter(|_| !allowed) {
                    assert_eq!(got.json()["type"], "/problems/forbidden", "{head}");
                    assert!(got.json()["detail"].as_str().unwrap().contains(needs.word()), "{got:?}");
                }
            }
        }
    }
    // The table names every right that there is something for.
    let right = |route: &Route| match route {
        Route::Keyed(keyed) => Some(keyed.right()),
        Route::Open(_) => None,
    };
    let named: Vec<Right> = TABLE.iter().filter_map(|row| right(&row.route)).collect();
    assert!(Right::ALL.iter().all(|right| named.contains(right)), "a right that nothing takes: {named:?}");
}

/// An answer without what differs from request to request: the date, and the name that was asked for.
fn shape(got: &Got, agent: &str) -> (u16, String, String) {
    let head = got.head.lines().filter(|line| !line.starts_with("date:")).collect::<Vec<_>>().join("\n");
    (got.status, head, got.body.replace(agent, "AGENT"))
}

#[test]
fn a_hidden_agent_is_an_agent_that_does_not_exist() {
    // `web-1` is in `region=eu`.
    let permissions = Permissions::new(None, None, condition("region", "us"));
    let node = start(keys_that_may(permissions), limits());
    for (method, rest, body) in [
        ("POST", "/calls", r#"{"method":"echo"}"#),
        ("POST", "/calls", r#"{"method":"echo","timeout":"1ms"}"#),
        ("GET", "", ""),
        ("DELETE", "", ""),
        ("DELETE", "?reason=x", ""),
        ("PUT", "", ""),
        ("HEAD", "", ""),
    ] {
        for field in ["", "\r\nIdempotency-Key: k"] {
            let ask = |agent: &str| {
                let head = format!("{method} /v1/agents/{agent}{rest} HTTP/1.1{field}");
                shape(&node.ask(&with(&head, KEY), body), agent)
            };
            let (hidden, unknown) = (ask("web-1"), ask("web-9"));
            assert_eq!(hidden, unknown, "{method} {rest}");
            assert!(hidden.0 == 404 || method == "PUT", "{hidden:?}");
        }
    }
    let listed = node.ask(&with("GET /v1/agents HTTP/1.1", KEY), "").json();
    assert_eq!(listed, json!({"agents": [], "next": null}));
    let listed = node.ask(&with("GET /v1/agents?label=region=eu HTTP/1.1", KEY), "").json();
    assert_eq!(listed, json!({"agents": [], "next": null}));
    assert!(node.told.is_empty(), "nobody was called, and nobody was sent away");

    let permissions = Permissions::new(None, None, condition("region", "eu"));
    node.shared.swap(Live { access: keys_that_may(permissions), limits: limits(), metrics: MetricsAccess::Open });
    assert_eq!(node.ask(&with(CALLS, KEY), r#"{"method":"echo"}"#).status, 200);
    let listed = node.ask(&with("GET /v1/agents HTTP/1.1", KEY), "").json();
    assert_eq!(listed["agents"][0]["agent"], "web-1");
    assert_eq!(node.ask(&with("DELETE /v1/agents/web-1 HTTP/1.1", KEY), "").status, 204);
}

#[test]
fn why_an_agent_is_gone_is_told_to_who_reaches_all_agents_alone() {
    let node = start(keys(), limits());
    let directory = node.dispatch.directory();
    let conn = ConnId::new(0, 9, 9);
    let labels = [("region".to_owned(), "us".to_owned())];
    let tenant = node.dispatch.tenant("default");
    let agent = NewAgent {
        tenant,
        id: "gone",
        labels: &labels,
        methods: None,
        conn,
        encoding: Encoding::Json,
        token: crate::directory::TokenMark::NONE,
    };
    let joined = directory.join(&agent, node.dispatch.arrivals().generations()).unwrap();
    assert!(directory.leave(joined.slot, conn, LastClose { reason: Reason::PeerClosed, at: Now(1) }));
    let look = |node: &Node| node.ask(&with("GET /v1/agents/gone HTTP/1.1", KEY), "").json();
    assert_eq!(look(&node)["last_close"]["reason"], "peer_closed");
    for region in ["us", "eu"] {
        let access = keys_that_may(Permissions::new(None, None, condition("region", region)));
        node.shared.swap(Live { access, limits: limits(), metrics: MetricsAccess::Open });
        assert_eq!(look(&node).get("last_close"), None, "{region}: nobody knows any more which labels it had");
    }
}

#[test]
fn a_method_that_a_key_may_not_call_is_forbidden_whoever_is_called() {
    let methods = vec!["disk.*".parse().unwrap(), "echo".parse().unwrap()];
    let node = start(keys_that_may(Permissions::new(Some(&[Right::Call]), Some(methods), Vec::new())), limits());
    for agent in ["web-1", "web-9"] {
        let head = format!("POST /v1/agents/{agent}/calls HTTP/1.1");
        let got = node.ask(&with(&head, KEY), r#"{"method":"shell.exec"}"#);
        assert_eq!((got.status, &got.json()["type"]), (403, &json!("/problems/forbidden")));
        assert!(got.json().get("outcome").is_none() && !got.body.contains(agent), "{got:?}");
    }
    assert!(node.told.is_empty());
    assert_eq!(node.ask(&with(CALLS, KEY), r#"{"method":"echo"}"#).status, 200);
}

#[test]
fn what_one_key_was_answered_is_not_told_to_another() {
    let source = |name: &str, sha256: &str| {
        let (name, sha256, tenant) = (name.to_owned(), sha256.to_owned(), "default".to_owned());
        ApiKeySource { name, sha256, tenant, permissions: Permissions::everything() }
    };
    let access = Access::Keys(ApiKeys::new(&[source("one", KEY_SHA256), source("two", OTHER.1)]).unwrap());
    let node = start(access, limits());
    let head = format!("{CALLS}\r\nIdempotency-Key: k");
    let ask = |key: &str| {
        let got = node.ask(&with(&head, key), r#"{"method":"echo"}"#);
        (got.status, got.head.contains("idempotency-replayed"))
    };
    assert_eq!([ask(KEY), ask(KEY)], [(200, false), (200, true)]);
    assert_eq!([ask(OTHER.0), ask(OTHER.0)], [(200, false), (200, true)], "its own call, and its own answer");
}

/// The call has run, whatever the agent's token says by now: who repeats it must not be told that nothing was sent.
#[test]
fn a_call_that_was_answered_is_repeated_also_where_the_agents_token_lists_it_no_more() {
    let node = start(keys(), limits());
    let ask = |field: &str| node.ask(&with(&format!("{CALLS}{field}"), KEY), r#"{"method":"echo"}"#);
    let keyed = "\r\nIdempotency-Key: k";
    let first = ask(keyed);
    assert_eq!(first.status, 200, "{first:?}");
    let labels = [("region".to_owned(), "eu".to_owned())];
    let bound = NewAgent {
        tenant: node.dispatch.tenant("default"),
        id: "web-1",
        labels: &labels,
        methods: Some(&[]),
        conn: ConnId::new(0, 1, 1),
        encoding: Encoding::Json,
        token: crate::directory::TokenMark::NONE,
    };
    assert!(node.dispatch.directory().renew(&bound));
    let again = ask(keyed);
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert!(again.head.contains("idempotency-replayed: true"), "{again:?}");
    for field in ["", "\r\nIdempotency-Key: other"] {
        let got = ask(field);
        assert_eq!((got.status, &got.json()["type"]), (403, &json!("/problems/forbidden")), "{field}");
    }
    // What the key itself may not call any more is not told either.
    let methods = Some(vec!["other".parse().unwrap()]);
    let access = keys_that_may(Permissions::new(None, methods, Vec::new()));
    node.shared.swap(Live { access, limits: limits(), metrics: MetricsAccess::Open });
    assert_eq!(ask(keyed).status, 403);
}

#[test]
fn a_network_that_fails_too_often_is_not_tried_for_a_while() {
    let node = start(keys(), limits());
    let minute = Duration::from_secs(60);
    let arrivals = ArrivalLimits {
        prefix_failed_logins: Rate::new(2, minute, minute),
        prefix: PrefixBits { v4: 24, v6: 56 },
        prefixes: 1000,
        ..ArrivalLimits::none()
    };
    node.dispatch.arrivals().set(arrivals);
    let list = |key: &str| node.ask(&with("GET /v1/agents HTTP/1.1", key), "");
    assert_eq!(list(KEY).status, 200);
    assert_eq!([list("wrong").status, node.ask("GET /v1/node HTTP/1.1", "").status], [401, 401]);
    for key in ["wrong", KEY] {
        let got = list(key);
        assert_eq!((got.status, &got.json()["type"]), (429, &json!("/problems/failed_logins")), "{key}");
        assert!(got.head.contains("retry-after: "), "{got:?}");
    }
    assert_eq!(node.ask("GET /livez HTTP/1.1", "").status, 200, "what needs no key is answered");
    node.dispatch.arrivals().set(ArrivalLimits::none());
    assert_eq!(list(KEY).status, 200);
}
