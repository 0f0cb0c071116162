//! Gateways that are none, against the image: refused, nothing leaked, no panic, no restart.
//!
//! The attacks are those of `firmware/link/tests`, where each is also shown to succeed against a device whose check is taken
//! out. Here the image meets them over its own TCP/IP, with its own clock, heap and random numbers.

use std::{fs, net::TcpListener, thread, time::Duration};

use fieldpost_hil_tests::{
    Bench,
    feed::{Feed, walk},
    gateway::GATEWAY_NAME,
    inputs::unix_s_now,
    log::Log,
};

use crate::{
    image,
    rogue::{self, Attack, Forger, Seen},
};

const DOWN_WAIT_MAX: Duration = Duration::from_secs(60);

/// Powers a new board on whose gateway is a rogue, and returns what the rogue saw when the board had hung up.
fn meet(attack: Attack) -> (Seen, Log) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // The genuine gateway enrols the device; the attacker has only taken its place on the network.
    let bench = Bench::new(image(), |slot| slot.gateway_port = port).unwrap();
    let authority = |name: &str| fs::read_to_string(bench.gateway.dir().join("pki").join(name)).unwrap();
    let forger = Forger::new(&authority("ca.pem"), &authority("ca.key"), GATEWAY_NAME);
    let rogue = thread::spawn(move || {
        let (tcp, _) = listener.accept().unwrap();
        rogue::serve(tcp, &forger, attack)
    });
    let board = bench.power_on().unwrap();
    // A receiver with a fix: only a clock that somebody vouches for judges dates.
    let _feed = Feed::start(&board, walk(unix_s_now()), Duration::from_secs(1)).unwrap();
    let expected = if attack == Attack::None { "link up" } else { "link down attempt=1" };
    board.log().wait_for(expected, DOWN_WAIT_MAX).unwrap();
    let log = board.cut_power().unwrap().unwrap();
    (rogue.join().unwrap(), log)
}

fn assert_unharmed(attack: Attack, log: &Log) {
    assert_eq!(log.all("start version=").len(), 1, "{attack:?} made it start again: {}", log.tail());
    let down = log.all("link down attempt=1").pop().unwrap();
    println!("emulated board, {attack:?}: {}", down.text);
}

#[test]
fn emulated_board_tells_a_gateway_that_is_none_nothing() {
    for attack in Attack::HANDSHAKE {
        let (seen, log) = meet(attack);
        assert!(seen.application.is_empty(), "{attack:?} heard something");
        assert!(log.all("link up").is_empty(), "{attack:?} was taken for the gateway: {}", log.tail());
        assert_unharmed(attack, &log);
    }
}

#[test]
fn emulated_board_leaves_a_gateway_that_misbehaves() {
    for attack in Attack::AFTER {
        let (seen, log) = meet(attack);
        assert!(
            !seen.application.is_empty(),
            "{attack:?} is a gateway that was verified: it hears the CONNECT"
        );
        assert_unharmed(attack, &log);
    }
}

/// The control: the rogue's own handshake works, so the refusals above are the board's doing.
#[test]
fn emulated_board_would_talk_to_the_rogue_if_its_certificate_were_the_gateways() {
    let (seen, _) = meet(Attack::None);
    assert!(!seen.application.is_empty());
}
