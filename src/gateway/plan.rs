//! From settings to what each floor wants: the one place where names of settings meet names of limits.

use std::sync::Arc;
use std::time::Duration;

use crate::audit::Audit;
use crate::auth::api_key::ApiKeys;
use crate::auth::token::{Issuer, Verifier};
use crate::calls::Calls;
use crate::config::derived::Derived;
use crate::config::{MetricsReaders, ProxyProtocol, Settings};
use crate::control::{Access, IdempotencyBounds, Limits as ControlLimits, Live, MetricsAccess};
use crate::directory::{Directory, TenantLimits};
use crate::kit::budget::{Budget, BudgetLimit};
use crate::kit::network::PrefixBits;
use crate::kit::overload::{Ladder, Mark};
use crate::kit::tick::{Clock, millis};
use crate::kit::token_bucket::Rate;
use crate::net::arrivals::{ArrivalLimits, Arrivals, Balancers};
use crate::net::intake::{QueueBytes, QueueLimits};
use crate::net::limits::{DeflateLimits, Limits, LinkLimits, OverloadLimits};
use crate::net::throttle::AgentRates;
use crate::session::rules::Rules;
use crate::wire::upgrade::HeadLimits;
use crate::work::alarm::Alarm;
use crate::work::dispatch::{Dispatch, DispatchParts, LoopDoor};
use crate::work::gate::{Backends, Gate, Openness};
use crate::work::links::LinkTerms;
use crate::work::webhook::{Webhook, WebhookTerms};

use super::GatewayError;

const SECOND: Duration = Duration::from_secs(1);
/// What turns leave over may take this part of what cut messages may: with the defaults as much as a turn reads again, 256 times
/// 64 KiB.
const KEPT_PART: usize = 4;
/// Queues with less behind their first frame are left alone when the node is overloaded: to cut them would cost calls and give back next to nothing.
const SHED_FROM: usize = 4096;
/// Bytes that a loop compresses in a turn before messages go out plain, some milliseconds' worth: each of a turn's 256 orders may bring one
/// of `deflate.to`.
const DEFLATED_A_TURN: u64 = 512 * 1024;

/// Settings, as the floors below read them.
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) links: LinkTerms,
    pub(super) arrivals: ArrivalLimits,
    pub(super) balancers: Balancers,
    pub(super) key_calls: Option<Rate>,
    pub(super) queue: QueueLimits,
    /// Most connections of the node.
    pub(super) connections: u32,
    pub(super) loops: usize,
    pub(super) workers: usize,
    pub(super) mailbox: usize,
    pub(super) budget: BudgetLimit,
    /// The node's levels of overload, in thousandths of the budget.
    pub(super) memory_levels: Ladder,
    dev: bool,
}

/// What others see of loops and queues.
pub(super) struct Doors {
    pub(super) loops: Vec<LoopDoor>,
    pub(super) queues: Vec<QueueBytes>,
    pub(super) budget: Arc<Budget>,
    pub(super) arrivals: Arc<Arrivals>,
}

impl Plan {
    pub(super) fn of(settings: &Settings, dev: bool, derived: &Derived) -> Self {
        let limits = &settings.limits;
        let ms = |span| u32::try_from(millis(span)).unwrap_or(u32::MAX);
        Self {
            rules: Rules {
                head: HeadLimits { bytes_max: limits.head_max, fields_max: limits.head_fields_max },
                message_bytes_max: limits.message_max as u64,
                link_message_bytes_max: settings.link.message_max as u64,
                echo_bytes_max: dev.then_some(limits.echo_message_max as u64),
                takes_deflate: settings.deflate.mode,
                turn_frames: limits.turn_frames,
                turn_inflated_bytes: limits.turn_bytes as u64,
                kept_bytes_max: limits.lease_bytes / KEPT_PART,
                handshake_ms: ms(limits.handshake_deadline),
                close_ms: ms(limits.close_deadline),
                heartbeat_ms: ms(settings.heartbeat.interval),
                heartbeat_timeout_ms: ms(settings.heartbeat.timeout),
                expiry_notice_secs: u32::try_from(settings.auth.expiry_notice.as_secs()).unwrap_or(u32::MAX),
            },
            limits: Limits {
                connections_max: derived.connections_per_loop,
                half_open_max: u32::try_from(limits.half_open).unwrap_or(u32::MAX),
                queue_soft: limits.queue_soft,
                queue_hard: limits.queue_hard,
                write_deadline_ms: ms(limits.write_deadline),
                lease_bytes: limits.lease_bytes,
                turn_bytes: limits.turn_bytes,
                handshakes_max: derived.handshakes_per_loop,
                deflate: deflate(settings),
                agent_rates: agent_rates(settings),
                overload: OverloadLimits {
                    lag: lag_levels(settings),
                    shed_from: SHED_FROM,
                    patience_ms: ms(settings.overload.patience),
                },
                link: LinkLimits {
                    connections_max: settings.link.connections,
                    queue_soft: settings.link.queue_soft,
                    queue_hard: settings.link.queue_hard,
                },
            },
            links: LinkTerms {
                window: settings.link.window,
                timeout: settings.calls.timeout,
                timeout_max: settings.calls.timeout_max,
            },
            arrivals: arrivals(settings),
            balancers: balancers(settings),
            key_calls: Rate::new(settings.rates.key_calls.into(), SECOND, settings.rates.burst),
            queue: QueueLimits { batches_max: limits.worker_queue, bytes_max: limits.worker_queue_bytes },
            connections: u32::try_from(derived.connections).unwrap_or(u32::MAX),
            loops: derived.loops,
            workers: derived.workers,
            mailbox: derived.mailbox,
            budget: derived.budget,
            memory_levels: memory_levels(settings),
            dev,
        }
    }

    pub(super) fn dispatch(
        &self,
        settings: &Settings,
        clock: Clock,
        doors: Doors,
        alarm: Alarm,
        audit: Audit,
        (issuers, webhook): (Vec<Issuer>, Option<Arc<Webhook>>),
    ) -> Result<Dispatch, GatewayError> {
        let limits = &settings.limits;
        Ok(Dispatch::new(DispatchParts {
            name: settings.server.node.clone(),
            epoch: fastrand::u32(..),
            clock,
            directory: Directory::new(tenant_limits(settings), limits.closes_kept),
            calls: Calls::new(fastrand::u64(..), limits.calls_per_agent),
            loops: doors.loops,
            queues: doors.queues,
            budget: doors.budget,
            arrivals: doors.arrivals,
            key_calls: self.key_calls,
            gate: self.gate(settings, issuers)?,
            links: self.links,
            heartbeat_ms: self.rules.heartbeat_ms,
            connections_max: self.connections,
            connections_max_per_loop: self.limits.connections_max,
            alarm,
            audit,
            webhook,
        }))
    }

    /// Who is let in as an agent.
    pub(super) fn gate(&self, settings: &Settings, issuers: Vec<Issuer>) -> Result<Gate, GatewayError> {
        let audience = Some(settings.auth.audience.as_str()).filter(|audience| !audience.is_empty());
        let leeway_secs = settings.auth.leeway.as_secs();
        let lifetime_max_secs = settings.lifetime_max_secs();
        let verifier = Verifier::new(&settings.auth.keys.0, audience, leeway_secs)
            .map_err(GatewayError)?
            .with_issuers(issuers)
            .with_lifetime_max(lifetime_max_secs);
        let leeways = settings.auth.issuers.iter().filter_map(|issuer| issuer.leeway);
        let leeway_secs = leeways.map(|leeway| leeway.as_secs()).fold(leeway_secs, u64::max);
        let (openness, backends) = match self.dev {
            true => (Openness::Dev, Backends::Dev),
            false => (Openness::TokensOnly, Backends::Keys(ApiKeys::new(&settings.api.keys.0).map_err(GatewayError)?)),
        };
        let origins = settings.server.origins.clone();
        // A webhook's logins and certificates may live for longer, so nothing is known of when a revocation has outlived them.
        let is_bound = settings.webhook.url.is_empty() && settings.tls.client_identity.is_empty();
        let lifetime_max_secs = lifetime_max_secs.filter(|_| is_bound);
        Ok(Gate { verifier, leeway_secs, lifetime_max_secs, openness, backends, origins })
    }

    /// Who may use the control port, and how.
    pub(super) fn live(&self, settings: &Settings) -> Result<Live, GatewayError> {
        let access = match self.dev {
            true => Access::Dev,
            false => Access::Keys(ApiKeys::new(&settings.api.keys.0).map_err(GatewayError)?),
        };
        let (calls, limits) = (&settings.calls, &settings.limits);
        let limits = ControlLimits {
            body_bytes_max: settings.control.body_max,
            timeout: calls.timeout,
            timeout_max: calls.timeout_max,
            idempotency: IdempotencyBounds {
                window: calls.idempotency_window,
                keys_max: calls.idempotency_max,
                bytes_max: calls.idempotency_bytes,
            },
            connections_max: settings.control.connections,
            head_bytes_max: limits.head_max.max(8192),
            head_fields_max: limits.head_fields_max,
            head_timeout: limits.handshake_deadline,
            idle_timeout: settings.control.idle,
        };
        let metrics = match settings.control.metrics {
            MetricsReaders::Everybody => MetricsAccess::Open,
            MetricsReaders::KeysThatObserve => MetricsAccess::Keyed,
        };
        Ok(Live { access, limits, metrics })
    }
}

/// What is compressed on its way to agents. With compression turned off, those that agreed on it before are sent plain messages.
fn deflate(settings: &Settings) -> Option<DeflateLimits> {
    let deflate = &settings.deflate;
    let limits = DeflateLimits { from: deflate.from, to: deflate.to, turn: DEFLATED_A_TURN, level: deflate.level };
    deflate.mode.then_some(limits)
}

/// Levels by memory, in thousandths of the budget. Below a level by a twentieth of the budget it is left, as the budget itself is. Memory that was
/// asked for is gone: there is nothing to wait for before a level is entered.
fn memory_levels(settings: &Settings) -> Ladder {
    let overload = &settings.overload;
    let marks = [100, overload.memory_shed, overload.memory_close].map(|percent| {
        let enter = u64::from(percent) * 10;
        Mark { enter, leave: enter - 50 }
    });
    Ladder { marks, rise: Duration::ZERO, fall: overload.fall }
}

/// Levels by the lag of a loop, in milliseconds; each is left at half of it.
fn lag_levels(settings: &Settings) -> Ladder {
    let overload = &settings.overload;
    let marks = [overload.lag_refuse, overload.lag_shed, overload.lag_close].map(|span| {
        let enter = millis(span);
        Mark { enter, leave: enter.div_ceil(2) }
    });
    Ladder { marks, rise: overload.rise, fall: overload.fall }
}

/// How the webhook is asked, where there is one.
pub(super) fn webhook(settings: &Settings) -> Option<WebhookTerms> {
    let webhook = &settings.webhook;
    (!webhook.url.is_empty()).then(|| WebhookTerms {
        url: webhook.url.clone(),
        secret: settings.webhook_secret.clone(),
        timeout: webhook.timeout,
        bytes_max: webhook.bytes_max,
        allowed_kept: webhook.allowed_kept,
        refused_kept: webhook.refused_kept,
        kept_max: webhook.kept_max,
        threads: webhook.threads,
        waiting_max: webhook.waiting_max,
    })
}

/// How often somebody may come.
fn arrivals(settings: &Settings) -> ArrivalLimits {
    let rates = &settings.rates;
    let bits = |bits: u32| u8::try_from(bits).unwrap_or(u8::MAX);
    ArrivalLimits {
        accepts: Rate::new(rates.accepts.into(), SECOND, rates.burst),
        prefix_accepts: Rate::new(rates.prefix_accepts.into(), SECOND, rates.burst),
        prefix_failed_logins: Rate::new(rates.prefix_failed_logins.into(), 60 * SECOND, rates.burst),
        prefix: PrefixBits { v4: bits(rates.prefix_v4), v6: bits(rates.prefix_v6) },
        prefixes: rates.prefixes,
        exempt: rates.exempt.clone(),
    }
}

/// Whose headers are believed, by port.
fn balancers(settings: &Settings) -> Balancers {
    let (server, link) = (&settings.server, &settings.link);
    [(server.proxy_protocol, &server.proxy_from), (link.proxy_protocol, &link.proxy_from)]
        .map(|(header, from)| (header == ProxyProtocol::Required).then(|| from.clone()))
}

/// How fast an agent may send. What a second brings may come at once whatever the settings say: with less an agent would be read for
/// a few bytes at a time.
fn agent_rates(settings: &Settings) -> AgentRates {
    let rates = &settings.rates;
    let depth = rates.burst.max(SECOND);
    AgentRates {
        messages: Rate::new(rates.agent_messages.into(), SECOND, depth),
        bytes: Rate::new(rates.agent_bytes as u64, SECOND, depth),
    }
}

/// What each tenant may have.
pub(super) fn tenant_limits(settings: &Settings) -> TenantLimits {
    let agents = settings.limits.connections_per_tenant;
    TenantLimits { calls: settings.limits.calls_per_tenant, agents: if agents == 0 { u32::MAX } else { agents } }
}
