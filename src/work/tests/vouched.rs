//! Tokens that somebody vouched for a while ago, at the door and from those who are in: whose they are, and whether they have ended since.

use super::*;
use crate::auth::token::{Claims, Login};
use crate::work::handlers::{knock, refresh};
use crate::work::put_off::Shown;
use crate::work::webhook::Decision;

/// A login that ends so many seconds from now.
fn login(dispatch: &Dispatch, tenant: &str, agent: &str, ends_in: Option<i64>) -> Login {
    let now_unix = dispatch.moment(Now(0)).unix_secs;
    let ends_unix = ends_in.map(|secs| now_unix.saturating_add_signed(secs));
    let claims = Claims {
        agent: agent.to_owned(),
        tenant: tenant.to_owned(),
        labels: Vec::new(),
        methods: None,
        expires_unix: ends_unix.unwrap_or(u64::MAX),
        issued_unix: None,
        token_id: None,
    };
    Login { claims, ends_unix }
}

/// What the loop was told.
fn told(letters: &Letters) -> Vec<&'static str> {
    let mut orders: Vec<Order> = std::iter::from_fn(|| letters.take()).collect();
    let mut told = Vec::new();
    while let Some(order) = orders.pop() {
        match order {
            Order::Many(more) => orders.extend(more),
            Order::Admit(_) => told.push("admit"),
            Order::Refuse { .. } => told.push("refuse"),
            Order::Renew(_) => told.push("renew"),
            Order::Send { .. } => told.push("send"),
            Order::Describe { .. } => told.push("describe"),
            _ => told.push("else"),
        }
    }
    told
}

#[test]
fn an_answer_that_has_ended_since_lets_nobody_in() {
    for (ends_in, expected) in [(None, "admit"), (Some(60), "admit"), (Some(0), "refuse"), (Some(-60), "refuse")] {
        let (dispatch, letters) = node();
        let decision = Decision::Allowed(login(&dispatch, DEV_TENANT, "web-1", ends_in));
        let mut answers = Answers::default();
        let knocking = greeting(Some("opaque"));
        knock::decided(&dispatch, &mut answers, (ConnId::new(0, 1, 1), &knocking), Some(decision), Now(0));
        pool::settle(&dispatch, &mut answers);
        assert_eq!(told(&letters), [expected], "{ends_in:?}");
    }
}

#[test]
fn a_newer_token_must_be_of_this_very_agent_and_good_still() {
    let (dispatch, letters) = node();
    let conn = ConnId::new(0, 1, 1);
    super::knock(&dispatch, conn, None);
    assert_eq!(told(&letters), ["admit"]);
    for (tenant, agent, ends_in, expected) in [
        // Who is refused is a refused login, and its loop is asked where that came from.
        (DEV_TENANT, "web-2", Some(60), &["send", "describe"][..]),
        ("globex", "web-1", Some(60), &["send", "describe"]),
        (DEV_TENANT, "web-1", Some(0), &["send", "describe"]),
        (DEV_TENANT, "web-1", Some(60), &["renew"]),
        (DEV_TENANT, "web-1", None, &["renew"]),
    ] {
        let decision = Decision::Allowed(login(&dispatch, tenant, agent, ends_in));
        let mut answers = Answers::default();
        let shown = Shown {
            conn,
            encoding: Encoding::Json,
            id: b"1".to_vec(),
            token: "opaque".to_owned().into(),
            place: dispatch.checking().begin(conn),
        };
        refresh::decided(&dispatch, &mut answers, shown, Some(decision), Now(0));
        pool::settle(&dispatch, &mut answers);
        assert_eq!(told(&letters), expected, "{tenant}/{agent} {ends_in:?}");
    }
}

/// What is put off is kept, so an id has a bound as on links: a message may be made of nothing else.
#[test]
fn a_newer_token_with_a_long_id_is_not_kept() {
    let conn = ConnId::new(0, 1, 1);
    for (bytes, expected) in [(62, None), (63, Some("-32600")), (1 << 20, Some("-32600"))] {
        let (dispatch, letters) = node();
        super::knock(&dispatch, conn, None);
        assert_eq!(told(&letters), ["admit"]);
        let id = "x".repeat(bytes);
        let text = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"refresh","params":{{"token":"opaque"}}}}"#);
        let message = Event::Message { conn, encoding: Encoding::Json, body: Bytes::from(text) };
        let mut answers = Answers::default();
        pool::apply(&dispatch, &mut answers, message, Now(0));
        let is_put_off = !answers.1.is_empty();
        answers.1.take(1).clear();
        assert!(dispatch.checking().begin(conn).is_some(), "nobody's token is being checked");
        pool::settle(&dispatch, &mut answers);
        let said = std::iter::from_fn(|| letters.take()).find_map(|order| match order {
            Order::Send { frame, .. } => Some(String::from_utf8_lossy(&frame).into_owned()),
            _ => None,
        });
        assert_eq!(is_put_off, expected.is_none(), "{bytes}");
        assert_eq!(said.is_some(), expected.is_some(), "{bytes}");
        assert!(expected.is_none_or(|code| said.as_ref().is_some_and(|said| said.contains(code))), "{bytes}");
    }
}
