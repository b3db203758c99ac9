//! Starts the threads, and stops them in order.

pub mod welcome;

use crate::config::Settings;

/// Why the gateway could not start or had to stop.
#[derive(Debug)]
pub struct GatewayError(String);

impl std::fmt::Display for GatewayError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for GatewayError {}

/// Runs the gateway until it is stopped.
///
/// # Errors
/// Why it could not start.
pub fn run(settings: Settings, dev: bool) -> Result<(), GatewayError> {
    let _ = (settings, dev);
    Err(GatewayError("the gateway is not built yet".to_owned()))
}
