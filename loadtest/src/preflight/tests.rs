//! A roomy host, and one limit after the other made tight.

use super::*;

fn roomy() -> Host {
    Host {
        server: Some(Tables { tables: 2, descriptors_each: 1 << 20 }),
        nr_open: 1 << 20,
        ports: (1024, 65_535),
        pairs: 250,
        files_max: 10_000_000,
        files_open: 1000,
        epoll_watches: Some(5_000_000),
        conntrack: None,
        memory_available: 64 << 30,
        group_memory_left: None,
        tcp_pages_pressure: 8_000_000,
        tcp_pages_used: 100,
    }
}

#[test]
fn a_roomy_host_bites_nowhere_and_says_what_is_next() {
    let preflight = check(1_000_000, Ends::Both, &roomy());
    assert_eq!((preflight.allowed, preflight.bites.len()), (1_000_000, 0));
    let next = preflight.others.first().expect("limits");
    assert_eq!((next.name, next.allows), ("descriptors of the server", 2 * ((1 << 20) - 64)));
    assert!(preflight.text().contains("1,000,000 connections can be held"));
    assert!(preflight.text().contains("descriptors of the server is next"));
}

#[test]
fn each_limit_bites_where_it_should() {
    type Tighten = fn(&mut Host);
    let cases: [(&str, Tighten, Ends, u64); 13] = [
        (
            "descriptors of the server",
            |host| host.server = Some(Tables { tables: 1, descriptors_each: 1024 }),
            Ends::Both,
            960,
        ),
        (
            "descriptors of the server",
            |host| host.server = Some(Tables { tables: 4, descriptors_each: 20_000 }),
            Ends::Both,
            4 * (20_000 - 64),
        ),
        (
            "descriptors of the server",
            |host| host.server = Some(Tables { tables: 4, descriptors_each: 10 }),
            Ends::Both,
            0,
        ),
        ("ports", |host| (host.ports, host.pairs) = ((32_768, 60_999), 1), Ends::Client, 28_232),
        ("ports", |host| (host.ports, host.pairs) = ((32_768, 60_999), 3), Ends::Client, 84_696),
        ("fs.file-max", |host| host.files_max = 101_000, Ends::Both, 50_000),
        ("fs.file-max", |host| host.files_max = 101_000, Ends::Client, 100_000),
        ("fs.epoll.max_user_watches", |host| host.epoll_watches = Some(200_000), Ends::Both, 100_000),
        (
            "net.netfilter.nf_conntrack_max",
            |host| host.conntrack = Some(Conntrack { max: 65_536, count: 536 }),
            Ends::Both,
            65_000,
        ),
        ("memory", |host| host.memory_available = 0, Ends::Both, 0),
        (
            "memory",
            |host| host.memory_available = 16 * 1000 * (KERNEL_BYTES_PER_END + PROCESS_BYTES_PER_END),
            Ends::Client,
            15_000,
        ),
        (
            "memory",
            |host| host.group_memory_left = Some(32 * 1000 * (KERNEL_BYTES_PER_END + PROCESS_BYTES_PER_END)),
            Ends::Both,
            15_000,
        ),
        ("fs.file-max", |host| (host.files_max, host.files_open) = (1000, 2000), Ends::Client, 0),
    ];
    for (name, tighten, ends, allowed) in cases {
        let mut host = roomy();
        tighten(&mut host);
        let preflight = check(1_000_000, ends, &host);
        assert_eq!(preflight.allowed, allowed, "{name}");
        assert_eq!(preflight.bites.iter().map(|limit| limit.name).collect::<Vec<_>>(), [name]);
        assert!(preflight.text().contains(&format!("{name} stops at {}", count(allowed))), "{}", preflight.text());
    }
}

#[test]
fn what_only_slows_does_not_lower_what_is_allowed() {
    let host = Host { tcp_pages_pressure: 1100, ..roomy() };
    let preflight = check(5000, Ends::Both, &host);
    assert_eq!(preflight.allowed, 5000);
    assert_eq!(
        preflight.bites.iter().map(|limit| (limit.name, limit.allows)).collect::<Vec<_>>(),
        [("net.ipv4.tcp_mem", 1000)]
    );
    assert!(preflight.text().contains("slows from 1,000"));
}

#[test]
fn limits_that_are_not_there_or_not_in_force_do_not_bite() {
    let host = Host { server: None, epoll_watches: None, conntrack: Some(Conntrack { max: 10, count: 0 }), ..roomy() };
    assert_eq!(check(1_000_000, Ends::Both, &host).allowed, 1_000_000);
    // The server's tables are on another machine.
    let host = Host { server: Some(Tables { tables: 1, descriptors_each: 70 }), ..roomy() };
    assert_eq!(check(1000, Ends::Client, &host).allowed, 1000);
}

#[test]
fn bites_come_with_the_lowest_first() {
    let host = Host { files_max: 3000, epoll_watches: Some(500), pairs: 0, ..roomy() };
    let preflight = check(10_000, Ends::Both, &host);
    let names: Vec<&str> = preflight.bites.iter().map(|limit| limit.name).collect();
    assert_eq!(names, ["ports", "fs.epoll.max_user_watches", "fs.file-max"]);
    assert_eq!(preflight.allowed, 0);
}
