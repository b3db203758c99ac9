//! What to try next: the text that `serve --dev` prints when it listens.

use std::ffi::OsString;
use std::net::SocketAddr;

use crate::config::{self, PortTls, Settings};

/// How this program is called again, from the first of its own `arguments`. `holdfast` where that is no plain word for a shell.
#[must_use]
pub fn program(mut arguments: impl Iterator<Item = OsString>) -> String {
    let is_plain =
        |name: &String| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"/._-+".contains(&b));
    let typed = arguments.next().and_then(|name| name.into_string().ok());
    typed.filter(is_plain).unwrap_or_else(|| "holdfast".to_owned())
}

/// The first things to try, to be typed as they stand. `program` is how to call this program, `settings` holds the addresses
/// that are listened on.
#[must_use]
pub fn what_to_try(program: &str, settings: &Settings) -> String {
    let agents = settings.server.listen;
    let control = settings.control.listen;
    let usual = config::defaults(&settings.server.node)
        .is_ok_and(|usual| (usual.server.listen, usual.control.listen) == (agents, control));
    let (agents_at, agent_trust) = reached(settings, agents, settings.server.tls);
    // At the usual addresses the flags would only be noise.
    let agent_flag = match usual && agent_trust.is_empty() {
        true => String::new(),
        false => format!(" --url {agents_at}{agent_trust}"),
    };
    let call_flag = if usual { String::new() } else { format!(" --url http://{control}") };
    let api = format!("http://{}", control);
    let agent_url = format!("{agents_at}/v1/agent?agent=web-1");
    let echo_url = format!("{agents_at}/dev/echo");
    let (link, link_call) = match settings.link.listen {
        Some(link) => {
            let (at, trust) = reached(settings, link, settings.link.tls);
            (format!(", control links at {link}"), format!("\n  {program} call --link {at}{trust} web-1 disk.free"))
        }
        None => (String::new(), String::new()),
    };
    format!(
        "\
holdfast listens: agents at {agents}, backends at {control}{link} (--dev: this machine only, no keys)

Try, in a second terminal, an agent that answers each call with what it was given:
  {program} agent --id web-1{agent_flag} -- cat

and in a third one, call it:
  {program} call web-1{call_flag} disk.free '{{\"path\":\"/\"}}'
  curl -s {api}/v1/agents/web-1/calls -d '{{\"method\":\"disk.free\",\"params\":{{\"path\":\"/\"}}}}'{link_call}

Who is connected:   curl -s {api}/v1/agents
Any WebSocket client can be an agent:   {agent_url}
A WebSocket that echoes, to check the path:   {echo_url}
Stop with Ctrl-C.
"
    )
}

/// The URL of a port, and the flags that let a client of ours trust it. With TLS the URL has a name of the first certificate, and the
/// certificate's own file is what to trust: it is that of whoever tries TLS on one machine.
fn reached(settings: &Settings, address: SocketAddr, tls: PortTls) -> (String, String) {
    if tls == PortTls::Off {
        return (format!("ws://{address}"), String::new());
    }
    let names = settings.secure.iter().flat_map(|secure| &secure.names);
    let host = names.into_iter().find(|name| !name.starts_with('*')).cloned();
    let host = host.unwrap_or_else(|| address.ip().to_string());
    let chain = settings.tls.keys.0.first().map(|files| format!(" --ca {}", files.chain.display()));
    (format!("wss://{host}:{}", address.port()), chain.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::certificate_files::CertificateFiles;

    #[test]
    fn addresses_are_those_that_are_listened_on() {
        let mut settings = config::defaults("node").expect("defaults are valid");
        let text = what_to_try("holdfast", &settings);
        assert!(text.contains("\n  holdfast agent --id web-1 -- cat\n"), "{text}");
        assert!(text.contains("\n  holdfast call web-1 disk.free '{\"path\":\"/\"}'\n"), "{text}");
        assert!(text.contains("curl -s http://127.0.0.1:8081/v1/agents/web-1/calls "), "{text}");

        settings.server.listen = "127.0.0.1:9000".parse().expect("an address");
        settings.control.listen = "[::1]:9001".parse().expect("an address");
        let text = what_to_try("holdfast", &settings);
        assert!(text.contains("ws://127.0.0.1:9000/v1/agent"), "{text}");
        assert!(text.contains("http://[::1]:9001/v1/agents"), "{text}");
        assert!(!text.contains(":8080") && !text.contains(":8081"), "{text}");
    }

    #[test]
    fn ports_with_tls_are_reached_by_the_name_in_their_certificate() {
        let mut settings = config::defaults("node").expect("defaults are valid");
        settings.link.listen = Some("127.0.0.1:9002".parse().expect("an address"));
        let files = |chain: &str| CertificateFiles { chain: chain.into(), key: "k.pem".into(), ocsp: None };
        settings.tls.keys.0.push(files("gateway.pem"));
        settings.server.tls = PortTls::Required;
        let text = what_to_try("holdfast", &settings);
        assert!(
            text.contains("holdfast agent --id web-1 --url wss://127.0.0.1:8080 --ca gateway.pem -- cat\n"),
            "{text}"
        );
        assert!(
            text.contains("wss://127.0.0.1:8080/dev/echo") && text.contains("--link ws://127.0.0.1:9002 "),
            "{text}"
        );
        assert!(text.contains("call web-1 disk.free"), "{text}");
        settings.link.tls = PortTls::Required;
        let text = what_to_try("holdfast", &settings);
        assert!(text.contains("--link wss://127.0.0.1:9002 --ca gateway.pem web-1 disk.free\n"), "{text}");
    }

    #[test]
    fn control_links_are_told_of_where_they_are_served() {
        let mut settings = config::defaults("node").expect("defaults are valid");
        assert!(!what_to_try("holdfast", &settings).contains("link"));
        settings.link.listen = Some("127.0.0.1:9002".parse().expect("an address"));
        let text = what_to_try("holdfast", &settings);
        assert!(text.contains(", control links at 127.0.0.1:9002 (--dev"), "{text}");
        assert!(text.contains("\n  holdfast call --link ws://127.0.0.1:9002 web-1 disk.free\n"), "{text}");
    }

    #[test]
    fn commands_begin_as_this_program_was_called() {
        for (typed, called) in [
            (Some("target/release/holdfast"), "target/release/holdfast"),
            (Some("/opt/hold-fast_1.0/holdfast"), "/opt/hold-fast_1.0/holdfast"),
            (Some("/my files/holdfast"), "holdfast"),
            (Some("$(id)"), "holdfast"),
            (Some(""), "holdfast"),
            (None, "holdfast"),
        ] {
            let program = program(typed.into_iter().map(OsString::from));
            assert_eq!(program, called);
        }
        let text = what_to_try("./hf", &config::defaults("node").expect("defaults are valid"));
        assert!(text.contains("\n  ./hf agent --id web-1 ") && text.contains("\n  ./hf call web-1 "), "{text}");
    }
}
