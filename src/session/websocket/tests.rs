//! The life of a session, by bytes in and effects out.
use super::*;
use crate::kit::buffer_pool::BufferPool;
use crate::kit::tick::Now;
use crate::session::rules::Rules;
use crate::wire::upgrade::HeadLimits;

pub(crate) fn rules() -> Rules {
    Rules {
        head: HeadLimits {
            bytes_max: 8192,
            fields_max: 64,
        },
        message_bytes_max: 1 << 20,
        echo_bytes_max: Some(16 << 20),
        turn_frames: 64,
        handshake_ms: 10_000,
        close_ms: 5_000,
        heartbeat_ms: 60_000,
        heartbeat_timeout_ms: 20_000,
    }
}

pub(crate) fn with_lent(now: Now, run: impl FnOnce(&mut Lent<'_>)) -> Vec<Effect> {
    let (rules, mut pool, mut effects) = (rules(), BufferPool::new(4), Vec::new());
    run(&mut Lent {
        now,
        rules: &rules,
        pool: &mut pool,
        effects: &mut effects,
    });
    effects
}
