//! How a run is put together: small limits, so that each of them bites.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;

use crate::audit::Writer;
use crate::auth::token::Verifier;
use crate::calls::Calls;
use crate::directory::{Directory, TenantLimits};
use crate::kit::budget::{Budget, BudgetLimit};
use crate::kit::network::{Network, Networks, PrefixBits};
use crate::kit::overload::{Ladder, Mark};
use crate::kit::quota::Quota;
use crate::kit::tick::Clock;
use crate::kit::token_bucket::Rate;
use crate::net::arrivals::{ArrivalLimits, Arrivals, Balancers};
use crate::net::event_loop::{EventLoop, LoopParts, LoopStatus};
use crate::net::intake::{Intake, QueueLimits, Tray, queue};
use crate::net::limits::{DeflateLimits, Limits, LinkLimits, OverloadLimits};
use crate::net::mailbox::Mailbox;
use crate::net::secured::DoorTerms;
use crate::net::throttle::AgentRates;
use crate::session::rules::Rules;
use crate::wire::origins::AllowedOrigins;
use crate::wire::upgrade::HeadLimits;
use crate::work::alarm::{Alarm, Sleeper};
use crate::work::dispatch::{Dispatch, DispatchParts, LoopDoor};
use crate::work::gate::{Backends, Gate, Openness};
use crate::work::links::LinkTerms;

use super::audit;
use super::io::{SharedKernel, SimIo, SimWake};
use super::secure;

/// The parts of the gateway.
pub(super) struct Gateway {
    pub(super) loops: Vec<EventLoop<SimIo>>,
    pub(super) mailboxes: Vec<Mailbox>,
    pub(super) trays: Vec<Tray>,
    pub(super) auditor: Writer,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) sleeper: Sleeper,
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) room: Arc<Quota>,
}

/// Limits of sessions.
pub(super) fn rules(rng: &mut Rng) -> Rules {
    Rules {
        head: HeadLimits { bytes_max: 1024, fields_max: 16 },
        message_bytes_max: 4096,
        link_message_bytes_max: 4096,
        echo_bytes_max: Some(16 * 1024),
        takes_deflate: rng.bool(),
        turn_frames: rng.u32(1..6),
        turn_inflated_bytes: rng.u64(50..5000),
        kept_bytes_max: rng.usize(0..30_000),
        handshake_ms: rng.u32(300..1500),
        close_ms: rng.u32(200..800),
        heartbeat_ms: rng.u32(800..2500),
        heartbeat_timeout_ms: rng.u32(300..900),
        expiry_notice_secs: rng.u32(0..3),
    }
}

/// Limits of loops.
pub(super) fn limits(rng: &mut Rng) -> Limits {
    let queue_soft = rng.usize(500..4000);
    Limits {
        connections_max: rng.u32(4..20),
        half_open_max: rng.u32(2..8),
        queue_soft,
        queue_hard: queue_soft + rng.usize(500..6000),
        write_deadline_ms: rng.u32(200..900),
        lease_bytes: rng.usize(16_384..60_000),
        turn_bytes: rng.usize(50..5000),
        handshakes_max: rng.u32(1..6),
        deflate: Some(DeflateLimits {
            from: rng.usize(1..100),
            to: rng.usize(100..3000),
            turn: rng.u64(1..3000),
            level: rng.u32(1..10),
        }),
        agent_rates: agent_rates(rng),
        overload: OverloadLimits { lag: Ladder::NONE, shed_from: rng.usize(1..600), patience_ms: rng.u32(50..200) },
        link: LinkLimits { connections_max: rng.u32(1..5), queue_soft, queue_hard: queue_soft + rng.usize(500..6000) },
    }
}

/// How fast agents may send: half of the time as fast as they like.
fn agent_rates(rng: &mut Rng) -> AgentRates {
    let depth = Duration::from_millis(rng.u64(100..2000));
    let mut rate = |most: u64| {
        let units = rng.u64(most / 10..most);
        Rate::new(if rng.bool() { 0 } else { units }, Duration::from_secs(1), depth)
    };
    AgentRates { messages: rate(400), bytes: rate(200_000) }
}

/// How often peers may come: half of the time as often as they like.
fn arrival_limits(rng: &mut Rng) -> ArrivalLimits {
    let mut rate = |most: u64| {
        let units = rng.u64(1..most);
        Rate::new(if rng.bool() { 0 } else { units }, Duration::from_secs(1), Duration::from_secs(2))
    };
    ArrivalLimits {
        accepts: rate(20),
        prefix_accepts: rate(10),
        prefix_failed_logins: rate(3),
        prefix: PrefixBits { v4: 24, v6: 56 },
        prefixes: 128,
        exempt: Networks(network("192.0.2.0/24").into_iter().collect()),
    }
}

/// Whose headers are believed: half of the time nobody's, and never everybody's.
fn balancers(rng: &mut Rng) -> Balancers {
    [rng.bool(), rng.bool()].map(|proxied| proxied.then(known_balancers))
}

/// Three of four sockets come from there.
fn known_balancers() -> Networks {
    Networks(network("10.0.0.0/15").into_iter().collect())
}

fn network(text: &str) -> Option<Network> {
    text.parse().ok()
}

/// Memory for as many connections as there may be, or for less than that: then the node is overloaded whenever many are there.
fn budget(rng: &mut Rng, connections_max: u32) -> Arc<Budget> {
    if rng.bool() {
        return Budget::new(BudgetLimit::NONE, Ladder::NONE);
    }
    // So much that what the tests' own process takes is nothing beside it.
    let kernel_bytes_per_connection = 1 << 40;
    // And half of one more: at the limit itself, what that process takes would decide.
    let bytes_max =
        u64::from(rng.u32(2..=connections_max)) * kernel_bytes_per_connection + kernel_bytes_per_connection / 2;
    let first = rng.u64(700..=1000);
    let marks = [first, first + rng.u64(0..200), first + rng.u64(200..500)];
    let marks = marks.map(|enter| Mark { enter, leave: enter - 50 });
    let fall = Duration::from_millis(rng.u64(0..1000));
    Budget::new(BudgetLimit { bytes_max, kernel_bytes_per_connection }, Ladder { marks, rise: Duration::ZERO, fall })
}

/// Builds loops, queues and dispatch on a kernel that has as many doors as there are to be loops.
pub(super) fn gateway(kernel: &SharedKernel, rng: &mut Rng) -> Gateway {
    let (rules, limits) = (rules(rng), limits(rng));
    let queue_limits = QueueLimits { batches_max: rng.usize(1..5), bytes_max: rng.usize(200..4000) };
    let (hatches, trays): (Vec<_>, Vec<_>) = (0..rng.usize(1..4)).map(|_| queue(queue_limits)).unzip();
    let doors = kernel.borrow().doors.len();
    let balancers = balancers(rng);
    kernel.borrow_mut().proxied = [balancers[0].is_some(), balancers[1].is_some()];
    let (tls, peers) = secure::doors(rng);
    kernel.borrow_mut().secured = tls.each_ref().map(|terms| terms.as_ref().map(|_| Arc::clone(&peers)));
    let arrivals = Arc::new(Arrivals::new(balancers, arrival_limits(rng)));
    let room = Quota::new(rng.u32(4..20 * doors as u32));
    let budget = budget(rng, room.max());
    let (mut loops, mut mailboxes, mut dispatch_doors) = (Vec::new(), Vec::new(), Vec::new());
    for door in 0..doors {
        let waker = Arc::new(SimWake(Arc::clone(&kernel.borrow().doors[door].woken)));
        let (mailbox, letters) = Mailbox::new(rng.usize(4..40), waker);
        let status = Arc::new(LoopStatus::default());
        dispatch_doors.push(LoopDoor { mailbox: mailbox.clone(), status: Arc::clone(&status) });
        mailboxes.push(mailbox);
        loops.push(EventLoop::new(LoopParts {
            index: door as u8,
            io: SimIo { kernel: SharedKernel::clone(kernel), door },
            letters,
            intake: Intake::new(hatches.clone()),
            rules,
            limits,
            status,
            room: Arc::clone(&room),
            budget: Arc::clone(&budget),
            arrivals: Arc::clone(&arrivals),
            tls: tls.clone(),
        }));
    }
    let (alarm, sleeper) = Alarm::new();
    let clock = Clock::at_unix_ms(1_700_000_000_000);
    let (audit, auditor) = Writer::new(audit::TERMS, clock);
    let dispatch = Arc::new(Dispatch::new(DispatchParts {
        name: "sim".to_owned(),
        epoch: 1,
        clock,
        directory: Directory::new(TenantLimits { calls: rng.u32(5..60), agents: rng.u32(2..8) }, 64),
        calls: Calls::new(rng.u64(..), rng.u32(1..10)),
        loops: dispatch_doors,
        queues: Vec::new(),
        budget,
        arrivals,
        key_calls: None,
        gate: Gate {
            verifier: Verifier::new(&[], None, 0).expect("no keys are no wrong keys"),
            leeway_secs: 0,
            lifetime_max_secs: None,
            openness: Openness::Dev,
            backends: Backends::Dev,
            origins: AllowedOrigins::default(),
        },
        links: LinkTerms {
            window: rng.u32(1..12),
            timeout: Duration::from_secs(2),
            timeout_max: Duration::from_secs(60),
        },
        heartbeat_ms: rules.heartbeat_ms,
        connections_max: room.max(),
        connections_max_per_loop: limits.connections_max,
        alarm,
        audit,
        webhook: None,
    }));
    Gateway { loops, mailboxes, trays, auditor, dispatch, sleeper, rules, limits, room }
}

/// A loop by itself, its mailbox, and the queue of its only worker.
pub(super) struct OneLoop {
    pub(super) body: EventLoop<SimIo>,
    pub(super) mailbox: Mailbox,
    pub(super) tray: Tray,
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) budget: Arc<Budget>,
    pub(super) status: Arc<LoopStatus>,
}

/// Builds one with marks that nobody reaches, but for those that `change` sets.
pub(super) fn one_loop(kernel: &SharedKernel, change: impl FnOnce(&mut Rules)) -> OneLoop {
    secured_loop(kernel, [None, None], change)
}

/// The same, with TLS where a door has terms of it, and behind a balancer where the kernel says so.
pub(super) fn secured_loop(kernel: &SharedKernel, tls: DoorTerms, change: impl FnOnce(&mut Rules)) -> OneLoop {
    let mut rng = Rng::with_seed(3);
    let mut rules = rules(&mut rng);
    change(&mut rules);
    let limits = Limits {
        connections_max: 50,
        half_open_max: 50,
        queue_soft: 1 << 20,
        queue_hard: 2 << 20,
        turn_bytes: 1 << 20,
        handshakes_max: 50,
        agent_rates: AgentRates::default(),
        ..limits(&mut rng)
    };
    let waker = Arc::new(SimWake(Arc::clone(&kernel.borrow().doors[0].woken)));
    let balancers = kernel.borrow().proxied.map(|proxied| proxied.then(known_balancers));
    let (mailbox, letters) = Mailbox::new(9, waker);
    let (hatch, tray) = queue(QueueLimits { batches_max: 9, bytes_max: 1 << 20 });
    let (budget, status) = (Budget::new(BudgetLimit::NONE, Ladder::NONE), Arc::new(LoopStatus::default()));
    let body = EventLoop::new(LoopParts {
        index: 0,
        io: SimIo { kernel: SharedKernel::clone(kernel), door: 0 },
        letters,
        intake: Intake::new(vec![hatch]),
        rules,
        limits,
        status: Arc::clone(&status),
        room: Quota::new(50),
        budget: Arc::clone(&budget),
        arrivals: Arc::new(Arrivals::new(balancers, ArrivalLimits::none())),
        tls,
    });
    OneLoop { body, mailbox, tray, rules, limits, budget, status }
}
