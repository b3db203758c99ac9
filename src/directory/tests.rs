//! The directory through its own door: joins, leaves, lists, memory, races.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A later one for each number: generations begin at 1.
fn conn(n: u32) -> ConnId {
    ConnId::new(0, n, n + 1)
}

fn close(at: u64) -> LastClose {
    LastClose { reason: Reason::PeerVanished, at: Now(at) }
}

fn labels(text: &str) -> Vec<(String, String)> {
    text.split_whitespace().filter_map(|pair| pair.split_once('=')).map(|(k, v)| (k.into(), v.into())).collect()
}

/// Puts an agent in, with labels as `key=value key=value`.
fn join(directory: &Directory, tenant: TenantId, id: &str, conn: ConnId, text: &str) -> Joined {
    let agent = NewAgent {
        tenant,
        id,
        labels: &labels(text),
        methods: None,
        conn,
        encoding: encoding(conn),
        token: TokenMark::NONE,
    };
    directory.join(&agent, &Generations::default()).expect("there is room")
}

fn encoding(conn: ConnId) -> Encoding {
    match conn.slot() % 2 {
        0 => Encoding::Json,
        _ => Encoding::Binary,
    }
}

/// All pages of a list, one after the other.
fn walk(directory: &Directory, tenant: TenantId, filter: &Filter, limit: usize) -> Vec<Listed> {
    let (mut all, mut cursor) = (Vec::new(), Some(0));
    while let Some(at) = cursor {
        let page = directory.page(tenant, filter, at, limit);
        assert!(page.agents.len() <= limit);
        all.extend(page.agents);
        cursor = page.next;
    }
    all
}

fn ids(listed: &[Listed]) -> Vec<&str> {
    let mut ids: Vec<_> = listed.iter().map(|agent| agent.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[test]
fn agents_are_found_by_their_tokens_and_renewed_where_they_are() {
    let directory = Directory::new(TenantLimits { calls: 1, agents: 1000 }, 1);
    let bytes = |directory: &Directory| directory.bytes().tables;
    let before = bytes(&directory);
    let (acme, globex) = (directory.tenant("acme"), directory.tenant("globex"));
    let mark = |n: u32| TokenMark::new(Some(u64::from(n) + 1), Some(u64::from(n)));
    let agent = |tenant, id: &str, n: u32, put: &dyn Fn(&NewAgent<'_>) -> bool| {
        let (labels, conn, encoding) = (&labels("a=b"), conn(n), Encoding::Json);
        put(&NewAgent { tenant, id, labels, methods: None, conn, encoding, token: mark(n) })
    };
    let join = |new: &NewAgent<'_>| directory.join(new, &Generations::default()).is_ok();
    let renew = |new: &NewAgent<'_>| directory.renew(new);
    directory.keep_token_marks();
    for n in 0..300 {
        assert!(agent(acme, &format!("a{n}"), n, &join));
    }
    assert!(agent(globex, "a7", 500, &join));
    let found = |tenant, id: u64| directory.search(tenant, |_, mark| mark.has_id(id));
    assert_eq!((found(acme, 8), found(globex, 8), found(globex, 501)), (vec![conn(7)], vec![], vec![conn(500)]));
    assert_eq!(directory.search(acme, |_, mark| mark.is_before(10)).len(), 10);
    assert_eq!(directory.search(acme, |id, _| id == "a7"), [conn(7)]);
    // A newer token changes what is kept; another connection's, another tenant's or a stranger's changes nothing.
    for (tenant, id, n, expected) in
        [(acme, "a7", 7, true), (acme, "a7", 8, false), (globex, "a7", 7, false), (acme, "x", 7, false)]
    {
        let put =
            |new: &NewAgent<'_>| renew(&NewAgent { token: TokenMark::new(Some(9999), None), labels: &[], ..*new });
        assert_eq!(agent(tenant, id, n, &put), expected, "{id} {n}");
    }
    assert_eq!((found(acme, 9999), found(acme, 8)), (vec![conn(7)], vec![]));
    let filter = Filter { prefix: "a7".to_owned(), ..Filter::default() };
    let listed = walk(&directory, acme, &filter, 10);
    assert!(listed.iter().any(|agent| agent.id == "a7" && agent.labels.is_empty()), "{listed:?}");
    // Who comes again comes with the mark of the new token, and whose place is taken has none of the old one.
    assert!(agent(acme, "a7", 700, &join) && found(acme, 9999).is_empty());
    assert_eq!(found(acme, 701), [conn(700)]);
    let most = bytes(&directory) - before;
    assert!(most <= 301 * (16 + 12) + 64 * 64 * (40 + 13), "{most}");
}

#[test]
fn without_revocations_nothing_is_kept_of_tokens() {
    let directory = Directory::new(TenantLimits { calls: 1, agents: 1000 }, 1);
    let tenant = directory.tenant("acme");
    let token = TokenMark::new(Some(1), Some(1));
    let (conn, encoding) = (conn(1), Encoding::Json);
    let agent = NewAgent { tenant, id: "a", labels: &[], methods: None, conn, encoding, token };
    assert!(directory.join(&agent, &Generations::default()).is_ok());
    assert!(directory.search(tenant, |_, mark| mark != TokenMark::NONE).is_empty());
}

#[test]
fn an_agent_joins_and_leaves() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let joined = join(&directory, tenant, "web-1", conn(1), "os=linux zone=a");
    assert_eq!(joined.replaced, None);
    let located = Located { conn: conn(1), encoding: Encoding::Binary };
    assert_eq!(directory.locate(tenant, "web-1"), Some(located));
    assert_eq!(directory.look_up(tenant, "web-1").map(|(_, l, _)| l.len()), Some(2));
    assert_eq!(directory.last_close(tenant, "web-1"), None);
    assert_eq!(directory.len(), 1);

    assert!(directory.leave(joined.slot, conn(1), close(7)));
    assert!(!directory.leave(joined.slot, conn(1), close(8)), "only once");
    assert_eq!(directory.locate(tenant, "web-1"), None);
    assert_eq!(directory.look_up(tenant, "web-1"), None);
    assert_eq!(directory.last_close(tenant, "web-1"), Some(close(7)));
    assert!(directory.is_empty());
}

#[test]
fn a_newer_connection_takes_the_place() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let old = join(&directory, tenant, "web-1", conn(1), "v=1");
    let new = join(&directory, tenant, "web-1", conn(2), "v=2");
    assert_eq!((new.slot, new.replaced), (old.slot, Some(conn(1))));
    assert_eq!(directory.len(), 1);
    assert!(!directory.leave(old.slot, conn(1), close(1)), "moved on");
    assert_eq!(directory.last_close(tenant, "web-1"), None);
    let located = directory.locate(tenant, "web-1").map(|at| at.conn);
    assert_eq!(located, Some(conn(2)));
    assert_eq!(*directory.look_up(tenant, "web-1").expect("it is there").1[0].1, *"2");
    assert_eq!(directory.label_sets.len(), 1);
    let again = join(&directory, tenant, "web-1", conn(2), "v=2");
    assert_eq!(again.replaced, None, "it does not replace itself");
}

/// Connections of one agent that come in another order than they were accepted: the webhook took longer for one of them.
#[test]
fn an_older_connection_never_takes_the_place_of_a_newer_one() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let generations = Generations::default();
    // In three loops, in slots that say nothing of age.
    let [first, second, third] = [(2, 9), (0, 700), (1, 3)].map(|(l, slot)| ConnId::new(l, slot, generations.next()));
    let come = |conn, text: &str| {
        let (labels, encoding, token) = (&labels(text), Encoding::Json, TokenMark::new(Some(conn_bits(conn)), None));
        directory.join(&NewAgent { tenant, id: "web-1", labels, methods: None, conn, encoding, token }, &generations)
    };
    directory.keep_token_marks();
    let joined = come(second, "v=2").expect("nobody is there");
    for _ in 0..2 {
        assert_eq!(come(first, "v=1"), Err(NotJoined::Older { than: second }));
        // Nothing has changed: not where it is, not its labels, not what is kept of its token.
        assert_eq!(directory.locate(tenant, "web-1").map(|at| at.conn), Some(second));
        assert_eq!(*directory.look_up(tenant, "web-1").expect("it is there").1[0].1, *"2");
        assert_eq!(directory.search(tenant, |_, mark| mark.has_id(conn_bits(second))), [second]);
        assert_eq!((directory.len(), directory.label_sets.len()), (1, 1));
    }
    let newer = come(third, "v=3").expect("it is newer");
    assert_eq!((newer.slot, newer.replaced), (joined.slot, Some(second)));
    assert_eq!(come(second, "v=2"), Err(NotJoined::Older { than: third }));
    // Once the newer one is gone, the older one is all there is.
    assert!(directory.leave(newer.slot, third, close(1)));
    assert_eq!(come(first, "v=1").map(|joined| joined.replaced), Ok(None));
}

fn conn_bits(conn: ConnId) -> u64 {
    conn.bits() | 1
}

#[test]
fn what_an_agent_may_be_called_with_is_found_with_it() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let methods: Vec<Methods> = ["ping", "disk.*"].map(|text| text.parse().expect("a pattern")).into();
    let none: &[Methods] = &[];
    let agent = |id, methods, n| {
        let (conn, encoding, token) = (conn(n), Encoding::Binary, TokenMark::NONE);
        NewAgent { tenant, id, labels: &[], methods, conn, encoding, token }
    };
    let join = |new: &NewAgent<'_>| directory.join(new, &Generations::default()).is_ok();
    assert!(join(&agent("free", None, 1)) && join(&agent("bound", Some(&methods), 3)));
    assert!(join(&agent("same", Some(&methods), 5)) && join(&agent("mute", Some(none), 7)));
    assert_eq!(directory.label_sets.len(), 2, "equal ones are stored once, and none not at all");
    let called = |id: &str| {
        let found = directory.locate_to_call(tenant, id).expect("it is there");
        let looked_up = directory.look_up(tenant, id).expect("it is there");
        assert_eq!((found.0, &found.1), (looked_up.0, &looked_up.2));
        found.1.map(|methods| methods.len())
    };
    assert_eq!((called("free"), called("bound"), called("same"), called("mute")), (None, Some(2), Some(2), Some(0)));
    // A newer token says it anew.
    assert!(directory.renew(&agent("bound", Some(none), 3)) && directory.renew(&agent("mute", None, 7)));
    assert_eq!((called("bound"), called("same"), called("mute")), (Some(0), Some(2), None));
    assert_eq!(directory.locate_to_call(tenant, "nobody"), None);
}

#[test]
fn tenants_are_strangers() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let (acme, other) = (directory.tenant("acme"), directory.tenant("other"));
    assert_ne!(acme, other);
    assert_eq!(directory.tenant("acme"), acme);
    assert_eq!(&*directory.tenant_name(other), "other");
    let joined = join(&directory, acme, "web-1", conn(1), "os=linux");
    assert_eq!(directory.locate(other, "web-1"), None);
    assert_eq!(directory.look_up(other, "web-1"), None);
    assert_eq!(walk(&directory, other, &Filter::default(), 9), []);
    assert!(directory.leave(joined.slot, conn(1), close(1)));
    assert_eq!(directory.last_close(other, "web-1"), None);

    let calls = directory.tenant_calls(acme);
    let held: Vec<_> = (0..5).map_while(|_| calls.hold()).collect();
    assert_eq!((held.len(), calls.hold().is_none()), (5, true));
    assert!(directory.tenant_calls(other).hold().is_some());
    directory.set_tenant_limits(TenantLimits { calls: 6, agents: u32::MAX });
    assert!(calls.hold().is_some());
    let late = directory.tenant_calls(directory.tenant("late"));
    assert_eq!((0..9).map_while(|_| late.hold()).collect::<Vec<_>>().len(), 6);
}

#[test]
fn numbers_that_were_never_handed_out_are_values() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    join(&directory, tenant, "web-1", conn(1), "");
    for slot in [AgentSlot::NONE, AgentSlot(0), AgentSlot(77 << 20)] {
        assert!(!directory.leave(slot, conn(9), close(1)));
    }
    for cursor in [u64::MAX, 64 << 32, u64::from(u32::MAX)] {
        let page = directory.page(tenant, &Filter::default(), cursor, 5);
        assert!(page.agents.len() <= 1);
        assert!(directory.sweep(cursor, 5).0.len() <= 1);
    }
    let end = directory.page(tenant, &Filter::default(), 64 << 32, 5);
    assert_eq!(end, Page::default());
    assert_eq!(&*directory.tenant_name(TenantId(99)), "");
    assert!(directory.tenant_calls(TenantId(99)).hold().is_none());
    assert!(walk(&directory, TenantId(99), &Filter::default(), 5).is_empty());
}

#[test]
fn a_list_is_filtered() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    for (n, (id, text)) in
        [("web-1", "os=linux zone=a"), ("web-2", "os=linux zone=b"), ("db-1", "os=linux zone=a"), ("db-2", "")]
            .into_iter()
            .enumerate()
    {
        join(&directory, tenant, id, conn(n as u32), text);
    }
    let table: [(&str, &str, &[&str]); 7] = [
        ("", "", &["db-1", "db-2", "web-1", "web-2"]),
        ("web-", "", &["web-1", "web-2"]),
        ("", "zone=a", &["db-1", "web-1"]),
        ("", "zone=a os=linux", &["db-1", "web-1"]),
        ("web", "zone=a", &["web-1"]),
        ("", "zone=c", &[]),
        ("", "rack=a", &[]),
    ];
    for (prefix, text, expected) in table {
        let filter = Filter { prefix: prefix.into(), labels: labels(text) };
        for limit in [1, 2, 100] {
            let listed = walk(&directory, tenant, &filter, limit);
            assert_eq!(ids(&listed), expected, "{prefix} {text} {limit}");
        }
    }
    let listed = walk(&directory, tenant, &Filter::default(), 3);
    for agent in &listed {
        assert_eq!(Some(&agent.labels), directory.look_up(tenant, &agent.id).as_ref().map(|(_, labels, _)| labels));
        assert_eq!(agent.encoding, encoding(agent.conn));
    }
}

#[test]
fn a_page_looks_at_a_bounded_number_of_entries() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let (many, few) = (directory.tenant("many"), directory.tenant("few"));
    for n in 0..30_000 {
        join(&directory, many, &format!("agent-{n}"), conn(n), "");
    }
    join(&directory, few, "lone", conn(1 << 20), "");
    let (mut cursor, mut pages, mut seen) = (Some(0), 0, 0);
    while let Some(at) = cursor {
        let page = directory.page(few, &Filter::default(), at, 1000);
        seen += page.agents.len();
        pages += 1;
        cursor = page.next;
    }
    assert_eq!(seen, 1);
    assert!((4..=6).contains(&pages), "{pages}");

    let (mut cursor, mut conns) = (Some(0), BTreeSet::new());
    while let Some(at) = cursor {
        let (found, next) = directory.sweep(at, 700);
        assert!(found.len() <= 700);
        for located in found {
            assert!(conns.insert(located.conn));
        }
        cursor = next;
    }
    assert_eq!(conns.len(), 30_001);
}

#[test]
fn who_stays_is_seen_once_while_others_come_and_go() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let mut rng = fastrand::Rng::with_seed(11);
    for n in 0..2000 {
        join(&directory, tenant, &format!("stays-{n}"), conn(n), "v=1");
    }
    let mut moving: Vec<(AgentSlot, ConnId)> = Vec::new();
    let (mut seen, mut cursor, mut next_conn) = (BTreeMap::new(), Some(0), 10_000);
    while let Some(at) = cursor {
        let page = directory.page(tenant, &Filter::default(), at, 7);
        for agent in page.agents {
            *seen.entry(agent.id.to_string()).or_insert(0) += 1;
        }
        cursor = page.next;
        for _ in 0..5 {
            next_conn += 1;
            let id = format!("moves-{next_conn}");
            let text = format!("build={next_conn}");
            let joined = join(&directory, tenant, &id, conn(next_conn), &text);
            moving.push((joined.slot, conn(next_conn)));
        }
        while moving.len() > 50 {
            let (slot, conn) = moving.swap_remove(rng.usize(..moving.len()));
            assert!(directory.leave(slot, conn, close(1)));
        }
    }
    for n in 0..2000 {
        assert_eq!(seen.get(&format!("stays-{n}")), Some(&1), "{n}");
    }
}

#[test]
fn an_agent_costs_little_and_its_memory_comes_back() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let empty = directory.bytes().sum();
    for count in [15_000u32, 1_000_000] {
        let slots: Vec<_> = (0..count)
            .map(|n| join(&directory, tenant, &format!("agent-{n:08}"), conn(n), "os=linux zone=a").slot)
            .collect();
        let each = (directory.bytes().sum() - empty) as f64 / f64::from(count);
        assert!(each <= 60.0, "{each} bytes for each of {count}");
        for (n, slot) in (0..).zip(slots) {
            assert!(directory.leave(slot, conn(n), close(0)));
        }
        assert!(directory.is_empty());
        // A chunk of 64 entries and a small hash table for each shard.
        let left = directory.bytes().sum() - empty;
        assert!(left <= SHARDS * (64 * 40 + 2048), "{left}");
        assert_eq!(directory.label_sets.len(), 0);
    }
}

#[test]
fn labels_that_always_change_do_not_add_up() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 5);
    let tenant = directory.tenant("acme");
    let mut before = 0;
    for n in 0..20_000 {
        let text = format!("build={n}");
        let joined = join(&directory, tenant, &format!("agent-{}", n % 100), conn(n), &text);
        if n % 3 == 0 {
            assert!(directory.leave(joined.slot, conn(n), close(0)));
        }
        if n == 1000 {
            before = directory.bytes().sum();
        }
    }
    assert_eq!(directory.label_sets.len(), directory.len());
    assert!(directory.bytes().sum() <= before * 2, "{before} {}", directory.bytes().sum());
}

#[derive(Clone, Debug)]
enum Step {
    Join(u32, u32, u32),
    /// Leaves by the connection that joined at this place in the history: often one that has been replaced or has left.
    Leave(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2u32, 0..8u32, 0..3u32).prop_map(|(t, n, l)| Step::Join(t, n, l)),
        2 => (0..64usize).prop_map(Step::Leave),
    ]
}

proptest! {
    #[test]
    fn it_is_a_map_from_names_to_connections(steps in proptest::collection::vec(step(), 0..120)) {
        let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 1000);
        let tenants = [directory.tenant("a"), directory.tenant("b")];
        // Name to connection and label; and the last close of each name.
        let mut model: BTreeMap<(TenantId, String), (ConnId, String)> = BTreeMap::new();
        let mut closes = BTreeMap::new();
        let mut history: Vec<(AgentSlot, ConnId)> = Vec::new();
        for (at, step) in (0u32..).zip(&steps) {
            match *step {
                Step::Join(tenant, name, label) => {
                    let key = (tenants[tenant as usize], format!("agent-{name}"));
                    let text = format!("l={label}");
                    let joined = join(&directory, key.0, &key.1, conn(at), &text);
                    history.push((joined.slot, conn(at)));
                    let before = model.insert(key, (conn(at), text));
                    prop_assert_eq!(joined.replaced, before.map(|(conn, _)| conn));
                }
                Step::Leave(_) if history.is_empty() => {}
                Step::Leave(n) => {
                    let (slot, conn) = history[n % history.len()];
                    let on_it = model.iter().find(|(_, value)| value.0 == conn).map(|(key, _)| key.clone());
                    prop_assert_eq!(directory.leave(slot, conn, close(at.into())), on_it.is_some());
                    if let Some(key) = on_it {
                        model.remove(&key);
                        closes.insert(key, close(at.into()));
                    }
                }
            }
            prop_assert_eq!(directory.len(), model.len());
            let sets: BTreeSet<_> = model.values().map(|(_, text)| text).collect();
            prop_assert_eq!(directory.label_sets.len(), sets.len());
        }
        for tenant in tenants {
            let expected: Vec<_> = model.keys().filter(|key| key.0 == tenant).map(|key| key.1.as_str()).collect();
            let listed = walk(&directory, tenant, &Filter::default(), 3);
            prop_assert_eq!(ids(&listed), expected);
            for name in (0..8).map(|n| format!("agent-{n}")) {
                let key = (tenant, name.clone());
                let there = model.get(&key);
                let located = directory.locate(tenant, &name);
                prop_assert_eq!(located.map(|at| at.conn), there.map(|value| value.0));
                prop_assert_eq!(located.map(|at| at.encoding), there.map(|value| encoding(value.0)));
                let labels = directory.look_up(tenant, &name).map(|(_, l, _)| format!("l={}", l[0].1));
                prop_assert_eq!(labels, there.map(|value| value.1.clone()));
                prop_assert_eq!(directory.last_close(tenant, &name), closes.get(&key).copied());
            }
        }
    }
}

/// Threads move their own agents about while others list and look: nobody ever sees another agent's labels.
#[test]
fn lists_stay_true_while_threads_churn() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: u32::MAX }, 64);
    let tenant = directory.tenant("acme");
    for n in 0..200 {
        join(&directory, tenant, &format!("stays-{n}"), conn(n), &format!("who=stays-{n}"));
    }
    let check = |agent: &Listed| {
        assert_eq!(*agent.labels[0].1, *agent.id, "another's labels");
    };
    std::thread::scope(|scope| {
        for thread in 1..3u32 {
            let directory = &directory;
            scope.spawn(move || {
                for n in 0..4000 {
                    let conn = conn(thread * 100_000 + n);
                    let who = format!("moves-{thread}-{n}");
                    let joined = join(directory, tenant, &who, conn, &format!("who={who}"));
                    if n % 8 != 0 {
                        assert!(directory.leave(joined.slot, conn, close(0)));
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..30 {
                let listed = walk(&directory, tenant, &Filter::default(), 50);
                listed.iter().for_each(check);
                let stays = listed.iter().filter(|agent| agent.id.starts_with("stays-"));
                assert_eq!(stays.count(), 200);
            }
        });
    });
    assert_eq!(directory.len(), 200 + 2 * 500);
    assert_eq!(directory.label_sets.len(), directory.len());
}

#[test]
fn a_tenant_has_as_many_agents_as_it_may() {
    let directory = Directory::new(TenantLimits { calls: 5, agents: 2 }, 5);
    let [acme, other] = ["acme", "other"].map(|name| directory.tenant(name));
    let come = |tenant, id: &str, n| {
        let agent = NewAgent {
            tenant,
            id,
            labels: &labels("a=b"),
            methods: None,
            conn: conn(n),
            encoding: Encoding::Json,
            token: TokenMark::NONE,
        };
        directory.join(&agent, &Generations::default())
    };
    let one = come(acme, "one", 1).expect("the first");
    assert!(come(acme, "two", 2).is_ok());
    let bytes = directory.label_sets.bytes();
    assert_eq!(come(acme, "three", 3), Err(NotJoined::TenantFull));
    assert_eq!((directory.locate(acme, "three"), directory.len(), directory.label_sets.bytes()), (None, 2, bytes));
    assert!(come(other, "one", 4).is_ok(), "another tenant has room of its own");
    // One that comes back takes no more than it had, and what is replaced gives nothing back.
    let again = come(acme, "one", 5).expect("it has a place");
    assert_eq!((again.replaced, come(acme, "three", 6)), (Some(conn(1)), Err(NotJoined::TenantFull)));
    assert!(!directory.leave(one.slot, conn(1), close(1)));
    assert_eq!(come(acme, "three", 7), Err(NotJoined::TenantFull));
    assert!(directory.leave(again.slot, conn(5), close(2)));
    assert!(come(acme, "three", 8).is_ok());
    assert_eq!(come(acme, "four", 9), Err(NotJoined::TenantFull));
    directory.set_tenant_limits(TenantLimits { calls: 5, agents: 3 });
    assert!(come(acme, "four", 10).is_ok());
}
