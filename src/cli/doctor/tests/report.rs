//! What a reader and a program are told.

use super::super::examine;
use super::super::finding::{Amount, grouped};
use super::super::machine::Machine;
use super::{MILLION, ample, settings};

#[test]
fn the_report_says_first_what_bites_first() {
    let machine = Machine { descriptors: Some(20_000), somaxconn: Some(4096), tcp_pages: None, ..ample() };
    let report = examine(&machine, &settings(|_| {}), Some(MILLION));
    let text = report.text();
    let expected = "At most 38,748 agents (2 loops, 1 workers): RLIMIT_NOFILE (the hard limit on descriptors of a table) bites first.\n\
                    1,000,000 agents do not fit. Short: RLIMIT_NOFILE.\n\
                    Slow in bursts (a storm, a message to all at once): net.core.somaxconn.\n\
                    Not to be seen from here, ask on the host: net.ipv4.tcp_mem.\n\n\
                    limit ";
    assert!(text.starts_with(expected), "{text}");
    let row = text.lines().find(|line| line.starts_with("RLIMIT_NOFILE")).expect("a row");
    let words: Vec<&str> = row.split_whitespace().take(5).collect();
    assert_eq!(words, ["RLIMIT_NOFILE", "SHORT", "20,000", "502,898", "38,748"]);

    let json: serde_json::Value = serde_json::from_str(&report.json()).expect("JSON");
    assert_eq!((&json["fits"], &json["connections"]), (&false.into(), &MILLION.into()));
    assert_eq!((&json["agents_max"], &json["bites_first"]), (&38_748.into(), &"RLIMIT_NOFILE".into()));
    let findings = json["findings"].as_array().expect("a list");
    let row = findings.iter().find(|row| row["limit"] == "RLIMIT_NOFILE").expect("a row");
    assert_eq!((&row["have"], &row["need"], &row["verdict"]), (&20_000.into(), &502_898.into(), &"short".into()));
}

#[test]
fn numbers_are_grouped_for_readers() {
    let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_048_576, "1,048,576"), (12_345_678, "12,345,678")];
    for (number, text) in cases {
        assert_eq!(grouped(number), text);
    }
    assert_eq!(format!("{:>10}|", Amount::from(Some(u64::MAX))), " unlimited|");
    assert_eq!(Amount::Bytes(3 << 30).to_string(), "3,072 MiB");
}
