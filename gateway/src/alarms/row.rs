//! An alarm as JSON: in the API, in SSE, and the part of the snapshot that older versions know.
//!
//! Times in Unix ms, degrees WGS 84. **Fields are only ever added.**

use serde::{Deserialize, Serialize};

use super::alarm::{
    Acceptance, Alarm, AlarmState, Cause, Closing, Escalation, Fact, Origin, Owner, ReceiptState, RuleRef,
    Shelf, Standing,
};
use super::grade::{Grade, Queue};
use super::id::{AlarmId, AlarmIdError};

/// An alarm as the API has it. Only ever written: reading flattened fields would go through serde's own copy of a number, which
/// is another one as soon as any crate of the build turns on `serde_json/arbitrary_precision`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AlarmRow {
    #[serde(flatten)]
    known: KeptRow,
    #[serde(flatten)]
    judged: Judged,
}

/// An alarm as a snapshot keeps it: what older versions read, and `standing`, which they do not know of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptRow {
    id: String,
    unit: String,
    callsign: String,
    cause: Cause,
    mode: String,
    raised_at_ms: u64,
    received_at_ms: u64,
    position: Option<LonLat>,
    state: AlarmState,
    cancelled_at_ms: Option<u64>,
    acknowledged_by: Option<String>,
    acknowledged_at_ms: Option<u64>,
    receipt: ReceiptState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    accepted: Option<Acceptance>,
    #[serde(default)]
    delivered: ReceiptState,
    /// An older version's snapshot has none; nor has the API, which says it in words of its own ([`Judged`]).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    standing: Option<Standing>,
}

/// What rules and people made of it, as the API has it.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Judged {
    grade: Grade,
    rule: RuleRef,
    origin: Origin,
    is_fact: bool,
    queue: Queue,
    facts: Vec<Fact>,
    incident: Option<AlarmId>,
    cleared_at_ms: Option<u64>,
    shelved: Option<Shelf>,
    escalation: Option<Escalation>,
    closed: Option<Closing>,
    wearer: Wearer,
    /// Grows with every change of the alarm.
    revision: u64,
}

/// What the wearer knows of a person having their alarm.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
struct Wearer {
    /// What the screen has to say.
    state: WearerState,
    /// When SEEN was first sent to the device.
    told_ms: Option<u64>,
    /// When the device confirmed it.
    confirmed_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum WearerState {
    /// Nobody has the alarm.
    Waits,
    /// A person has it; the wearer has not been told: no connection.
    NotTold,
    /// Sent, not confirmed.
    Told,
    /// The device confirmed it.
    Confirmed,
    /// A rule raised the alarm: the wearer knows nothing of it.
    KnowsNothing,
}

/// WGS 84 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LonLat {
    lon: f64,
    lat: f64,
}

impl Wearer {
    fn of(alarm: &Alarm) -> Self {
        let Standing { origin, told_ms, confirmed_ms, .. } = alarm.standing;
        let state = match (origin, alarm.receipt) {
            (Origin::Rule, _) => WearerState::KnowsNothing,
            (_, ReceiptState::None) => WearerState::Waits,
            (_, ReceiptState::Delivered) => WearerState::Confirmed,
            (_, ReceiptState::Queued) if told_ms.is_some() => WearerState::Told,
            (_, ReceiptState::Queued) => WearerState::NotTold,
        };
        Self { state, told_ms, confirmed_ms }
    }
}

impl From<&Alarm> for AlarmRow {
    fn from(alarm: &Alarm) -> Self {
        let known = KeptRow { state: alarm.state(), standing: None, ..KeptRow::from(alarm) };
        Self { known, judged: Judged::of(alarm) }
    }
}

impl From<&Alarm> for KeptRow {
    /// With the two states that an older version knows.
    fn from(alarm: &Alarm) -> Self {
        let degrees = |(longitude, latitude): (i32, i32)| LonLat {
            lon: f64::from(longitude) / 1e6,
            lat: f64::from(latitude) / 1e6,
        };
        let owner = alarm.owner.as_ref();
        Self {
            id: alarm.id.to_string(),
            unit: alarm.id.unit.to_string(),
            callsign: alarm.callsign.clone(),
            cause: alarm.cause,
            mode: alarm.mode.to_string(),
            raised_at_ms: alarm.raised_at_ms,
            received_at_ms: alarm.received_at_ms,
            position: alarm.position_udeg.map(degrees),
            state: if owner.is_some() { AlarmState::Acknowledged } else { AlarmState::Unacknowledged },
            cancelled_at_ms: alarm.cancelled_at_ms,
            acknowledged_by: owner.map(|owner| owner.operator.clone()),
            acknowledged_at_ms: owner.map(|owner| owner.at_ms),
            receipt: alarm.receipt,
            accepted: alarm.accepted.clone(),
            delivered: alarm.delivered,
            standing: Some(alarm.standing.clone()),
        }
    }
}

impl Judged {
    fn of(alarm: &Alarm) -> Self {
        let standing = &alarm.standing;
        Self {
            grade: standing.grade,
            rule: standing.rule.clone(),
            origin: standing.origin,
            is_fact: standing.is_fact,
            queue: standing.queue,
            facts: standing.facts.clone(),
            incident: standing.incident.clone(),
            cleared_at_ms: standing.cleared_at_ms,
            shelved: standing.shelf.clone(),
            escalation: standing.escalation.clone(),
            closed: standing.closed.clone(),
            wearer: Wearer::of(alarm),
            revision: standing.picture(),
        }
    }
}

impl KeptRow {
    /// The alarm it was made of.
    pub(super) fn into_alarm(self) -> Result<Alarm, AlarmIdError> {
        let micro = |degrees: f64, bound: f64| {
            (degrees.abs() <= bound).then(|| (degrees * 1e6).round() as i32).ok_or(AlarmIdError)
        };
        let position_udeg = match self.position {
            Some(LonLat { lon, lat }) => Some((micro(lon, 180.0)?, micro(lat, 90.0)?)),
            None => None,
        };
        let owner = match (self.acknowledged_by, self.acknowledged_at_ms) {
            (Some(operator), Some(at_ms)) => Some(Owner { operator, at_ms }),
            (None, None) => None,
            _ => return Err(AlarmIdError),
        };
        Ok(Alarm {
            id: self.id.parse()?,
            callsign: self.callsign,
            cause: self.cause,
            mode: self.mode.parse().map_err(|_| AlarmIdError)?,
            raised_at_ms: self.raised_at_ms,
            received_at_ms: self.received_at_ms,
            position_udeg,
            cancelled_at_ms: self.cancelled_at_ms,
            owner,
            receipt: self.receipt,
            accepted: self.accepted,
            delivered: self.delivered,
            standing: self.standing.unwrap_or_default(),
        })
    }
}
