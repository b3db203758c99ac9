//! The limits on memory: the host's, the control group's, and the one that the gateway sets itself.
//!
//! Pure functions; owns the sum of what agents take, and asks the system nothing.

use super::super::finding::{Amount, Finding};
use super::Question;
use crate::config::derived::{BYTES_PER_AGENT, KERNEL_BYTES_PER_CONNECTION};
use crate::kit::budget::BudgetLimit;

/// Memory of a gateway without agents: 2 to 4 MB are measured (`docs/footprint.md`), and buffers in use for some traffic.
const BYTES_OF_EMPTY_GATEWAY: u64 = 16 << 20;

impl Question<'_> {
    /// A limit on memory, in bytes, of which each connection takes this many of the kernel's besides the gateway's.
    fn memory(
        &self,
        limit: &'static str,
        about: &'static str,
        have: Option<u64>,
        kernel_bytes: u64,
        lift: &str,
    ) -> Finding {
        let each = kernel_bytes + BYTES_PER_AGENT;
        let need = self.connections.saturating_mul(each).saturating_add(BYTES_OF_EMPTY_GATEWAY);
        let agents = have.map(|have| have.saturating_sub(BYTES_OF_EMPTY_GATEWAY) / each);
        let finding = Finding::bound(limit, about, have, need, agents, self.connections, || lift.to_owned());
        Finding { have: have.map_or(Amount::None, Amount::Bytes), need: Amount::Bytes(need), ..finding }
    }

    pub(super) fn host_memory(&self) -> Finding {
        let available = self.machine.memory_available;
        self.memory("MemAvailable", "the memory of the host", available, KERNEL_BYTES_PER_CONNECTION, "add memory")
    }

    /// Above its budget the gateway itself lets nobody else in, however much memory there is.
    pub(super) fn budget(&self) -> Option<Finding> {
        let BudgetLimit { bytes_max, kernel_bytes_per_connection } = self.plan.budget;
        if self.plan.budget == BudgetLimit::NONE {
            return None;
        }
        let process = self.connections.saturating_mul(BYTES_PER_AGENT).saturating_add(BYTES_OF_EMPTY_GATEWAY);
        let set = format!("limits.memory = \"{}MiB\"", process.div_ceil(1 << 20));
        let lift = match self.settings.limits.memory {
            0 => format!("add memory, or {set}: then the process' own counts alone"),
            _ => set,
        };
        let about = "the memory above which the gateway lets nobody else in";
        Some(self.memory("limits.memory", about, Some(bytes_max), kernel_bytes_per_connection, &lift))
    }

    pub(super) fn group_memory(&self) -> Finding {
        let about = "the memory of the control group";
        let lift = "MemoryMax=, docker run --memory=, or resources.limits.memory: the kernel's part counts there too";
        self.memory("cgroup memory", about, self.machine.group.memory_left, KERNEL_BYTES_PER_CONNECTION, lift)
    }
}
