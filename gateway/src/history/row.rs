//! A row: what the history keeps of one record.
//!
//! **A row is derived from one record and nothing else**, so the same record gives the same row whenever it is read, and
//! (boot, sequence, fingerprint, kind) tells two rows of one unit apart: what is read twice is kept once.
//!
//! | record | row |
//! |---|---|
//! | position, and the position inside an alarm | [`Said::Position`] |
//! | status | [`Said::Status`] |
//! | alarm family, readable or in quarantine | [`Said::Alarm`] "raised" |
//! | alarm cancel, acknowledged, delivered, lowered, closed | [`Said::Alarm`] with its word, and the grade if the record has it |
//! | verdict | [`Said::Alarm`] "raised" (by a rule), "graded" or "cleared", "shelved" (who, until when), "unshelved" or "shelf_ended", with grade, rule and reason |
//! | health, sensor events, loss, rubbish | none |

use fieldpost_protocol::{Alarm, Body, Class, ClockQuality, Duty, Envelope, Head, Lane, Mode, Position};
use serde::{Deserialize, Serialize};

use crate::alarms::{Action, AlarmId, Cause, Finding, Grade, RuleRef, Verdict};
use crate::fingerprint::Fingerprint;
use crate::live::order::{ClockBounds, JudgedTime};
use crate::live::unit::UnitId;
use crate::record::{QuarantineReason, Record, RecordKind};

/// A record of the live lane whose clock is further behind its receipt is dated by the receipt: the lane brings what is new.
const LIVE_AGE_MS_MAX: u64 = 120_000;

/// One row of one unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// When it was true, Unix ms: the device's time if it is believed, else of receipt.
    pub at_ms: u64,
    /// When the gateway received it, Unix ms.
    pub received_at_ms: u64,
    /// Boot id of its record.
    pub boot: u32,
    /// Sequence of its record.
    pub seq: u32,
    /// Fingerprint of a record under a repeated identity; 0 for every other.
    pub print: u32,
    /// Real duty, exercise or test.
    pub mode: Mode,
    /// How good the device's clock was; `Unset` if its time is not believed.
    pub clock: ClockQuality,
    /// It came by the backlog lane.
    pub is_backlog: bool,
    /// What it says.
    pub said: Said,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// Where the unit was.
    Position(Position),
    /// What it was doing.
    Status {
        /// Duty.
        duty: Duty,
        /// Battery in percent; over 100 is not known.
        battery_pct: u8,
    },
    /// Something happened to one of its alarms: the JSON of an [`AlarmEvent`].
    Alarm(Box<str>),
}

/// Which rows are kept together and as long as each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowClass {
    /// Positions and statuses.
    Movement,
    /// Alarms and what became of them.
    Alarms,
}

/// One thing that happened to an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlarmEvent {
    /// The alarm's id.
    pub alarm: String,
    /// `raised`, `graded`, `cleared`, `cancelled`, `acknowledged`, `delivered`, `shelved`, `unshelved`, `shelf_ended`, `lowered` or
    /// `closed`.
    pub what: String,
    /// The operator or force system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// What raised it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Where, if it says: longitude and latitude in micro-degrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub position_udeg: Option<(i32, i32)>,
    /// How grave it was then, if the record says so: what a person saw it as, or lowered it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grade: Option<Grade>,
    /// The rule that gave the grade; of `raised`, the rule that raised it: then no device did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleRef>,
    /// Whether a person or a switch reported it; else it is inferred. Known where the rule is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub is_fact: Option<bool>,
    /// Why it has the grade, or is on the shelf, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// Of `shelved`: until when, Unix ms, unless it comes back before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
}

/// What a person or a force system did to an alarm, as its record has it.
#[derive(Deserialize)]
struct Deed {
    alarm: String,
    at_ms: Option<u64>,
    /// A person.
    operator: Option<String>,
    /// A force system.
    by: Option<String>,
    seen_as: Option<Grade>,
}

/// A row's place among its unit's, and its identity. Ascending in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RowKey {
    /// When, Unix ms.
    pub at_ms: u64,
    /// Boot id.
    pub boot: u32,
    /// Sequence.
    pub seq: u32,
    /// Fingerprint or 0.
    pub print: u32,
    /// Kind of row.
    pub kind: u8,
}

impl Said {
    /// Which rows it is kept with.
    #[must_use]
    pub fn class(&self) -> RowClass {
        match self {
            Self::Position(_) | Self::Status { .. } => RowClass::Movement,
            Self::Alarm(_) => RowClass::Alarms,
        }
    }

    pub(super) fn kind(&self) -> u8 {
        match self {
            Self::Position(_) => 0,
            Self::Status { .. } => 1,
            Self::Alarm(_) => 2,
        }
    }
}

impl Row {
    /// Its place and identity.
    #[must_use]
    pub fn key(&self) -> RowKey {
        let Self { at_ms, boot, seq, print, .. } = *self;
        RowKey { at_ms, boot, seq, print, kind: self.said.kind() }
    }

    /// Whether nobody knows when it was true: history of a device whose clock is not believed.
    #[must_use]
    pub fn is_timeless(&self) -> bool {
        self.is_backlog && self.clock == ClockQuality::Unset
    }

    /// What it says of an alarm, if it is such a row and readable.
    #[must_use]
    pub fn alarm_event(&self) -> Option<AlarmEvent> {
        match &self.said {
            Said::Alarm(text) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }

    /// The rows of a record: none, one, or for an alarm with a position two.
    pub fn of_record(record: &Record, bounds: ClockBounds) -> impl Iterator<Item = (UnitId, Self)> + use<> {
        let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
        let rows = match record.kind {
            RecordKind::Envelope | RecordKind::Repeated => record.envelope().map(|envelope| {
                let print = record.repeat().map_or(0, |print| print.0);
                of_envelope(&Told { record, unit: &unit, envelope: &envelope, bounds, print })
            }),
            RecordKind::Quarantine(QuarantineReason::AboveCeiling) => None,
            RecordKind::Quarantine(_) => Envelope::decode(&record.payload).ok().map(|envelope| {
                let class = envelope.head.class;
                let is_alarm = class.is_alarm_family() && class != Class::ALARM_CANCEL;
                let told = Told { record, unit: &unit, envelope: &envelope, bounds, print: 0 };
                [is_alarm.then(|| told.raised(None)), None]
            }),
            RecordKind::Acknowledged => deed(record, "acknowledged", None),
            RecordKind::Delivered => deed(record, "delivered", None),
            RecordKind::AlarmAction => of_action(record),
            RecordKind::Verdict => of_verdict(record),
            // The gateway's own words on the time, its rules, and what reached a device.
            RecordKind::Confirmed | RecordKind::Clock | RecordKind::Rules => None,
        };
        rows.unwrap_or_default().into_iter().flatten().map(move |row| (unit.clone(), row))
    }
}

/// What one record gives at most. No allocation: every record of the spool comes by here.
type Rows = [Option<Row>; 2];

/// A record's circumstances.
struct Told<'a> {
    record: &'a Record,
    unit: &'a UnitId,
    envelope: &'a Envelope<'a>,
    bounds: ClockBounds,
    print: u32,
}

impl Told<'_> {
    fn head(&self) -> &Head {
        &self.envelope.head
    }

    /// `age_ms`: how long before the record it was true.
    fn row(&self, age_ms: u64, said: Said) -> Row {
        let received_at_ms = self.record.received_at_ms;
        let head = self.head();
        let mut bounds = self.bounds;
        if self.record.lane == Lane::Live {
            bounds.behind_ms_max = bounds.behind_ms_max.min(LIVE_AGE_MS_MAX);
        }
        let mut time = JudgedTime::of(head, received_at_ms, bounds);
        time.device_time_ms = time.device_time_ms.saturating_sub(age_ms);
        Row {
            at_ms: time.believed_ms(received_at_ms).unwrap_or(received_at_ms.saturating_sub(age_ms)),
            received_at_ms,
            boot: head.boot.0,
            seq: head.seq.0,
            print: self.print,
            mode: head.mode,
            clock: time.clock,
            is_backlog: self.record.lane == Lane::Backlog,
            said,
        }
    }

    fn raised(&self, body: Option<&Alarm>) -> Row {
        let head = self.head();
        let repeat = (self.print != 0).then_some(Fingerprint(self.print));
        let id = AlarmId { unit: self.unit.clone(), boot: head.boot, seq: head.seq, repeat };
        let position = body.and_then(|body| body.position);
        let event = AlarmEvent {
            cause: Some(body.map_or(Cause::Unknown, |body| body.cause.into())),
            position_udeg: position.map(|position| (position.longitude_udeg, position.latitude_udeg)),
            // Its grade is judged from more than this record: a verdict says it.
            ..AlarmEvent::of(id.to_string(), "raised")
        };
        self.row(0, event.said())
    }
}

impl AlarmEvent {
    pub(super) fn of(alarm: String, what: &str) -> Self {
        Self {
            alarm,
            what: what.to_owned(),
            by: None,
            cause: None,
            position_udeg: None,
            grade: None,
            rule: None,
            is_fact: None,
            because: None,
            until_ms: None,
        }
    }

    pub(super) fn said(&self) -> Said {
        Said::Alarm(serde_json::to_string(self).expect("strings and numbers are JSON").into())
    }
}

fn of_envelope(told: &Told<'_>) -> Rows {
    let head = told.head();
    let one = |row| [Some(row), None];
    match Body::decode(head, told.envelope.body) {
        Ok(Body::Position(position)) => one(told.row(0, Said::Position(position))),
        Ok(Body::Status(status)) => {
            one(told.row(0, Said::Status { duty: status.duty, battery_pct: status.battery_pct }))
        }
        Ok(Body::Alarm(alarm)) => {
            let raised = told.raised(Some(&alarm));
            let age_ms = u64::from(alarm.position_age_s) * 1000;
            let placed = alarm.position.map(|position| told.row(age_ms, Said::Position(position)));
            [placed, Some(raised)]
        }
        Ok(Body::AlarmCancel(cancel)) => {
            let id = AlarmId { unit: told.unit.clone(), boot: cancel.boot, seq: cancel.seq, repeat: None };
            one(told.row(0, AlarmEvent::of(id.to_string(), "cancelled").said()))
        }
        // An unknown class of the alarm family, or an alarm whose body is not readable: still an alarm.
        Ok(Body::Unknown(_)) | Err(_)
            if head.class.is_alarm_family() && head.class != Class::ALARM_CANCEL =>
        {
            one(told.raised(None))
        }
        _ => [None, None],
    }
}

/// What a person did to an alarm: that it is less grave or over is its history. Whether it is shelved a verdict says; the rest is its
/// story, which the alarm keeps.
fn of_action(record: &Record) -> Option<Rows> {
    let said: crate::alarms::Said = serde_json::from_slice(&record.payload).ok()?;
    match said.action {
        Action::Close { .. } => deed(record, "closed", None),
        Action::Lower { grade, .. } => deed(record, "lowered", Some(grade)),
        _ => None,
    }
}

/// The row of something done to an alarm; `grade` if it has another from then on.
fn deed(record: &Record, what: &str, grade: Option<Grade>) -> Option<Rows> {
    let deed: Deed = serde_json::from_slice(&record.payload).ok()?;
    let at_ms = deed.at_ms.unwrap_or(record.received_at_ms);
    let event = AlarmEvent {
        by: deed.operator.or(deed.by),
        grade: grade.or(deed.seen_as),
        ..AlarmEvent::of(deed.alarm, what)
    };
    Some([Some(own_row(record, at_ms, &event)), None])
}

/// What the queue made of an alarm.
fn of_verdict(record: &Record) -> Option<Rows> {
    let verdict: Verdict = serde_json::from_slice(&record.payload).ok()?;
    let is_raised = verdict.what == Finding::Raised;
    let event = AlarmEvent {
        cause: is_raised.then_some(verdict.cause),
        position_udeg: verdict.position_udeg.filter(|_| is_raised),
        grade: Some(verdict.grade),
        rule: Some(verdict.rule),
        is_fact: Some(verdict.is_fact),
        because: Some(verdict.because).filter(|because| !because.is_empty()),
        by: verdict.by,
        until_ms: verdict.until_ms,
        ..AlarmEvent::of(verdict.alarm.to_string(), verdict.what.as_str())
    };
    let row = own_row(record, verdict.at_ms, &event);
    Some([Some(Row { seq: verdict.n, mode: verdict.mode.parse().ok()?, ..row }), None])
}

/// The row of one of the gateway's own records.
fn own_row(record: &Record, at_ms: u64, event: &AlarmEvent) -> Row {
    Row {
        at_ms,
        received_at_ms: record.received_at_ms,
        // No device's sequence: what tells two of the gateway's own records apart is what they say.
        boot: 0,
        seq: 0,
        print: crc32c::crc32c(&record.payload),
        mode: record.ceiling,
        clock: ClockQuality::Network,
        is_backlog: false,
        said: event.said(),
    }
}
