//! A gateway that cannot start says why, names what to change, and ends with the exit code that scripts look at.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Output};

use crate::gateway::{Gateway, fresh_folder};

/// Exit code: it failed while it ran.
const FAILED: i32 = 1;
/// Exit code: the command line or the settings are wrong.
const USAGE: i32 = 2;

/// A folder with a configuration file, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn with(config: &str) -> Self {
        let folder = Self(fresh_folder());
        fs::write(folder.0.join("holdfast.toml"), config).expect("config written");
        folder
    }

    /// Runs `holdfast serve` to its end, which must come.
    fn serve(&self, flags: &[&str]) -> Output {
        // One that starts against all expectation is ended, and then fails the test by its exit code.
        Command::new("timeout")
            .arg("20")
            .arg(env!("CARGO_BIN_EXE_holdfast"))
            .arg("serve")
            .args(flags)
            .arg("--config")
            .arg(self.0.join("holdfast.toml"))
            .output()
            .expect("runs")
    }

    /// It must end with this code, print nothing on standard output, and say all of these words on standard error.
    fn must_fail(&self, flags: &[&str], code: i32, words: &[&str]) {
        let output = self.serve(flags);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{flags:?}: {said}");
        assert!(output.stdout.is_empty(), "it said that it is ready");
        assert!(said.contains("holdfast: "), "{said}");
        for word in words {
            assert!(said.contains(word), "{word} is not in: {said}");
        }
        assert!(!said.contains("panicked"), "{said}");
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn taken_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}

#[test]
fn a_port_in_use_is_named() {
    let folder = Folder::with("");
    let (_listener, address) = taken_port();
    let taken = address.to_string();
    let free = "127.0.0.1:0";
    folder.must_fail(
        &["--dev", "--listen", &taken, "--control", free],
        FAILED,
        &[&taken, "`server.listen`", "another program listens there"],
    );
    folder.must_fail(
        &["--dev", "--listen", free, "--control", &taken],
        FAILED,
        &[&taken, "`control.listen`", "another program listens there"],
    );
    folder.must_fail(
        &["--listen", "192.0.2.1:0", "--control", free],
        FAILED,
        &["192.0.2.1", "`server.listen`", "no such address"],
    );
}

#[test]
fn a_key_file_that_cannot_be_read_is_named() {
    let key = "[[auth.keys]]\nid = \"main\"\nalgorithm = \"ES256\"\nfile = \"agents.pem\"\n";
    let folder = Folder::with(key);
    let place = ["holdfast.toml:4", "`auth.keys.0.file`", "agents.pem"];
    folder.must_fail(&[], USAGE, &place);
    fs::write(folder.0.join("agents.pem"), "").expect("a file");
    folder.must_fail(&[], USAGE, &["is empty"]);
    fs::write(folder.0.join("agents.pem"), "this is no key").expect("a file");
    folder.must_fail(&[], USAGE, &["auth.keys.0"]);
    fs::remove_file(folder.0.join("agents.pem")).expect("removed");
    fs::create_dir(folder.0.join("agents.pem")).expect("a folder");
    folder.must_fail(&[], USAGE, &["cannot be read"]);
}

#[test]
fn an_unknown_setting_is_named_with_the_nearest_known_one() {
    let folder = Folder::with("[limits]\nconections = 5\n\n[calls]\ntimeout = 20\n");
    // Everything that is wrong is told at once, each with its place.
    let words = ["holdfast.toml:2", "conections", "`connections`", "holdfast.toml:5", "calls.timeout"];
    folder.must_fail(&[], USAGE, &words);
    let folder = Folder::with("[sever]\nlisten = \"127.0.0.1:0\"\n");
    folder.must_fail(&[], USAGE, &["sever", "`server`"]);
    let folder = Folder::with("[limits\n");
    folder.must_fail(&[], USAGE, &["holdfast.toml:1"]);
}

#[test]
fn a_missing_configuration_file_is_named() {
    let folder = Folder::with("");
    fs::remove_file(folder.0.join("holdfast.toml")).expect("removed");
    folder.must_fail(&[], USAGE, &["holdfast.toml", "cannot read"]);
}

#[test]
fn development_stays_on_this_machine() {
    let folder = Folder::with("");
    for (listen, control) in [
        ("0.0.0.0:0", "127.0.0.1:0"),
        ("127.0.0.1:0", "0.0.0.0:0"),
        ("[::]:0", "127.0.0.1:0"),
        ("192.0.2.1:0", "127.0.0.1:0"),
    ] {
        let flags = ["--dev", "--listen", listen, "--control", control];
        folder.must_fail(&flags, USAGE, &["--dev", "loopback"]);
    }
    // What a file says is no way round it.
    let folder = Folder::with("[server]\nlisten = \"0.0.0.0:0\"\n[control]\nlisten = \"127.0.0.1:0\"\n");
    folder.must_fail(&["--dev"], USAGE, &["`server.listen` is 0.0.0.0:0"]);
}

#[test]
fn a_node_that_could_hold_nobody_does_not_start() {
    let folder = Folder::with("[limits]\ndescriptors_reserve = 65536\n");
    let limit = "ulimit -n 1000; exec \"$0\" serve --dev --listen 127.0.0.1:0 --control 127.0.0.1:0 --config \"$1\"";
    let output = Command::new("timeout")
        .args(["20", "bash", "-c", limit, env!("CARGO_BIN_EXE_holdfast")])
        .arg(folder.0.join("holdfast.toml"))
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(FAILED), "{said}");
    assert!(said.contains("no connection is possible") && said.contains("limits.descriptors_reserve"), "{said}");
}

#[test]
fn a_gateway_takes_no_huge_pages() {
    let gateway = Gateway::start("");
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process_id())).expect("its status");
    // A kernel older than 5.0 does not tell.
    let told = status.lines().find_map(|line| line.strip_prefix("THP_enabled:"));
    assert_eq!(told.map_or("0", str::trim), "0");
}
