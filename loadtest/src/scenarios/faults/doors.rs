//! Faults at the door: handshakes that stop half way, tokens that do not count, and a certificate that changes.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{ENDS_WITHIN, Held};
use crate::credentials::Signer;
use crate::intruder::{Door, Intruder};
use crate::server::Server;
use crate::target::{Target, agent_id, upgrade};

/// Connections of each kind.
const EACH: u32 = 16;

/// Between two looks at which certificate is shown.
const LOOK: Duration = Duration::from_millis(100);

/// Connections that stop half way; the server must end all of them.
///
/// # Errors
/// Nobody is there.
pub fn half_open(target: &Target, agent: u32, until: Instant) -> Result<Vec<Held>, String> {
    let mut request = String::new();
    target.agent_request(agent, &mut request);
    let half = &request.as_bytes()[..request.len() / 2];
    let mut held = Vec::new();
    for _ in 0..EACH {
        let intruder = Intruder::dial(target)?;
        held.push(Held { intruder, what: "no word", until, must_end: true });
        let mut intruder = Intruder::connect(target)?;
        intruder.say(half)?;
        held.push(Held { intruder, what: "half an upgrade", until, must_end: true });
        if let Some(client) = &target.tls {
            let mut hello = Vec::new();
            client.begin(b"", &mut hello).map_err(|failure| failure.to_string())?;
            let mut intruder = Intruder::dial(target)?;
            intruder.say_below(&hello[..hello.len() / 2])?;
            held.push(Held { intruder, what: "half a handshake", until, must_end: true });
        }
    }
    Ok(held)
}

/// Tokens of all kinds that do not count; each must get 401.
///
/// # Errors
/// One got something else.
pub fn bad_tokens(target: &Target, agent: u32) -> Result<(), String> {
    let forger = Signer::new("a secret that the gateway does not know, as long as hers", "load", None, "default")?;
    let id = agent_id(agent);
    let mut forged = String::new();
    forger.append(&id, &mut forged);
    let mut cut = String::new();
    target.signer.as_ref().ok_or("nobody makes tokens")?.append(&id, &mut cut);
    cut.truncate(cut.len() - 5);
    let part = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let claims = format!(r#"{{"sub":"{id}","tenant":"default","exp":9999999999}}"#);
    let unsigned = format!("{}.{}.", part(r#"{"alg":"none","typ":"JWT","kid":"load"}"#), part(&claims));
    for (what, token) in [("forged", forged), ("cut", cut), ("unsigned", unsigned), ("no", "x".to_owned())] {
        let request = upgrade(target.listen, "/v1/agent", &format!("Authorization: Bearer {token}\r\n"));
        for _ in 0..EACH / 4 {
            match Intruder::connect(target)?.ask(&request)? {
                Door::Refused(401) => {}
                other => return Err(format!("a token that is {what}: {other:?}")),
            }
        }
    }
    Ok(())
}

/// Puts another certificate in place and says so with SIGHUP; newcomers must soon see it.
///
/// # Errors
/// They do not.
pub fn new_certificate(server: &Server) -> Result<(), String> {
    let running = server.running.as_ref().ok_or("the gateway is not ours")?;
    let fresh = running.certificate.as_ref().ok_or("the gateway has no certificate")?.renew()?;
    let pid = i32::try_from(running.pid()).map_err(|error| error.to_string())?;
    kill(Pid::from_raw(pid), Signal::SIGHUP).map_err(|error| format!("SIGHUP: {error}"))?;
    let end = Instant::now() + ENDS_WITHIN;
    while Intruder::connect(&server.target)?.certificate() != Some(&fresh) {
        if Instant::now() > end {
            return Err("the new certificate is not shown".to_owned());
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
