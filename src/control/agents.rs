//! `GET /v1/agents`, `GET /v1/agents/{agent}`, `DELETE /v1/agents/{agent}`.
//!
//! Owns how agents look in the API. It changes nothing but what it asks [`crate::work::dispatch::Dispatch`] to change.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use tokio::sync::oneshot;

use super::admitted::Admitted;
use super::answer::{Answer, Media};
use super::confirm;
use super::problem::{Closed, Kind, Problem};
use super::query;
use super::setup::Shared;
use crate::directory::Labels;
use crate::session::reason::Reason;
use crate::work::dispatch::{AgentView, Look, SentAway, disconnection};

/// A page of agents.
#[derive(Serialize)]
struct PageJson<'a> {
    agents: Vec<ListedJson<'a>>,
    next: Option<String>,
}

/// An agent in a page.
#[derive(Serialize)]
struct ListedJson<'a> {
    agent: &'a str,
    protocol: &'static str,
    labels: BTreeMap<&'a str, &'a str>,
}

/// An agent by itself.
#[derive(Serialize)]
struct AgentJson<'a> {
    agent: &'a str,
    protocol: &'static str,
    labels: BTreeMap<&'a str, &'a str>,
    methods: Option<Vec<String>>,
    since: String,
    last_heard: String,
    peer: Option<SocketAddr>,
    calls_in_flight: u32,
    round_trip_ms: Option<u32>,
    bytes_in: u64,
    bytes_out: u64,
    last_close: Option<Closed>,
}

/// Lists agents.
///
/// # Errors
/// 400 when the query is wrong.
pub fn list(shared: &Shared, asked: &Admitted<'_>) -> Result<Answer, Problem> {
    let list = query::list(asked.query)?;
    let page = shared.dispatch.agents(&asked.by, list.filter, list.page.cursor, list.page.limit);
    let agents = page
        .agents
        .iter()
        .map(|listed| ListedJson {
            agent: &listed.id,
            protocol: listed.encoding.subprotocol(),
            labels: labels(&listed.labels),
        })
        .collect();
    let next = page.next.map(query::write_cursor);
    Ok(Answer::json(200, Media::Json, &PageJson { agents, next }))
}

/// Shows one agent.
///
/// # Errors
/// 404 when it is not connected, with its last close where that is remembered; 503 when its loop has too much to do.
pub async fn show(shared: &Arc<Shared>, asked: Admitted<'_>) -> Result<Answer, Problem> {
    let agent = query::agent(asked.agent)?;
    let mut seen = look(shared, &asked, &agent).await?;
    if matches!(seen, Look::JustEnded) {
        seen = look(shared, &asked, &agent).await?;
    }
    match seen {
        Look::Seen(view) => {
            Ok(Answer::json(200, Media::Json, &agent_json(shared, &agent, &view, last_close(shared, &asked, &agent))))
        }
        // Twice its loop said so: no newer connection has taken over.
        Look::NotConnected | Look::JustEnded => Err(offline(shared, &asked, &agent)),
        Look::TooBusy => Err(Problem::new(Kind::Overloaded).agent(&agent)),
    }
}

async fn look(shared: &Shared, asked: &Admitted<'_>, agent: &str) -> Result<Look, Problem> {
    let (tell, told) = oneshot::channel();
    let on_look = Box::new(move |look| {
        // Who asked may be gone.
        let _ = tell.send(look);
    });
    shared.dispatch.describe(&asked.by, agent, on_look);
    told.await.map_err(|_| Problem::new(Kind::Internal).agent(agent))
}

/// Disconnects one agent.
///
/// # Errors
/// 404 when it is not connected, 400 when the query is wrong, 503 when its loop has too much to do, or when it must be written down
/// before and cannot be.
pub async fn disconnect(shared: &Shared, asked: &Admitted<'_>) -> Result<Answer, Problem> {
    let agent = query::agent(asked.agent)?;
    let reason = query::reason(asked.query, Reason::Disconnected.row().text)?;
    confirm::confirm(shared, asked.now, || disconnection(&asked.by, &agent, &reason, "asked")).await?;
    match shared.dispatch.disconnect(asked.now, &asked.by, &agent, &reason) {
        SentAway::Told => Ok(Answer::new(204, Media::Nothing, "")),
        SentAway::NotConnected => Err(offline(shared, asked, &agent)),
        SentAway::TooBusy => Err(Problem::new(Kind::Overloaded).agent(&agent)),
    }
}

fn offline(shared: &Shared, asked: &Admitted<'_>, agent: &str) -> Problem {
    Problem::new(Kind::Offline).agent(agent).last_close(last_close(shared, asked, agent))
}

fn last_close(shared: &Shared, asked: &Admitted<'_>, agent: &str) -> Option<Closed> {
    let close = shared.dispatch.last_close(&asked.by, agent)?;
    Some(shared.closed(close))
}

fn agent_json<'a>(shared: &Shared, agent: &'a str, view: &'a AgentView, last_close: Option<Closed>) -> AgentJson<'a> {
    AgentJson {
        agent,
        protocol: view.encoding.subprotocol(),
        labels: labels(&view.labels),
        methods: view.callable.as_deref().map(|methods| methods.iter().map(ToString::to_string).collect()),
        since: shared.time(view.since),
        last_heard: shared.time(view.last_heard),
        peer: view.peer,
        calls_in_flight: view.calls_in_flight,
        round_trip_ms: view.round_trip_ms,
        bytes_in: view.bytes_in,
        bytes_out: view.bytes_out,
        last_close,
    }
}

fn labels(labels: &Labels) -> BTreeMap<&str, &str> {
    labels.iter().map(|(key, value)| (key.as_ref(), value.as_ref())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_page_is_written_with_its_cursor() {
        let stored: Labels = Arc::from([("region".into(), "eu".into())]);
        let page = PageJson {
            agents: vec![ListedJson { agent: "web-1", protocol: "holdfast.v1.json", labels: labels(&stored) }],
            next: Some(query::write_cursor(255)),
        };
        assert_eq!(
            serde_json::to_value(&page).unwrap(),
            json!({"agents": [{"agent": "web-1", "protocol": "holdfast.v1.json", "labels": {"region": "eu"}}], "next": "ff"})
        );
    }
}
