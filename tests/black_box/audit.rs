//! The audit log, as an operator reads it: what is in it, what never is, and what becomes of it when the disk is full, the file is
//! moved away, or the process is killed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::agent::Encoding;
use crate::backend::{Backend, to_do};
use crate::gateway::{ANY_PORTS_AND_LINK, Gateway, fresh_folder, until};
use crate::keys::{Key, claims_with, unix_secs};
use crate::permissions::{agent_with, key_that, link_with};

/// A gateway whose audit log is this file.
fn launch(file: &Path, audit: &str, rest: &str) -> Gateway {
    let config = format!("[audit]\nfile = \"{}\"\n{audit}\n{rest}", file.display());
    Gateway::launch(&config, &ANY_PORTS_AND_LINK)
}

/// The lines that are whole, and JSON.
fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn events(file: &Path) -> Vec<String> {
    lines(file).iter().map(|line| line["event"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Waits until there are as many lines of an event; they.
fn wait(file: &Path, event: &str, count: usize) -> Vec<Value> {
    let of_event = || lines(file).into_iter().filter(|line| line["event"] == event).collect::<Vec<_>>();
    until(|| of_event().len() >= count, &format!("{count} lines of {event}"));
    let found = of_event();
    assert_eq!(found.len(), count, "{found:?}");
    found
}

fn file() -> PathBuf {
    fresh_folder().join("audit.jsonl")
}

/// Whether a client with this token, or none, is let in.
fn is_refused(gateway: &Gateway, token: Option<&str>) -> bool {
    let stream = std::net::TcpStream::connect(gateway.agents).expect("connects");
    let request = crate::peer::to(gateway, "/v1/agent");
    let request = match token {
        Some(token) => request.with_header("Authorization", format!("Bearer {token}")),
        None => request,
    };
    tungstenite::client(request, stream).is_err()
}

#[test]
fn everything_that_matters_is_a_line_and_no_secret_is_in_any() {
    let file = file();
    let key = Key::hs256("key");
    let keys = format!(
        "{}{}",
        key_that("wide-hushkey", ""),
        key_that("narrow-hushkey", "allow = [\"call\"]\nagents = [\"site=fra\"]")
    )
    .replace("name = \"wide-hushkey\"", "name = \"wide\"")
    .replace("name = \"narrow-hushkey\"", "name = \"narrow\"");
    let gateway = launch(&file, "", &format!("{}{keys}", key.settings));
    assert_eq!(fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
    let mut agent = agent_with(&gateway, &key, "web-1", json!({"site": "ams"}));
    let (wide, narrow) = (Backend::with_key(&gateway, "wide-hushkey"), Backend::with_key(&gateway, "narrow-hushkey"));

    // Calls, over both ways.
    let body = json!({"method": "disk.free", "params": {"path": "hush params"}, "timeout": "60s"});
    let call = wide.begin("web-1", body);
    let number = agent.call().call;
    agent.answer(number, &json!("hush result"));
    call.end().expect_result("web-1", &json!("hush result"), number);
    let mut link = link_with(&gateway, "wide-hushkey", Encoding::Json);
    link.call(1, "web-1", "disk.free", &json!("hush params"), 0);
    let number_over_link = agent.call().call;
    agent.refuse(number_over_link, 5, "hush words", &json!("hush data"));
    link.expect(1, "agent_error");
    assert_eq!(narrow.call("web-1", &to_do("disk.free", "60s")).outcome("web-1"), "offline");
    let calls = wait(&file, "call", 3);
    let facts = |line: &Value| {
        ["over", "key", "tenant", "agent", "method", "outcome"]
            .map(|name| line[name].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(facts(&calls[0]), ["http", "wide", "default", "web-1", "disk.free", "ok"]);
    assert_eq!(facts(&calls[1]), ["link", "wide", "default", "web-1", "disk.free", "agent_error"]);
    assert_eq!(facts(&calls[2]), ["http", "narrow", "default", "web-1", "disk.free", "hidden"]);
    assert_eq!((&calls[0]["params_bytes"], &calls[0]["result_bytes"]), (&json!(22), &json!(13)), "{:?}", calls[0]);
    assert_eq!(calls[0]["call"], format!("{number:016x}"));
    for call in &calls {
        assert!(call["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:")), "{call}");
        assert!(call["time"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{call}");
        assert!(call["ms"].is_u64() && call["node"].is_string(), "{call}");
    }

    // Logins that are refused: who proved to be somebody is named, and nobody else.
    let expired = key.token(&claims_with("hushed", json!({"tenant": "acme", "exp": unix_secs() - 3600})));
    let forged = format!("{}x", key.token(&claims_with("hush-forged", json!({}))));
    assert!(is_refused(&gateway, Some(&expired)) && is_refused(&gateway, Some(&forged)) && is_refused(&gateway, None));
    assert_eq!(Backend::with_key(&gateway, "hush wrong").get("/v1/agents").status, 401);
    let linked = std::net::TcpStream::connect(gateway.link.expect("a link port")).expect("connects");
    let asked = crate::linker::request(&gateway, Encoding::Json).with_header("Authorization", "Bearer hush-wrong");
    assert!(tungstenite::client(asked, linked).is_err());
    let refused = wait(&file, "login_refused", 5);
    let told = |line: &Value| ["door", "cause", "agent"].map(|name| line[name].as_str().unwrap_or_default().to_owned());
    let told: Vec<_> = refused.iter().map(told).collect();
    for expected in [
        ["agents", "expired", "acme/hushed"],
        ["agents", "unverified", ""],
        ["agents", "missing", ""],
        ["control", "unverified", ""],
        ["links", "unverified", ""],
    ] {
        assert!(told.contains(&expected.map(str::to_owned)), "{expected:?}: {told:?}");
    }
    assert!(refused.iter().all(|line| line["remote"].as_str().is_some_and(|remote| remote.starts_with("127.0.0.1:"))));

    // Acts, and what was not permitted.
    assert_eq!(narrow.get("/v1/node").status, 403);
    let forbidden = wait(&file, "forbidden", 1);
    assert_eq!((&forbidden[0]["right"], &forbidden[0]["key"]), (&json!("observe"), &json!("narrow")));
    gateway.reload();
    assert_eq!(wide.ask("DELETE", "/v1/agents/web-1?reason=moved", None).status, 204);
    let away = wait(&file, "disconnect", 1);
    assert_eq!(
        (&away[0]["outcome"], &away[0]["agent"], &away[0]["detail"], &away[0]["key"]),
        (&json!("told"), &json!("web-1"), &json!("moved"), &json!("wide"))
    );
    assert_eq!((wait(&file, "start", 1).len(), wait(&file, "reload", 1)[0]["outcome"].clone()), (1, json!("done")));

    // The agent that was named had proved to be that one; else no secret and no payload is anywhere.
    let text = fs::read_to_string(&file).expect("a file").replace("acme/hushed", "");
    assert!(!text.contains("hush"), "{text}");
    assert!(!text.contains(&expired[..40]) && !text.contains(&forged[forged.len() - 40..]));
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn who_revoked_and_who_took_it_back_is_told() {
    let file = file();
    let revoked = fresh_folder().join("revoked");
    let keys = key_that("ops-hushkey", "allow = [\"administer\"]").replace("name = \"ops-hushkey\"", "name = \"ops\"");
    let gateway = launch(&file, "", &format!("[revocations]\nfile = \"{}\"\n{keys}", revoked.display()));
    let ops = Backend::with_key(&gateway, "ops-hushkey");
    let bodies = [json!({"token_id": "hush"}), json!({"agent": "web-1"}), json!({"tenant": "default"})];
    let ids = bodies.map(|body| {
        let answer = ops.ask("POST", "/v1/revocations", Some(body.to_string()));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["revocation"].as_str().expect("a number").to_owned()
    });
    assert_eq!(ops.ask("DELETE", &format!("/v1/revocations/{}", ids[1]), None).status, 204);
    assert_eq!(ops.ask("DELETE", "/v1/revocations/ff", None).status, 404);
    let facts = |line: &Value| {
        ["over", "key", "tenant", "agent", "outcome", "detail"]
            .map(|name| line[name].as_str().unwrap_or_default().to_owned())
    };
    let told: Vec<_> = wait(&file, "revoke", 3).iter().map(facts).collect();
    assert_eq!(told[0], ["http", "ops", "default", "", "done", "token"]);
    assert_eq!(told[1], ["http", "ops", "default", "web-1", "done", "agent"]);
    assert_eq!(told[2], ["http", "ops", "default", "", "done", "tenant"]);
    let taken_back: Vec<_> = wait(&file, "unrevoke", 2).iter().map(facts).collect();
    assert_eq!(taken_back[0], ["http", "ops", "default", "", "done", &ids[1]]);
    assert_eq!(taken_back[1][5], "ff");
    assert_eq!(taken_back[1][4], "refused", "there was none");
    assert!(!fs::read_to_string(&file).expect("a file").contains("hush"));
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
    let _ = fs::remove_dir_all(revoked.parent().expect("a folder"));
}

#[test]
fn a_file_that_was_moved_away_is_opened_anew() {
    let file = file();
    let gateway = launch(&file, "calls = \"off\"", &key_that("k", ""));
    let backend = Backend::with_key(&gateway, "k");
    assert_eq!(backend.call("nobody", &to_do("m", "1s")).status, 404);
    backend.ask("DELETE", "/v1/agents/one", None);
    let old = file.with_extension("1");
    fs::rename(&file, &old).expect("moved");
    gateway.signal(Signal::SIGUSR1);
    wait(&file, "reopened", 1);
    backend.ask("DELETE", "/v1/agents/two", None);
    assert_eq!(wait(&file, "disconnect", 1)[0]["agent"], "two");
    assert_eq!(events(&old), ["start", "disconnect"], "calls are off");
    assert_eq!(fs::metadata(&file).expect("made").permissions().mode() & 0o777, 0o600);
    // The process keeps no descriptor of the old one, in any thread's table.
    let open = Path::new("/proc").join(gateway.process_id().to_string()).join("task");
    let targets: Vec<PathBuf> = fs::read_dir(open)
        .expect("tasks")
        .filter_map(|task| fs::read_dir(task.ok()?.path().join("fd")).ok())
        .flatten()
        .filter_map(|fd| fs::read_link(fd.ok()?.path()).ok())
        .collect();
    assert!(targets.contains(&file) && !targets.contains(&old), "{targets:?}");
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn a_signal_without_an_audit_log_does_no_harm() {
    let gateway = Gateway::launch(&key_that("k", ""), &ANY_PORTS_AND_LINK);
    gateway.signal(Signal::SIGUSR1);
    until(|| gateway.log().contains("there is no audit log"), "the log says so");
    assert_eq!(Backend::with_key(&gateway, "k").get("/v1/agents").status, 200);
}

#[test]
fn a_line_that_a_kill_cut_is_ended_at_the_next_start_and_a_stop_is_the_last_line() {
    let file = file();
    fs::write(&file, "{\"event\":\"whole\"}\n{\"event\":\"cu").expect("written");
    let mut gateway = launch(&file, "", &key_that("k", ""));
    wait(&file, "start", 1);
    gateway.signal(Signal::SIGTERM);
    assert!(gateway.wait_end().success());
    assert_eq!(events(&file), ["whole", "start", "stop", "stop"]);
    let stops: Vec<_> =
        lines(&file).iter().filter(|line| line["event"] == "stop").map(|line| line["outcome"].clone()).collect();
    assert_eq!(stops, ["begun", "done"]);
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn on_a_full_disk_acts_are_counted_or_not_done_as_the_operator_says() {
    // Every write to this file fails for want of room.
    let full = Path::new("/dev/full");
    let key = Key::hs256("key");
    for (required, status) in [("off", 204), ("on", 503)] {
        let gateway =
            launch(full, &format!("required = \"{required}\""), &format!("{}{}", key.settings, key_that("k", "")));
        let mut agent = agent_with(&gateway, &key, "web-1", json!({}));
        let backend = Backend::with_key(&gateway, "k");
        let answer = backend.ask("DELETE", "/v1/agents/web-1", None);
        assert_eq!(answer.status, status, "{answer:?}");
        if required == "on" {
            assert_eq!((answer.problem(), answer.retry_after), ("not_audited", true));
            // It is still there, and is called: only acts need the log.
            let call = backend.begin("web-1", to_do("m", "60s"));
            let number = agent.call().call;
            agent.answer(number, &json!(1));
            call.end().expect_result("web-1", &json!(1), number);
        }
        until(
            || gateway.metric("holdfast_audit_missed_total", "kind=\"acts\"") >= 2,
            "the start and the act are counted",
        );
        assert_eq!(gateway.metric("holdfast_audit_failing", ""), 1);
        let log = gateway.log();
        assert_eq!(log.matches("the audit log cannot be written").count(), 1, "once, and not for each line: {log}");
    }
}

#[test]
fn a_full_disk_that_has_room_again_is_told_how_much_is_missing() {
    let file = file();
    std::os::unix::fs::symlink("/dev/full", &file).expect("a link");
    let gateway = launch(&file, "", &key_that("k", ""));
    let backend = Backend::with_key(&gateway, "k");
    for _ in 0..3 {
        backend.ask("DELETE", "/v1/agents/nobody", None);
    }
    until(|| gateway.metric("holdfast_audit_missed_total", "kind=\"acts\"") == 4, "the start and three acts");
    fs::remove_file(&file).expect("removed");
    gateway.signal(Signal::SIGUSR1);
    let missed = wait(&file, "missed", 1);
    assert_eq!((&missed[0]["acts"], &missed[0]["calls"]), (&json!(4), &json!(0)));
    until(|| gateway.metric("holdfast_audit_failing", "") == 0, "it is written again");
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn a_flood_of_refused_logins_is_a_few_lines_and_a_number() {
    let file = file();
    let gateway = launch(&file, "refusals = 3", &key_that("k", ""));
    let stranger = Backend::with_key(&gateway, "wrong");
    for _ in 0..200 {
        assert_eq!(stranger.get("/v1/agents").status, 401);
    }
    let count = || {
        let all = lines(&file);
        let more: u64 =
            all.iter().filter(|line| line["event"] == "more_refusals").filter_map(|line| line["logins"].as_u64()).sum();
        (all.iter().filter(|line| line["event"] == "login_refused").count() as u64, more)
    };
    until(|| count().0 + count().1 == 200, "each is a line or in the number");
    let (lines, more) = count();
    assert!(more > lines, "{lines} lines, and {more} more");
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn a_log_that_cannot_be_opened_stops_the_start() {
    let folder = fresh_folder();
    let config = folder.join("holdfast.toml");
    fs::write(&config, "[audit]\nfile = \"no/such/folder/audit\"\n").expect("written");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_holdfast"))
        .args(["serve", "--config"])
        .arg(&config)
        .args(ANY_PORTS_AND_LINK)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("`audit.file`") && said.contains("no/such/folder"), "{said}");
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn each_call_has_one_line_however_it_ends() {
    let file = file();
    let key = Key::hs256("key");
    let keys = format!("{}{}", key_that("k", ""), key_that("bound", "allow = [\"call\"]\nmethods = [\"none\"]"));
    let gateway = launch(&file, "", &format!("[link]\nwindow = 1\n{}{keys}", key.settings));
    let mut agent = agent_with(&gateway, &key, "web-1", json!({}));
    let mut link = link_with(&gateway, "k", Encoding::Binary);
    // One in flight, one more than the window has room for, and the first one taken back.
    link.call(1, "web-1", "m", &json!(1), 0);
    let number = agent.call().call;
    link.call(2, "web-1", "m", &json!(1), 0);
    link.expect(2, "busy");
    link.cancel(1);
    link.expect(1, "cancelled");
    // Nobody is there; nobody answers in time; a key that may not.
    let backend = Backend::with_key(&gateway, "k");
    assert_eq!(backend.call("nobody", &to_do("m", "1s")).outcome("nobody"), "offline");
    // On a busy machine the millisecond may be over before the call is written.
    assert!(matches!(backend.call("web-1", &to_do("m", "1ms")).status, 504 | 410));
    assert_eq!(Backend::with_key(&gateway, "bound").call("web-1", &to_do("m", "1s")).status, 403);
    let outcomes: Vec<_> = wait(&file, "call", 4).iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes[..3], ["busy", "cancelled", "offline"]);
    assert!(outcomes[3] == "no_receipt" || outcomes[3] == "not_delivered", "{outcomes:?}");
    let calls = wait(&file, "call", 4);
    assert_eq!((calls[0].get("call"), &calls[1]["call"]), (None, &json!(format!("{number:016x}"))));
    assert_eq!(wait(&file, "forbidden", 1)[0]["method"], "m");
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}

#[test]
fn an_act_that_must_be_written_is_written_before_it_is_done() {
    let file = file();
    let key = Key::hs256("key");
    let gateway = launch(&file, "required = \"on\"", &format!("{}{}", key.settings, key_that("k", "")));
    let agent = agent_with(&gateway, &key, "web-1", json!({}));
    assert_eq!(Backend::with_key(&gateway, "k").ask("DELETE", "/v1/agents/web-1", None).status, 204);
    // Whoever was told that it is done finds the line that said so before; the other one follows.
    assert!(lines(&file).iter().any(|line| line["outcome"] == "asked"));
    let outcomes: Vec<_> = wait(&file, "disconnect", 2).iter().map(|line| line["outcome"].clone()).collect();
    assert_eq!(outcomes, ["asked", "told"]);
    drop(agent);
    let _ = fs::remove_dir_all(file.parent().expect("a folder"));
}
