//! Memory that the kernel holds for connections, and what the machine has left.
//!
//! Owns the reading of `/proc/meminfo`, `/proc/net/sockstat` and `/proc/slabinfo`. It knows no process: on loopback both ends of a connection are in it.

use std::fs;

use nix::unistd::{SysconfVar, sysconf};

use super::slab::Slab;
use crate::memory;

/// What the kernel tells of itself at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// By cache; none where this user may not read it.
    pub slab: Option<Slab>,
    /// What everybody may read.
    pub light: Light,
}

/// The part that is cheap to read and open to all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Light {
    /// `MemAvailable`, bytes.
    pub available: u64,
    /// `Slab`: all caches together, bytes.
    pub slab: u64,
    /// `VmallocUsed`, bytes: large descriptor tables are in it.
    pub vmalloc: u64,
    /// Sockets, TCP over IPv4 and IPv6.
    pub tcp: Tcp,
}

/// The TCP line of `/proc/net/sockstat`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Sockets that are open or on their way to it.
    pub in_use: u64,
    /// Sockets that no process holds.
    pub orphans: u64,
    /// Sockets in TIME_WAIT.
    pub time_wait: u64,
    /// Bytes of socket buffers, in whole pages: what `tcp_mem` limits.
    pub buffers: u64,
}

impl Kernel {
    /// Reads it all.
    ///
    /// # Errors
    /// There is no `/proc`, or it is not Linux'.
    pub fn read() -> Result<Self, String> {
        Ok(Self { slab: Slab::read(), light: Light::read()? })
    }
}

impl Light {
    /// Reads it.
    ///
    /// # Errors
    /// There is no `/proc`, or it is not Linux'.
    pub fn read() -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        Self::parse(&read("/proc/meminfo")?, &read("/proc/net/sockstat")?, page_bytes())
            .ok_or_else(|| "/proc/meminfo and /proc/net/sockstat are not as expected".to_owned())
    }

    fn parse(meminfo: &str, sockstat: &str, page_bytes: u64) -> Option<Self> {
        Some(Self {
            available: memory::bytes(meminfo, "MemAvailable:")?,
            slab: memory::bytes(meminfo, "Slab:")?,
            vmalloc: memory::bytes(meminfo, "VmallocUsed:")?,
            tcp: Tcp::parse(sockstat, page_bytes)?,
        })
    }
}

impl Tcp {
    fn parse(sockstat: &str, page_bytes: u64) -> Option<Self> {
        let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
        let fields: Vec<&str> = line.split_whitespace().collect();
        let value = |name: &str| {
            let place = fields.iter().position(|field| *field == name)?;
            fields.get(place + 1)?.parse::<u64>().ok()
        };
        Some(Self {
            in_use: value("inuse")?,
            orphans: value("orphan")?,
            time_wait: value("tw")?,
            buffers: value("mem")?.checked_mul(page_bytes)?,
        })
    }
}

/// Bytes of a page of this machine.
pub fn page_bytes() -> u64 {
    sysconf(SysconfVar::PAGE_SIZE).ok().flatten().and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(4096)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOCKSTAT: &str = "sockets: used 83\nTCP: inuse 61 orphan 2 tw 875 alloc 63 mem 201\nUDP: inuse 0 mem 7\nFRAG: inuse 0 memory 0\n";

    #[test]
    fn the_kernels_texts_are_read() {
        let meminfo = "MemTotal: 24684096 kB\nMemAvailable: 100 kB\nSlab:   30 kB\nVmallocUsed: 5 kB\n";
        let tcp = Tcp { in_use: 61, orphans: 2, time_wait: 875, buffers: 201 * 4096 };
        let light = Light { available: 100 << 10, slab: 30 << 10, vmalloc: 5 << 10, tcp };
        assert_eq!(Light::parse(meminfo, SOCKSTAT, 4096), Some(light));
    }

    #[test]
    fn a_line_that_is_missing_is_no_zero() {
        for sockstat in ["", "UDP: inuse 0 mem 7\n", "TCP: inuse 61 orphan 2 tw 875 alloc 63\n", "TCP: inuse x\n"] {
            assert_eq!(Tcp::parse(sockstat, 4096), None, "{sockstat}");
        }
    }

    #[test]
    fn this_machine_can_be_read() {
        let light = Light::read().expect("a Linux machine");
        assert!(light.available > 0 && light.slab > 0);
    }
}
