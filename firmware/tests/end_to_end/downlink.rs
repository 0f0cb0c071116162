//! What the gateway says, and what it must not be able to do.

use fieldpost_firmware::{AlarmId, Input, Notice, Settings, Storage};
use fieldpost_protocol::{
    Action, BootId, Class, Command, Downlink, Duty, Mode, Receipt, Receipts, ReportReason, Seq, SeqRange,
    limits::DOWNLINK_BYTES_MAX,
};
use proptest::prelude::{any, prop, proptest};

use crate::bench::{Bench, NOON_MS, Ram, every_fix};

fn send<S: Storage>(bench: &mut Bench<S>, downlink: &Downlink) {
    let mut buffer = [0; DOWNLINK_BYTES_MAX];
    let frame = downlink.encode(&mut buffer).unwrap();
    bench.device.handle(bench.now_ms, Input::Downlink(frame));
}

/// A command that expires `ms` from now.
pub(crate) fn command<S: Storage>(bench: &mut Bench<S>, id: u32, ms: i64, action: Action) {
    let expires_at_ms = (NOON_MS + bench.now_ms).saturating_add_signed(ms);
    send(bench, &Downlink::Command(Command { id, expires_at_ms, action }));
}

fn receipt(receipt: Receipt, boot: BootId, seq: Seq) -> Downlink {
    let ranges = [SeqRange { first: seq, more: 0 }].into_iter().collect();
    Downlink::Receipts(Receipts { receipt, boot, ranges })
}

fn online(settings: Settings) -> Bench<Ram> {
    let mut bench = Bench::new(settings);
    let first = bench.connect(false);
    bench.settle(first);
    bench.walk(1);
    let first = bench.drain();
    bench.settle(first);
    bench.notices.clear();
    bench
}

#[test]
fn an_alarms_way_is_told_step_by_step_and_never_backwards() {
    let mut bench = online(every_fix());
    bench.device.on_button(bench.now_ms, false);
    let published = bench.drain();
    let head = published[0].head();
    let alarm = AlarmId { boot: head.boot, seq: head.seq };
    bench.notices.clear();
    bench.settle(published);
    send(&mut bench, &receipt(Receipt::Delivered, head.boot, head.seq));
    send(&mut bench, &receipt(Receipt::Delivered, head.boot, head.seq));
    send(&mut bench, &receipt(Receipt::Seen, head.boot, head.seq));
    send(&mut bench, &receipt(Receipt::Delivered, head.boot, head.seq));
    bench.drain();
    let told = |receipt| Notice::AlarmReceipt { alarm, receipt };
    assert_eq!(bench.notices, [told(Receipt::Stored), told(Receipt::Delivered), told(Receipt::Seen)]);
}

#[test]
fn receipts_of_other_records_are_not_told() {
    let mut bench = online(every_fix());
    send(&mut bench, &receipt(Receipt::Delivered, BootId(1), Seq(0)));
    bench.drain();
    assert_eq!(bench.notices, []);
}

#[test]
fn an_alarm_of_an_earlier_start_is_seen_too() {
    let mut bench = online(every_fix());
    send(&mut bench, &receipt(Receipt::Seen, BootId(0), Seq(77)));
    bench.drain();
    let alarm = AlarmId { boot: BootId(0), seq: Seq(77) };
    assert_eq!(bench.notices, [Notice::AlarmReceipt { alarm, receipt: Receipt::Seen }]);
}

#[test]
fn a_command_is_carried_out_once_and_in_time_only() {
    let mut bench = online(every_fix());
    let show = || Action::Show("Call control".try_into().unwrap());
    command(&mut bench, 1, 60_000, show());
    command(&mut bench, 1, 60_000, show());
    command(&mut bench, 2, -1, show());
    bench.drain();
    assert_eq!(
        bench.notices,
        [
            Notice::Show("Call control".try_into().unwrap()),
            Notice::CommandRepeated { id: 1 },
            Notice::CommandExpired { id: 2 }
        ]
    );
    let counters = bench.device.counters();
    assert_eq!((counters.commands_repeated, counters.commands_expired), (1, 1));
}

#[test]
fn without_a_clock_a_command_counts_as_expired() {
    let mut bench = Bench::new(every_fix());
    command(&mut bench, 1, 60_000, Action::ReportNow);
    bench.drain();
    assert_eq!(bench.notices, [Notice::CommandExpired { id: 1 }]);
    send(&mut bench, &Downlink::Time { unix_ms: NOON_MS });
    command(&mut bench, 2, 60_000, Action::ReportNow);
    assert_eq!(bench.device.counters().commands_expired, 1, "the gateway's time is enough");
}

#[test]
fn report_now_brings_position_and_status() {
    let mut bench = online(Settings { duty: Duty::ON_DUTY, ..Settings::body_worn(Mode::Test) });
    command(&mut bench, 1, 60_000, Action::ReportNow);
    let published = bench.drain();
    let classes: Vec<Class> = published.iter().map(crate::bench::Published::class).collect();
    assert_eq!(classes, [Class::POSITION, Class::STATUS]);
    assert_eq!(published[0].records()[0].2.unwrap().reason, ReportReason::REQUESTED);
}

#[test]
fn an_interval_and_a_duty_command_are_obeyed() {
    let mut bench = online(Settings { duty: Duty::ON_DUTY, ..Settings::body_worn(Mode::Test) });
    command(&mut bench, 1, 60_000, Action::Interval { seconds: 2 });
    let before = bench.device.ledger().issued;
    bench.walk(10);
    assert_eq!(bench.device.ledger().issued - before, 5);
    command(&mut bench, 2, 60_000, Action::Duty(Duty::REFRESHMENTS));
    bench.walk(10);
    bench.drain();
    assert!(bench.notices.contains(&Notice::DutyChanged(Duty::REFRESHMENTS)));
    assert_eq!(bench.device.ledger().issued - before, 6, "one status, no position");
}

proptest! {
    #[test]
    fn a_frame_that_cannot_be_read_changes_nothing(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bench = online(every_fix());
        let before = bench.device.ledger();
        bench.device.handle(bench.now_ms, Input::Downlink(&bytes));
        if Downlink::decode(&bytes).is_err() {
            assert_eq!(bench.device.counters().downlinks_malformed, 1);
            assert_eq!(bench.device.ledger(), before);
            assert_eq!(bench.drain(), []);
            assert_eq!(bench.notices, [Notice::DownlinkMalformed]);
        }
    }
}
