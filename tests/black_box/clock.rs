//! A wall clock that jumps by days, forwards and back: heartbeats and deadlines go on, and only tokens
//! are judged by it: those of newcomers, and those of agents that are in.
//!
//! libfaketime stands between the program and the wall clock; the monotonic clock it leaves alone, as a real jump does.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::agent::{Agent, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS, Gateway, SOON, fresh_folder, until};
use crate::peer::Peer;

/// Where Debian and its kin, Fedora and its kin have the library.
const FOLDERS: [&str; 3] = ["/usr/lib", "/usr/lib64", "/usr/local/lib"];
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

fn library() -> PathBuf {
    let inside =
        |folder: &Path| fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let folders = FOLDERS.iter().map(PathBuf::from);
    let folders = folders.flat_map(|folder| inside(&folder).chain([folder.clone()]).collect::<Vec<_>>());
    let found = folders.map(|folder| folder.join(LIBRARY)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{LIBRARY} is missing: scripts/test installs it"))
}

/// The first line of what a request with this token is answered with.
fn knock(gateway: &Gateway, token: &str) -> String {
    let mut stream = TcpStream::connect(gateway.agents).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let head = format!(
        "GET /v1/agent HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).expect("sent");
    let mut line = [0; 12];
    stream.read_exact(&mut line).expect("an answer");
    String::from_utf8_lossy(&line).into_owned()
}

/// The gateway, on a wall whose offset is in this file.
fn on_a_wall(wall: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command
        .env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", wall)
        .env("FAKETIME_CACHE_DURATION", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command
}

#[test]
fn a_wall_clock_that_jumps_ends_tokens_and_nothing_else() {
    let folder = fresh_folder();
    let wall = folder.join("wall");
    let set = |offset: &str| fs::write(&wall, offset).expect("written");
    set("+0d\n");
    let command = on_a_wall(&wall);
    let settings = Gateway::config("[heartbeat]\ninterval = \"1m\"\ntimeout = \"30s\"\n");
    let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
    let gateway = Gateway::launch_by(command, &settings, &flags);
    let backend = Backend::of(&gateway);
    let mut agent = Agent::with_token(&gateway, &gateway.token_for("steady", 10 * 86_400), Encoding::Json);
    let mut brief = Some(Peer::agent(&gateway, "brief"));
    let newcomer = gateway.token("newcomer");
    assert!(knock(&gateway, &newcomer).ends_with(" 101"));

    for (offset, answer) in [("+2d\n", " 401"), ("-2d\n", " 101")] {
        let long = backend.begin("steady", to_do("long", "60s"));
        let order = agent.call();
        set(offset);
        // The control thread looks at the wall every few seconds.
        until(|| knock(&gateway, &newcomer).ends_with(answer), &format!("a newcomer is told{answer}"));
        if answer == " 401" {
            assert_eq!(brief.take().map(Peer::closed), Some(4002), "its token has ended, too");
        }
        let short = backend.begin("steady", to_do("short", "1s"));
        let unanswered = agent.call();
        let short = short.end();
        short.expect("steady", "no_receipt", unanswered.call);
        assert!(short.took >= Duration::from_secs(1), "{offset}: {short:?}");
        assert_eq!(agent.cancelled(), unanswered.call);
        assert!(!long.has_ended(), "{offset}");
        agent.answer(order.call, &json!(offset));
        long.end().expect_result("steady", &json!(offset), order.call);
    }
    assert!(gateway.metric("holdfast_auth_failures_total", "cause=\"expired\"") > 0);
    gateway.wait_closed_for("token_expired", 1);
    assert_eq!((gateway.closed_for("heartbeat_lost"), gateway.closed_for("token_expired")), (0, 1));
    let _ = fs::remove_dir_all(folder);
}

/// Who is revoked until tomorrow is not let in by a wall that says it is tomorrow, nor by a process that was started meanwhile.
#[test]
fn a_wall_clock_that_jumps_lets_nobody_in_who_was_revoked() {
    let folder = fresh_folder();
    let wall = folder.join("wall");
    let set = |offset: &str| fs::write(&wall, offset).expect("written");
    set("+0d\n");
    let revocations = format!("[revocations]\nfile = \"{}\"\n", folder.join("revoked").display());
    let settings = Gateway::config(&revocations);
    let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
    let mut gateway = Gateway::launch_by(on_a_wall(&wall), &settings, &flags);
    let (revoked, brief) = (gateway.token_for("revoked", 30 * 86_400), gateway.token("brief"));
    let body = json!({"agent": "revoked", "expires_at": crate::keys::unix_secs() + 86_400});
    let answer = Backend::of(&gateway).ask("POST", "/v1/revocations", Some(body.to_string()));
    assert_eq!(answer.status, 201, "{answer:?}");
    let is_revoked = |gateway: &Gateway| {
        let refused = || gateway.metric("holdfast_auth_failures_total", "cause=\"revoked\"");
        let before = refused();
        knock(gateway, &revoked).ends_with(" 401") && refused() == before + 1
    };
    assert!(is_revoked(&gateway) && knock(&gateway, &brief).ends_with(" 101"));
    set("+2d\n");
    until(|| knock(&gateway, &brief).ends_with(" 401"), "it is the day after tomorrow");
    assert!(is_revoked(&gateway), "by the wall it is over, and the gateway has not run for a day");
    gateway.signal(nix::sys::signal::Signal::SIGKILL);
    gateway.wait_end();
    drop(gateway);
    let gateway = Gateway::launch_by(on_a_wall(&wall), &settings, &flags);
    assert!(knock(&gateway, &brief).ends_with(" 401") && is_revoked(&gateway), "nor has the next process");
    set("+0d\n");
    until(|| knock(&gateway, &brief).ends_with(" 101"), "it is today again");
    assert!(is_revoked(&gateway));
    let _ = fs::remove_dir_all(folder);
}
