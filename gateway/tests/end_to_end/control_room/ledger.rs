//! The loss ledger, as an operator reads it.

use std::fs;

use fieldpost_gateway::ledger::snapshot::SNAPSHOT_FILE;
use fieldpost_gateway::record::Record;
use serde_json::{Value, json};

use super::rig::{Room, Site};

async fn accounts(room: &Room, query: &str) -> Value {
    let answer = room.browser("anna").await.get(&format!("/api/v1/ledger{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Sequences 0, 1 and 4 of one device: 2 and 3 were made and never sent.
fn with_a_hole(site: &Site) -> Vec<Record> {
    let mut records: Vec<_> = (0..5).map(|_| site.position("pc-0001", 51_500_000)).collect();
    records.drain(2..4);
    records
}

#[tokio::test]
async fn a_hole_in_the_sequences_shows_as_owed_at_once_and_after_a_restart() {
    let site = Site::new();
    let room = site.open().await;
    for record in with_a_hole(&site) {
        room.commit(&record).await;
    }
    let ranges = json!([
        {"first": 0, "last": 1, "state": "stored"},
        {"first": 2, "last": 3, "state": "owed"},
        {"first": 4, "last": 4, "state": "stored"},
    ]);
    let before = accounts(&room, "?device=sim/pc-0001").await;
    assert_eq!(before["accounts"][0]["boots"][0]["ranges"], ranges);
    room.stop().await;
    assert!(site.dir.path().join(SNAPSHOT_FILE).exists());

    let room = site.open().await;
    assert_eq!(accounts(&room, "?device=sim/pc-0001").await, before);
    room.stop().await;
}

#[tokio::test]
async fn without_its_file_the_ledger_is_made_anew_from_the_spool() {
    let site = Site::new();
    let room = site.open().await;
    for record in with_a_hole(&site) {
        room.commit(&record).await;
    }
    let before = accounts(&room, "").await;
    room.stop().await;
    for damage in [None, Some("rubbish")] {
        match damage {
            None => fs::remove_file(site.dir.path().join(SNAPSHOT_FILE)).unwrap(),
            Some(text) => fs::write(site.dir.path().join(SNAPSHOT_FILE), text).unwrap(),
        }
        let room = site.open().await;
        assert_eq!(accounts(&room, "").await, before, "{damage:?}");
        room.stop().await;
    }
}

#[tokio::test]
async fn the_ledger_is_read_like_a_position_with_a_record_of_who_looked() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    assert_eq!(accounts(&room, "?device=sim/pc-9999").await["accounts"], json!([]));
    let access = super::rig::access_lines(&site);
    let read = access.iter().find(|line| line["what"] == "ledger_read").unwrap();
    assert_eq!((&read["subjects"][0], &read["fields"][0]), (&"sim/pc-9999".into(), &"heard".into()));
    let browser = room.browser("ben").await;
    for bad in ["?device=pc-0001", "?device=sim/../x", "?after=", "?all=1"] {
        assert_eq!(browser.get(&format!("/api/v1/ledger{bad}")).await.status, 400, "{bad}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_message_is_traced_for_whoever_may_read_the_ledger_and_the_look_is_on_record() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let browser = room.browser("anna").await;
    let answer = browser.get("/api/v1/trace?device=sim/pc-0001&seq=0").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let traces = answer.json();
    assert_eq!(
        (&traces[0]["state"], &traces[0]["entries"][0]["class"]),
        (&"stored".into(), &"position".into())
    );
    assert!(!answer.text().contains("51.5") && !answer.text().contains("51500000"), "{}", answer.text());
    let unheard = browser.get("/api/v1/trace?device=sim/pc-0001&seq=7").await;
    assert_eq!(unheard.json(), json!([]));
    let access = super::rig::access_lines(&site);
    let read = access.iter().find(|line| line["what"] == "ledger_read").unwrap();
    assert_eq!(read["subjects"][0], "sim/pc-0001");
    for bad in ["", "?device=sim/pc-0001", "?device=pc-0001&seq=0", "?device=sim/pc-0001&seq=-1"] {
        assert_eq!(browser.get(&format!("/api/v1/trace{bad}")).await.status, 400, "{bad}");
    }
    room.stop().await;
}
