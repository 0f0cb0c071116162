//! Alarms of the past: raised, graded, shelved, taken and closed, as the screen showed them.

use fieldpost_protocol::EventCode;
use serde_json::{Value, json};

use super::browser::Browser;
use super::history::{ask, kept};
use super::rig::{PATIENCE, Room, Site, access_lines};

#[tokio::test]
async fn past_alarms_come_with_who_took_them() {
    past_alarms(&Site::new()).await;
}

pub(crate) async fn past_alarms(site: &Site) {
    let room = site.open().await;
    let from_ms = site.now_ms();
    let (id, record) = site.alarm("pc-0001");
    kept(&room, &record).await;
    let browser = room.browser("anna").await;
    browser.acknowledge(&id.to_string()).await;
    room.history.history().wait_taken(room.spool.committed()).await;
    let found = ask(&browser, &format!("alarms?from_ms={from_ms}&until_ms={}", from_ms + 1_000)).await;
    let alarm = &found["alarms"][0];
    assert_eq!((&alarm["id"], &alarm["acknowledged_by"]), (&json!(id.to_string()), &json!("anna")));
    let deeds: Vec<String> =
        events_of(alarm).into_iter().map(|(what, _)| what).filter(|what| what != "graded").collect();
    assert_eq!(deeds, ["raised", "acknowledged"]);
    room.stop().await;
}

/// Asks again with every commit until the answer is as wanted: verdicts are stored behind the records that they are of.
async fn ask_until(room: &Room, browser: &Browser, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let mut commits = room.spool.committed_watch();
    loop {
        commits.mark_unchanged();
        room.history.history().wait_taken(room.spool.committed()).await;
        let answer = ask(browser, path).await;
        if is_so(&answer) {
            return answer;
        }
        let waited = tokio::time::timeout(PATIENCE, commits.changed()).await;
        waited.unwrap_or_else(|_| panic!("never as wanted: {answer}")).unwrap();
    }
}

fn events_of(alarm: &Value) -> Vec<(String, Option<String>)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let events = alarm["events"].as_array().into_iter().flatten();
    events.map(|event| (text(&event["what"]).unwrap_or_default(), text(&event["grade"]))).collect()
}

fn told<const N: usize>(events: [(&str, Option<&str>); N]) -> Vec<(String, Option<String>)> {
    events.map(|(what, grade)| (what.to_owned(), grade.map(str::to_owned))).to_vec()
}

#[tokio::test]
async fn a_past_hour_has_every_alarm_that_the_screen_showed_with_its_grades_also_those_of_rules() {
    Box::pin(what_rules_found(&Site::new())).await;
}

pub(crate) async fn what_rules_found(site: &Site) {
    let room = site.open().await;
    let from_ms = site.now_ms();
    kept(&room, &site.position("pc-0001", 51_500_000)).await;
    let browser = room.browser("anna").await;
    // A weapon is drawn and nobody is near: a rule raises what no device did, and grades what the device raises then.
    let (drawn, record) = site.event("pc-0001", EventCode::UNHOLSTERED);
    kept(&room, &record).await;
    site.turn_clock(1_000);
    let (down, record) = site.alarm("pc-0001");
    kept(&room, &record).await;
    site.turn_clock(1_000);
    assert_eq!(browser.acknowledge(&drawn.to_string()).await.status, 200);
    site.turn_clock(1_000);
    kept(&room, &site.event("pc-0001", EventCode::HOLSTERED).1).await;
    site.turn_clock(1_000);
    let close = json!({"id": drawn.to_string(), "outcome": "genuine", "note": ""});
    assert_eq!(browser.post("/api/v1/alarms/close", &close).await.status, 200);

    let of_drawn = told([
        ("raised", Some("P2")),
        ("acknowledged", Some("P2")),
        ("cleared", Some("P2")),
        ("closed", Some("P2")),
    ]);
    let of_down = told([("raised", None), ("graded", Some("P1"))]);
    let question = format!("alarms?from_ms={from_ms}&until_ms={}", from_ms + 60_000);
    let is_whole = |answer: &Value| {
        answer["alarms"].as_array().is_some_and(|alarms| {
            alarms.len() == 2 && events_of(&alarms[0]) == of_drawn && events_of(&alarms[1]) == of_down
        })
    };
    let past = ask_until(&room, &browser, &question, is_whole).await;
    let alarm = &past["alarms"][0];
    let named =
        ["id", "origin", "cause", "grade", "mode", "state", "acknowledged_by"].map(|key| alarm[key].clone());
    let expected = [&drawn.to_string(), "rule", "weapon", "P2", "test", "closed", "anna"];
    assert_eq!(named, expected.map(|text| json!(text)));
    assert_eq!((&alarm["rule"]["id"], &alarm["is_fact"]), (&json!("R3"), &json!(true)));
    assert_eq!(alarm["position"]["lat"], 51.5);
    assert_eq!(alarm["events"][0]["because"], "No other unit within 200 m");
    let alarm = &past["alarms"][1];
    let named = ["id", "origin", "grade", "is_fact"].map(|key| alarm[key].clone());
    assert_eq!(named, [json!(down.to_string()), json!("device"), json!("P1"), json!(false)]);

    // For a map elsewhere, the same.
    let geojson = browser.get(&format!("/api/v1/history/{question}&format=geojson")).await;
    assert_eq!(geojson.header("content-type"), Some("application/geo+json"));
    let feature = geojson.json()["features"][0].clone();
    assert_eq!(feature["geometry"], json!({"type": "Point", "coordinates": [-1.234567, 51.5]}));
    assert_eq!(
        (&feature["properties"]["mode"], &feature["properties"]["grade"]),
        (&json!("test"), &json!("P2"))
    );
    assert_eq!(feature["properties"]["events"], past["alarms"][0]["events"]);

    // In the hour after, the one that nobody closed still stands; the record says which time was looked at.
    let hour_ms = 3_600_000;
    let later = format!("alarms?from_ms={}&until_ms={}", from_ms + hour_ms, from_ms + 2 * hour_ms);
    assert_eq!(ask(&browser, &later).await["alarms"], json!([]));
    let standing = ask(&browser, &format!("{later}&standing=true")).await;
    assert_eq!(standing["alarms"], json!([past["alarms"][1]]));
    let line = access_lines(site).pop().unwrap();
    assert_eq!(line["of"], json!({"from_ms": from_ms + 1_000, "until_ms": from_ms + 2 * hour_ms}));
    room.stop().await;

    // Nothing is said twice, and nothing is lost, by a restart.
    let room = site.open().await;
    let browser = room.browser("anna").await;
    kept(&room, &site.position("pc-0001", 51_500_000)).await;
    assert_eq!(ask(&browser, &question).await, past);
    room.stop().await;
}

#[tokio::test]
async fn past_alarms_keep_the_grade_that_people_saw_and_the_one_they_gave() {
    let site = Site::new();
    let room = site.open().await;
    let from_ms = site.now_ms();
    let (id, record) = site.alarm("pc-0001");
    kept(&room, &record).await;
    let supervisor = room.browser("anna").await;
    let past = format!("alarms?from_ms={from_ms}&until_ms={}", from_ms + 1_000);
    assert_eq!(ask(&supervisor, &past).await["alarms"][0]["grade"], "P2", "the queue knows it");
    site.turn_clock(1_000);
    supervisor.acknowledge(&id.to_string()).await;
    let id = id.to_string();
    for (deed, body) in [
        ("lower", json!({"id": id, "grade": "P3", "reason": "seen on camera"})),
        ("close", json!({"id": id, "outcome": "false", "note": ""})),
    ] {
        site.turn_clock(1_000);
        assert_eq!(supervisor.post(&format!("/api/v1/alarms/{deed}"), &body).await.status, 200, "{deed}");
    }
    let expected = told([
        ("raised", None),
        ("graded", Some("P2")),
        ("acknowledged", Some("P2")),
        ("lowered", Some("P3")),
        ("closed", Some("P3")),
    ]);
    let is_whole = |answer: &Value| events_of(&answer["alarms"][0]) == expected;
    assert_eq!(ask_until(&room, &supervisor, &past, is_whole).await["alarms"][0]["grade"], "P3");
    room.stop().await;
}

#[tokio::test]
async fn a_past_hour_shows_a_shelved_alarm_as_shelved_with_who_and_why_and_when_it_was_back() {
    Box::pin(shelved(&Site::new())).await;
}

pub(crate) async fn shelved(site: &Site) {
    let room = site.open().await;
    let from_ms = site.now_ms();
    let (id, record) = site.alarm("pc-0001");
    kept(&room, &record).await;
    let (anna, ben) = (room.browser("anna").await, room.browser("ben").await);
    let id = id.to_string();
    let shelve = |minutes: u32| json!({"id": id, "minutes": minutes, "reason": "radio check"});
    let question = format!("alarms?from_ms={from_ms}&until_ms={}", from_ms + 60_000);
    let until = async |wanted: &[&str]| {
        let is_so = |answer: &Value| {
            let events = events_of(&answer["alarms"][0]);
            events.iter().map(|(what, _)| what.as_str()).eq(wanted.iter().copied())
        };
        ask_until(&room, &anna, &question, is_so).await["alarms"][0].clone()
    };

    site.turn_clock(1_000);
    let first_ms = site.now_ms();
    assert_eq!(anna.post("/api/v1/alarms/shelve", &shelve(10)).await.status, 200);
    assert_eq!(ben.post("/api/v1/alarms/shelve", &shelve(60)).await.status, 409, "it is shelved already");
    let alarm = until(&["raised", "graded", "shelved"]).await;
    let until_ms = first_ms + 600_000;
    let shelf = json!({"by": "anna", "until_ms": until_ms, "reason": "radio check"});
    assert_eq!((&alarm["state"], &alarm["shelved"]), (&json!("shelved"), &shelf));
    let event = json!({"at_ms": first_ms, "what": "shelved", "who": "anna", "grade": "P2",
        "because": "radio check", "until_ms": until_ms});
    assert_eq!(alarm["events"][2], event);

    site.turn_clock(1_000);
    assert_eq!(ben.post("/api/v1/alarms/unshelve", &json!({"id": id})).await.status, 200);
    let alarm = until(&["raised", "graded", "shelved", "unshelved"]).await;
    assert_eq!((&alarm["state"], &alarm["shelved"]), (&json!("unacknowledged"), &Value::Null));
    assert_eq!(alarm["events"][3]["who"], "ben");

    // Another one's time runs out; nobody does anything.
    site.turn_clock(1_000);
    assert_eq!(ben.post("/api/v1/alarms/shelve", &shelve(1)).await.status, 200);
    site.turn_clock(61_000);
    kept(&room, &site.position("pc-0002", 51_500_000)).await;
    let alarm = until(&["raised", "graded", "shelved", "unshelved", "shelved", "shelf_ended"]).await;
    assert_eq!((&alarm["state"], &alarm["shelved"]), (&json!("unacknowledged"), &Value::Null));

    // For a map elsewhere, the same.
    let geojson = ask(&anna, &format!("{question}&format=geojson")).await;
    assert_eq!(geojson["features"][0]["properties"]["events"], alarm["events"]);
    room.stop().await;
}
