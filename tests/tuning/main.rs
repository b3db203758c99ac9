//! `tuning/apply` on fake hosts, under each shell of this machine: what it computes, that it never lowers, that it undoes
//! exactly what it did, and that the files beside it say the same. Beside it, `holdfast doctor` and the scripts of loadtest/vm.

mod doctor;
mod tree;
mod vm;

use std::fs;
use std::path::Path;

use tree::{CONNTRACK, Done, Tree, limits, on_each_shell};

/// What the script says of one value: the first word of its line.
fn verdict<'a>(out: &'a str, key: &str) -> &'a str {
    let line = out.lines().find(|line| line.split_whitespace().nth(1) == Some(key));
    line.and_then(|line| line.split_whitespace().next()).unwrap_or_else(|| panic!("{key} is not in:\n{out}"))
}

#[test]
fn a_million_is_computed_and_nothing_higher_is_lowered() {
    on_each_shell("million", |tree| {
        tree.lay(&CONNTRACK);
        tree.must("--connections 1000000", 0);
        let expected = [
            ("fs/nr_open", "1048576"),
            ("fs/file-max", "9223372036854775807"),
            ("fs/epoll/max_user_watches", "5491533"),
            ("net/ipv4/tcp_mem", "799152 1065536 1598304"),
            ("net/ipv4/tcp_rmem", "4096 131072 33554432"),
            ("net/ipv4/tcp_wmem", "4096 16384 4194304"),
            ("net/core/somaxconn", "65535"),
            ("net/ipv4/tcp_max_syn_backlog", "65535"),
            ("net/core/netdev_max_backlog", "16384"),
            ("net/ipv4/ip_local_port_range", "32768 60999"),
            ("net/netfilter/nf_conntrack_max", "1250000"),
            ("net/netfilter/nf_conntrack_buckets", "312832"),
        ];
        for (path, value) in expected {
            assert_eq!(tree.get(path), value, "{path}");
        }
    });
}

#[test]
fn each_field_is_raised_by_itself() {
    on_each_shell("fields", |tree| {
        tree.set("net/ipv4/tcp_mem", "900000 1000000 2000000");
        tree.set("net/ipv4/tcp_rmem", "8192 65536 1048576");
        tree.set("net/ipv4/ip_local_port_range", "1024 60000");
        tree.must("--connections 1000000 --dials 5", 0);
        assert_eq!(tree.get("net/ipv4/tcp_mem"), "900000 1065541 2000000");
        assert_eq!(tree.get("net/ipv4/tcp_rmem"), "8192 131072 2097152");
        // The lower end of the range is raised by going down.
        assert_eq!(tree.get("net/ipv4/ip_local_port_range"), "1024 65535");
    });
}

#[test]
fn a_small_number_needs_nothing_of_a_large_host() {
    on_each_shell("small", |tree| {
        let before = tree.everything();
        let out = tree.must("--connections 4000 --dials 0 --check", 1);
        // Linux' own default of half-open connections is below its default of waiting ones.
        assert_eq!(verdict(&out, "net.ipv4.tcp_max_syn_backlog"), "SHORT", "{out}");
        assert_eq!(out.matches("SHORT").count(), 2, "{out}");
        assert_eq!(verdict(&out, "net.core.netdev_max_backlog"), "SHORT", "{out}");
        assert_eq!(tree.everything(), before);
    });
}

#[test]
fn a_small_machine_is_not_given_more_pages_than_half_its_memory() {
    on_each_shell("memory", |tree| {
        tree.write("proc/meminfo", "MemTotal:  3000000 kB\n");
        tree.set("net/ipv4/tcp_mem", "1000 2000 3000");
        let out = tree.must("--connections 1000000", 0);
        assert_eq!(tree.get("net/ipv4/tcp_mem"), "187500 250000 375000");
        assert!(out.contains("held down to half of the memory"), "{out}");
        // Pages of 64 KiB are fewer.
        tree.write("proc/self/smaps", "KernelPageSize:       64 kB\n");
        tree.set("net/ipv4/tcp_mem", "1000 2000 3000");
        tree.must("--connections 1000000", 0);
        assert_eq!(tree.get("net/ipv4/tcp_mem"), "11718 15625 23437");
    });
}

#[test]
fn undo_puts_back_exactly_what_was_there() {
    on_each_shell("undo", |tree| {
        tree.lay(&CONNTRACK);
        let before = tree.everything();
        let out = tree.must("--connections 1000000 --dials 7 --persist", 0);
        assert!(out.contains("wrote   /etc/sysctl.d/60-holdfast.conf"), "{out}");
        assert_ne!(tree.everything(), before);
        tree.must("--undo", 0);
        assert_eq!(tree.everything(), before);
        assert!(!tree.root.join("etc/systemd/system/holdfast.service.d").exists());
        let out = tree.must("--undo", 0);
        assert!(out.starts_with("nothing to undo"), "{out}");
    });
}

#[test]
fn a_second_run_changes_nothing_and_a_larger_one_still_undoes_to_the_first() {
    on_each_shell("twice", |tree| {
        let before = tree.everything();
        tree.must("--connections 100000 --persist", 0);
        let once = tree.everything();
        let out = tree.must("--connections 100000 --persist", 0);
        assert_eq!(tree.everything(), once);
        assert!(!out.lines().any(|line| line.starts_with("set ")), "{out}");
        tree.must("--connections 1000000 --persist", 0);
        assert_ne!(tree.everything(), once);
        tree.must("--undo", 0);
        assert_eq!(tree.everything(), before);
    });
}

#[test]
fn what_somebody_else_has_changed_since_is_not_touched() {
    on_each_shell("others", |tree| {
        tree.must("--connections 1000000 --persist", 0);
        tree.set("net/core/somaxconn", "70000");
        tree.write("etc/sysctl.d/60-holdfast.conf", "net.core.somaxconn = 70000\n");
        let out = tree.must("--undo", 0);
        assert!(out.contains("kept    net.core.somaxconn is 70000, not the 65535 that was set here"), "{out}");
        assert!(out.contains("kept    /etc/sysctl.d/60-holdfast.conf was changed since"), "{out}");
        assert_eq!(tree.get("net/core/somaxconn"), "70000");
        assert_eq!(tree.get("net/core/netdev_max_backlog"), "1000");
        assert!(tree.root.join("etc/sysctl.d/60-holdfast.conf").exists());
    });
}

#[test]
fn what_somebody_else_has_changed_between_two_runs_is_what_undo_puts_back() {
    on_each_shell("between", |tree| {
        tree.must("--connections 10000", 0);
        tree.set("net/core/somaxconn", "12000");
        tree.must("--connections 1000000", 0);
        tree.must("--undo", 0);
        assert_eq!(tree.get("net/core/somaxconn"), "12000");
        assert_eq!(tree.get("net/ipv4/tcp_max_syn_backlog"), "2048");
    });
}

#[test]
fn a_value_that_may_not_be_written_is_told_and_the_rest_is_set() {
    on_each_shell("denied", |tree| {
        tree.read_only("fs/file-max");
        let out = tree.must("--connections 1000000", 1);
        assert_eq!(verdict(&out, "fs.file-max"), "DENIED", "{out}");
        assert!(out.contains("no right to write here"), "{out}");
        assert!(out.ends_with("1 short\n"), "{out}");
        assert_eq!(tree.get("net/core/somaxconn"), "65535");
        // It was not changed, so there is nothing to undo of it.
        assert!(!tree.must("--undo", 0).contains("file-max"));
        assert_eq!(tree.get("net/core/somaxconn"), "4096");
    });
}

#[test]
fn what_cannot_be_put_back_stays_written_down() {
    on_each_shell("stuck", |tree| {
        tree.must("--connections 65536 --state DIR/state".replace("DIR", &tree.root.display().to_string()).as_str(), 0);
        let state = tree.root.join("state");
        // As if this run had set the value that the kernel now refuses to change.
        let text = fs::read_to_string(&state).expect("written") + "sysctl\tfs/file-max\t1000\t65536\n";
        fs::write(&state, text).expect("writable");
        tree.read_only("fs/file-max");
        let undo = format!("--undo --state {}", state.display());
        let out = tree.must(&undo, 1);
        assert!(out.contains("DENIED  fs.file-max"), "{out}");
        assert_eq!(fs::read_to_string(&state).expect("kept"), "sysctl\tfs/file-max\t1000\t65536\n");
        assert_eq!(tree.get("net/core/somaxconn"), "4096");
    });
}

#[test]
fn without_a_place_for_the_state_nothing_is_changed() {
    on_each_shell("stateless", |tree| {
        let before = tree.everything();
        let out = tree.must("--connections 1000000 --persist --state /proc/no-such-folder/state", 1);
        assert_eq!(verdict(&out, "net.core.somaxconn"), "DENIED");
        assert!(out.contains("cannot write /proc/no-such-folder/state"), "{out}");
        assert!(out.contains("DENIED  /etc/security/limits.d/60-holdfast.conf"), "{out}");
        // It goes on, and says of each what there is.
        assert_eq!(verdict(&out, "fs.nr_open"), "ok");
        assert_eq!(verdict(&out, "net.core.netdev_max_backlog"), "DENIED");
        assert_eq!(tree.everything(), before);
    });
}

#[test]
fn conntrack_is_left_alone_where_it_is_not_loaded() {
    on_each_shell("conntrack", |tree| {
        let out = tree.must("--connections 1000000 --check", 1);
        assert!(!out.contains("conntrack"), "{out}");
        tree.lay(&CONNTRACK);
        let out = tree.must("--connections 1000000 --check", 1);
        assert_eq!(verdict(&out, "net.netfilter.nf_conntrack_max"), "SHORT");
        // Loaded, and no rule that needs it: the table bounds nothing.
        tree.set("net/netfilter/nf_conntrack_count", "0");
        let out = tree.must("--connections 1000000", 0);
        assert_eq!(verdict(&out, "net.netfilter.nf_conntrack_max"), "ok");
        assert!(out.contains("tracks nothing"), "{out}");
        assert_eq!(tree.get("net/netfilter/nf_conntrack_max"), "262144");
        // What is tracked besides stays: the doctor adds it too.
        tree.set("net/netfilter/nf_conntrack_count", "400000");
        tree.must("--connections 1000000", 0);
        assert_eq!(tree.get("net/netfilter/nf_conntrack_max"), "1400000");
    });
}

#[test]
fn what_a_container_does_not_see_is_told() {
    on_each_shell("absent", |tree| {
        fs::remove_file(tree.root.join("proc/sys/net/ipv4/tcp_mem")).expect("it was there");
        let out = tree.must("--connections 1000000", 0);
        assert_eq!(verdict(&out, "net.ipv4.tcp_mem"), "absent");
        assert!(out.contains("in a container, ask the host"), "{out}");
        assert!(!tree.root.join("proc/sys/net/ipv4/tcp_mem").exists());
    });
}

#[test]
fn check_and_dry_run_write_nothing_and_check_is_content_afterwards() {
    on_each_shell("check", |tree| {
        tree.lay(&CONNTRACK);
        let before = tree.everything();
        let out = tree.must("--connections 1000000 --check", 1);
        assert_eq!(verdict(&out, "net.core.somaxconn"), "SHORT");
        assert!(out.contains("have 4096 "), "{out}");
        let out = tree.must("--connections 1000000 --dry-run --persist", 0);
        assert!(out.contains("to set  net.core.somaxconn"), "{out}");
        assert_eq!(tree.everything(), before);
        tree.must("--connections 1000000", 0);
        tree.must("--connections 1000000 --check", 0);
        tree.must("--connections 500000 --check", 0);
        tree.must("--connections 1000001 --check", 1);
    });
}

#[test]
fn descriptors_are_counted_for_each_loop() {
    on_each_shell("nofile", |tree| {
        tree.must("--connections 100000", 0);
        tree.write("proc/self/limits", &limits("20000"));
        let out = tree.must("--connections 100000 --check --loops 2", 1);
        // 100,000 / 2 loops, 1/32 for what falls unevenly, 64 in reserve, 64 for links, 4 for each loop.
        assert!(out.contains("have 20000                    need 51698 "), "{out}");
        assert!(out.contains("LimitNOFILE=131072"), "{out}");
        tree.must("--connections 100000 --check --loops 6", 0);
        tree.write("proc/self/limits", &limits("unlimited"));
        tree.must("--connections 100000 --check", 0);
        // Raising it is not in the script's power, so it does not fail for it.
        tree.write("proc/self/limits", &limits("20000"));
        tree.must("--connections 100000", 0);
    });
}

#[test]
fn a_limit_above_what_the_kernel_allows_is_never_written() {
    let written = ["etc/security/limits.d/60-holdfast.conf", "etc/systemd/system/holdfast.service.d/limits.conf"];
    on_each_shell("lockout", |tree| {
        // 65,536 stays, and the files would say 1,048,576.
        tree.read_only("fs/nr_open");
        let out = tree.must("--connections 1000000 --persist", 1);
        assert_eq!(verdict(&out, "fs.nr_open"), "DENIED", "{out}");
        assert!(out.contains("are not written: fs.nr_open is 65536, and with a limit of 1048576 nobody"), "{out}");
        assert!(out.ends_with("2 short\n"), "{out}");
        assert!(tree.root.join("etc/sysctl.d/60-holdfast.conf").exists());
        assert!(written.iter().all(|path| !tree.root.join(path).exists()));
        // A limit that the kernel does allow is written.
        tree.must("--connections 60000 --persist", 0);
        assert!(written.iter().all(|path| tree.root.join(path).exists()));
    });
    on_each_shell("lockout-later", |tree| {
        // Raised now, and not after a restart: the file that would do it is somebody else's.
        tree.set("fs/nr_open", "524288");
        tree.write("etc/sysctl.d/60-holdfast.conf", "net.core.somaxconn = 5\n");
        let out = tree.must("--connections 1000000 --persist", 1);
        assert_eq!(tree.get("fs/nr_open"), "1048576");
        assert!(out.contains("are not written: fs.nr_open is 1048576 until a restart alone"), "{out}");
        assert!(written.iter().all(|path| !tree.root.join(path).exists()));
    });
}

#[test]
fn descriptors_are_never_fewer_than_the_gateway_and_the_doctor_reckon_with() {
    on_each_shell("uneven", |tree| {
        for (connections, loops) in [(1, 1), (1000, 2), (20_000, 2), (32_768, 1), (1_000_000, 2), (1_000_000, 256)] {
            let out = tree.apply(&format!("--connections {connections} --loops {loops} --check")).out;
            let line = out.lines().find(|line| line.contains(" nofile (hard limit")).expect("listed");
            let need: u64 = line
                .split_whitespace()
                .skip_while(|word| *word != "need")
                .nth(1)
                .expect("a need")
                .parse()
                .expect("a number");
            let share = u64::div_ceil(connections, loops);
            // `loops_for` and `descriptors_held` of config/derived.rs, with links.
            let gateway = share + 6 * share.isqrt() + 64 + 64 + 4 * loops;
            assert!(need >= gateway, "{connections} in {loops}: {line}");
            assert!(need <= gateway + share / 32, "{connections} in {loops}: {line}");
        }
    });
}

#[test]
fn what_a_restart_has_put_back_is_not_somebody_else_s() {
    on_each_shell("restart", |tree| {
        let before = tree.everything();
        tree.must("--connections 1000000", 0);
        // The kernel starts with its own values.
        tree.lay(&tree::UNTUNED);
        let out = tree.must("--undo", 0);
        assert!(out.contains("undone  net.core.somaxconn is 4096 again already"), "{out}");
        assert!(!out.contains("somebody else's"), "{out}");
        assert_eq!(tree.everything(), before);
    });
}

#[test]
fn a_crash_between_writing_down_and_doing_leaves_nothing_to_undo() {
    on_each_shell("crash", |tree| {
        let state = "sysctl\tnet/core/somaxconn\t128\t65535\nfile\t/etc/sysctl.d/60-holdfast.conf\t123\n";
        tree.write("var/lib/holdfast/tuning.state", state);
        tree.must("--undo", 0);
        assert_eq!(tree.get("net/core/somaxconn"), "4096");
        assert!(!tree.root.join("var/lib/holdfast/tuning.state").exists());
    });
}

#[test]
fn what_the_kernel_makes_of_a_value_is_ours_too() {
    on_each_shell("rounds", |tree| {
        tree.lay(&CONNTRACK);
        tree.round("nf_conntrack_buckets");
        let out = tree.must("--connections 1000000", 0);
        assert!(out.contains("have 65536 -> 315392"), "{out}");
        tree.must("--connections 1000000 --check", 0);
        let out = tree.must("--undo", 0);
        assert!(out.contains("undone  net.netfilter.nf_conntrack_buckets: 315392 -> 65536"), "{out}");
        assert_eq!(tree.get("net/netfilter/nf_conntrack_buckets"), "65536");
    });
}

#[test]
fn a_file_that_is_not_ours_is_not_overwritten() {
    on_each_shell("foreign", |tree| {
        tree.write("etc/sysctl.d/60-holdfast.conf", "net.core.somaxconn = 5\n");
        let out = tree.must("--connections 1000000 --persist", 1);
        assert!(out.contains("DENIED  /etc/sysctl.d/60-holdfast.conf is somebody else's"), "{out}");
        tree.must("--undo", 0);
        let path = tree.root.join("etc/sysctl.d/60-holdfast.conf");
        assert_eq!(fs::read_to_string(path).expect("kept"), "net.core.somaxconn = 5\n");
    });
}

#[test]
fn wrong_usage_is_told_and_changes_nothing() {
    on_each_shell("usage", |tree| {
        let before = tree.everything();
        for (arguments, expected) in [
            ("", "--connections is missing"),
            ("--connections", "--connections needs a value"),
            ("--connections 0", "--connections must be a whole number from 1 to 100000000, not '0'"),
            ("--connections 1e6", "not '1e6'"),
            ("--connections -5", "not '-5'"),
            ("--connections 010", "not '010'"),
            ("--connections 99999999999999999999", "not '99999999999999999999'"),
            ("--connections 5 --loops 257", "--loops must be a whole number from 1 to 256, not '257'"),
            ("--connections 5 --check --dry-run", "--check and --dry-run exclude each other"),
            ("--connections 5 --force", "unknown argument '--force'"),
        ] {
            let Done { code, out, err } = tree.apply(arguments);
            assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments}");
            assert!(err.starts_with("tuning/apply: ") && err.contains(expected), "{arguments}: {err}");
        }
        assert_eq!(tree.everything(), before);
    });
}

/// A file of the repository without comments and blank lines.
fn settings_of(path: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(path);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The same of a file that `--persist` has written.
fn persisted(tree: &Tree, path: &str) -> Vec<String> {
    let text = fs::read_to_string(tree.root.join(path)).expect("written");
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn the_files_say_what_the_script_computes_for_a_million() {
    on_each_shell("files", |tree| {
        tree.lay(&CONNTRACK);
        // A host on which everything is short, so that everything is set.
        for (path, value) in tree::UNTUNED.iter().chain(&CONNTRACK).filter(|(path, _)| !path.ends_with("port_range")) {
            tree.set(path, if value.contains('\t') { "1 1 1" } else { "1" });
        }
        tree.must("--connections 1000000 --persist", 0);
        assert_eq!(persisted(tree, "etc/sysctl.d/60-holdfast.conf"), settings_of("sysctl.d/60-holdfast.conf"));
        assert_eq!(persisted(tree, "etc/security/limits.d/60-holdfast.conf"), settings_of("limits.d/60-holdfast.conf"));
        let drop_in = settings_of("systemd/holdfast.service.d/limits.conf");
        for line in persisted(tree, "etc/systemd/system/holdfast.service.d/limits.conf") {
            assert!(drop_in.contains(&line), "{line}");
        }
    });
}

#[test]
fn the_running_host_is_read_as_it_is() {
    // A file of /proc/sys gives everything to its first read: a shell that reads byte by byte would see the first digit.
    let somaxconn = fs::read_to_string("/proc/sys/net/core/somaxconn").expect("Linux");
    on_each_shell("real", |tree| {
        let _ = fs::remove_dir_all(tree.root.join("proc"));
        std::os::unix::fs::symlink("/proc", tree.root.join("proc")).expect("writable");
        let out = tree.apply("--connections 1000000 --check").out;
        let line = out.lines().find(|line| line.contains(" net.core.somaxconn ")).expect("listed");
        assert!(line.contains(&format!("have {} ", somaxconn.trim())), "{line}");
    });
}
