//! Too little memory: in a control group that is small the gateway lets fewer in and lives; where an allocation fails it says so and ends.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use holdfast::config::host::raise_descriptors;
use nix::sys::signal::Signal;
use serde_json::json;

use crate::agent::{Agent, Encoding};
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS, Gateway, SOON, until};
use crate::peer::Peer;

const PROGRAM: &str = env!("CARGO_BIN_EXE_holdfast");

/// What the group may have: the program, and some thousands of agents with the kernel's memory for their sockets.
const GROUP_BYTES: u64 = 40 << 20;
/// More than fit into that.
const COMERS: usize = 10_000;

/// A control group of our own, until it is dropped. Version 1 and 2 of the interface.
struct Group(PathBuf);

impl Group {
    /// None where this user or this machine has no such thing.
    fn with_memory(bytes: u64) -> Option<Self> {
        let name = format!("holdfast-test-{}", process::id());
        for (mount, file) in [
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("/sys/fs/cgroup", "memory.max"),
            ("/sys/fs/cgroup/unified", "memory.max"),
        ] {
            let group = Self(Path::new(mount).join(&name));
            if fs::create_dir(&group.0).is_ok() && fs::write(group.0.join(file), bytes.to_string()).is_ok() {
                // Swap would let it have more; where there is none the kernel has no such file.
                let _ = fs::write(group.0.join("memory.swap.max"), "0");
                return Some(group);
            }
        }
        None
    }

    /// Whether the kernel has ended a process in it for want of memory.
    fn has_killed(&self) -> bool {
        let told = ["memory.oom_control", "memory.events"].map(|file| fs::read_to_string(self.0.join(file)));
        let told: String = told.into_iter().flatten().collect();
        let kills = told.lines().filter_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
        kills.sum::<u64>() > 0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process may still be on its way out.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() || !self.0.exists() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// An agent that has asked to come in, and what the first line of the answer was.
fn come(gateway: &Gateway, number: usize) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway.agents).expect("connects");
    stream.set_read_timeout(Some(SOON)).expect("a time-out");
    let head = format!(
        "GET /v1/agent?agent=many-{number} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    // Who is turned away at once may find the connection closed.
    let _ = stream.write_all(head.as_bytes());
    let mut line = [0; 12];
    let read = stream.read_exact(&mut line).map_err(|error| error.kind());
    assert!(!matches!(read, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "no answer for {number}");
    (stream, String::from_utf8_lossy(&line).into_owned())
}

#[test]
fn a_small_control_group_holds_as_many_as_fit_and_the_process_lives() {
    let Some(group) = Group::with_memory(GROUP_BYTES) else {
        println!("left out: it takes a user who may make control groups for memory");
        return;
    };
    raise_descriptors().expect("a limit that can be raised");
    let mut command = Command::new("sh");
    let join = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", group.0.display());
    command.args(["-c", &join, PROGRAM]);
    let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
    let settings = Gateway::config("[server]\nloops = 1\n[heartbeat]\ninterval = \"10m\"\n");
    let gateway = Gateway::launch_by(command, &settings, &flags);
    let budget = gateway.memory()["budget"].as_u64().expect("a number");
    assert!(budget < GROUP_BYTES, "it has not seen its group: {budget}");
    let mut inside = Agent::connect(&gateway, "inside", Encoding::Json);

    let mut crowd = Vec::new();
    let refused = (0..COMERS).find(|number| {
        let (stream, line) = come(&gateway, *number);
        crowd.push(stream);
        !line.ends_with(" 101")
    });
    println!("{refused:?} of them fit into {budget} bytes");
    assert!(refused.is_some_and(|number| number > 1000), "{refused:?} of {COMERS} were refused first");
    assert_eq!(gateway.metric("holdfast_memory_over_budget", ""), 1);
    for number in 0..200 {
        let (_, line) = come(&gateway, COMERS + number);
        assert!(!line.ends_with(" 101"), "{line}");
    }
    // Who is in is served, with more than a little.
    let large = "x".repeat(200_000);
    let call = Backend::of(&gateway).begin("inside", json!({"method": "m", "params": large}));
    let order = inside.call();
    inside.answer(order.call, &json!(large));
    call.end().expect_result("inside", &json!(large), order.call);
    assert!(!group.has_killed());

    drop(crowd);
    until(|| gateway.page("/readyz").contains("\"ready\":true"), "there is room again");
    let late = Peer::agent(&gateway, "late");
    drop((late, inside, gateway));
}

/// The limit is on what the process may map, so an allocation fails instead of ending it from outside.
#[test]
fn an_allocation_that_fails_ends_the_process_with_a_word() {
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\"", PROGRAM]);
    let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
    let settings = "[server]\nloops = 1\n[limits]\nmemory = \"1GiB\"\nmessage_max = \"64MiB\"\nlease_bytes = \"512MiB\"\nqueue_hard = \"64MiB\"\n\
                    [heartbeat]\ninterval = \"10m\"\n";
    let mut gateway = Gateway::launch_by(command, &Gateway::config(settings), &flags);
    let mut agents: Vec<Peer> = (0..8).map(|number| Peer::agent(&gateway, &format!("half-{number}"))).collect();
    let mut caller = Backend::of(&gateway).begin_raw("half-0", &to_do("m", "20s"));
    // It runs, and now gets a tenth of what these want.
    let limit = Command::new("prlimit")
        .args(["--pid", &gateway.process_id().to_string(), "--data=100663296"])
        .status()
        .expect("prlimit, of util-linux");
    assert!(limit.success());
    let mut half = vec![0x81, 0x80 | 127];
    half.extend((60u64 << 20).to_be_bytes());
    half.extend([0; 4]);
    half.resize(half.len() + (40 << 20), b'1');
    for agent in &mut agents {
        // The first of them ends the process.
        if agent.raw().write_all(&half).is_err() {
            break;
        }
    }
    let status = gateway.wait_end();
    assert_eq!(status.signal(), Some(Signal::SIGABRT as i32), "{status}\n{}", gateway.log());
    let log = gateway.log();
    assert!(log.contains("memory allocation of "), "{log}");
    let mut told = Vec::new();
    let _ = caller.read_to_end(&mut told);
    assert!(told.is_empty(), "an outcome that nobody knows: {}", String::from_utf8_lossy(&told));
}
