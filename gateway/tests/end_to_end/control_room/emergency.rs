//! The emergency loop through the whole gateway: button, screen, named person, back on the wearer's wrist, confirmation
//! on the screen. Over MQTT and mutual TLS on one side, HTTP on the other.

use fieldpost_gateway::config::RELEASE_ALL;
use fieldpost_gateway::login::Operator;
use fieldpost_gateway::service::Service;
use fieldpost_protocol::{
    Alarm, AlarmCause, BootId, Class, Downlink as Frame, Mode, Receipt, Receipts, Seq, SeqRange,
};

use tokio::io::AsyncWriteExt as _;

use super::browser::{Browser, Stream};
use crate::forward::tak_listener::{self, issue};
use crate::mqtt::{Client, Heard, a_position, envelope, head, now_ms};
use crate::service::House;

const DEVICE: &str = "pc-1";

fn alarm(seq: u32) -> Vec<u8> {
    let alarm =
        Alarm { cause: AlarmCause::BUTTON, silent: false, position: Some(a_position()), position_age_s: 0 };
    let mut buffer = [0; 64];
    envelope(head(Class::ALARM, Mode::Test, seq), alarm.encode(&mut buffer).unwrap())
}

async fn subscribe(client: &mut Client) {
    let answer = client.subscribe(1, &format!("fp1/{DEVICE}/down")).await;
    assert_eq!(answer, Heard::Suback { packet_id: 1, codes: vec![1] });
}

/// The next downlink that is not the time of day, with its packet id.
async fn downlink(client: &mut Client) -> (Frame, u16) {
    loop {
        if let Heard::Publish { payload, packet_id, .. } = client.hear().await {
            match Frame::decode(&payload).unwrap() {
                Frame::Time { .. } => {}
                frame => return (frame, packet_id.unwrap()),
            }
        }
    }
}

fn seen(seq: u32) -> Frame {
    let ranges = [SeqRange { first: Seq(seq), more: 0 }].into_iter().collect();
    Frame::Receipts(Receipts { receipt: Receipt::Seen, boot: BootId(1), ranges })
}

fn delivered(seq: u32) -> Frame {
    let Frame::Receipts(receipts) = seen(seq) else { panic!("receipts") };
    Frame::Receipts(Receipts { receipt: Receipt::Delivered, ..receipts })
}

/// Waits for a receipt, which it does not confirm; confirms the one that may come before it.
async fn told(client: &mut Client, expected: &Frame) -> u16 {
    loop {
        let (frame, packet_id) = downlink(client).await;
        if frame == *expected {
            return packet_id;
        }
        assert_eq!(frame, delivered(4));
        client.acknowledge(packet_id).await;
    }
}

async fn browser(service: &Service) -> Browser {
    let token = service.login.issue(&Operator::try_new("anna").unwrap(), now_ms()).unwrap();
    let mut browser = Browser::new(service.control_room);
    let answer = browser.get(&format!("/login?token={token}")).await;
    browser.keep_cookie(&answer);
    browser
}

async fn receipt(stream: &mut Stream, receipt: &str) {
    stream.until("alarm", |alarm| alarm["receipt"] == receipt).await;
}

#[tokio::test]
async fn the_emergency_loop_closes() {
    let mut house = House::new();
    let own = house.issue(DEVICE);
    let service = house.start().await;
    let browser = browser(&service).await;
    let mut stream = browser.stream().await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    subscribe(&mut device).await;

    device.publish(&format!("fp1/{DEVICE}/alarm"), 7, &alarm(4)).await;
    let raised = stream.until("alarm", |alarm| alarm["state"] == "unacknowledged").await;
    assert_eq!((&raised["id"], &raised["cause"]), (&"sim/pc-1/1/4".into(), &"button".into()));
    let answer = browser.acknowledge("sim/pc-1/1/4").await;
    assert_eq!(answer.json()["acknowledged_by"], "anna");
    receipt(&mut stream, "queued").await;

    let packet_id = told(&mut device, &seen(4)).await;
    device.acknowledge(packet_id).await;
    receipt(&mut stream, "delivered").await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn a_tak_client_takes_an_alarm_and_the_wearer_is_told() {
    let mut house = House::new();
    let tak = format!(
        "[tak]\nlisten = \"127.0.0.1:0\"\ncertificate = \"pki/server.pem\"\nkey = \"pki/server.key\"\n\
         client_authority = \"pki/ca.pem\"\n[[tak.client]]\nname = \"room\"\ncommon_name = \"anna\"\n\
         acknowledge = true\n{RELEASE_ALL}\n[[forward.file]]"
    );
    house.edit("\n[[forward.file]]", &format!("\n{tak}"));
    let (own, anna) = (house.issue(DEVICE), issue(house.authority(), "anna"));
    let service = house.start().await;
    let page = browser(&service).await;
    let mut stream = page.stream().await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    subscribe(&mut device).await;
    let address = service.tak.unwrap();
    let mut client = tak_listener::Client::connect(address, house.authority(), Some(&anna)).await.unwrap();

    device.publish(&format!("fp1/{DEVICE}/alarm"), 7, &alarm(4)).await;
    let cancel = "<event version='2.0' uid='fieldpost.test.sim.pc-1.1.4-9-1-1' type='b-a-o-can'>\
                  <detail><emergency cancel='true'>PC 1</emergency></detail></event>";
    // Whenever it is told that nobody has: the first time nobody can have looked at it yet.
    let mut heard = String::new();
    while !heard.contains("Acknowledged, not closed.") {
        if heard.contains("Nobody has acknowledged.") {
            client.stream.write_all(cancel.as_bytes()).await.unwrap();
        }
        client.until("</remarks>").await;
        heard = std::mem::take(&mut client.heard);
        assert!(!heard.contains("b-a-o-can"));
    }
    let taken = stream.until("alarm", |alarm| alarm["state"] == "acknowledged").await;
    assert_eq!(taken["acknowledged_by"], "anna@tak");
    told(&mut device, &seen(4)).await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn a_wearer_who_was_away_learns_of_it_after_a_restart_of_the_gateway() {
    let mut house = House::new();
    let own = house.issue(DEVICE);
    let service = house.start().await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    device.publish(&format!("fp1/{DEVICE}/alarm"), 7, &alarm(4)).await;
    assert_eq!(device.hear().await, Heard::Puback { packet_id: 7, code: 0 });
    drop(device);
    let page = browser(&service).await;
    page.stream().await.until("alarm", |alarm| alarm["id"] == "sim/pc-1/1/4").await;
    assert_eq!(page.acknowledge("sim/pc-1/1/4").await.status, 200);
    assert!(service.shutdown().await);

    let service = house.start().await;
    let page = browser(&service).await;
    let mut stream = page.stream().await;
    receipt(&mut stream, "queued").await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    subscribe(&mut device).await;
    let packet_id = told(&mut device, &seen(4)).await;
    device.acknowledge(packet_id).await;
    receipt(&mut stream, "delivered").await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn an_owed_receipt_waits_for_the_device_to_listen() {
    let mut house = House::new();
    let own = house.issue(DEVICE);
    let service = house.start().await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    device.publish(&format!("fp1/{DEVICE}/alarm"), 7, &alarm(4)).await;
    assert_eq!(device.hear().await, Heard::Puback { packet_id: 7, code: 0 });
    let page = browser(&service).await;
    let mut stream = page.stream().await;
    stream.until("alarm", |alarm| alarm["id"] == "sim/pc-1/1/4").await;
    assert_eq!(page.acknowledge("sim/pc-1/1/4").await.status, 200);
    receipt(&mut stream, "queued").await;
    // Connected all the time, but subscribed only now.
    subscribe(&mut device).await;
    let packet_id = told(&mut device, &seen(4)).await;
    device.acknowledge(packet_id).await;
    receipt(&mut stream, "delivered").await;
    assert!(service.shutdown().await);
}

#[tokio::test]
async fn the_wearer_learns_that_a_force_system_has_the_alarm_also_after_a_restart() {
    let mut house = House::new();
    let own = house.issue(DEVICE);
    let service = house.start().await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    subscribe(&mut device).await;
    device.publish(&format!("fp1/{DEVICE}/alarm"), 7, &alarm(4)).await;
    // Heard and not confirmed: the wearer may not have learned of it.
    told(&mut device, &delivered(4)).await;
    drop(device);
    let mut stream = browser(&service).await.stream().await;
    let shown = stream.until("alarm", |alarm| alarm["delivered"] == "queued").await;
    assert_eq!((&shown["accepted"]["by"], &shown["state"]), (&"file".into(), &"unacknowledged".into()));
    assert!(service.shutdown().await);

    let service = house.start().await;
    let mut stream = browser(&service).await.stream().await;
    let mut device = house.connected(&service, DEVICE, &own).await;
    subscribe(&mut device).await;
    let packet_id = told(&mut device, &delivered(4)).await;
    device.acknowledge(packet_id).await;
    stream.until("alarm", |alarm| alarm["delivered"] == "delivered").await;
    assert!(service.shutdown().await);
}
