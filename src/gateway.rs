//! Starts the threads, and stops them in order.
//!
//! Owns the assembly: listeners and loops first, while the descriptor table is small and shared, then workers, then the
//! control port. It is the only place that knows all parts.

mod auditor;
mod issuers;
mod loops;
mod panics;
mod plan;
mod reload;
mod stop;
mod tls_files;
pub mod welcome;

use std::io::{self, Write};
use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use nix::libc::SIGXFSZ;
use nix::sys::prctl;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;

use crate::auth::ring::Ring;
use crate::config::host::{self, Host};
use crate::config::{Listed, Loaded, Settings, derived};
use crate::control::{Runtime, Setup, Shared, Stop};
use crate::kit::metric;
use crate::kit::tick::Clock;
use crate::net::{fd_table, listener};
use crate::revocations::journal::Disk;
use crate::work::alarm::{self, Alarm, Sleeper};
use crate::work::dispatch::Dispatch;
use crate::work::key_fetch::{Fetcher, FetcherDoor};
use crate::work::pool;
use crate::work::revocation_keeper::Keeper;
use crate::work::webhook::Webhook;
use crate::work::webhook_office::Office;

use auditor::Auditor;
use loops::Started;
use plan::Plan;
use tls_files::TlsFiles;

/// Buckets of the call histogram, in seconds. The clock counts whole milliseconds, so there is none below one.
const CALL_SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0];

/// Buckets of the histogram of TLS handshakes, in seconds.
const HANDSHAKE_SECONDS: [f64; 9] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Why the gateway could not start or had to stop.
#[derive(Debug)]
pub struct GatewayError(String);

impl std::fmt::Display for GatewayError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for GatewayError {}

impl GatewayError {
    fn at(what: &str) -> impl Fn(io::Error) -> Self {
        move |error| Self(format!("{what}: {error}"))
    }
}

/// What runs.
struct Running {
    settings: Settings,
    /// The settings as they were typed at the start: those that need a restart are in force as they are here.
    listing: Vec<Listed>,
    dev: bool,
    dispatch: Arc<Dispatch>,
    tls_files: Arc<TlsFiles>,
    shared: Arc<Shared>,
    control: (Stop, JoinHandle<io::Result<()>>),
    loops: Vec<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    /// Fetches issuers' keys.
    fetcher: FetcherDoor,
    /// Of the issuers: what a reload keeps.
    rings: Vec<Arc<Ring>>,
    auditor: Auditor,
}

/// Runs the gateway until it is stopped.
///
/// # Errors
/// Why it could not start.
pub fn run(loaded: Loaded, dev: bool) -> Result<(), GatewayError> {
    panics::end_the_process();
    let settings = &loaded.settings;
    let mut signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(GatewayError::at("cannot watch for signals"))?;
    // A file that may not grow any more (`ulimit -f`) is an error of that write, and not the end of all agents' connections.
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map_err(GatewayError::at("cannot watch for signals"))?;
    let clock = Clock::start();
    host::raise_descriptors().map_err(GatewayError::at("cannot raise the limit on descriptors"))?;
    // Where the kernel gives any heap pages of 2 MiB, resident memory is larger and unsteady. A kernel that refuses leaves it so.
    let _ = prctl::set_thp_disable(true);
    let derived = derived::derive(settings, &Host::read());
    let warnings = derived.warnings(settings);
    if derived.connections_per_loop == 0 {
        return Err(GatewayError(warnings.join("; ")));
    }
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let metrics = install_metrics()?;
    let running = start(loaded, dev, &derived, clock, metrics)?;
    announce(&running, &derived)?;
    running.auditor.act("start", "done", Some(format!("holdfast {}", env!("CARGO_PKG_VERSION"))));
    stop::until_stopped(running, &mut signals)
}

fn start(
    loaded: Loaded,
    dev: bool,
    derived: &derived::Derived,
    clock: Clock,
    metrics: PrometheusHandle,
) -> Result<Running, GatewayError> {
    let Loaded { mut settings, listing } = loaded;
    let control = bind_control(&settings)?;
    let runtime = Runtime::new().map_err(GatewayError::at("cannot set the control thread up"))?;
    let plan = Plan::of(&settings, dev, derived);
    let prepared = loops::prepare(&settings, &plan, clock)?;
    settings.server.listen = prepared.listen;
    settings.link.listen = prepared.link;
    settings.control.listen = control.local_addr().map_err(GatewayError::at("control port"))?;

    let (alarm, sleeper) = Alarm::new();
    let (fetching, fetcher) = Fetcher::new(clock);
    let issuers::Made { issuers, rings } = issuers::make(&settings, &fetcher.bell, &[])?;
    let asked = plan::webhook(&settings).map(|terms| (Webhook::new(&terms), terms));
    let webhook = asked.as_ref().map(|((webhook, _), _)| Arc::clone(webhook));
    let (audit, writer) = auditor::prepare(&settings, clock);
    let dispatch =
        Arc::new(plan.dispatch(&settings, clock, prepared.doors(), alarm, audit.clone(), (issuers, webhook))?);
    // Loops first: each takes a copy of a table that holds nothing but what is listed.
    let Started { threads: loops, isolated, listed } = loops::start(prepared.loops, &control)?;
    if isolated {
        fd_table::close_copies(&listed);
    }
    let tls_files = TlsFiles::start(&settings, &dispatch).map_err(GatewayError::at("cannot watch the files of TLS"))?;
    // Before the first agent is let in, and after the loops have their own tables: a file of theirs would stay open in each.
    start_revocations(&dispatch, &settings)?;
    // After the loops: none of them keeps a copy of the file.
    let auditor = Auditor::start(&settings, audit, writer, clock)?;
    let workers = pool::start(prepared.trays, &dispatch).map_err(GatewayError::at("cannot start a worker"))?;
    start_alarm(&dispatch, sleeper, clock).map_err(GatewayError::at("cannot start the alarm thread"))?;
    spawn("keys", move || fetching.run()).map_err(GatewayError::at("cannot start the thread that fetches keys"))?;
    issuers::tell(&fetcher, &settings, &rings);
    if let Some(((webhook, questions), terms)) = asked {
        let office = Office::new(webhook, questions, terms);
        office.start(&dispatch).map_err(GatewayError::at("cannot start a thread for the webhook"))?;
    }
    let shared = Shared::new(Setup {
        dispatch: Arc::clone(&dispatch),
        clock,
        live: plan.live(&settings)?,
        metrics,
        agents_listen: settings.server.listen.to_string(),
    });
    let control =
        start_control(runtime, control, &shared).map_err(GatewayError::at("cannot start the control thread"))?;
    Ok(Running {
        settings,
        listing,
        dev,
        dispatch,
        tls_files,
        shared,
        control,
        loops,
        workers,
        fetcher,
        rings,
        auditor,
    })
}

fn install_metrics() -> Result<PrometheusHandle, GatewayError> {
    let failed = |error: &dyn std::fmt::Display| GatewayError(format!("cannot set metrics up: {error}"));
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Full(metric::CALL_SECONDS.to_owned()), &CALL_SECONDS)
        .and_then(|builder| {
            let handshakes = Matcher::Full(metric::TLS_HANDSHAKE_SECONDS.to_owned());
            builder.set_buckets_for_metric(handshakes, &HANDSHAKE_SECONDS)
        })
        .map_err(|error| failed(&error))?
        .install_recorder()
        .map_err(|error| failed(&error))?;
    metric::describe();
    Ok(handle)
}

fn bind_control(settings: &Settings) -> Result<TcpListener, GatewayError> {
    let listen = settings.control.listen;
    listener::bind_alone(listen, settings.control.connections)
        .map_err(|error| cannot_listen("control.listen", listen, &error))
}

/// A port that is taken, or an address that is not ours: the words name the setting to change.
fn cannot_listen(key: &str, listen: std::net::SocketAddr, error: &io::Error) -> GatewayError {
    let advice = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or change the port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::PermissionDenied => "this user may not use that port",
        _ => "check the address",
    };
    GatewayError(format!("cannot listen on {listen} (`{key}`): {error}; {advice}"))
}

/// Reads what is revoked. A file that cannot be understood stops the start: nobody would know whom it was to keep out.
fn start_revocations(dispatch: &Arc<Dispatch>, settings: &Settings) -> Result<(), GatewayError> {
    let file = &settings.revocations.file;
    if file.is_empty() {
        return Ok(());
    }
    let (journal, set) = Disk::open(Path::new(file))
        .map_err(|error| GatewayError(format!("the revocations in {file} (`revocations.file`): {error}")))?;
    tracing::info!(count = set.len(), file = %file, "revocations in force");
    let keeper = Keeper::new(dispatch, journal, set, settings.revocations.max);
    spawn("revocations", move || keeper.run()).map_err(GatewayError::at("cannot start the thread that revokes"))
}

/// A thread that is not waited for: it holds nothing that must be put away.
fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.to_owned()).spawn(run).map(drop)
}

fn start_alarm(dispatch: &Arc<Dispatch>, sleeper: Sleeper, clock: Clock) -> io::Result<()> {
    let dispatch = Arc::downgrade(dispatch);
    spawn("alarm", move || alarm::run(&dispatch, &sleeper, clock))
}

fn start_control(
    runtime: Runtime,
    listener: TcpListener,
    shared: &Arc<Shared>,
) -> io::Result<(Stop, JoinHandle<io::Result<()>>)> {
    let stop = Stop::new();
    let (shared, stopped) = (Arc::clone(shared), stop.clone());
    let serve = move || {
        runtime.serve(listener, &shared, &stopped).inspect_err(|error| {
            tracing::error!(%error, "the control port cannot be served");
            panic!("no control port");
        })
    };
    let thread = thread::Builder::new().name("control".to_owned()).spawn(serve)?;
    Ok((stop, thread))
}

/// One line for scripts on standard output, one for people in the log, and what to try next in development.
fn announce(running: &Running, derived: &derived::Derived) -> Result<(), GatewayError> {
    let settings = &running.settings;
    tracing::info!(
        node = %settings.server.node,
        agents = %settings.server.listen,
        control = %settings.control.listen,
        link = settings.link.listen.map(tracing::field::display),
        dev = running.dev,
        loops = derived.loops,
        workers = derived.workers,
        "at most {}",
        derived.bites_first_text()
    );
    if !running.dev && !settings.knows_agents() {
        tracing::warn!(
            "no [[auth.keys]], no [[auth.issuers]], no webhook and no `tls.client_identity` are set: every agent is refused"
        );
    }
    if !running.dev && settings.api.keys.0.is_empty() {
        tracing::warn!("no [[api.keys]] are set: every backend is refused");
    }
    let link = settings.link.listen.map(|link| format!(" link={link}")).unwrap_or_default();
    let mut text = format!("ready agents={} control={}{link}\n", settings.server.listen, settings.control.listen);
    if running.dev {
        text.push_str(&welcome::what_to_try(&welcome::program(std::env::args_os()), settings));
    }
    let mut out = io::stdout().lock();
    // A closed standard output is no reason to stop.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(())
}
