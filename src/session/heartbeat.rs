//! What time alone demands of a session: heartbeats and deadlines, by arithmetic on one tick.
//!
//! Nothing is armed for a connection. A sweep asks each in turn, a few nanoseconds each, about once a second.

use crate::kit::tick::Now;
use crate::wire::envelope::{self, Outbound};
use crate::wire::upgrade::Refusal;

use super::effect::Effect;
use super::expiry::Demand;
use super::phase::Phase;
use super::reason::Reason;
use super::rules::Rules;
use super::{Lent, Session};

/// What an open connection is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// Its first look at the clock: its moments count from the next one on, so that nobody is pinged who has just come.
    Begin,
    /// A ping.
    Ping,
    /// Its end.
    End,
}

/// How far a connection's heartbeat is, and of which moment: one byte of its slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It was open at no moment yet.
    Never,
    /// The ping of an even moment was sent, and no byte came since.
    EvenWaits,
    /// The same of an odd one.
    OddWaits,
    /// The ping of an even moment was sent, and the peer was heard after it.
    EvenHeard,
    /// The same of an odd one.
    OddHeard,
}

impl Asked {
    fn at(parity: Parity) -> Self {
        match parity {
            Parity::Even => Self::EvenWaits,
            Parity::Odd => Self::OddWaits,
        }
    }

    fn done_with(parity: Parity) -> Self {
        Self::at(parity).heard()
    }

    fn waits(self) -> bool {
        matches!(self, Self::EvenWaits | Self::OddWaits)
    }

    fn heard(self) -> Self {
        match self {
            Self::EvenWaits => Self::EvenHeard,
            Self::OddWaits => Self::OddHeard,
            other => other,
        }
    }

    fn is_done_with(self, parity: Parity) -> bool {
        self == Self::done_with(parity)
    }
}

/// Which of any two moments that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// One.
    Even,
    /// The other.
    Odd,
}

/// The moments of heartbeats: each connection has its own, one in each interval, by its place in the table.
///
/// Agents that came together, or were called together, would else be pinged together for ever: a million that connect in 20 s
/// made a wave of 50,000 pings a second that calls had to wait behind. Moments stay where they are, whatever is heard between
/// two of them. A busy agent is pinged as often as a silent one: it may be busy sending, and watches for bytes of ours.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    interval_ms: u32,
    /// Where in the interval the time is now.
    within_ms: u32,
    /// Of the interval.
    parity: Parity,
}

/// The last moment of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// How long ago it was, in milliseconds: less than an interval.
    pub since_ms: u32,
    /// Which it was.
    pub parity: Parity,
}

impl Parity {
    fn of(number: u64) -> Self {
        if number.is_multiple_of(2) { Self::Even } else { Self::Odd }
    }

    fn other(self) -> Self {
        match self {
            Self::Even => Self::Odd,
            Self::Odd => Self::Even,
        }
    }
}

impl Moments {
    /// As they lie around `now`.
    #[must_use]
    pub fn around(now: Now, rules: &Rules) -> Self {
        let interval_ms = u64::from(rules.heartbeat_ms.max(1));
        // A remainder is less than what it was divided by.
        let within_ms = (now.0 % interval_ms) as u32;
        Self { interval_ms: interval_ms as u32, within_ms, parity: Parity::of(now.0 / interval_ms) }
    }

    /// The last one of the connection in `slot`.
    #[must_use]
    pub fn of(self, slot: u32) -> Moment {
        // Multiples of the golden ratio lie evenly in the circle however many there are (Knuth, volume 3, section 6.4).
        let share = slot.wrapping_mul(0x9E37_79B9);
        let moment_ms = ((u64::from(share) * u64::from(self.interval_ms)) >> 32) as u32;
        if self.within_ms >= moment_ms {
            Moment { since_ms: self.within_ms - moment_ms, parity: self.parity }
        } else {
            Moment { since_ms: self.within_ms + self.interval_ms - moment_ms, parity: self.parity.other() }
        }
    }
}

/// What is due.
///
/// The time for an answer runs from the moment, so a ping that cannot leave within half of it waits for the next moment: a peer
/// has half of [`Rules::heartbeat_timeout_ms`] at least, also after the whole process was stopped for a while.
#[must_use]
pub fn due(asked: Asked, last: Moment, rules: &Rules) -> Due {
    let timeout_ms = rules.heartbeat_timeout_ms;
    let may_ask = last.since_ms <= (timeout_ms / 2).max(LATE_MS_MIN);
    // At the latest the next moment ends it: there may have been no sweep between the timeout and that.
    let is_over = last.since_ms >= timeout_ms || asked != Asked::at(last.parity);
    match asked.waits() {
        _ if asked == Asked::Never => Due::Begin,
        true if is_over => Due::End,
        false if may_ask && !asked.is_done_with(last.parity) => Due::Ping,
        _ => Due::Nothing,
    }
}

/// Sweeps come no more often than every 10 ms, so a ping may always be so late.
const LATE_MS_MIN: u32 = 20;

impl Session {
    /// Whether [`Session::sweep`] would do anything: the cheap question of each sweep. `last` is the connection's last moment.
    #[must_use]
    pub fn is_due(&self, now: Now, unix_secs: u64, last: Moment, rules: &Rules) -> bool {
        let silent_ms = now.tick().since(self.heard);
        match self.phase {
            Phase::Agent(_) | Phase::LinkJson | Phase::LinkBinary | Phase::Echo => {
                due(self.asked, last, rules) != Due::Nothing
                    || self.expiry.demand(unix_secs, rules.expiry_notice_secs) != Demand::Nothing
            }
            Phase::Handshake | Phase::Verifying => silent_ms >= rules.handshake_ms,
            Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Hushed => silent_ms >= rules.close_ms,
            Phase::Dead => false,
        }
    }

    /// Does what time demands.
    pub fn sweep(&mut self, last: Moment, lent: &mut Lent<'_>) {
        let silent_ms = lent.now.tick().since(self.heard);
        if self.phase.is_open() {
            self.look_at_token(lent);
        }
        match self.phase {
            Phase::Agent(_) | Phase::LinkJson | Phase::LinkBinary | Phase::Echo => {
                match due(self.asked, last, lent.rules) {
                    Due::Nothing => {}
                    Due::Begin => self.asked = Asked::done_with(last.parity),
                    Due::Ping => {
                        self.asked = Asked::at(last.parity);
                        lent.effects.push(Effect::Ping);
                    }
                    // The peer is silent: it gets a close frame in case it only lost our pings, and is not waited for.
                    Due::End => self.fail(Reason::HeartbeatLost, lent),
                }
            }
            Phase::Handshake if silent_ms >= lent.rules.handshake_ms => self.time_out(Refusal::Timeout, lent),
            Phase::Verifying if silent_ms >= lent.rules.handshake_ms => self.time_out(Refusal::Unavailable, lent),
            Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Hushed
                if silent_ms >= lent.rules.close_ms =>
            {
                // Why it was closed is known by now; that the peer did not see it out is no news.
                self.gone(Reason::PeerVanished);
            }
            _ => {}
        }
    }

    fn time_out(&mut self, refusal: Refusal, lent: &mut Lent<'_>) {
        self.reason.get_or_insert(Reason::HandshakeTimeout);
        self.refuse(refusal, lent);
    }

    /// Tells the agent ahead that its token runs out, and closes when it has.
    fn look_at_token(&mut self, lent: &mut Lent<'_>) {
        match self.expiry.demand(lent.unix_secs, lent.rules.expiry_notice_secs) {
            Demand::Nothing => {}
            Demand::Tell(secs) => {
                self.expiry.set_told();
                if let Some(encoding) = self.phase.encoding() {
                    let expiring = Outbound::TokenExpiring { expires_in_ms: secs.saturating_mul(1000) };
                    lent.effects.push(Effect::Send(envelope::encode(encoding, &expiring)));
                }
            }
            Demand::End => self.close(Reason::TokenExpired, lent),
        }
    }

    /// A byte came in.
    pub(super) fn hear(&mut self, now: Now) {
        self.heard = now.tick();
        self.asked = self.asked.heard();
    }

    /// The rules changed, and with the interval all moments: nobody is held to an answer that the old ones asked for.
    pub fn ask_anew(&mut self) {
        self.asked = Asked::Never;
    }

    /// A pong came in: our pings carry the tick they were sent at. Other pongs are a peer's own heartbeat (RFC 6455 section 5.5.3).
    pub(super) fn pong(&mut self, payload: &[u8], lent: &Lent<'_>) {
        if let Ok(sent) = payload.try_into().map(u32::from_le_bytes) {
            let round_trip_ms = lent.now.tick().since(crate::kit::tick::Tick(sent));
            if round_trip_ms <= lent.rules.heartbeat_ms.saturating_add(lent.rules.heartbeat_timeout_ms) {
                self.measured.set_round_trip_ms(round_trip_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::websocket::tests::{rules, with_lent};
    use crate::wire::envelope::Encoding;

    /// No ping is sent so long after a moment.
    const FAR: Moment = Moment { since_ms: 59_000, parity: Parity::Odd };
    const LAST: Moment = Moment { since_ms: 0, parity: Parity::Odd };

    #[test]
    fn each_moment_asks_once_and_silence_ends() {
        use Asked::{EvenHeard, EvenWaits, Never, OddHeard, OddWaits};
        let rules = rules();
        assert_eq!((rules.heartbeat_ms, rules.heartbeat_timeout_ms), (60_000, 20_000));
        for (asked, since_ms, expected) in [
            // At an odd moment: whoever was not asked at this one.
            (Never, 0, Due::Begin),
            (Never, 30_000, Due::Begin),
            (EvenHeard, 0, Due::Ping),
            (EvenHeard, 900, Due::Ping),
            (OddHeard, 0, Due::Nothing),
            (OddHeard, 59_999, Due::Nothing),
            // Too late for this moment, after a stop of the process or a change of the interval.
            (EvenHeard, 10_000, Due::Ping),
            (EvenHeard, 10_001, Due::Nothing),
            (EvenHeard, 30_000, Due::Nothing),
            // An answer is waited for.
            (OddWaits, 700, Due::Nothing),
            (OddWaits, 19_999, Due::Nothing),
            (OddWaits, 20_000, Due::End),
            // The sweeps between the time-out and the next moment did not come.
            (EvenWaits, 5, Due::End),
        ] {
            let last = Moment { since_ms, ..LAST };
            assert_eq!(due(asked, last, &rules), expected, "{asked:?} {since_ms}");
        }
    }

    #[test]
    fn moments_come_once_an_interval_and_lie_apart() {
        let rules = rules();
        for slot in [0, 1, 2, 777, u32::MAX] {
            let mut moments = Vec::new();
            let mut parity = Moments::around(Now(999_999), &rules).of(slot).parity;
            for now in 1_000_000..1_000_000 + u64::from(2 * rules.heartbeat_ms) {
                let last = Moments::around(Now(now), &rules).of(slot);
                assert!(last.since_ms < rules.heartbeat_ms);
                assert_eq!(last.parity != parity, last.since_ms == 0, "{slot} {now}");
                parity = last.parity;
                moments.extend((last.since_ms == 0).then_some(last.parity));
            }
            assert!(moments.len() == 2 && moments[0] != moments[1], "{slot}");
        }
        for agents in [64, 1000, 16_384] {
            // However few there are, no second has many more moments than another.
            let mut in_second = [0_usize; 60];
            for slot in 0..agents {
                in_second[Moments::around(Now(0), &rules).of(slot).since_ms as usize / 1000] += 1;
            }
            let (least, most) = (in_second.iter().min(), in_second.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 4), "{agents}: {in_second:?}");
        }
    }

    /// Sweeps an agent once a second, 200 times, but for the seconds in which the process is `stopped`; `hears` says in which
    /// seconds a byte of it comes, given when it was pinged last. Returns when it was pinged.
    fn swept(stopped: std::ops::Range<u64>, hears: impl Fn(u64, Option<u64>) -> bool) -> (Vec<u64>, Option<Reason>) {
        let mut session = Session::new(Now(5));
        session.phase = Phase::Agent(Encoding::Json);
        let mut pinged_at = Vec::new();
        for second in (0..200_u64).filter(|second| !stopped.contains(second)) {
            if hears(second, pinged_at.last().copied()) {
                session.hear(Now(second * 1000));
            }
            let effects = with_lent(Now(second * 1000 + 1), |lent| {
                session.sweep(Moments::around(lent.now, lent.rules).of(9), lent);
            });
            pinged_at.extend(effects.iter().any(|effect| matches!(effect, Effect::Ping)).then_some(second));
        }
        (pinged_at, session.reason())
    }

    #[test]
    fn silent_and_busy_agents_are_pinged_at_each_of_their_moments_and_at_no_other() {
        let (silent, ended) = swept(0..0, |second, pinged| pinged == Some(second.wrapping_sub(1)));
        assert!(ended.is_none() && silent.len() >= 3, "{silent:?}");
        assert!(silent.windows(2).all(|pair| pair[1] - pair[0] == 60), "{silent:?}");
        assert_eq!(swept(0..0, |_, _| true), (silent, None));
    }

    #[test]
    fn nobody_is_ended_because_the_process_was_stopped() {
        for wakes in 30..199 {
            // A pong comes nine seconds after its ping, or when the process runs again.
            let pongs = |second: u64, pinged: Option<u64>| {
                pinged.is_some_and(|pinged| second == pinged + 9 || second == wakes && second < pinged + 40)
            };
            let (pinged, ended) = swept(wakes - 30..wakes, pongs);
            assert_eq!(ended, None, "{wakes} {pinged:?}");
        }
        // And who never answers is found, whatever happened before.
        for wakes in 30..100 {
            assert_eq!(swept(wakes - 30..wakes, |_, _| false).1, Some(Reason::HeartbeatLost), "{wakes}");
        }
    }

    #[test]
    fn deadlines_of_each_phase() {
        let cases = [
            (Phase::Handshake, 10_000, Some(Reason::HandshakeTimeout)),
            (Phase::Verifying, 10_000, Some(Reason::HandshakeTimeout)),
            (Phase::Closing, 5_000, Some(Reason::PeerVanished)),
            (Phase::Hushed, 5_000, Some(Reason::PeerVanished)),
            (Phase::Dead, 1 << 20, None),
        ];
        for (phase, deadline_ms, reason) in cases {
            let mut session = Session::new(Now(0));
            session.phase = phase;
            with_lent(Now(deadline_ms - 1), |lent| {
                assert!(!session.is_due(lent.now, lent.unix_secs, LAST, lent.rules));
                session.sweep(LAST, lent);
            });
            assert_eq!(session.reason(), None, "{phase:?}");
            with_lent(Now(deadline_ms), |lent| {
                assert_eq!(session.is_due(lent.now, lent.unix_secs, LAST, lent.rules), reason.is_some());
                session.sweep(LAST, lent);
            });
            assert_eq!(session.reason(), reason, "{phase:?}");
        }
    }

    #[test]
    fn a_token_is_told_of_ahead_and_ends_its_connection() {
        use crate::session::expiry::Expiry;
        use crate::session::websocket::tests::with_lent_at;
        const ENDS: u64 = 1_800_000_000;
        for encoding in [Encoding::Json, Encoding::Binary] {
            let mut session = Session::new(Now(0));
            session.phase = Phase::Agent(encoding);
            session.asked = Asked::OddHeard;
            session.renew(Expiry::at(Some(ENDS)));
            let mut at = |unix_secs: u64| {
                let due = session.is_due(Now(0), unix_secs, FAR, &rules());
                let effects = with_lent_at(Now(0), unix_secs, |lent| session.sweep(FAR, lent));
                assert_eq!(due, !effects.is_empty(), "{unix_secs}");
                (effects.len(), session.phase, session.reason())
            };
            let notice_secs = u64::from(rules().expiry_notice_secs);
            assert_eq!(at(ENDS - notice_secs - 1), (0, Phase::Agent(encoding), None));
            assert_eq!(at(ENDS - notice_secs), (1, Phase::Agent(encoding), None));
            assert_eq!(at(ENDS - 1), (0, Phase::Agent(encoding), None));
            assert_eq!(at(ENDS), (1, Phase::Closing, Some(Reason::TokenExpired)));
        }
    }

    #[test]
    fn a_newer_token_is_told_of_anew() {
        use crate::session::expiry::Expiry;
        use crate::session::websocket::tests::with_lent_at;
        let mut session = Session::new(Now(0));
        session.phase = Phase::Agent(Encoding::Json);
        session.asked = Asked::OddHeard;
        for ends in [1_800_000_000, 1_800_003_600] {
            session.renew(Expiry::at(Some(ends)));
            for told in [1, 0] {
                let effects = with_lent_at(Now(0), ends - 5, |lent| session.sweep(FAR, lent));
                assert_eq!(effects.len(), told, "{ends}");
                let text = |effect: &Effect| match effect {
                    Effect::Send(frame) => String::from_utf8_lossy(frame).into_owned(),
                    other => format!("{other:?}"),
                };
                assert!(effects.iter().all(|effect| text(effect).contains(r#"{"expires_in_ms":5000}"#)));
            }
        }
        with_lent_at(Now(0), 1_800_003_600, |lent| session.sweep(FAR, lent));
        assert_eq!(session.reason(), Some(Reason::TokenExpired));
    }

    #[test]
    fn a_round_trip_is_measured_and_a_foreign_pong_is_not() {
        let mut session = Session::new(Now(0));
        with_lent(Now(70_040), |lent| {
            session.pong(&70_000_u32.to_le_bytes(), lent);
            assert_eq!(session.round_trip_ms(), Some(40));
            session.pong(b"hello", lent);
            session.pong(&1_u32.to_le_bytes()[..3], lent);
            assert_eq!(session.round_trip_ms(), Some(40));
        });
    }
}
