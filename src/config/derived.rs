//! The numbers that follow from settings and machine, and which of them bites first.
//!
//! A pure function; owns the sums, each with a named addend for each holder. It asks the operating system nothing.

use super::Settings;
use super::host::Host;
use super::kind::{ClientCertificates, PortTls};
use crate::kit::budget::BudgetLimit;
use crate::net::event_loop::CONNECTIONS_MAX;
use crate::net::secured::{HANDSHAKE_BYTES_WORST, HANDSHAKE_BYTES_WORST_WITH_CERTIFICATES};
use crate::net::tls::record::RECORD_BYTES_MAX;

/// Descriptors that every table holds for each loop, its own or another's: its epoll, its eventfd, its listener.
pub const DESCRIPTORS_PER_LOOP: u64 = 3;

/// Descriptors that every table holds beside those for each loop that serves links: its second listener.
pub const DESCRIPTORS_PER_LINK_LISTENER: u64 = 1;

/// Most event loops: the index of a loop has 8 bits in a connection's id.
pub const LOOPS_MAX: usize = 256;

/// What the kernel keeps for a resting TCP connection: socket, file, inode, epoll entry; without buffers.
pub const KERNEL_BYTES_PER_CONNECTION: u64 = 4096;

/// What the gateway keeps for an idle agent (see `docs/footprint.md`).
pub const BYTES_PER_AGENT: u64 = 160;

/// Of the memory of a machine or a control group, this many hundredths are ours when nobody says how much is: the rest is for
/// what bursts of connections make the kernel take, and for whoever looks after the machine.
const MEMORY_SHARE_PERCENT: u64 = 90;

/// Handshakes take at most this part of the memory budget.
const HANDSHAKES_PART: u64 = 8;

/// What may come with an upgrade request behind its head, and is kept until that is answered; under TLS it is the rest of a record.
const EARLY_BYTES: u64 = 1024;

/// The allocator rounds a buffer's length up by this part of it at most.
const ROUNDED_UP_PART: u64 = 4;

/// Orders that wait for all loops, and for one at least, where `limits.mailbox` leaves it open. A mailbox has its memory, 80
/// bytes for each order, from the start: with many loops a fixed size would cost more than the agents.
const MAILBOX: (usize, usize) = (16_384, 1_024);

/// What stops the next connection first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bite {
    /// The descriptors of a loop (RLIMIT_NOFILE).
    Descriptors,
    /// `limits.connections`.
    Setting,
    /// The slots of a loop's table.
    Slots,
    /// The memory of the machine or the control group, or `limits.memory`.
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
    /// How many idle connections the budget of memory would carry.
    pub connections_by_memory: u64,
    /// What bites first.
    pub bites_first: Bite,
    /// Memory above which nobody else is let in.
    pub budget: BudgetLimit,
    /// Orders that wait for one loop.
    pub mailbox: usize,
    /// TLS handshakes of one loop under way at once.
    pub handshakes_per_loop: u32,
    /// What all who knock may take at most before they are let in, in bytes.
    pub half_open_bytes: u64,
}

/// Loops where the setting leaves it open: one for each core, or as many as their tables of descriptors must be to hold the
/// connections that were asked for.
fn loops_for(asked: u64, settings: &Settings, host: &Host) -> usize {
    let cores = host.cores.clamp(1, LOOPS_MAX);
    let holds = |loops: usize| {
        let loops = u64::try_from(loops).unwrap_or(u64::MAX);
        let share = asked.div_ceil(loops);
        // The kernel spreads connections by a hash: a loop's part varies by the square root of its share, and six of those
        // are exceeded once in a billion.
        share.saturating_add(6 * share.isqrt()) <= by_descriptors(loops, settings, host)
    };
    (cores..=LOOPS_MAX).find(|loops| holds(*loops)).unwrap_or(cores)
}

/// Connections that a loop's table of descriptors holds.
fn by_descriptors(loops: u64, settings: &Settings, host: &Host) -> u64 {
    host.descriptors.saturating_sub(descriptors_held(settings, loops))
}

/// Descriptors of a loop's table that no agent takes. Links count apart from agents, so theirs are set aside.
#[must_use]
pub fn descriptors_held(settings: &Settings, loops: u64) -> u64 {
    let (per_loop, links) = match settings.link.listen {
        None => (DESCRIPTORS_PER_LOOP, 0),
        Some(_) => (DESCRIPTORS_PER_LOOP + DESCRIPTORS_PER_LINK_LISTENER, u64::from(settings.link.connections)),
    };
    let reserve = u64::from(settings.limits.descriptors_reserve);
    reserve.saturating_add(links).saturating_add(per_loop.saturating_mul(loops))
}

/// The numbers for these settings on this machine.
#[must_use]
pub fn derive(settings: &Settings, host: &Host) -> Derived {
    let workers = or_else(settings.server.workers, (host.cores / 2).max(1));
    let asked = u64::from(settings.limits.connections);
    let loops = match settings.server.loops {
        0 => loops_for(asked, settings, host),
        loops => loops,
    };
    let loops_wide = u64::try_from(loops).unwrap_or(u64::MAX);
    let by_descriptors = by_descriptors(loops_wide, settings, host);
    let connections_per_loop = u32::try_from(by_descriptors).unwrap_or(u32::MAX).min(CONNECTIONS_MAX);
    let room = u64::from(connections_per_loop).saturating_mul(loops_wide);
    let connections = if asked == 0 { room } else { room.min(asked) };
    let budget = budget(settings, host);
    let by_memory = budget.bytes_max / (budget.kernel_bytes_per_connection + BYTES_PER_AGENT);
    let bites_first = if by_memory < connections {
        Bite::Memory
    } else if connections < room {
        Bite::Setting
    } else if by_descriptors > u64::from(CONNECTIONS_MAX) {
        Bite::Slots
    } else {
        Bite::Descriptors
    };
    let handshakes = u32::try_from(handshakes(settings, &budget).div_ceil(loops_wide)).unwrap_or(u32::MAX);
    Derived {
        loops,
        workers,
        connections_per_loop,
        connections,
        connections_by_descriptors: by_descriptors.saturating_mul(loops_wide),
        connections_by_memory: by_memory,
        bites_first,
        budget,
        mailbox: or_else(settings.limits.mailbox, (MAILBOX.0 / loops).max(MAILBOX.1)),
        handshakes_per_loop: handshakes,
        half_open_bytes: half_open_bytes(settings, handshakes.into()).saturating_mul(loops_wide),
    }
}

/// What those who knock at one loop may take at most, with so many handshakes under way: whoever sends all that it may and then nothing.
fn half_open_bytes(settings: &Settings, handshakes: u64) -> u64 {
    let of_door = |knocking: u64, tls: PortTls| {
        let asked = request_bytes(settings, tls);
        let shaking = if tls == PortTls::Required { handshakes.min(knocking) } else { 0 };
        shaking * handshake_bytes(settings).max(asked) + (knocking - shaking) * asked
    };
    let links = settings.link.listen.map_or(0, |_| u64::from(settings.link.connections));
    of_door(settings.limits.half_open as u64, settings.server.tls).saturating_add(of_door(links, settings.link.tls))
}

/// What one connection may take at most that asks for its upgrade, at a door with TLS or without: its head, what came with it until a worker has
/// looked at its token, and under TLS half a record more.
#[must_use]
pub fn request_bytes(settings: &Settings, tls: PortTls) -> u64 {
    let record = RECORD_BYTES_MAX as u64;
    let (early, part) = if tls == PortTls::Required { (record, record) } else { (EARLY_BYTES, 0) };
    let kept = settings.limits.head_max as u64 + early + part;
    kept + kept / ROUNDED_UP_PART
}

/// What one TLS handshake may take at most.
fn handshake_bytes(settings: &Settings) -> u64 {
    let bytes = match settings.tls.client_certificates {
        ClientCertificates::Off => HANDSHAKE_BYTES_WORST,
        ClientCertificates::Optional | ClientCertificates::Required => HANDSHAKE_BYTES_WORST_WITH_CERTIFICATES,
    };
    bytes as u64
}

/// TLS handshakes of the node under way at once. Nobody among them is known yet, so they get a part of the memory and no more.
fn handshakes(settings: &Settings, budget: &BudgetLimit) -> u64 {
    let carried = budget.bytes_max / HANDSHAKES_PART / handshake_bytes(settings);
    (settings.tls.handshakes as u64).min(carried).max(1)
}

/// A limit that was set is for the process; one that the machine or a control group sets, for what the kernel keeps too. The lower one
/// holds: what is not there cannot be had by asking for it.
fn budget(settings: &Settings, host: &Host) -> BudgetLimit {
    let (asked, there) = (settings.limits.memory as u64, host_share(host));
    match (asked, there) {
        (0, None) => BudgetLimit::NONE,
        (1.., there) if there.is_none_or(|there| asked <= there) => {
            BudgetLimit { bytes_max: asked, kernel_bytes_per_connection: 0 }
        }
        (_, there) => BudgetLimit {
            bytes_max: there.unwrap_or(u64::MAX),
            kernel_bytes_per_connection: KERNEL_BYTES_PER_CONNECTION,
        },
    }
}

/// Our share of the memory of the machine or its control group, in bytes.
fn host_share(host: &Host) -> Option<u64> {
    (host.memory_bytes != u64::MAX).then(|| host.memory_bytes / 100 * MEMORY_SHARE_PERCENT)
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
                "{room}, but the memory carries about {} idle ones: it bites first; set `limits.connections` below that, raise `limits.memory`, or add memory",
                self.connections_by_memory
            ),
        }
    }

    /// What those who knock may take, in a sentence.
    #[must_use]
    pub fn half_open_text(&self, settings: &Settings) -> String {
        let (each, bytes) = (settings.limits.half_open, bytesize::ByteSize(self.half_open_bytes));
        let mut text = format!("Whoever is not let in yet takes {bytes} at most: {each} connections of each loop");
        if settings.server.tls == PortTls::Required {
            let (shaking, one) = (self.handshakes_per_loop, bytesize::ByteSize(handshake_bytes(settings)));
            text.push_str(&format!(", of which {shaking} in a TLS handshake with up to {one}"));
        }
        text
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
        let memory = settings.limits.memory as u64;
        if memory > self.budget.bytes_max {
            let there = self.budget.bytes_max;
            warnings.push(format!(
                "`limits.memory` asks for {memory} bytes, this machine or its control group allows {there}"
            ));
        }
        if self.half_open_bytes > self.budget.bytes_max / 2 {
            let (bytes, budget) = (self.half_open_bytes, self.budget.bytes_max);
            warnings.push(format!(
                "whoever is not let in yet may take {bytes} bytes of the memory budget of {budget}: lower `limits.half_open`"
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
    fn a_setting_bounds_the_node_and_not_a_loop() {
        let settings = settings(|settings| {
            settings.server.loops = 3;
            settings.limits.connections = 1000;
        });
        let derived = derive(&settings, &HOST);
        assert_eq!((derived.connections, derived.connections_per_loop), (1000, 19_927));
        assert_eq!(derived.bites_first, Bite::Setting);
        assert!(derived.warnings(&settings).is_empty());
    }

    #[test]
    fn loops_are_as_many_as_the_connections_that_were_asked_for_need_tables() {
        for (connections, cores, loops) in
            [(0, 4, 4), (10_000, 4, 4), (79_000, 4, 5), (1_000_000, 4, 53), (1_000_000, 64, 64), (100_000_000, 4, 4)]
        {
            let settings = settings(|settings| settings.limits.connections = connections);
            assert_eq!(derive(&settings, &Host { cores, ..HOST }).loops, loops, "{connections} on {cores}");
        }
    }

    #[test]
    fn the_budget_is_what_was_set_or_a_share_of_what_there_is() {
        assert_eq!(
            derive(&settings(|_| {}), &HOST).budget,
            BudgetLimit { bytes_max: (8 << 30) / 100 * 90, kernel_bytes_per_connection: 4096 }
        );
        let set = settings(|settings| settings.limits.memory = 5 << 20);
        assert_eq!(derive(&set, &HOST).budget, BudgetLimit { bytes_max: 5 << 20, kernel_bytes_per_connection: 0 });
        let small = Host { memory_bytes: 4 << 20, ..HOST };
        let held = derive(&set, &small);
        assert_eq!(
            held.budget,
            BudgetLimit { bytes_max: (4 << 20) / 100 * 90, kernel_bytes_per_connection: 4096 },
            "a control group with less than was asked for"
        );
        assert!(held.warnings(&set)[0].contains("`limits.memory` asks for 5242880 bytes"));
        let unknown = Host { memory_bytes: u64::MAX, ..HOST };
        assert_eq!(derive(&settings(|_| {}), &unknown).budget, BudgetLimit::NONE);
    }

    #[test]
    fn handshakes_share_one_sum_and_leave_memory_to_those_who_are_in() {
        for (loops, asked, memory, each) in
            [(1, 4096, 0, 4096), (4, 4096, 0, 1024), (3, 10, 0, 4), (2, 4096, 64 << 20, 186), (2, 4096, 1 << 10, 1)]
        {
            let settings = settings(|settings| {
                settings.server.loops = loops;
                settings.tls.handshakes = asked;
                settings.limits.memory = memory;
            });
            assert_eq!(derive(&settings, &HOST).handshakes_per_loop, each, "{loops} {asked} {memory}");
        }
    }

    #[test]
    fn whoever_knocks_is_reckoned_with_at_its_worst() {
        let knock = |server, certificates| {
            let settings = settings(|settings| {
                settings.server.loops = 2;
                settings.limits.half_open = 1000;
                settings.tls.handshakes = 600;
                (settings.server.tls, settings.tls.client_certificates) = (server, certificates);
            });
            (derive(&settings, &HOST), settings)
        };
        let (plain, plain_settings) = knock(PortTls::Off, ClientCertificates::Off);
        assert_eq!(plain.half_open_bytes, 2 * 1000 * (8192 + 1024) / 4 * 5);
        assert!(!plain.half_open_text(&plain_settings).contains("TLS"));
        let (secured, secured_settings) = knock(PortTls::Required, ClientCertificates::Off);
        let asked = request_bytes(&secured_settings, PortTls::Required);
        assert_eq!(secured.half_open_bytes, 2 * 1000 * asked, "a request in part takes more than a handshake in part");
        let (shown, shown_settings) = knock(PortTls::Required, ClientCertificates::Optional);
        assert_eq!(shown.half_open_bytes, 2 * (300 * (70 << 10) + 700 * asked));
        let told = shown.half_open_text(&shown_settings);
        assert!(told.ends_with("of which 300 in a TLS handshake with up to 70.0 KiB"), "{told}");

        let small = derive(&shown_settings, &Host { memory_bytes: 64 << 20, ..HOST });
        assert!(small.warnings(&shown_settings).iter().any(|warning| warning.contains("`limits.half_open`")));
        assert!(shown.warnings(&shown_settings).is_empty());
    }

    #[test]
    fn mailboxes_share_one_sum() {
        for (loops, asked, mailbox) in [(1, 0, 16_384), (2, 0, 8_192), (16, 0, 1_024), (56, 0, 1_024), (56, 70, 70)] {
            let settings = settings(|settings| {
                settings.server.loops = loops;
                settings.limits.mailbox = asked;
            });
            assert_eq!(derive(&settings, &HOST).mailbox, mailbox, "{loops} {asked}");
        }
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
