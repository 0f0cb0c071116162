use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::files::{ACCESS_DIR, file_name, indices, read_head};
use super::line::{Line, is_link};
use super::*;
use crate::metrics::Metrics;

fn asked(operator: &str) -> Asked {
    let who =
        Who { operator: operator.to_owned(), session: "1f2e".to_owned(), from: "127.0.0.1".parse().unwrap() };
    Asked { at_ms: 1_795_000_000_123, who, what: What::UnitsRead, reason: None, of: None }
}

fn look(operator: &str) -> Look {
    asked(operator).of(Holds::live(Subjects::everyone()))
}

fn path(dir: &Path, index: u32) -> std::path::PathBuf {
    dir.join(ACCESS_DIR).join(file_name(index))
}

/// Every line of every file, each a link of one chain.
fn chain(dir: &Path) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut previous = hash::NOTHING;
    for index in indices(&dir.join(ACCESS_DIR)).unwrap() {
        for text in fs::read(path(dir, index)).unwrap().split(|byte| *byte == b'\n') {
            let Some(line) = Line::parse(text) else { continue };
            assert!(is_link(text, &line, &previous), "line {}", line.n);
            assert_eq!(line.n, lines.len() as u64 + 1);
            previous = line.hash();
            lines.push(line);
        }
    }
    lines
}

fn broken(dir: &Path) -> Option<verify::Broken> {
    verify::verify(&dir.join(ACCESS_DIR), &[], &mut |_| Ok(())).unwrap().broken
}

fn words(lines: &[Line]) -> Vec<&str> {
    lines.iter().map(|line| line.what.as_str()).collect()
}

#[tokio::test]
async fn a_look_is_one_line_in_a_private_file() {
    let dir = tempfile::tempdir().unwrap();
    let log = AccessLog::start(AccessFiles::new(dir.path()), &Metrics::new());
    assert_eq!(log.record(look("anna")).await.unwrap().n(), 2, "behind the line that opens the file");
    let unseen = Unseen::new(bytes::Bytes::from_static(b"51.5"), Holds::live(Subjects::everyone()));
    assert_eq!(log.show_answer(asked("ben").because(Some("welfare")), unseen).await.unwrap(), "51.5");
    let text = fs::read_to_string(path(dir.path(), 1)).unwrap();
    let expected = r#"{"n":2,"time":"2026-11-18T11:06:40.123Z","at_ms":1795000000123,"what":"units_read","operator":"anna","session":"1f2e","from":"127.0.0.1","subjects":["*"],"fields":["position","movement","state","name","alarm"],"precision":"full","hash":""#;
    assert!(text.lines().nth(1).unwrap().starts_with(expected), "{text}");
    assert!(!text.contains("51.5"), "the record is no copy of the position");
    let lines = chain(dir.path());
    assert_eq!(words(&lines), ["file_opened", "units_read", "units_read"]);
    let answer = lines[2].answer.clone().unwrap();
    assert_eq!((answer.bytes, answer.sha256), (4, hash::of(b"51.5").to_string()));
    assert_eq!(lines[2].reason.as_deref(), Some("welfare"));
    assert_eq!(fs::metadata(path(dir.path(), 1)).unwrap().permissions().mode() & 0o777, 0o600);
    let head = read_head(&dir.path().join(ACCESS_DIR)).unwrap();
    assert_eq!((head.n, &head.hash), (3, &lines[2].hash));
}

#[tokio::test]
async fn a_torn_line_is_ended_and_said_and_the_chain_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    AccessFiles::new(whole.path()).append(&[look("anna").into(), look("ben").into()]).unwrap();
    let text = fs::read(path(whole.path(), 1)).unwrap();
    // Torn at every byte of the last line, and once in the middle of the first.
    let last_line = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    for cut in (last_line + 1..text.len() - 1).step_by(7).chain([text.len() - 2, 40]) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(ACCESS_DIR)).unwrap();
        fs::write(path(dir.path(), 1), &text[..cut]).unwrap();
        AccessFiles::new(dir.path()).append(&[look("cleo").into()]).unwrap();
        let lines = chain(dir.path());
        let torn = lines.iter().find(|line| line.what == "torn_tail").expect("it is said");
        let said = torn.file.clone().unwrap();
        let from = if cut == 40 { 0 } else { last_line };
        assert_eq!(said.bytes, Some((cut - from) as u64), "{cut}");
        assert_eq!(said.sha256, Some(hash::of(&text[from..cut]).to_string()));
        assert_eq!(lines.last().unwrap().operator, "cleo");
        assert_eq!(broken(dir.path()), None, "{cut}");
    }
    // Only its line feed is missing: it is whole, and nothing is torn.
    fs::write(path(whole.path(), 1), &text[..text.len() - 1]).unwrap();
    AccessFiles::new(whole.path()).append(&[look("cleo").into()]).unwrap();
    assert_eq!(words(&chain(whole.path())), ["file_opened", "units_read", "units_read", "units_read"]);
}

#[test]
fn a_second_crash_while_a_torn_line_is_ended_leaves_a_record_that_holds() {
    let first = tempfile::tempdir().unwrap();
    AccessFiles::new(first.path()).append(&[look("anna").into()]).unwrap();
    let text = fs::read(path(first.path(), 1)).unwrap();
    let torn_at = text.len() - 20;
    let reopened = tempfile::tempdir().unwrap();
    fs::create_dir(reopened.path().join(ACCESS_DIR)).unwrap();
    fs::write(path(reopened.path(), 1), &text[..torn_at]).unwrap();
    AccessFiles::new(reopened.path()).append(&[look("ben").into()]).unwrap();
    let ended = fs::read(path(reopened.path(), 1)).unwrap();
    for cut in [torn_at + 1].into_iter().chain((torn_at + 2..ended.len()).step_by(11)) {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(ACCESS_DIR)).unwrap();
        fs::write(path(dir.path(), 1), &ended[..cut]).unwrap();
        AccessFiles::new(dir.path()).append(&[look("cleo").into()]).unwrap();
        assert_eq!(broken(dir.path()), None, "{cut}");
    }
}

#[tokio::test]
async fn the_chain_goes_across_files_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..4 {
        let mut files = AccessFiles::new(dir.path()).with_file_bytes_max(1_000);
        for _ in 0..10 {
            files.append(&[look("anna").into()]).unwrap();
        }
    }
    let files = indices(&dir.path().join(ACCESS_DIR)).unwrap().len();
    assert!(files > 10, "{files} files");
    let looks = chain(dir.path()).iter().filter(|line| line.what == "units_read").count();
    assert_eq!(looks, 40);
}

#[tokio::test]
async fn what_cannot_be_written_is_refused_until_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join(ACCESS_DIR);
    fs::write(&place, "not a directory").unwrap();
    let log = AccessLog::start(AccessFiles::new(dir.path()), &Metrics::new());
    assert_eq!(log.record(look("anna")).await.unwrap_err(), NotShown::NotWritten);
    fs::remove_file(&place).unwrap();
    log.record(look("anna")).await.unwrap();
    // The file goes away under the log: a new one begins where it was.
    fs::rename(path(dir.path(), 1), dir.path().join("taken")).unwrap();
    log.record(look("ben")).await.unwrap();
}

#[tokio::test]
async fn a_lost_note_that_nobody_waits_for_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join(ACCESS_DIR), "not a directory").unwrap();
    let metrics = Metrics::new();
    let log = AccessLog::start(AccessFiles::new(dir.path()), &metrics);
    log.note(look("anna"));
    log.record(look("ben")).await.unwrap_err();
    assert_eq!(metrics.live.access_record_failures.get(), 2, "the note and the look behind it");
}

#[test]
fn the_record_of_an_earlier_version_is_put_beside_and_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("access.ndjson"), "{}\n").unwrap();
    AccessFiles::new(dir.path()).append(&[look("anna").into()]).unwrap();
    assert_eq!(words(&chain(dir.path())), ["file_opened", "superseded", "units_read"]);
    assert_eq!(fs::read(dir.path().join(ACCESS_DIR).join("before-chain.ndjson")).unwrap(), b"{}\n");
    assert!(!dir.path().join("access.ndjson").exists());
}

#[test]
fn a_look_at_the_past_is_about_whoever_wore_the_device_then() {
    use super::answer::{Place, Span, saw, saw_worn};
    use crate::people::{Parts, Wearer, Worn};
    let dir = tempfile::tempdir().unwrap();
    let unit: crate::live::unit::UnitId = "met/pc-1".parse().unwrap();
    let track = |operator: &str, at_ms, of: Option<(u64, u64)>| {
        let mut asked = Asked { at_ms, what: What::TrackRead, ..asked(operator) };
        asked = of.into_iter().fold(asked, |asked, (from_ms, until_ms)| asked.of_time(from_ms, until_ms));
        asked.of(Holds::live(Subjects::unit(&unit))).into()
    };
    // Worn from 200 to 299: looked at later, looked at then but as it was before, live, and by a version that did not say which past.
    let notes = [
        track("anna", 9_000, Some((250, 260))),
        track("ben", 205, Some((100, 199))),
        track("cleo", 210, None),
        track("dana", 9_000, None),
    ];
    AccessFiles::new(dir.path()).append(&notes).unwrap();
    let access = dir.path().join(ACCESS_DIR);
    let place = Place { access: &access, pictures: dir.path() };
    let span = Span { from_ms: 200, until_ms: 299 };
    let worn = Worn { unit: unit.clone(), wearer: Wearer::default(), from_ms: 200, until_ms: 299 };
    let report = saw_worn(place, Parts { worn: vec![worn], is_cut: false }, span).unwrap();
    let who = |report: &answer::Report| -> Vec<String> {
        report.looks.iter().map(|look| look.operator.clone()).collect()
    };
    assert_eq!(who(&report), ["anna", "cleo"]);
    assert_eq!(report.looks[0].of, Some(Span { from_ms: 250, until_ms: 260 }));
    // Of the device, whoever wore it, what was looked at in that time counts, too.
    let report = saw(place, &crate::people::Wearers::default(), &unit, span).unwrap();
    assert_eq!(who(&report), ["anna", "ben", "cleo"]);
    assert_eq!(broken(dir.path()), None);
}
