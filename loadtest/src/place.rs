//! Where the server is that a run measures: one that runs already, or one that is started for the run.
//!
//! Owns the options that say so, and their defaults. Starting and stopping is `server`'s.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::credentials::Signer;
use crate::server::{Running, Server};
use crate::target::Target;

/// Where a gateway serves agents and backends unless it is told otherwise.
const LISTEN: &str = "127.0.0.1:8080";
const CONTROL: &str = "127.0.0.1:8081";

/// Options that say where the server is. With none of them a gateway is started, and stopped at the end.
#[derive(Args, Clone, Debug)]
pub struct Place {
    /// Address where a running gateway serves agents. Without it, --control and --server-pid a gateway is started.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Address where a running gateway serves backends.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Process id of a running gateway, to read what it uses.
    #[arg(long)]
    server_pid: Option<u32>,
    /// The running gateway has --dev: agents name themselves, no token is sent.
    #[arg(long, conflicts_with = "secret")]
    dev: bool,
    /// HS256 secret of a running gateway that agents' tokens are minted with.
    #[arg(long)]
    secret: Option<String>,
    /// Id of that key, as in the gateway's settings.
    #[arg(long, default_value = "load")]
    key_id: String,
    /// Audience of the tokens.
    #[arg(long)]
    audience: Option<String>,
    /// Tenant of agents and backends.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// API key for the control port of a running gateway.
    #[arg(long)]
    api_key: Option<String>,
    /// The program to start; `holdfast` beside this one when it is not given.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Event loops of the gateway that is started; it chooses when this is not given.
    #[arg(long)]
    loops: Option<usize>,
    /// Workers of the gateway that is started; it chooses when this is not given.
    #[arg(long)]
    workers: Option<usize>,
}

impl Place {
    /// The running server that the options name, at the usual addresses where they name none.
    ///
    /// # Errors
    /// Neither a secret nor --dev is given.
    pub fn find(&self) -> Result<Server, String> {
        let signer = match &self.secret {
            None if !self.dev => return Err("a running gateway needs --secret, or --dev".to_owned()),
            None => None,
            Some(secret) => Some(Signer::new(secret, &self.key_id, self.audience.as_deref(), &self.tenant)?),
        };
        let address = |given: Option<SocketAddr>, usual: &str| {
            given.map_or_else(|| usual.parse().map_err(|_| format!("{usual} is no address")), Ok)
        };
        let target = Target {
            listen: address(self.listen, LISTEN)?,
            control: address(self.control, CONTROL)?,
            signer,
            api_key: self.api_key.clone(),
        };
        Ok(Server { target, pid: self.server_pid, running: None })
    }

    /// As [`Place::find_or_start`], for connections that need no credentials, so that any server will do.
    ///
    /// # Errors
    /// The gateway does not start.
    pub fn find_or_start_any(&self) -> Result<Server, String> {
        if self.is_ours() || self.secret.is_some() {
            return self.find_or_start(&[]);
        }
        Self { dev: true, ..self.clone() }.find()
    }

    /// Whether a server is to be started.
    pub fn is_ours(&self) -> bool {
        self.listen.is_none()
            && self.control.is_none()
            && self.server_pid.is_none()
            && self.secret.is_none()
            && !self.dev
    }

    /// The running server that the options name, or one that is started with `settings` (key such as `limits.write_deadline`,
    /// value) over what suits a load.
    ///
    /// # Errors
    /// As [`Place::find`]; or the gateway does not start.
    pub fn find_or_start(&self, settings: &[(&str, &str)]) -> Result<Server, String> {
        if !self.is_ours() {
            return self.find();
        }
        let running = Running::start(self.gateway.as_deref(), self.loops, self.workers, settings)?;
        let signer = Signer::new(&running.secret, &running.key_id, None, &self.tenant)?;
        let target = Target { listen: running.listen, control: running.control, signer: Some(signer), api_key: None };
        Ok(Server { target, pid: Some(running.pid()), running: Some(running) })
    }
}
