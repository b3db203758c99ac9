//! `holdfast doctor` from outside: exit codes, what goes to which stream, and that it runs on this very host.

use std::process::{Command, Output};

fn doctor(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_holdfast"));
    command.arg("doctor").args(arguments).env_clear().envs(env.iter().copied());
    command.output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_few_agents_fit_on_this_host_and_four_billion_do_not() {
    let output = doctor(&["--connections", "10"], &[]);
    let out = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("At most "), "{out}");
    assert!(out.lines().nth(1) == Some("10 agents fit."), "{out}");
    assert!(out.contains("\nRLIMIT_NOFILE "), "{out}");

    let output = doctor(&["--connections", "4000000000"], &[]);
    let out = text(&output.stdout);
    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(1), ""), "{out}");
    assert!(out.contains("\n4,000,000,000 agents do not fit. Short: "), "{out}");
}

#[test]
fn scripts_read_json() {
    let output = doctor(&["--json"], &[("HOLDFAST_SERVER__LOOPS", "7"), ("HOLDFAST_SERVER__WORKERS", "3")]);
    assert_eq!(output.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((&json["loops"], &json["workers"], &json["fits"]), (&7.into(), &3.into(), &true.into()));
    // Without a number, it is as many as the first limit lets in.
    assert_eq!(json["connections"], json["agents_max"]);
    assert!(json["findings"].as_array().is_some_and(|findings| findings.len() > 10));
}

#[test]
fn wrong_usage_and_wrong_settings_are_told_with_exit_code_2() {
    for arguments in [["--connections", "0"], ["--connections", "many"], ["--connections", "-1"], ["--root", "/"]] {
        let output = doctor(&arguments, &[]);
        assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""), "{arguments:?}");
        assert!(text(&output.stderr).contains(arguments[0]), "{arguments:?}");
    }
    let output = doctor(&["--config", "/no/such/file.toml"], &[]);
    assert_eq!((output.status.code(), text(&output.stdout).as_str()), (Some(2), ""));
    assert!(text(&output.stderr).contains("cannot read the configuration file"));
    let output = doctor(&[], &[("HOLDFAST_SERVER__LOOPS", "many")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("HOLDFAST_SERVER__LOOPS"));
}

#[test]
fn the_memory_that_the_gateway_allows_itself_bites_too() {
    let output = doctor(&["--connections", "30000", "--json"], &[("HOLDFAST_LIMITS__MEMORY", "20MiB")]);
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = json["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["limit"] == "limits.memory").expect("listed");
    // 16 MiB for the gateway without agents, 160 bytes for each of them.
    assert_eq!((&finding["agents"], &finding["verdict"]), (&26_214.into(), &"short".into()));
    assert_eq!(output.status.code(), Some(1));
}
