//! Events that machines fetch, over HTTP: who gets in, what they see, and the page's own program.

use std::time::Duration;

use fieldpost_gateway::forward::release::{Field, Fields, Forces, Release};
use fieldpost_gateway::machines::{Change, Machines, NewMachine};
use fieldpost_protocol::ForceId;

use super::browser::Browser;
use super::rig::{PATIENCE, Room, Site};
use crate::forward::page::Program;

const PAGE: &str = include_str!("../../../../docs/sinks/feed.md");

fn by() -> Change {
    Change { by: "test".into(), at_ms: fieldpost_gateway::live::system_now_ms() }
}

/// A machine of the force `sim`, and its token.
fn machine(site: &Site) -> (Machines, String) {
    let machines = Machines::new(site.dir.path());
    let forces = Forces::Only([ForceId::try_new("sim").unwrap()].into());
    let fields = Fields::of(&[Field::Position, Field::Alarm]);
    let release = Release { forces, fields, ..Release::everything() };
    let token = machines.add(NewMachine { name: "cad".into(), release, days: 1 }, by()).unwrap();
    (machines, token.reveal().to_owned())
}

fn with(room: &Room, token: &str) -> Browser {
    room.stranger().with("authorization", &format!("Bearer {token}"))
}

#[tokio::test]
async fn only_a_machines_token_opens_the_feed_and_it_opens_nothing_else() {
    let site = Site::new();
    let room = site.open().await;
    let (machines, token) = machine(&site);
    let strangers = [
        room.stranger(),
        with(&room, &token[..token.len() - 1]),
        room.stranger().with("authorization", &format!("Basic {token}")),
        room.browser("demo").await,
    ];
    for stranger in strangers {
        let answer = stranger.get("/api/v1/feed").await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Bearer")));
    }
    let cad = with(&room, &token);
    for elsewhere in ["/api/v1/units", "/api/v1/stream", "/api/v1/session", "/api/v1/openapi.json"] {
        assert_eq!(cad.get(elsewhere).await.status, 401, "{elsewhere}");
    }
    for wrong in ["/api/v1/feed?cursor=9-9-9", "/api/v1/feed?cursor=x", "/api/v1/feed?from=0-0-0"] {
        assert_eq!(cad.get(wrong).await.status, 400, "{wrong}");
    }
    let mut feed = cad.stream_at("/api/v1/feed").await;
    assert_eq!(feed.next().await.unwrap().name, "cursor");
    let renewed = machines.renew("cad", 1, by()).unwrap();
    while feed.next().await.is_some() {}
    assert_eq!(cad.get("/api/v1/feed").await.status, 401, "the old token has ended");
    let mut feed = with(&room, renewed.reveal()).stream_at("/api/v1/feed").await;
    machines.revoke("cad", by()).unwrap();
    while feed.next().await.is_some() {}
    std::fs::write(site.dir.path().join("machines.json"), "{").unwrap();
    assert_eq!(with(&room, renewed.reveal()).get("/api/v1/feed").await.status, 503);
    room.stop().await;
}

#[tokio::test]
async fn a_machine_sees_its_forces_and_its_fields_and_nothing_else() {
    let site = Site::new();
    let room = site.open().await;
    let (_, token) = machine(&site);
    let mut feed = with(&room, &token).stream_at("/api/v1/feed").await;
    room.commit(&site.position("kent/pc-kent", 51_000_000)).await;
    let (_, alarm) = site.alarm("kent/pc-kent");
    room.commit(&alarm).await;
    room.commit(&site.position("pc-0001", 52_000_000)).await;
    let event = feed.next_of("position").await.unwrap();
    let place = &event.json()["data"];
    assert_eq!(place["geometry"]["coordinates"][1], 52.0);
    assert_eq!(place["properties"]["device"], "pc-0001");
    assert!(
        place["properties"]["callsign"].is_null() && place["properties"]["speed_mps"].is_null(),
        "{place}"
    );
    let received = String::from_utf8(feed.received.clone()).unwrap();
    assert!(!received.contains("kent"), "{received}");
    room.stop().await;
}

#[tokio::test]
async fn the_pages_program_has_everything_once_though_it_is_killed() {
    let site = Site::new();
    let room = site.open().await;
    let (_, token) = machine(&site);
    std::fs::write(site.dir.path().join("cad.token"), token).unwrap();
    let url = format!("http://{}", room.http.address());
    let start = |name| Program::start(PAGE, site.dir.path(), name, &[&url, "cad.token", "cad.cursor"]);
    let mut first = start("first.py");
    wait_for(|| site.dir.path().join("cad.cursor").exists()).await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    wait_for(|| first.said().contains("sim.pc-0001.3.0")).await;
    drop(first);
    room.commit(&site.position("pc-0001", 51_600_000)).await;
    let mut second = start("second.py");
    room.commit(&site.position("pc-0001", 51_700_000)).await;
    wait_for(|| second.said().contains("sim.pc-0001.3.2")).await;
    assert!(second.said().contains("position sim.pc-0001.3.1 {'type': 'Point'"), "{}", second.said());
    drop(second);
    room.stop().await;
}

async fn wait_for(mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it must come");
}
