//! Log before look.

use std::fs;

use serde_json::Value;

use super::rig::{HeldJournal, PATIENCE, Site};

#[tokio::test]
async fn a_position_is_served_only_after_its_access_record_is_durable() {
    let site = Site::new();
    let journal = HeldJournal::new(site.dir.path());
    let room = site.open_with(journal.clone()).await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let browser = room.browser("anna").await;
    let mut arrived = journal.arrived.subscribe();
    let looking = tokio::spawn(async move { browser.get("/api/v1/units").await });
    // The login's line comes first and is held; the look's line waits behind it.
    arrived.wait_for(|count| *count >= 1).await.unwrap();
    assert!(!looking.is_finished());
    assert!(!site.dir.path().join("access.ndjson").exists());
    journal.release();
    let answer = tokio::time::timeout(PATIENCE, looking).await.unwrap().unwrap();
    assert_eq!(answer.status, 200);
    assert_eq!(whats(&site), ["session_opened", "units_read"]);
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
    let path = site.dir.path().join("access.ndjson");
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    for path in ["/api/v1/units", "/api/v1/alarms", "/api/v1/stream"] {
        let answer = browser.get(path).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(!answer.text().contains("51.5"), "{path}");
        assert!(answer.json()["error"].as_str().unwrap().contains("access record"), "{path}");
    }
    assert_eq!(browser.acknowledge(&alarm.to_string()).await.status, 503);
    assert_eq!(room.live().unacknowledged_count(), 1);
    assert!(room.metrics.encode().contains("fieldpost_live_access_record_failures_total 4"));
    fs::remove_dir(&path).unwrap();
    assert_eq!(browser.get("/api/v1/units").await.status, 200, "it heals by itself");
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
    browser.get("/api/v1/units").await;
    browser.get("/api/v1/alarms").await;
    browser.acknowledge(&alarm.to_string()).await;
    drop(stream);
    room.stop().await;
    let lines = lines(&site);
    let told: Vec<_> =
        lines.iter().map(|line| (line["what"].as_str().unwrap(), line["scope"].as_str().unwrap())).collect();
    assert_eq!(
        told,
        [
            ("session_opened", "-"),
            ("stream_opened", "*"),
            ("units_read", "*"),
            ("alarms_read", "*"),
            ("alarm_acknowledged", "sim/pc-0001"),
            ("stream_closed", "*"),
        ]
    );
    for line in &lines {
        assert_eq!((&line["operator"], &line["from"]), (&"anna".into(), &"127.0.0.1".into()));
        assert_eq!(line["at_ms"], site.now_ms());
        assert_eq!(line["session"].as_str().unwrap().len(), 12);
    }
}

fn lines(site: &Site) -> Vec<Value> {
    let text = fs::read_to_string(site.dir.path().join("access.ndjson")).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn whats(site: &Site) -> Vec<String> {
    lines(site).iter().map(|line| line["what"].as_str().unwrap().to_owned()).collect()
}
