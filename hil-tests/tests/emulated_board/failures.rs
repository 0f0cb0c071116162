//! Every way to fail ends in a new life that knows how the last one ended, and tells the gateway.
//!
//! The image is built with the feature `drills`; `firmware/board/src/drill.rs` names the bytes.

use std::time::Duration;

use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    gateway::Records,
    image,
};
use fieldpost_protocol::{Body, Envelope, ResetReason};

/// The calm executor may stand still for 20 s and the watchdog waits 10; the rest is for a host that builds meanwhile.
const NEXT_LIFE_WAIT_MAX: Duration = Duration::from_secs(90);

#[test]
fn emulated_board_that_fails_starts_again_and_knows_why() {
    let bench = Bench::new(image::build(&["drills"]).unwrap(), |_| {}).unwrap();
    let mut board = bench.power_on().unwrap();
    let drills = [
        (b'p', "Panic", ResetReason::FAULT),
        (b'o', "OutOfMemory", ResetReason::OUT_OF_MEMORY),
        (b'f', "Fault", ResetReason::FAULT),
        (b's', "StackOverflow", ResetReason::FAULT),
        (b'u', "Watchdog", ResetReason::WATCHDOG),
        (b'c', "Watchdog", ResetReason::WATCHDOG),
    ];
    let mut from = 0;
    for (life, (drill, cause, _)) in drills.into_iter().enumerate() {
        let (at, boot) = board.log().wait_from(from, "boot id=", NEXT_LIFE_WAIT_MAX).unwrap();
        assert_eq!(boot.number("id").unwrap(), life as u64 + 1, "no boot id is used twice");
        board.log().wait_from(at, "link up", LINK_WAIT_MAX).unwrap();
        board.ask(drill).unwrap();
        let (at, start) = board.log().wait_from(at, "start version=", NEXT_LIFE_WAIT_MAX).unwrap();
        assert_eq!(start.field("cause"), Some(cause), "drill {}: {}", char::from(drill), start.text);
        from = at;
    }
    let stored = |line: &fieldpost_hil_tests::log::Line| {
        line.text.contains("ledger") && line.field("owed") == Some("0")
    };
    board.log().wait_that(from, "everything stored", LINK_WAIT_MAX, stored).unwrap();
    let told = reasons(&bench.gateway.records().unwrap());
    let expected = std::iter::once(ResetReason::POWER_ON).chain(drills.map(|(_, _, reason)| reason));
    assert_eq!(told, expected.collect::<Vec<_>>(), "the first status of each life");
}

/// What the first status of each boot says, in the order of boots.
fn reasons(records: &Records) -> Vec<ResetReason> {
    let mut told = std::collections::BTreeMap::new();
    for record in records.envelopes().filter(|record| record.device == DEVICE) {
        let envelope = Envelope::decode(&record.payload).unwrap();
        if let Ok(Body::Status(status)) = Body::decode(&envelope.head, envelope.body) {
            told.entry(record.id.0).or_insert(status.reset_reason);
        }
    }
    told.into_values().collect()
}
