//! Where the server is that a run measures: one that runs already, or one that is started for the run.
//!
//! Owns the options that say so, and their defaults. Starting and stopping is `server`'s.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use crate::certificate::Certificate;
use crate::credentials::Signer;
use crate::secrecy::Secrecy;
use crate::server::{Running, Server};
use crate::target::Target;

/// Where a gateway serves agents and backends unless it is told otherwise.
const LISTEN: &str = "127.0.0.1:8080";
const CONTROL: &str = "127.0.0.1:8081";

/// Ids of those options of [`Known`] that speak of a gateway that runs: each rules out what is set at the start of one.
pub const OF_RUNNING: [&str; 7] = ["listen", "control", "link", "server_pid", "secret", "api_key", "dev"];

/// Where a gateway is that runs, and what lets agents and backends in.
#[derive(Args, Clone, Debug)]
pub struct Known {
    /// Address where a gateway that runs serves agents; usually 127.0.0.1:8080.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Address where it serves backends; usually 127.0.0.1:8081.
    #[arg(long)]
    control: Option<SocketAddr>,
    /// Address where it serves control links.
    #[arg(long)]
    link: Option<SocketAddr>,
    /// Its process id, to read what it uses.
    #[arg(long)]
    server_pid: Option<u32>,
    /// It runs with --dev: agents name themselves, no token is sent.
    #[arg(long, conflicts_with = "secret")]
    dev: bool,
    /// Its HS256 secret, with which agents' tokens are made.
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
    /// API key for its control port and its links.
    #[arg(long)]
    api_key: Option<String>,
}

/// Options that say where the server is. With none of [`Known`]'s a gateway is started, and stopped at the end.
#[derive(Args, Clone, Debug)]
pub struct Place {
    #[command(flatten)]
    known: Known,
    /// The program to start where no option speaks of a gateway that runs; `holdfast` beside this one when it is not given.
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Event loops of the gateway that is started; it chooses when this is not given.
    #[arg(long)]
    loops: Option<usize>,
    /// Workers of the gateway that is started; it chooses when this is not given.
    #[arg(long)]
    workers: Option<usize>,
    #[command(flatten)]
    secrecy: Secrecy,
    /// Control links speak TLS too (`link.tls`), under the same certificate.
    #[arg(long, requires = "tls")]
    link_tls: bool,
}

impl Known {
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
            link: self.link,
            signer,
            api_key: self.api_key.clone(),
            tls: None,
            link_tls: None,
        };
        Ok(Server { target, pid: self.server_pid, running: None })
    }

    /// As [`Known::find`], for what needs no agents' tokens: backends, and connections to a server of any kind.
    ///
    /// # Errors
    /// A secret is given that makes no tokens.
    pub fn find_any(&self) -> Result<Server, String> {
        let dev = self.dev || self.secret.is_none();
        Self { dev, ..self.clone() }.find()
    }

    /// Whether no option speaks of a gateway that runs.
    fn is_unsaid(&self) -> bool {
        self.listen.is_none()
            && self.control.is_none()
            && self.link.is_none()
            && self.server_pid.is_none()
            && self.secret.is_none()
            && self.api_key.is_none()
            && !self.dev
    }
}

impl Place {
    /// As [`Place::find_or_start`], for connections that need no credentials, so that any server will do.
    ///
    /// # Errors
    /// The gateway does not start.
    pub fn find_or_start_any(&self) -> Result<Server, String> {
        if self.is_ours() { self.find_or_start(&[]) } else { self.secured(self.known.find_any()?) }
    }

    /// Whether a server is to be started.
    pub fn is_ours(&self) -> bool {
        self.known.is_unsaid()
    }

    /// The running server that the options name, or one that is started with `settings` (key such as `limits.write_deadline`,
    /// value) over what suits a load.
    ///
    /// # Errors
    /// As [`Known::find`]; or the gateway does not start.
    pub fn find_or_start(&self, settings: &[(&str, &str)]) -> Result<Server, String> {
        if !self.is_ours() {
            return self.secured(self.known.find()?);
        }
        let certificate = if self.secrecy.is_on() { Some(Certificate::make()?) } else { None };
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        let files = certificate.as_ref().map(|certificate| (path(certificate.chain()), path(certificate.key())));
        let mut settings = settings.to_vec();
        if let Some((chain, key)) = &files {
            settings.push(("server.tls", "required"));
            settings.push(("tls.keys.0.certificate", chain));
            settings.push(("tls.keys.0.key", key));
            if self.link_tls {
                settings.push(("link.tls", "required"));
            }
        }
        let tls = match &certificate {
            Some(certificate) => Some(self.secrecy.client(&certificate.chain())?),
            None => None,
        };
        let mut running = Running::start(self.gateway.as_deref(), self.loops, self.workers, &settings)?;
        running.certificate = certificate;
        let signer = Signer::new(&running.secret, &running.key_id, None, &self.known.tenant)?;
        let (listen, control, link) = (running.listen, running.control, running.link);
        let link_tls = tls.clone().filter(|_| self.link_tls);
        let target = Target { listen, control, link, signer: Some(signer), api_key: None, tls, link_tls };
        Ok(Server { target, pid: Some(running.pid()), running: Some(running) })
    }

    /// A server that runs, with TLS where it was asked for.
    fn secured(&self, mut server: Server) -> Result<Server, String> {
        let tls = self.secrecy.of_running()?;
        server.target.link_tls = tls.clone().filter(|_| self.link_tls);
        server.target.tls = tls;
        Ok(server)
    }

    /// The same place, where agents speak TLS or do not, and links do not.
    #[must_use]
    pub fn with_tls(&self, tls: bool) -> Self {
        Self { secrecy: self.secrecy.so(tls), link_tls: false, ..self.clone() }
    }

    /// Whether agents speak TLS.
    pub fn has_tls(&self) -> bool {
        self.secrecy.is_on()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        place: Place,
    }

    #[test]
    fn a_gateway_is_started_only_where_no_option_speaks_of_one() {
        for (line, ours) in [
            (&[][..], true),
            (&["--loops", "2", "--workers", "1", "--gateway", "holdfast", "--tenant", "acme"], true),
            (&["--listen", "127.0.0.1:1"], false),
            (&["--control", "127.0.0.1:1"], false),
            (&["--link", "127.0.0.1:1"], false),
            (&["--server-pid", "1"], false),
            (&["--dev"], false),
            (&["--secret", "s"], false),
            (&["--api-key", "k"], false),
        ] {
            let place = Line::try_parse_from([&["x"], line].concat()).unwrap_or_else(|error| panic!("{error}")).place;
            assert_eq!(place.is_ours(), ours, "{line:?}");
            if !ours {
                let target = place.known.find_any().expect("no token is needed").target;
                let usual =
                    ["127.0.0.1:8080", "127.0.0.1:8081"].map(|address| Some(address.parse().expect("an address")));
                let given = [place.known.listen.or(usual[0]), place.known.control.or(usual[1])];
                assert_eq!([Some(target.listen), Some(target.control)], given, "{line:?}");
            }
        }
    }
}
