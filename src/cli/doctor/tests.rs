//! What `holdfast doctor` says, by what is tested. A host of files is read as it is; a host that has more than enough of everything
//! has one limit made tight at a time.

mod limits;
mod reading;
mod report;

use super::finding::{Finding, Verdict};
use super::machine::{Machine, Place, Tables};
use crate::config::group::Group;
use crate::config::{Settings, defaults};

const MILLION: u64 = 1_000_000;

/// A host that has more than enough of everything for a million agents in two loops.
fn ample() -> Machine {
    Machine {
        kernel: Some((6, 18)),
        cores: 2,
        descriptors: Some(1_048_576),
        user_threads: Some(96_365),
        nr_open: Some(1_048_576),
        file_max: Some(3_000_000),
        files_used: 1000,
        watches_max: Some(5_000_000),
        tcp_pages: Some(3_000_000),
        tcp_pages_used: 0,
        somaxconn: Some(65_535),
        syn_backlog: Some(65_535),
        packet_backlog: Some(16_384),
        ports: Some(28_232),
        conntrack: None,
        memory_total: Some(32 << 30),
        memory_available: Some(24 << 30),
        threads_max: Some(190_000),
        threads_used: 200,
        capabilities: Some(0),
        place: Place::Host,
        group: Group::default(),
        tables: Tables::Private,
    }
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = defaults("node").expect("defaults are valid");
    change(&mut settings);
    settings
}

fn find<'a>(findings: &'a [Finding], limit: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.limit == limit).unwrap_or_else(|| panic!("no {limit} in {findings:#?}"))
}

/// The limits with this verdict.
fn with(findings: &[Finding], verdict: Verdict) -> Vec<&'static str> {
    findings.iter().filter(|finding| finding.verdict == verdict).map(|finding| finding.limit).collect()
}
