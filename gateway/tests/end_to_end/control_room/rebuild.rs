//! From the record alone: exactly the bytes that a browser received.

use std::path::PathBuf;

use fieldpost_gateway::audit::answer::{Place, Span, looks, saw};
use fieldpost_gateway::audit::export::export;
use fieldpost_gateway::audit::files::ACCESS_DIR;
use fieldpost_gateway::audit::hash;
use fieldpost_gateway::audit::line::Line;
use fieldpost_gateway::audit::pictures::PICTURES_DIR;
use fieldpost_gateway::audit::rebuild::{Rebuilt, answer, rebuild};
use fieldpost_gateway::people::{By, Role, Wearers};
use serde_json::json;

use super::browser::Stream;
use super::rig::{Room, Site, access_lines, worn};

fn places(site: &Site) -> (PathBuf, PathBuf) {
    (site.dir.path().join(ACCESS_DIR), site.dir.path().join(PICTURES_DIR))
}

/// Every stream on record, in the order in which they were opened: what was rebuilt of each.
pub(crate) fn rebuilt(site: &Site) -> Vec<(Rebuilt, Vec<u8>)> {
    let (access, pictures) = places(site);
    let opened = access_lines(site).into_iter().filter(|line| line["what"] == "stream_opened");
    opened
        .map(|line| {
            let mut bytes = Vec::new();
            let outcome = rebuild(&access, &pictures, line["n"].as_u64().unwrap(), &mut bytes);
            (outcome.unwrap(), bytes)
        })
        .collect()
}

pub(crate) async fn to_the_end(mut stream: Stream) -> Vec<u8> {
    while stream.next().await.is_some() {}
    stream.received
}

/// Commits a position of each of `units` units and returns the latitude in degrees.
async fn move_all(room: &Room, site: &Site, units: usize, latitude_udeg: i32) -> f64 {
    let mut last = None;
    for unit in 0..units {
        last = Some(room.append(&site.position(&format!("pc-{unit:04}"), latitude_udeg)).await);
    }
    room.spool.wait_committed(last.unwrap()).await.unwrap();
    f64::from(latitude_udeg) / 1e6
}

fn has_latitude(units: &serde_json::Value, wanted: f64) -> bool {
    units.as_array().unwrap().iter().any(|unit| unit["position"]["lat"] == wanted)
}

#[tokio::test]
async fn what_a_client_received_is_rebuilt_to_the_last_byte() {
    let site = Site::new();
    let room = site.open().await;
    let mut first = room.browser("anna").await.stream().await;
    for round in 0..3 {
        let wanted = move_all(&room, &site, 20, 51_000_000 + round).await;
        first.until("units", |units| has_latitude(units, wanted)).await;
    }
    let (alarm, record) = site.alarm("pc-0003");
    room.commit(&record).await;
    first.next_of("alarm").await.unwrap();
    // Opens into the middle: its first frames hold what the other saw change.
    let ben = room.browser("ben").await;
    let mut second = ben.stream().await;
    ben.acknowledge(&alarm.to_string()).await;
    second.until("alarm", |alarm| alarm["acknowledged_by"] == "ben").await;
    let units = ben.get("/api/v1/units").await;
    let alarms = ben.get("/api/v1/alarms").await;
    room.stop().await;
    let received = [to_the_end(first).await, to_the_end(second).await];
    assert_eq!(rebuilt(&site).len(), 2);
    for ((rebuilt, bytes), received) in rebuilt(&site).into_iter().zip(received) {
        assert!(rebuilt.is_exact, "{rebuilt:?}");
        assert_eq!(rebuilt.verdict.broken, None);
        assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(received).unwrap());
    }
    let (_, pictures) = places(&site);
    for (what, given) in [("units_read", units), ("alarms_read", alarms)] {
        let line = access_lines(&site).into_iter().find(|line| line["what"] == what).unwrap();
        let line: Line = serde_json::from_value(line).unwrap();
        assert_eq!(answer(&line, &pictures).unwrap(), given.body, "{what}");
    }
}

#[tokio::test]
async fn a_page_that_lagged_and_whose_alarms_overtook_is_rebuilt_to_the_last_byte() {
    let site = Site::new();
    let room = site.open().await;
    let mut stuck = room.browser("anna").await.stream().await;
    let mut quick = room.browser("ben").await.stream().await;
    stuck.next().await.unwrap();
    let mut latitude_udeg = 51_000_000;
    let mut rounds_after = 3;
    while rounds_after > 0 {
        latitude_udeg += 1;
        // 400 units are 150 KB of JSON: more than socket buffers and the queue hold, soon.
        let wanted = move_all(&room, &site, 400, latitude_udeg).await;
        room.commit(&site.alarm("pc-0003").1).await;
        quick.until("units", |units| has_latitude(units, wanted)).await;
        let has_lagged = !room.metrics.encode().contains("fieldpost_live_pages_lagged_total 0");
        rounds_after -= i32::from(has_lagged);
    }
    stuck.next_of("lagged").await.unwrap();
    let stuck = tokio::spawn(to_the_end(stuck));
    let quick = tokio::spawn(to_the_end(quick));
    room.stop().await;
    let received = [stuck.await.unwrap(), quick.await.unwrap()];
    let orders = access_lines(&site).into_iter().filter(|line| line["what"] == "stream_order");
    let orders: Vec<_> = orders.map(|line| line["stream"].clone()).collect();
    assert!(orders.iter().any(|order| order["lagged_to"].is_u64()), "{orders:?}");
    assert!(orders.iter().any(|order| order["overtook"].is_array()), "{orders:?}");
    for ((rebuilt, bytes), received) in rebuilt(&site).into_iter().zip(received) {
        // The stuck one may have been cut off with bytes under way: then what it received is a beginning.
        assert!(bytes.starts_with(&received), "{} of {} bytes", received.len(), bytes.len());
        assert_eq!(rebuilt.verdict.broken, None);
    }
}

#[tokio::test]
async fn who_saw_an_officer_is_answered_by_the_devices_they_wore_while_they_wore_them() {
    let site = Site::new();
    let room = site.open().await;
    let start_ms = site.now_ms();
    let shifts = [
        worn("pc-0001", "PC 77", start_ms, start_ms + 500_000),
        worn("pc-0001", "PC 1234", start_ms + 500_000, start_ms + 1_500_000),
        worn("pc-0002", "PC 77", start_ms + 500_000, start_ms + 1_500_000),
    ];
    room.assignments.assign(&shifts, &By { who: "eve".to_owned(), at_ms: start_ms }).unwrap();
    let look = async |who: &str, latitude_udeg| {
        let wanted = move_all(&room, &site, 2, latitude_udeg).await;
        let browser = room.browser(who).await;
        let mut page = browser.stream().await;
        page.until("units", |units| has_latitude(units, wanted)).await;
        assert_eq!(browser.get("/api/v1/units").await.status, 200);
        // A page ends on record when its gateway sees it go: before the clock is turned.
        let mut consoles = room.consoles.changes();
        drop(page);
        while room.consoles.watching(None).consoles > 0 {
            consoles.changed().await.unwrap();
        }
    };
    look("anna", 51_000_001).await;
    site.turn_clock(600_000);
    look("ben", 51_000_002).await;
    let officer = room.browser_as("dana", &[Role::DataProtection], "sim").await;
    let until_ms = site.now_ms();
    let ask = async |about: &str| {
        officer.get(&format!("/api/v1/audit/saw?{about}&from_ms={start_ms}&until_ms={until_ms}")).await
    };
    let report = ask("officer=PC%201234").await.json();
    let worn = json!([{ "unit": "sim/pc-0001", "officer": "PC 1234", "callsign": null, "vehicle": null, "role": null,
        "from_ms": start_ms + 500_000, "until_ms": until_ms }]);
    assert_eq!(report["worn"], worn);
    let looks = report["looks"].as_array().unwrap();
    assert!(
        looks.iter().all(|look| look["operator"] == "ben"),
        "anna saw the device on somebody else: {looks:#?}"
    );
    let shown = looks.iter().find(|look| look["what"] == "units_read").unwrap()["shown"].as_array().unwrap();
    assert_eq!((shown.len(), &shown[0]["row"]["id"]), (1, &json!("sim/pc-0001")), "and no other device");
    let of_unit = ask("unit=sim/pc-0001").await.json();
    let names: Vec<_> = of_unit["worn"].as_array().unwrap().iter().map(|worn| &worn["officer"]).collect();
    assert_eq!(names, ["PC 77", "PC 1234"], "an answer about a device names who wore it");
    let unknown = ask("officer=PC%209").await.json();
    assert_eq!((&unknown["worn"], &unknown["looks"]), (&json!([]), &json!([])));
    for bad in ["officer=", "officer=a&unit=sim/pc-0001", "unit=nonsense"] {
        assert_eq!(ask(bad).await.status, 400, "{bad}");
    }
    room.stop().await;
}

#[tokio::test]
async fn who_saw_a_unit_and_what_exactly_is_answered_from_the_bytes_that_were_sent() {
    let site = Site::new();
    let room = site.open().await;
    let mut anna = room.browser("anna").await.stream().await;
    let wanted = move_all(&room, &site, 3, 51_000_001).await;
    anna.until("units", |units| has_latitude(units, wanted)).await;
    site.turn_clock(600_000);
    let asked_from_ms = site.now_ms();
    let wanted = move_all(&room, &site, 3, 51_000_002).await;
    anna.until("units", |units| has_latitude(units, wanted)).await;
    room.browser("ben").await.get("/api/v1/units").await;
    let span = Span { from_ms: asked_from_ms, until_ms: site.now_ms() };
    site.turn_clock(600_000);
    let cleo = room.browser("cleo").await;
    cleo.get("/api/v1/units").await;
    room.stop().await;

    let (access, pictures) = places(&site);
    let (place, nobody) = (Place { access: &access, pictures: &pictures }, Wearers::default());
    let report = saw(place, &nobody, &site.unit("pc-0001"), span).unwrap();
    let who: Vec<_> = report.looks.iter().map(|look| (look.operator.as_str(), look.what.as_str())).collect();
    assert_eq!(who, [("anna", "stream_opened"), ("ben", "units_read")], "cleo looked later");
    let seen = |look: usize| -> Vec<_> {
        let shown = report.looks[look].shown.iter();
        shown.map(|shown| (shown.was_there, shown.row["position"]["lat"].as_f64())).collect()
    };
    assert_eq!(seen(0)[0], (true, Some(51.000_001)), "it was on the screen when the time began");
    assert!(seen(0).contains(&(false, Some(51.000_002))), "{:?}", seen(0));
    assert_eq!(seen(1), [(false, Some(51.000_002))]);
    assert!(report.looks.iter().all(|look| look.shown.iter().all(|shown| shown.row["id"] == "sim/pc-0001")));

    let whole = Span { from_ms: 0, until_ms: u64::MAX };
    let looks = looks(&access, "cleo", whole).unwrap().looks;
    let whats: Vec<_> = looks.iter().map(|look| look.what.as_str()).collect();
    assert_eq!(whats, ["session_opened", "units_read"]);
    assert!(
        saw(place, &nobody, &site.unit("pc-9999"), whole).unwrap().looks[0].shown.is_empty(),
        "never shown"
    );

    let out = site.dir.path().join("for the commissioner");
    let exported = export(place, &out, true).unwrap();
    assert_eq!(exported.verdict.broken, None);
    let copy = (out.join(ACCESS_DIR), out.join(PICTURES_DIR));
    let again =
        saw(Place { access: &copy.0, pictures: &copy.1 }, &nobody, &site.unit("pc-0001"), span).unwrap();
    assert_eq!(again.looks, report.looks, "the export answers what the gateway answers");
    let manifest = std::fs::read_to_string(out.join("manifest.sha256")).unwrap();
    assert_eq!(manifest.lines().count(), exported.files);
    for line in manifest.lines() {
        let (sha256, name) = line.split_once("  ").unwrap();
        assert_eq!(hash::of(&std::fs::read(out.join(name)).unwrap()).to_string(), sha256, "{name}");
    }
}

#[tokio::test]
async fn reading_the_record_is_for_its_roles_and_is_on_record_before_it_is_served() {
    let site = Site::new();
    let room = site.open().await;
    let wanted = move_all(&room, &site, 3, 51_000_000).await;
    let mut anna = room.browser("anna").await.stream().await;
    anna.until("units", |units| has_latitude(units, wanted)).await;
    let saw = format!("/api/v1/audit/saw?unit=sim/pc-0001&from_ms={0}&until_ms={0}", site.now_ms());
    assert_eq!(room.browser("ben").await.get(&saw).await.status, 403, "an operator reads no record");
    let auditor = room.browser_as("dora", &[Role::Auditor], "*").await;
    let answer = auditor.get(&saw).await.json();
    assert!(answer["purpose"].as_str().unwrap().contains("s.62(4)"), "{answer}");
    assert_eq!(answer["looks"][0]["operator"], "anna");
    assert_eq!(answer["looks"][0]["shown"][0]["row"]["position"]["lat"], wanted);
    assert_eq!(auditor.get("/api/v1/audit/verify").await.json()["broken"], serde_json::Value::Null);
    let export = format!("/api/v1/audit/export?from_ms={0}&until_ms={0}", site.now_ms());
    assert_eq!(auditor.get(&export).await.status, 403);
    let officer = room.browser_as("emma", &[Role::DataProtection], "*").await;
    assert!(officer.get(&export).await.json()["lines"].as_array().unwrap().len() > 3);
    let narrow = room.browser_as("finn", &[Role::DataProtection], "met").await;
    assert_eq!(narrow.get(&saw).await.status, 404, "a force that is not theirs does not exist");
    assert_eq!(narrow.get(&export).await.status, 403);
    for bad in [
        "/api/v1/audit/saw",
        "/api/v1/audit/saw?unit=x&from_ms=1&until_ms=2",
        "/api/v1/audit/looks?operator=a&from_ms=2&until_ms=1",
    ] {
        assert_eq!(auditor.get(bad).await.status, 400, "{bad}");
    }
    let read = |what: &str| access_lines(&site).iter().filter(|line| line["what"] == what).count();
    assert_eq!((read("audit_read"), read("audit_exported")), (2, 1));
    room.stop().await;
}

#[tokio::test]
async fn what_nobody_looks_at_is_not_kept() {
    let site = Site::new();
    let room = site.open().await;
    let wanted = move_all(&room, &site, 5, 51_000_000).await;
    assert_eq!(std::fs::read_dir(places(&site).1).unwrap().count(), 0);
    let mut stream = room.browser("anna").await.stream().await;
    stream.until("units", |units| has_latitude(units, wanted)).await;
    assert_eq!(std::fs::read_dir(places(&site).1).unwrap().count(), 1);
    room.stop().await;
}
