//! Whom a revocation closes: those who are meant, and nobody else. When it is over: not before both clocks say so.

use std::path::{Path, PathBuf};

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
            methods: None,
            conn: ConnId::new(0, place as u32, 1),
            encoding: Encoding::Json,
            token: TokenMark::new(token, issued),
        };
        assert!(dispatch.directory.join(&agent, dispatch.arrivals().generations()).is_ok());
    }
    let ban = Ban { tenant: "acme".to_owned(), target, issued_before, reason: String::new(), expires_unix: None };
    let revocation = Revocation { id: 1, created_unix: NOW, created_ran: 0, ban };
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

const HOUR: u64 = 3600;

fn at(unix_secs: u64, running_secs: u64) -> Moment {
    Moment { unix_secs, running_secs }
}

/// A process: a node, and its keeper of the file.
fn process(path: &Path) -> (Arc<Dispatch>, Keeper) {
    let dispatch = Arc::new(node().0);
    let (journal, set) = Disk::open(path).unwrap();
    let keeper = Keeper::new(&dispatch, journal, set, 100);
    (dispatch, keeper)
}

fn revoke(dispatch: &Dispatch, keeper: &mut Keeper, agent: &str, expires_unix: Option<u64>, now: Moment) {
    let (tenant, reason) = ("acme".to_owned(), String::new());
    let ban = Ban { tenant, target: Target::Agent(agent.to_owned()), issued_before: None, reason, expires_unix };
    keeper.serve(dispatch, vec![Request::Add(ban, Box::new(|done| assert!(done.is_ok())))], now);
}

fn count(dispatch: &Dispatch) -> usize {
    dispatch.revocations().read().len()
}

fn path(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("holdfast-keeper-{name}-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    path
}

#[test]
fn a_wall_that_jumped_and_was_mended_has_taken_nothing_out() {
    let path = path("jump");
    let (dispatch, mut keeper) = process(&path);
    revoke(&dispatch, &mut keeper, "hour", Some(NOW + HOUR), at(NOW, 10));
    revoke(&dispatch, &mut keeper, "forever", None, at(NOW, 10));
    for now in [at(NOW + 50_000_000, 40), at(NOW + 60, 70), at(NOW + HOUR - 1, 10 + HOUR - 1), at(0, 10 + 9 * HOUR)] {
        keeper.sweep(&dispatch, now);
        assert_eq!(count(&dispatch), 2, "{now:?}");
    }
    // Another process, while the wall is ahead: what the one before had noted counts, and the rest has to be run again.
    drop(keeper);
    let (dispatch, mut keeper) = process(&path);
    assert!(keeper.noted_ran >= 10 + 9 * HOUR, "{}", keeper.noted_ran);
    keeper.sweep(&dispatch, at(NOW, 1));
    assert_eq!(count(&dispatch), 2, "by the wall it is not over");
    keeper.sweep(&dispatch, at(NOW + HOUR, 2));
    assert_eq!(count(&dispatch), 1);
    // What is over stays over, whatever the clocks of the next process say.
    drop(keeper);
    let (dispatch, _keeper) = process(&path);
    assert_eq!(count(&dispatch), 1);
    let _ = std::fs::remove_file(path);
}

#[test]
fn a_restart_while_the_wall_is_ahead_loses_nothing() {
    let path = path("restart");
    let (dispatch, mut keeper) = process(&path);
    revoke(&dispatch, &mut keeper, "hour", Some(NOW + HOUR), at(NOW, 0));
    keeper.sweep(&dispatch, at(NOW + NOTE_SECS, NOTE_SECS));
    drop(keeper);
    let (dispatch, mut keeper) = process(&path);
    for (running_secs, expected) in [(0, 1), (HOUR - NOTE_SECS - 1, 1), (HOUR - NOTE_SECS, 0)] {
        keeper.sweep(&dispatch, at(NOW + 50_000_000, running_secs));
        assert_eq!(count(&dispatch), expected, "{running_secs}");
    }
    let _ = std::fs::remove_file(path);
}

#[test]
fn how_long_the_gateway_runs_is_noted_only_where_it_matters() {
    let path = path("note");
    let (dispatch, mut keeper) = process(&path);
    let bytes = || std::fs::metadata(&path).unwrap().len();
    revoke(&dispatch, &mut keeper, "forever", None, at(NOW, 0));
    let before = bytes();
    (0..50).for_each(|n| keeper.sweep(&dispatch, at(NOW + n * NOTE_SECS, n * NOTE_SECS)));
    assert_eq!(bytes(), before);
    revoke(&dispatch, &mut keeper, "once", Some(NOW + 1_000_000), at(NOW, 60 * NOTE_SECS));
    let before = bytes();
    keeper.sweep(&dispatch, at(NOW, 60 * NOTE_SECS));
    let noted = bytes();
    keeper.sweep(&dispatch, at(NOW, 61 * NOTE_SECS - 1));
    assert!(noted > before && bytes() == noted);
    keeper.sweep(&dispatch, at(NOW, 61 * NOTE_SECS));
    assert!(bytes() > noted);
    let _ = std::fs::remove_file(path);
}

/// Somebody who revokes at each logout never leaves the thread without work.
#[test]
fn what_is_over_makes_room_also_while_requests_never_cease() {
    let path = path("busy");
    let dispatch = Arc::new(node().0);
    let (journal, set) = Disk::open(&path).unwrap();
    let mut keeper = Keeper::new(&dispatch, journal, set, 8);
    for n in 0..100 {
        let now = at(NOW + n * 10, n * 10);
        let ban = Ban {
            tenant: "acme".to_owned(),
            target: Target::TokenId(format!("j{n}")),
            issued_before: None,
            reason: String::new(),
            expires_unix: Some(now.unix_secs + 40),
        };
        let done = Box::new(move |done: Result<_, _>| assert!(done.is_ok(), "{n}: {done:?}"));
        keeper.turn(&dispatch, vec![Request::Add(ban, done)], now);
    }
    assert!(count(&dispatch) <= 8);
    let _ = std::fs::remove_file(path);
}

#[test]
fn many_that_mean_the_same_are_taken_out_and_those_of_the_others_stay() {
    let path = path("same");
    let (dispatch, mut keeper) = process(&path);
    for n in 0..90 {
        let expires_unix = (n % 3 > 0).then_some(NOW + HOUR);
        revoke(&dispatch, &mut keeper, "web-1", expires_unix, at(NOW, 0));
    }
    keeper.sweep(&dispatch, at(NOW + HOUR, HOUR));
    let left: Vec<u64> = dispatch.revocations().read().all().map(|revocation| revocation.id).collect();
    assert_eq!(left, (0..30).map(|n| n * 3 + 1).collect::<Vec<u64>>());
    let _ = std::fs::remove_file(path);
}
