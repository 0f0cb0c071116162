//! The largest message of each kind fits its limit.

use fieldpost_protocol::{
    Action, Alarm, AlarmCancel, AlarmCause, AuthAlgorithm, BatchItem, BootId, CancelReason, Class,
    ClockQuality, Command, Downlink, Duty, Envelope, EventCode, FixSource, Head, Health, Loss, LossReason,
    Mode, NamedRecord, Position, Power, Print, Proven, Receipt, Receipts, ReportReason, ResetReason,
    SensorEvent, Seq, SeqRange, Status, Trailer, encode_batch, limits,
};

const BIGGEST: Position = Position {
    latitude_udeg: -90_000_000,
    longitude_udeg: -180_000_000,
    speed_cmps: Some(limits::SPEED_CMPS_MAX),
    course_turn256: Some(255),
    accuracy_m: 255,
    source: FixSource(255),
    reason: ReportReason(255),
};

const HEAD: Head = Head {
    version: 255,
    class: Class(255),
    mode: Mode::Test,
    clock: ClockQuality::Gnss,
    boot: BootId(u32::MAX),
    seq: Seq(u32::MAX),
    time_ms: u64::MAX,
};

fn full_ranges() -> heapless::Vec<SeqRange, { limits::SEQ_RANGES_MAX }> {
    core::iter::repeat_n(SeqRange { first: Seq(u32::MAX), more: 0 }, limits::SEQ_RANGES_MAX).collect()
}

fn full_records() -> heapless::Vec<NamedRecord, { limits::PROVEN_RECORDS_MAX }> {
    let record = NamedRecord { seq: Seq(u32::MAX), print: Print(u32::MAX) };
    core::iter::repeat_n(record, limits::PROVEN_RECORDS_MAX).collect()
}

#[test]
fn the_largest_body_of_each_class_fits() {
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let status = Status {
        duty: Duty(255),
        battery_pct: 255,
        power: Power(255),
        signal_dbm: -128,
        satellites: 255,
        temperature_degc: -128,
        storage_pct: 255,
        outbox_owed: u16::MAX,
        reset_reason: ResetReason(255),
        firmware: [255; 3],
        uptime_s: u32::MAX,
    };
    let alarm =
        Alarm { cause: AlarmCause(255), silent: true, position: Some(BIGGEST), position_age_s: u16::MAX };
    let cancel = AlarmCancel { boot: BootId(u32::MAX), seq: Seq(u32::MAX), reason: CancelReason(255) };
    let loss = Loss { boot: BootId(u32::MAX), reason: LossReason(255), ranges: full_ranges() };
    let event = SensorEvent { code: EventCode(255), index: 255, value: i32::MIN };
    let health = Health { heart_rate_bpm: 255, confidence_pct: 255 };

    assert_eq!(BIGGEST.encode(&mut buffer).expect("fits").len(), limits::POSITION_BYTES_MAX);
    assert!(status.encode(&mut buffer).is_ok());
    assert!(alarm.encode(&mut buffer).is_ok());
    assert!(cancel.encode(&mut buffer).is_ok());
    assert!(loss.encode(&mut buffer).is_ok());
    assert!(event.encode(&mut buffer).is_ok());
    assert!(health.encode(&mut buffer).is_ok());
}

#[test]
fn the_largest_batch_fits_whole() {
    let items: Vec<BatchItem> = (0..limits::BATCH_ITEMS_MAX)
        .map(|n| {
            let far = n % 2 == 0;
            let n = u32::try_from(n).expect("32 items");
            BatchItem {
                seq: Seq(n * 100_000_000),
                time_ms: if far { 0 } else { 2_000_000_000 },
                position: Position {
                    latitude_udeg: if far { -90_000_000 } else { 90_000_000 },
                    longitude_udeg: if far { -180_000_000 } else { 180_000_000 },
                    speed_cmps: Some(if far { 0 } else { limits::SPEED_CMPS_MAX }),
                    course_turn256: Some(u8::from(far)),
                    accuracy_m: u8::from(far),
                    ..BIGGEST
                },
            }
        })
        .collect();
    let mut buffer = [0; limits::BODY_BYTES_MAX];
    let (count, _) = encode_batch(&items, &mut buffer).expect("fits");
    assert_eq!(count, limits::BATCH_ITEMS_MAX, "the worst batch is sent whole");
}

#[test]
fn the_largest_frame_fits_and_one_byte_less_does_not() {
    let body = [0xA5; limits::BODY_BYTES_MAX];
    let tag = [0x5A; limits::TAG_BYTES_MAX];
    let trailer = Some(Trailer { algorithm: AuthAlgorithm(255), tag: &tag });
    let envelope = Envelope { head: HEAD, body: &body, trailer };
    let mut buffer = [0; limits::FRAME_BYTES_MAX];
    assert_eq!(envelope.encode(&mut buffer).expect("fits").len(), limits::FRAME_BYTES_MAX);
    assert!(envelope.encode(&mut buffer[1..]).is_err());
}

#[test]
fn the_largest_downlink_of_each_kind_fits() {
    let text = heapless::String::try_from("x".repeat(limits::TEXT_BYTES_MAX).as_str()).expect("64 bytes");
    let receipts = Receipts { receipt: Receipt::Seen, boot: BootId(u32::MAX), ranges: full_ranges() };
    let command = |action| Command { id: u32::MAX, expires_at_ms: u64::MAX, action };
    let all = [
        Downlink::Receipts(receipts),
        Downlink::Proven(Proven { receipt: Receipt::Seen, boot: BootId(u32::MAX), records: full_records() }),
        Downlink::Command(command(Action::Show(text))),
        Downlink::Command(command(Action::Interval { seconds: u16::MAX })),
        Downlink::Command(command(Action::Duty(Duty(255)))),
        Downlink::Command(command(Action::CheckIn { seconds: u16::MAX })),
        Downlink::Command(command(Action::ReportNow)),
        Downlink::Time { unix_ms: u64::MAX },
    ];
    for downlink in all {
        let mut buffer = [0; limits::DOWNLINK_BYTES_MAX];
        let frame = downlink.encode(&mut buffer).expect("DOWNLINK_BYTES_MAX suffices");
        assert_eq!(Downlink::decode(frame), Ok(downlink));
    }
}
