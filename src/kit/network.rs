//! Networks in CIDR form, and the part of an address that stands for a network.
//!
//! Owns their text form and what belongs to what. It never looks a name up. An IPv4 address that came mapped into IPv6
//! (`::ffff:192.0.2.1`, as a listener for both shows it) is that IPv4 address everywhere here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A network: an address and how many of its leading bits count (RFC 4632 section 3.1, RFC 4291 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether an address belongs to it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => masked_v4(address, self.bits) == first,
            (IpAddr::V6(first), IpAddr::V6(address)) => masked_v6(address, self.bits) == first,
            _ => false,
        }
    }
}

/// Why a text is no network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotANetwork {
    /// Not an IP address, or not a whole number of bits behind the slash.
    Form,
    /// More bits than the address has.
    TooManyBits,
    /// The address has bits that do not count; here is the network that may have been meant.
    BitsBehind(Network),
}

impl fmt::Display for NotANetwork {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Form => out.write_str("must be a network such as \"10.0.0.0/8\" or \"2001:db8::/32\", or an address"),
            Self::TooManyBits => out.write_str("must have at most 32 bits behind the slash, and 128 with IPv6"),
            Self::BitsBehind(meant) => write!(out, "has bits behind its first ones: write \"{meant}\""),
        }
    }
}

impl std::error::Error for NotANetwork {}

impl FromStr for Network {
    type Err = NotANetwork;

    /// `address/bits`, or an address alone.
    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NotANetwork::Form)?;
        // A mapped address would need its bits counted from another place: who means IPv4 writes IPv4.
        if first != first.to_canonical() {
            return Err(NotANetwork::Form);
        }
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|bits| *bits <= most).ok_or(NotANetwork::TooManyBits)?
            }
            Some(_) => return Err(NotANetwork::Form),
        };
        let meant = Self { first: masked(first, bits, bits), bits };
        if meant.first == first { Ok(meant) } else { Err(NotANetwork::BitsBehind(meant)) }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.first, self.bits)
    }
}

/// A few networks, looked through one by one.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd)]
pub struct Networks(pub Vec<Network>);

impl Networks {
    /// Whether an address belongs to any of them.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

/// How many leading bits of an address say whose it is: those behind them are one party's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixBits {
    /// Of an IPv4 address.
    pub v4: u8,
    /// Of an IPv6 address.
    pub v6: u8,
}

impl PrefixBits {
    /// The address with the other bits cleared.
    #[must_use]
    pub fn prefix(self, address: IpAddr) -> IpAddr {
        masked(address.to_canonical(), self.v4, self.v6)
    }
}

fn masked(address: IpAddr, v4_bits: u8, v6_bits: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => masked_v4(address, v4_bits).into(),
        IpAddr::V6(address) => masked_v6(address, v6_bits).into(),
    }
}

fn masked_v4(address: Ipv4Addr, bits: u8) -> Ipv4Addr {
    let mask = u32::MAX.checked_shl(32u32.saturating_sub(bits.into())).unwrap_or(0);
    Ipv4Addr::from_bits(address.to_bits() & mask)
}

fn masked_v6(address: Ipv6Addr, bits: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(128u32.saturating_sub(bits.into())).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_belong_to_their_networks() {
        for (network, inside, outside) in [
            (
                "10.0.0.0/8",
                &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"][..],
                &["11.0.0.0", "9.255.255.255", "::a00:0"][..],
            ),
            ("192.0.2.7", &["192.0.2.7"], &["192.0.2.6", "192.0.2.8"]),
            ("192.0.2.128/25", &["192.0.2.128", "192.0.2.255"], &["192.0.2.127"]),
            ("0.0.0.0/0", &["0.0.0.0", "255.255.255.255", "::ffff:1.2.3.4"], &["::1"]),
            ("2001:db8::/32", &["2001:db8::", "2001:db8:ffff::1"], &["2001:db9::", "10.0.0.1"]),
            ("::1", &["::1"], &["::2", "127.0.0.1"]),
            ("::/0", &["::", "ffff::"], &["1.2.3.4", "::ffff:1.2.3.4"]),
        ] {
            let parsed: Network = network.parse().unwrap();
            inside.iter().for_each(|ip| assert!(parsed.contains(ip.parse().unwrap()), "{ip} in {network}"));
            outside.iter().for_each(|ip| assert!(!parsed.contains(ip.parse().unwrap()), "{ip} in {network}"));
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        use NotANetwork::{BitsBehind, Form, TooManyBits};
        let meant = |text: &str| BitsBehind(text.parse().unwrap());
        for (text, why) in [
            ("", Form),
            ("10.0.0.0/", Form),
            ("10.0.0.0/+8", Form),
            ("10.0.0.0/8/8", Form),
            ("10.0.0.0/ 8", Form),
            (" 10.0.0.0/8", Form),
            ("10.0.0/8", Form),
            ("10.0.0.0/255.0.0.0", Form),
            ("localhost", Form),
            ("::ffff:10.0.0.0/104", Form),
            ("10.0.0.0/33", TooManyBits),
            ("::/129", TooManyBits),
            ("10.0.0.0/999999999999", TooManyBits),
            ("10.0.0.1/8", meant("10.0.0.0/8")),
            ("2001:db8::1/32", meant("2001:db8::/32")),
            ("0.0.0.1/0", meant("0.0.0.0/0")),
        ] {
            assert_eq!(text.parse::<Network>(), Err(why), "{text:?}");
        }
    }

    #[test]
    fn a_prefix_is_whose_the_address_is() {
        let bits = PrefixBits { v4: 24, v6: 56 };
        for (address, prefix) in [
            ("192.0.2.77", "192.0.2.0"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
            ("2001:db8:1:2345::9", "2001:db8:1:2300::"),
        ] {
            assert_eq!(bits.prefix(address.parse().unwrap()), prefix.parse::<IpAddr>().unwrap(), "{address}");
        }
        let whole = PrefixBits { v4: 32, v6: 128 };
        assert_eq!(whole.prefix("1.2.3.4".parse().unwrap()), "1.2.3.4".parse::<IpAddr>().unwrap());
        let none = PrefixBits { v4: 0, v6: 0 };
        assert_eq!(none.prefix("1.2.3.4".parse().unwrap()), "0.0.0.0".parse::<IpAddr>().unwrap());
    }

    proptest! {
        /// Bit by bit, and the text says the same as the value.
        #[test]
        fn a_network_is_its_first_bits(address: u32, other: u32, bits in 0u8..=32) {
            let first = masked_v4(Ipv4Addr::from_bits(address), bits);
            let network: Network = format!("{first}/{bits}").parse().unwrap();
            prop_assert_eq!(network.to_string().parse(), Ok(network));
            let same = (0..u32::from(bits)).all(|bit| (address ^ other) >> (31 - bit) & 1 == 0);
            prop_assert_eq!(network.contains(Ipv4Addr::from_bits(other).into()), same);
        }
    }
}
