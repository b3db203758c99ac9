//! What a number of agents needs of the host, limit by limit.
//!
//! Pure functions over what was read; owns the sums, with a named addend for each holder. It asks the system nothing.
//! `tuning/apply` reckons with the same numbers, and a test holds the two together.

mod memory;

use super::finding::{Amount, Finding, Verdict, grouped};
use super::machine::{Conntrack, Machine, Place, Tables};
use super::plan::{Plan, derived, fullest, most};
use crate::config::Settings;
use crate::config::derived::descriptors_held;
use crate::net::event_loop::CONNECTIONS_MAX;
use crate::net::listener::BACKLOG;

/// Threads besides loops and workers: main, control, alarm.
const THREADS_BESIDES: u64 = 3;

/// The oldest kernel that spreads connections over listeners of one port (SO_REUSEPORT).
const KERNEL_OLDEST: (u64, u64) = (3, 9);

/// The default of `net.core.somaxconn` since Linux 5.4: less is never asked for.
const BACKLOG_LEAST: u64 = 4096;

/// Loops of a process at most.
const LOOPS_MAX: u64 = 256;

/// Who can change a kernel value from inside a container.
#[derive(Clone, Copy, PartialEq)]
enum Scope {
    /// One value for the host.
    Host,
    /// Each network namespace has its own.
    Namespace,
}

/// Every limit, with what `connections` agents need of it.
#[must_use]
pub fn diagnose(machine: &Machine, settings: &Settings, connections: u64) -> Vec<Finding> {
    let question = Question { machine, settings, plan: Plan::of(machine, settings), connections };
    let mut findings = vec![
        question.kernel(),
        question.cores(),
        question.tables(),
        question.right_to_raise(),
        question.descriptors(),
        question.nr_open(),
        question.slots(),
        question.files(),
        question.watches(),
        question.host_memory(),
    ];
    findings.extend(question.setting());
    findings.extend(question.budget());
    findings.extend(machine.group.memory_max.map(|_| question.group_memory()));
    findings.extend(machine.conntrack.map(|conntrack| question.conntrack(conntrack)));
    findings.extend(question.threads());
    findings.extend([question.tcp_pages(), question.accept_queue(), question.syn_queue(), question.packet_queue()]);
    findings.push(question.ports());
    findings
}

struct Question<'a> {
    machine: &'a Machine,
    settings: &'a Settings,
    plan: Plan,
    connections: u64,
}

impl Question<'_> {
    fn kernel(&self) -> Finding {
        let text = |(major, minor)| Amount::Text(format!("{major}.{minor}"));
        let (have, verdict) = match self.machine.kernel {
            None => (Amount::None, Verdict::Unknown),
            Some(version) if version < KERNEL_OLDEST => (text(version), Verdict::Short),
            Some(version) => (text(version), Verdict::Ok),
        };
        let lift = || "a newer kernel".to_owned();
        Finding::threshold("kernel", "the kernel's version", have, text(KERNEL_OLDEST), verdict, lift)
    }

    fn cores(&self) -> Finding {
        let have = match self.machine.group.processor_milli {
            Some(milli) => Amount::Text(format!("{} ({} of quota)", self.machine.cores, thousandths(milli))),
            None => Amount::Count(self.machine.cores),
        };
        Finding::good_to_know("cores", "processor time", have)
    }

    fn tables(&self) -> Finding {
        let allow = "allow unshare(2) in the seccomp filter: SystemCallFilter=, docker run --security-opt seccomp=FILE";
        let (have, lift) = match &self.machine.tables {
            Tables::Private => ("one a loop", String::new()),
            Tables::Shared(why) => ("one for all", format!("{why}; {allow}")),
        };
        let about = "whether each loop has a table of its own";
        Finding { lift, ..Finding::good_to_know("descriptor tables", about, Amount::Text(have.to_owned())) }
    }

    fn right_to_raise(&self) -> Finding {
        let have = if self.machine.may_raise_limits() { "yes" } else { "no" };
        Finding::good_to_know("CAP_SYS_RESOURCE", "the right to raise own hard limits", Amount::Text(have.to_owned()))
    }

    /// Descriptors of one table that are never a connection's.
    fn held(&self, loops: u64) -> u64 {
        descriptors_held(self.settings, loops)
    }

    /// Descriptors that a table needs for these agents.
    fn table_needs(&self, agents: u64, loops: u64) -> u64 {
        let connections = match self.machine.tables {
            Tables::Private => fullest(agents, loops),
            Tables::Shared(_) => agents,
        };
        connections.saturating_add(self.held(loops))
    }

    fn descriptors(&self) -> Finding {
        let loops = self.plan.loops;
        let need = self.table_needs(self.connections, loops);
        let have = self.machine.descriptors;
        let agents = have.map(|have| most(|agents| self.table_needs(agents, loops) <= have));
        Finding::bound(
            "RLIMIT_NOFILE",
            "the hard limit on descriptors of a table",
            have,
            need,
            agents,
            self.connections,
            || {
                let raise = match (self.machine.place, self.machine.may_raise_limits()) {
                    (Place::Container, _) => format!("docker run --ulimit nofile={need}"),
                    (Place::Host, true) => {
                        format!("LimitNOFILE={need} in the unit, or ulimit -n {need} before the start")
                    }
                    (Place::Host, false) => format!("LimitNOFILE={need} in the unit"),
                };
                let others = [self.setting_that_does(), self.loops_that_do().map(|n| format!("server.loops = {n}"))];
                let others = others.into_iter().flatten().map(|other| format!(", or {other}"));
                raise + &others.collect::<String>()
            },
        )
    }

    /// The fewest loops that hold the agents under the limit on descriptors as it is.
    fn loops_that_do(&self) -> Option<u64> {
        let have = self.machine.descriptors?;
        let more = self.plan.loops.saturating_add(1)..=LOOPS_MAX;
        more.into_iter().find(|loops| self.table_needs(self.connections, *loops) <= have)
    }

    /// `limits.connections`, where the gateway then takes enough loops by itself: where `server.loops` leaves it the choice.
    fn setting_that_does(&self) -> Option<String> {
        let mut settings = self.settings.clone();
        settings.limits.connections = u32::try_from(self.connections).ok()?;
        let loops = u64::try_from(derived(self.machine, &settings).loops).ok()?;
        let enough = self.table_needs(self.connections, loops) <= self.machine.descriptors?;
        enough.then(|| format!("limits.connections = {} (then it takes {loops} loops)", self.connections))
    }

    fn nr_open(&self) -> Finding {
        let loops = self.plan.loops;
        let need = self.table_needs(self.connections, loops);
        let have = self.machine.nr_open;
        let agents = have.map(|have| most(|agents| self.table_needs(agents, loops) <= have));
        let about = "the kernel's bound on limits on descriptors";
        Finding::bound("fs.nr_open", about, have, need, agents, self.connections, || {
            self.sysctl("fs.nr_open", &need.next_multiple_of(65_536).to_string(), Scope::Host)
        })
    }

    fn slots(&self) -> Finding {
        let loops = self.plan.loops;
        let have = u64::from(CONNECTIONS_MAX);
        let agents = most(|agents| fullest(agents, loops) <= have);
        let need = fullest(self.connections, loops);
        Finding::bound(
            "slots of a loop",
            "the table of a loop",
            Some(have),
            need,
            Some(agents),
            self.connections,
            || "raise server.loops".to_owned(),
        )
    }

    fn setting(&self) -> Option<Finding> {
        let have = u64::from(self.settings.limits.connections);
        if have == 0 {
            return None;
        }
        // It is the node's, whichever loop a connection falls on.
        let need = self.connections;
        let about = "the setting `limits.connections`";
        let lift = || format!("limits.connections = {need}, or 0");
        Some(Finding::bound("limits.connections", about, Some(have), need, Some(have), self.connections, lift))
    }

    fn files(&self) -> Finding {
        let held = self.machine.files_used.saturating_add(self.held(self.plan.loops));
        let need = held.saturating_add(self.connections);
        let agents = self.machine.file_max.map(|max| max.saturating_sub(held));
        let about = "open files of the whole host";
        Finding::bound("fs.file-max", about, self.machine.file_max, need, agents, self.connections, || {
            self.sysctl("fs.file-max", &need.to_string(), Scope::Host)
        })
    }

    fn watches(&self) -> Finding {
        // Each loop watches its listener and its waker besides its connections.
        let held = self.plan.loops.saturating_mul(2);
        let need = self.connections.saturating_add(held);
        let agents = self.machine.watches_max.map(|max| max.saturating_sub(held));
        let about = "epoll watches of a user";
        Finding::bound(
            "fs.epoll.max_user_watches",
            about,
            self.machine.watches_max,
            need,
            agents,
            self.connections,
            || self.sysctl("fs.epoll.max_user_watches", &need.to_string(), Scope::Host),
        )
    }

    fn conntrack(&self, conntrack: Conntrack) -> Finding {
        let about = "the table of connection tracking";
        if conntrack.count == 0 {
            let have = format!("{} (tracks nothing now)", grouped(conntrack.max));
            return Finding::good_to_know("nf_conntrack_max", about, Amount::Text(have));
        }
        let need = conntrack.count.saturating_add(self.connections);
        let agents = conntrack.max.saturating_sub(conntrack.count);
        Finding::bound("nf_conntrack_max", about, Some(conntrack.max), need, Some(agents), self.connections, || {
            let raise = self.sysctl("net.netfilter.nf_conntrack_max", &need.to_string(), Scope::Host);
            format!("{raise}, or notrack: tuning/network.md")
        })
    }

    /// Threads: enough or not, whatever the number of agents.
    fn threads(&self) -> Vec<Finding> {
        let need = self.plan.loops.saturating_add(self.plan.workers).saturating_add(THREADS_BESIDES);
        let machine = self.machine;
        let on_host = machine.threads_max.map(|max| max.saturating_sub(machine.threads_used));
        let limits = [
            (
                "cgroup pids",
                machine.group.threads_left,
                "TasksMax=, docker run --pids-limit= or the kubelet's podPidsLimit",
            ),
            ("RLIMIT_NPROC", machine.user_threads, "LimitNPROC= or ulimit -u"),
            ("kernel.threads-max", on_host, "sysctl -w kernel.threads-max"),
        ];
        let finding = |(limit, left, lift): (&'static str, Option<u64>, &str)| {
            let left = left?;
            let verdict = if left < need { Verdict::Short } else { Verdict::Ok };
            let lift = || format!("{lift} for {need} threads more");
            let (have, need) = (Some(left).into(), Amount::Count(need));
            Some(Finding::threshold(limit, "the number of threads", have, need, verdict, lift))
        };
        limits.into_iter().filter_map(finding).collect()
    }

    fn tcp_pages(&self) -> Finding {
        // The kernel charges a page to each socket that has anything queued.
        let used = self.machine.tcp_pages_used;
        let need = used.saturating_add(self.connections);
        let agents = self.machine.tcp_pages.map(|pages| pages.saturating_sub(used));
        let about = "pages for queued bytes, a message to all at once";
        Finding::burst("net.ipv4.tcp_mem", about, self.machine.tcp_pages, need, agents, || {
            let value = format!("'{} {need} {}'", need / 4 * 3, need.saturating_add(need / 2));
            self.sysctl("net.ipv4.tcp_mem", &value, Scope::Host)
        })
    }

    /// Connections that wait, where all come back at once.
    fn waiting(&self) -> u64 {
        self.connections.clamp(BACKLOG_LEAST, u64::from(BACKLOG.unsigned_abs()))
    }

    fn accept_queue(&self) -> Finding {
        let (key, about) = ("net.core.somaxconn", "connections that wait to be accepted");
        let need = self.waiting();
        Finding::burst(key, about, self.machine.somaxconn, need, None, || {
            self.sysctl(key, &need.to_string(), Scope::Namespace)
        })
    }

    fn syn_queue(&self) -> Finding {
        let (key, about) = ("net.ipv4.tcp_max_syn_backlog", "half-open connections");
        let need = self.waiting();
        let lift = || self.sysctl(key, &need.to_string(), Scope::Namespace);
        Finding::burst(key, about, self.machine.syn_backlog, need, None, lift)
    }

    fn packet_queue(&self) -> Finding {
        let (key, about) = ("net.core.netdev_max_backlog", "packets that wait for a core");
        let need = (self.connections / 64).next_power_of_two().clamp(1024, 16_384);
        let lift = || self.sysctl(key, &need.to_string(), Scope::Host);
        Finding::burst(key, about, self.machine.packet_backlog, need, None, lift)
    }

    fn ports(&self) -> Finding {
        let about = "ports of a proxy on this host, for each address of the gateway";
        Finding::good_to_know("net.ipv4.ip_local_port_range", about, self.machine.ports.into())
    }

    /// The command that sets a kernel value, for whoever can.
    fn sysctl(&self, key: &str, value: &str, scope: Scope) -> String {
        match (self.machine.place, scope) {
            (Place::Host, _) => format!("sysctl -w {key}={value}"),
            (Place::Container, Scope::Host) => format!("on the host: sysctl -w {key}={value}"),
            (Place::Container, Scope::Namespace) => {
                format!("docker run --sysctl {key}={value}, or securityContext.sysctls of the pod")
            }
        }
    }
}

fn thousandths(milli: u64) -> String {
    format!("{}.{:03}", milli / 1000, milli % 1000)
}
