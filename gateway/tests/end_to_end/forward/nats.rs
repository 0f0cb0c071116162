//! The JetStream sink against a real server that is killed, stopped, emptied and full.

use std::collections::BTreeSet;

use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use fieldpost_gateway::forward::nats::{NatsSettings, NatsSink};

use super::nats_server::{NatsServer, Stored};
use super::rig::{Rig, key, wait_for};
use crate::door::{FORCE, TestDoor};
use crate::mqtt::{Client, Heard, position, text};

pub(crate) const STREAM: &str = "FIELDPOST";

pub(crate) fn settings(server: &NatsServer) -> NatsSettings {
    NatsSettings {
        url: server.url(),
        stream: STREAM.into(),
        subject_prefix: "fieldpost".into(),
        replicas: None,
        duplicate_window: None,
        credentials: None,
        authority: None,
        client: None,
    }
}

pub(crate) fn sink(server: &NatsServer) -> NatsSink {
    NatsSink::new(settings(server))
}

/// The distinct ids; every message's id header must be its event's id.
fn distinct_ids(stored: &[Stored]) -> BTreeSet<String> {
    for message in stored {
        assert_eq!(message.event["id"], message.message_id.as_str());
    }
    stored.iter().map(|message| message.message_id.clone()).collect()
}

fn all_keys(last: u32) -> BTreeSet<String> {
    (1..=last).map(key).collect()
}

#[tokio::test]
async fn every_record_arrives_once_in_order_under_its_subject() {
    let server = NatsServer::start().await;
    let mut rig = Rig::new();
    rig.append(1..=1000).await;
    rig.start(sink(&server));
    rig.append(1001..=1500).await;
    rig.until_drained().await;
    let stored = server.stored(STREAM).await;
    let ids: Vec<_> = stored.iter().map(|message| message.message_id.clone()).collect();
    assert_eq!(ids, (1..=1500).map(key).collect::<Vec<_>>());
    assert!(stored.iter().all(|message| message.subject == "fieldpost.sim.position.pc%2E0001"));
    assert_eq!(stored[6].event["data"]["latitude_deg"], serde_json::json!(51.500007));
    let mut stream = server.jetstream().await.get_stream(STREAM).await.unwrap();
    let config = stream.info().await.unwrap().config.clone();
    assert_eq!(config.storage, StorageType::File);
    assert_eq!(config.duplicate_window.as_secs(), 600);
    assert_eq!(rig.figures().delivered_count, 1500);
    rig.stop().await;
}

#[tokio::test]
async fn a_server_killed_under_load_and_gone_for_a_while_loses_nothing() {
    let mut server = NatsServer::start().await;
    let mut rig = Rig::new();
    rig.start(sink(&server));
    rig.append(1..=2000).await;
    rig.until("the first deliveries", |figures| figures.delivered_count > 0).await;
    server.kill();
    // The spool goes on accepting: devices notice nothing.
    rig.append(2001..=4000).await;
    rig.until("the forwarder to notice", |figures| figures.is_failing).await;
    server.run().await;
    rig.append(4001..=4500).await;
    rig.until_drained().await;
    rig.stop().await;
    let stored = server.stored(STREAM).await;
    assert_eq!(distinct_ids(&stored), all_keys(4500));
    assert_eq!(stored.len(), 4500, "within the duplicate window the stream itself drops repetitions");
}

#[tokio::test]
async fn a_server_that_hangs_is_given_up_and_everything_arrives_when_it_moves_again() {
    let server = NatsServer::start().await;
    let mut rig = Rig::new();
    rig.start(sink(&server));
    rig.append(1..=100).await;
    rig.until_drained().await;
    server.suspend();
    rig.append(101..=1500).await;
    rig.until("an attempt to end in a time-out", |figures| figures.is_failing).await;
    server.resume();
    rig.until_drained().await;
    rig.stop().await;
    let stored = server.stored(STREAM).await;
    assert_eq!(distinct_ids(&stored), all_keys(1500));
    assert_eq!(stored.len(), 1500);
}

#[tokio::test]
async fn a_server_that_is_not_there_yet_is_waited_for_and_stopping_meanwhile_is_quick() {
    let mut server = NatsServer::start().await;
    server.kill();
    let mut rig = Rig::new();
    rig.append(1..=50).await;
    rig.start(sink(&server));
    rig.until("a failure", |figures| figures.is_failing).await;
    rig.stop().await;
    rig.start(sink(&server));
    server.run().await;
    rig.until_drained().await;
    assert_eq!(distinct_ids(&server.stored(STREAM).await), all_keys(50));
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_deleted_under_way_is_made_again() {
    let server = NatsServer::start().await;
    let mut rig = Rig::new();
    rig.start(sink(&server));
    rig.append(1..=10).await;
    rig.until_drained().await;
    server.jetstream().await.delete_stream(STREAM).await.unwrap();
    rig.append(11..=20).await;
    rig.until_drained().await;
    let expected: BTreeSet<_> = (11..=20).map(key).collect();
    assert_eq!(distinct_ids(&server.stored(STREAM).await), expected);
    rig.stop().await;
}

#[tokio::test]
async fn a_full_stream_is_waited_for_and_only_what_is_owed_is_published_again() {
    let server = NatsServer::start().await;
    let context = server.jetstream().await;
    let mut config = Config {
        name: STREAM.into(),
        subjects: vec!["fieldpost.>".into()],
        max_messages: 60,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    context.create_stream(config.clone()).await.unwrap();
    let mut rig = Rig::new();
    rig.append(1..=100).await;
    rig.start(sink(&server));
    rig.until("the stream to be full", |figures| figures.is_failing).await;
    assert_eq!(rig.figures().delivered_count, 60, "what was acknowledged counts although the batch failed");
    config.max_messages = -1;
    context.update_stream(config).await.unwrap();
    rig.until_drained().await;
    let stored = server.stored(STREAM).await;
    assert_eq!(stored.len(), 100);
    assert_eq!(distinct_ids(&stored), all_keys(100));
    assert_eq!(rig.figures().delivered_count, 100);
    rig.stop().await;
}

#[tokio::test]
async fn a_message_too_large_for_the_stream_is_set_aside_and_the_rest_goes_through() {
    let server = NatsServer::start().await;
    let context = server.jetstream().await;
    let config = Config {
        name: STREAM.into(),
        subjects: vec!["fieldpost.>".into()],
        // The sequence of the hundred-thousandth record makes its event three bytes longer than the rest.
        max_message_size: i32::try_from(largest_message_of_two_digits()).unwrap(),
        ..Config::default()
    };
    context.create_stream(config).await.unwrap();
    let mut rig = Rig::new();
    rig.append(10..=20).await;
    rig.append(100_000..=100_000).await;
    rig.append(21..=30).await;
    rig.start(sink(&server));
    rig.until_drained().await;
    let expected: BTreeSet<_> = (10..=30).map(key).collect();
    assert_eq!(distinct_ids(&server.stored(STREAM).await), expected);
    assert_eq!(rig.figures().refused_count, 1);
    let refused = std::fs::read_to_string(rig.path("refused.ndjson")).unwrap();
    let refused: serde_json::Value = serde_json::from_str(refused.trim()).unwrap();
    assert_eq!(
        (refused["reason"].as_str(), refused["event"]["id"].as_str()),
        (Some("too-large"), Some(&*key(100_000)))
    );
    rig.stop().await;
}

/// Payload and headers of an event whose sequence has two digits.
fn largest_message_of_two_digits() -> usize {
    use fieldpost_gateway::forward::release::Release;
    use fieldpost_gateway::forward::{ClockBounds, Renderer};
    use fieldpost_gateway::record::Record;
    use fieldpost_gateway::spool::Lsn;
    let record = Record::decode(Lsn(1), &super::rig::record(99)).unwrap();
    let event = Renderer::new(ClockBounds::default(), Release::everything()).event(&record).unwrap();
    let headers = format!(
        "NATS/1.0\r\nNats-Msg-Id: {}\r\ncontent-type: application/cloudevents+json\r\n\r\n",
        event.key
    );
    event.json.len() + headers.len() + 2
}

#[tokio::test]
async fn a_stream_that_acknowledges_nothing_is_never_believed() {
    let server = NatsServer::start().await;
    let config = Config {
        name: STREAM.into(),
        subjects: vec!["fieldpost.>".into()],
        no_ack: true,
        ..Config::default()
    };
    server.jetstream().await.create_stream(config).await.unwrap();
    let mut rig = Rig::new();
    rig.append(1..=5).await;
    rig.start(sink(&server));
    rig.until("a failure", |figures| figures.is_failing).await;
    wait_for("the reason to be counted", || {
        let metrics = rig.metrics.encode();
        metrics.lines().any(|line| {
            line.starts_with(r#"fieldpost_forward_retries_total{forwarder="sink",reason="misconfigured"}"#)
                && !line.ends_with(" 0")
        })
    })
    .await;
    assert_eq!(rig.figures().delivered_count, 0);
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_that_keeps_less_than_asked_is_left_as_it_is_and_waited_for() {
    let server = NatsServer::start().await;
    let context = server.jetstream().await;
    let mut config = Config {
        name: STREAM.into(),
        subjects: vec!["fieldpost.>".into()],
        duplicate_window: std::time::Duration::from_secs(2),
        ..Config::default()
    };
    context.create_stream(config.clone()).await.unwrap();
    let mut rig = Rig::new();
    rig.append(1..=5).await;
    let window = Some(std::time::Duration::from_mins(10));
    rig.start(NatsSink::new(NatsSettings { duplicate_window: window, ..settings(&server) }));
    rig.until("a failure", |figures| figures.is_failing).await;
    let mut stream = context.get_stream(STREAM).await.unwrap();
    let found = stream.info().await.unwrap();
    assert_eq!((found.config.duplicate_window.as_secs(), found.state.messages), (2, 0));
    config.duplicate_window = std::time::Duration::from_mins(10);
    context.update_stream(config).await.unwrap();
    rig.until_drained().await;
    assert_eq!(distinct_ids(&server.stored(STREAM).await), all_keys(5));
    rig.stop().await;
}

#[tokio::test]
async fn nothing_that_a_device_sends_becomes_a_header_or_a_token() {
    const HEADERS: [&str; 4] =
        ["Nats-Msg-Id", "Nats-Rollup", "Nats-Expected-Stream", "Nats-Expected-Last-Msg-Id"];
    let server = NatsServer::start().await;
    let mut door = TestDoor::open().await;
    let mut ids = BTreeSet::new();
    for (seq, name) in (0..).zip(HEADERS) {
        // A device that is called like a header, and says so in user properties too, line breaks included.
        let mut client = Client::connected(&mut door, name).await;
        let mut properties = Vec::new();
        for (header, value) in [(name, "all"), ("x\r\nNats-Rollup", "all\r\n\r\n")] {
            properties.push(0x26);
            text(header, &mut properties);
            text(value, &mut properties);
        }
        let bytes = client.publish_bytes("l", 1, &properties, &position(fieldpost_protocol::Mode::Test, seq));
        client.send(&bytes).await;
        let heard = client.hear().await;
        assert!(matches!(heard, Heard::Puback { .. }), "{heard:?}");
        ids.insert(format!("{FORCE}.{name}.1.{seq}"));
    }
    let mut rig = Rig::over(door.spool.clone());
    rig.start(sink(&server));
    rig.until_drained().await;
    rig.stop().await;
    let stored = server.stored(STREAM).await;
    assert_eq!(distinct_ids(&stored), ids);
    for message in &stored {
        assert_eq!(message.headers, ["Nats-Msg-Id", "content-type"], "{}", message.subject);
        assert_eq!(message.subject.split('.').count(), 4);
    }
}
