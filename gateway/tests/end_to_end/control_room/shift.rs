//! The shift: who wears which device, as the page shows it.

use fieldpost_gateway::people::Role;
use fieldpost_gateway::people::assignments::ASSIGNMENTS_FILE;
use hyper::Method;
use serde_json::{Value, json};

use super::rig::Site;

fn unit<'a>(units: &'a Value, id: &str) -> Option<&'a Value> {
    units.as_array()?.iter().find(|unit| unit["id"] == id)
}

#[tokio::test]
async fn the_page_shows_the_wearer_of_the_time_and_the_record_says_who_said_so() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let eve = room.browser_as("eve", &[Role::Supervisor], "sim").await;
    let mut stream = eve.stream().await;
    let now_ms = site.now_ms();
    let body = json!({
        "force": "sim", "device": "pc-0001", "officer": "<b>Anna</b>", "callsign": "MP 1", "vehicle": "BX12",
        "role": "sergeant", "from_ms": now_ms - 1, "until_ms": now_ms + 60_000,
    });
    let answer = eve.ask(Method::POST, "/api/v1/assignments", &body.to_string()).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    let of = |units: &Value, callsign: &str| {
        unit(units, "sim/pc-0001").is_some_and(|unit| unit["callsign"] == callsign)
    };
    let units = stream.until("units", |units| of(units, "MP 1")).await;
    let worn = unit(&units, "sim/pc-0001").unwrap();
    let wearer = (&worn["officer"], &worn["vehicle"], &worn["role"]);
    assert_eq!(wearer, (&json!("<b>Anna</b>"), &json!("BX12"), &json!("sergeant")));
    let (alarm, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    stream.until("alarm", |row| row["id"] == alarm.to_string() && row["callsign"] == "MP 1").await;

    site.turn_clock(60_000);
    let units = stream.until("units", |units| of(units, "pc-0001")).await;
    assert!(unit(&units, "sim/pc-0001").unwrap().get("officer").is_none(), "the shift is over");
    let then = format!("/api/v1/assignments?at_ms={now_ms}");
    let listed = eve.get(&then).await.json();
    assert_eq!(
        (&listed["assignments"][0]["officer"], &listed["assignments"][0]["by"]),
        (&json!("<b>Anna</b>"), &json!("eve"))
    );
    let device = fieldpost_gateway::live::unit::UnitId::clone(&site.unit("pc-0001"));
    assert_eq!(room.live().wearers().at(&device, now_ms).unwrap().officer.as_deref(), Some("<b>Anna</b>"));
    assert_eq!(room.live().wearers().at(&device, now_ms + 60_000), None);
    let file = std::fs::read_to_string(site.dir.path().join(ASSIGNMENTS_FILE)).unwrap();
    assert!(file.contains("\"by\":\"eve\""), "{file}");
    room.stop().await;
}

#[tokio::test]
async fn a_wrong_assignment_is_refused_in_words_and_changes_nothing() {
    let site = Site::new();
    let room = site.open().await;
    let eve = room.browser_as("eve", &[Role::Supervisor], "sim").await;
    for (body, status) in [
        (json!({}), 422),
        (json!({ "force": "sim", "device": "a b", "from_ms": 1, "until_ms": 2 }), 422),
        (json!({ "force": "sim", "device": "pc-1", "from_ms": 2, "until_ms": 2 }), 422),
        (json!({ "force": "sim", "device": "pc-1", "from_ms": 2, "until_ms": 3, "x": 1 }), 422),
        (json!({ "force": "sim", "device": "pc-1", "officer": "\u{0}", "from_ms": 2, "until_ms": 3 }), 422),
        (json!({ "force": "kent", "device": "pc-1", "from_ms": 2, "until_ms": 3 }), 403),
    ] {
        let answer = eve.ask(Method::POST, "/api/v1/assignments", &body.to_string()).await;
        assert_eq!(answer.status, status, "{body} {}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
    for bad in ["unit=nonsense", "at_ms=soon", "who=anna"] {
        assert_eq!(eve.get(&format!("/api/v1/assignments?{bad}")).await.status, 400, "{bad}");
    }
    assert!(!site.dir.path().join(ASSIGNMENTS_FILE).exists());
    room.stop().await;
}
