//! A connection has ended: its agent leaves the directory, and its calls get their outcomes.

use tracing::Level;

use crate::directory::LastClose;
use crate::kit::ids::{AgentSlot, ConnId};
use crate::kit::tick::Now;
use crate::session::reason::Reason;
use crate::work::dispatch::Dispatch;

pub(in crate::work) fn apply(dispatch: &Dispatch, conn: ConnId, agent: AgentSlot, reason: Reason, now: Now) {
    if tracing::enabled!(Level::DEBUG)
        && let Some((tenant, agent)) = dispatch.directory.name(agent, conn)
    {
        let tenant = dispatch.directory.tenant_name(tenant);
        let reason = reason.row().label;
        tracing::debug!(%tenant, %agent, ?conn, reason, "agent disconnected");
    }
    // Out of the directory first: no call is opened for this connection after its calls were ended.
    dispatch.directory.leave(agent, conn, LastClose { reason, at: now });
    dispatch.calls.conn_ended(conn, now);
}
