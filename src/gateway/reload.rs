//! SIGHUP: keys and limits are read again. What cannot change while the gateway runs is named; what is wrong changes nothing.

use crate::config::host::Host;
use crate::config::{self, Listed, Server, derived};
use crate::net::limits::{Limits, LinkLimits};
use crate::net::mailbox::Order;

use super::plan::{self, Plan};
use super::{Running, issuers};

/// Settings that take effect at the start alone.
const FIXED: [&str; 25] = [
    "server.listen",
    "server.node",
    "server.loops",
    "server.workers",
    "server.busy_poll",
    "server.proxy_protocol",
    "server.proxy_from",
    "server.tls",
    "control.listen",
    "control.connections",
    "link.listen",
    "link.connections",
    "link.proxy_protocol",
    "link.proxy_from",
    "link.tls",
    "limits.connections",
    "limits.mailbox",
    "limits.worker_queue",
    "limits.worker_queue_bytes",
    "limits.closes_kept",
    "limits.descriptors_reserve",
    "revocations.",
    "webhook.",
    "audit.",
    "log.",
];

/// Reads the settings again and puts in place what can be.
pub(super) fn reload(running: &mut Running) {
    let reloaded = try_reload(running);
    let (outcome, detail) = match &reloaded {
        Ok(fixed) if fixed.is_empty() => ("done", None),
        Ok(fixed) => ("done", Some(format!("need a restart: {}", fixed.join(", ")))),
        // The reason may quote the file: it is for the log of the operator.
        Err(_) => ("failed", None),
    };
    running.auditor.act("reload", outcome, detail);
    match reloaded {
        Ok(fixed) if fixed.is_empty() => tracing::info!("settings read again"),
        Ok(fixed) => {
            tracing::warn!(need_a_restart = fixed.join(", "), "settings read again, but for those that need a restart")
        }
        Err(problem) => tracing::error!("settings not read again, the old ones stay: {problem}"),
    }
}

fn try_reload(running: &mut Running) -> Result<Vec<String>, String> {
    let loaded = config::load(&running.settings.sources).map_err(|problems| problems.to_string())?;
    let (mut settings, fixed) = (loaded.settings, changed(&running.listing, &loaded.listing));
    // The listening addresses stay as they are, also where they were chosen by the kernel.
    let origins = std::mem::take(&mut settings.server.origins);
    settings.server = Server { origins, ..running.settings.server.clone() };
    settings.control.listen = running.settings.control.listen;
    // It is asked as it was at the start: a revocation must not end because the file no longer names whom it may have to outlive.
    settings.webhook = running.settings.webhook.clone();
    (settings.link.listen, settings.link.connections, settings.link.tls) =
        (running.settings.link.listen, running.settings.link.connections, running.settings.link.tls);
    let plan = Plan::of(&settings, running.dev, &derived::derive(&settings, &Host::read()));
    // Everything that can fail comes before anything is put in place.
    let made = issuers::make(&settings, &running.fetcher.bell, &running.rings).map_err(|error| error.to_string())?;
    let (gate, live) = (plan.gate(&settings, made.issuers), plan.live(&settings));
    let (gate, live) = (gate.map_err(|error| error.to_string())?, live.map_err(|error| error.to_string())?);
    running.tls_files.replace(&settings, &running.dispatch)?;
    running.dispatch.set_gate(gate);
    issuers::tell(&running.fetcher, &settings, &made.rings);
    running.rings = made.rings;
    running.shared.swap(live);
    let connections_max = running.dispatch.node(running.dispatch.clock().now()).connections_max_per_loop;
    let link = LinkLimits { connections_max: running.settings.link.connections, ..plan.limits.link };
    let limits = Limits { connections_max, link, ..plan.limits };
    running.dispatch.set_limits(
        settings.limits.calls_per_agent,
        plan::tenant_limits(&settings),
        plan.rules.heartbeat_ms,
        plan.links,
        plan.key_calls,
    );
    running.dispatch.arrivals().set(plan.arrivals.clone());
    running.dispatch.budget().set(plan.budget, plan.memory_levels);
    running.dispatch.tell_loops(|| Order::Limits(Box::new((plan.rules, limits))));
    running.settings = settings;
    Ok(fixed)
}

/// The fixed settings whose values differ.
fn changed(before: &[Listed], after: &[Listed]) -> Vec<String> {
    let is_fixed =
        |key: &str| FIXED.iter().any(|fixed| if fixed.ends_with('.') { key.starts_with(fixed) } else { key == *fixed });
    let differs =
        |new: &&Listed| is_fixed(&new.key) && before.iter().any(|old| old.key == new.key && old.value != new.value);
    after.iter().filter(differs).map(|listed| listed.key.clone()).collect()
}
