//! The conversation under virtual time.

use super::*;
use crate::mqtt::{Connack, split};

const CONNACK: Connack = Connack {
    session_present: false,
    reason: 0,
    receive_max: 100,
    packet_bytes_max: 2048,
    keep_alive_s: None,
    serves_quality_one: true,
};

fn device() -> DeviceId {
    DeviceId::try_new("unit-7").expect("an identity")
}

fn connected(device: &DeviceId) -> Conversation<'_> {
    let (mut conversation, _) = Conversation::begin(device, false, 60, 3600, 0);
    conversation.on_packet(0, &Packet::Connack(CONNACK)).expect("taken in");
    conversation
}

#[test]
fn a_gateway_that_announces_less_than_promised_is_left() {
    let device = device();
    let answer = |connack| {
        let (mut conversation, _) = Conversation::begin(&device, true, 60, 3600, 0);
        conversation.on_packet(0, &Packet::Connack(connack)).map(drop)
    };
    assert_eq!(answer(CONNACK), Ok(()));
    assert_eq!(answer(Connack { receive_max: 7, ..CONNACK }), Err(Fault::Limits));
    assert_eq!(answer(Connack { serves_quality_one: false, ..CONNACK }), Err(Fault::Limits));
    assert_eq!(answer(Connack { reason: 0x87, ..CONNACK }), Err(Fault::Refused(0x87)));
    assert_eq!(answer(Connack { session_present: true, ..CONNACK }), Err(Fault::OutOfPlace));
}

#[test]
fn a_puback_names_its_publish_once() {
    let device = device();
    let mut conversation = connected(&device);
    let publish = conversation.publish(Handle(4), Lane::Alarm, 3).expect("it fits");
    assert_eq!(publish.bytes(), [0x32, 9, 0, 1, b'a', 0, 1, 0]);
    let puback = Packet::Puback { packet_id: 1, reason: 0 };
    assert_eq!(conversation.on_packet(0, &puback), Ok(Event::Acknowledged(Handle(4))));
    assert_eq!(conversation.on_packet(0, &puback), Err(Fault::OutOfPlace));
}

#[test]
fn behind_a_broker_a_publish_names_its_device() {
    let device = DeviceId::try_new(&"x".repeat(64)).expect("the longest identity");
    for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
        let mut conversation = connected(&device).with_topics(Topics::Long);
        let publish = conversation.publish(Handle(4), lane, 1000).expect("it fits");
        let topic = topic::uplink(&device, lane);
        assert_eq!(&publish.bytes()[5..5 + topic.len()], topic.as_bytes());
    }
}

#[test]
fn no_more_is_published_than_the_window_holds_and_no_packet_is_longer_than_the_gateway_takes() {
    let device = device();
    let mut conversation = connected(&device);
    assert_eq!(conversation.publish(Handle(99), Lane::Live, 2048 - 8), None);
    for number in 0..IN_FLIGHT_MAX as u32 {
        assert!(conversation.publish(Handle(number), Lane::Live, 30).is_some());
    }
    assert_eq!(conversation.publish(Handle(99), Lane::Live, 30), None);
}

#[test]
fn packet_ids_in_flight_are_not_drawn_again_when_the_numbers_wrap() {
    let device = device();
    let mut conversation = connected(&device);
    conversation.publish(Handle(1), Lane::Live, 30).expect("it fits");
    conversation.last_packet_id = u16::MAX;
    let publish = conversation.publish(Handle(2), Lane::Live, 30).expect("it fits");
    assert_eq!(publish.bytes()[5..7], [0, 2], "1 is in flight, 0 is none");
}

#[test]
fn silence_is_asked_about_after_the_keep_alive_and_ends_the_connection_15_s_later() {
    let device = device();
    let mut conversation = connected(&device);
    assert_eq!(conversation.tick_at_ms(), Some(60_000));
    assert_eq!(conversation.tick(59_999), Ok(None));
    let ping = conversation.tick(60_000).expect("not yet").expect("a ping");
    assert_eq!(ping.bytes(), [0xC0, 0]);
    assert_eq!(conversation.tick_at_ms(), Some(75_000));
    let mut answered = connected(&device);
    answered.tick(60_000).expect("not yet").expect("a ping");
    answered.on_packet(61_000, &Packet::Pingresp).expect("welcome");
    answered.note_sent(60_000);
    assert_eq!(answered.tick(75_000), Ok(None));
    assert_eq!(conversation.tick(75_000), Err(Fault::Silent));
}

#[test]
fn sending_does_not_hide_that_nothing_is_heard() {
    let device = device();
    let mut conversation = connected(&device);
    conversation.note_sent(59_000);
    assert!(conversation.tick(60_000).expect("not yet").is_some(), "heard nothing since 0");
}

#[test]
fn a_publish_that_nothing_answers_is_asked_about_after_10_s_however_much_is_sent_after_it() {
    let device = device();
    let mut conversation = connected(&device);
    conversation.publish(Handle(1), Lane::Alarm, 42).expect("it fits");
    for now_ms in [1000, 5000, 9000] {
        conversation.note_sent(now_ms);
    }
    assert_eq!(conversation.tick_at_ms(), Some(11_000));
    assert!(conversation.tick(11_000).expect("not yet").is_some());
    // The gateway is there and cannot store just now: asked again, not left.
    conversation.on_packet(11_500, &Packet::Pingresp).expect("welcome");
    assert_eq!(conversation.tick_at_ms(), Some(21_500));
    conversation.on_packet(12_000, &Packet::Puback { packet_id: 1, reason: 0 }).expect("stored");
    assert_eq!(conversation.tick_at_ms(), Some(69_000));
}

#[test]
fn a_gateway_that_does_not_answer_the_connect_is_left() {
    let device = device();
    let (mut conversation, _) = Conversation::begin(&device, true, 60, 3600, 0);
    assert_eq!(conversation.tick(14_999), Ok(None));
    assert_eq!(conversation.tick(15_000), Err(Fault::Silent));
}

#[test]
fn a_downlink_of_quality_one_is_answered_and_anothers_is_out_of_place() {
    let device = device();
    let mut conversation = connected(&device);
    let publish = Packet::Publish { packet_id: Some(9), topic: "fp1/unit-7/down", payload: &[1, 2] };
    let Ok(Event::Downlink { frame: [1, 2], answer: Some(answer) }) = conversation.on_packet(0, &publish)
    else {
        panic!("it is ours");
    };
    assert_eq!(split(answer.bytes()), Ok(Some((Packet::Puback { packet_id: 9, reason: 0 }, 4))));
    let other = Packet::Publish { packet_id: None, topic: "fp1/unit-8/down", payload: &[] };
    assert_eq!(conversation.on_packet(0, &other), Err(Fault::OutOfPlace));
}
