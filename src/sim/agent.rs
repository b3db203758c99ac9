//! What a simulated agent does with what it is told: it answers, late, twice, for others, or not at all.

use crate::kit::ids::CallId;
use crate::wire::envelope::agent_side::{FromAgent, FromGateway, decode_from_gateway, encode_from_agent};
use crate::wire::envelope::{Encoding, Payload};

use super::client::{Act, Client, Role, Surroundings};
use super::frames::nonce_in;

/// The code of an agent's own error.
const AGENT_CODE: i32 = 7;

/// The answer to a call: it names the call and the connection that it came in on.
pub(super) fn answer(nonce: u64, socket: usize) -> String {
    format!("{{\"answer\":\"nonce-{nonce:08x}\",\"socket\":{socket}}}")
}

impl Client {
    /// An envelope came in.
    pub(super) fn told(&mut self, message: &[u8], around: &mut Surroundings<'_>) {
        let Role::Agent(_, encoding) = self.role else {
            return;
        };
        let envelope = decode_from_gateway(encoding, message).expect("the gateway writes envelopes");
        let FromGateway::Call { call, params, .. } = envelope else {
            return;
        };
        let nonce = nonce_in(params.bytes).expect("every call carries its nonce");
        around.kernel.note(format_args!("socket {}: agent has call {nonce}", self.socket));
        around.ledger.received(nonce, call, self.socket);
        self.plan_answers(encoding, call, nonce, around);
    }

    fn plan_answers(&mut self, encoding: Encoding, call: CallId, nonce: u64, around: &mut Surroundings<'_>) {
        let (now, odds) = (around.kernel.now, around.kernel.odds.clone());
        if around.rng.bool() {
            around.ledger.receipted(nonce, self.socket);
            let bytes = encode_from_agent(encoding, &FromAgent::Receipt { call });
            self.plan(now, Act::Message(bytes, None));
        }
        if around.chance(odds.garbage) {
            self.plan(now + around.rng.u64(0..20), Act::Message(garbage(encoding), None));
        }
        if around.chance(odds.agent_foreign)
            && let Some(other) = around.ledger.some_call(self.socket, around.rng)
        {
            let payload = json("{\"forged\":true}");
            let bytes = encode_from_agent(encoding, &FromAgent::Result { call: other, payload });
            self.plan(now + around.rng.u64(0..20), Act::Message(bytes, None));
        }
        if around.chance(odds.agent_mute) {
            return;
        }
        let late = if around.chance(odds.agent_late) { around.rng.u64(500..4000) } else { around.rng.u64(0..60) };
        let times = if around.chance(odds.agent_double) { 2 } else { 1 };
        for _ in 0..times {
            let words = answer(nonce, self.socket);
            let bytes = if around.rng.u8(..) < 40 {
                let data = Some(json(&words));
                encode_from_agent(encoding, &FromAgent::Error { call, code: AGENT_CODE, message: "no", data })
            } else {
                encode_from_agent(encoding, &FromAgent::Result { call, payload: json(&words) })
            };
            self.plan(now + late, Act::Message(bytes, Some(nonce)));
        }
        if around.chance(odds.peer_half_close) {
            // It answers and leaves, in one breath.
            for _ in 0..around.rng.u32(0..8) {
                self.plan(now, Act::Ping);
            }
            self.plan(now, Act::HalfClose);
        }
    }
}

fn json(text: &str) -> Payload<'_> {
    Payload { bytes: text.as_bytes(), json: true }
}

fn garbage(encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Json => b"{\"jsonrpc\":\"2.0\",\"method\":".to_vec(),
        Encoding::Binary => vec![0xEE; 16],
    }
}
