//! The scenarios, one a file. Each is bounded in time, stops by itself, and leaves one result.
//!
//! What they share is in `run` (server, preflight, agents, samples), `calling` (options of those that only call) and `backends` (calls on a thread
//! of their own); `heartbeat` is the option of those that rest.

pub mod call;
pub mod churn;
pub mod connect;
pub mod echo;
pub mod fanout;
pub mod idle;
pub mod million;
pub mod newcomers;
pub mod slow;
pub mod soak;
pub mod storm;

mod backends;
mod calling;
mod crews;
mod faults;
mod heartbeat;
mod run;
mod trend;
mod visiting;
mod warm;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Args, Command};

    use super::*;
    use crate::{peer, settle};

    /// The longest wait for memory to settle that holds where nothing is said.
    fn settle_default<T: Args>() -> Duration {
        let command = T::augment_args(Command::new("x"));
        let option = |id: &str| command.get_arguments().find(|arg| arg.get_id() == id);
        let (arg, unit) = match option("settle") {
            Some(arg) => (arg, ""),
            None => (option("settle_secs").expect("an option to settle"), "s"),
        };
        let value = arg.get_default_values()[0].to_str().expect("text");
        humantime::parse_duration(&format!("{value}{unit}")).expect("a duration")
    }

    #[test]
    fn memory_has_the_same_time_to_settle_everywhere() {
        let longest = Duration::from_secs(settle::LONGEST_SECS);
        for (name, found) in [
            ("idle", settle_default::<idle::Options>()),
            ("connect", settle_default::<connect::Options>()),
            ("storm", settle_default::<storm::Options>()),
            ("million", settle_default::<million::Options>()),
            ("peer", settle_default::<peer::Options>()),
        ] {
            assert_eq!(found, longest, "{name}");
        }
    }
}
