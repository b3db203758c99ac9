//! From the settings of issuers to issuers with their keys.
//!
//! Owns which keys outlive a reload: those of an issuer whose URL and algorithms are the same stay in force, whatever is said there
//! meanwhile. A file is read again.

use std::fs;
use std::sync::Arc;

use crossbeam_channel::Sender;

use crate::auth::jwks::SetLimits;
use crate::auth::ring::{Freshness, Ring, Source};
use crate::auth::schedule::FetchPace;
use crate::auth::token::Issuer;
use crate::config::{IssuerSettings, Settings};
use crate::work::key_fetch::{FetchTerms, FetcherDoor, Rounds};

use super::GatewayError;

/// Issuers, and their rings.
pub(super) struct Made {
    pub(super) issuers: Vec<Issuer>,
    pub(super) rings: Vec<Arc<Ring>>,
}

/// Makes the issuers. A file that is no set of keys stops the start, or the reload; a URL is asked later.
pub(super) fn make(settings: &Settings, bell: &Sender<()>, before: &[Arc<Ring>]) -> Result<Made, GatewayError> {
    let mut made = Made { issuers: Vec::new(), rings: Vec::new() };
    for issuer in settings.auth.issuers.iter() {
        let fresh = Arc::new(ring(settings, issuer, bell));
        let ring = match &fresh.source {
            // Into a ring of its own: what else is wrong may yet leave everything as it was.
            Source::File(path) => {
                let named = |why: String| GatewayError(format!("issuer {:?}: {}: {why}", issuer.name, path.display()));
                let text = fs::read(path).map_err(|error| named(error.to_string()))?;
                fresh.put(&text).map_err(named)?;
                fresh
            }
            Source::Url(_) => before.iter().find(|ring| ring.is_same(&fresh)).map_or(fresh, Arc::clone),
        };
        let leeway = issuer.leeway.unwrap_or(settings.auth.leeway).as_secs();
        let (audiences, tenants) = (issuer.audiences.clone(), issuer.tenants.clone());
        made.issuers.push(Issuer::new(issuer.iss.clone(), Arc::clone(&ring), audiences, tenants, leeway));
        made.rings.push(ring);
    }
    Ok(made)
}

fn ring(settings: &Settings, issuer: &IssuerSettings, bell: &Sender<()>) -> Ring {
    let limits = SetLimits { bytes_max: settings.jwks.bytes_max, keys_max: settings.jwks.keys_max };
    Ring::new(issuer.name.clone(), issuer.source.clone(), issuer.algorithms.clone(), limits, bell.clone())
}

/// Tells the thread that fetches: URLs are asked anew, as soon as they may be.
pub(super) fn tell(fetcher: &FetcherDoor, settings: &Settings, rings: &[Arc<Ring>]) {
    for ring in rings.iter().filter(|ring| matches!(ring.source, Source::Url(_))) {
        ring.set_freshness(Freshness::Asked);
    }
    let jwks = &settings.jwks;
    let terms = FetchTerms {
        pace: FetchPace { refresh: jwks.refresh, unknown_pause: jwks.unknown_pause },
        timeout: jwks.timeout,
        bytes_max: jwks.bytes_max,
    };
    fetcher.set(Rounds { rings: rings.to_vec(), terms });
}
