//! Reading a host: of files, each as a kernel writes it, and this one.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::machine::{Conntrack, Machine, Place, Tables};
use super::super::{examine, try_private_table};
use super::settings;
use crate::config::group::Group;

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
fn this_host_is_read_as_the_gateway_reads_it() {
    let machine = Machine::read(Path::new("/"), try_private_table());
    let host = crate::config::host::Host::read();
    assert_eq!(usize::try_from(machine.cores).expect("few"), host.cores);
    assert_eq!(machine.descriptors, Some(host.descriptors));
    assert_eq!(machine.memory_total, Some(host.memory_bytes));
    assert!(machine.kernel.is_some() && machine.memory_available > Some(0) && machine.threads_used > 0);
}
