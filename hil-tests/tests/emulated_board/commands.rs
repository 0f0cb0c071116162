//! Commands that must not be carried out.

use std::{net::TcpListener, thread, time::Duration};

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    gateway::GATEWAY_NAME,
    inputs::unix_s_now,
};
use fieldpost_protocol::{Action, Command, Downlink, limits::DOWNLINK_BYTES_MAX};

use crate::{
    image,
    rogue::{self, Forger},
};

/// The gateway sends no such thing: one that the device trusts stands in for it.
#[test]
fn commands_that_are_late_repeated_or_malformed_are_not_carried_out_by_the_emulated_board() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let bench = Bench::new(image(), |slot| slot.gateway_port = port).unwrap();
    let authority = |name: &str| std::fs::read_to_string(bench.gateway.dir().join("pki").join(name)).unwrap();
    let forger = Forger::new(&authority("ca.pem"), &authority("ca.key"), GATEWAY_NAME);
    let show = |id, expires_at_ms| {
        let action = Action::Show("come in".try_into().unwrap());
        let command = Downlink::Command(Command { id, expires_at_ms, action });
        command.encode(&mut [0; DOWNLINK_BYTES_MAX]).unwrap().to_vec()
    };
    let in_time = show(7, (unix_s_now() + 3600) * 1000);
    let frames = [show(6, 1), in_time.clone(), in_time, vec![0xFF; 9]];
    let packets: Vec<u8> = (1..).zip(&frames).flat_map(|(number, frame)| publish(number, frame)).collect();
    let gateway = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        rogue::say_after_connack(tcp, &forger, &packets)
    });
    let board = bench.power_on().unwrap();
    // Its clock must be set, or every command is late.
    let _feed = Feed::start(&board, walk(unix_s_now()), Duration::from_secs(1)).unwrap();
    for line in ["CommandExpired { id: 6", "notice Show bytes=7", "CommandRepeated", "DownlinkMalformed"] {
        board.log().wait_for(line, LINK_WAIT_MAX).unwrap();
    }
    assert_eq!(board.log().all("notice Show").len(), 1, "carried out once: {}", board.log().tail());
    board.cut_power().unwrap();
    gateway.join().unwrap();
}

/// MQTT 5, quality 1, on the device's downlink topic.
fn publish(packet_id: u16, frame: &[u8]) -> Vec<u8> {
    let topic = format!("fp1/{DEVICE}/down");
    let mut body = vec![0, u8::try_from(topic.len()).unwrap()];
    body.extend(topic.as_bytes());
    body.extend(packet_id.to_be_bytes());
    body.push(0);
    body.extend(frame);
    [&[0x32, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}
