//! What time alone demands of a session: heartbeats and deadlines, by arithmetic on one tick.
//!
//! Nothing is armed for a connection. A sweep asks each in turn, a few nanoseconds each, about once a second.

use crate::kit::tick::Now;
use crate::wire::upgrade::Refusal;

use super::effect::Effect;
use super::phase::Phase;
use super::reason::Reason;
use super::rules::Rules;
use super::{Lent, Session};

/// What an open connection is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Ping,
    /// Its end.
    End,
}

/// The moments of heartbeats: each connection has its own, one in each interval, by its place in the table.
///
/// Agents that came together, or were called together, would else be pinged together for ever: a million that connect in 20 s
/// made a wave of 50,000 pings a second that calls had to wait behind. Moments stay where they are, whatever is heard between
/// two of them: a busy agent is pinged as often as a silent one, which is nothing beside what keeps it busy.
#[derive(Clone, Copy, Debug)]
pub struct Moments {
    interval_ms: u32,
    /// Where in the interval the time is now.
    within_ms: u32,
}

impl Moments {
    /// As they lie around `now`.
    #[must_use]
    pub fn around(now: Now, rules: &Rules) -> Self {
        let interval_ms = rules.heartbeat_ms.max(1);
        // A remainder is less than what it was divided by.
        Self { interval_ms, within_ms: (now.0 % u64::from(interval_ms)) as u32 }
    }

    /// How long ago the last moment of the connection in `slot` was, in milliseconds: less than an interval.
    #[must_use]
    pub fn since(self, slot: u32) -> u32 {
        // Multiples of the golden ratio lie evenly in the circle however many there are (Knuth, volume 3, section 6.4).
        let share = slot.wrapping_mul(0x9E37_79B9);
        let moment_ms = ((u64::from(share) * u64::from(self.interval_ms)) >> 32) as u32;
        if self.within_ms >= moment_ms {
            self.within_ms - moment_ms
        } else {
            self.within_ms + self.interval_ms - moment_ms
        }
    }
}

/// What is due after `silent_ms` without a byte, `since_ms` after the connection's last moment.
#[must_use]
pub fn due(silent_ms: u32, pinged: bool, since_ms: u32, rules: &Rules) -> Due {
    match pinged {
        // Where a reload of the settings moved the moments, it is the silence that counts.
        true if silent_ms.min(since_ms) >= rules.heartbeat_timeout_ms => Due::End,
        // Not heard since that moment. Heard in the very millisecond is heard.
        false if silent_ms > since_ms => Due::Ping,
        _ => Due::Nothing,
    }
}

impl Session {
    /// Whether [`Session::sweep`] would do anything, `since_ms` after the connection's last moment ([`Moments::since`]): the cheap
    /// question of each sweep.
    #[must_use]
    pub fn is_due(&self, now: Now, since_ms: u32, rules: &Rules) -> bool {
        let silent_ms = now.tick().since(self.heard);
        match self.phase {
            Phase::Agent(_) | Phase::LinkJson | Phase::LinkBinary | Phase::Echo => {
                due(silent_ms, self.pinged, since_ms, rules) != Due::Nothing || self.is_expired(now)
            }
            Phase::Handshake | Phase::Verifying => silent_ms >= rules.handshake_ms,
            Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Hushed => silent_ms >= rules.close_ms,
            Phase::Dead => false,
        }
    }

    /// Does what time demands.
    pub fn sweep(&mut self, since_ms: u32, lent: &mut Lent<'_>) {
        let silent_ms = lent.now.tick().since(self.heard);
        match self.phase {
            open if open.is_open() && self.is_expired(lent.now) => self.close(Reason::TokenExpired, lent),
            Phase::Agent(_) | Phase::LinkJson | Phase::LinkBinary | Phase::Echo => {
                match due(silent_ms, self.pinged, since_ms, lent.rules) {
                    Due::Nothing => {}
                    Due::Ping => {
                        self.pinged = true;
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

    fn is_expired(&self, now: Now) -> bool {
        self.expires_secs != 0 && now.0 / 1000 >= u64::from(self.expires_secs)
    }

    /// A byte came in.
    pub(super) fn hear(&mut self, now: Now) {
        self.heard = now.tick();
        self.pinged = false;
    }

    /// A pong came in: our pings carry the tick they were sent at. Other pongs are a peer's own heartbeat (RFC 6455 section 5.5.3).
    pub(super) fn pong(&mut self, payload: &[u8], lent: &Lent<'_>) {
        if let Ok(sent) = payload.try_into().map(u32::from_le_bytes) {
            let round_trip_ms = lent.now.tick().since(crate::kit::tick::Tick(sent));
            if round_trip_ms <= lent.rules.heartbeat_ms.saturating_add(lent.rules.heartbeat_timeout_ms) {
                self.round_trip_ms = round_trip_ms;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::websocket::tests::{rules, with_lent};
    use crate::wire::envelope::Encoding;

    #[test]
    fn silence_is_pinged_once_and_then_ended() {
        let rules = rules();
        assert_eq!((rules.heartbeat_ms, rules.heartbeat_timeout_ms), (60_000, 20_000));
        for (silent_ms, pinged, since_ms, expected) in [
            // Heard since its last moment, or at it.
            (0, false, 0, Due::Nothing),
            (59_990, false, 59_999, Due::Nothing),
            (700, false, 700, Due::Nothing),
            (60_000, false, 0, Due::Ping),
            (1, false, 0, Due::Ping),
            (700, true, 0, Due::Nothing),
            (20_500, true, 19_999, Due::Nothing),
            (80_000, true, 20_000, Due::End),
            (20_500, true, 20_000, Due::End),
            // The interval was changed since the ping.
            (19_999, true, 40_000, Due::Nothing),
            (20_000, true, 40_000, Due::End),
            // A connection that could not be swept for long still gets its ping first.
            (500_000, false, 30_000, Due::Ping),
        ] {
            assert_eq!(due(silent_ms, pinged, since_ms, &rules), expected, "{silent_ms} {pinged} {since_ms}");
        }
    }

    #[test]
    fn moments_come_once_an_interval_and_lie_apart() {
        let rules = rules();
        let slots = [0, 1, 2, 777, u32::MAX];
        for slot in slots {
            let mut moments = 0;
            for now in 1_000_000..1_000_000 + u64::from(2 * rules.heartbeat_ms) {
                let since_ms = Moments::around(Now(now), &rules).since(slot);
                assert!(since_ms < rules.heartbeat_ms);
                moments += u32::from(since_ms == 0);
            }
            assert_eq!(moments, 2, "{slot}");
        }
        for agents in [64, 1000, 16_384] {
            // However few there are, no second has many more moments than another.
            let mut in_second = [0_usize; 60];
            for slot in 0..agents {
                in_second[Moments::around(Now(0), &rules).since(slot) as usize / 1000] += 1;
            }
            let (least, most) = (in_second.iter().min(), in_second.iter().max());
            assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 4), "{agents}: {in_second:?}");
        }
    }

    #[test]
    fn a_silent_agent_is_pinged_at_each_of_its_moments_and_at_no_other() {
        let mut session = Session::new(Now(5));
        session.phase = Phase::Agent(Encoding::Json);
        let mut pinged_at = Vec::new();
        for second in 0..200_u64 {
            let now = Now(second * 1000);
            let effects = with_lent(now, |lent| {
                let since_ms = Moments::around(lent.now, lent.rules).since(9);
                session.sweep(since_ms, lent);
            });
            if !effects.is_empty() {
                pinged_at.push(second);
                session.hear(now);
            }
        }
        let apart: Vec<u64> = pinged_at.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!((pinged_at.len(), apart), (3, vec![60, 60]), "{pinged_at:?}");
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
                assert!(!session.is_due(lent.now, 0, lent.rules));
                session.sweep(0, lent);
            });
            assert_eq!(session.reason(), None, "{phase:?}");
            with_lent(Now(deadline_ms), |lent| {
                assert_eq!(session.is_due(lent.now, 0, lent.rules), reason.is_some());
                session.sweep(0, lent);
            });
            assert_eq!(session.reason(), reason, "{phase:?}");
        }
    }

    #[test]
    fn a_token_ends_its_connection() {
        let mut session = Session::new(Now(0));
        session.phase = Phase::Agent(Encoding::Json);
        session.expires_secs = 30;
        let effects = with_lent(Now(29_999), |lent| session.sweep(29_999, lent));
        assert!(effects.is_empty());
        with_lent(Now(30_000), |lent| session.sweep(30_000, lent));
        assert_eq!((session.phase, session.reason()), (Phase::Closing, Some(Reason::TokenExpired)));
    }

    #[test]
    fn a_token_is_good_until_its_last_moment() {
        for (expires, last_good) in [(30_000, 29_999), (30_001, 30_999), (30_999, 30_999)] {
            let mut session = Session::new(Now(0));
            session.phase = Phase::Verifying;
            let nothing = bytes::Bytes::new();
            with_lent(Now(0), |lent| {
                assert!(session.admit(Encoding::Json, Some(Now(expires)), nothing, lent));
                assert!(!session.is_expired(Now(last_good)), "{expires}");
                assert!(session.is_expired(Now(last_good + 1)), "{expires}");
            });
        }
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
