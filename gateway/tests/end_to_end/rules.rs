//! Rules of the alarm engine that change while the gateway runs: the real binary, its log, and what its spool says is in force.

use std::fs;
use std::path::Path;
use std::time::Instant;

use fieldpost_gateway::alarms::rules::BUILT_IN;
use rustix::process::Signal;

use crate::door::PATIENCE;
use crate::process::{Process, binary, new_gateway};

/// Versions of the rules that were in force, in order, as the spool says.
fn versions(spool: &Path) -> Vec<u64> {
    let export = binary().args(["spool", "export", "--dir"]).arg(spool).output().unwrap();
    assert_eq!(export.status.code(), Some(0), "{}", String::from_utf8_lossy(&export.stderr));
    let records = String::from_utf8(export.stdout).unwrap();
    let records = records.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let said = records.filter(|record| record["kind"] == "rules").map(|record| {
        let payload = bytes_of(record["payload"].as_str().unwrap());
        serde_json::from_slice::<serde_json::Value>(&payload).unwrap()["version"].as_u64().unwrap()
    });
    said.collect()
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn until_in_force(spool: &Path, wanted: &[u64]) {
    let since = Instant::now();
    while versions(spool) != wanted {
        assert!(since.elapsed() < PATIENCE, "{:?}, not {wanted:?}", versions(spool));
    }
}

#[test]
fn sighup_with_a_broken_rule_file_reports_every_mistake_and_keeps_the_old_rules() {
    let dir = new_gateway();
    let (file, spool) = (dir.path().join("rules.toml"), dir.path().join("data/spool"));
    let of_version = |version: u32| BUILT_IN.replace("\nversion = 1", &format!("\nversion = {version}"));
    fs::write(&file, of_version(2)).unwrap();
    let mut process = Process::started_in(&dir);
    until_in_force(&spool, &[2]);

    let broken = of_version(3)
        .replace("when = [\"button\"]", "when = [\"buton\"]")
        .replace("escalate_s = [15, 30, 60]", "escalate_s = [15, 30]")
        .replace("jamming_m", "jaming_m");
    fs::write(&file, &broken).unwrap();
    process.signal(Signal::HUP);
    let events = process.log_until("the old configuration stays in force");
    let said: Vec<_> = events
        .iter()
        .filter(|event| event["level"] == "ERROR")
        .map(|event| event["message"].as_str().unwrap().to_owned())
        .collect();
    for words in [
        "is not known (did you mean \"button\"?)",
        "has 2 times in `escalate_s` and 3 names in `targets`",
        "(did you mean `jamming_m`?)",
    ] {
        assert!(said.iter().any(|mistake| mistake.contains(words)), "{words}: {said:#?}");
    }
    let line = broken.lines().position(|line| line.contains("buton")).unwrap() + 1;
    assert!(said.iter().any(|mistake| mistake.contains(&format!("rules.toml:{line}: "))), "{said:#?}");
    process.until_metric("fieldpost_service_reloads_refused_total", 1.0);

    // Had version 3 been in force for a moment, it would stand in the spool before version 4.
    fs::write(&file, of_version(4)).unwrap();
    process.signal(Signal::HUP);
    process.log_until("configuration reloaded");
    until_in_force(&spool, &[2, 4]);
    process.signal(Signal::TERM);
    process.log_until("gateway stopped");
    assert_eq!(process.wait().code(), Some(0));
}
