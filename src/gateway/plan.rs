//! From settings to what each floor wants: the one place where names of settings meet names of limits.

use std::sync::Arc;

use crate::auth::api_key::ApiKeys;
use crate::auth::token::Verifier;
use crate::calls::Calls;
use crate::config::Settings;
use crate::config::derived::Derived;
use crate::control::{Access, IdempotencyBounds, Limits as ControlLimits, Live};
use crate::directory::Directory;
use crate::kit::budget::{Budget, BudgetLimit};
use crate::kit::tick::{Clock, millis};
use crate::net::intake::{QueueBytes, QueueLimits};
use crate::net::limits::{Limits, LinkLimits};
use crate::session::rules::Rules;
use crate::wire::upgrade::HeadLimits;
use crate::work::alarm::Alarm;
use crate::work::dispatch::{Dispatch, DispatchParts, LoopDoor};
use crate::work::gate::{Backends, Gate, Openness};
use crate::work::links::LinkTerms;

use super::GatewayError;

/// What turns leave over may take this part of what cut messages may: with the defaults as much as a turn reads again, 256 times
/// 64 KiB.
const KEPT_PART: usize = 4;

/// Settings, as the floors below read them.
pub(super) struct Plan {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) links: LinkTerms,
    pub(super) queue: QueueLimits,
    /// Most connections of the node.
    pub(super) connections: u32,
    pub(super) loops: usize,
    pub(super) workers: usize,
    pub(super) mailbox: usize,
    pub(super) budget: BudgetLimit,
    dev: bool,
}

/// What others see of loops and queues.
pub(super) struct Doors {
    pub(super) loops: Vec<LoopDoor>,
    pub(super) queues: Vec<QueueBytes>,
    pub(super) budget: Arc<Budget>,
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
                turn_frames: limits.turn_frames,
                kept_bytes_max: limits.lease_bytes / KEPT_PART,
                handshake_ms: ms(limits.handshake_deadline),
                close_ms: ms(limits.close_deadline),
                heartbeat_ms: ms(settings.heartbeat.interval),
                heartbeat_timeout_ms: ms(settings.heartbeat.timeout),
            },
            limits: Limits {
                connections_max: derived.connections_per_loop,
                half_open_max: u32::try_from(limits.half_open).unwrap_or(u32::MAX),
                queue_soft: limits.queue_soft,
                queue_hard: limits.queue_hard,
                write_deadline_ms: ms(limits.write_deadline),
                lease_bytes: limits.lease_bytes,
                turn_bytes: limits.turn_bytes,
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
            queue: QueueLimits { batches_max: limits.worker_queue, bytes_max: limits.worker_queue_bytes },
            connections: u32::try_from(derived.connections).unwrap_or(u32::MAX),
            loops: derived.loops,
            workers: derived.workers,
            mailbox: derived.mailbox,
            budget: derived.budget,
            dev,
        }
    }

    pub(super) fn dispatch(
        &self,
        settings: &Settings,
        clock: Clock,
        doors: Doors,
        alarm: Alarm,
    ) -> Result<Dispatch, GatewayError> {
        let limits = &settings.limits;
        Ok(Dispatch::new(DispatchParts {
            name: settings.server.node.clone(),
            epoch: fastrand::u32(..),
            clock,
            directory: Directory::new(limits.calls_per_tenant, limits.closes_kept),
            calls: Calls::new(fastrand::u64(..), limits.calls_per_agent),
            loops: doors.loops,
            queues: doors.queues,
            budget: doors.budget,
            gate: self.gate(settings)?,
            links: self.links,
            heartbeat_ms: self.rules.heartbeat_ms,
            connections_max: self.connections,
            connections_max_per_loop: self.limits.connections_max,
            alarm,
        }))
    }

    /// Who is let in as an agent.
    pub(super) fn gate(&self, settings: &Settings) -> Result<Gate, GatewayError> {
        let audience = Some(settings.auth.audience.as_str()).filter(|audience| !audience.is_empty());
        let leeway_secs = settings.auth.leeway.as_secs();
        let verifier = Verifier::new(&settings.auth.keys.0, audience, leeway_secs).map_err(GatewayError)?;
        let (openness, backends) = match self.dev {
            true => (Openness::Dev, Backends::Dev),
            false => (Openness::TokensOnly, Backends::Keys(ApiKeys::new(&settings.api.keys.0).map_err(GatewayError)?)),
        };
        Ok(Gate { verifier, leeway_secs, openness, backends })
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
        Ok(Live { access, limits })
    }
}
