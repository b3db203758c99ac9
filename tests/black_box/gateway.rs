//! A gateway process under test: started on free ports, asked over HTTP, killed when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use holdfast::auth::token::{self, Algorithm, Claims, KeySource};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;

/// The secret that the gateway under test checks tokens with.
const SECRET: &str = "a secret that only these tests use";

/// Id of that secret.
const KEY_ID: &str = "load";

/// Only one gateway at a time.
static TURN: Mutex<()> = Mutex::new(());

/// Longest wait for anything that should come soon: generous, since it only bounds how long a failure takes.
pub const SOON: Duration = Duration::from_secs(20);

/// Flags for ports that the kernel chooses.
pub const ANY_PORTS: [&str; 4] = ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0"];

/// The same, with a port for control links.
pub const ANY_PORTS_AND_LINK: [&str; 6] =
    ["--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--link", "127.0.0.1:0"];

/// A running gateway.
pub struct Gateway {
    child: Child,
    folder: PathBuf,
    /// Kept open: the gateway may have more to say.
    _stdout: BufReader<ChildStdout>,
    /// Where agents connect.
    pub agents: SocketAddr,
    /// Where backends connect.
    pub control: SocketAddr,
    /// Where control links connect, where they do.
    pub link: Option<SocketAddr>,
    _turn: MutexGuard<'static, ()>,
}

impl Gateway {
    /// Starts a gateway with `--dev` and a token key; `settings` is TOML that comes before the keys.
    pub fn start(settings: &str) -> Self {
        let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS).collect();
        Self::launch(&Self::config(settings), &flags)
    }

    /// As [`Gateway::start`], with a port for control links.
    pub fn with_link(settings: &str) -> Self {
        let flags: Vec<&str> = ["--dev"].into_iter().chain(ANY_PORTS_AND_LINK).collect();
        Self::launch(&Self::config(settings), &flags)
    }

    /// Starts a gateway with this configuration file and these flags, and no more.
    pub fn launch(config: &str, flags: &[&str]) -> Self {
        Self::launch_in(config, flags, &[])
    }

    /// The same, with more in its environment.
    pub fn launch_in(config: &str, flags: &[&str], environment: &[(&str, &Path)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
        command.envs(environment.iter().copied());
        Self::launch_by(command, config, flags)
    }

    /// As [`Gateway::launch`], by a command that becomes the program: with other variables, or after a shell has set it up.
    pub fn launch_by(mut command: Command, config: &str, flags: &[&str]) -> Self {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = fresh_folder();
        fs::write(folder.join("holdfast.toml"), config).expect("config written");
        let log = File::create(folder.join("log")).expect("log created");
        let mut child = command
            .arg("serve")
            .args(flags)
            .arg("--config")
            .arg(folder.join("holdfast.toml"))
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("the gateway starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let ready = stdout.by_ref().lines().map_while(Result::ok).find(|line| line.starts_with("ready "));
        let Some((agents, control, link)) = ready.as_deref().and_then(addresses) else {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            let _ = child.kill();
            panic!("the gateway did not say where it listens: {ready:?}\n{log}");
        };
        Self { child, folder, _stdout: stdout, agents, control, link, _turn: turn }
    }

    /// A file name in this test's own folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A token for an agent of tenant `default`.
    pub fn token(&self, agent: &str) -> String {
        self.token_for(agent, 3600)
    }

    /// The same, for so many seconds.
    pub fn token_for(&self, agent: &str, secs: u64) -> String {
        let key = KeySource {
            id: KEY_ID.to_owned(),
            algorithm: Algorithm::Hs256,
            material: SECRET.as_bytes().to_vec(),
            tenant: None,
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let claims = Claims {
            agent: agent.to_owned(),
            tenant: "default".to_owned(),
            labels: Vec::new(),
            methods: None,
            expires_unix: now.as_secs() + secs,
            issued_unix: None,
            token_id: None,
        };
        token::mint(&key, None, &claims).expect("a token")
    }

    /// Calls an agent as a backend does: HTTP status and body.
    pub fn call(&self, agent: &str, body: &str) -> (u16, Value) {
        let url = format!("http://{}/v1/agents/{agent}/calls", self.control);
        let request = http().post(&url).header("content-type", "application/json");
        read(request.send(body))
    }

    /// Fetches a page of the control port, as text.
    pub fn page(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.control);
        let mut response = http().get(&url).call().expect("an answer");
        response.body_mut().read_to_string().expect("text")
    }

    /// How many connections ended for a reason, by the metrics.
    pub fn closed_for(&self, reason: &str) -> u64 {
        self.metric("holdfast_closed_total", &format!("reason=\"{reason}\""))
    }

    /// The sum of a metric's series whose labels have this text in them.
    pub fn metric(&self, name: &str, label: &str) -> u64 {
        let page = self.page("/metrics");
        let series = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with(['{', ' ']).then_some(rest)
        });
        series.filter(|rest| rest.contains(label)).filter_map(|rest| rest.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    /// Waits until a metric has a value.
    pub fn wait_metric(&self, name: &str, label: &str, value: u64) {
        until(|| self.metric(name, label) == value, &format!("{name} {label} is {value}"));
    }

    /// Waits until the last agent has left the directory. `/v1/agents/{agent}` may say 404 a moment before.
    pub fn wait_no_agents(&self) {
        self.wait_metric("holdfast_agents", "", 0);
    }

    /// Writes the configuration file anew; it is read again at SIGHUP.
    pub fn configure(&self, config: &str) {
        fs::write(self.file("holdfast.toml"), config).expect("config written");
    }

    /// Its process id.
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// Sends the process a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed());
        signal::kill(pid, signal).expect("the gateway runs");
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.file("log")).expect("a log")
    }

    /// Sends SIGHUP and waits until the settings were read again, or were found wrong; the lines of the log since then.
    pub fn reload(&self) -> String {
        let before = self.log().len();
        self.signal(Signal::SIGHUP);
        let since = || self.log().split_off(before);
        until(|| since().contains("read again"), "settings read again");
        since()
    }

    /// Waits until the process has ended.
    pub fn wait_end(&mut self) -> ExitStatus {
        let end = Instant::now() + SOON;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child of ours") {
                return status;
            }
            assert!(Instant::now() < end, "still runs after {SOON:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until as many connections have ended for a reason.
    pub fn wait_closed_for(&self, reason: &str, count: u64) {
        until(|| self.closed_for(reason) == count, &format!("{count} connections closed for {reason}"));
    }

    /// Waits until an agent is connected.
    pub fn wait_for_agent(&self, agent: &str) {
        let url = format!("http://{}/v1/agents/{agent}", self.control);
        until(|| http().get(&url).call().is_ok_and(|r| r.status() == 200), &format!("agent {agent} connected"));
    }

    /// Resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.rollup("Rss:")
    }

    /// A line of the process' `smaps_rollup`, in bytes.
    pub fn rollup(&self, name: &str) -> u64 {
        let path = format!("/proc/{}/smaps_rollup", self.process_id());
        let rollup = fs::read_to_string(path).expect("the gateway runs");
        let line = rollup.lines().find_map(|line| line.strip_prefix(name));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kilobytes.expect("a line of smaps_rollup") * 1024
    }

    /// What the gateway says of its memory.
    pub fn memory(&self) -> Value {
        let node: Value = serde_json::from_str(&self.page("/v1/node")).expect("JSON");
        node["memory"].clone()
    }

    /// The configuration file of a gateway that was started with these settings.
    pub fn config(settings: &str) -> String {
        format!("{settings}\n[[auth.keys]]\nid = \"{KEY_ID}\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n")
    }

    /// The load client, told where this gateway is and how to prove who it is.
    pub fn load(&self, subcommand: &str) -> Command {
        let mut command = Command::new(load_client());
        command
            .arg(subcommand)
            .args(["--listen", &self.agents.to_string()])
            .args(["--control", &self.control.to_string()])
            .args(["--secret", SECRET, "--key-id", KEY_ID])
            .stdin(Stdio::piped());
        command
    }

    /// The same, for subcommands that look at the process.
    pub fn load_at_process(&self, subcommand: &str) -> Command {
        let mut command = self.load(subcommand);
        command.args(["--server-pid", &self.process_id().to_string()]);
        command
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let died = self.child.try_wait().ok().flatten();
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = fs::read_to_string(self.folder.join("log")).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(30).collect();
            eprintln!("the gateway (ended before: {died:?}) said last:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Runs a program to its end and reads what it printed as JSON.
pub fn json_of(command: &mut Command) -> Value {
    let output = command.output().expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Waits until something is so.
pub fn until(is_so: impl Fn() -> bool, what: &str) {
    let end = Instant::now() + SOON;
    while !is_so() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A key for agents' tokens.
pub fn auth_key() -> String {
    format!("[[auth.keys]]\nid = \"{KEY_ID}\"\nalgorithm = \"HS256\"\nsecret = \"{SECRET}\"\n")
}

/// `ready agents=ADDRESS control=ADDRESS`, and ` link=ADDRESS` where there is one.
fn addresses(line: &str) -> Option<(SocketAddr, SocketAddr, Option<SocketAddr>)> {
    let field = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name))?.parse().ok();
    Some((field("agents=")?, field("control=")?, field("link=")))
}

/// An empty folder for one test.
pub fn fresh_folder() -> PathBuf {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_nanos();
    let name = format!("gateway-{}-{nanos}", std::process::id());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The load client lies beside the gateway; cargo builds it with the workspace, not with this test.
fn load_client() -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_holdfast")).with_file_name("holdfast-loadtest");
    assert!(path.exists(), "{} is missing: run scripts/test, or cargo build --workspace", path.display());
    path
}

/// An HTTP client that takes every status as an answer.
pub fn http() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(3 * SOON)).build().into()
}

fn read(response: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> (u16, Value) {
    let mut response = response.expect("an HTTP answer");
    let text = response.body_mut().read_to_string().expect("text");
    let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    (response.status().as_u16(), value)
}
