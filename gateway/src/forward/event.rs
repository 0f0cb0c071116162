//! The one public rendering of a record: a CloudEvents 1.0 event in structured JSON.
//!
//! **The `id` is the record's key**, the same for every delivery of the same record through every sink, so a consumer
//! that has seen an id may drop it. Numbers come straight from the wire's integers: a coordinate has exactly six
//! decimals, never the noise of a float. What a force system has no need of stays here (minimisation): the wearer's
//! health, quarantined bytes, the names of operators, and classes nobody here can judge are [`Withheld`].
//!
//! ```text
//! Record --Renderer--> Event { key, route, json }   the buffer is shared by the events of a batch, not copied
//! ```
//!
//! Source: CloudEvents 1.0.2, JSON event format 1.0.2. Extension attributes hold what its 32-bit integers cannot (boot
//! id, sequence) as strings.

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use fieldpost_protocol::{Body, Class, ClockQuality, Envelope, Head, Lane};

use super::body;
use super::json::Object;
use super::release::{Cut, Fields, Kind, Marking, Release};
use crate::alarms::AlarmId;
use crate::live::unit::UnitId;
use crate::record::{Record, RecordKind};
use crate::spool::Lsn;

/// Media type of one event.
pub const EVENT_MEDIA_TYPE: &str = "application/cloudevents+json";
/// Media type of a JSON array of events.
pub const BATCH_MEDIA_TYPE: &str = "application/cloudevents-batch+json";

/// One event, ready for a sink.
#[derive(Clone)]
pub struct Event {
    /// Place of the record in the spool; of the first lost one for a gap.
    pub lsn: Lsn,
    /// The idempotency key: the event's `id`.
    pub key: String,
    /// `{force}.{class}.{device}`, each part encoded by [`token`].
    pub route: String,
    /// The JSON text, one line.
    pub json: Bytes,
    /// The record it renders, cut down to what is released, for sinks that speak another language than JSON; `None` for a
    /// loss of the gateway's own. Its key is [`Event::key`]: its own may differ, where something was taken out.
    pub record: Option<Arc<Record>>,
    /// What is released of what the record says. A number that is not is "not known" in `record`, where there is such a value.
    pub fields: Fields,
    /// What it is marked.
    pub marking: Marking,
    /// The alarm it is, if it is one: its wearer is told when a force system has it.
    pub alarm: Option<Box<AlarmId>>,
    /// What has become of it. Sinks move it forward, never back.
    pub state: EventState,
}

/// What has become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventState {
    /// Still to be delivered.
    Owed,
    /// The sink has it durably.
    Accepted,
    /// The sink will never take it; kept in the refusals.
    Refused,
    /// The sink has nothing to do with it: it was not sent.
    PassedOver(PassedOver),
}

/// Why a sink did not send an event that it was given. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PassedOver {
    /// The protocol has nothing to say such a thing with.
    NoWord,
    /// What was sent before is newer, and the output wants the newest.
    Older,
    /// A person has closed the alarm.
    Closed,
    /// Nobody is there to hear it.
    NobodyThere,
    /// It is of an exercise or a test, and the output's protocol cannot say so.
    NotActual,
}

impl PassedOver {
    /// Every reason.
    pub const ALL: [Self; 5] = [Self::NoWord, Self::Older, Self::Closed, Self::NobodyThere, Self::NotActual];

    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoWord => "no-word",
            Self::Older => "older",
            Self::Closed => "closed",
            Self::NobodyThere => "nobody-there",
            Self::NotActual => "not-actual",
        }
    }
}

/// Why a record does not leave the gateway. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withheld {
    /// Health of the wearer: sensitive, opt-in, never forwarded by default.
    Health,
    /// Quarantined bytes: nobody knows what is in them.
    Quarantine,
    /// What the gateway wrote itself: an operator's acknowledgement, which names a person, a force system's, the time. Ours.
    Acknowledgement,
    /// A class this version does not know, outside the alarm family: it could be anything, also sensitive.
    UnknownClass,
    /// The output is not released this force.
    Force,
    /// The output is not released this class.
    Class,
    /// Nothing that the record says is released.
    Fields,
    /// The record is marked above the output.
    Marking,
}

impl Withheld {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Health,
        Self::Quarantine,
        Self::Acknowledgement,
        Self::UnknownClass,
        Self::Force,
        Self::Class,
        Self::Fields,
        Self::Marking,
    ];

    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Health => "health",
            Self::Quarantine => "quarantine",
            Self::Acknowledgement => "acknowledgement",
            Self::UnknownClass => "unknown-class",
            Self::Force => "force",
            Self::Class => "class",
            Self::Fields => "fields",
            Self::Marking => "marking",
        }
    }
}

/// A record that a sink refused, with what it takes to render it once more.
#[derive(Debug)]
pub struct Kept {
    /// The event's key: of the whole record, which this may not be any more.
    pub key: String,
    /// The alarm it is, likewise.
    pub alarm: Option<Box<AlarmId>>,
    /// The fields that the output was released then: the record holds no more.
    pub fields: Fields,
    /// The record, cut down to them.
    pub record: Record,
}

/// Entries of the spool that a forwarder will never read: loss is data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First entry lost.
    pub first: Lsn,
    /// Last entry lost.
    pub last: Lsn,
    /// Why.
    pub reason: GapReason,
}

/// Why entries are lost to a forwarder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapReason {
    /// Retention deleted them before the sink took them.
    Retention,
    /// The disk returned damaged bytes.
    Damaged,
    /// Intact, but not a record this version can read.
    Unreadable,
}

impl Gap {
    /// How many entries.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.0.saturating_sub(self.first.0) + 1
    }
}

impl GapReason {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Retention, Self::Damaged, Self::Unreadable];

    /// The reason as a metric label and in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Damaged => "damaged",
            Self::Unreadable => "unreadable",
        }
    }
}

/// How far a device time may lie from the receive time and still be the event's `time`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockBounds {
    /// Ahead, in ms.
    pub future_ms_max: u64,
    /// Behind, in ms.
    pub past_ms_max: u64,
}

impl Default for ClockBounds {
    /// Five minutes ahead, 31 days behind: a device may come back from a drawer with its outbox full.
    fn default() -> Self {
        Self { future_ms_max: 5 * 60_000, past_ms_max: 31 * 24 * 3_600_000 }
    }
}

impl ClockBounds {
    /// Whether the device's own time is the one to show.
    #[must_use]
    pub fn believes(&self, head: &Head, received_at_ms: u64) -> bool {
        head.clock != ClockQuality::Unset
            && head.time_ms <= received_at_ms.saturating_add(self.future_ms_max)
            && head.time_ms >= received_at_ms.saturating_sub(self.past_ms_max)
    }
}

/// Renders what is released of records into events, over one reused buffer.
#[derive(Debug)]
pub struct Renderer {
    clock: ClockBounds,
    release: Release,
    buffer: BytesMut,
}

impl Renderer {
    /// A renderer that believes device clocks within `clock`, for an output that is released so much.
    #[must_use]
    pub fn new(clock: ClockBounds, release: Release) -> Self {
        Self { clock, release, buffer: BytesMut::new() }
    }

    /// Renders one record.
    ///
    /// # Errors
    /// [`Withheld`] if the record does not leave the gateway.
    pub fn event(&mut self, record: &Record) -> Result<Event, Withheld> {
        self.event_of(record, false)
    }

    /// Renders one record. `overtaken`: newer ones of its lane went before it, so it is history now.
    ///
    /// # Errors
    /// As [`Renderer::event`].
    pub fn event_of(&mut self, record: &Record, overtaken: bool) -> Result<Event, Withheld> {
        // Of the whole record: a key must not depend on who is told of it.
        self.render(record, Record::key, overtaken)
    }

    /// Renders a record once more that was refused: what the output is released now, and no more than it was then. It is
    /// history now.
    ///
    /// # Errors
    /// As [`Renderer::event`].
    pub fn again(&mut self, kept: &Kept) -> Result<Event, Withheld> {
        let released = self.release.fields;
        self.release.fields = released.and(kept.fields);
        let event = self.render(&kept.record, |_| kept.key.clone(), true);
        self.release.fields = released;
        Ok(Event { alarm: kept.alarm.clone(), ..event? })
    }

    fn render(
        &mut self,
        record: &Record,
        key: impl FnOnce(&Record) -> String,
        overtaken: bool,
    ) -> Result<Event, Withheld> {
        let (envelope, body) = classify(record)?;
        let kind = Kind::of(envelope.head.class, body.as_ref()).as_str();
        let cut = self.release.cut(record, &envelope, body)?;
        let key = key(record);
        write_record(&mut self.buffer, &cut, &envelope.head, &key, overtaken, self.clock);
        let route = format!("{}.{kind}.{}", token(record.force.as_str()), token(record.device.as_str()));
        let alarm = alarm_of(record, &envelope.head);
        let (fields, marking) = (cut.fields, cut.marking);
        let rendered = Some(Arc::new(cut.record));
        Ok(Event { record: rendered, alarm, fields, marking, ..self.finish(record.lsn, key, route) })
    }

    /// Renders a loss of this gateway's forwarder `forwarder`, seen at `now_ms`.
    #[must_use]
    pub fn gap(&mut self, forwarder: &str, gap: &Gap, now_ms: u64) -> Event {
        let key = format!("gateway.{forwarder}.{}-{}", gap.first.0, gap.last.0);
        let mut event = Object::open(&mut self.buffer);
        event.text("specversion", "1.0");
        event.text("id", &key);
        event.text("source", &format!("/gateway/forwarders/{forwarder}"));
        event.text("type", "uk.fieldpost.loss.v1");
        event.time("time", now_ms);
        event.text("fieldpostmarking", Marking::Official.as_str());
        let mut data = event.object("data");
        data.text("reason", gap.reason.as_str());
        data.number("count", gap.count());
        data.number("first_lsn", gap.first.0);
        data.number("last_lsn", gap.last.0);
        data.close();
        event.close();
        // '%' never stands alone in an encoded token, so no force can be called that.
        let route = format!("%gateway.loss.{}", token(forwarder));
        self.finish(gap.first, key, route)
    }

    fn finish(&mut self, lsn: Lsn, key: String, route: String) -> Event {
        let json = self.buffer.split().freeze();
        Event {
            lsn,
            key,
            route,
            json,
            record: None,
            fields: Fields::NONE,
            marking: Marking::Official,
            alarm: None,
            state: EventState::Owed,
        }
    }
}

fn alarm_of(record: &Record, head: &Head) -> Option<Box<AlarmId>> {
    let is_alarm = head.class.is_alarm_family() && head.class != Class::ALARM_CANCEL;
    is_alarm.then(|| {
        let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
        Box::new(AlarmId { unit, boot: head.boot, seq: head.seq, repeat: record.repeat() })
    })
}

/// Takes a record apart, or says why it stays here. An alarm whose body is not understood is still an alarm.
fn classify(record: &Record) -> Result<(Envelope<'_>, Option<Body<'_>>), Withheld> {
    match record.kind {
        RecordKind::Envelope | RecordKind::Repeated => {}
        RecordKind::Quarantine(_) => return Err(Withheld::Quarantine),
        _ => return Err(Withheld::Acknowledgement),
    }
    let envelope = record.envelope().ok_or(Withheld::Quarantine)?;
    match Body::decode(&envelope.head, envelope.body) {
        Ok(Body::Health(_)) => Err(Withheld::Health),
        Ok(Body::Heard(_)) => Err(Withheld::Acknowledgement),
        Ok(Body::Unknown(class)) if !class.is_alarm_family() => Err(Withheld::UnknownClass),
        Ok(Body::Unknown(_)) => Ok((envelope, None)),
        Ok(body) => Ok((envelope, Some(body))),
        Err(_) if envelope.head.class.is_alarm_family() => Ok((envelope, None)),
        Err(_) => Err(Withheld::Quarantine),
    }
}

fn write_record(
    out: &mut BytesMut,
    cut: &Cut<'_>,
    head: &Head,
    key: &str,
    overtaken: bool,
    clock: ClockBounds,
) {
    let (record, body) = (&cut.record, cut.body.as_ref());
    let believed = clock.believes(head, record.received_at_ms);
    let mut event = Object::open(out);
    event.text("specversion", "1.0");
    event.text("id", key);
    event.display("source", format_args!("/forces/{}/devices/{}", record.force, record.device));
    event.display("type", format_args!("uk.fieldpost.{}.v1", Kind::of(head.class, body).as_str()));
    event.time("time", if believed { head.time_ms } else { record.received_at_ms });
    event.text("fieldposttime", if believed { "device" } else { "received" });
    if !believed {
        event.display("fieldpostdevicetime", format_args!("{}", head.time_ms));
    }
    event.text("fieldpostclock", head.clock.as_str());
    event.text("fieldpostmode", head.mode.as_str());
    event.text("fieldpostmarking", cut.marking.as_str());
    event.text("fieldpostlane", lane_name(if overtaken { Lane::Backlog } else { record.lane }));
    if overtaken {
        event.text("fieldpostovertaken", lane_name(record.lane));
    }
    event.display("fieldpostboot", format_args!("{}", head.boot.0));
    event.display("fieldpostseq", format_args!("{}", head.seq.0));
    event.time("fieldpostreceived", record.received_at_ms);
    if record.kind == RecordKind::Repeated {
        event.text("fieldpostidentity", "repeated");
    }
    let mut data = event.object("data");
    body::write(&mut data, cut, head);
    data.close();
    event.close();
}

fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Alarm => "alarm",
        Lane::Live => "live",
        Lane::Backlog => "backlog",
        Lane::Health => "health",
    }
}

/// Encodes one part of a route so that it is one token of a NATS subject: every byte outside `[A-Za-z0-9_-]` becomes
/// `%` and two upper-case hexadecimal digits. So `.`, `*`, `>`, space and `%` never reach a subject.
#[must_use]
pub fn token(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-' {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            for digit in [byte >> 4, byte & 15] {
                encoded.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
    encoded
}

/// Events hold positions: they never reach a log.
impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Event({:?} {:?} {} bytes)", self.lsn, self.state, self.json.len())
    }
}

#[cfg(test)]
mod tests {
    use fieldpost_protocol::{
        AlarmCancel, BootId, CancelReason, EventCode, Health, Loss, LossReason, Position, SensorEvent, Seq,
        SeqRange,
    };
    use serde_json::{Value, json};

    use super::super::testing::{RECEIVED_MS, alarm_record, head, position, position_record, record_of};
    use super::*;
    use crate::record::QuarantineReason;

    const PAGE: &str = include_str!("../../../docs/sinks/events.md");

    #[test]
    fn the_page_names_every_type() {
        let kept = [Class::POSITION_BATCH, Class::HEALTH, Class::HEARD];
        let known = Class::KNOWN.iter().filter(|class| !kept.contains(class));
        let names = known.filter_map(|class| class.name()).chain(["unknown-alarm"]);
        for name in names {
            assert!(PAGE.contains(&format!("`uk.fieldpost.{name}.v1`")), "{name}");
        }
    }

    fn whole() -> Renderer {
        Renderer::new(ClockBounds::default(), Release::everything())
    }

    fn rendered(record: &Record) -> Value {
        let event = whole().event(record).unwrap();
        serde_json::from_slice(&event.json).unwrap()
    }

    #[test]
    fn a_position_is_rendered_digit_by_digit() {
        let event = whole().event(&position_record(17)).unwrap();
        let expected = concat!(
            r#"{"specversion":"1.0","id":"sim.pc-0001.3.17","source":"/forces/sim/devices/pc-0001","#,
            r#""type":"uk.fieldpost.position.v1","time":"2026-09-21T14:13:19.123Z","fieldposttime":"device","#,
            r#""fieldpostclock":"gnss","fieldpostmode":"test","fieldpostmarking":"official-sensitive","fieldpostlane":"live","fieldpostboot":"3","#,
            r#""fieldpostseq":"17","fieldpostreceived":"2026-09-21T14:13:20.123Z","data":{"latitude_deg":51.507400,"#,
            r#""longitude_deg":-0.127758,"speed_mps":1.34,"course_deg":90.00,"accuracy_m":5,"source":"gnss","#,
            r#""reason":"interval"}}"#,
        );
        assert_eq!(std::str::from_utf8(&event.json).unwrap(), expected);
        assert_eq!(event.route, "sim.position.pc-0001");
        assert!(PAGE.contains(expected), "docs/sinks/events.md shows this event");
    }

    #[test]
    fn every_micro_degree_survives_json_and_a_double() {
        for udeg in [0, 1, -1, 51_500_123, 179_999_999, -180_000_000, -99_999_999] {
            let mut buffer = [0; 64];
            let body = Position { longitude_udeg: udeg, ..position() };
            let event = rendered(&record_of(1, head(Class::POSITION, 1), body.encode(&mut buffer).unwrap()));
            let degrees = event["data"]["longitude_deg"].as_f64().unwrap();
            assert!((degrees * 1e6 - f64::from(udeg)).abs() < 1e-3, "{udeg} became {degrees}");
        }
    }

    #[test]
    fn an_alarm_carries_its_position_and_a_cancel_names_the_alarm() {
        let alarm = rendered(&alarm_record(9));
        assert_eq!(alarm["type"], "uk.fieldpost.alarm.v1");
        assert_eq!(alarm["fieldpostlane"], "alarm");
        assert_eq!(alarm["data"]["cause"], "officer-down");
        assert_eq!(alarm["data"]["position"]["latitude_deg"], json!(51.5074));
        assert_eq!(alarm["data"]["position"]["age_s"], 4);
        let cancel = AlarmCancel { boot: BootId(3), seq: Seq(9), reason: CancelReason::WEARER };
        let mut buffer = [0; 32];
        let cancel =
            rendered(&record_of(10, head(Class::ALARM_CANCEL, 10), cancel.encode(&mut buffer).unwrap()));
        assert_eq!(cancel["data"], json!({"alarm": "sim.pc-0001.3.9", "reason": "wearer"}));
    }

    #[test]
    fn an_alarm_from_newer_firmware_is_still_an_alarm() {
        let event = rendered(&record_of(4, head(Class(0x1C), 4), b"future"));
        assert_eq!(event["type"], "uk.fieldpost.unknown-alarm.v1");
        assert_eq!(event["data"], json!({"class": 28, "body_base64": "ZnV0dXJl"}));
        let cut = rendered(&record_of(5, head(Class::ALARM, 5), b""));
        assert_eq!(cut["type"], "uk.fieldpost.unknown-alarm.v1");
    }

    #[test]
    fn sensor_events_and_losses_say_what_their_numbers_mean() {
        let mut buffer = [0; 64];
        let crash = SensorEvent { code: EventCode::CRASH, index: 0, value: 1_250 };
        let crash = rendered(&record_of(4, head(Class::SENSOR_EVENT, 4), crash.encode(&mut buffer).unwrap()));
        assert_eq!(crash["data"], json!({"event": "crash", "index": 0, "velocity_change_mps": 12.5}));
        let ranges = [SeqRange { first: Seq(5), more: 9 }, SeqRange { first: Seq(20), more: 0 }];
        let loss =
            Loss { boot: BootId(2), reason: LossReason::EVICTED, ranges: ranges.into_iter().collect() };
        let loss = rendered(&record_of(5, head(Class::LOSS, 5), loss.encode(&mut buffer).unwrap()));
        let expected = json!({"reason": "evicted", "boot": 2, "count": 11,
            "ranges": [{"first": 5, "last": 14}, {"first": 20, "last": 20}]});
        assert_eq!(loss["data"], expected);
    }

    #[test]
    fn a_clock_that_cannot_be_believed_gives_way_to_the_receive_time_and_is_kept_beside_it() {
        let mut buffer = [0; 64];
        let body = position().encode(&mut buffer).unwrap();
        let future = Head { time_ms: RECEIVED_MS + 3_600_000, ..head(Class::POSITION, 1) };
        let ancient = Head { time_ms: 86_400_000, ..head(Class::POSITION, 2) };
        let unset = Head { clock: ClockQuality::Unset, ..head(Class::POSITION, 3) };
        for head in [future, ancient, unset] {
            let event = rendered(&record_of(1, head, body));
            assert_eq!(event["fieldposttime"], "received");
            assert_eq!(event["time"], event["fieldpostreceived"]);
            assert_eq!(event["fieldpostdevicetime"], head.time_ms.to_string());
        }
    }

    #[test]
    fn what_a_force_system_has_no_need_of_stays_here() {
        let mut buffer = [0; 16];
        let health = Health { heart_rate_bpm: 80, confidence_pct: 90 };
        let health = record_of(1, head(Class::HEALTH, 1), health.encode(&mut buffer).unwrap());
        let unknown = record_of(1, head(Class(0x60), 1), b"?");
        let mut quarantined = position_record(1);
        quarantined.kind = RecordKind::Quarantine(QuarantineReason::AboveCeiling);
        let mut acknowledged = position_record(1);
        acknowledged.kind = RecordKind::Acknowledged;
        let cases = [
            (health, Withheld::Health),
            (unknown, Withheld::UnknownClass),
            (quarantined, Withheld::Quarantine),
            (acknowledged, Withheld::Acknowledgement),
        ];
        for (record, reason) in cases {
            assert_eq!(whole().event(&record).unwrap_err(), reason);
        }
    }

    #[test]
    fn a_gap_is_an_event_of_the_gateway_itself() {
        let gap = Gap { first: Lsn(5), last: Lsn(9), reason: GapReason::Retention };
        let event = whole().gap("cad", &gap, RECEIVED_MS);
        assert_eq!(event.route, "%gateway.loss.cad");
        let event: Value = serde_json::from_slice(&event.json).unwrap();
        assert_eq!(event["id"], "gateway.cad.5-9");
        let expected = json!({"reason": "retention", "count": 5, "first_lsn": 5, "last_lsn": 9});
        assert_eq!(event["data"], expected);
    }

    #[test]
    fn no_identity_can_make_a_second_token_or_a_wildcard() {
        assert_eq!(token("pc-0001_A"), "pc-0001_A");
        assert_eq!(token("a.b"), "a%2Eb");
        assert_eq!(token("*> %\u{e9}"), "%2A%3E%20%25%C3%A9");
    }
}
