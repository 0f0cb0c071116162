//! Example values and strategies shared by the claims.

use fieldpost_protocol::{
    Alarm, AlarmCancel, AlarmCause, BatchItem, BootId, CancelReason, Class, ClockQuality, Downlink, Duty,
    EventCode, FixSource, Head, Health, Heard, Loss, LossReason, Mode, NamedRecord, Position, Power, Print,
    Proven, Receipt, ReportReason, ResetReason, SensorEvent, Seq, SeqRange, Status,
};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

/// 21 September 2026 14:13:20 UTC.
pub(crate) const TIME_MS: u64 = 1_790_000_000_000;

pub(crate) fn head(class: Class) -> Head {
    Head {
        version: 1,
        class,
        mode: Mode::Exercise,
        clock: ClockQuality::Gnss,
        boot: BootId(300),
        seq: Seq(20_000),
        time_ms: TIME_MS,
    }
}

pub(crate) fn position() -> Position {
    Position {
        latitude_udeg: 52_192_345,
        longitude_udeg: -1_708_765,
        speed_cmps: Some(1_394),
        course_turn256: Some(200),
        accuracy_m: 4,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

pub(crate) fn status() -> Status {
    Status {
        duty: Duty::EN_ROUTE,
        battery_pct: 81,
        power: Power::BATTERY,
        signal_dbm: -97,
        satellites: 11,
        temperature_degc: 23,
        storage_pct: 7,
        outbox_owed: 640,
        reset_reason: ResetReason::POWER_ON,
        firmware: [1, 4, 12],
        uptime_s: 31_000,
    }
}

pub(crate) fn event() -> SensorEvent {
    SensorEvent { code: EventCode::CRASH, index: 1, value: -250 }
}

pub(crate) fn alarm() -> Alarm {
    Alarm { cause: AlarmCause::OFFICER_DOWN, silent: true, position: Some(position()), position_age_s: 300 }
}

pub(crate) fn cancel() -> AlarmCancel {
    AlarmCancel { boot: BootId(300), seq: Seq(19_998), reason: CancelReason::WEARER }
}

pub(crate) fn loss() -> Loss {
    let mut ranges = heapless::Vec::new();
    ranges.push(SeqRange { first: Seq(100), more: 28 }).expect("the list is empty");
    ranges.push(SeqRange { first: Seq(4_000), more: 0 }).expect("the list holds 16");
    Loss { boot: BootId(299), reason: LossReason::EVICTED, ranges }
}

pub(crate) fn health() -> Health {
    Health { heart_rate_bpm: 142, confidence_pct: 90 }
}

/// STORED of the sample alarm.
pub(crate) fn proven() -> Downlink {
    let mut buffer = [0; 64];
    let body = alarm().encode(&mut buffer).expect("fits");
    let head = head(Class::ALARM);
    let record = NamedRecord { seq: head.seq, print: Print::of(&head, body) };
    Downlink::Proven(Proven {
        receipt: Receipt::Stored,
        boot: head.boot,
        records: [record].into_iter().collect(),
    })
}

pub(crate) fn heard() -> Heard {
    Heard { receipt: Receipt::Seen, boot: BootId(300), seq: Seq(19_998), print: Print(0x0102_0304) }
}

pub(crate) fn any_position() -> impl Strategy<Value = Position> {
    let coordinates = (-90_000_000..=90_000_000i32, -180_000_000..=180_000_000i32);
    let speed = prop_oneof![Just(None), (0..=0x3FFFu16).prop_map(Some)];
    (coordinates, speed, any::<Option<u8>>(), any::<[u8; 3]>()).prop_map(|(at, speed_cmps, course, rest)| {
        Position {
            latitude_udeg: at.0,
            longitude_udeg: at.1,
            speed_cmps,
            course_turn256: course,
            accuracy_m: rest[0],
            source: FixSource(rest[1]),
            reason: ReportReason(rest[2]),
        }
    })
}

/// A track: mostly steady steps, sometimes anything at all.
pub(crate) fn any_batch() -> impl Strategy<Value = Vec<BatchItem>> {
    let step = prop_oneof![4 => 1..3u32, 1 => 1..100_000_000u32];
    let time = prop_oneof![4 => Just(5_000i64), 1 => -2_000_000_000..2_000_000_000i64];
    proptest::collection::vec((step, time, any_position()), 1..=32).prop_map(|steps| {
        let mut seq = 0;
        let mut time_ms = TIME_MS;
        steps
            .into_iter()
            .map(|(step, wait_ms, position)| {
                seq += step;
                time_ms = time_ms.wrapping_add_signed(wait_ms);
                BatchItem { seq: Seq(seq), time_ms, position }
            })
            .collect()
    })
}
