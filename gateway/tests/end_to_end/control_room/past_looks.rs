//! Who looked at the past is found by the past that they looked at.

use fieldpost_gateway::http::routes::ROUTES;
use fieldpost_gateway::people::{By, Role};
use serde_json::{Value, json};

use super::browser::Browser;
use super::rig::{Room, Site, access_lines, worn};

const HOUR_MS: u64 = 3_600_000;

/// Every call that shows the past, with the time that it is about.
fn looks(from_ms: u64, until_ms: u64) -> Vec<(&'static str, String, (u64, u64))> {
    let span = format!("from_ms={from_ms}&until_ms={until_ms}");
    let unit = "unit=sim/pc-0001";
    let whole = (from_ms, until_ms);
    vec![
        ("track", format!("{unit}&{span}"), whole),
        ("track", format!("{unit}&{span}&format=geojson"), whole),
        ("at", format!("{unit}&at_ms={until_ms}"), (until_ms, until_ms)),
        ("units", format!("at_ms={until_ms}"), (until_ms, until_ms)),
        ("replay", format!("{span}&step_ms=60000"), whole),
        // The answer goes on from its cursor.
        ("replay", format!("{span}&step_ms=60000&cursor={}", from_ms + 60_000), (from_ms + 60_000, until_ms)),
        ("alarms", span.clone(), whole),
        ("alarms", format!("{span}&format=geojson"), whole),
        ("alarms", format!("from_ms={}&until_ms={until_ms}&standing=true", until_ms - 1), whole),
    ]
}

async fn saw(browser: &Browser, officer: &str, from_ms: u64, until_ms: u64) -> Vec<u64> {
    let asked = format!("officer={}&from_ms={from_ms}&until_ms={until_ms}", officer.replace(' ', "%20"));
    let answer = browser.get(&format!("/api/v1/audit/saw?{asked}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["looks"].as_array().unwrap().iter().map(|look| look["n"].as_u64().unwrap()).collect()
}

/// PC 1234 wears the device in the first hour, PC 77 afterwards; somebody is seen and raises an alarm in the first.
async fn a_shift(site: &Site, room: &Room) -> (u64, u64) {
    let (from_ms, until_ms) = (site.now_ms(), site.now_ms() + HOUR_MS);
    let shifts = [
        worn("pc-0001", "PC 1234", from_ms, until_ms),
        worn("pc-0001", "PC 77", until_ms, until_ms + 9 * HOUR_MS),
    ];
    room.assignments.assign(&shifts, &By { who: "eve".to_owned(), at_ms: from_ms }).unwrap();
    for record in [site.alarm("pc-0001").1, site.position("pc-0001", 51_500_000)] {
        room.commit(&record).await;
    }
    room.history.history().wait_taken(room.spool.committed()).await;
    (from_ms, until_ms - 60_000)
}

#[tokio::test]
async fn every_look_at_the_past_says_which_past_and_is_found_by_whoever_wore_the_device_then() {
    let site = Site::new();
    let room = site.open().await;
    let (from_ms, until_ms) = a_shift(&site, &room).await;
    // Hours later, when somebody else wears the device.
    site.turn_clock(5 * HOUR_MS);
    let (asked_ms, looks) = (site.now_ms(), looks(from_ms, until_ms));
    for route in ROUTES.iter().filter_map(|route| route.path.strip_prefix("/api/v1/history/")) {
        assert!(looks.iter().any(|(path, ..)| *path == route), "{route} is looked at by nobody here");
    }
    let dana = room.browser_as("dana", &Role::ALL, "*").await;
    let mut numbers = Vec::new();
    for (path, question, (of_from_ms, of_until_ms)) in looks {
        let answer = dana.get(&format!("/api/v1/history/{path}?{question}")).await;
        assert_eq!(answer.status, 200, "{path}?{question}: {}", answer.text());
        let line = access_lines(&site).pop().unwrap();
        let of = json!({"from_ms": of_from_ms, "until_ms": of_until_ms});
        assert_eq!((&line["of"], &line["operator"]), (&of, &json!("dana")), "{path}?{question}: {line}");
        numbers.push(line["n"].as_u64().unwrap());
    }
    let named = dana.get(&format!("/api/v1/assignments?at_ms={from_ms}")).await;
    assert_eq!(named.json()["assignments"][0]["officer"], "PC 1234");
    let line = access_lines(&site).pop().unwrap();
    assert_eq!((&line["what"], &line["of"]["from_ms"]), (&json!("assignments_read"), &json!(from_ms)));
    numbers.push(line["n"].as_u64().unwrap());

    assert_eq!(saw(&dana, "PC 1234", from_ms, until_ms).await, numbers, "each of them, hours later");
    let of_other = saw(&dana, "PC 77", asked_ms, asked_ms + HOUR_MS).await;
    let is_past = |n: &u64| numbers.contains(n);
    assert!(!of_other.iter().any(is_past), "whoever wears it now was not looked at: {of_other:?}");
    let before = Value::from(saw(&dana, "PC 1234", from_ms - HOUR_MS, from_ms - 1).await);
    assert_eq!(before, json!([]), "nothing of the hour before");
    room.stop().await;
}
