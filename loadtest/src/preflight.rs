//! Which limit of this machine bites first, before a scenario starts, and how far it can go.
//!
//! Owns the arithmetic: a pure function over a [`Host`] that was read before. It must never read or change anything, nor stop a run: the scenario
//! decides what it does with fewer connections than it wants.

mod host;

use std::fmt::Write as _;

use holdfast::config::derived::KERNEL_BYTES_PER_CONNECTION;

pub use self::host::{Conntrack, Host, Tables};
use crate::human::count;

/// Kernel memory of one end of an idle TCP connection on loopback: the gateway plans with the same figure for its own end. Measured, see
/// `docs/loadtest.md`; socket buffers are empty at rest and not in it.
const KERNEL_BYTES_PER_END: u64 = KERNEL_BYTES_PER_CONNECTION;

/// Memory that server and harness take for each connection, with room to spare.
const PROCESS_BYTES_PER_END: u64 = 160;

/// Descriptors of a table that are no connections: epoll, listeners, wakers, standard streams, /proc files.
const DESCRIPTORS_RESERVED: u64 = 64;

/// The part of the available memory that stays free: one in so many.
const MEMORY_SPARED: u64 = 16;

/// Which ends of the connections are on this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// Server and harness: every connection counts twice.
    Both,
    /// The harness only.
    Client,
}

/// What happens to a run that reaches a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Connections are refused, dropped, or something is killed.
    Refuses,
    /// It goes on, more slowly.
    Slows,
}

/// One limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What it is, such as `fs.file-max`.
    pub name: &'static str,
    /// What happens there.
    pub severity: Severity,
    /// How many connections it allows.
    pub allows: u64,
    /// What the machine has, in words.
    pub have: String,
    /// What lifts it.
    pub lift: String,
}

/// How far a scenario can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// Connections that were asked for.
    pub wanted: u64,
    /// Connections that no limit refuses; at most those that were asked for.
    pub allowed: u64,
    /// Limits below what was asked for, the lowest first.
    pub bites: Vec<Limit>,
    /// The other limits, the lowest first.
    pub others: Vec<Limit>,
}

/// Holds the wanted number of connections against each limit of the host.
pub fn check(connections: u64, ends: Ends, host: &Host) -> Preflight {
    let mut limits: Vec<Limit> = [
        server_descriptors(ends, host),
        ports(host),
        files(ends, host),
        watches(ends, host),
        conntrack(host),
        memory(ends, host),
        socket_buffers(host),
    ]
    .into_iter()
    .flatten()
    .collect();
    limits.sort_by_key(|limit| limit.allows);
    let refusing = limits.iter().filter(|limit| limit.severity == Severity::Refuses);
    let allowed = refusing.map(|limit| limit.allows).fold(connections, u64::min);
    let (bites, others) = limits.into_iter().partition(|limit| limit.allows < connections);
    Preflight { wanted: connections, allowed, bites, others }
}

impl Preflight {
    /// What it found, for a reader; several lines.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a text cannot fail.
        if self.allowed < self.wanted {
            let _ = writeln!(
                out,
                "preflight: {} connections wanted, this machine can hold {}",
                count(self.wanted),
                count(self.allowed)
            );
        } else {
            let _ = writeln!(out, "preflight: {} connections can be held", count(self.wanted));
        }
        for limit in &self.bites {
            let verb = match limit.severity {
                Severity::Refuses => "stops at",
                Severity::Slows => "slows from",
            };
            let _ = writeln!(out, "  {} {verb} {}: {}; {}", limit.name, count(limit.allows), limit.have, limit.lift);
        }
        if let (true, Some(next)) = (self.bites.is_empty(), self.others.first()) {
            let _ = writeln!(out, "  {} is next, at {}: {}", next.name, count(next.allows), next.have);
        }
        out
    }
}

/// How many times a connection counts.
fn times(ends: Ends) -> u64 {
    match ends {
        Ends::Both => 2,
        Ends::Client => 1,
    }
}

fn server_descriptors(ends: Ends, host: &Host) -> Option<Limit> {
    let server = host.server.as_ref().filter(|_| ends == Ends::Both)?;
    Some(Limit {
        name: "descriptors of the server",
        severity: Severity::Refuses,
        allows: server.descriptors_each.saturating_sub(DESCRIPTORS_RESERVED).saturating_mul(server.tables),
        have: format!("{} tables of {} (limit of the process)", server.tables, server.descriptors_each),
        lift: format!("more loops, or LimitNOFILE=, up to fs.nr_open = {}", host.nr_open),
    })
}

fn ports(host: &Host) -> Option<Limit> {
    let each = u64::from(host.ports.1.saturating_sub(host.ports.0)) + 1;
    Some(Limit {
        name: "ports",
        severity: Severity::Refuses,
        allows: each.saturating_mul(host.pairs),
        have: format!("{each} for each of {} pairs of addresses", host.pairs),
        lift: "net.ipv4.ip_local_port_range, or more source or target addresses".to_owned(),
    })
}

fn files(ends: Ends, host: &Host) -> Option<Limit> {
    Some(Limit {
        name: "fs.file-max",
        severity: Severity::Refuses,
        allows: host.files_max.saturating_sub(host.files_open) / times(ends),
        have: format!("{} files, {} open", host.files_max, host.files_open),
        lift: "sysctl fs.file-max".to_owned(),
    })
}

fn watches(ends: Ends, host: &Host) -> Option<Limit> {
    // It is counted for each user; server and harness are taken to be the same one.
    Some(Limit {
        name: "fs.epoll.max_user_watches",
        severity: Severity::Refuses,
        allows: host.epoll_watches? / times(ends),
        have: format!("{} for each user", host.epoll_watches?),
        lift: "sysctl fs.epoll.max_user_watches".to_owned(),
    })
}

fn conntrack(host: &Host) -> Option<Limit> {
    let Conntrack { max, count } = host.conntrack?;
    // Without a rule that needs it, the kernel tracks nothing, loaded or not.
    (count > 0).then(|| Limit {
        name: "net.netfilter.nf_conntrack_max",
        severity: Severity::Refuses,
        allows: max.saturating_sub(count),
        have: format!("{max} entries, {count} taken"),
        lift: "sysctl net.netfilter.nf_conntrack_max, or a rule that does not track these ports".to_owned(),
    })
}

fn memory(ends: Ends, host: &Host) -> Option<Limit> {
    let each = times(ends) * (KERNEL_BYTES_PER_END + PROCESS_BYTES_PER_END);
    let (left, whose) = match host.group_memory_left {
        Some(left) if left < host.memory_available => (left, "left in the control group"),
        _ => (host.memory_available, "available"),
    };
    Some(Limit {
        name: "memory",
        severity: Severity::Refuses,
        allows: (left - left / MEMORY_SPARED) / each,
        have: format!("{} MiB {whose}, {each} bytes for each connection", left >> 20),
        lift: "more memory, or the harness on another machine".to_owned(),
    })
}

fn socket_buffers(host: &Host) -> Option<Limit> {
    // At rest buffers are empty. One page for each connection is what unread data takes at least, in whichever end it lies.
    Some(Limit {
        name: "net.ipv4.tcp_mem",
        severity: Severity::Slows,
        allows: host.tcp_pages_pressure.saturating_sub(host.tcp_pages_used),
        have: format!(
            "{} pages until pressure, {} used; a page for each connection that has unread data",
            host.tcp_pages_pressure, host.tcp_pages_used
        ),
        lift: "sysctl net.ipv4.tcp_mem".to_owned(),
    })
}

#[cfg(test)]
mod tests;
