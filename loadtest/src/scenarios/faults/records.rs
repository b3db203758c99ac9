//! Faults behind the door: records and frames that are cut or wrong, and new keys.

use std::ops::Range;
use std::time::Instant;

use fastrand::Rng;

use super::Held;
use crate::intruder::{Intruder, half_frame};
use crate::target::Target;

/// Connections of each kind of wrong bytes.
const EACH: u32 = 8;

/// How often a connection changes its keys.
const KEY_CHANGES: u32 = 3;

/// The head of a record of application data (RFC 8446 section 5.2) of so many bytes.
fn record_head(bytes: u16) -> [u8; 5] {
    let [high, low] = bytes.to_be_bytes();
    [23, 3, 3, high, low]
}

/// Agents that send half of something, and then nothing.
///
/// # Errors
/// One is not let in.
pub fn cut(target: &Target, agents: Range<u32>, until: Instant) -> Result<Vec<Held>, String> {
    let mut held = Vec::new();
    for (at, agent) in agents.take(2 * EACH as usize).enumerate() {
        let mut intruder = Intruder::enter(target, agent)?;
        if at % 2 == 0 && target.tls.is_some() {
            intruder.say_below(&[&record_head(200)[..], &[7; 20]].concat())?;
        } else {
            intruder.say(&half_frame())?;
        }
        held.push(Held { intruder, what: "half a record or frame", until, must_end: false });
    }
    Ok(held)
}

/// Bytes that the server must end a connection for.
///
/// # Errors
/// One is not let in where it must be.
pub fn garbage(target: &Target, mut agents: Range<u32>, chance: &mut Rng, until: Instant) -> Result<Vec<Held>, String> {
    let mut held = Vec::new();
    let mut noise = |bytes: usize| {
        let mut noise = vec![0; bytes];
        chance.fill(&mut noise);
        noise
    };
    for _ in 0..EACH {
        let mut intruder = Intruder::dial(target)?;
        // Never the first byte of a record, nor of a method.
        intruder.say_below(&[&[0xff], &noise(200)[..]].concat())?;
        held.push(Held { intruder, what: "noise for a handshake", until, must_end: true });
    }
    let mut wrong = |what, below: bool, bytes: &mut dyn FnMut() -> Vec<u8>| -> Result<(), String> {
        for agent in agents.by_ref().take(EACH as usize) {
            let mut intruder = Intruder::enter(target, agent)?;
            if below {
                intruder.say_below(&bytes())?
            } else {
                intruder.say(&bytes())?
            };
            held.push(Held { intruder, what, until, must_end: true });
        }
        Ok(())
    };
    // Reserved bits (RFC 6455 section 5.2).
    wrong("reserved bits in a frame", false, &mut || vec![0xf1, 0x80, 1, 2, 3, 4])?;
    if target.tls.is_some() {
        wrong("a record that does not open", true, &mut || [&record_head(64)[..], &noise(64)].concat())?;
        wrong("a record that is too long", true, &mut || [&record_head(u16::MAX)[..], &noise(64)].concat())?;
        wrong("a record in the clear", true, &mut || vec![21, 3, 3, 0, 2, 1, 0])?;
    }
    Ok(held)
}

/// Agents that change their keys, and are understood before and after.
///
/// # Errors
/// One is not let in, or not understood.
pub fn key_updates(target: &Target, agents: Range<u32>) -> Result<(), String> {
    for agent in agents.take(EACH as usize) {
        let mut intruder = Intruder::enter(target, agent)?;
        intruder.ping(b"before")?;
        for change in 0..KEY_CHANGES {
            intruder.change_keys()?;
            intruder.ping(&change.to_be_bytes())?;
        }
    }
    Ok(())
}
