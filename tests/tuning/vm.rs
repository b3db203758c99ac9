//! The parts of `loadtest/vm` and of its step in `scripts/test` that need no virtual machine: what they do on hosts and with
//! kernels that are not as they should be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// An empty folder of this test's own.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("vm-{name}"));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("writable");
    folder
}

/// Puts a shell script there that stands for a program.
fn stand_in(folder: &Path, name: &str, body: &str) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().expect("below the folder")).expect("writable");
    fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Copies connection tracking out of a kernel package with these modules.
fn modules(name: &str, files: &[&str]) -> (Output, Vec<String>) {
    let folder = folder(name);
    let net = folder.join("kernel/lib/modules/6.1/kernel/net");
    let to = folder.join("to");
    fs::create_dir_all(&net).expect("writable");
    fs::create_dir_all(&to).expect("writable");
    for file in files {
        fs::write(net.join(file), "a module").expect("writable");
    }
    let mut command = Command::new(repository("loadtest/vm/modules"));
    let output = command.arg(folder.join("kernel")).arg(&to).output().expect("bash is installed");
    let copied = fs::read_dir(&to).expect("readable").map(|entry| entry.expect("readable").file_name());
    let mut copied: Vec<String> = copied.map(|name| name.to_string_lossy().into_owned()).collect();
    copied.sort();
    (output, copied)
}

#[test]
fn modules_of_connection_tracking_are_copied_where_they_are_modules() {
    let all = ["libcrc32c.ko", "nf_conntrack.ko", "nf_defrag_ipv4.ko", "nf_defrag_ipv6.ko"];
    let others = ["nf_conntrack_netlink.ko", "xt_conntrack.ko.xz"];
    let (output, copied) = modules("plain", &[&all[..], &others].concat());
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
    assert_eq!(copied, all);
    // Built in, but for the one that is asked for.
    let (output, copied) = modules("built-in", &["nf_conntrack.ko"]);
    assert_eq!((output.status.code(), copied), (Some(0), vec!["nf_conntrack.ko".to_owned()]));
}

#[test]
fn modules_that_the_guest_cannot_load_are_a_clear_failure() {
    let (output, _) = modules("compressed", &["nf_conntrack.ko.xz"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("nf_conntrack.ko.xz is compressed"), "{}", text(&output.stderr));
    let (output, _) = modules("compressed-need", &["libcrc32c.ko.zst", "nf_conntrack.ko"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("libcrc32c.ko.zst is compressed"), "{}", text(&output.stderr));
    let (output, _) = modules("none", &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("has no nf_conntrack.ko"), "{}", text(&output.stderr));
}

#[test]
fn the_guest_powers_itself_off_when_its_time_is_up() {
    let folder = folder("watchdog");
    for program in ["sleep", "sync", "poweroff"] {
        stand_in(&folder, program, &format!("echo {program} \"$@\""));
    }
    let mut command = Command::new("/bin/sh");
    command.arg(repository("loadtest/vm/watchdog")).arg("360").env("PATH", &folder);
    let output = command.output().expect("a shell");
    assert_eq!(text(&output.stdout), "sleep 360\nvm-verdict: no end after 360 seconds\nsync\npoweroff -f\n");
    // The first process starts it before the proof, with a minute more than the host waits.
    let init = fs::read_to_string(repository("loadtest/vm/init")).expect("part of the repository");
    let watchdog = init.find("sh /watchdog $((minutes * 60 + 60)) &\n").expect("started");
    assert!(watchdog < init.find("sh /guest\n").expect("started"), "{init}");
}

/// Runs the step of `scripts/test` on a host with this processor, where apt-get knows the guest's kernel or not.
fn fresh_kernel(name: &str, processor: &str, known: &str, guest: &str) -> (Option<i32>, String) {
    let folder = folder(name);
    stand_in(&folder, "bin/dpkg", &format!("echo {processor}"));
    stand_in(&folder, "bin/apt-cache", known);
    stand_in(&folder, "loadtest/vm/run", guest);
    let script = fs::read_to_string(repository("scripts/test")).expect("part of the repository");
    let function = |name: &str| {
        let begin = script.find(&format!("\n{name}() {{\n")).unwrap_or_else(|| panic!("no {name}"));
        let end = begin + script[begin..].find("\n}\n").expect("an end") + 3;
        script[begin..end].to_owned()
    };
    // Lists of packages that are read anew know no more than before.
    let functions = function("fresh_kernel") + &function("guest_kernel_is_known") + "update_packages() { :; }\n";
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &(functions + "fresh_kernel")]).current_dir(&folder);
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", folder.join("bin").display()));
    let output = command.output().expect("bash is installed");
    (output.status.code(), text(&output.stdout))
}

#[test]
fn the_fresh_kernel_is_left_out_where_its_package_is_not_to_be_had() {
    for (name, processor, known) in
        [("arm", "arm64", "exit 0"), ("ubuntu", "amd64", "exit 100"), ("fedora", "", "exit 127")]
    {
        let (code, out) = fresh_kernel(name, processor, known, "echo booted; exit 1");
        assert_eq!(code, Some(0), "{name}: {out}");
        assert!(out.starts_with("left out: ") && !out.contains("booted"), "{name}: {out}");
        assert!(!out.contains("passed"), "{name}: {out}");
    }
    let (code, out) = fresh_kernel("debian", "amd64", "exit 0", "echo booted");
    assert_eq!((code, out.as_str()), (Some(0), "booted\n1 passed, 0 failed\n"));
    let (code, out) = fresh_kernel("broken", "amd64", "exit 0", "echo booted; exit 1");
    assert_eq!((code, out.as_str()), (Some(1), "booted\n"));
}
