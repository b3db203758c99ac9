//! Counts requests and calls.
//!
//! Owns the metric handles of this floor, looked up once: a request costs an index, not a lookup by name.

use std::time::Duration;

use metrics::{Counter, Gauge, counter, gauge};

use super::route::TABLE;
use crate::calls::Outcome;
use crate::kit::metric;
use crate::net::event_loop::LONG_TURNS_MS;
use crate::work::call_count::{CallCount, Way};
use crate::work::dispatch::{NodeView, TurnsView};
use crate::work::holdings::{Holdings, PARTS};

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
    over_budget: Gauge,
    memory_level: Gauge,
    memory_used: Gauge,
    memory_budget: Gauge,
    memory: [Gauge; PARTS.len()],
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
            over_budget: gauge!(metric::OVER_BUDGET),
            memory_level: gauge!(metric::OVERLOAD, "by" => "memory"),
            memory_used: gauge!(metric::MEMORY_USED),
            memory_budget: gauge!(metric::MEMORY_BUDGET),
            memory: PARTS.map(|part| gauge!(metric::MEMORY, "part" => part)),
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
        self.draining.set(f64::from(u8::from(node.draining)));
        self.over_budget.set(f64::from(u8::from(node.over_budget)));
        self.memory_level.set(f64::from(node.memory_level as u8));
        for (index, (level, span)) in node.lags.iter().enumerate() {
            let index = index.to_string();
            gauge!(metric::OVERLOAD, "by" => "lag", "loop" => index.clone()).set(f64::from(*level as u8));
            gauge!(metric::LAG, "loop" => index).set(span.as_secs_f64());
        }
        for (index, turns) in node.turns.iter().enumerate() {
            set_turns(index, turns);
        }
    }

    /// Sets the gauges of what holds the memory.
    pub fn memory(&self, holdings: &Holdings) {
        for (gauge, bytes) in self.memory.iter().zip(holdings.bytes) {
            gauge.set(bytes as f64);
        }
        self.memory_used.set(holdings.used as f64);
        // A gauge that was set stays: a reload that takes the budget away must be seen too.
        self.memory_budget.set(holdings.budget.map_or(f64::INFINITY, |budget| budget as f64));
    }
}

/// Looked up each time: somebody looks a few times a minute.
fn set_turns(index: usize, turns: &TurnsView) {
    let index = index.to_string();
    for (of, longest) in [("wall", turns.longest), ("cpu", turns.longest_cpu)] {
        gauge!(metric::TURN_LONGEST, "loop" => index.clone(), "of" => of).set(longest.as_secs_f64());
    }
    for (over, count) in LONG_TURNS_MS.into_iter().zip(turns.long) {
        let over = (f64::from(over) / 1000.0).to_string();
        counter!(metric::LONG_TURNS, "loop" => index.clone(), "over" => over).absolute(count);
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
    fn turns_and_memory_are_told_when_somebody_looks() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let turns = TurnsView {
                longest: Duration::from_millis(7),
                longest_cpu: Duration::from_millis(2),
                long: [9, 1, 0, 0],
            };
            set_turns(3, &turns);
            let mut holdings = Holdings { used: 5, budget: Some(70), ..Holdings::default() };
            holdings.bytes[0] = 4096;
            Count::new().memory(&holdings);
        });
        let text = handle.render();
        for line in [
            "holdfast_loop_turn_longest_seconds{loop=\"3\",of=\"wall\"} 0.007",
            "holdfast_loop_turn_longest_seconds{loop=\"3\",of=\"cpu\"} 0.002",
            "holdfast_loop_long_turns_total{loop=\"3\",over=\"0.001\"} 9",
            "holdfast_loop_long_turns_total{loop=\"3\",over=\"0.1\"} 0",
            "holdfast_memory_bytes{part=\"slots\"} 4096",
            "holdfast_memory_used_bytes 5",
            "holdfast_memory_budget_bytes 70",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_budget_that_changes_or_goes_leaves_nothing_of_the_old_one() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        metrics::with_local_recorder(&recorder, || {
            let count = Count::new();
            for (budget, told) in [(Some(70), 70.0), (Some(50), 50.0), (None, f64::INFINITY), (Some(90), 90.0)] {
                count.memory(&Holdings { budget, ..Holdings::default() });
                let text = handle.render();
                let value = text.lines().find_map(|line| line.strip_prefix("holdfast_memory_budget_bytes "));
                assert_eq!(value.and_then(|value| value.parse::<f64>().ok()), Some(told), "{text}");
            }
        });
    }

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
