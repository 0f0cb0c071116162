//! The command line, as an operator meets it.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use fieldpost_gateway::config::RELEASE_ALL;

/// A directory with a new gateway in it, and the binary.
struct Operator {
    dir: tempfile::TempDir,
}

impl Operator {
    fn with_new_gateway() -> Self {
        let operator = Self { dir: tempfile::tempdir().unwrap() };
        let made = operator.fieldpost(&["init", "gw", "--name", "gateway.example"]);
        assert_eq!(code(&made), 0, "{}", text(&made));
        operator
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fieldpost"));
        command.current_dir(self.dir.path()).args(arguments).env("NO_COLOR", "1");
        command
    }

    fn fieldpost(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn edit(&self, from: &str, to: &str) {
        let path = self.path("gw/gateway.toml");
        let before = fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "{from}");
        fs::write(path, before.replacen(from, to, 1)).unwrap();
    }

    fn issue(&self, device: &str, more: &[&str]) -> Output {
        let mut arguments = vec![
            "pki",
            "issue",
            "-c",
            "gw/gateway.toml",
            "--force",
            "demo",
            "--device",
            device,
            "--out",
            "devices",
        ];
        arguments.extend(more);
        self.fieldpost(&arguments)
    }
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

/// Both streams.
fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn mode_of(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn new_gateway_validates_and_says_what_comes_next() {
    let operator = Operator::with_new_gateway();
    let valid = operator.fieldpost(&["validate", "-c", "gw/gateway.toml"]);
    assert_eq!(code(&valid), 0, "{}", text(&valid));
    assert!(text(&valid).contains("gw/gateway.toml is valid: 1 force(s)"), "{}", text(&valid));
    let again = operator.fieldpost(&["init", "gw"]);
    assert_eq!(code(&again), 73);
    assert!(text(&again).contains("is not empty") && text(&again).contains("nothing was changed"));
    let made = operator.fieldpost(&["init", "other", "--force", "met", "--force", "wmp"]);
    assert!(text(&made).contains("fieldpost run -c other/gateway.toml"), "{}", text(&made));
    let forces = fs::read_to_string(operator.path("other/gateway.toml")).unwrap();
    assert!(forces.contains("id = \"met\"") && forces.contains("id = \"wmp\""));
}

#[test]
fn broken_configuration_shows_every_mistake_with_its_line_and_exits_78() {
    let operator = Operator::with_new_gateway();
    operator.edit("#receive_max = 256", "receive_max = 20");
    operator.edit("[clock]", "[clok]");
    operator.edit("key = \"pki/server.key\"", "key = \"pki/ca.key\"");
    let broken = operator
        .command(&["validate", "-c", "gw/gateway.toml"])
        .env("FIELDPOST__LOG__LEVL", "debug")
        .output()
        .unwrap();
    let shown = text(&broken);
    assert_eq!(code(&broken), 78, "{shown}");
    let config = fs::read_to_string(operator.path("gw/gateway.toml")).unwrap();
    for needle in ["receive_max = 20", "[clok]", "key = \"pki/ca.key\""] {
        let line = config.lines().position(|line| line.contains(needle)).unwrap() + 1;
        assert!(shown.contains(&format!("gateway.toml:{line}:")), "{needle} at {line}\n{shown}");
    }
    assert!(shown.contains("environment variable FIELDPOST__LOG__LEVL: unknown key `levl`"), "{shown}");
    assert!(shown.contains("did you mean `clock`?") && shown.contains("4 mistakes"), "{shown}");
    let run = operator.fieldpost(&["run", "-c", "gw/gateway.toml"]);
    assert_eq!(code(&run), 78, "run refuses what validate refuses");
}

#[test]
fn missing_configuration_says_how_to_make_one() {
    let operator = Operator { dir: tempfile::tempdir().unwrap() };
    let missing = operator.fieldpost(&["validate", "-c", "nowhere.toml"]);
    assert_eq!(code(&missing), 78);
    assert!(text(&missing).contains("fieldpost init"), "{}", text(&missing));
}

#[test]
fn environment_wins_and_secrets_are_redacted_in_what_is_shown() {
    let operator = Operator::with_new_gateway();
    operator.edit("#[[forward.nats]]\n", "[[forward.nats]]\n");
    let url = format!("url = \"nats://me:secret@127.0.0.1:4222\"\n{RELEASE_ALL}");
    operator.edit("#url = \"nats://127.0.0.1:4222\"", &url);
    let shown = operator
        .command(&["config", "show", "-c", "gw/gateway.toml", "--effective", "--redact"])
        .env("FIELDPOST__FRONT_DOOR__RECEIVE_MAX", "777")
        .output()
        .unwrap();
    let shown = text(&shown);
    assert!(shown.contains("receive_max = 777") && shown.contains("nats://***@127.0.0.1:4222"), "{shown}");
    assert!(!shown.contains("secret"), "{shown}");
}

#[test]
fn device_is_issued_once_revoked_and_listed() {
    let operator = Operator::with_new_gateway();
    let issued = operator.issue("bwc-1", &["--mode", "exercise"]);
    assert_eq!(code(&issued), 0, "{}", text(&issued));
    assert_eq!(mode_of(&operator.path("devices/bwc-1.key")), 0o600);
    let first = fs::read(operator.path("devices/bwc-1.pem")).unwrap();

    let again = operator.issue("bwc-1", &[]);
    assert_eq!(code(&again), 73, "{}", text(&again));
    assert!(text(&again).contains("--replace"));
    assert_eq!(fs::read(operator.path("devices/bwc-1.pem")).unwrap(), first, "nothing was overwritten");
    fs::remove_file(operator.path("devices/bwc-1.pem")).unwrap();
    fs::remove_file(operator.path("devices/bwc-1.key")).unwrap();
    let again = operator.issue("bwc-1", &[]);
    assert_eq!(code(&again), 64, "the authority remembers: {}", text(&again));

    assert_eq!(code(&operator.issue("bwc-1", &["--replace", "--mode", "test"])), 0);
    let pki = ["-c", "gw/gateway.toml"];
    let list = operator.fieldpost(&[&["pki", "list", "--json"][..], &pki].concat());
    let list: serde_json::Value = serde_json::from_slice(&list.stdout).unwrap();
    let of_device = |row: &&serde_json::Value| row["certificate"]["device"] == "bwc-1";
    let statuses: Vec<_> =
        list.as_array().unwrap().iter().filter(of_device).map(|row| row["status"].clone()).collect();
    assert_eq!(statuses, ["revoked", "active"]);

    let revoked =
        operator.fieldpost(&[&["pki", "revoke", "--force", "demo", "--device", "bwc-1"][..], &pki].concat());
    assert_eq!(code(&revoked), 0, "{}", text(&revoked));
    let nothing =
        operator.fieldpost(&[&["pki", "revoke", "--force", "demo", "--device", "bwc-1"][..], &pki].concat());
    assert_eq!(code(&nothing), 65);
    assert!(text(&nothing).contains("no active certificate of demo/bwc-1"));
    assert_eq!(code(&operator.fieldpost(&[&["pki", "crl", "--days", "7"][..], &pki].concat())), 0);
    assert_eq!(code(&operator.fieldpost(&["validate", "-c", "gw/gateway.toml"])), 0);
}

#[test]
fn usage_mistakes_exit_64_and_help_exits_0() {
    let operator = Operator { dir: tempfile::tempdir().unwrap() };
    for wrong in
        [&["frobnicate"][..], &["pki", "issue"], &["pki", "revoke", "--device", "x"], &["run", "--what"]]
    {
        assert_eq!(code(&operator.fieldpost(wrong)), 64, "{wrong:?}");
    }
    for right in [&["--help"][..], &["--version"], &["pki", "issue", "--help"]] {
        assert_eq!(code(&operator.fieldpost(right)), 0, "{right:?}");
    }
}

#[test]
fn decode_names_every_byte_of_an_argument_or_of_standard_input() {
    let operator = Operator { dir: tempfile::tempdir().unwrap() };
    // Version 1, alarm cancel, mode test and clock gnss, boot 3, seq 5, time 0, body: boot 3, seq 4, by the wearer.
    let frame = "01 11 0f 03 05 00 03 03 04 01";
    let shown = operator.fieldpost(&["decode", frame]);
    assert_eq!(code(&shown), 0, "{}", text(&shown));
    for expected in
        ["alarm-cancel (0x11)", "mode test, clock gnss", "body.seq", "wearer (1)", "a valid uplink frame"]
    {
        assert!(text(&shown).contains(expected), "{expected}\n{}", text(&shown));
    }
    let mut command = operator.command(&["decode", "--json", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(frame.as_bytes()).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(json["parts"].as_array().unwrap().len(), 10, "one part a byte in this frame");
    assert_eq!(json["error"], serde_json::Value::Null);
    let broken = operator.fieldpost(&["decode", "01 11 0f"]);
    assert_eq!(code(&broken), 65);
    assert!(text(&broken).contains("NOT a valid uplink frame"), "{}", text(&broken));
    assert_eq!(code(&operator.fieldpost(&["decode", "xyz"])), 65);
}

#[test]
fn completions_and_manual_pages_are_made_for_every_command() {
    let operator = Operator { dir: tempfile::tempdir().unwrap() };
    for shell in ["bash", "zsh", "fish"] {
        let script = operator.fieldpost(&["completions", shell]);
        assert!(code(&script) == 0 && text(&script).contains("validate"), "{shell}");
    }
    assert_eq!(code(&operator.fieldpost(&["man", "--out", "man"])), 0);
    for page in ["fieldpost.1", "fieldpost-init.1", "fieldpost-pki-issue.1"] {
        assert!(operator.path("man").join(page).exists(), "{page}");
    }
}

#[test]
fn login_needs_a_gateway_that_has_started_once() {
    let operator = Operator::with_new_gateway();
    let early = operator.fieldpost(&["login", "-c", "gw/gateway.toml", "--operator", "demo"]);
    assert_eq!(code(&early), 69);
    assert!(text(&early).contains("start the gateway first"), "{}", text(&early));
    fs::create_dir(operator.path("gw/data")).unwrap();
    let link = operator.fieldpost(&["login", "-c", "gw/gateway.toml", "--operator", "demo"]);
    assert!(text(&link).contains("http://localhost:8088/login?token="), "{}", text(&link));
    let name = operator.fieldpost(&["login", "-c", "gw/gateway.toml", "--operator", "a b"]);
    assert_eq!(code(&name), 64);
}

#[test]
fn people_are_made_listed_changed_and_disabled_while_the_gateway_may_run() {
    let operator = Operator::with_new_gateway();
    let people = |arguments: &[&str]| {
        let (first, rest) = arguments.split_first().unwrap();
        operator.fieldpost(&[&["people", first, "-c", "gw/gateway.toml"], rest].concat())
    };
    let add = ["add", "anna", "--full-name", "Anna Smith", "--role", "operator", "--forces", "met"];
    let early = people(&add);
    assert_eq!(code(&early), 69, "{}", text(&early));
    fs::create_dir(operator.path("gw/data")).unwrap();
    let made = people(&add);
    assert_eq!(code(&made), 0, "{}", text(&made));
    let password = |output: &Output| text(output).split_whitespace().nth(1).unwrap().to_owned();
    assert_eq!(password(&made).len(), 23, "{}", text(&made));
    assert_eq!(code(&people(&add)), 64, "names are never used twice");
    assert_ne!(password(&people(&["passwd", "anna"])), password(&made));
    let list = text(&people(&["list"]));
    assert!(list.contains("anna\toperator\tmet\thas to choose a password\tAnna Smith"), "{list}");
    let all = ["roles", "anna", "--role", "supervisor", "--role", "administrator", "--forces", "*"];
    assert_eq!(code(&people(&all)), 0);
    let last = people(&["disable", "anna"]);
    assert_eq!(code(&last), 64);
    assert!(text(&last).contains("last administrator"), "{}", text(&last));
    let json = text(&people(&["list", "--json"]));
    assert!(json.contains("supervisor") && !json.contains("argon2"), "{json}");
    assert_eq!(code(&people(&["add", "ben", "--role", "root", "--forces", "met"])), 64);
    assert_eq!(code(&people(&["passwd", "nobody"])), 64);
}

#[test]
fn a_shift_list_is_taken_whole_or_not_at_all_and_asked_by_time() {
    let operator = Operator::with_new_gateway();
    fs::create_dir(operator.path("gw/data")).unwrap();
    let people = |first: &str, rest: &[&str]| {
        operator.fieldpost(&[&["people", first, "-c", "gw/gateway.toml"], rest].concat())
    };
    let head = "force,device,officer,callsign,vehicle,role,from,until\n";
    let row = "met,pc-1,Anna Smith,MP1,BX12,sergeant,2026-11-22T06:00:00Z,2026-11-22T14:00:00Z\n";
    fs::write(operator.path("bad.csv"), format!("{head}{row}met,a/b,x,,,,1,2\nmet,pc-1,x,,,,2,2\n")).unwrap();
    let refused = people("assign", &["bad.csv"]);
    assert_eq!(code(&refused), 65);
    let said = text(&refused);
    assert!(said.contains("assignment 2:") && said.contains("assignment 3:"), "{said}");
    let at = |time: &str| people("wearer", &["met/pc-1", "--at", time]);
    assert_eq!(code(&at("2026-11-22T07:00:00Z")), 65, "nothing was taken");
    fs::write(operator.path("good.csv"), format!("{head}{row}")).unwrap();
    assert_eq!(text(&people("assign", &["good.csv"])).trim(), "1 assignments taken");
    let worn = at("2026-11-22T07:00:00Z");
    assert!(text(&worn).contains("Anna Smith") && text(&worn).contains("\"by\": \"cli:"), "{}", text(&worn));
    assert_eq!(code(&at("2026-11-22T14:00:00Z")), 65);
    assert_eq!(code(&at("yesterday")), 64);
}

#[test]
fn refused_events_are_listed_without_positions_and_only_named_ones_are_asked_for() {
    let operator = Operator::with_new_gateway();
    let output = format!("\n[[forward.file]]\nname = \"cad\"\npath = \"cad.ndjson\"\n{RELEASE_ALL}\n");
    let file = operator.path("gw/gateway.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + &output).unwrap();
    fs::create_dir_all(operator.path("gw/data/refused")).unwrap();
    let line = |id: &str, at: &str| {
        format!(
            r#"{{"refused_at":"{at}","reason":"content","detail":"HTTP 400","lsn":3,"event":{{"id":"{id}","type":"uk.fieldpost.loss.v1","data":{{"reason":"retention","first_lsn":3,"last_lsn":9,"latitude_deg":51.5}}}}}}"#
        ) + "\n"
    };
    let lines = [line("a", "2026-09-21T14:13:20.005Z"), line("b", "2026-09-22T14:13:20.005Z")];
    fs::write(operator.path("gw/data/refused/cad.ndjson"), lines.concat()).unwrap();
    let refused = |arguments: &[&str]| {
        let (first, rest) = arguments.split_first().unwrap();
        operator.fieldpost(&[&["refused", first, "-c", "gw/gateway.toml"], rest].concat())
    };
    let list = text(&refused(&["list", "--json"]));
    assert!(list.contains(r#""id": "b""#) && !list.contains("51.5"), "{list}");
    let who = ["--output", "cad", "--by", "sgt-jones", "--why", "mended"];
    let retry = |more: &[&str]| refused(&[&["retry"], &who[..], more].concat());
    let unknown = retry(&["c"]);
    assert_eq!(code(&unknown), 69, "{}", text(&unknown));
    assert_eq!(code(&retry(&[])), 64, "everything is sent again only if that is said");
    assert_eq!(code(&refused(&["list", "--output", "cat"])), 69);
    let asked = retry(&["b"]);
    assert_eq!(code(&asked), 0, "{}", text(&asked));
    let mut requests = fs::read_dir(operator.path("gw/data/refused/cad.asked")).unwrap();
    let request = fs::read_to_string(requests.next().unwrap().unwrap().path()).unwrap();
    assert!(request.contains(r#""wish":"retry","ids":["b"]"#) && requests.next().is_none(), "{request}");
}
