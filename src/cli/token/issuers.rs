//! Issuers for `holdfast token verify`: their keys are fetched once, here and now.
//!
//! Owns that a source which is down is told, and stops nobody from hearing about another issuer's token.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::auth::jwks::SetLimits;
use crate::auth::ring::{Ring, Source};
use crate::auth::token::Issuer;
use crate::config::IssuerSettings;
use crate::work::outside::Outside;

/// Issuers and how their keys are fetched, as the settings have them.
#[derive(Clone, Debug)]
pub struct TokenIssuers {
    /// `[[auth.issuers]]`.
    pub issuers: Vec<IssuerSettings>,
    /// How large a set of keys may be.
    pub limits: SetLimits,
    /// Longest time for one fetch.
    pub timeout: Duration,
}

impl TokenIssuers {
    /// The issuers with their keys, and why some have none. `leeway_secs` for those that have none of their own.
    pub(super) fn fetched(&self, leeway_secs: u64) -> (Vec<Issuer>, Vec<String>) {
        let urls: Vec<&str> = self.issuers.iter().filter_map(|issuer| issuer.source.url()).collect();
        let outside = (!urls.is_empty()).then(|| Outside::new(self.timeout, self.limits.bytes_max, &urls));
        let mut failures = Vec::new();
        let mut with_keys = |issuer: &IssuerSettings| {
            // Nobody listens: keys are fetched once.
            let (bell, _) = bounded(1);
            let (name, source) = (issuer.name.clone(), issuer.source.clone());
            let ring = Arc::new(Ring::new(name, source, issuer.algorithms.clone(), self.limits, bell));
            if let Err(why) = fetch(&issuer.source, outside.as_ref()).and_then(|text| ring.put(&text)) {
                failures.push(format!("the keys of issuer {:?} cannot be had: {why}", issuer.name));
            }
            let leeway = issuer.leeway.map_or(leeway_secs, |leeway| leeway.as_secs());
            Issuer::new(issuer.iss.clone(), ring, issuer.audiences.clone(), issuer.tenants.clone(), leeway)
        };
        let issuers = self.issuers.iter().map(&mut with_keys).collect();
        (issuers, failures)
    }
}

fn fetch(source: &Source, outside: Option<&Outside>) -> Result<Vec<u8>, String> {
    match source {
        Source::File(path) => fs::read(path).map_err(|error| format!("{}: {error}", path.display())),
        Source::Url(url) => match outside.ok_or("there is no client")?.get(url)? {
            told if told.status == 200 => Ok(told.body),
            told => Err(format!("the source answered {}", told.status)),
        },
    }
}
