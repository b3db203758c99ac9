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

/// What a silent, open connection is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing yet.
    Nothing,
    /// A ping.
    Ping,
    /// Its end.
    End,
}

/// What is due after `silent_ms` without a byte. `spread` (any number, fixed for a connection) takes up to an eighth off
/// the interval, so that agents that came together do not stay in step.
#[must_use]
pub fn due(silent_ms: u32, pinged: bool, spread: u32, rules: &Rules) -> Due {
    let early = (u64::from(rules.heartbeat_ms / 8) * u64::from(spread % 256) / 256) as u32;
    let interval = rules.heartbeat_ms - early;
    match silent_ms {
        ms if pinged && ms >= interval.saturating_add(rules.heartbeat_timeout_ms) => Due::End,
        ms if !pinged && ms >= interval => Due::Ping,
        _ => Due::Nothing,
    }
}

impl Session {
    /// Whether [`Session::sweep`] would do anything: the cheap question of each sweep.
    #[must_use]
    pub fn is_due(&self, now: Now, spread: u32, rules: &Rules) -> bool {
        let silent_ms = now.tick().since(self.heard);
        match self.phase {
            Phase::Agent(_) | Phase::LinkJson | Phase::LinkBinary | Phase::Echo => {
                due(silent_ms, self.pinged, spread, rules) != Due::Nothing || self.is_expired(now)
            }
            Phase::Handshake | Phase::Verifying => silent_ms >= rules.handshake_ms,
            Phase::Closing | Phase::Finishing | Phase::Lingering | Phase::Hushed => silent_ms >= rules.close_ms,
            Phase::Dead => false,
        }
    }

    /// Does what time demands.
    pub fn sweep(&mut self, spread: u32, lent: &mut Lent<'_>) {
        let silent_ms = lent.now.tick().since(self.heard);
        match self.phase {
            open if open.is_open() && self.is_expired(lent.now) => self.close(Reason::TokenExpired, lent),
            Phase::Agent(_) | Phase::LinkJson | Phase::LinkBinary | Phase::Echo => {
                match due(silent_ms, self.pinged, spread, lent.rules) {
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
        for (silent_ms, pinged, spread, expected) in [
            (59_999, false, 0, Due::Nothing),
            (60_000, false, 0, Due::Ping),
            (52_600, false, 255, Due::Ping),
            (52_000, false, 255, Due::Nothing),
            (60_000, true, 0, Due::Nothing),
            (79_999, true, 0, Due::Nothing),
            (80_000, true, 0, Due::End),
            // A connection that could not be swept for long still gets its ping first.
            (500_000, false, 0, Due::Ping),
        ] {
            assert_eq!(due(silent_ms, pinged, spread, &rules), expected, "{silent_ms} {pinged} {spread}");
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
        let effects = with_lent(Now(29_999), |lent| session.sweep(0, lent));
        assert!(effects.is_empty());
        with_lent(Now(30_000), |lent| session.sweep(0, lent));
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
