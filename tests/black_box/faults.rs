//! A kernel that fails: strace puts errors into the system calls of a running gateway while agents come and are called, in plaintext and
//! over TLS. When it works again everybody is served, nothing spins, no descriptor is lost, and each call had one true outcome.
//!
//! strace answers in place of the kernel, so a fault is one that the kernel could give at any time. Short counts cannot be had so (bytes
//! would be lost): the simulation has them, and refused and cut writes, with TLS too (`src/sim/faults.rs`). Of `epoll_wait` the kernel
//! knows one error that is not ours, EINTR.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

use crate::gateway::{Gateway, until};
use crate::returning::{Returning, for_a_while};
use crate::secured_files::{Authority, NAME};

/// Agents of each round.
const AGENTS: usize = 8;
/// How long the kernel fails in each round.
const SPAN: Duration = Duration::from_millis(1500);
/// System calls in a second that a gateway at rest may make: heartbeats of these agents each second, sweeps, ticks of the control
/// thread. One that spins makes a hundred times as many.
const AT_REST_MAX: usize = 600;

/// In whose system calls.
#[derive(Clone, Copy, PartialEq)]
enum In {
    /// Every thread.
    All,
    /// The loops alone. "Nothing is ready" is a lie where something is: no edge tells of it again. The loops ask anew for what they could
    /// not write, and hear what they could not read with the next heartbeat; the control port's library need not, since no kernel lies.
    Loops,
}

/// Some seconds of what goes wrong at once: its name, where, and by system call the error and when: the first time and the step from
/// there, for each thread.
type Round = (&'static str, In, &'static [(&'static str, &'static str, &'static str)]);

const ROUNDS: [Round; 7] = [
    (
        "no descriptors, and signals everywhere",
        In::All,
        &[
            ("accept4", "EMFILE", "1+3"),
            ("recvfrom", "EINTR", "1+2"),
            ("sendto", "EINTR", "1+2"),
            ("writev", "EINTR", "1+2"),
        ],
    ),
    ("no files, nothing can be watched", In::All, &[("accept4", "ENFILE", "1+2"), ("epoll_ctl", "ENOSPC", "1+4")]),
    (
        "no memory",
        In::All,
        &[
            ("accept4", "ENOMEM", "1+3"),
            ("epoll_ctl", "ENOMEM", "1+5"),
            ("recvfrom", "ENOMEM", "3+9"),
            ("sendto", "ENOMEM", "4+9"),
            ("writev", "ENOMEM", "2+5"),
        ],
    ),
    (
        "no buffers",
        In::All,
        &[
            ("accept4", "ENOBUFS", "1+3"),
            ("recvfrom", "ENOBUFS", "5+11"),
            ("sendto", "ENOBUFS", "3+7"),
            ("writev", "ENOBUFS", "1+3"),
        ],
    ),
    (
        "peers that are gone",
        In::All,
        &[
            ("accept4", "ECONNABORTED", "1+2"),
            ("recvfrom", "ECONNRESET", "3+9"),
            ("sendto", "EPIPE", "4+9"),
            ("writev", "EPIPE", "1+3"),
        ],
    ),
    (
        // Of loops alone: a wait that strace has begun to fail when it lets go ends with ENOSYS, which the runtime of the control
        // thread takes for the end of the world.
        "nothing ready after all, waits that are interrupted",
        In::Loops,
        &[
            ("epoll_wait", "EINTR", "1+3"),
            ("accept4", "EAGAIN", "1+3"),
            ("recvfrom", "EAGAIN", "3+5"),
            ("sendto", "EAGAIN", "1+2"),
            ("writev", "EAGAIN", "1+2"),
        ],
    ),
    // Wakes of loops, the control thread's, and the log are written with the same call.
    ("full wakes, a log that takes nothing", In::All, &[("accept4", "EINTR", "1+2"), ("write", "EAGAIN", "1+3")]),
];

/// A tracer at work, until it is told to stop.
struct Tracer {
    child: Child,
    out: PathBuf,
}

impl Tracer {
    /// Attaches to the gateway. A user who is not root needs `kernel.yama.ptrace_scope` 0 for it, or sudo.
    fn attach(gateway: &Gateway, name: &str, whom: In, arguments: &[String]) -> Self {
        let out = gateway.file(name);
        let may_trace = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
            || fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").map_or(true, |scope| scope.trim() == "0");
        let mut command = Command::new(if may_trace { "strace" } else { "sudo" });
        if !may_trace {
            command.args(["-n", "strace"]);
        }
        // Without -f, which would take in every other thread too.
        command.args(["-qq", "-o"]).arg(&out).args(arguments);
        for thread in threads(gateway, whom) {
            command.args(["-p", &thread]);
        }

        let child = command.stdin(Stdio::null()).spawn().expect("strace: scripts/test installs it");
        let tracer = Self { child, out };
        until(
            || traced(gateway, whom) == threads(gateway, whom).len(),
            "strace is attached; it needs root, or kernel.yama.ptrace_scope = 0",
        );
        tracer
    }

    /// Lets the gateway go on by itself: what was traced, a line each.
    fn detach(mut self, gateway: &Gateway) -> String {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        signal::kill(pid, Signal::SIGINT).expect("strace runs");
        self.child.wait().expect("strace ends");
        until(|| traced(gateway, In::All) == 0, "strace is detached");
        fs::read_to_string(&self.out).expect("what it traced")
    }
}

/// Ids of threads.
fn threads(gateway: &Gateway, whom: In) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.process_id())).expect("the gateway runs");
    let tasks = tasks.filter_map(|task| Some(task.ok()?.path()));
    let is_meant = |path: &PathBuf| {
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        whom == In::All || name.starts_with("loop-")
    };
    tasks.filter(is_meant).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect()
}

/// How many of them somebody traces.
fn traced(gateway: &Gateway, whom: In) -> usize {
    let status = |thread: &String| fs::read_to_string(format!("/proc/{}/task/{thread}/status", gateway.process_id()));
    let traced = |thread: &String| status(thread).is_ok_and(|status| !status.contains("TracerPid:\t0\n"));
    threads(gateway, whom).iter().filter(|thread| traced(thread)).count()
}

/// Open descriptors by all tables: each loop has one of its own.
pub fn descriptors(gateway: &Gateway) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.process_id())).expect("the gateway runs");
    tasks.filter_map(|task| Some(fs::read_dir(task.ok()?.path().join("fd")).ok()?.count())).sum()
}

/// System calls in a second.
fn calls_in_a_second(gateway: &Gateway, name: &str) -> (usize, String) {
    let tracer = Tracer::attach(gateway, name, In::All, &[]);
    thread::sleep(Duration::from_secs(1));
    let seen = tracer.detach(gateway);
    // A call that another thread's interrupts is two lines.
    let calls = seen.lines().filter(|line| !line.contains("resumed>") && line.contains('('));
    (calls.count(), seen)
}

/// Strangers come, say something or nothing, and go.
fn strangers(gateway: &Gateway) {
    for_a_while(SPAN, || {
        if let Ok(mut stream) = TcpStream::connect(gateway.agents) {
            let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
            let _ = stream.write_all(b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n");
            let _ = stream.read(&mut [0; 64]);
        }
        thread::sleep(Duration::from_millis(5));
    });
}

/// Settings of the gateway of each round; what comes first is for `[server]`.
const SETTINGS: &str = "loops = 2\nworkers = 1\n[heartbeat]\ninterval = \"2s\"\ntimeout = \"1900ms\"\n\
                        [limits]\nhandshake_deadline = \"2s\"\nclose_deadline = \"1s\"\n[control]\nidle = \"1s\"\n";

/// A gateway fails in each of the ways, with agents that come back to it.
fn fail_in_all_ways(start: impl Fn() -> (Gateway, Returning)) {
    for (number, (what, whom, faults)) in ROUNDS.into_iter().enumerate() {
        let (gateway, agents) = start();
        agents.all_answer(&gateway);
        let before = descriptors(&gateway);

        let inject = |(call, error, when): &(&str, &str, &str)| format!("inject={call}:error={error}:when={when}");
        let arguments: Vec<String> = faults.iter().flat_map(|fault| ["-e".to_owned(), inject(fault)]).collect();
        let tracer = Tracer::attach(&gateway, &format!("faults-{number}"), whom, &arguments);
        let called = agents.call_while(&gateway, || strangers(&gateway));
        let seen = tracer.detach(&gateway);
        for (call, error, _) in faults {
            let hit =
                |line: &str| line.contains(&format!("{call}(")) && line.contains(error) && line.contains("INJECTED");
            // Few frames wait for the same agent here, so that a vectored write may not come at all.
            assert!(*call == "writev" || seen.lines().any(hit), "{what}: no {error} in {call}");
        }

        agents.all_answer(&gateway);
        let tally = agents.judge(&called);
        assert!(tally.contains_key("ok"), "{what}: {tally:?}");
        gateway.wait_metric("holdfast_agents", "", AGENTS as u64);
        until(|| descriptors(&gateway) <= before, &format!("{what}: descriptors are {before} again"));
        let (calls, seen) = calls_in_a_second(&gateway, &format!("rest-{number}"));
        println!("{what}: {tally:?}, then {calls} system calls in a second");
        assert!(calls <= AT_REST_MAX, "{what}: {calls} system calls in a second\n{seen:.4000}");
    }
}

#[test]
fn a_failing_kernel_costs_connections_and_never_the_truth() {
    fail_in_all_ways(|| {
        let gateway = Gateway::start(&format!("[server]\n{SETTINGS}"));
        let agents = Returning::start(gateway.agents, AGENTS);
        (gateway, agents)
    });
}

#[test]
fn nor_does_it_over_tls() {
    let authority = Authority::new();
    let tls = authority.client_tls();
    fail_in_all_ways(|| {
        let settings = authority.settings("").replacen("[tls]\n", &format!("{SETTINGS}[tls]\n"), 1);
        let gateway = Gateway::start(&settings);
        let agents = Returning::start_at(&format!("wss://{NAME}:{}", gateway.agents.port()), Some(&tls), AGENTS);
        (gateway, agents)
    });
}
