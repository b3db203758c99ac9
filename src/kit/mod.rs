//! Floor 0: small containers, identifiers and clocks that every other floor may use.
//!
//! Nothing here knows of sockets, agents or protocols.

pub mod budget;
pub mod buffer_pool;
pub mod delivery;
pub mod ids;
pub mod labels;
pub mod largest;
pub mod lock;
pub mod memory;
pub mod methods;
pub mod metric;
pub mod network;
pub mod overload;
pub mod pace;
pub mod planted;
pub mod prefix_rates;
pub mod quota;
pub mod retry_after;
pub mod secret;
pub(crate) mod seeds;
pub mod slots;
pub mod tick;
pub mod token_bucket;
