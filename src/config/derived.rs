//! The numbers that follow from settings and machine, and which of them bites first.
//!
//! A pure function; owns the sums, each with a named addend for each holder. It asks the operating system nothing.

use super::Settings;
use super::host::Host;
use crate::net::event_loop::CONNECTIONS_MAX;

/// Descriptors that every table holds for each loop, its own or another's: its epoll, its eventfd, its listener.
pub const DESCRIPTORS_PER_LOOP: u64 = 3;

/// Descriptors that every table holds beside those for each loop that serves links: its second listener.
pub const DESCRIPTORS_PER_LINK_LISTENER: u64 = 1;

/// What the kernel keeps for a resting TCP connection: socket, file, inode, epoll entry; without buffers.
pub const KERNEL_BYTES_PER_CONNECTION: u64 = 4096;

/// What the gateway keeps for an idle agent (see `docs/footprint.md`).
pub const BYTES_PER_AGENT: u64 = 160;

/// What stops the next connection first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bite {
    /// The descriptors of a loop (RLIMIT_NOFILE).
    Descriptors,
    /// `limits.connections`.
    Setting,
    /// The slots of a loop's table.
    Slots,
    /// The memory of the machine or the control group.
    Memory,
}

/// The numbers that a node runs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Derived {
    /// Event loops.
    pub loops: usize,
    /// Worker threads.
    pub workers: usize,
    /// Most connections of one loop: each loop has a private table of descriptors, so the limit is per loop.
    pub connections_per_loop: u32,
    /// Most connections of the node.
    pub connections: u64,
    /// How many connections the descriptors would allow.
    pub connections_by_descriptors: u64,
    /// How many idle connections the memory would carry.
    pub connections_by_memory: u64,
    /// What bites first.
    pub bites_first: Bite,
}

/// The numbers for these settings on this machine.
#[must_use]
pub fn derive(settings: &Settings, host: &Host) -> Derived {
    let loops = or_else(settings.server.loops, host.cores.max(1));
    let workers = or_else(settings.server.workers, (host.cores / 2).max(1));
    let loops_wide = u64::try_from(loops).unwrap_or(u64::MAX);

    let reserve = u64::from(settings.limits.descriptors_reserve);
    // Links count apart from agents, so their descriptors are set aside.
    let (per_loop_held, links) = match settings.link.listen {
        None => (DESCRIPTORS_PER_LOOP, 0),
        Some(_) => (DESCRIPTORS_PER_LOOP + DESCRIPTORS_PER_LINK_LISTENER, u64::from(settings.link.connections)),
    };
    let held = reserve.saturating_add(per_loop_held.saturating_mul(loops_wide)).saturating_add(links);
    let by_descriptors = host.descriptors.saturating_sub(held);
    let asked = u64::from(settings.limits.connections);
    let per_loop = match asked {
        0 => by_descriptors,
        asked => by_descriptors.min(asked.div_ceil(loops_wide)),
    };
    let connections_per_loop = u32::try_from(per_loop).unwrap_or(u32::MAX).min(CONNECTIONS_MAX);
    let connections = u64::from(connections_per_loop).saturating_mul(loops_wide);
    let by_memory = host.memory_bytes / (KERNEL_BYTES_PER_CONNECTION + BYTES_PER_AGENT);
    let bites_first = if by_memory < connections {
        Bite::Memory
    } else if per_loop > u64::from(CONNECTIONS_MAX) {
        Bite::Slots
    } else if asked != 0 && per_loop < by_descriptors {
        Bite::Setting
    } else {
        Bite::Descriptors
    };
    Derived {
        loops,
        workers,
        connections_per_loop,
        connections,
        connections_by_descriptors: by_descriptors.saturating_mul(loops_wide),
        connections_by_memory: by_memory,
        bites_first,
    }
}

fn or_else(asked: usize, automatic: usize) -> usize {
    if asked == 0 { automatic } else { asked }
}

impl Derived {
    /// What stops the next connection first, and what to do about it, in a sentence.
    #[must_use]
    pub fn bites_first_text(&self) -> String {
        let room = format!("{} connections ({} loops × {})", self.connections, self.loops, self.connections_per_loop);
        match self.bites_first {
            Bite::Descriptors => format!(
                "{room}: the descriptors of a loop bite first; raise the hard limit (`ulimit -Hn`, LimitNOFILE=) or `server.loops`"
            ),
            Bite::Setting => format!("{room}: `limits.connections` bites first"),
            Bite::Slots => {
                format!("{room}: the table of a loop bites first; raise `server.loops`")
            }
            Bite::Memory => format!(
                "{room}, but the memory carries about {} idle ones: it bites first; set `limits.connections` below that, or add memory",
                self.connections_by_memory
            ),
        }
    }

    /// The settings that this machine cannot honour, in sentences.
    #[must_use]
    pub fn warnings(&self, settings: &Settings) -> Vec<String> {
        let mut warnings = Vec::new();
        let asked = u64::from(settings.limits.connections);
        if asked > self.connections_by_descriptors {
            warnings.push(format!(
                "`limits.connections` asks for {asked}, the descriptors allow {}",
                self.connections_by_descriptors
            ));
        }
        if self.connections_per_loop == 0 {
            let reserve = settings.limits.descriptors_reserve;
            warnings.push(format!(
                "no connection is possible: the descriptors of a loop do not exceed `limits.descriptors_reserve` ({reserve})"
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::defaults;

    const HOST: Host = Host { descriptors: 20_000, cores: 4, memory_bytes: 8 << 30 };

    fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
        let mut settings = defaults("node").expect("defaults are valid");
        change(&mut settings);
        settings
    }

    #[test]
    fn descriptors_count_per_loop() {
        let derived = derive(&settings(|_| {}), &HOST);
        assert_eq!((derived.loops, derived.workers), (4, 2));
        assert_eq!(derived.connections_per_loop, 20_000 - 64 - 3 * 4);
        assert_eq!(derived.connections, 4 * 19_924);
        assert_eq!(derived.bites_first, Bite::Descriptors);
        assert!(derived.bites_first_text().starts_with("79696 connections (4 loops × 19924): the descriptors"));
    }

    #[test]
    fn one_core_still_has_a_worker_and_a_loop() {
        let derived = derive(&settings(|_| {}), &Host { cores: 1, ..HOST });
        assert_eq!((derived.loops, derived.workers), (1, 1));
        let derived = derive(&settings(|_| {}), &Host { cores: 0, ..HOST });
        assert_eq!((derived.loops, derived.workers), (1, 1));
    }

    #[test]
    fn a_setting_is_shared_out_among_the_loops() {
        let settings = settings(|settings| {
            settings.server.loops = 3;
            settings.limits.connections = 1000;
        });
        let derived = derive(&settings, &HOST);
        assert_eq!(derived.connections_per_loop, 334);
        assert_eq!(derived.bites_first, Bite::Setting);
        assert!(derived.warnings(&settings).is_empty());
    }

    #[test]
    fn a_setting_that_cannot_be_honoured_is_told() {
        let settings = settings(|settings| {
            settings.server.loops = 1;
            settings.limits.connections = 1_000_000;
        });
        let derived = derive(&settings, &HOST);
        assert_eq!(derived.connections, 19_933);
        assert_eq!(derived.bites_first, Bite::Descriptors);
        assert_eq!(derived.warnings(&settings), ["`limits.connections` asks for 1000000, the descriptors allow 19933"]);
    }

    #[test]
    fn memory_may_bite_first_and_too_few_descriptors_leave_nothing() {
        let small = Host { memory_bytes: 64 << 20, ..HOST };
        assert_eq!(derive(&settings(|_| {}), &small).bites_first, Bite::Memory);
        let tight = Host { descriptors: 32, ..HOST };
        let settings = settings(|_| {});
        let derived = derive(&settings, &tight);
        assert_eq!(derived.connections, 0);
        assert_eq!(derived.warnings(&settings).len(), 1);
    }

    #[test]
    fn an_unlimited_host_does_not_overflow() {
        let host = Host { descriptors: u64::MAX, cores: 1024, memory_bytes: u64::MAX };
        let derived = derive(&settings(|_| {}), &host);
        assert_eq!(derived.connections_per_loop, (1 << 24) - 64);
        assert_eq!(derived.bites_first, Bite::Slots);
        assert!(derived.bites_first_text().contains("`server.loops`"));
    }
}
