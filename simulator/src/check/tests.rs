//! The checker must turn red: one broken variant per claim.

use fieldpost_protocol::{
    BootId, ClockQuality, Envelope, FixSource, Lane, Mode, Position, ReportReason, Seq, envelope, limits,
};

use super::account::Account;
use super::ledger::{Arrival, Content, Ledger, RecordId};

const DEVICE: usize = 0;
const SINK: usize = 0;

fn frame(seq: u32) -> Vec<u8> {
    let position = Position {
        latitude_udeg: 52_205_000,
        longitude_udeg: -1_435_000,
        speed_cmps: None,
        course_turn256: None,
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    let mut body = [0; limits::BODY_BYTES_MAX];
    let head = fieldpost_protocol::Head {
        version: envelope::VERSION,
        class: Position::CLASS,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(1),
        seq: Seq(seq),
        time_ms: 1_790_000_000_000 + u64::from(seq) * 1_000,
    };
    let envelope = Envelope { head, body: position.encode(&mut body).unwrap(), trailer: None };
    let mut frame = [0; limits::FRAME_BYTES_MAX];
    envelope.encode(&mut frame).unwrap().to_vec()
}

/// Ten records, published, stored and delivered in the order of `deliver`.
fn run(deliver: &[u32]) -> Ledger {
    let mut ledger = Ledger::new("sim", &["pc-0001".to_owned()], &["file"]);
    ledger.issued(DEVICE, 1, 10);
    for seq in 0..10 {
        let records = ledger.published(DEVICE, Lane::Live, &frame(seq), u64::from(seq) * 100);
        assert_eq!(records, [RecordId { device: DEVICE, boot: 1, seq }]);
        ledger.stored(&records, u64::from(seq) * 100 + 40);
    }
    for seq in deliver {
        ledger.arrived(SINK, &format!("sim.pc-0001.1.{seq}"), None, 5_000);
    }
    ledger
}

#[test]
fn a_good_run_has_no_fault() {
    let ledger = run(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ledger.faults(), Vec::<String>::new());
    assert!(ledger.all_delivered());
    assert_eq!(ledger.balance().stored, 10);
}

#[test]
fn one_dropped_record_turns_it_red() {
    let ledger = run(&[0, 1, 2, 3, 5, 6, 7, 8, 9]);
    assert_eq!(ledger.faults(), ["file: 1 stored records are missing: sim.pc-0001.1.4"]);
    assert!(!ledger.all_delivered());
    assert_eq!(ledger.sink_counts()[SINK].lost, 1);
}

#[test]
fn a_redelivery_is_counted_and_allowed() {
    let ledger = run(&[0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(ledger.faults(), Vec::<String>::new());
    assert_eq!(ledger.sink_counts()[SINK].duplicates_raw, 1);
}

#[test]
fn one_duplicate_after_the_key_turns_it_red() {
    let mut ledger = run(&[0, 1, 2, 3, 4, 5, 6, 7, 8]);
    // Record 3 again, under the key of record 9.
    let record = RecordId { device: DEVICE, boot: 1, seq: 3 };
    let content = Some(Content { record, lane: Lane::Live, overtaken: false });
    ledger.arrived(SINK, "sim.pc-0001.1.9", content, 5_000);
    assert_eq!(ledger.faults(), ["file: 1 duplicates after the key"]);
}

#[test]
fn two_swapped_records_turn_it_red() {
    let ledger = run(&[0, 1, 2, 4, 3, 5, 6, 7, 8, 9]);
    assert_eq!(ledger.faults(), ["file: 1 out of order: sim.pc-0001.1.3"]);
}

#[test]
fn lanes_may_overtake_each_other() {
    let mut ledger = Ledger::new("sim", &["pc-0001".to_owned()], &["file"]);
    ledger.issued(DEVICE, 1, 2);
    for (seq, lane) in [(0, Lane::Backlog), (1, Lane::Live)] {
        let records = ledger.published(DEVICE, lane, &frame(seq), 0);
        ledger.stored(&records, 10);
    }
    for seq in [1, 0] {
        ledger.arrived(SINK, &format!("sim.pc-0001.1.{seq}"), None, 20);
    }
    assert_eq!(ledger.faults(), Vec::<String>::new());
}

#[test]
fn a_record_without_puback_turns_it_red() {
    let mut ledger = run(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    ledger.issued(DEVICE, 1, 11);
    assert_eq!(ledger.faults(), ["1 records were issued and never stored: sim.pc-0001.1.10"]);
}

#[test]
fn a_record_nobody_issued_turns_it_red() {
    let mut ledger = run(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    for key in ["sim.pc-0001.1.77", "sim.pc-9999.1.0", "other.pc-0001.1.0", "nonsense"] {
        assert_eq!(ledger.arrived(SINK, key, None, 0), Arrival::Unknown);
    }
    assert_eq!(ledger.faults().len(), 1);
}

#[test]
fn a_gateway_whose_ledger_differs_turns_it_red() {
    let mut ledger = run(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let account = |ranges: serde_json::Value| -> Account {
        let account = serde_json::json!({"unit": "sim/pc-0001", "boots": [{"boot": 1, "ranges": ranges}]});
        serde_json::from_value(account).unwrap()
    };
    let good = account(serde_json::json!([{"first": 0, "last": 9, "state": "stored"}]));
    assert_eq!(ledger.compare(std::slice::from_ref(&good)), Vec::<String>::new());
    let forgetful = account(serde_json::json!([{"first": 0, "last": 8, "state": "stored"}]));
    let found = ledger.compare(&[forgetful]);
    assert_eq!(found, ["sim/pc-0001 boot 1 sequence 9 is Acknowledged, the ledger says nothing"]);
    assert_eq!(ledger.compare(&[]).len(), 10);
    ledger.issued(DEVICE, 1, 11);
    assert_eq!(ledger.compare(&[good]), Vec::<String>::new(), "what is still on the device is nobody's yet");
}

#[test]
fn the_page_accounts_for_what_it_overtook() {
    let mut ledger = run(&[]);
    ledger.shown(DEVICE, 1_790_000_000_000 + 3_000, 1_000_000);
    assert_eq!(ledger.page_latencies().count(), 4, "records 0 to 3 are shown or overtaken");
}
