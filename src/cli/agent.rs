//! `holdfast agent`: a real agent that runs a program for each call.
//!
//! Owns the defaults of the reference agent, its messages on stderr and its exit codes. It never prints a token.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use nix::unistd::{AccessFlags, access};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::trust::Trust;
use crate::agent::{
    Agent, Credentials, Ending, Handler, News, Options, Program, ProgramOptions, Target, TokenSource, builtin,
};
use crate::kit::ids::{NAME_RULE, is_name};
use crate::kit::tick::Clock;
use crate::wire::envelope::Encoding;

/// Where the token is looked for when no option gives one.
const TOKEN_VARIABLE: &str = "HOLDFAST_TOKEN";

/// The gateway's own default limit for a message.
const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// Be an agent: keep a connection to a gateway and run a program for each call.
///
/// The program gets the parameters on stdin, the method in HOLDFAST_METHOD, the call's id in HOLDFAST_CALL_ID and the
/// milliseconds that are left in HOLDFAST_DEADLINE_MS. What it writes to stdout is the result: as JSON if it is JSON,
/// else as a string (without the last line feed). An exit code other than 0 makes an error of that code with the last
/// line of stderr. When the call is cancelled or its deadline passes, its process group gets SIGTERM, and SIGKILL after
/// two seconds. Without a program, `ping` and `echo` are answered.
///
/// Without a token and without `--cert` the agent says only its id, which works with `holdfast serve --dev` alone.
#[derive(Args, Clone)]
#[command(
    after_help = "Exit codes: 0 stopped by SIGTERM or SIGINT (the first lets running calls finish, the second does not), \
1 the gateway refused the agent and coming back would not help, 2 bad arguments.\n\nThe token may also be in HOLDFAST_TOKEN, which the program does not get to see."
)]
pub struct AgentArgs {
    /// Id of this agent: letters, digits and `. _ : @ -`. With a token it may be left out, since the token names the agent
    #[arg(long)]
    id: Option<String>,
    /// The gateway: ws:// or, with TLS, wss://
    #[arg(long, default_value = "ws://127.0.0.1:8080")]
    url: String,
    #[command(flatten)]
    trust: Trust,
    /// Token; other users of this machine can see it in the list of processes, so prefer --token-file
    #[arg(long, conflicts_with = "token_file")]
    token: Option<String>,
    /// File that holds the token; read again when the gateway says that the token runs out, so whoever renews tokens only writes the file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// How many programs run at once; more calls wait in order
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..))]
    max_concurrent: u16,
    /// How messages are written
    #[arg(long, value_enum, default_value_t = EncodingName::Json)]
    encoding: EncodingName,
    /// The program and its arguments, after `--`
    #[arg(last = true)]
    program: Vec<OsString>,
}

#[derive(Clone, Copy, ValueEnum)]
enum EncodingName {
    /// JSON-RPC 2.0 in text messages
    Json,
    /// A small binary head and the payload as it is
    Binary,
}

impl From<EncodingName> for Encoding {
    fn from(name: EncodingName) -> Self {
        match name {
            EncodingName::Json => Self::Json,
            EncodingName::Binary => Self::Binary,
        }
    }
}

/// Runs the agent until it is stopped or refused.
#[must_use]
pub fn run(args: AgentArgs) -> ExitCode {
    match started(args) {
        Ok(Ending::Stopped) => ExitCode::SUCCESS,
        Ok(ending) => {
            eprintln!("holdfast agent: {ending}; not coming back");
            ExitCode::from(1)
        }
        Err(why) => {
            eprintln!("holdfast agent: {why}");
            ExitCode::from(2)
        }
    }
}

fn started(mut args: AgentArgs) -> Result<Ending, String> {
    let options = options(&args)?;
    let mut command = std::mem::take(&mut args.program).into_iter();
    match command.next() {
        None => serve(options, builtin),
        Some(program) => {
            must_be_there(&program, std::env::var_os("PATH").as_deref())?;
            let program = Program::new(ProgramOptions {
                program,
                arguments: command.collect(),
                hidden: vec![TOKEN_VARIABLE.to_owned()],
                running_max: usize::from(args.max_concurrent),
                output_bytes_max: REPLY_BYTES_MAX,
                grace: Duration::from_secs(2),
            });
            serve(options, program.map_err(|error| format!("cannot watch programs: {error}"))?)
        }
    }
}

/// A program that is misspelt would else be found out by the first caller.
fn must_be_there(program: &OsStr, search: Option<&OsStr>) -> Result<(), String> {
    let is_program = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    let shown = program.to_string_lossy();
    if program.as_encoded_bytes().contains(&b'/') {
        let path = Path::new(program);
        return is_program(path).then_some(()).ok_or_else(|| format!("`{shown}` is no program that this user may run"));
    }
    // Without PATH the system has a list of its own; the call then says what was not found.
    let found =
        search.is_none_or(|search| std::env::split_paths(search).any(|folder| is_program(&folder.join(program))));
    found
        .then_some(())
        .ok_or_else(|| format!("there is no program `{shown}` in PATH; one in this folder is `./{shown}`"))
}

fn serve(options: Options, handler: impl Handler) -> Result<Ending, String> {
    let target = options.target.to_string();
    eprintln!("holdfast agent: connecting to {target}");
    let news = move |news: News<'_>| tell(&target, news);
    let agent =
        Agent::new(options, Clock::start(), fastrand::Rng::new(), handler, news).map_err(|error| error.to_string())?;
    let stopper = agent.stopper();
    let mut signals = Signals::new([SIGTERM, SIGINT]).map_err(|error| error.to_string())?;
    // The agent's own thread may be deep in a wait; this one only turns signals into requests to stop.
    std::thread::spawn(move || {
        for _ in signals.forever() {
            stopper.stop();
        }
    });
    Ok(agent.run())
}

fn tell(target: &str, news: News<'_>) {
    match news {
        News::Welcomed { session, node } => {
            eprintln!("holdfast agent: connected to {target} (node {node}, session {session})");
        }
        News::Goaway { reason } => eprintln!("holdfast agent: asked to leave: {reason}"),
        News::Refused { code, message } => {
            eprintln!("holdfast agent: the gateway did not understand a message: {message} ({code})");
        }
        News::TokenExpiring { left } => {
            eprintln!("holdfast agent: the token runs out in {} s", left.as_secs());
        }
        News::Refreshed => eprintln!("holdfast agent: the gateway took the newer token"),
        News::Garbage(what) => eprintln!("holdfast agent: ignored from the gateway: {what}"),
        News::Ended { ending, pause } => {
            let seconds = pause.as_secs_f64();
            eprintln!("holdfast agent: {ending}; next attempt in {seconds:.1} s");
        }
    }
}

fn options(args: &AgentArgs) -> Result<Options, String> {
    if let Some(id) = args.id.as_deref().filter(|id| !is_name(id)) {
        return Err(format!("`{id}` is no agent id: {NAME_RULE}"));
    }
    let credentials = match (token(args)?, &args.id) {
        (Some(token), id) => {
            check_subject(&token, id.as_deref())?;
            match &args.token_file {
                Some(file) => renewed(file.clone(), id.clone()),
                None => Credentials::Token(token),
            }
        }
        (None, Some(id)) => Credentials::Dev(id.clone()),
        (None, None) if args.trust.shows_certificate() => Credentials::Certificate,
        (None, None) => return Err("who is this agent? give --id or a token".to_owned()),
    };
    Ok(Options {
        target: Target::parse(&args.url).map_err(|error| error.to_string())?,
        tls: args.trust.read_for(&args.url)?,
        credentials,
        encoding: args.encoding.into(),
        connect_deadline: Duration::from_secs(10),
        welcome_deadline: Duration::from_secs(20),
        close_deadline: Duration::from_secs(5),
        backoff_first: Duration::from_secs(1),
        backoff_max: Duration::from_secs(60),
        message_bytes_max: 16 * 1024 * 1024,
        reply_bytes_max: REPLY_BYTES_MAX,
        calls_open_max: 1024,
    })
}

/// The file is read before each connection, and again when the token in it runs out.
fn renewed(file: PathBuf, id: Option<String>) -> Credentials {
    Credentials::Renewed(TokenSource::new(move || {
        let token = well_formed(&read_token(&file)?)?;
        check_subject(&token, id.as_deref())?;
        Ok(token)
    }))
}

fn read_token(file: &Path) -> Result<String, String> {
    std::fs::read_to_string(file).map_err(|error| format!("cannot read the token in {}: {error}", file.display()))
}

fn well_formed(text: &str) -> Result<String, String> {
    let token = text.trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err("the token is empty or holds characters that no token has".to_owned());
    }
    Ok(token.to_owned())
}

fn token(args: &AgentArgs) -> Result<Option<String>, String> {
    let token = if let Some(token) = &args.token {
        Some(token.clone())
    } else if let Some(file) = &args.token_file {
        Some(read_token(file)?)
    } else {
        std::env::var(TOKEN_VARIABLE).ok().filter(|token| !token.is_empty())
    };
    token.map(|token| well_formed(&token)).transpose()
}

/// The gateway takes the agent's id from the token, so another --id would silently mean nothing.
fn check_subject(token: &str, id: Option<&str>) -> Result<(), String> {
    let Some(id) = id else { return Ok(()) };
    match subject(token) {
        Some(subject) if subject != id => Err(format!("the token is for agent `{subject}`, not for `{id}`")),
        _ => Ok(()),
    }
}

/// The `sub` claim, read without any check of the signature: only the gateway can make that one.
fn subject(token: &str) -> Option<String> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).ok()?;
    Some(claims.get("sub")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: AgentArgs,
    }

    fn parsed(line: &[&str]) -> AgentArgs {
        Line::try_parse_from([&["agent"], line].concat()).unwrap_or_else(|error| panic!("{error}")).args
    }

    #[test]
    fn bad_arguments_say_what_is_wrong() {
        // {"alg":"none"} . {"sub":"web-2"}
        let foreign = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJ3ZWItMiJ9.x";
        for (line, word) in [
            (&["--id", "a/b"][..], "agent id"),
            (&["--id", "web-1", "--url", "wss://x", "--ca", "/nonexistent"], "cannot be read"),
            (&["--id", "web-1", "--ca", "/nonexistent"], "wss://"),
            (&["--id", "web-1", "--url", "https://x"], "wss://"),
            (&["--id", "web-1", "--token-file", "/nonexistent"], "token"),
            (&["--id", "web-1", "--token", "a b"], "characters"),
            (&["--id", "web-1", "--token", foreign], "web-2"),
        ] {
            let why = options(&parsed(line)).err().unwrap_or_default();
            assert!(why.contains(word), "{line:?}: {why}");
        }
        assert!(options(&parsed(&["--id", "web-2", "--token", foreign])).is_ok());
    }

    #[test]
    fn the_program_keeps_its_own_options() {
        let args = parsed(&["--id", "web-1", "--", "sh", "-c", "--id"]);
        assert_eq!(args.program, ["sh", "-c", "--id"]);
        assert!(Line::try_parse_from(["agent", "--id", "x", "--max-concurrent", "0"]).is_err());
    }

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let search = Some(OsStr::new("/nowhere:/bin:/usr/bin"));
        for (program, word) in [
            ("sh", None),
            ("/bin/sh", None),
            ("no-such-program", Some("`./no-such-program`")),
            ("/no/such/program", Some("`/no/such/program`")),
            ("./Cargo.toml", Some("no program")),
            ("/bin", Some("no program")),
            ("", Some("no program")),
        ] {
            let told = must_be_there(OsStr::new(program), search);
            match word {
                None => assert_eq!(told, Ok(()), "{program}"),
                Some(word) => assert!(told.as_ref().is_err_and(|told| told.contains(word)), "{program}: {told:?}"),
            }
        }
        assert_eq!(must_be_there(OsStr::new("no-such-program"), None), Ok(()));
    }
}
