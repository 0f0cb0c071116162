//! `fieldpost audit verify`: whatever was changed, the first place is named, and the exit code says it.

use std::fs;
use std::path::{Path, PathBuf};

use fieldpost_gateway::audit::files::{ACCESS_DIR, file_name};
use fieldpost_gateway::audit::{AccessFiles, Asked, Holds, Journal as _, Subjects, What, Who};

use fieldpost_gateway::people::assignments::NewAssignment;
use fieldpost_gateway::people::{Assignments, By};

use crate::process::binary;

/// A record of looks over several files.
fn record() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let mut files = AccessFiles::new(dir.path()).with_file_bytes_max(2_000);
    (0..20).for_each(|n| look_of(&mut files, n));
    let access = dir.path().join(ACCESS_DIR);
    (dir, access)
}

fn look_of(files: &mut AccessFiles, n: u64) {
    let who = Who { operator: format!("op{n}"), session: "1f".to_owned(), from: [127, 0, 0, 1].into() };
    let asked = Asked { at_ms: 1_795_000_000_000 + n, who, what: What::UnitsRead, reason: None, of: None };
    files.append(&[asked.of(Holds::live(Subjects::everyone())).into()]).unwrap();
}

/// Exit code and everything that was said.
fn verify(access: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = binary().args(["audit", "verify", "--dir"]).arg(access).args(arguments).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

fn edit(path: &Path, change: impl FnOnce(String) -> String) {
    let text = change(fs::read_to_string(path).unwrap());
    fs::write(path, text).unwrap();
}

fn without_line(text: &str, line: usize) -> String {
    text.lines().enumerate().filter(|(at, _)| *at != line).map(|(_, line)| format!("{line}\n")).collect()
}

#[test]
fn an_untouched_record_holds_and_goes_through_its_known_heads() {
    let (_dir, access) = record();
    let (code, said) = verify(&access, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("the chain holds"), "{said}");
    let head = said.lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned();
    assert_eq!(verify(&access, &["--head", &head]).0, Some(0));
    let (n, hash) = head.split_once(':').unwrap();
    let other = format!("{n}:{}", hash.chars().rev().collect::<String>());
    let (code, said) = verify(&access, &["--head", &other]);
    assert_eq!(code, Some(65));
    assert!(said.contains("known from elsewhere"), "{said}");
}

#[test]
fn every_kind_of_tampering_is_named_at_its_first_line() {
    type Tamper = fn(&Path);
    let cases: &[(&str, Tamper, &str)] = &[
        (
            "a name is changed",
            |access| {
                edit(&access.join(file_name(2)), |text| {
                    text.replacen("\"operator\":\"op", "\"operator\":\"xx", 1)
                });
            },
            "access-000002.ndjson line 2: its hash does not follow",
        ),
        (
            "a line is taken out",
            |access| edit(&access.join(file_name(2)), |text| without_line(&text, 2)),
            "access-000002.ndjson line 3: its hash does not follow",
        ),
        (
            "the last line is taken out",
            |access| {
                let last = access.join(file_name(fs::read_dir(access).unwrap().count() as u32 - 1));
                edit(&last, |text| without_line(&text, text.lines().count() - 1));
            },
            "its head says that line",
        ),
        (
            "the last file is taken out",
            |access| {
                let last = fs::read_dir(access).unwrap().count() as u32 - 1;
                fs::remove_file(access.join(file_name(last))).unwrap();
            },
            "its head says that line",
        ),
        (
            "the head is another's",
            |access| {
                edit(&access.join("head.json"), |text| {
                    let mut head: serde_json::Value = serde_json::from_str(&text).unwrap();
                    head["hash"] = "0".repeat(64).into();
                    head.to_string()
                });
            },
            "its hash is not that of the head beside the record",
        ),
        (
            "a file is taken out",
            |access| fs::remove_file(access.join(file_name(2))).unwrap(),
            "access-000002.ndjson line 0: the file is missing",
        ),
        (
            "a line is put in",
            |access| edit(&access.join(file_name(1)), |text| format!("{text}{{\"n\":9}}\n")),
            "this is no line, and nothing says that it was torn",
        ),
        (
            "two lines change places",
            |access| {
                edit(&access.join(file_name(1)), |text| {
                    let mut lines: Vec<_> = text.lines().collect();
                    lines.swap(1, 2);
                    lines.iter().map(|line| format!("{line}\n")).collect()
                });
            },
            "access-000001.ndjson line 2: its hash does not follow",
        ),
    ];
    for (what, tamper, expected) in cases {
        let (dir, access) = record();
        tamper(&access);
        let (code, said) = verify(&access, &[]);
        assert_eq!(code, Some(65), "{what}: {said}");
        assert!(said.contains(expected), "{what}: {said}");
        // The gateway starts, writes and starts again: what was done stays to be seen.
        for _ in 0..2 {
            look_of(&mut AccessFiles::new(dir.path()), 99);
            let (code, said) = verify(&access, &[]);
            assert_eq!(code, Some(65), "{what}, after a start: {said}");
        }
    }
}

#[test]
fn older_files_may_be_kept_elsewhere_and_the_rest_still_holds() {
    let (_dir, access) = record();
    fs::remove_file(access.join(file_name(1))).unwrap();
    let (code, said) = verify(&access, &[]);
    assert_eq!(code, Some(0), "{said}");
    let json = verify(&access, &["--json"]).1;
    let verdict: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(verdict["first_n"].as_u64().unwrap() > 1, "{json}");
}

#[test]
fn a_record_that_was_written_anew_is_found_by_a_head_that_was_kept_elsewhere() {
    let (_dir, access) = record();
    let (_, said) = verify(&access, &[]);
    let head = said.lines().find_map(|line| line.strip_prefix("head ")).unwrap().to_owned();
    // Whoever may write the directory can forge a whole chain; what they cannot do is meet a head they do not hold.
    let (_forged_dir, forged) = record();
    edit(&forged.join(file_name(1)), |_| String::new());
    fs::remove_dir_all(&forged).unwrap();
    let mut files = AccessFiles::new(forged.parent().unwrap());
    for _ in 0..30 {
        let who = Who { operator: "nobody".into(), session: "1f".into(), from: [127, 0, 0, 1].into() };
        let asked = Asked { at_ms: 1, who, what: What::UnitsRead, reason: None, of: None };
        files.append(&[asked.event().into()]).unwrap();
    }
    assert_eq!(verify(&forged, &[]).0, Some(0), "alone it is a good chain");
    let (code, said) = verify(&forged, &["--head", &head]);
    assert_eq!(code, Some(65), "{said}");
}

#[test]
fn an_export_is_one_command_and_verifies_without_fieldpost() {
    let (dir, access) = record();
    let out = dir.path().join("export");
    let worn = NewAssignment {
        force: "sim".to_owned(),
        device: "pc-0001".to_owned(),
        officer: "PC 1234".to_owned(),
        callsign: String::new(),
        vehicle: String::new(),
        role: String::new(),
        from_ms: 1_794_999_000_000,
        until_ms: 1_795_001_000_000,
    };
    let by = By { who: "eve".to_owned(), at_ms: 1 };
    Assignments::new(dir.path()).assign(&[worn], &by).unwrap();
    let made =
        binary().args(["audit", "export", "--dir"]).arg(&access).arg("--out").arg(&out).output().unwrap();
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    let mut sums = std::process::Command::new("sha256sum");
    assert!(sums.args(["-c", "--quiet", "manifest.sha256"]).current_dir(&out).status().unwrap().success());
    assert_eq!(verify(&out.join(ACCESS_DIR), &[]).0, Some(0));
    // With it goes who wore what, so that the copy answers for an officer where there is no gateway.
    let saw = |officer: &str| {
        let asked =
            ["audit", "saw", "--from", "2026-01-01T00:00:00Z", "--to", "2027-01-01T00:00:00Z", "--officer"];
        let saw = binary().args(asked).arg(officer).arg("--dir").arg(out.join(ACCESS_DIR)).output().unwrap();
        assert_eq!(saw.status.code(), Some(0), "{}", String::from_utf8_lossy(&saw.stderr));
        String::from_utf8(saw.stdout).unwrap().lines().count()
    };
    assert_eq!((saw("PC 1234"), saw("PC 77")), (20, 0));
    let again =
        binary().args(["audit", "export", "--dir"]).arg(&access).arg("--out").arg(&out).output().unwrap();
    assert_eq!(again.status.code(), Some(73), "it never writes into what is there");
    let looks = [
        "audit",
        "looks",
        "--operator",
        "op3",
        "--from",
        "2026-01-01T00:00:00Z",
        "--to",
        "2027-01-01T00:00:00Z",
    ];
    let looks = binary().args(looks).arg("--dir").arg(&access).output().unwrap();
    let said = String::from_utf8(looks.stdout).unwrap();
    assert!(said.lines().count() == 1 && said.contains("op3 from 127.0.0.1"), "{said}");
    assert!(
        String::from_utf8(looks.stderr).unwrap().contains("s.62(4)"),
        "the purpose is said at each reading"
    );
}
