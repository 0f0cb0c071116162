//! docs/OPERATIONS.md is what an operator works from: it must say what the code does.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use fieldpost_gateway::broker::Refusal;
use fieldpost_gateway::forward::{RefuseReason, RetryReason, TakEnd, TakRefusal};
use fieldpost_gateway::ingest::Reason;
use fieldpost_gateway::record::QuarantineReason;

use crate::process::get;
use crate::service::House;

const PAGE: &str = include_str!("../../../docs/OPERATIONS.md");
const EXITS: &str = include_str!("../../src/cli/exit.rs");

/// A numbered section of the page.
fn section(title: &str) -> &'static str {
    let (_, from) = PAGE.split_once(&format!(". {title}\n")).unwrap_or_else(|| panic!("no section {title}"));
    from.split("\n## ").next().unwrap()
}

/// Everything between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// The text of every Rust file below a directory.
fn sources(dir: &Path, into: &mut String) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn sources_of(dir: &str) -> String {
    let mut text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(dir), &mut text);
    text
}

/// Words of `text` that begin with the prefix of every metric.
fn metric_names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("fieldpost_") && word.matches('_').count() > 1).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_metric_stands_in_the_page_and_every_one_in_the_page_exists() {
    let service = House::new().start().await;
    let scrape = get(service.metrics, "/metrics");
    assert!(service.shutdown().await);
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        "info" => "_info",
        _ => "",
    };
    let real: BTreeSet<String> = types.map(|(name, kind)| format!("{name}{}", suffix(kind))).collect();
    let told: BTreeSet<String> = metric_names(PAGE)
        .into_iter()
        .filter(|name| *name != "fieldpost_gateway")
        .map(|name| name.trim_end_matches("_bucket").to_owned())
        .collect();
    assert!(real.iter().any(|name| name.starts_with("fieldpost_forward_")), "{real:?}");
    assert_eq!(told, real);
}

#[test]
fn every_reason_stands_in_the_page_and_every_one_in_the_page_exists() {
    let mut real: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    real.extend(QuarantineReason::ALL.iter().map(|reason| reason.as_str()));
    real.extend(RetryReason::ALL.iter().map(|reason| reason.as_str()));
    real.extend(RefuseReason::ALL.iter().map(|reason| reason.as_str()));
    real.extend(Refusal::ALL.iter().map(|refusal| refusal.as_str()));
    real.extend(TakRefusal::ALL.iter().map(|refusal| refusal.as_str()));
    real.extend(TakEnd::ALL.iter().map(|end| end.as_str()));
    // Withheld and lost: their types are the forwarder's own.
    let events = include_str!("../../src/forward/event.rs");
    let theirs = events.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once("=> \""));
    real.extend(theirs.filter_map(|(_, name)| name.strip_suffix("\",")));
    // Among the refusals of an output: what a person sent again and is released no more.
    let refusals = include_str!("../../src/forward/refusals.rs");
    real.extend(
        refusals.split_once("\"reason\".to_owned(), \"").and_then(|(_, rest)| Some(rest.split_once('"')?.0)),
    );
    let told: BTreeSet<&str> = quoted(section("Reasons")).filter(|word| *word != "reason").collect();
    assert_eq!(told, real);
}

#[test]
fn every_log_line_in_the_page_is_logged() {
    let code = sources_of("src");
    let lines: Vec<_> = section("Log lines to know").lines().filter(|line| line.starts_with("| `")).collect();
    assert!(lines.len() > 10);
    for line in lines {
        let message = quoted(line).next().unwrap();
        assert!(code.contains(&format!("\"{message}")), "nothing logs {message:?}");
    }
    let said = ["too few file descriptors for front_door.connections_max", "another process has this port"];
    for message in said {
        assert!(PAGE.contains(message) && code.contains(message), "{message}");
    }
}

#[test]
fn every_test_in_the_page_is_a_test() {
    let code = sources_of("tests") + &sources_of("src");
    let table = section("Bad input: who sees what");
    let named: Vec<_> = quoted(table).filter_map(|word| Some(word.rsplit_once("::")?.1)).collect();
    assert!(named.len() > 15);
    for name in named {
        assert!(code.contains(&format!("fn {name}(")), "no test {name}");
    }
}

#[test]
fn every_exit_code_stands_in_the_page() {
    let codes = EXITS.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" = "));
    let real: BTreeSet<&str> = codes.map(|(_, code)| code).chain(["0"]).collect();
    assert!(real.len() > 5, "{real:?}");
    let rows = section("Exit codes").lines().filter_map(|line| line.strip_prefix("| ")?.split_once(" |"));
    let told: BTreeSet<&str> = rows.map(|(code, _)| code).filter(|code| *code != "code").collect();
    assert_eq!(told, real);
}
