//! Log before look.

use std::fs;

use fieldpost_gateway::audit::files::ACCESS_DIR;
use fieldpost_gateway::http::routes::ROUTES;
use fieldpost_gateway::people::Role;

use fieldpost_gateway::people::reasons::{Reason, Reasons};
use fieldpost_protocol::ForceId;
use hyper::Method;
use serde_json::json;
use tokio::time::timeout;

use super::rig::{HeldJournal, PATIENCE, Site, access_lines};

const WHY: &str = "/api/v1/session/reason";

#[tokio::test]
async fn where_a_force_asks_why_nobody_looks_without_saying_so_and_what_they_say_is_on_record() {
    let mut site = Site::new();
    let force = |name| ForceId::try_new(name).unwrap();
    let asked = [(force("sim"), Reason::Required), (force("kent"), Reason::Off)];
    site.reasons = asked.into_iter().collect();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let (alarm, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let at = "/api/v1/history/at?unit=sim/pc-0001&at_ms=1";
    let looks = ["/api/v1/units", "/api/v1/alarms", "/api/v1/stream", at];
    let anna = room.browser_as("anna", &Role::ALL, "sim,kent").await;
    assert_eq!(anna.get("/api/v1/session").await.json()["reason"], "required");
    for path in looks {
        assert_eq!(anna.status_of(Method::GET, path, "").await, 428, "{path}");
    }
    // An emergency waits for no form.
    assert_eq!(anna.acknowledge(&alarm.to_string()).await.status, 200);

    let for_one_call = anna.saying("x-fieldpost-reason", "Incident%202217");
    assert_eq!(for_one_call.get("/api/v1/units").await.status, 200);
    assert_eq!(anna.saying("x-fieldpost-reason", "%20").get("/api/v1/units").await.status, 428);
    let set = |reason| json!({ "reason": reason }).to_string();
    assert_eq!(anna.status_of(Method::POST, WHY, &set("night shift")).await, 204);
    for path in looks {
        assert_eq!(anna.status_of(Method::GET, path, "").await, 200, "{path}");
    }
    assert_eq!(anna.status_of(Method::POST, WHY, &set(" ")).await, 204);
    assert_eq!(anna.status_of(Method::GET, looks[0], "").await, 428);
    // Where nobody asks, nothing is kept of what is said all the same.
    let ben = room.browser_as("ben", &Role::ALL, "kent").await.saying("x-fieldpost-reason", "idle");
    assert_eq!(ben.get("/api/v1/units").await.status, 200);

    room.stop().await;
    let lines = access_lines(&site);
    let said = |what: &str, who: &str| -> Vec<Option<String>> {
        let theirs = lines.iter().filter(|line| line["what"] == what && line["operator"] == who);
        theirs.map(|line| line["reason"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(
        said("units_read", "anna"),
        [Some("Incident 2217".to_owned()), Some("night shift".to_owned())]
    );
    assert_eq!(said("stream_opened", "anna"), [Some("night shift".to_owned())]);
    assert_eq!(said("units_read", "ben"), [None]);
}

#[tokio::test]
async fn a_page_that_is_open_when_its_force_comes_to_require_a_reason_ends_and_is_asked() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let anna = room.browser_as("anna", &[Role::Operator], "sim").await;
    let ben = room.browser_as("ben", &[Role::Operator], "kent").await;
    let asks = |reason| Reasons::from_iter([(ForceId::try_new("sim").unwrap(), reason)]);
    site.reasons.take(&asks(Reason::Optional));
    let mut unsaid = anna.stream().await;
    assert_eq!(anna.post(WHY, &json!({ "reason": "night shift" })).await.status, 204);
    let mut said = anna.stream().await;
    let mut elsewhere = ben.stream().await;
    // As a reload of the configuration does.
    site.reasons.take(&asks(Reason::Required));
    timeout(PATIENCE, async { while unsaid.next().await.is_some() {} }).await.expect("it ends");
    // These two outlive it, by more looks than it had.
    for _ in 0..2 {
        said.next_of("gateway").await.expect("whoever said why goes on");
        elsewhere.next_of("gateway").await.expect("nobody asks at the other force");
    }
    assert_eq!(anna.post(WHY, &json!({ "reason": "" })).await.status, 204);
    assert_eq!(anna.status_of(Method::GET, "/api/v1/stream", "").await, 428, "who comes back is asked");
    drop((said, elsewhere));
    room.stop().await;
}

#[tokio::test]
async fn a_locked_console_says_no_reason_in_its_operators_name() {
    let site = Site::new();
    let room = site.open().await;
    let anna = room.browser_as("anna", &[Role::Operator], "sim").await;
    assert_eq!(anna.post("/api/v1/console/lock", &json!({})).await.status, 204);
    let refused = anna.post(WHY, &json!({ "reason": "just passing" })).await;
    assert_eq!(refused.status, 423, "{}", refused.text());
    assert_eq!(anna.ask(Method::POST, "/api/v1/console/unlock", "").await.status, 204);
    assert_eq!(anna.post(WHY, &json!({ "reason": "night shift" })).await.status, 204);
    room.stop().await;
}

#[tokio::test]
async fn a_position_is_served_only_after_its_access_record_is_durable() {
    let site = Site::new();
    let journal = HeldJournal::new(site.dir.path());
    let room = site.open_with(journal.clone()).await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let browser = room.browser("anna").await;
    let mut arrived = journal.arrived.subscribe();
    let looking = tokio::spawn(async move { browser.get("/api/v1/units").await });
    // The first line is held; the look's waits behind it.
    arrived.wait_for(|count| *count >= 1).await.unwrap();
    assert!(!looking.is_finished());
    assert!(!site.dir.path().join(ACCESS_DIR).exists());
    journal.release();
    let answer = timeout(PATIENCE, looking).await.unwrap().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(whats(&site), ["file_opened", "gateway_started", "session_opened", "units_read"]);
    room.stop().await;
}

#[tokio::test]
async fn without_an_access_record_there_is_no_position() {
    let site = Site::new();
    let room = site.open().await;
    let (alarm, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let browser = room.browser("anna").await;
    // The first look proves that the line of the login is written too.
    assert_eq!(browser.get("/api/v1/units").await.status, 200);
    let path = site.dir.path().join(ACCESS_DIR);
    fs::remove_dir_all(&path).unwrap();
    fs::write(&path, "no directory").unwrap();
    for path in ["/api/v1/units", "/api/v1/alarms", "/api/v1/stream"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(!answer.text().contains("51.5"), "{path}");
        assert!(answer.json()["error"].as_str().unwrap().contains("access record"), "{path}");
    }
    assert_eq!(browser.acknowledge(&alarm.to_string()).await.status, 503);
    assert_eq!(room.live().unacknowledged_count(), 1);
    assert!(room.metrics.encode().contains("fieldpost_live_access_record_failures_total 4"));
    fs::remove_file(&path).unwrap();
    assert_eq!(browser.get("/api/v1/units").await.status, 200, "it heals by itself");
    room.stop().await;
}

#[tokio::test]
async fn no_route_tells_a_position_while_the_record_cannot_be_written() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.alarm("pc-0001").1).await;
    let browser = room.browser_as("anna", &Role::ALL, "*").await;
    assert!(browser.get("/api/v1/alarms").await.text().contains("-1.234567"), "it is there to be told");
    let path = site.dir.path().join(ACCESS_DIR);
    fs::rename(&path, site.dir.path().join("away")).unwrap();
    fs::write(&path, "no directory").unwrap();
    for route in ROUTES.iter().filter(|route| route.verb == "GET" || route.verb == "*") {
        let query = "?unit=sim/pc-0001&from_ms=0&until_ms=1&at_ms=1&operator=anna&id=sim/pc-0001/3/0";
        for query in ["", query] {
            let path = format!("{}{query}", route.path.replace("{*rest}", "v1/nothing"));
            let answer = browser.get(&path).await;
            assert!(!answer.text().contains("1.234567") && !answer.text().contains("51.5"), "{path}");
        }
    }
    room.stop().await;
}

#[tokio::test]
async fn every_look_names_who_when_and_what() {
    let site = Site::new();
    let room = site.open().await;
    let (alarm, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let browser = room.browser("anna").await;
    let mut stream = browser.stream().await;
    stream.next_of("alarm").await.unwrap();
    let units = browser.get("/api/v1/units").await.text();
    browser.get("/api/v1/alarms").await;
    browser.acknowledge(&alarm.to_string()).await;
    drop(stream);
    room.stop().await;
    let lines = access_lines(&site);
    let told: Vec<_> =
        lines.iter().map(|line| (line["what"].as_str().unwrap(), line["subjects"][0].as_str())).collect();
    assert_eq!(
        told,
        [
            ("file_opened", None),
            ("gateway_started", None),
            ("session_opened", None),
            ("stream_opened", Some("*")),
            ("units_read", Some("*")),
            ("alarms_read", Some("*")),
            ("alarm_acknowledged", Some("sim/pc-0001")),
            ("stream_closed", None),
        ]
    );
    for line in &lines[2..] {
        assert_eq!((&line["operator"], &line["from"]), (&"anna".into(), &"127.0.0.1".into()));
        assert_eq!(line["at_ms"], site.now_ms());
        assert_eq!(line["session"].as_str().unwrap().len(), 12);
    }
    for line in &lines[3..7] {
        assert_eq!((&line["fields"][0], &line["precision"]), (&"position".into(), &"full".into()));
    }
    assert_eq!(lines[4]["answer"]["sha256"].as_str().unwrap(), sha256(&units));
}

fn whats(site: &Site) -> Vec<String> {
    access_lines(site).iter().map(|line| line["what"].as_str().unwrap().to_owned()).collect()
}

fn sha256(text: &str) -> String {
    fieldpost_gateway::audit::hash::of(text.as_bytes()).to_string()
}
