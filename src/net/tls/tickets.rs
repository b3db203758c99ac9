//! Session tickets (RFC 8446 section 4.6.1) under keys that come from outside, so that any node resumes what another began.
//!
//! A ticket is `name of the key, 8 bytes | nonce, 12 bytes | sealed: time, 8 bytes, and state | tag, 16 bytes`, sealed with
//! AES-256-GCM-SIV (RFC 8452): with random nonces and keys that many nodes share for days, a nonce that comes twice must do no
//! harm. The first key seals, all of them open, so a new key can be everywhere before it is the first. It reads no file and no
//! clock.

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Bytes of a key.
pub const KEY_BYTES: usize = 32;
/// Most keys of a set: each one that has been the first in the last hours, and those to come.
pub const KEYS_MAX: usize = 16;
/// Longest life of a ticket (RFC 8446 section 4.6.1), in seconds: seven days.
pub const LIFETIME_MAX: u32 = 7 * 24 * 3600;

/// Bytes that say what a ticket is for; one that is for something else does not open.
pub(super) const CONTEXT_BYTES: usize = 16;

/// How far a ticket may come from the future, in seconds: the clocks of two nodes differ.
const SKEW: u64 = 60;

const NAME_BYTES: usize = 8;
const TIME_BYTES: usize = 8;
const TAG_BYTES: usize = 16;

struct Key {
    name: [u8; NAME_BYTES],
    aead: LessSafeKey,
}

impl Key {
    fn new(bytes: &[u8; KEY_BYTES]) -> Option<Self> {
        let mut name = [0; NAME_BYTES];
        // A hash under a label of its own: the name is public and must say nothing of the key.
        let named = Zeroizing::new([b"holdfast ticket key".as_slice(), bytes].concat());
        name.copy_from_slice(&digest(&SHA256, &named).as_ref()[..NAME_BYTES]);
        let aead = LessSafeKey::new(UnboundKey::new(&AES_256_GCM_SIV, bytes).ok()?);
        Some(Self { name, aead })
    }
}

/// A set of keys for tickets. It does not change: a file that did is a new set.
pub struct Tickets {
    keys: Vec<Key>,
    lifetime: u32,
}

impl Tickets {
    /// Reads the text of a key file: one key a line, 32 bytes in base64 (`openssl rand -base64 32`), the first one seals.
    /// Empty lines and what follows `#` count for nothing. Tickets live for `lifetime` seconds, at most seven days.
    ///
    /// # Errors
    ///
    /// A sentence that says which line is wrong and what to do; never a part of a key.
    pub fn read(text: &str, lifetime: u32) -> Result<Self, String> {
        let mut keys: Vec<Key> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let at = index + 1;
            let bytes = Zeroizing::new(STANDARD.decode(line).map_err(|_| format!("line {at} is not base64"))?);
            let bytes: &[u8; KEY_BYTES] = bytes.as_slice().try_into().map_err(|_| {
                format!(
                    "line {at} has {} bytes instead of {KEY_BYTES}: make one with `openssl rand -base64 32`",
                    bytes.len()
                )
            })?;
            let key = Key::new(bytes).ok_or_else(|| format!("line {at} cannot be used as a key"))?;
            if keys.iter().any(|other| other.name == key.name) {
                return Err(format!("line {at} is a key that is there already"));
            }
            keys.push(key);
        }
        if keys.is_empty() {
            return Err("no key: each line is one, made with `openssl rand -base64 32`".to_owned());
        }
        if keys.len() > KEYS_MAX {
            return Err(format!("{} keys, at most {KEYS_MAX}: take out the oldest", keys.len()));
        }
        Ok(Self { keys, lifetime: lifetime.min(LIFETIME_MAX) })
    }

    /// A set of one random key, for a node that resumes its own sessions alone, until it restarts. `None` if the system
    /// gives no random bytes.
    #[must_use]
    pub fn random(lifetime: u32) -> Option<Self> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(bytes.as_mut_slice()).ok()?;
        Some(Self { keys: vec![Key::new(&bytes)?], lifetime: lifetime.min(LIFETIME_MAX) })
    }

    /// Longest life of a ticket, in seconds.
    pub(super) fn lifetime(&self) -> u32 {
        self.lifetime
    }

    /// Seals a ticket for this context. `now` is in seconds since 1970.
    pub(super) fn seal(&self, context: [u8; CONTEXT_BYTES], now: u64, plain: &[u8]) -> Option<Vec<u8>> {
        let key = self.keys.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut ticket = Vec::with_capacity(NAME_BYTES + NONCE_LEN + TIME_BYTES + plain.len() + TAG_BYTES);
        ticket.extend_from_slice(&key.name);
        ticket.extend_from_slice(&nonce);
        ticket.extend_from_slice(&now.to_be_bytes());
        ticket.extend_from_slice(plain);
        let sealed = &mut ticket[NAME_BYTES + NONCE_LEN..];
        let nonce = Nonce::assume_unique_for_key(nonce);
        let tag = key.aead.seal_in_place_separate_tag(nonce, Aad::from(context), sealed).ok()?;
        ticket.extend_from_slice(tag.as_ref());
        Some(ticket)
    }

    /// Opens a ticket of this context that is not too old.
    pub(super) fn open(&self, context: [u8; CONTEXT_BYTES], now: u64, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_BYTES>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = self.keys.iter().find(|key| key.name == *name)?;
        let mut plain = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = key.aead.open_in_place(nonce, Aad::from(context), &mut plain).ok()?;
        let (made, state) = plain.split_first_chunk::<TIME_BYTES>()?;
        let made = u64::from_be_bytes(*made);
        let fresh = made <= now.saturating_add(SKEW) && now.saturating_sub(made) <= u64::from(self.lifetime);
        fresh.then(|| state.to_vec())
    }
}

impl std::fmt::Debug for Tickets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tickets").field("keys", &self.keys.len()).field("lifetime", &self.lifetime).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const TWO: &str = "ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8=";

    const HERE: [u8; CONTEXT_BYTES] = [7; CONTEXT_BYTES];
    const NOW: u64 = 1_700_000_000;

    fn tickets(text: &str) -> Tickets {
        Tickets::read(text, 3600).expect("they are keys")
    }

    fn sealed(tickets: &Tickets) -> Vec<u8> {
        tickets.seal(HERE, NOW, b"state").expect("it is sealed")
    }

    #[test]
    fn what_another_node_sealed_is_opened_in_any_order_of_keys() {
        let ticket = sealed(&tickets(ONE));
        let after = tickets(&format!("# the new one\n{TWO} # since today\n\n{ONE}\n"));
        let state = Some(b"state".to_vec());
        assert_eq!(after.open(HERE, NOW, &ticket), state);
        assert_eq!(tickets(TWO).open(HERE, NOW, &ticket), None, "its key is gone");
        let newer = sealed(&after);
        assert_eq!(tickets(ONE).open(HERE, NOW, &newer), None, "the first key seals");
        assert_eq!(tickets(TWO).open(HERE, NOW, &newer), state);
    }

    #[test]
    fn a_ticket_is_for_its_context_and_its_time() {
        let tickets = tickets(ONE);
        let ticket = sealed(&tickets);
        let opens = |context, now| tickets.open(context, now, &ticket).is_some();
        assert!(opens(HERE, NOW) && opens(HERE, NOW + 3600) && opens(HERE, NOW - 60));
        assert!(!opens(HERE, NOW + 3601) && !opens(HERE, NOW - 61) && !opens(HERE, 0) && !opens(HERE, u64::MAX));
        assert!(!opens([8; CONTEXT_BYTES], NOW));
    }

    #[test]
    fn a_ticket_that_was_touched_or_cut_is_none() {
        let tickets = tickets(ONE);
        let ticket = sealed(&tickets);
        for at in 0..ticket.len() {
            assert_eq!(tickets.open(HERE, NOW, &ticket[..at]), None, "cut at {at}");
            for bit in 0..8 {
                let mut touched = ticket.clone();
                touched[at] ^= 1 << bit;
                assert_eq!(tickets.open(HERE, NOW, &touched), None, "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn no_two_tickets_are_the_same_and_none_shows_what_it_holds() {
        let tickets = Tickets::random(u32::MAX).expect("there are random bytes");
        let [one, two] = [1, 2].map(|_| tickets.seal(HERE, NOW, b"secret state"));
        assert_ne!(one, two);
        assert!(!one.expect("it is sealed").windows(6).any(|window| window == b"secret"));
        assert_eq!(tickets.lifetime(), LIFETIME_MAX);
        assert_eq!(format!("{tickets:?}"), "Tickets { keys: 1, lifetime: 604800 }");
    }

    #[test]
    fn bad_files_are_refused_by_line_and_without_a_word_of_the_key() {
        let many: String = (0..=KEYS_MAX).map(|n| STANDARD.encode([n as u8; KEY_BYTES]) + "\n").collect();
        let cases = [
            (String::new(), "no key"),
            ("# nothing\n".to_owned(), "no key"),
            (format!("{ONE}\n???"), "line 2 is not base64"),
            ("c2hvcnQ=".to_owned(), "line 1 has 5 bytes instead of 32"),
            (format!("{ONE}\n\n{ONE}"), "line 3 is a key that is there already"),
            (many, "17 keys, at most 16"),
        ];
        for (text, expected) in cases {
            let told = Tickets::read(&text, 1).expect_err("it is bad");
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
