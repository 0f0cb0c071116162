//! The history, as an operator asks for it: of files, and of PostgreSQL.

use std::pin::Pin;

use fieldpost_gateway::audit::files::ACCESS_DIR;
use fieldpost_gateway::people::Role;
use fieldpost_gateway::postgres::Server;
use fieldpost_protocol::Lane;
use serde_json::{Value, json};

use super::browser::Browser;
use super::past_alarms::{past_alarms, shelved, what_rules_found};
use super::rig::{PATIENCE, Room, Site, access_lines};
use crate::postgres_server::Cluster;

/// What holds whoever keeps the rows.
type Claim = for<'a> fn(&'a Site) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

pub(crate) async fn ask(browser: &Browser, path: &str) -> Value {
    let answer = browser.get(&format!("/api/v1/history/{path}")).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

pub(crate) async fn kept(room: &Room, record: &fieldpost_gateway::record::Record) {
    room.commit(record).await;
    room.history.history().wait_taken(room.spool.committed()).await;
}

/// Positions of one unit at so many seconds, one minute after the other; turns the clock with them.
async fn walk(site: &Site, room: &Room, device: &str, latitudes_udeg: &[i32]) -> Vec<u64> {
    let mut times = Vec::new();
    for latitude_udeg in latitudes_udeg {
        times.push(site.now_ms());
        kept(room, &site.position(device, *latitude_udeg)).await;
        site.turn_clock(60_000);
    }
    times
}

/// One server, a schema of its own for each claim, and a role that owns these and nothing else.
#[tokio::test]
async fn a_history_on_postgres_answers_as_one_of_files_does() {
    let cluster = Cluster::start(&[]).unwrap();
    cluster.sql("postgres", "CREATE ROLE gateway LOGIN").unwrap();
    let claims: [(&str, Claim); 9] = [
        ("place", |site| Box::pin(where_a_unit_was(site))),
        ("track", |site| Box::pin(a_track(site))),
        ("late", |site| Box::pin(what_came_late(site))),
        ("replay", |site| Box::pin(a_replay(site))),
        ("alarms", |site| Box::pin(past_alarms(site))),
        ("rules", |site| Box::pin(what_rules_found(site))),
        ("shelf", |site| Box::pin(shelved(site))),
        ("forces", |site| Box::pin(another_forces_units(site))),
        ("record", |site| Box::pin(no_record_no_past(site))),
    ];
    for (schema, claim) in claims {
        cluster.sql("postgres", &format!("CREATE SCHEMA {schema} AUTHORIZATION gateway")).unwrap();
        let server = Server {
            url: cluster.url("gateway", "postgres"),
            schema: schema.to_owned(),
            password_file: None,
            authority: None,
            client: None,
        };
        let mut site = Site::new();
        site.database = Some(server);
        claim(&site).await;
        // It was this database that was asked.
        let rows = format!(
            "SELECT (SELECT count(*) FROM {schema}.movement) + (SELECT count(*) FROM {schema}.alarms)"
        );
        assert_ne!(cluster.sql("postgres", &rows).unwrap(), "0", "{schema}");
    }
}

#[tokio::test]
async fn without_an_access_record_there_is_no_past() {
    no_record_no_past(&Site::new()).await;
}

async fn no_record_no_past(site: &Site) {
    let room = site.open().await;
    let times = walk(site, &room, "pc-0001", &[51_500_000, 51_501_000]).await;
    let browser = room.browser("anna").await;
    let span = format!("from_ms={}&until_ms={}", times[0], times[1] + 1);
    let paths = [
        format!("at?unit=sim/pc-0001&at_ms={}", times[1]),
        format!("units?at_ms={}", times[1]),
        format!("track?unit=sim/pc-0001&{span}"),
        format!("track?unit=sim/pc-0001&{span}&format=geojson"),
        format!("replay?{span}&step_ms=30000"),
    ];
    for path in &paths {
        assert!(ask(&browser, path).await.to_string().contains("51.50"), "{path}: there is something to see");
    }
    let record = site.dir.path().join(ACCESS_DIR);
    std::fs::remove_dir_all(&record).unwrap();
    std::fs::write(&record, "no directory").unwrap();
    for path in &paths {
        let answer = browser.get(&format!("/api/v1/history/{path}")).await;
        assert_eq!(answer.status, 503, "{path}");
        assert!(!answer.text().contains("51.5"), "{path}");
    }
    room.stop().await;
}

#[tokio::test]
async fn where_a_unit_was_is_on_record_before_it_is_shown_and_outlives_a_restart() {
    where_a_unit_was(&Site::new()).await;
}

async fn where_a_unit_was(site: &Site) {
    let room = site.open().await;
    let times = walk(site, &room, "pc-0001", &[51_500_000, 51_501_000, 51_502_000]).await;
    let at = format!("at?unit=sim/pc-0001&at_ms={}", times[1] + 30_000);
    let browser = room.browser("anna").await;
    let before = ask(&browser, &at).await;
    assert_eq!(before["unit"]["position"]["lat"], 51.501);
    assert_eq!(before["unit"]["position"]["history"], false);
    assert_eq!(before["shown"], before["unit"]["position"]);
    let last = access_lines(site).pop().unwrap();
    assert_eq!((&last["what"], &last["subjects"]), (&json!("place_read"), &json!(["sim/pc-0001"])));
    room.stop().await;

    let room = site.open().await;
    room.history.history().wait_taken(room.spool.committed()).await;
    assert_eq!(ask(&room.browser("anna").await, &at).await, before);
    room.stop().await;
}

#[tokio::test]
async fn a_track_comes_in_pages_with_its_gaps_and_as_geojson() {
    a_track(&Site::new()).await;
}

async fn a_track(site: &Site) {
    let room = site.open().await;
    let mut times = walk(site, &room, "pc-0001", &[51_500_000, 51_501_000, 51_502_000]).await;
    site.turn_clock(600_000);
    times.extend(walk(site, &room, "pc-0001", &[51_503_000, 51_504_000]).await);
    let browser = room.browser("anna").await;
    let question = format!("track?unit=sim/pc-0001&from_ms={}&until_ms={}", times[0], times[4] + 1);
    let whole = ask(&browser, &question).await;
    assert_eq!((whole["points"].as_array().unwrap().len(), &whole["next"]), (5, &Value::Null));
    assert_eq!(whole["gaps"], json!([{"from_ms": times[2], "until_ms": times[3], "kind": "silent"}]));

    let mut points = Vec::new();
    let mut gaps = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = ask(&browser, &format!("{question}&limit=2{cursor}")).await;
        points.extend(page["points"].as_array().unwrap().clone());
        gaps.extend(page["gaps"].as_array().unwrap().clone());
        let Some(next) = page["next"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert_eq!((Value::from(points), Value::from(gaps)), (whole["points"].clone(), whole["gaps"].clone()));

    let answer = browser.get(&format!("/api/v1/history/{question}&format=geojson")).await;
    assert_eq!(answer.header("content-type"), Some("application/geo+json"));
    let features = answer.json()["features"].as_array().unwrap().clone();
    assert!(features.iter().all(|feature| feature["properties"]["mode"] == "test"), "{features:?}");
    let lines: Vec<Value> = features
        .iter()
        .filter(|f| f["geometry"]["type"] == "LineString")
        .map(|f| f["geometry"]["coordinates"].clone())
        .collect();
    let at = |lat: f64| json!([-1.234567, lat]);
    assert_eq!(lines, [json!([at(51.5), at(51.501), at(51.502)]), json!([at(51.503), at(51.504)])]);
    room.stop().await;
}

/// The whole room runs on this test's one thread: whoever waits for the lock on it stops everybody.
#[tokio::test]
async fn a_question_that_waits_for_the_ledger_holds_up_nobody_else() {
    let site = Site::new();
    let room = site.open().await;
    let times = walk(&site, &room, "pc-0001", &[51_500_000]).await;
    let question = format!("unit=sim/pc-0001&from_ms={}&until_ms={}", times[0], times[0] + 1);
    let paths = [format!("/api/v1/history/track?{question}"), "/api/v1/ledger?device=sim/pc-0001".to_owned()];
    let anna = room.browser("anna").await;
    // Else the ledger itself wants its lock.
    room.ledger.shared().wait_folded(room.spool.committed()).await;
    for path in paths {
        let ledger = room.ledger.shared().clone();
        let (locked, is_locked) = tokio::sync::oneshot::channel();
        let (release, wait) = std::sync::mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            let _ledger = ledger.lock();
            locked.send(()).unwrap();
            wait.recv_timeout(PATIENCE).is_ok()
        });
        is_locked.await.unwrap();
        let asker = room.browser("ben").await;
        let asked = tokio::spawn(async move { asker.get(&path).await });
        // By far more turns of the runtime than a question takes to its lock.
        for _ in 0..50 {
            assert_eq!(anna.get("/api/v1/session").await.status, 200);
        }
        release.send(()).unwrap();
        assert!(holder.join().unwrap(), "nobody came through until the lock was let go");
        assert_eq!(asked.await.unwrap().status, 200);
    }
    room.stop().await;
}

#[tokio::test]
async fn what_came_late_is_marked_as_not_known_at_the_time() {
    what_came_late(&Site::new()).await;
}

async fn what_came_late(site: &Site) {
    let room = site.open().await;
    let times = walk(site, &room, "pc-0001", &[51_500_000]).await;
    // Made now, kept on the device for ten minutes, then sent as history.
    let mut late = site.position("pc-0001", 51_509_000);
    let made_ms = site.now_ms();
    site.turn_clock(600_000);
    late.received_at_ms = site.now_ms();
    late.lane = Lane::Backlog;
    kept(&room, &late).await;
    let browser = room.browser("anna").await;
    let then = ask(&browser, &format!("at?unit=sim/pc-0001&at_ms={}", made_ms + 1_000)).await;
    assert_eq!(then["unit"]["position"]["lat"], 51.509, "where it was");
    assert_eq!(then["unit"]["position"]["history"], true);
    assert_eq!(then["shown"]["lat"], 51.5, "what the page showed");
    let units = ask(&browser, &format!("units?at_ms={}", made_ms + 1_000)).await;
    assert_eq!(units["units"][0]["position"], then["unit"]["position"]);
    let before = ask(&browser, &format!("units?at_ms={}", times[0] - 1)).await;
    assert_eq!(before["units"], json!([]));
    room.stop().await;
}

#[tokio::test]
async fn a_replay_says_everything_once_and_then_what_changes() {
    a_replay(&Site::new()).await;
}

async fn a_replay(site: &Site) {
    let room = site.open().await;
    let from_ms = site.now_ms();
    walk(site, &room, "pc-0001", &[51_500_000, 51_501_000]).await;
    walk(site, &room, "pc-0002", &[51_600_000]).await;
    let browser = room.browser("anna").await;
    let until_ms = from_ms + 10 * 60_000;
    let question = format!("replay?from_ms={from_ms}&until_ms={until_ms}&step_ms=30000");
    let replay = ask(&browser, &question).await;
    let frames = replay["frames"].as_array().unwrap();
    assert_eq!((frames.len(), &replay["next"]), (20, &Value::Null));
    let told: Vec<Vec<&str>> = frames
        .iter()
        .map(|frame| {
            frame["units"].as_array().unwrap().iter().map(|unit| unit["id"].as_str().unwrap()).collect()
        })
        .collect();
    assert_eq!(told[0], ["sim/pc-0001"]);
    assert_eq!((&told[1], &told[2], &told[3]), (&vec![], &vec!["sim/pc-0001"], &vec![]));
    assert_eq!(told[4], ["sim/pc-0002"]);
    // Each frame, put on top of those before, is the list at its time.
    let mut shown = std::collections::BTreeMap::new();
    for frame in frames {
        for unit in frame["units"].as_array().unwrap() {
            shown.insert(unit["id"].to_string(), unit.clone());
        }
        let list = ask(&browser, &format!("units?at_ms={}", frame["at_ms"])).await;
        assert_eq!(list["units"].as_array().unwrap(), &shown.values().cloned().collect::<Vec<_>>());
    }
    // From the middle on, an answer is the rest of the whole.
    let rest = ask(&browser, &format!("{question}&cursor={}", from_ms + 60_000)).await;
    assert_eq!(rest["frames"].as_array().unwrap(), &frames[3..]);
    room.stop().await;
}

#[tokio::test]
async fn another_forces_units_are_as_if_they_were_not() {
    another_forces_units(&Site::new()).await;
}

async fn another_forces_units(site: &Site) {
    let room = site.open().await;
    let times = walk(site, &room, "pc-0001", &[51_500_000]).await;
    let (from_ms, until_ms) = (times[0], times[0] + 60_000);
    let other = room.browser_as("otto", &[Role::Operator], "met").await;
    for path in [
        format!("track?unit=sim/pc-0001&from_ms={from_ms}&until_ms={until_ms}"),
        format!("at?unit=sim/pc-0001&at_ms={until_ms}"),
    ] {
        let there = other.get(&format!("/api/v1/history/{path}")).await;
        let nowhere = other.get(&format!("/api/v1/history/{}", path.replace("pc-0001", "nobody"))).await;
        assert_eq!((there.status, there.text()), (404, nowhere.text()));
    }
    assert_eq!(ask(&other, &format!("units?at_ms={until_ms}")).await["units"], json!([]));
    let replay = ask(&other, &format!("replay?from_ms={from_ms}&until_ms={until_ms}&step_ms=60000")).await;
    assert_eq!(replay["frames"][0]["units"], json!([]));
    room.stop().await;
}

#[tokio::test]
async fn a_question_that_is_not_understood_or_too_large_is_refused_in_one_sentence() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    for path in [
        "track",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=0",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=9999999999999",
        "track?unit=sim/pc-0001&from_ms=-1&until_ms=5",
        "track?unit=nonsense&from_ms=0&until_ms=5",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=5&limit=0",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=5&limit=10001",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=5&cursor=x",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=5&format=kml",
        "track?unit=sim/pc-0001&from_ms=0&until_ms=5&colour=red",
        "at?unit=sim/pc-0001&at_ms=99999999999999999",
        "units?at_ms=now",
        "replay?from_ms=0&until_ms=86400001&step_ms=1000",
        "replay?from_ms=0&until_ms=5000&step_ms=10",
        "replay?from_ms=0&until_ms=5000&step_ms=1000&cursor=500",
        "alarms?from_ms=0&until_ms=5&cursor=x",
    ] {
        let answer = browser.get(&format!("/api/v1/history/{path}")).await;
        let sentence = answer.json()["error"].as_str().map(str::len);
        assert_eq!(
            (answer.status, sentence.is_some_and(|chars| (10..200).contains(&chars))),
            (400, true),
            "{path}: {}",
            answer.text()
        );
    }
    room.stop().await;
}
