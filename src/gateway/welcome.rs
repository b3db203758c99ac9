//! What to try next: the text that `serve --dev` prints when it listens.

use crate::config::{self, Settings};

/// The first things to try, to be typed as they stand. `settings` holds the addresses that are listened on.
#[must_use]
pub fn what_to_try(settings: &Settings) -> String {
    let agents = settings.server.listen;
    let control = settings.control.listen;
    let usual = config::defaults(&settings.server.node)
        .is_ok_and(|usual| (usual.server.listen, usual.control.listen) == (agents, control));
    // At the usual addresses the flags would only be noise.
    let (agent_flag, call_flag) = if usual {
        (String::new(), String::new())
    } else {
        (format!(" --url ws://{}", agents), format!(" --url http://{}", control))
    };
    let api = format!("http://{}", control);
    let agent_url = format!("ws://{}/v1/agent?agent=web-1", agents);
    let echo_url = format!("ws://{}/dev/echo", agents);
    format!(
        "\
holdfast listens: agents at {agents}, backends at {control} (--dev: this machine only, no keys)

Try, in a second terminal, an agent that answers each call with what it was given:
  holdfast agent --id web-1{agent_flag} -- cat

and in a third one, call it:
  holdfast call web-1{call_flag} disk.free '{{\"path\":\"/\"}}'
  curl -s {api}/v1/agents/web-1/calls -H 'content-type: application/json' -d '{{\"method\":\"disk.free\",\"params\":{{\"path\":\"/\"}}}}'

Who is connected:   curl -s {api}/v1/agents
Any WebSocket client can be an agent:   {agent_url}
A WebSocket that echoes, to check the path:   {echo_url}
Stop with Ctrl-C.
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_that_are_listened_on() {
        let mut settings = config::defaults("node").expect("defaults are valid");
        let text = what_to_try(&settings);
        assert!(text.contains("\n  holdfast agent --id web-1 -- cat\n"), "{text}");
        assert!(text.contains("\n  holdfast call web-1 disk.free '{\"path\":\"/\"}'\n"), "{text}");
        assert!(text.contains("curl -s http://127.0.0.1:8081/v1/agents/web-1/calls "), "{text}");

        settings.server.listen = "127.0.0.1:9000".parse().expect("an address");
        settings.control.listen = "[::1]:9001".parse().expect("an address");
        let text = what_to_try(&settings);
        assert!(text.contains("ws://127.0.0.1:9000/v1/agent"), "{text}");
        assert!(text.contains("http://[::1]:9001/v1/agents"), "{text}");
        assert!(!text.contains(":8080") && !text.contains(":8081"), "{text}");
    }
}
