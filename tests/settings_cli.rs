//! The command line from outside: exit codes, what goes to which stream, and sentences that name what to change.

use std::path::PathBuf;
use std::process::{Command, Output};

fn holdfast(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.args(arguments).env_clear().envs(env.iter().copied());
    command.output().expect("the program starts")
}

/// Exit code, standard output, standard error.
fn told(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A file of this test's own.
fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).expect("the directory is writable");
    path
}

#[test]
fn the_default_configuration_is_in_effect_when_it_is_given() {
    let (code, default_config, err) = told(&holdfast(&["default-config"], &[]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let path = file("default.toml", &default_config);
    let path = path.to_str().expect("UTF-8");
    let (code, given, err) = told(&holdfast(&["check-config", "--config", path], &[]));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    let (_, absent, _) = told(&holdfast(&["check-config"], &[]));
    // Only the places where values were typed differ.
    let values = |report: &str| -> Vec<String> {
        let lines = report.lines().map(|line| line.split("  # ").next().unwrap_or_default());
        lines.map(str::to_owned).collect()
    };
    assert_eq!(values(&given), values(&absent));
    assert!(given.contains("calls.timeout = \"20s\"  # "), "{given}");
    assert!(given.contains("default.toml:"), "{given}");
}

#[test]
fn all_problems_go_to_standard_error_with_exit_code_2() {
    let path = file("wrong.toml", "[limits]\nmesage_max = \"1MiB\"\n[drain]\nwindow = \"0s\"\n");
    let path = path.to_str().expect("UTF-8");
    for command in ["check-config", "serve"] {
        let env = [("HOLDFAST_LOG__LEVL", "info"), ("HOLDFAST_TOKEN", "x")];
        let (code, out, err) = told(&holdfast(&[command, "--config", path], &env));
        let expected = format!(
            "holdfast: 3 problems in the settings:\n  \
             {path}:2: unknown key `limits.mesage_max`, did you mean `message_max`?\n  \
             HOLDFAST_LOG__LEVL: unknown key `log.levl`, did you mean `level`?\n  \
             {path}:4: `drain.window` is \"0s\", must lie between \"1ms\" and \"1day\"\n"
        );
        assert_eq!((code, out.as_str(), err.as_str()), (Some(2), "", expected.as_str()));
    }
}

#[test]
fn flags_that_are_wrong_are_told_by_name() {
    let cases: [(&[&str], &str); 4] = [
        (
            &["serve", "--loops", "many"],
            "holdfast: --loops: `server.loops` is \"many\", must be a whole number, not negative\n",
        ),
        (
            &["serve", "--listen", "8080"],
            "holdfast: --listen: `server.listen` is \"8080\", must be an IP address with a port, such as \"127.0.0.1:8080\" or \"[::]:8080\"\n",
        ),
        (
            &["serve", "--dev", "--listen", "0.0.0.0:8080"],
            "holdfast: --dev admits everybody, so it listens on loopback addresses alone, but `server.listen` is 0.0.0.0:8080: use 127.0.0.1 or [::1], or leave --dev out and configure keys\n",
        ),
        (
            &["check-config", "--config", "/no/such/file.toml"],
            "holdfast: /no/such/file.toml: cannot read the configuration file: No such file or directory (os error 2)\n",
        ),
    ];
    for (arguments, expected) in cases {
        let (code, out, err) = told(&holdfast(arguments, &[]));
        assert_eq!((code, out.as_str(), err.as_str()), (Some(2), "", expected), "{arguments:?}");
    }
    assert_eq!(holdfast(&["serv"], &[]).status.code(), Some(2));
}

#[test]
fn completions_know_the_subcommands() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, out, err) = told(&holdfast(&["completions", shell], &[]));
        assert_eq!((code, err.as_str()), (Some(0), ""), "{shell}");
        for word in ["serve", "agent", "call", "token", "check-config", "default-config"] {
            assert!(out.contains(word), "{shell} does not know {word}");
        }
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let shell = format!("'{}' default-config | head -n 1; exit ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_holdfast"));
    let output = Command::new("bash").args(["-c", &shell]).output().expect("bash starts");
    let (code, _, err) = told(&output);
    assert_eq!((code, err.as_str()), (Some(0), ""));
}
