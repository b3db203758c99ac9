//! Making the event loops and starting their threads, each with a descriptor table of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use crossbeam_channel::bounded;

use crate::config::Settings;
use crate::kit::budget::Budget;
use crate::kit::quota::Quota;
use crate::kit::tick::Clock;
use crate::net::arrivals::Arrivals;
use crate::net::event_loop::{EventLoop, LoopParts, LoopStatus};
use crate::net::intake::{self, Hatch, Intake, QueueBytes, Tray};
use crate::net::io_mio::MioIo;
use crate::net::mailbox::Mailbox;
use crate::net::{fd_table, listener};
use crate::work::dispatch::LoopDoor;

use super::plan::{Doors, Plan};
use super::{GatewayError, cannot_listen};

/// Everything that must exist before the first loop starts.
pub(super) struct Prepared {
    /// Where agents connect; the port is chosen now.
    pub(super) listen: SocketAddr,
    /// Where links connect, where they do.
    pub(super) link: Option<SocketAddr>,
    pub(super) loops: Vec<Ready>,
    pub(super) trays: Vec<Tray>,
    queues: Vec<QueueBytes>,
    budget: Arc<Budget>,
    arrivals: Arc<Arrivals>,
}

/// A loop that is ready to start.
pub(super) struct Ready {
    parts: LoopParts<MioIo>,
    own: Vec<RawFd>,
    mailbox: Mailbox,
}

/// Loops that run.
pub(super) struct Started {
    pub(super) threads: Vec<JoinHandle<()>>,
    /// Whether each has a table of its own.
    pub(super) isolated: bool,
    /// Descriptors that belong to loops: copies in the table of the main thread.
    pub(super) listed: Vec<RawFd>,
}

impl Prepared {
    pub(super) fn doors(&self) -> Doors {
        let door = |ready: &Ready| LoopDoor { mailbox: ready.mailbox.clone(), status: Arc::clone(&ready.parts.status) };
        Doors {
            loops: self.loops.iter().map(door).collect(),
            queues: self.queues.clone(),
            budget: Arc::clone(&self.budget),
            arrivals: Arc::clone(&self.arrivals),
        }
    }
}

/// Binds the ports of agents and links, and makes every epoll, waker and queue.
pub(super) fn prepare(settings: &Settings, plan: &Plan, clock: Clock) -> Result<Prepared, GatewayError> {
    let listen = settings.server.listen;
    let listeners =
        listener::bind(listen, plan.loops).map_err(|error| cannot_listen("server.listen", listen, &error))?;
    let no_loop = GatewayError::at("cannot set an event loop up");
    let listen = listeners.first().map_or(Ok(listen), TcpListener::local_addr).map_err(&no_loop)?;
    let mut link_listeners = match settings.link.listen {
        Some(link) => listener::bind(link, plan.loops).map_err(|error| cannot_listen("link.listen", link, &error))?,
        None => Vec::new(),
    };
    let link = link_listeners.first().map(TcpListener::local_addr).transpose().map_err(&no_loop)?;
    let (hatches, trays): (Vec<Hatch>, Vec<Tray>) = (0..plan.workers).map(|_| intake::queue(plan.queue)).unzip();
    let room = Quota::new(plan.connections);
    let arrivals = Arc::new(Arrivals::new(plan.balancers.clone(), plan.arrivals.clone()));
    let (queues, budget) =
        (hatches.iter().map(Hatch::queue_bytes).collect(), Budget::new(plan.budget, plan.memory_levels));
    let mut loops = Vec::new();
    for (index, listener) in listeners.into_iter().enumerate() {
        let (io, waker) =
            MioIo::new(listener, link_listeners.pop(), clock, settings.server.busy_poll).map_err(&no_loop)?;
        let own = io.own_descriptors();
        let (mailbox, letters) = Mailbox::new(plan.mailbox, waker);
        let parts = LoopParts {
            index: u8::try_from(index).map_err(|_| GatewayError("`server.loops` is over 256".to_owned()))?,
            io,
            letters,
            intake: Intake::new(hatches.clone()),
            rules: plan.rules,
            limits: plan.limits,
            status: Arc::new(LoopStatus::default()),
            room: Arc::clone(&room),
            budget: Arc::clone(&budget),
            arrivals: Arc::clone(&arrivals),
            tls: settings.secure.as_ref().map_or([None, None], |secure| secure.terms.clone()),
        };
        loops.push(Ready { parts, own, mailbox });
    }
    Ok(Prepared { listen, link, loops, trays, queues, budget, arrivals })
}

/// Starts the threads, one after the other: each copies the table of this one, and closes what is not its own.
pub(super) fn start(loops: Vec<Ready>, control: &TcpListener) -> Result<Started, GatewayError> {
    let listed: Vec<RawFd> = loops.iter().flat_map(|ready| ready.own.iter().copied()).collect();
    let mut threads = Vec::new();
    let mut isolated = true;
    for ready in loops {
        let foreign: Vec<RawFd> =
            listed.iter().copied().filter(|fd| !ready.own.contains(fd)).chain([control.as_raw_fd()]).collect();
        let (tell, told) = bounded::<io::Result<()>>(1);
        let run = move || {
            let _ = tell.send(fd_table::isolate(&foreign));
            EventLoop::new(ready.parts).run();
        };
        let name = format!("loop-{}", threads.len());
        let thread = thread::Builder::new().name(name).spawn(run);
        threads.push(thread.map_err(GatewayError::at("cannot start an event loop"))?);
        // A sandbox may refuse a private table. The loops then share one, and so the limit on descriptors.
        if let Ok(Err(error)) = told.recv() {
            isolated = false;
            tracing::warn!(%error, "no private descriptor tables: all loops together have one limit on descriptors");
        }
    }
    Ok(Started { threads, isolated, listed })
}
