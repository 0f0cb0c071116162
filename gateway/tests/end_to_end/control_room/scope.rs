//! Whose units somebody sees: every call, asked about a force that is not theirs.
//!
//! **Each question is asked twice: by somebody who sees the force, to show that the question could leak it, and by somebody
//! who does not.** So a call whose scope is broken turns this red, and so does a question that asks nothing.

use fieldpost_gateway::audit::{AccessFiles, Series};
use fieldpost_gateway::forward::release::{Disclosures, Release, Whom};
use fieldpost_gateway::http::routes::{Needs, ROUTES};
use fieldpost_gateway::people::{By, NewAssignment, Role};
use hyper::Method;
use serde_json::json;

use super::browser::Browser;
use super::rig::{Room, Site};

/// What is of the other force has this in every name.
const SECRET: &str = "kent";

/// One question.
struct Probe {
    call: &'static str,
    path: String,
    body: String,
    /// What must come.
    expect: Expect,
}

enum Expect {
    /// Nothing of the force, and who sees it gets something of it.
    Nothing,
    /// The answer, word for word, that comes for something that is not there.
    Missing { path: String, body: String },
    /// Refused before anything is looked up: the request says itself what it wants.
    Refused(u16),
    /// It holds nothing of any unit.
    NoUnits,
}

fn probes(alarm: &str, now_ms: u64) -> Vec<Probe> {
    let none = alarm.replace(SECRET, "nowhere");
    let now = "at_ms=9000000000000";
    let probe = |call, path: &str, body: String, expect| Probe { call, path: path.to_owned(), body, expect };
    let missing = |path: &str, body: String| Expect::Missing { path: path.to_owned(), body };
    let ack = "/api/v1/alarms/acknowledge";
    let assign = |force: &str| {
        json!({ "force": force, "device": "pc-1", "officer": "x", "from_ms": 1, "until_ms": 2 }).to_string()
    };
    let person = json!({ "name": "eve", "roles": ["operator"], "forces": [SECRET] }).to_string();
    let grant = json!({ "roles": ["operator"], "forces": ["sim"] }).to_string();
    let span = format!("from_ms={}&until_ms={}", now_ms - 60_000, now_ms + 60_000);
    let past = |call: &'static str, ask: &str| {
        let path =
            |name: &str| format!("{}?{}", call.trim_start_matches("GET "), ask.replace("{unit}", name));
        let expect = match ask.contains("{unit}") {
            true => missing(&path("nowhere/pc-nowhere"), String::new()),
            false => Expect::Nothing,
        };
        probe(call, &path("kent/pc-kent"), String::new(), expect)
    };
    let change = |call: &'static str, mut body: serde_json::Value| {
        let mut named = |id: &str| {
            body["id"] = id.into();
            body.to_string()
        };
        let path = call.trim_start_matches("POST ");
        let nowhere = missing(path, named(&none));
        probe(call, path, named(alarm), nowhere)
    };
    vec![
        past("GET /api/v1/history/track", &format!("unit={{unit}}&{span}")),
        past("GET /api/v1/history/at", &format!("unit={{unit}}&at_ms={now_ms}")),
        past("GET /api/v1/history/units", &format!("at_ms={now_ms}")),
        past("GET /api/v1/history/replay", &format!("{span}&step_ms=30000")),
        past("GET /api/v1/history/alarms", &span),
        past("GET /api/v1/audit/saw", &format!("unit={{unit}}&{span}")),
        probe(
            "GET /api/v1/audit/saw",
            "/api/v1/audit/saw?officer=kent%20officer&from_ms=8999999999998&until_ms=9000000000000",
            String::new(),
            Expect::Nothing,
        ),
        probe(
            "GET /api/v1/audit/looks",
            &format!("/api/v1/audit/looks?operator=demo&{span}"),
            String::new(),
            Expect::Refused(403),
        ),
        past("GET /api/v1/audit/disclosures", &format!("unit={{unit}}&{span}")),
        probe(
            "GET /api/v1/audit/disclosures",
            &format!("/api/v1/audit/disclosures?{span}"),
            String::new(),
            Expect::Refused(403),
        ),
        probe(
            "GET /api/v1/audit/export",
            &format!("/api/v1/audit/export?{span}"),
            String::new(),
            Expect::Refused(403),
        ),
        probe("GET /api/v1/audit/verify", "/api/v1/audit/verify", String::new(), Expect::NoUnits),
        probe("GET /api/v1/openapi.json", "/api/v1/openapi.json", String::new(), Expect::NoUnits),
        probe("GET /map/base.json", "/map/base.json", String::new(), Expect::NoUnits),
        probe("GET /map/tiles/{z}/{x}/{y}", "/map/tiles/1/0/0", String::new(), Expect::NoUnits),
        probe("GET /api/v1/units", "/api/v1/units", String::new(), Expect::Nothing),
        change("POST /api/v1/alarms/shelve", json!({ "minutes": 5, "reason": "x" })),
        change("POST /api/v1/alarms/unshelve", json!({})),
        change("POST /api/v1/alarms/lower", json!({ "grade": "P4", "reason": "x" })),
        change("POST /api/v1/alarms/close", json!({ "outcome": "false", "note": "x" })),
        change("POST /api/v1/alarms/note", json!({ "text": "x" })),
        probe(
            "GET /api/v1/alarms/timeline",
            &format!("/api/v1/alarms/timeline?id={alarm}"),
            String::new(),
            missing(&format!("/api/v1/alarms/timeline?id={none}"), String::new()),
        ),
        past("GET /api/v1/alarms/performance", &span),
        probe("GET /api/v1/alarms", "/api/v1/alarms", String::new(), Expect::Nothing),
        probe("GET /api/v1/ledger", "/api/v1/ledger", String::new(), Expect::Nothing),
        probe(
            "GET /api/v1/ledger",
            "/api/v1/ledger?device=kent/pc-kent",
            String::new(),
            missing("/api/v1/ledger?device=nowhere/pc-nowhere", String::new()),
        ),
        probe(
            "GET /api/v1/trace",
            "/api/v1/trace?device=kent/pc-kent&seq=0",
            String::new(),
            missing("/api/v1/trace?device=nowhere/pc-nowhere&seq=0", String::new()),
        ),
        probe(
            "POST /api/v1/alarms/acknowledge",
            ack,
            json!({ "id": alarm }).to_string(),
            missing(ack, json!({ "id": none }).to_string()),
        ),
        probe(
            "GET /api/v1/assignments",
            &format!("/api/v1/assignments?{now}"),
            String::new(),
            Expect::Nothing,
        ),
        probe(
            "GET /api/v1/assignments",
            "/api/v1/assignments?unit=kent/pc-kent",
            String::new(),
            missing("/api/v1/assignments?unit=nowhere/pc-nowhere", String::new()),
        ),
        probe("POST /api/v1/assignments", "/api/v1/assignments", assign(SECRET), Expect::Refused(403)),
        probe("GET /api/v1/people", "/api/v1/people", String::new(), Expect::Nothing),
        probe("POST /api/v1/people", "/api/v1/people", person, Expect::Refused(403)),
        probe(
            "POST /api/v1/people/{name}/disable",
            "/api/v1/people/kent-ben/disable",
            "{}".to_owned(),
            missing("/api/v1/people/nowhere-ben/disable", "{}".to_owned()),
        ),
        probe(
            "POST /api/v1/people/{name}/enable",
            "/api/v1/people/kent-ben/enable",
            "{}".to_owned(),
            missing("/api/v1/people/nowhere-ben/enable", "{}".to_owned()),
        ),
        probe(
            "POST /api/v1/people/{name}/roles",
            "/api/v1/people/kent-ben/roles",
            grant.clone(),
            missing("/api/v1/people/nowhere-ben/roles", grant),
        ),
        probe(
            "POST /api/v1/people/{name}/password",
            "/api/v1/people/kent-ben/password",
            "{}".to_owned(),
            missing("/api/v1/people/nowhere-ben/password", "{}".to_owned()),
        ),
        probe("GET /api/v1/session", "/api/v1/session", String::new(), Expect::NoUnits),
        probe("GET /map/streets.json", "/map/streets.json", String::new(), Expect::NoUnits),
        probe("POST /api/v1/console/lock", "/api/v1/console/lock", "{}".to_owned(), Expect::NoUnits),
        probe("POST /api/v1/console/unlock", "/api/v1/console/unlock", "{}".to_owned(), Expect::NoUnits),
        probe("POST /api/v1/password", "/api/v1/password", "{}".to_owned(), Expect::NoUnits),
        probe("POST /api/v1/logout", "/api/v1/logout", "{}".to_owned(), Expect::NoUnits),
    ]
}

/// Calls that the probes leave to another test here.
const ELSEWHERE: [&str; 4] =
    ["GET /api/v1/feed", "GET /api/v1/stream", "* /api/{*rest}", "POST /api/v1/session/reason"];

async fn furnished() -> (Site, Room, String) {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("kent/pc-kent", 51_500_000)).await;
    let (alarm, record) = site.alarm("kent/pc-kent");
    room.commit(&record).await;
    room.commit(&site.position("pc-sim", 51_500_000)).await;
    // Answered by somebody of the other force: figures name operators.
    let (answered, record) = site.alarm("kent/pc-kent");
    room.commit(&record).await;
    let theirs = room.browser_as("kent-operator", &[Role::Operator], SECRET).await;
    assert_eq!(theirs.acknowledge(&answered.to_string()).await.status, 200);
    let by = By { who: "kent-chief".to_owned(), at_ms: 0 };
    let worn = NewAssignment {
        force: SECRET.to_owned(),
        device: "pc-kent".to_owned(),
        officer: "kent officer".to_owned(),
        callsign: "kent callsign".to_owned(),
        vehicle: String::new(),
        role: String::new(),
        from_ms: 8_999_999_999_999,
        until_ms: 9_000_000_000_001,
    };
    room.assignments.assign(&[worn], &by).unwrap();
    let disclosures = Disclosures::inline(AccessFiles::of(Series::Disclosures, site.dir.path()));
    let whom = Whom { name: "cad".to_owned(), kind: "webhook", address: "here".to_owned() };
    let recipient = disclosures.recipient(whom, &Release::everything());
    recipient.disclose_keys(site.now_ms(), &["kent.pc-kent.1.1"]).await.unwrap();
    super::accounts::account(&room, "kent-ben", &[Role::Operator], SECRET);
    room.history.history().wait_taken(room.spool.committed()).await;
    // The picture is put together four times a second.
    let mut all = room.browser("demo").await.stream().await;
    all.until("units", |units| units.to_string().contains(SECRET) && units.to_string().contains("pc-sim"))
        .await;
    (site, room, alarm.to_string())
}

async fn ask(browser: &Browser, probe: &Probe) -> (u16, String) {
    let (verb, _) = probe.call.split_once(' ').unwrap();
    let method = Method::from_bytes(verb.as_bytes()).unwrap();
    let answer = browser.ask(method, &probe.path, &probe.body).await;
    (answer.status, answer.text())
}

#[tokio::test]
async fn no_call_tells_anything_of_a_force_that_its_viewer_does_not_see() {
    let (site, room, alarm) = Box::pin(furnished()).await;
    for probe in probes(&alarm, site.now_ms()) {
        let Probe { call, path, .. } = &probe;
        let (status, said) = ask(&room.browser_as("anna", &Role::ALL, "sim").await, &probe).await;
        match &probe.expect {
            Expect::Nothing => {
                assert!(status == 200 && !said.contains(SECRET), "{call} {path}: {status} {said}");
            }
            Expect::Missing { path: other, body } => {
                let absent =
                    Probe { path: other.clone(), body: body.clone(), expect: Expect::NoUnits, ..probe };
                let (there, missing) = ask(&room.browser_as("anna", &Role::ALL, "sim").await, &absent).await;
                assert_eq!((status, said.replace(SECRET, "nowhere")), (there, missing), "{call} {path}");
            }
            Expect::Refused(expected) => assert_eq!(status, *expected, "{call} {path}: {said}"),
            Expect::NoUnits => assert!(!said.contains(SECRET), "{call} {path}: {said}"),
        }
    }
    room.stop().await;
}

#[tokio::test]
async fn every_question_would_find_a_call_that_forgets_its_scope() {
    let (site, room, alarm) = Box::pin(furnished()).await;
    // Refusals first: what is asked of a name changes it.
    for probe in probes(&alarm, site.now_ms()) {
        let Probe { call, path, .. } = &probe;
        let (status, said) = ask(&room.browser_as("demo", &Role::ALL, "*").await, &probe).await;
        match &probe.expect {
            Expect::Nothing => assert!(said.contains(SECRET), "{call} {path}: {said}"),
            Expect::Missing { path: other, body } => {
                let absent =
                    Probe { path: other.clone(), body: body.clone(), expect: Expect::NoUnits, ..probe };
                let (there, missing) = ask(&room.browser_as("demo", &Role::ALL, "*").await, &absent).await;
                assert_ne!((status, said.replace(SECRET, "nowhere")), (there, missing), "{call} {path}");
            }
            Expect::Refused(refused) => assert_ne!(status, *refused, "{call} {path}"),
            Expect::NoUnits => {}
        }
    }
    room.stop().await;
}

#[test]
fn every_call_is_asked() {
    let asked = probes("kent/pc-kent/1/1", 60_000);
    for route in ROUTES.iter().filter(|route| route.needs != Needs::Nothing) {
        let call = format!("{} {}", route.verb, route.path);
        let is_asked = asked.iter().any(|probe| probe.call == call) || ELSEWHERE.contains(&call.as_str());
        assert!(is_asked, "{call} has no question about a force that its viewer does not see: add one");
    }
}

#[tokio::test]
async fn a_stream_has_nothing_of_a_force_that_its_viewer_does_not_see() {
    let (site, room, _) = Box::pin(furnished()).await;
    let mut theirs = room.browser_as("anna", &[Role::Operator], "sim").await.stream().await;
    let mut both = room.browser_as("ben", &[Role::Operator], "sim,kent").await.stream().await;
    let mut seen = String::new();
    let mut count = 0;
    room.commit(&site.position("kent/pc-kent", 52_000_000)).await;
    let (_, record) = site.alarm("kent/pc-kent");
    room.commit(&record).await;
    room.commit(&site.position("pc-sim", 52_000_000)).await;
    // The same picture went to both; then this one has had its part of it.
    let moved = |units: &serde_json::Value| units.to_string().contains("52.0");
    both.until("units", |units| moved(units) && units.to_string().contains("pc-sim")).await;
    while count < 200 {
        let event = theirs.next().await.unwrap();
        seen.push_str(&event.data);
        count += 1;
        if event.name == "units" && moved(&event.json()) {
            break;
        }
    }
    assert!(seen.contains("pc-sim") && seen.contains("52.0"), "{seen}");
    assert!(!seen.contains(SECRET), "{seen}");
    room.stop().await;
}

#[tokio::test]
async fn a_session_that_loses_a_force_loses_its_stream() {
    let site = Site::new();
    let room = site.open().await;
    super::accounts::account(&room, "anna", &[Role::Operator], "sim,kent");
    let browser = super::accounts::logged_in(&room, "anna").await;
    let mut stream = browser.stream().await;
    super::accounts::regrant(&room, "anna", "sim");
    while stream.next().await.is_some() {}
    assert_eq!(browser.get("/api/v1/session").await.json()["forces"], json!(["sim"]), "the session goes on");
    room.stop().await;
}
