//! Whom a revocation closes: those who are meant, and nobody else.

use crate::directory::NewAgent;
use crate::kit::ids::ConnId;
use crate::net::mailbox::Order;
use crate::wire::envelope::Encoding;
use crate::work::tests::node;

use super::*;

const NOW: u64 = 1_800_000_000;

/// Who is in: tenant, agent, the id of its token, when that was issued.
const LIVE: [(&str, &str, Option<&str>, Option<u64>); 6] = [
    ("acme", "web-1", Some("j1"), Some(NOW)),
    ("acme", "web-2", Some("j2"), Some(NOW - 3600)),
    ("acme", "web-3", None, None),
    ("globex", "web-1", Some("j1"), Some(NOW - 3600)),
    ("globex", "web-2", None, Some(NOW)),
    ("initech", "web-1", None, None),
];

/// Which of those who are in are closed.
fn closed(target: Target, issued_before: Option<u64>) -> Vec<usize> {
    let (dispatch, letters) = node();
    dispatch.directory.keep_token_marks();
    for (place, (tenant, id, token, issued)) in LIVE.into_iter().enumerate() {
        let token = token.map(|id| dispatch.revocations().hash(tenant, id));
        let agent = NewAgent {
            tenant: dispatch.directory.tenant(tenant),
            id,
            labels: &[],
            conn: ConnId::new(0, place as u32, 1),
            encoding: Encoding::Json,
            token: TokenMark::new(token, issued),
        };
        assert!(dispatch.directory.join(&agent).is_ok());
    }
    let ban = Ban { tenant: "acme".to_owned(), target, issued_before, reason: String::new(), expires_unix: None };
    let revocation = Revocation { id: 1, created_unix: NOW, ban };
    let told = Arc::new(std::sync::Mutex::new(None));
    let tell = Arc::clone(&told);
    let done = Box::new(move |result| *crate::kit::lock::lock(&tell) = Some(result));
    apply(&dispatch, Change::Add(revocation.clone()), Accepted::Add(done));
    assert_eq!(*crate::kit::lock::lock(&told), Some(Ok(revocation)), "whoever asked is told");
    let mut closed = Vec::new();
    let mut orders: Vec<Order> = std::iter::from_fn(|| letters.take()).collect();
    while let Some(order) = orders.pop() {
        match order {
            Order::Many(more) => orders.extend(more),
            Order::Close { conn, reason: Reason::Revoked, .. } => {
                closed.extend((0..LIVE.len()).filter(|place| ConnId::new(0, *place as u32, 1) == conn));
            }
            _ => panic!("nothing else is ordered"),
        }
    }
    closed.sort_unstable();
    closed
}

#[test]
fn a_revocation_closes_those_who_are_meant_and_nobody_else() {
    for (target, before, expected) in [
        (Target::TokenId("j1".to_owned()), None, &[0][..]),
        (Target::TokenId("j1".to_owned()), Some(NOW), &[]),
        (Target::TokenId("j2".to_owned()), Some(NOW), &[1]),
        (Target::TokenId("j9".to_owned()), None, &[]),
        (Target::Agent("web-1".to_owned()), None, &[0]),
        (Target::Agent("web-3".to_owned()), Some(NOW - 9000), &[2]),
        (Target::Tenant, None, &[0, 1, 2]),
        // Who does not say when its token was issued is meant too.
        (Target::Tenant, Some(NOW), &[1, 2]),
    ] {
        assert_eq!(closed(target.clone(), before), expected, "{target:?} {before:?}");
    }
}
