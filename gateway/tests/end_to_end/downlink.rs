//! The way down: what "delivered" means, and what survives a lost connection.

use fieldpost_gateway::downlink::{Delivery, Sending};
use fieldpost_protocol::{
    Action, BootId, Command, Downlink as Frame, Mode, Receipt, Receipts, Seq, SeqRange,
};

use crate::door::{Credentials, FORCE, TestDoor};
use crate::mqtt::{Client, Connect, Heard, now_ms};

fn seen(seq: u32) -> Frame {
    let ranges = [SeqRange { first: Seq(seq), more: 0 }].into_iter().collect();
    Frame::Receipts(Receipts { receipt: Receipt::Seen, boot: BootId(1), ranges })
}

fn send(door: &TestDoor, frame: &Frame) -> Sending {
    door.downlink.send(&FORCE.parse().unwrap(), &"pc-1".parse().unwrap(), frame)
}

fn frame_of(heard: &Heard) -> Frame {
    let Heard::Publish { payload, .. } = heard else { panic!("{heard:?}") };
    Frame::decode(payload).unwrap()
}

/// Connects with a session that outlives the connection, and returns whether one was there.
async fn resumable(door: &TestDoor, credentials: &Credentials) -> (Client, bool) {
    let mut client = Client::dial(door, Some(credentials), 5).await.unwrap();
    let hour = [0x11, 0, 0, 0x0E, 0x10];
    client.connect(&Connect { flags: 0, properties: &hour, ..Connect::clean("pc-1") }).await;
    let Heard::Connack { session_present, code: 0, .. } = client.hear().await else { panic!("connected") };
    (client, session_present)
}

async fn subscribe(client: &mut Client) {
    let answer = client.subscribe(1, "fp1/pc-1/down").await;
    assert_eq!(answer, Heard::Suback { packet_id: 1, codes: vec![1] });
    let time = client.hear().await;
    let Frame::Time { unix_ms } = frame_of(&time) else { panic!("{time:?}") };
    assert!(unix_ms.abs_diff(now_ms()) < 60_000);
}

#[tokio::test]
async fn delivered_means_the_device_acknowledged_it() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    subscribe(&mut client).await;
    let mut sending = send(&door, &seen(4));
    let heard = client.hear().await;
    assert_eq!(frame_of(&heard), seen(4));
    assert_eq!(sending.now(), Delivery::Queued);
    let Heard::Publish { packet_id: Some(packet_id), dup: false, .. } = heard else { panic!("{heard:?}") };
    client.acknowledge(packet_id).await;
    assert_eq!(sending.settled().await, Delivery::Delivered);
}

#[tokio::test]
async fn what_the_device_refused_is_not_delivered() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    subscribe(&mut client).await;
    let sending = send(&door, &seen(4));
    let Heard::Publish { packet_id: Some(packet_id), .. } = client.hear().await else { panic!("sent") };
    let [high, low] = packet_id.to_be_bytes();
    client.send(&[0x40, 3, high, low, 0x97]).await;
    assert_eq!(sending.settled().await, Delivery::Unknown);
}

#[tokio::test]
async fn a_resumed_session_keeps_to_the_new_connections_receive_maximum() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let (mut client, _) = resumable(&door, &credentials).await;
    subscribe(&mut client).await;
    let _sendings: Vec<_> = (0..3).map(|seq| send(&door, &seen(seq))).collect();
    for _ in 0..3 {
        assert!(matches!(client.hear().await, Heard::Publish { dup: false, .. }));
    }
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    let hour_and_one_at_a_time = [0x11, 0, 0, 0x0E, 0x10, 0x21, 0, 1];
    client
        .connect(&Connect { flags: 0, properties: &hour_and_one_at_a_time, ..Connect::clean("pc-1") })
        .await;
    assert!(matches!(client.hear().await, Heard::Connack { session_present: true, code: 0, .. }));
    assert!(matches!(frame_of(&client.hear().await), Frame::Time { .. }));
    for seq in 0..3 {
        let heard = client.hear().await;
        assert_eq!(frame_of(&heard), seen(seq));
        let Heard::Publish { packet_id: Some(packet_id), dup: true, .. } = heard else { panic!("{heard:?}") };
        client.ping().await;
        assert_eq!(client.hear().await, Heard::Pingresp, "one at a time");
        client.acknowledge(packet_id).await;
    }
}

#[tokio::test]
async fn a_device_without_a_session_is_unknown() {
    let mut door = TestDoor::open().await;
    assert_eq!(send(&door, &seen(1)).settled().await, Delivery::Unknown);
    let mut client = Client::connected(&mut door, "pc-1").await;
    let mut sending = send(&door, &seen(1));
    assert_eq!(sending.now(), Delivery::Queued);
    // DISCONNECT: a clean session ends with its connection, and so does what waits in it.
    client.send(&[0xE0, 0]).await;
    assert_eq!(sending.settled().await, Delivery::Unknown);
}

#[tokio::test]
async fn a_resumed_session_gets_what_waited_and_what_was_not_acknowledged() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let (mut client, session_present) = resumable(&door, &credentials).await;
    assert!(!session_present);
    subscribe(&mut client).await;
    let in_flight = send(&door, &seen(1));
    let Heard::Publish { packet_id: Some(first_id), dup: false, .. } = client.hear().await else {
        panic!("delivered")
    };
    drop(client);
    door.until("disconnected", |door| door.downlink.connected().is_empty()).await;
    let waiting = send(&door, &seen(2));

    let (mut client, session_present) = resumable(&door, &credentials).await;
    assert!(session_present);
    assert!(matches!(frame_of(&client.hear().await), Frame::Time { .. }), "time again, without a SUBSCRIBE");
    let again = client.hear().await;
    assert_eq!(frame_of(&again), seen(1));
    assert!(matches!(again, Heard::Publish { packet_id: Some(id), dup: true, .. } if id == first_id));
    let waited = client.hear().await;
    assert_eq!(frame_of(&waited), seen(2));
    let Heard::Publish { packet_id: Some(second_id), dup: false, .. } = waited else { panic!("{waited:?}") };
    client.acknowledge(first_id).await;
    client.acknowledge(second_id).await;
    assert_eq!(in_flight.settled().await, Delivery::Delivered);
    assert_eq!(waiting.settled().await, Delivery::Delivered);
}

#[tokio::test]
async fn a_clean_start_ends_the_old_session() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let (mut client, _) = resumable(&door, &credentials).await;
    subscribe(&mut client).await;
    drop(client);
    door.until("disconnected", |door| door.downlink.connected().is_empty()).await;
    let waiting = send(&door, &seen(1));
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    client.connect(&Connect::clean("pc-1")).await;
    assert!(matches!(client.hear().await, Heard::Connack { session_present: false, code: 0, .. }));
    assert_eq!(waiting.settled().await, Delivery::Unknown);
}

#[tokio::test]
async fn an_expired_command_is_not_sent_and_its_sender_knows() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    let command =
        |id, expires_at_ms| Frame::Command(Command { id, expires_at_ms, action: Action::ReportNow });
    let late = send(&door, &command(1, now_ms() - 1));
    let timely = command(2, now_ms() + 60_000);
    let _timely = send(&door, &timely);
    subscribe(&mut client).await;
    assert_eq!(frame_of(&client.hear().await), timely);
    assert_eq!(late.settled().await, Delivery::Unknown);
}

#[tokio::test]
async fn no_more_is_in_flight_than_the_client_takes_and_no_more_waits_than_the_bound() {
    let mut door = TestDoor::open().await;
    let credentials = door.issue(FORCE, "pc-1", Mode::Test);
    let mut client = Client::dial(&door, Some(&credentials), 5).await.unwrap();
    let receive_maximum_2 = [0x21, 0, 2];
    client.connect(&Connect { properties: &receive_maximum_2, ..Connect::clean("pc-1") }).await;
    client.hear().await;
    let mut sent: Vec<_> = (0..65).map(|seq| send(&door, &seen(seq))).collect();
    assert_eq!(sent[63].now(), Delivery::Queued);
    assert_eq!(sent[64].now(), Delivery::Unknown, "64 wait, no more");
    subscribe(&mut client).await;
    let mut in_flight = std::collections::VecDeque::new();
    for seq in 0..64 {
        if in_flight.len() == 2 {
            // Both places are taken: the answer to a ping comes, a third message does not.
            client.ping().await;
            assert_eq!(client.hear().await, Heard::Pingresp);
            client.acknowledge(in_flight.pop_front().unwrap()).await;
        }
        let heard = client.hear().await;
        assert_eq!(frame_of(&heard), seen(seq));
        let Heard::Publish { packet_id: Some(packet_id), .. } = heard else { panic!("{heard:?}") };
        in_flight.push_back(packet_id);
    }
}
