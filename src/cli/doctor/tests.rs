//! A host of files is read as it is; then each limit in turn is made the tightest.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::diagnose::diagnose;
use super::finding::{Amount, Bearing, Finding, Verdict, bites_first, grouped};
use super::machine::{Conntrack, Machine, Place, Tables};
use super::plan::{fullest, most};
use super::{examine, try_private_table};
use crate::config::group::Group;
use crate::config::{Settings, defaults};

const MILLION: u64 = 1_000_000;

/// A folder of this test's own with these files in it.
fn tree(name: &str, files: &[(&str, &str)]) -> PathBuf {
    let root = std::env::temp_dir().join(format!("holdfast-doctor-{}-{name}", std::process::id()));
    let _ = fs::remove_dir_all(&root);
    for (path, text) in files {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
        fs::write(path, text).expect("writable");
    }
    root
}

/// Reads such a folder, and removes it.
fn read(name: &str, files: &[(&str, &str)]) -> Machine {
    let root = tree(name, files);
    let machine = Machine::read(&root, Tables::Private);
    let _ = fs::remove_dir_all(&root);
    machine
}

/// A host that has more than enough of everything for a million agents in two loops.
fn ample() -> Machine {
    Machine {
        kernel: Some((6, 18)),
        cores: 2,
        descriptors: Some(1_048_576),
        user_threads: Some(96_365),
        nr_open: Some(1_048_576),
        file_max: Some(3_000_000),
        files_used: 1000,
        watches_max: Some(5_000_000),
        tcp_pages: Some(3_000_000),
        tcp_pages_used: 0,
        somaxconn: Some(65_535),
        syn_backlog: Some(65_535),
        packet_backlog: Some(16_384),
        ports: Some(28_232),
        conntrack: None,
        memory_total: Some(32 << 30),
        memory_available: Some(24 << 30),
        threads_max: Some(190_000),
        threads_used: 200,
        capabilities: Some(0),
        place: Place::Host,
        group: Group::default(),
        tables: Tables::Private,
    }
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = defaults("node").expect("defaults are valid");
    change(&mut settings);
    settings
}

fn find<'a>(findings: &'a [Finding], limit: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.limit == limit).unwrap_or_else(|| panic!("no {limit} in {findings:#?}"))
}

/// The limits with this verdict.
fn with(findings: &[Finding], verdict: Verdict) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.verdict == verdict).map(|finding| finding.limit).collect()
}

#[test]
fn a_whole_host_is_read() {
    let machine = read(
        "whole",
        &[
            ("proc/sys/kernel/osrelease", "6.1.0-28-cloud-amd64\n"),
            ("proc/self/status", "Name:\tx\nCapEff:\t0000000001000000\nCpus_allowed_list:\t0-3,8\n"),
            (
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units     \n\
                 Max processes             100                  unlimited            processes \n\
                 Max open files            1024                 20000                files     \n",
            ),
            ("proc/sys/fs/nr_open", "1048576\n"),
            ("proc/sys/fs/file-max", "9223372036854775807\n"),
            ("proc/sys/fs/file-nr", "759\t0\t9223372036854775807\n"),
            ("proc/sys/fs/epoll/max_user_watches", "5491533\n"),
            ("proc/sys/net/ipv4/tcp_mem", "287901\t383869\t575802\n"),
            (
                "proc/net/sockstat",
                "sockets: used 92\nTCP: inuse 5 orphan 0 tw 13 alloc 60 mem 61\nUDP: inuse 1 mem 7\n",
            ),
            ("proc/sys/net/core/somaxconn", "4096\n"),
            ("proc/sys/net/ipv4/tcp_max_syn_backlog", "2048\n"),
            ("proc/sys/net/core/netdev_max_backlog", "1000\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999\n"),
            ("proc/sys/net/netfilter/nf_conntrack_max", "262144\n"),
            ("proc/sys/net/netfilter/nf_conntrack_count", "17\n"),
            ("proc/meminfo", "MemTotal:  24683520 kB\nMemAvailable:   1000 kB\n"),
            ("proc/sys/kernel/threads-max", "192731\n"),
            ("proc/loadavg", "0.83 0.67 1.17 2/101 24579\n"),
            ("proc/self/mountinfo", "60 58 0:5 /sys /proc/sys ro,relatime - proc proc rw\n"),
        ],
    );
    let expected = Machine {
        kernel: Some((6, 1)),
        cores: 5,
        descriptors: Some(20_000),
        user_threads: Some(u64::MAX),
        nr_open: Some(1_048_576),
        file_max: Some(9_223_372_036_854_775_807),
        files_used: 759,
        watches_max: Some(5_491_533),
        tcp_pages: Some(383_869),
        tcp_pages_used: 61,
        somaxconn: Some(4096),
        syn_backlog: Some(2048),
        packet_backlog: Some(1000),
        ports: Some(28_232),
        conntrack: Some(Conntrack { max: 262_144, count: 17 }),
        memory_total: Some(25_275_924_480),
        memory_available: Some(1_024_000),
        threads_max: Some(192_731),
        threads_used: 101,
        capabilities: Some(1 << 24),
        place: Place::Container,
        group: Group::default(),
        tables: Tables::Private,
    };
    assert_eq!(machine, expected);
    assert!(machine.may_raise_limits());
}

#[test]
fn what_is_not_there_or_makes_no_sense_is_not_known() {
    let nothing = read("nothing", &[]);
    assert_eq!(
        (nothing.descriptors, nothing.kernel, nothing.memory_available, nothing.ports),
        (None, None, None, None)
    );
    assert_eq!((nothing.cores, nothing.place, nothing.conntrack), (1, Place::Host, None));
    assert!(!nothing.may_raise_limits());
    let nonsense = read(
        "nonsense",
        &[
            ("proc/sys/kernel/osrelease", "trunk\n"),
            ("proc/self/limits", "Max open files            few\n"),
            ("proc/self/status", "CapEff:\txyz\nCpus_allowed_list:\t3-1,,z\n"),
            ("proc/sys/fs/nr_open", "-1\n"),
            ("proc/meminfo", "MemAvailable: much\n"),
            ("proc/net/sockstat", "TCP: inuse\n"),
            ("proc/loadavg", "1\n"),
            ("proc/sys/net/ipv4/ip_local_port_range", "60999\n"),
            (
                "proc/self/mountinfo",
                "60 58 0:5 / /proc rw - proc proc rw\n60 58 0:5 /sys /proc/sys rw - proc proc rw\n",
            ),
        ],
    );
    assert_eq!(nonsense, nothing);
    // Nothing is known, so nothing can be promised or denied.
    let report = examine(&nothing, &settings(|_| {}), Some(5));
    assert!(
        report.text().contains("Not to be seen from here, ask on the host: kernel, RLIMIT_NOFILE"),
        "{}",
        report.text()
    );
}

#[test]
fn control_groups_of_version_2_bind_on_each_floor() {
    let machine = read(
        "v2",
        &[
            ("proc/meminfo", "MemTotal:  24683520 kB\nMemAvailable:   1000 kB\n"),
            ("proc/self/cgroup", "0::/pods/one\n"),
            ("sys/fs/cgroup/pods/one/memory.max", "max\n"),
            ("sys/fs/cgroup/pods/memory.max", "1000000\n"),
            ("sys/fs/cgroup/pods/memory.current", "600000\n"),
            ("sys/fs/cgroup/pods/memory.stat", "anon 1\ninactive_file 50000\n"),
            ("sys/fs/cgroup/pods/one/pids.max", "40\n"),
            ("sys/fs/cgroup/pods/one/pids.current", "3\n"),
            ("sys/fs/cgroup/pods/pids.max", "100\n"),
            ("sys/fs/cgroup/pods/pids.current", "90\n"),
            ("sys/fs/cgroup/pods/one/cpu.max", "250000 100000\n"),
            ("sys/fs/cgroup/pods/cpu.max", "max 100000\n"),
        ],
    );
    let expected = Group {
        memory_max: Some(1_000_000),
        memory_left: Some(450_000),
        threads_max: Some(40),
        threads_left: Some(10),
        processor_milli: Some(2500),
    };
    assert_eq!(machine.group, expected);
    // What the gateway takes its budget of.
    assert_eq!(machine.memory_total, Some(1_000_000));
}

#[test]
fn control_groups_of_version_1_have_a_folder_for_each_controller() {
    let files = [
        ("proc/self/cgroup", "8:pids:/\n4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/\n"),
        ("proc/self/status", "Cpus_allowed_list:\t0-7\n"),
        // The mount shows the container's own group alone: its path is the host's and is not there.
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "500000\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "200000\n"),
        ("sys/fs/cgroup/memory/memory.stat", "inactive_file 7\ntotal_inactive_file 100000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_quota_us", "50000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/docker/abc/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
        ("sys/fs/cgroup/pids/pids.max", "max\n"),
    ];
    let machine = read("v1", &files);
    let expected = Group {
        memory_max: Some(500_000),
        memory_left: Some(400_000),
        threads_max: None,
        threads_left: None,
        processor_milli: Some(500),
    };
    assert_eq!(machine.group, expected);
    assert_eq!(machine.memory_total, Some(500_000));
    // Half a core is still a loop.
    assert_eq!(machine.cores, 1);
    let unlimited = read("v1-unlimited", &[files[0], (files[2].0, "9223372036854771712\n")]);
    assert_eq!(unlimited.group, Group::default());
}

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
fn the_report_says_first_what_bites_first() {
    let machine = Machine { descriptors: Some(20_000), somaxconn: Some(4096), tcp_pages: None, ..ample() };
    let report = examine(&machine, &settings(|_| {}), Some(MILLION));
    let text = report.text();
    let expected = "At most 38,748 agents (2 loops, 1 workers): RLIMIT_NOFILE (the hard limit on descriptors of a table) bites first.\n\
                    1,000,000 agents do not fit. Short: RLIMIT_NOFILE.\n\
                    Slow in bursts (a storm, a message to all at once): net.core.somaxconn.\n\
                    Not to be seen from here, ask on the host: net.ipv4.tcp_mem.\n\n\
                    limit ";
    assert!(text.starts_with(expected), "{text}");
    let row = text.lines().find(|line| line.starts_with("RLIMIT_NOFILE")).expect("a row");
    let words: Vec<&str> = row.split_whitespace().take(5).collect();
    assert_eq!(words, ["RLIMIT_NOFILE", "SHORT", "20,000", "502,898", "38,748"]);

    let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert_eq!((&json["fits"], &json["connections"]), (&false.into(), &MILLION.into()));
    assert_eq!((&json["agents_max"], &json["bites_first"]), (&38_748.into(), &"RLIMIT_NOFILE".into()));
    let findings = json["findings"].as_array().expect("a list");
    let row = findings.iter().find(|row| row["limit"] == "RLIMIT_NOFILE").expect("a row");
    assert_eq!((&row["have"], &row["need"], &row["verdict"]), (&20_000.into(), &502_898.into(), &"short".into()));
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

#[test]
fn this_host_is_read_as_the_gateway_reads_it() {
    let machine = Machine::read(Path::new("/"), try_private_table());
    let host = crate::config::host::Host::read();
    assert_eq!(usize::try_from(machine.cores).expect("few"), host.cores);
    assert_eq!(machine.descriptors, Some(host.descriptors));
    assert_eq!(machine.memory_total, Some(host.memory_bytes));
    assert!(machine.kernel.is_some() && machine.memory_available > Some(0) && machine.threads_used > 0);
}

#[test]
fn numbers_are_grouped_for_readers() {
    let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_048_576, "1,048,576"), (12_345_678, "12,345,678")];
    for (number, text) in cases {
        assert_eq!(grouped(number), text);
    }
    assert_eq!(format!("{:>10}|", Amount::from(Some(u64::MAX))), " unlimited|");
    assert_eq!(Amount::Bytes(3 << 30).to_string(), "3,072 MiB");
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
