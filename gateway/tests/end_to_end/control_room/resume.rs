//! A page that comes back goes on where it was.

use std::time::Instant;

use fieldpost_gateway::people::Role;
use fieldpost_protocol::ForceId;
use hyper::Method;
use serde_json::json;

use super::accounts::{account, logged_in, regrant};
use super::browser::{Browser, Event, Stream};
use super::rebuild::{rebuilt, to_the_end};
use super::rig::{PATIENCE, Room, Site};

/// Reads until something was said of `device`; returns the newest id that was seen, as a browser keeps it.
async fn until_unit(stream: &mut Stream, device: &str, lat: f64) -> String {
    let mut cursor = String::new();
    loop {
        let event = stream.next().await.expect("the stream ended");
        if !event.id.is_empty() {
            cursor.clone_from(&event.id);
        }
        if event.name == "units" && says(&event, device, lat) {
            return cursor;
        }
    }
}

fn says(event: &Event, device: &str, lat: f64) -> bool {
    event
        .json()
        .as_array()
        .unwrap()
        .iter()
        .any(|unit| unit["device"] == device && unit["position"]["lat"] == lat)
}

fn ids(event: &Event) -> Vec<String> {
    event.json().as_array().unwrap().iter().map(|unit| unit["device"].as_str().unwrap().to_owned()).collect()
}

async fn come_back(browser: &Browser, cursor: &str) -> Stream {
    browser.stream_from(cursor).await
}

async fn three_units(site: &Site, room: &Room) {
    for device in ["pc-0001", "pc-0002", "pc-0003"] {
        room.commit(&site.position(device, 51_500_000)).await;
    }
}

/// A browser whose page had three units and is gone, and where it was. Something has happened to pc-0002 since.
async fn left_off(site: &Site, room: &Room) -> (Browser, String) {
    three_units(site, room).await;
    let browser = room.browser("anna").await;
    let cursor = until_unit(&mut browser.stream().await, "pc-0003", 51.5).await;
    room.commit(&site.position("pc-0002", 51_600_000)).await;
    (browser, cursor)
}

#[tokio::test]
async fn a_page_that_comes_back_is_sent_what_it_missed_and_nothing_else() {
    let site = Site::new();
    let room = site.open().await;
    let (browser, cursor) = left_off(&site, &room).await;
    let (id, alarm) = site.alarm("pc-0003");
    room.commit(&alarm).await;
    let mut stream = come_back(&browser, &cursor).await;
    let mut told = Vec::new();
    let mut has_alarm = false;
    while !(has_alarm && told.contains(&"pc-0002".to_owned())) {
        let event = stream.next().await.unwrap();
        assert_ne!(event.name, "lagged");
        match event.name.as_str() {
            "units" => told.extend(ids(&event)),
            "alarm" => has_alarm |= event.json()["id"] == id.to_string(),
            _ => {}
        }
    }
    assert!(!told.contains(&"pc-0001".to_owned()), "nothing happened to it: {told:?}");
    // As a query parameter it is the same.
    let answer = browser.status_of(Method::GET, &format!("/api/v1/stream?cursor={cursor}"), "").await;
    assert_eq!(answer, 200);
    room.stop().await;
}

#[tokio::test]
async fn a_cursor_that_is_not_known_any_more_is_told_so_and_shown_everything() {
    let site = Site::new();
    let room = site.open().await;
    three_units(&site, &room).await;
    let mut stream = room.browser("anna").await.stream().await;
    let before = until_unit(&mut stream, "pc-0003", 51.5).await;
    drop(stream);
    room.stop().await;

    let room = site.open().await;
    let browser = room.browser("anna").await;
    until_unit(&mut browser.stream().await, "pc-0003", 51.5).await;
    let known_max = u64::MAX.to_string();
    for cursor in [before.as_str(), "1", known_max.as_str(), "rubbish", "-3"] {
        let mut stream = come_back(&browser, cursor).await;
        let first = stream.next().await.unwrap();
        assert_eq!((first.name.as_str(), first.id.as_str()), ("lagged", ""), "{cursor}");
        let whole = stream.next().await.unwrap();
        assert_eq!((whole.name.as_str(), ids(&whole).len()), ("units", 3), "{cursor}");
    }
    assert_eq!(browser.status_of(Method::GET, "/api/v1/stream?colour=red", "").await, 400);
    room.stop().await;
}

#[tokio::test]
async fn a_page_that_came_back_is_rebuilt_to_the_last_byte_too() {
    let site = Site::new();
    let room = site.open().await;
    let (browser, cursor) = left_off(&site, &room).await;
    let mut back = come_back(&browser, &cursor).await;
    until_unit(&mut back, "pc-0002", 51.6).await;
    let mut refused = come_back(&browser, "7").await;
    until_unit(&mut refused, "pc-0002", 51.6).await;
    let received = [back, refused].map(|stream| tokio::spawn(to_the_end(stream)));
    room.stop().await;
    let rebuilt = rebuilt(&site).into_iter().skip(1);
    for (received, (_, bytes)) in received.into_iter().zip(rebuilt) {
        assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(received.await.unwrap()).unwrap());
    }
}

/// The session's forces as the page is told them, once they are `forces`.
async fn until_granted(browser: &Browser, forces: &[&str]) {
    let told = async { while browser.get("/api/v1/session").await.json()["forces"] != json!(forces) {} };
    tokio::time::timeout(PATIENCE, told).await.expect("the session follows its account");
}

#[tokio::test]
async fn a_page_whose_forces_have_changed_meanwhile_is_shown_everything_it_sees_now() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let (standing, mut alarm) = site.alarm("pc-0009");
    alarm.force = ForceId::try_new("kent").unwrap();
    let standing = standing.to_string().replace("sim/", "kent/");
    room.commit(&alarm).await;
    account(&room, "anna", &[Role::Operator], "sim");
    let browser = logged_in(&room, "anna").await;
    let mut cursor = until_unit(&mut browser.stream().await, "pc-0001", 51.5).await;

    // The wider grant: the alarm has stood since before the cursor, and no change that follows it says so.
    for (grant, forces, has_alarm) in [("kent,sim", &["kent", "sim"][..], true), ("sim", &["sim"], false)] {
        regrant(&room, "anna", grant);
        until_granted(&browser, forces).await;
        let mut stream = come_back(&browser, &cursor).await;
        let first = stream.next().await.unwrap();
        assert_eq!((first.name.as_str(), first.id.as_str()), ("lagged", ""), "{grant}");
        let whole = stream.next().await.unwrap();
        assert_eq!((whole.name.as_str(), ids(&whole).contains(&"pc-0001".to_owned())), ("units", true));
        assert_eq!(ids(&whole).contains(&"pc-0009".to_owned()), has_alarm, "{grant}: {whole:?}");
        let after = stream.next().await.unwrap();
        assert_eq!(after.name == "alarm" && after.json()["id"] == standing, has_alarm, "{grant}: {after:?}");
        // What the page holds now is of these forces.
        cursor = whole.id;
    }
    // Under the same grant it goes on, behind a change that was sent since.
    let mut stream = come_back(&browser, &cursor).await;
    room.commit(&site.position("pc-0001", 51_600_000)).await;
    let cursor = until_unit(&mut stream, "pc-0001", 51.6).await;
    room.commit(&site.position("pc-0001", 51_700_000)).await;
    let mut stream = come_back(&browser, &cursor).await;
    assert_ne!(stream.next().await.unwrap().name, "lagged");
    room.stop().await;
}

/// A unit's update on the wire, for each page: what docs/TESTING.md states.
#[tokio::test]
async fn an_update_of_a_unit_costs_a_page_so_many_bytes() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let mut stream = room.browser("anna").await.stream().await;
    until_unit(&mut stream, "pc-0001", 51.5).await;
    let start = Instant::now();
    let mut sizes = Vec::new();
    for n in 1..=4 {
        room.commit(&site.position("pc-0001", 51_500_000 + n)).await;
        loop {
            let event = stream.next().await.unwrap();
            if event.name == "units" && says(&event, "pc-0001", f64::from(51_500_000 + n) / 1e6) {
                sizes.push(event.data.len());
                break;
            }
        }
    }
    println!("bytes of an update: {sizes:?}, four in {:?}", start.elapsed());
    assert!(sizes.iter().all(|bytes| (300..600).contains(bytes)), "{sizes:?}");
    room.stop().await;
}
