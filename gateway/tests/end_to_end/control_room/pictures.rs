//! What the page is shown, and that no page can hold another back.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use fieldpost_gateway::audit::AccessFiles;
use fieldpost_gateway::config::roster::Roster;
use fieldpost_gateway::http::session::IDLE_MS_MAX;
use fieldpost_gateway::live::cursor;
use fieldpost_gateway::people::Forces;
use fieldpost_gateway::spool::faulty::FaultyDisk;

use super::rig::{PATIENCE, Site};

#[tokio::test]
async fn a_stream_begins_with_everything_and_goes_on_with_what_changes() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0002", 51_500_000)).await;
    room.commit(&site.position("pc-0001", 51_600_000)).await;
    let browser = room.browser("anna").await;
    // The picture is at most a quarter of a second old: wait until it has both.
    let mut stream = browser.stream().await;
    stream.until("units", |_| browser_sees(&room, 2)).await;
    let mut stream = browser.stream().await;
    let first = stream.next().await.unwrap();
    assert_eq!(first.name, "units");
    let units = first.json();
    let ids: Vec<_> = units.as_array().unwrap().iter().map(|unit| unit["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["sim/pc-0001", "sim/pc-0002"]);
    assert_eq!(
        units[0],
        serde_json::json!({
            "gaps": [], "id": "sim/pc-0001", "force": "sim", "device": "pc-0001", "callsign": "pc-0001", "kind": "officer",
            "mode": "test", "connected": false, "duty": null, "battery_pct": null,
            "position": {
                "lon": -1.234567, "lat": 51.6, "speed_mps": 1.4, "course_deg": 90.0, "accuracy_m": 5,
                "device_time_ms": site.now_ms(), "received_at_ms": site.now_ms(), "clock": "gnss", "history": false,
            },
            "last_report_ms": site.now_ms(), "gaps": [], "stale": false, "alarm": null,
        })
    );
    let gateway = stream.next_of("gateway").await.unwrap().json();
    assert_eq!(gateway["spool"], "ok");
    site.fleet.connect(&site.unit("pc-0002"));
    room.commit(&site.position("pc-0002", 51_700_000)).await;
    let changed = stream.until("units", |units| units[0]["position"]["lat"] == 51.7).await;
    assert_eq!(changed.as_array().unwrap().len(), 1, "only what changed");
    stream
        .until("gateway", |gateway| {
            // Beside the three, the gateway's own words on who watches.
            gateway["devices_connected"] == 1 && gateway["records_total"].as_u64() > Some(3)
        })
        .await;
    let metrics = room.metrics.encode();
    for line in ["live_units 2", "live_pages 2", "live_sessions 1"] {
        assert!(metrics.contains(&format!("fieldpost_{line}\n")), "{line}: {metrics}");
    }
    assert!(!metrics.contains("fieldpost_live_publish_to_page_seconds_count 0"), "{metrics}");
    let units = browser.get("/api/v1/units").await.json();
    assert!(cursor::read(units["cursor"].as_str().unwrap(), &Forces::All).is_some());
    assert_eq!(units["units"][1]["connected"], true);
    room.stop().await;
}

fn browser_sees(room: &super::rig::Room, count: usize) -> bool {
    let units = super::rig::seen(room.live().units(&Forces::All));
    serde_json::from_slice::<serde_json::Value>(&units).unwrap()["units"].as_array().unwrap().len() == count
}

#[tokio::test]
async fn a_name_is_text_whatever_it_says() {
    let mut site = Site::new();
    let callsign = r#"</script><img src=x onerror=alert(1)>"'"#;
    let roster = format!(
        "[[unit]]\nforce = \"sim\"\ndevice = \"pc-0001\"\ncallsign = '''{callsign}'''\nkind = \"vehicle\"\n"
    );
    site.roster = Arc::new(Roster::from_text(Path::new("roster.toml"), &roster).unwrap());
    let room = site.open().await;
    let (_, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let browser = room.browser("anna").await;
    let mut stream = browser.stream().await;
    let units = stream.until("units", |units| units[0].is_object()).await;
    let alarms = browser.get("/api/v1/alarms").await.json();
    assert_eq!(alarms["alarms"][0]["callsign"], callsign);
    assert_eq!((&units[0]["callsign"], &units[0]["kind"]), (&callsign.into(), &"vehicle".into()));
    let answer = browser.get("/api/v1/units").await;
    assert_eq!(answer.headers["content-type"], "application/json");
    assert_eq!(answer.headers["x-content-type-options"], "nosniff");
    room.stop().await;
}

#[tokio::test]
async fn a_browser_that_stops_reading_lags_and_delays_nobody() {
    let site = Site::new();
    let room = site.open().await;
    let mut stuck = room.browser("anna").await.stream().await;
    let mut quick = room.browser("ben").await.stream().await;
    stuck.next().await.unwrap();
    // Every round changes 400 units, about 150 KB of JSON: more than socket buffers and the queue hold, soon.
    let mut latitude_udeg = 51_000_000;
    while room.metrics.live.pages_lagged.get() == 0 {
        latitude_udeg += 1;
        let mut last = None;
        for unit in 0..400 {
            last = Some(room.append(&site.position(&format!("pc-{unit:04}"), latitude_udeg)).await);
        }
        room.spool.wait_committed(last.unwrap()).await.unwrap();
        let wanted = f64::from(latitude_udeg) / 1e6;
        // The page that reads sees every round.
        tokio::time::timeout(
            PATIENCE,
            quick.until("units", |units| {
                units.as_array().unwrap().iter().any(|unit| unit["position"]["lat"] == wanted)
            }),
        )
        .await
        .expect("another page's queue delays nobody");
    }
    let lagged = stuck.next_of("lagged").await.unwrap();
    assert_eq!(lagged.data, "{}");
    room.stop().await;
}

#[tokio::test]
async fn streams_end_when_the_gateway_stops() {
    let site = Site::new();
    let room = site.open().await;
    let mut stream = room.browser("anna").await.stream().await;
    stream.next().await.unwrap();
    let reading = tokio::spawn(async move { while stream.next().await.is_some() {} });
    tokio::time::timeout(PATIENCE, room.stop()).await.expect("a stream must not hold up the shutdown");
    tokio::time::timeout(PATIENCE, reading).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_ends_with_its_session() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let mut stream = browser.stream().await;
    stream.next().await.unwrap();
    site.turn_clock(IDLE_MS_MAX + 1);
    while stream.next().await.is_some() {}
    assert_eq!(browser.get("/api/v1/units").await.status, 401);
    room.stop().await;
}

#[tokio::test]
async fn the_page_opens_before_the_backlog_is_read_and_says_so() {
    let site = Site::new();
    let disk = FaultyDisk::new();
    let room =
        site.open_on(site.spool(Arc::new(disk.clone())), AccessFiles::new(site.dir.path()), None).await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    room.stop().await;

    let spool = site.spool(Arc::new(disk.clone()));
    disk.fail_reads(ErrorKind::Interrupted);
    let room = site.open_on(spool, AccessFiles::new(site.dir.path()), None).await;
    let browser = room.browser("anna").await;
    let mut stream = browser.stream().await;
    assert!(room.live().is_rebuilding());
    assert_eq!(stream.next_of("units").await.unwrap().data, "[]");
    stream
        .until("gateway", |gateway| gateway["degraded"][0].as_str().unwrap().starts_with("Rebuilding"))
        .await;
    disk.heal();
    stream.until("units", |units| units[0]["device"] == "pc-0001").await;
    stream.until("gateway", |gateway| gateway["degraded"].as_array().unwrap().is_empty()).await;
    room.stop().await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_written_is_said_on_the_page() {
    let site = Site::new();
    let room = site.open().await;
    let mut stream = room.browser("anna").await.stream().await;
    let in_the_way = site.dir.path().join("alarms.json.new");
    fs::create_dir(&in_the_way).unwrap();
    let (_, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let cannot_be_saved =
        |gateway: &serde_json::Value| gateway["degraded"].to_string().contains("cannot be saved");
    stream.until("gateway", cannot_be_saved).await;
    fs::remove_dir(&in_the_way).unwrap();
    stream.until("gateway", |gateway| !cannot_be_saved(gateway)).await;
    room.stop().await;
}
