//! No link for ten minutes of the receiver's time, and the gateway restarted meanwhile.
//!
//! **Time is scaled**: the receiver's seconds pass twenty times as fast as the board's, so the outage holds as many positions as
//! ten minutes of a fix a second, in half a minute.

use std::{collections::BTreeMap, time::Duration};

use fieldpost_firmware::Profile;
use fieldpost_hil_tests::{
    Bench,
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    gateway::{Record, Records},
    inputs::unix_s_now,
    log::{Line, Log},
};

use crate::image;

const FIX_PERIOD: Duration = Duration::from_millis(50);
const BEFORE: u64 = 20;
const OUTAGE: u64 = 600;
const AFTER: u64 = 200;
/// The device dials again within a minute at most; then it brings everything.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(180);

#[test]
fn ten_minutes_without_a_link_arrive_complete_live_first_and_in_order_from_the_emulated_board() {
    let mut bench = Bench::new(image(), |slot| slot.profile = Profile::Every).unwrap();
    let mut board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    let fixes = usize::try_from(BEFORE + OUTAGE + AFTER).unwrap();
    let feed = Feed::start(&board, walk(unix_s_now()).take(fixes), FIX_PERIOD).unwrap();

    wait_until_issued(board.log(), BEFORE);
    board.set_link(false).unwrap();
    wait_until_issued(board.log(), BEFORE + OUTAGE / 2);
    bench.gateway.kill().unwrap();
    bench.gateway.run().unwrap();
    wait_until_issued(board.log(), BEFORE + OUTAGE);
    let before = bench.gateway.records().unwrap().0.len();
    board.set_link(true).unwrap();

    assert_eq!(feed.finish(), fixes);
    let ledger = board.log().wait_until_stored(BEFORE + OUTAGE + AFTER + 1, SETTLE_WAIT_MAX).unwrap();
    assert_eq!(ledger.number("lost").unwrap(), 0, "{}", ledger.text);
    let records = bench.gateway.records().unwrap();
    assert_complete(&records, fixes);
    assert_lanes_in_order(&records);
    assert_live_first(&records.0[before..]);
    println!(
        "emulated board: {} positions, {} of them after an outage of {OUTAGE} s of the receiver's time; {}",
        fixes,
        records.0.len() - before,
        ledger.text
    );
}

fn wait_until_issued(log: &Log, count: u64) {
    let is_right = |line: &Line| {
        line.text.starts_with("ledger ") && line.number("issued").is_ok_and(|issued| issued >= count)
    };
    log.wait_that(0, &format!("{count} records issued"), SETTLE_WAIT_MAX, is_right).unwrap();
}

fn assert_complete(records: &Records, fixes: usize) {
    let mut times: Vec<u64> = records.positions(DEVICE).iter().map(|(at_ms, _)| *at_ms).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), fixes, "every second of the receiver's time has its position");
    let doubled = records.ids(DEVICE).into_values().filter(|count| *count > 1).count();
    assert_eq!(doubled, 0, "committed twice");
}

fn assert_lanes_in_order(records: &Records) {
    let mut newest: BTreeMap<&str, (u32, u32)> = BTreeMap::new();
    for record in records.envelopes() {
        let newest = newest.entry(&record.lane).or_insert(record.id);
        assert!(record.id >= *newest, "{record:?} came after {newest:?} in its lane");
        *newest = record.id;
    }
}

/// What the control room needs is where somebody is now: the first place after the outage is the newest one.
fn assert_live_first(after: &[Record]) {
    let places: Vec<&Record> = after.iter().filter(|record| record.position().is_some()).collect();
    let first = places.first().unwrap();
    assert_eq!(first.lane, "live", "{first:?}");
    let backlog = places.iter().filter(|record| record.lane == "backlog");
    let oldest_first: Vec<_> = backlog.map(|record| record.id).collect();
    assert!(oldest_first.len() > 300, "the outage is in the backlog lane: {} records", oldest_first.len());
    assert!(oldest_first[0] < first.id, "history follows behind the newest");
}
