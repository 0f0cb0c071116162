//! The emergency loop, as far as it runs through the control room.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;
use fieldpost_gateway::record::{Record, RecordKind};
use fieldpost_protocol::{Envelope, Head};
use serde_json::{Value, json};

use super::rig::{PATIENCE, Site};

#[tokio::test]
async fn an_alarm_stays_until_a_person_acknowledges_and_the_wearer_learns_of_it() {
    let site = Site::new();
    let room = site.open().await;
    site.fleet.connect(&site.unit("pc-0001"));
    let browser = room.browser("anna").await;
    let mut stream = browser.stream().await;
    let (id, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let id = id.to_string();
    let raised = stream.until("alarm", |alarm| alarm["id"] == id.as_str()).await;
    assert_eq!((&raised["state"], &raised["cause"]), (&"unacknowledged".into(), &"officer_down".into()));
    assert_eq!((&raised["receipt"], &raised["mode"]), (&"none".into(), &"test".into()));
    assert_eq!(raised["position"], serde_json::json!({"lon": -1.234567, "lat": 51.5}));
    stream.until("units", |units| units[0]["alarm"] == id.as_str()).await;

    let answer = browser.acknowledge(&id).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["acknowledged_by"], "anna");
    stream.until("alarm", |alarm| alarm["state"] == "acknowledged" && alarm["receipt"] == "queued").await;
    let mut seen = site.fleet.seen.subscribe();
    seen.wait_for(|seen| seen.len() == 1).await.unwrap();
    site.fleet.confirm();
    stream.until("alarm", |alarm| alarm["receipt"] == "delivered").await;
    assert_eq!(browser.acknowledge(&id).await.status, 200, "again by its owner changes nothing");
    let metrics = room.metrics.encode();
    assert!(metrics.contains("fieldpost_live_acknowledge_seconds_count 1"), "{metrics}");
    room.stop().await;
}

#[tokio::test]
async fn a_race_of_two_operators_has_one_owner() {
    let site = Site::new();
    let room = site.open().await;
    let browsers = [room.browser("anna").await, room.browser("ben").await];
    for _ in 0..10 {
        let (id, record) = site.alarm("pc-0001");
        room.commit(&record).await;
        let id = id.to_string();
        let (anna, ben) = tokio::join!(browsers[0].acknowledge(&id), browsers[1].acknowledge(&id));
        let mut statuses = [anna.status, ben.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 409]);
        let winner = if anna.status == 200 { "anna" } else { "ben" };
        assert_eq!(anna.json()["acknowledged_by"], winner);
        assert_eq!(ben.json()["acknowledged_by"], winner, "the second is told who was first");
    }
    room.stop().await;
}

#[tokio::test]
async fn alarms_and_their_owners_survive_a_restart_and_an_owed_receipt_is_sent_again() {
    let site = Site::new();
    let room = site.open().await;
    let (open, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let (taken, record) = site.alarm("pc-0002");
    room.commit(&record).await;
    let browser = room.browser("anna").await;
    assert_eq!(browser.acknowledge(&taken.to_string()).await.status, 200);
    room.stop().await;

    let room = site.open().await;
    let old_session = room.stranger().with("cookie", &browser.headers["cookie"]);
    assert_eq!(old_session.get("/api/v1/alarms").await.status, 401, "sessions end with the gateway");
    let browser = room.browser("ben").await;
    let alarms = browser.get("/api/v1/alarms").await.json();
    assert_eq!(state_of(&alarms, &open.to_string()), ("unacknowledged", "none"));
    assert_eq!(state_of(&alarms, &taken.to_string()), ("acknowledged", "queued"));
    let mut seen = site.fleet.seen.subscribe();
    site.fleet.connect(&site.unit("pc-0002"));
    seen.wait_for(|seen| seen.contains(&taken)).await.unwrap();
    assert!(!seen.borrow().contains(&open));
    room.stop().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_put_aside_and_the_spool_replayed() {
    let site = Site::new();
    let room = site.open().await;
    let (open, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let (taken, record) = site.alarm("pc-0002");
    room.commit(&record).await;
    assert_eq!(room.browser("anna").await.acknowledge(&taken.to_string()).await.status, 200);
    room.stop().await;
    let path = site.dir.path().join("alarms.json");
    let mut text = fs::read(&path).unwrap();
    text[20] ^= 1;
    fs::write(&path, text).unwrap();

    let room = site.open().await;
    let browser = room.browser("ben").await;
    let mut stream = browser.stream().await;
    stream
        .until("alarm", |alarm| alarm["id"] == open.to_string() && alarm["state"] == "unacknowledged")
        .await;
    stream
        .until("alarm", |alarm| alarm["id"] == taken.to_string() && alarm["acknowledged_by"] == "anna")
        .await;
    room.stop().await;
    assert_eq!(put_aside(&site).len(), 1);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_kept() {
    let site = Site::new();
    // Reading it fails whoever asks, and yet it is there.
    std::os::unix::fs::symlink("alarms.json", site.dir.path().join("alarms.json")).unwrap();
    let room = site.open().await;
    let (_, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    room.stop().await;
    let kept = put_aside(&site);
    assert!(matches!(&kept[..], [kept] if kept.is_symlink()), "{kept:?}");
    assert!(site.dir.path().join("alarms.json").is_file(), "the new one has the name to itself");
}

#[tokio::test]
async fn a_snapshot_that_can_be_neither_read_nor_moved_is_not_written_over() {
    let site = Site::new();
    let path = site.dir.path().join("alarms.json");
    fs::write(&path, "rubbish").unwrap();
    let in_the_way = site.dir.path().join(format!("alarms.json.damaged-{}", site.now_ms()));
    fs::write(in_the_way, "older rubbish").unwrap();
    let room = site.open().await;
    let (id, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let mut stream = room.browser("anna").await.stream().await;
    stream.until("alarm", |alarm| alarm["id"] == id.to_string()).await;
    stream.until("gateway", |said| said["degraded"].to_string().contains("cannot be saved")).await;
    room.stop().await;
    assert_eq!(fs::read(path).unwrap(), b"rubbish");
}

/// Snapshots put aside.
fn put_aside(site: &Site) -> Vec<PathBuf> {
    let files = fs::read_dir(site.dir.path()).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.to_str().unwrap().contains("alarms.json.damaged-")).collect()
}

#[tokio::test]
async fn a_spool_that_begins_anew_hides_no_alarm() {
    let site = Site::new();
    let room = site.open().await;
    let (old, record) = site.alarm("pc-0001");
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    room.commit(&record).await;
    room.stop().await;
    fs::remove_dir_all(site.dir.path().join("spool")).unwrap();

    let room = site.open().await;
    let mut stream = room.browser("anna").await.stream().await;
    stream.until("alarm", |alarm| alarm["id"] == old.to_string()).await;
    let (new, record) = site.alarm("pc-0002");
    room.commit(&record).await;
    stream.until("alarm", |alarm| alarm["id"] == new.to_string()).await;
    room.stop().await;
}

#[tokio::test]
async fn an_acknowledgement_that_cannot_be_stored_is_not_one() {
    let site = Site::new();
    let room = site.open().await;
    let (id, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let browser = room.browser("anna").await;
    room.spool.close().await;
    let answer = browser.acknowledge(&id.to_string()).await;
    assert_eq!(answer.status, 503);
    assert!(answer.json()["error"].as_str().unwrap().contains("cannot be stored"));
    assert_eq!(room.live().unacknowledged_count(), 1);
    tokio::time::timeout(PATIENCE, room.stop()).await.unwrap();
}

fn state_of<'a>(alarms: &'a Value, id: &str) -> (&'a str, &'a str) {
    let alarm = alarms["alarms"].as_array().unwrap().iter().find(|alarm| alarm["id"] == id).unwrap();
    (alarm["state"].as_str().unwrap(), alarm["receipt"].as_str().unwrap())
}

#[tokio::test]
async fn two_alarms_of_one_identity_are_both_shown_and_each_is_acknowledged_for_itself() {
    let site = Site::new();
    let room = site.open().await;
    site.fleet.connect(&site.unit("pc-0001"));
    site.fleet.confirm();
    let (first, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let Envelope { head, body, .. } = Envelope::decode(&record.payload).unwrap();
    let mut buffer = [0; 256];
    let later = Envelope { head: Head { time_ms: head.time_ms + 1, ..head }, body, trailer: None };
    let payload = Bytes::copy_from_slice(later.encode(&mut buffer).unwrap());
    room.commit(&Record { kind: RecordKind::Repeated, payload, ..record.clone() }).await;

    let browser = room.browser("anna").await;
    let alarms = browser.get("/api/v1/alarms").await.json();
    let ids: Vec<_> = alarms["alarms"].as_array().unwrap().iter().map(|alarm| alarm["id"].clone()).collect();
    let second = ids.iter().find(|id| **id != first.to_string()).unwrap().as_str().unwrap();
    assert_eq!((ids.len(), second.starts_with(&format!("{first}~"))), (2, true), "{ids:?}");
    assert_eq!(browser.acknowledge(second).await.status, 200);
    assert_eq!(room.live().unacknowledged_count(), 1, "the other is still open");
    let degraded = room.live().gateway().degraded;
    assert!(
        degraded.iter().any(|words| words.starts_with("Security: 1 devices") && !words.contains("pc-0001"))
    );
    room.stop().await;

    let room = site.open().await;
    assert_eq!(room.live().unacknowledged_count(), 1, "also after a restart");
    room.stop().await;
}

#[tokio::test]
async fn shelving_lowering_and_closing_are_records_that_every_page_sees_and_a_restart_keeps() {
    let site = Site::new();
    let room = site.open().await;
    let (anna, ben) = (room.browser("anna").await, room.browser("ben").await);
    let mut stream = ben.stream().await;
    let (id, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let id = id.to_string();
    let raised = stream.until("alarm", |alarm| alarm["id"] == id.as_str()).await;
    assert_eq!(
        (&raised["grade"], &raised["rule"]["id"], &raised["is_fact"]),
        (&"P2".into(), &"R2".into(), &false.into())
    );
    assert_eq!(raised["wearer"]["state"], "waits");

    let shelve = |minutes: u32| json!({"id": id, "minutes": minutes, "reason": "radio check"});
    let refused = anna.post("/api/v1/alarms/shelve", &shelve(61)).await;
    assert_eq!(
        (refused.status, &refused.json()["state"]),
        (409, &"unacknowledged".into()),
        "it carries the alarm"
    );
    let shelved = anna.post("/api/v1/alarms/shelve", &shelve(10)).await;
    assert_eq!((shelved.status, &shelved.json()["shelved"]["by"]), (200, &"anna".into()));
    stream.until("alarm", |alarm| alarm["state"] == "shelved").await;
    assert_eq!(ben.post("/api/v1/alarms/shelve", &shelve(5)).await.status, 409, "it is shelved already");
    assert_eq!(ben.post("/api/v1/alarms/unshelve", &json!({"id": id})).await.status, 200);
    let lower = json!({"id": id, "grade": "P3", "reason": "seen on camera"});
    assert_eq!(ben.post("/api/v1/alarms/lower", &lower).await.json()["grade"], "P3");
    let up = json!({"id": id, "grade": "P1", "reason": "no"});
    assert_eq!(ben.post("/api/v1/alarms/lower", &up).await.status, 409, "only a rule raises");
    let close = json!({"id": id, "outcome": "false", "note": "dropped it"});
    assert_eq!(anna.post("/api/v1/alarms/close", &close).await.status, 409, "nobody has acknowledged it");
    assert_eq!(anna.acknowledge(&id).await.status, 200);
    assert_eq!(anna.post("/api/v1/alarms/note", &json!({"id": id, "text": "calls back"})).await.status, 200);
    room.stop().await;

    let room = site.open().await;
    let anna = room.browser("anna").await;
    let mut stream = anna.stream().await;
    stream.until("alarm", |alarm| alarm["state"] == "acknowledged" && alarm["grade"] == "P3").await;
    let closed = anna.post("/api/v1/alarms/close", &close).await;
    assert_eq!((closed.status, &closed.json()["closed"]["outcome"]), (200, &"false".into()));
    stream.until("alarm", |alarm| alarm["state"] == "closed" && alarm["closed"]["by"] == "anna").await;
    let queue = anna.get("/api/v1/alarms").await.json();
    assert_eq!(queue["alarms"].as_array().unwrap().len(), 0, "it has left the queue");
    let path = format!("/api/v1/alarms/timeline?id={id}");
    let story = anna.get(&path).await.json();
    let told: Vec<_> =
        story["events"].as_array().unwrap().iter().map(|line| line["what"].as_str().unwrap()).collect();
    assert_eq!(told, ["raised", "shelved", "unshelved", "lowered", "acknowledged", "noted", "closed"]);
    assert_eq!(story["events"][5]["text"], "calls back");
    let figures = anna.get("/api/v1/alarms/performance").await.json();
    assert_eq!(figures["rules"][0]["false"], 1);
    room.stop().await;
}

#[tokio::test]
async fn the_screen_says_when_the_wearer_was_told_and_when_their_device_confirmed_it_also_after_a_restart() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let mut stream = browser.stream().await;
    let (id, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let id = id.to_string();
    assert_eq!(browser.acknowledge(&id).await.json()["wearer"]["state"], "not_told", "it has no connection");
    let told_ms = site.now_ms();
    site.fleet.connect(&site.unit("pc-0001"));
    let told = stream.until("alarm", |alarm| alarm["wearer"]["state"] == "told").await;
    assert_eq!(
        (&told["wearer"]["told_ms"], &told["wearer"]["confirmed_ms"]),
        (&told_ms.into(), &Value::Null)
    );
    site.turn_clock(2_000);
    site.fleet.confirm();
    stream.until("alarm", |alarm| alarm["wearer"]["state"] == "confirmed").await;
    room.stop().await;

    let room = site.open().await;
    let alarms = room.browser("ben").await.get("/api/v1/alarms").await.json();
    let wearer = &alarms["alarms"][0]["wearer"];
    assert_eq!(wearer["told_ms"], told_ms);
    assert_eq!(wearer["confirmed_ms"], told_ms + 2_000);
    room.stop().await;
}

#[tokio::test]
async fn an_alarm_that_nobody_answers_climbs_its_ladder_by_committed_clock_records() {
    let site = Site::new();
    let room = site.open().await;
    let mut stream = room.browser("anna").await.stream().await;
    let (id, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let id = id.to_string();
    stream.until("alarm", |alarm| alarm["escalation"]["step"] == 0).await;
    site.turn_clock(15_000);
    let first = stream.until("alarm", |alarm| alarm["escalation"]["step"] == 1).await;
    assert_eq!(first["escalation"]["targets"], json!(["control room"]));
    site.turn_clock(15_000);
    stream.until("alarm", |alarm| alarm["escalation"]["step"] == 2 && alarm["id"] == id.as_str()).await;
    room.stop().await;
}
