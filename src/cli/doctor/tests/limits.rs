//! Which limit bites, at how many agents, and what lifts it: each is made the tightest in turn.

use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::super::diagnose::diagnose;
use super::super::examine;
use super::super::finding::{Amount, Bearing, Verdict, bites_first};
use super::super::machine::{Conntrack, Machine, Place, Tables};
use super::super::plan::{fullest, most};
use super::{MILLION, ample, find, settings, with};
use crate::config::Settings;

#[test]
fn an_ample_host_holds_a_million() {
    let findings = diagnose(&ample(), &settings(|_| {}), MILLION);
    assert_eq!(with(&findings, Verdict::Ok).len(), findings.len(), "{findings:#?}");
    assert!(findings.iter().all(|finding| finding.lift.is_empty()));
    let report = examine(&ample(), &settings(|_| {}), Some(MILLION));
    assert!(report.fits && report.agents_max > Some(MILLION));
}

/// One limit is made tight: which, how many agents it then allows, and what lifts it.
type Tight = (&'static str, fn(&mut Machine), u64, &'static str);

#[test]
fn each_limit_bites_first_when_it_is_the_tightest() {
    let cases: [Tight; 11] = [
        // 20,000 less 64 in reserve and 3 for each of two loops; less what the fullest loop has over its share.
        (
            "RLIMIT_NOFILE",
            |m| m.descriptors = Some(20_000),
            38_748,
            "LimitNOFILE=502898 in the unit, or limits.connections = 1000000 (then it takes 53 loops), or server.loops = 53",
        ),
        ("fs.nr_open", |m| m.nr_open = Some(20_000), 38_748, "sysctl -w fs.nr_open=524288"),
        ("fs.file-max", |m| m.file_max = Some(101_070), 100_000, "sysctl -w fs.file-max=1001070"),
        (
            "fs.epoll.max_user_watches",
            |m| m.watches_max = Some(900_004),
            900_000,
            "sysctl -w fs.epoll.max_user_watches=1000004",
        ),
        (
            "limits.memory",
            // Nine tenths of it are 46 MB: 4,096 and 160 bytes for each agent, and 16 MiB for the gateway without any.
            |m| m.memory_total = Some(52_000_000),
            7054,
            "add memory, or limits.memory = \"169MiB\": then the process' own counts alone",
        ),
        ("MemAvailable", |m| m.memory_available = Some((16 << 20) + 4256 * 7000), 7000, "add memory"),
        (
            "cgroup memory",
            |m| {
                m.group.memory_max = Some(1 << 30);
                m.group.memory_left = Some((16 << 20) + 4256 * 5);
            },
            5,
            "MemoryMax=, docker run --memory=, or resources.limits.memory: the kernel's part counts there too",
        ),
        (
            "nf_conntrack_max",
            |m| m.conntrack = Some(Conntrack { max: 262_144, count: 144 }),
            262_000,
            "sysctl -w net.netfilter.nf_conntrack_max=1000144, or notrack: tuning/network.md",
        ),
        (
            "cgroup pids",
            |m| m.group.threads_left = Some(5),
            0,
            "TasksMax=, docker run --pids-limit= or the kubelet's podPidsLimit for 6 threads more",
        ),
        ("kernel.threads-max", |m| m.threads_max = Some(205), 0, "sysctl -w kernel.threads-max for 6 threads more"),
        ("kernel", |m| m.kernel = Some((3, 8)), 0, "a newer kernel"),
    ];
    for (limit, tighten, agents, lift) in cases {
        let mut machine = ample();
        tighten(&mut machine);
        let findings = diagnose(&machine, &settings(|_| {}), MILLION);
        assert_eq!(with(&findings, Verdict::Short), [limit]);
        let first = bites_first(&findings).expect("something bites");
        assert_eq!((first.limit, first.agents, first.lift.as_str()), (limit, Some(agents), lift));
        let report = examine(&machine, &settings(|_| {}), None);
        assert_eq!((report.connections, report.fits, report.bites_first), (agents, agents > 0, Some(limit)));
    }
}

/// One limit is made tight for bursts: which, and what lifts it.
type Slow = (&'static str, fn(&mut Machine), &'static str);

#[test]
fn bursts_are_slow_and_fit_all_the_same() {
    let cases: [Slow; 4] = [
        ("net.ipv4.tcp_mem", |m| m.tcp_pages = Some(383_869), "sysctl -w net.ipv4.tcp_mem='750000 1000000 1500000'"),
        ("net.core.somaxconn", |m| m.somaxconn = Some(4096), "sysctl -w net.core.somaxconn=65535"),
        ("net.ipv4.tcp_max_syn_backlog", |m| m.syn_backlog = Some(128), "sysctl -w net.ipv4.tcp_max_syn_backlog=65535"),
        (
            "net.core.netdev_max_backlog",
            |m| m.packet_backlog = Some(1000),
            "sysctl -w net.core.netdev_max_backlog=16384",
        ),
    ];
    for (limit, tighten, lift) in cases {
        let mut machine = ample();
        tighten(&mut machine);
        let report = examine(&machine, &settings(|_| {}), Some(MILLION));
        assert!(report.fits, "{limit}");
        let findings = diagnose(&machine, &settings(|_| {}), MILLION);
        assert_eq!(with(&findings, Verdict::Slow), [limit]);
        let finding = find(&findings, limit);
        assert_eq!((finding.bearing, finding.lift.as_str()), (Bearing::Bursts, lift));
    }
}

#[test]
fn one_table_for_all_loops_is_one_limit_for_all() {
    let shared = Machine { tables: Tables::Shared("EPERM".to_owned()), descriptors: Some(20_000), ..ample() };
    let findings = diagnose(&shared, &settings(|_| {}), MILLION);
    let finding = find(&findings, "RLIMIT_NOFILE");
    assert_eq!((finding.agents, &finding.need), (Some(19_930), &Amount::Count(1_000_070)));
    // More loops would not help.
    assert_eq!(finding.lift, "LimitNOFILE=1000070 in the unit");
    let tables = find(&findings, "descriptor tables");
    assert_eq!(tables.have, Amount::Text("one for all".to_owned()));
    assert!(tables.lift.starts_with("EPERM; allow unshare(2)"));
}

#[test]
fn who_may_raise_and_where_decides_the_command() {
    let low = Machine { descriptors: Some(20_000), somaxconn: Some(128), file_max: Some(5000), ..ample() };
    let lift = |machine: &Machine, limit| find(&diagnose(machine, &settings(|_| {}), MILLION), limit).lift.clone();
    let able = Machine { capabilities: Some(1 << 24), ..low.clone() };
    assert!(lift(&able, "RLIMIT_NOFILE").contains("ulimit -n 502898 before the start"));
    let boxed = Machine { place: Place::Container, ..low };
    assert!(lift(&boxed, "RLIMIT_NOFILE").starts_with("docker run --ulimit nofile=502898"));
    assert_eq!(lift(&boxed, "fs.file-max"), "on the host: sysctl -w fs.file-max=1001070");
    let namespaced = "docker run --sysctl net.core.somaxconn=65535, or securityContext.sysctls of the pod";
    assert_eq!(lift(&boxed, "net.core.somaxconn"), namespaced);
}

#[test]
fn the_setting_is_the_whole_node_s_however_agents_fall_on_loops() {
    for loops in [1, 2, 60] {
        let asked = |connections: u32| {
            settings(|settings| {
                settings.limits.connections = connections;
                settings.server.loops = loops;
            })
        };
        let findings = diagnose(&ample(), &asked(1_000_000), MILLION);
        let finding = find(&findings, "limits.connections");
        assert_eq!((finding.verdict, finding.agents), (Verdict::Ok, Some(MILLION)), "{loops}");
        let findings = diagnose(&ample(), &asked(999_999), MILLION);
        assert_eq!(with(&findings, Verdict::Short), ["limits.connections"], "{loops}");
        let finding = find(&findings, "limits.connections");
        assert_eq!((finding.agents, &finding.need), (Some(999_999), &Amount::Count(MILLION)));
        assert_eq!(finding.lift, "limits.connections = 1000000, or 0");
    }
}

#[test]
fn the_setting_picks_loops_where_it_may_and_is_named_only_then() {
    let low = Machine { descriptors: Some(20_000), ..ample() };
    let lift = |settings: &Settings| find(&diagnose(&low, settings, MILLION), "RLIMIT_NOFILE").lift.clone();
    // Loops that are set are not added to.
    let fixed = settings(|settings| settings.server.loops = 2);
    assert_eq!(lift(&fixed), "LimitNOFILE=502898 in the unit, or server.loops = 53");
    // It does what is said of it.
    let asked = settings(|settings| settings.limits.connections = 1_000_000);
    let findings = diagnose(&low, &asked, MILLION);
    assert_eq!(find(&findings, "RLIMIT_NOFILE").verdict, Verdict::Ok);
    let report = examine(&low, &asked, Some(MILLION));
    assert!(report.fits && report.text().contains("(53 loops, "), "{}", report.text());
}

#[test]
fn the_gateway_s_own_budget_bites_where_it_is_set_and_counts_the_process_alone() {
    let set = |bytes| settings(|settings| settings.limits.memory = bytes);
    let findings = diagnose(&ample(), &set((16 << 20) + 160 * 70_000), MILLION);
    assert_eq!(with(&findings, Verdict::Short), ["limits.memory"]);
    let finding = find(&findings, "limits.memory");
    assert_eq!((finding.agents, &finding.need), (Some(70_000), &Amount::Bytes((16 << 20) + 160 * MILLION)));
    assert_eq!(finding.lift, "limits.memory = \"169MiB\"");
    let findings = diagnose(&ample(), &set(169 << 20), MILLION);
    assert_eq!(find(&findings, "limits.memory").verdict, Verdict::Ok);
    // Where the gateway sees no memory at all it sets itself no limit.
    let blind = Machine { memory_total: None, ..ample() };
    let findings = diagnose(&blind, &settings(|_| {}), MILLION);
    assert!(findings.iter().all(|finding| finding.limit != "limits.memory"));
}

#[test]
fn tracking_that_tracks_nothing_bounds_nothing() {
    let idle = Machine { conntrack: Some(Conntrack { max: 10, count: 0 }), ..ample() };
    let findings = diagnose(&idle, &settings(|_| {}), MILLION);
    let finding = find(&findings, "nf_conntrack_max");
    assert_eq!((finding.verdict, finding.agents), (Verdict::Ok, None));
    assert_eq!(finding.have.to_string(), "10 (tracks nothing now)");
}

#[test]
fn a_host_tuned_for_a_million_holds_a_million() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/sysctl.d/60-holdfast.conf");
    let text = fs::read_to_string(file).expect("part of the repository");
    let value = |key: &str, index: usize| {
        let line = text.lines().find_map(|line| line.trim_start_matches('-').strip_prefix(key)?.strip_prefix(" = "));
        let word = line.and_then(|line| line.split_whitespace().nth(index)).unwrap_or_else(|| panic!("no {key}"));
        Some(word.parse::<u64>().expect("a number"))
    };
    let machine = Machine {
        nr_open: value("fs.nr_open", 0),
        descriptors: value("fs.nr_open", 0),
        file_max: value("fs.file-max", 0),
        watches_max: value("fs.epoll.max_user_watches", 0),
        tcp_pages: value("net.ipv4.tcp_mem", 1),
        somaxconn: value("net.core.somaxconn", 0),
        syn_backlog: value("net.ipv4.tcp_max_syn_backlog", 0),
        packet_backlog: value("net.core.netdev_max_backlog", 0),
        conntrack: Some(Conntrack { max: value("net.netfilter.nf_conntrack_max", 0).expect("a number"), count: 500 }),
        ..ample()
    };
    for (loops, links) in [(1, false), (2, true), (256, true)] {
        let settings = settings(|settings| {
            settings.server.loops = loops;
            settings.link.listen = links.then(|| "127.0.0.1:8082".parse().expect("an address"));
        });
        let findings = diagnose(&machine, &settings, MILLION);
        assert_eq!(with(&findings, Verdict::Ok).len(), findings.len(), "{loops} loops: {findings:#?}");
    }
}

proptest! {
    /// The agents that a limit allows are those whose need it covers, neither one more nor one fewer.
    #[test]
    fn agents_and_needs_are_two_views_of_one_limit(have in 70u64..2_000_000, loops in 1u64..=256) {
        let agents = most(|agents| fullest(agents, loops) <= have);
        prop_assert!(fullest(agents, loops) <= have);
        prop_assert!(fullest(agents + 1, loops) > have);
        // Never more than an even spread would allow, and not much less.
        prop_assert!(agents <= have * loops);
        prop_assert!(agents + loops * (4 * have.isqrt() + 8) >= have * loops);
    }
}
