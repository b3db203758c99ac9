//! What a loop counts. Handles are made once; counts of a turn are added up and given out at its end.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::kit::metric;
use crate::session::reason::Reason;
use crate::wire::deflate::Moved;

/// The metrics of one loop.
pub(super) struct Meter {
    pub(super) accepted: Counter,
    pub(super) accept_errors: Counter,
    pub(super) turned_away: Counter,
    pub(super) workers_full: Counter,
    pub(super) slowed: Counter,
    pub(super) sheds: Counter,
    pub(super) messages_in: u64,
    pub(super) frames_out: u64,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    totals: [Counter; 4],
    /// Of compressed messages in, and of those out: their bytes plain, and compressed.
    deflate: [[Counter; 2]; 2],
    turns: Counter,
    connections: Gauge,
    links: Gauge,
    /// Handshakes under way, and connections that wait for a step of theirs.
    handshakes: [Gauge; 2],
    /// Connections whose handshake is done, of TLS 1.3 and of 1.2.
    tls: [Gauge; 2],
    handshake_seconds: Histogram,
    closed: Vec<Counter>,
}

impl Meter {
    pub(super) fn new(index: u8) -> Self {
        let of_loop = |name| counter!(name, "loop" => index.to_string());
        Self {
            accepted: of_loop(metric::ACCEPTED),
            accept_errors: of_loop(metric::ACCEPT_ERRORS),
            turned_away: counter!(metric::REFUSED, "status" => "503"),
            workers_full: of_loop(metric::WORKERS_FULL),
            slowed: of_loop(metric::SLOWED),
            sheds: of_loop(metric::QUEUES_SHED),
            messages_in: 0,
            frames_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            totals: [metric::FRAMES_IN, metric::FRAMES_OUT, metric::BYTES_IN, metric::BYTES_OUT].map(of_loop),
            deflate: ["in", "out"].map(|way| {
                ["plain", "compressed"].map(|form| counter!(metric::DEFLATE_BYTES, "way" => way, "form" => form))
            }),
            turns: of_loop(metric::TURNS),
            connections: gauge!(metric::CONNECTIONS, "loop" => index.to_string()),
            links: gauge!(metric::LINKS, "loop" => index.to_string()),
            handshakes: [metric::TLS_SHAKING, metric::TLS_WAITING]
                .map(|name| gauge!(name, "loop" => index.to_string())),
            tls: ["1.3", "1.2"]
                .map(|version| gauge!(metric::TLS_CONNECTIONS, "loop" => index.to_string(), "version" => version)),
            handshake_seconds: histogram!(metric::TLS_HANDSHAKE_SECONDS),
            closed: Reason::ALL.iter().map(|reason| counter!(metric::CLOSED, "reason" => reason.row().label)).collect(),
        }
    }

    /// A request was answered with an HTTP error.
    pub(super) fn refused(&self, status: u16) {
        counter!(metric::REFUSED, "status" => status.to_string()).increment(1);
    }

    /// A TLS handshake is done, so many milliseconds after its connection was accepted.
    pub(super) fn handshake_done(&self, resumed: bool, took_ms: u32) {
        counter!(metric::TLS_HANDSHAKES, "result" => if resumed { "resumed" } else { "full" }).increment(1);
        self.handshake_seconds.record(f64::from(took_ms) / 1000.0);
    }

    /// A TLS handshake has failed.
    pub(super) fn handshake_failed(&self, cause: &'static str) {
        counter!(metric::TLS_HANDSHAKES, "result" => cause).increment(1);
    }

    /// How the TLS of a loop is at the end of a turn.
    pub(super) fn tls(&self, shaking: usize, waiting: usize, (rest, live): (usize, usize)) {
        for (gauge, count) in self.handshakes.iter().chain(&self.tls).zip([shaking, waiting, rest, live]) {
            gauge.set(count as f64);
        }
    }

    /// A connection ended.
    pub(super) fn closed(&self, reason: Reason) {
        if let Some(counter) = self.closed.get(reason as usize) {
            counter.increment(1);
        }
    }

    /// What was inflated and deflated since this was told last.
    pub(super) fn deflated(&self, inflated: Moved, deflated: Moved) {
        for ([plain, compressed], moved) in self.deflate.iter().zip([inflated, deflated]) {
            if moved != Moved::default() {
                plain.increment(moved.plain);
                compressed.increment(moved.compressed);
            }
        }
    }

    /// How many connections there are at the end of a turn.
    pub(super) fn connections(&self, agents: u32, links: u32) {
        self.connections.set(f64::from(agents));
        self.links.set(f64::from(links));
    }

    /// Gives out what the turn added up.
    pub(super) fn flush(&mut self) {
        let turn = [&mut self.messages_in, &mut self.frames_out, &mut self.bytes_in, &mut self.bytes_out];
        for (total, count) in self.totals.iter().zip(turn) {
            if *count > 0 {
                total.increment(std::mem::take(count));
            }
        }
        self.turns.increment(1);
    }
}
