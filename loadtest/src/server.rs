//! The server that a run measures, and the life of one that was started for it.
//!
//! Owns the child process: it is ended by its id when the run ends, whether well, in error, in panic or on a signal; and by the kernel
//! when the harness is killed. It must be started from the main thread, since the kernel asks whether the thread that started it lives.

use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Once, mpsc};
use std::thread;
use std::time::Duration;

use aws_lc_rs::rand;
use nix::errno::Errno;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getppid};

use crate::certificate::Certificate;
use crate::target::Target;

/// How long a gateway may take until it says that it is ready.
const START: Duration = Duration::from_secs(20);

/// What variables of the environment that carry settings begin with.
const SETTING_PREFIX: &str = "HOLDFAST_";

/// Id of the key that agents' tokens are signed with.
const KEY_ID: &str = "load";

/// A server to measure.
pub struct Server {
    /// Where it is.
    pub target: Target,
    /// Its process, where it may be read.
    pub pid: Option<u32>,
    /// Ends the server with this value, where it was started for the run.
    pub running: Option<Running>,
}

/// A gateway that was started for the run.
pub struct Running {
    child: Child,
    /// Where agents connect.
    pub listen: SocketAddr,
    /// Where backends connect.
    pub control: SocketAddr,
    /// Where backends open control links, where the gateway serves them.
    pub link: Option<SocketAddr>,
    /// The secret of agents' tokens, known to nobody else.
    pub secret: String,
    /// Its id.
    pub key_id: String,
    /// The certificate that it has, whose files it watches.
    pub certificate: Option<Certificate>,
}

/// Another program that was started for the run and serves agents alone.
pub struct Other {
    child: Child,
    /// Where it listens.
    pub listen: SocketAddr,
}

impl Other {
    /// Starts it and waits for its line `ready agents=ADDRESS`.
    ///
    /// # Errors
    /// It is not there, or does not become ready.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        end_with_us(command);
        let mut child = command.spawn().map_err(|error| format!("{name}: {error}"))?;
        match addresses(&mut child, |line| field(line.strip_prefix("ready ")?, "agents=")) {
            Ok(listen) => Ok(Self { child, listen }),
            Err(error) => {
                end(&mut child);
                Err(format!("{name}: {error}"))
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

impl Running {
    /// Starts `program`, or the `holdfast` beside this one, on free ports. Tokens are checked; `--dev` opens the echo and lets
    /// backends in without keys, on loopback alone.
    ///
    /// # Errors
    /// It is not there, or does not become ready.
    pub fn start(
        program: Option<&Path>,
        loops: Option<usize>,
        workers: Option<usize>,
        settings: &[(&str, &str)],
    ) -> Result<Self, String> {
        let program = program.map_or_else(beside, |program| Ok(program.to_owned()))?;
        let mut bytes = [0; 32];
        rand::fill(&mut bytes).map_err(|_| "no random bytes".to_owned())?;
        let secret: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut command = Command::new(&program);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with(SETTING_PREFIX) {
                command.env_remove(name);
            }
        }
        command.args([
            "serve",
            "--dev",
            "--log-level",
            "warn",
            "--listen",
            "127.0.0.1:0",
            "--control",
            "127.0.0.1:0",
            "--link",
            "127.0.0.1:0",
        ]);
        for (option, count) in [("--loops", loops), ("--workers", workers)] {
            if let Some(count) = count {
                command.args([option, &count.to_string()]);
            }
        }
        command
            .env("HOLDFAST_AUTH__KEYS__0__ID", KEY_ID)
            .env("HOLDFAST_AUTH__KEYS__0__ALGORITHM", "HS256")
            .env("HOLDFAST_AUTH__KEYS__0__SECRET", &secret)
            .envs(settings.iter().map(|(key, value)| (variable(key), *value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Signals of the terminal are for this process, which ends the gateway when it is done with it.
            .process_group(0);
        end_with_us(&mut command);
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        end_on_panic(&child);
        match addresses(&mut child, ready) {
            Ok(Ready { listen, control, link }) => {
                Ok(Self { child, listen, control, link, secret, key_id: KEY_ID.to_owned(), certificate: None })
            }
            Err(error) => {
                end(&mut child);
                Err(format!("{}: {error}", program.display()))
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// Has the kernel kill the program when the thread that starts it ends, however it ends: nothing else is left to do it after SIGKILL, or after
/// the second of two signals.
#[allow(unsafe_code, reason = "the child must ask for it itself, between fork and exec")]
fn end_with_us(command: &mut Command) {
    let own = Pid::this();
    let ask = move || {
        set_pdeathsig(Signal::SIGKILL)?;
        // Who has ended before the child could ask is not its parent any more.
        if getppid() == own { Ok(()) } else { Err(io::Error::from(Errno::ESRCH)) }
    };
    // SAFETY: between fork and exec only what is safe in a signal handler may be done. `ask` makes two system calls and compares two
    // numbers; it takes no lock and allocates nothing, and an error of it is a bare number of the system.
    unsafe { command.pre_exec(ask) };
}

/// A process that has ended already is no concern.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
    // Of several gateways the last one is known to the hook; the kernel ends the others.
    let own = i32::try_from(child.id()).unwrap_or(0);
    let _ = CHILD.compare_exchange(own, 0, Ordering::AcqRel, Ordering::Acquire);
}

/// Process id of the gateway that runs, 0 when none does.
static CHILD: AtomicI32 = AtomicI32::new(0);

/// Release builds abort on panic and drop nothing, so the hook ends the gateway.
fn end_on_panic(child: &Child) {
    static HOOK: Once = Once::new();
    CHILD.store(i32::try_from(child.id()).unwrap_or(0), Ordering::Release);
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            usual(panic);
            let pid = CHILD.swap(0, Ordering::AcqRel);
            if pid > 0 {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }));
    });
}

/// The gateway's program beside this one.
fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| format!("where this program lies: {error}"))?;
    let path = own.with_file_name("holdfast");
    if path.exists() {
        return Ok(path);
    }
    Err(format!(
        "{} is missing: build it (cargo build --release --workspace), or name one with --gateway",
        path.display()
    ))
}

/// The variable of a setting: `limits.write_deadline` is HOLDFAST_LIMITS__WRITE_DEADLINE.
fn variable(key: &str) -> String {
    SETTING_PREFIX.to_owned() + &key.to_uppercase().replace('.', "__")
}

/// Waits for a line that `read` understands. What comes behind it is read and dropped, so that the pipe never fills.
fn addresses<T: Send + 'static>(child: &mut Child, read: fn(&str) -> Option<T>) -> Result<T, String> {
    let out = child.stdout.take().ok_or("no output to read")?;
    let (told, heard) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if let Some(addresses) = read(&line) {
                // Nobody listens when the time is over.
                let _ = told.send(addresses);
            }
        }
    });
    heard.recv_timeout(START).map_err(|_| format!("the server did not become ready in {} s, or ended", START.as_secs()))
}

/// Where a gateway that is ready listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ready {
    listen: SocketAddr,
    control: SocketAddr,
    link: Option<SocketAddr>,
}

/// Reads `ready agents=ADDRESS control=ADDRESS`.
fn ready(line: &str) -> Option<Ready> {
    let rest = line.strip_prefix("ready ")?;
    Some(Ready { listen: field(rest, "agents=")?, control: field(rest, "control=")?, link: field(rest, "link=") })
}

/// The address behind `name`.
fn field(words: &str, name: &str) -> Option<SocketAddr> {
    words.split_whitespace().find_map(|word| word.strip_prefix(name))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_as_the_gateway_names_them() {
        assert_eq!(variable("limits.write_deadline"), "HOLDFAST_LIMITS__WRITE_DEADLINE");
    }

    #[test]
    fn only_the_ready_line_is_one() {
        let line = "ready agents=127.0.0.1:1 control=127.0.0.1:2 node=x";
        let both = Ready { listen: ([127, 0, 0, 1], 1).into(), control: ([127, 0, 0, 1], 2).into(), link: None };
        assert_eq!(ready(line), Some(both));
        let link = Some(([127, 0, 0, 1], 3).into());
        assert_eq!(ready(&format!("{line} link=127.0.0.1:3")), Some(Ready { link, ..both }));
        assert_eq!(ready("agents=127.0.0.1:1 control=127.0.0.1:2"), None);
        assert_eq!(ready("ready agents=127.0.0.1:1"), None);
    }

    #[test]
    fn a_program_that_ends_is_an_error_and_not_a_wait() {
        let error = Running::start(Some(Path::new("/bin/true")), None, None, &[]).err().expect("it is no gateway");
        assert!(error.contains("did not become ready"), "{error}");
        assert!(Running::start(Some(Path::new("/nowhere/holdfast")), None, None, &[]).is_err());
    }
}
