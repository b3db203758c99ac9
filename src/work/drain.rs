//! An orderly, paced stop of the agents' side, and of the links.
//!
//! Owns the pace: who is sent away when. It sleeps nowhere; the gateway asks it at each step what to do next.

use std::time::Duration;

use crate::directory::Located;
use crate::kit::tick::{Now, millis};
use crate::session::reason::Reason;
use crate::wire::envelope::{self, Outbound};

use super::dispatch::{Dispatch, SentAway};
use super::links::Stay;

/// Why, in the agents' `goaway`.
const WORDS: &str = "drain";

/// How often the directory is asked again who is left: whoever is on the way out is in it until the connection has ended.
const LIST_AGAIN: Duration = Duration::from_millis(200);

/// Sends all agents away, spread over a window; those with calls in flight when theirs are done.
pub struct Drain {
    begun: Now,
    window_ms: u64,
    /// Everyone who was connected, the next one last.
    queue: Vec<Located>,
    agents: usize,
    lists_again_at: Now,
}

impl Drain {
    /// Notes who is there. New agents are refused already (see [`Dispatch::begin_drain`]).
    #[must_use]
    pub fn begin(dispatch: &Dispatch, now: Now, window: Duration) -> Self {
        let queue = everyone(dispatch);
        Self { begun: now, window_ms: millis(window).max(1), agents: queue.len(), queue, lists_again_at: now }
    }

    /// Puts the queue in an order that does not depend on the directory's hashing, which is seeded at random.
    #[cfg(test)]
    pub(crate) fn sort(&mut self) {
        self.queue.sort_by_key(|located| located.conn);
    }

    /// Sends away as many as the time demands; those that are busy go to the end of the queue. Returns how many are left:
    /// also those that were told and are still on the way out, since the end of the process would cut their last words off.
    ///
    /// Links are told at once, so that their backends turn elsewhere, and are closed when no agent is left: until then they
    /// hear how their calls ended.
    pub fn step(&mut self, dispatch: &Dispatch, now: Now, mut random: impl FnMut(u32) -> u32) -> usize {
        self.tell_links(dispatch, &mut random);
        match self.step_agents(dispatch, now, random) {
            0 => close_links(dispatch),
            left => left,
        }
    }

    /// Tells those that have not been told: at a step before, their loop may have had too many orders waiting, or a worker that did
    /// not see the drain begin let them in since.
    fn tell_links(&self, dispatch: &Dispatch, mut random: impl FnMut(u32) -> u32) {
        let spread_ms = u32::try_from(self.window_ms).unwrap_or(u32::MAX);
        for link in dispatch.links.all().into_iter().filter(|link| link.stay() == Stay::Welcome) {
            let goaway = Outbound::Goaway { reconnect_after_ms: random(spread_ms), reason: WORDS };
            if dispatch.tell_link(link.conn, envelope::encode(link.encoding, &goaway)) {
                link.set_stay(Stay::ToldToGo);
            }
        }
    }

    fn step_agents(&mut self, dispatch: &Dispatch, now: Now, mut random: impl FnMut(u32) -> u32) -> usize {
        let gone_ms = millis(now.since(self.begun)).min(self.window_ms);
        let left = (self.agents as u64 * (self.window_ms - gone_ms) / self.window_ms) as usize;
        if self.queue.is_empty() && now >= self.lists_again_at {
            self.lists_again_at = now.after(LIST_AGAIN);
            // A worker that did not see the drain begin may have let one in since; whoever is on the way out hears nothing new.
            self.queue = everyone(dispatch);
        }
        if dispatch.directory.is_empty() {
            // They left by themselves: nobody is left to be paced.
            self.queue.clear();
        }
        let mut busy = Vec::new();
        while self.queue.len() + busy.len() > left {
            let Some(next) = self.queue.pop() else { break };
            let spread_ms = u32::try_from(self.window_ms).unwrap_or(u32::MAX);
            let goaway = Outbound::Goaway { reconnect_after_ms: random(spread_ms), reason: WORDS };
            if dispatch.calls.in_flight(next.conn) > 0
                || dispatch.send_away(next, Reason::Drain, &goaway) != SentAway::Told
            {
                busy.push(next);
            }
        }
        busy.append(&mut self.queue);
        self.queue = busy;
        self.queue.len().max(dispatch.directory.len())
    }
}

/// Closes the links that have heard how all their calls ended; how many there still are.
fn close_links(dispatch: &Dispatch) -> usize {
    for link in dispatch.links.all() {
        if link.stay() == Stay::ToldToGo && link.is_idle() && dispatch.close_link(link.conn, Reason::Drain) {
            link.set_stay(Stay::SentAway);
        }
    }
    dispatch.links.len()
}

fn everyone(dispatch: &Dispatch) -> Vec<Located> {
    let mut all = Vec::new();
    let mut cursor = Some(0);
    while let Some(from) = cursor {
        let (some, next) = dispatch.directory.sweep(from, 4096);
        all.extend(some);
        cursor = next;
    }
    all
}
