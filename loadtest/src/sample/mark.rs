//! An exact reading of server and kernel at a quiet moment.

use std::collections::BTreeMap;

use super::kernel::Kernel;
use super::process::{Table, descriptors};
use crate::memory::{Resident, Rough, resident, rough};

/// What server and kernel hold at one moment.
#[derive(Clone, Debug, Default)]
pub struct Mark {
    /// Memory of the server, exact.
    pub process: Resident,
    /// Counters of the server; its page tables are in here.
    pub rough: Rough,
    /// Memory of the kernel, for both ends of loopback connections.
    pub kernel: Kernel,
    /// Descriptors of each of the server's threads; empty where they may not be read.
    pub tables: Vec<Table>,
    /// Bytes by part, such as `tls`, as the server tells them of itself; empty when it does not.
    pub parts: BTreeMap<String, u64>,
}

impl Mark {
    /// Reads it now, without the parts, which only the server can tell. Milliseconds on a server with gigabytes: not for loops.
    ///
    /// # Errors
    /// The server is gone, or belongs to another user.
    pub fn take(pid: u32) -> Result<Self, String> {
        Ok(Self {
            process: resident(pid)?,
            rough: rough(pid)?,
            kernel: Kernel::read()?,
            tables: descriptors(pid).unwrap_or_default(),
            parts: BTreeMap::new(),
        })
    }

    /// The same with the parts that the server tells.
    #[must_use]
    pub fn with_parts(self, parts: BTreeMap<String, u64>) -> Self {
        Self { parts, ..self }
    }

    /// Descriptors in the fullest table; none where one of them may not be read, or is not told by the kernel.
    pub fn fullest_table(&self) -> Option<u64> {
        let open: Option<Vec<u64>> = self.tables.iter().map(|table| table.open).collect();
        open?.into_iter().max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_can_be_marked() {
        let mark = Mark::take(std::process::id()).expect("own process");
        assert!(mark.process.rss > 0 && mark.kernel.light.available > 0);
        assert!(mark.fullest_table().expect("own tables") > 2);
    }
}
