//! Counts requests and calls.
//!
//! Owns the metric handles of this floor, looked up once: a request costs an index, not a lookup by name.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use super::route::TABLE;
use crate::calls::Outcome;
use crate::kit::metric;
use crate::work::call_count::{CallCount, Way};
use crate::work::dispatch::NodeView;

/// The route's label of a request that has none.
const NO_ROUTE: &str = "none";

/// Handles of this floor's metrics.
pub struct Count {
    /// For each row of the table, a counter for each of its statuses, in the row's order.
    requests: Vec<Vec<Counter>>,
    calls: CallCount,
    agents: Gauge,
    calls_in_flight: Gauge,
    draining: Gauge,
}

impl Count {
    /// Looks the handles up in the recorder that is installed: install it before.
    #[must_use]
    pub fn new() -> Self {
        let requests = TABLE
            .iter()
            .map(|row| {
                let statuses = row.statuses.iter();
                statuses.map(|status| request_counter(row.template, *status)).collect()
            })
            .collect();
        Self {
            requests,
            calls: CallCount::new(Way::Http),
            agents: gauge!(metric::AGENTS),
            calls_in_flight: gauge!(metric::CALLS_IN_FLIGHT),
            draining: gauge!(metric::DRAINING),
        }
    }

    /// A request was answered; `row` is its index in the table, `None` when it had no route.
    pub fn request(&self, row: Option<usize>, status: u16) {
        let known = row.and_then(|row| {
            let place = TABLE[row].statuses.iter().position(|s| *s == status)?;
            self.requests[row].get(place)
        });
        match known {
            Some(counter) => counter.increment(1),
            // No route, a wrong method, a caller that went away: seldom enough for a lookup.
            None => {
                let template = row.map_or(NO_ROUTE, |row| TABLE[row].template);
                request_counter(template, status).increment(1);
            }
        }
    }

    /// A call ended.
    pub fn call(&self, outcome: &Outcome, took: Duration) {
        self.calls.call(outcome, took);
    }

    /// Sets the gauges that are read from the node when somebody looks.
    pub fn node(&self, node: &NodeView) {
        self.agents.set(node.agents as f64);
        self.calls_in_flight.set(node.calls_in_flight as f64);
        self.draining.set(if node.draining { 1.0 } else { 0.0 });
    }
}

fn request_counter(template: &'static str, status: u16) -> Counter {
    counter!(metric::HTTP_REQUESTS, "route" => template, "status" => status.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn requests_are_counted_by_route_and_status() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let count = Count::new();
            count.request(Some(0), 200);
            count.request(Some(0), 200);
            count.request(Some(0), 504);
            count.request(Some(1), 405);
            count.request(None, 404);
            count.call(&Outcome::Lost, Duration::from_millis(5));
        });
        let text = handle.render();
        for line in [
            "holdfast_http_requests_total{route=\"/v1/agents/{agent}/calls\",status=\"200\"} 2",
            "holdfast_http_requests_total{route=\"/v1/agents/{agent}/calls\",status=\"504\"} 1",
            "holdfast_http_requests_total{route=\"/v1/agents\",status=\"405\"} 1",
            "holdfast_http_requests_total{route=\"none\",status=\"404\"} 1",
            "holdfast_calls_total{outcome=\"lost\",over=\"http\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
