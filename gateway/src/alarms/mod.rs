//! The alarm queue: who needs help, and who has taken it.
//!
//! **Only a person takes an alarm out of the unacknowledged state.** Nothing expires; a wearer's cancel is a mark. The
//! queue is a fold of committed records, in one direction: an operator's acknowledgement is itself a record, appended,
//! committed, and only then folded. So the first committed acknowledgement owns the alarm, however many were sent.
//!
//! ```text
//! SPOOL -- alarm, cancel, acknowledged, delivered --> Book --> page (SSE), snapshot file
//!   ^                                                  |
//!   |---- Acknowledged <-- operator                    '-- DELIVERED, SEEN --> wearer (receipts)
//!   '---- Delivered <-- forwarder: a force system has it
//! ```
//!
//! Bounds: [`ALARMS_MAX`] unacknowledged alarms of 400 bytes, and as many in all with [`TAKEN_MIN`] on top: over that the
//! oldest *acknowledged* one leaves the page (the spool keeps it), so an acknowledged one is never in the way. With
//! [`ALARMS_MAX`] unacknowledged, or [`UNIT_OPEN_MAX`] of its unit, a new one waits, the page says how many do, and **the
//! one that waited longest is shown as soon as somebody acknowledges**. [`WAITING_MAX`] wait, [`UNIT_OPEN_MAX`] of a unit;
//! beyond that they are only counted, and in the spool. An alarm that leaves the page leaves the receipts that its wearer has
//! not confirmed behind, [`OWED_MAX`] in all.

pub mod snapshot;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use fieldpost_protocol::{AlarmCause, BootId, DeviceId, ForceId, Lane, Mode, Receipt, Seq};
use serde::{Deserialize, Serialize};

use crate::fingerprint::Fingerprint;
use crate::live::unit::UnitId;
use crate::record::{Record, RecordKind};
use crate::spool::Lsn;

/// Most alarms kept: one of every worn device of the largest force, at once, is 10,000; 16,384 x 400 bytes = 6.5 MB.
pub const ALARMS_MAX: usize = 16_384;

/// Most unacknowledged alarms of one unit: one more says nothing new, and a device gone wild must not fill the queue so
/// that somebody else's first alarm is not shown.
pub const UNIT_OPEN_MAX: usize = 64;

/// Most alarms that wait for room: as many again.
pub const WAITING_MAX: usize = ALARMS_MAX;

/// Most receipts owed for alarms that have left the queue: 64 of 100 devices that never come back, and 60,000 that will.
pub const OWED_MAX: usize = 4 * ALARMS_MAX;

/// So many alarms acknowledged last stay, however full the queue is: their operators see that they have them.
pub const TAKEN_MIN: usize = 64;

/// An alarm's identity: its record's. Written `force/device/boot/seq`, and `~fingerprint` behind it if that is repeated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AlarmId {
    /// Who raised it.
    pub unit: UnitId,
    /// Boot id of its record.
    pub boot: BootId,
    /// Sequence of its record.
    pub seq: Seq,
    /// What tells it from another alarm, if its device had already used boot and sequence for something else.
    pub repeat: Option<Fingerprint>,
}

/// What raised an alarm, as the page names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Tilt and no motion, or a fall after a weapon was drawn.
    OfficerDown,
    /// Emergency button.
    Button,
    /// Vehicle crash or rollover.
    Crash,
    /// Conducted energy device fired.
    Ced,
    /// A check-in was missed.
    CheckIn,
    /// The device was tampered with.
    Tamper,
    /// Not stated, or stated in a way this version does not know. Still an alarm.
    Unknown,
}

/// How far a receipt has come on its way to the wearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReceiptState {
    /// There is nothing to tell: nobody has acknowledged the alarm, or no force system has it.
    #[default]
    None,
    /// Owed to the device; sent again at every connection until confirmed.
    Queued,
    /// The device confirmed it.
    Delivered,
}

/// Who took an alarm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The operator.
    pub operator: String,
    /// When they said so, Unix ms by the gateway's clock.
    pub at_ms: u64,
}

/// One alarm.
#[derive(Debug, Clone, PartialEq)]
pub struct Alarm {
    /// Its identity.
    pub id: AlarmId,
    /// How people know the unit, as it was when the alarm was raised.
    pub callsign: String,
    /// What raised it.
    pub cause: Cause,
    /// Real duty, exercise or test.
    pub mode: Mode,
    /// Unix ms at the device if its clock is believed, else of receipt.
    pub raised_at_ms: u64,
    /// Unix ms of receipt.
    pub received_at_ms: u64,
    /// Where, if the alarm says: (longitude, latitude) in micro-degrees.
    pub position_udeg: Option<(i32, i32)>,
    /// When the wearer took it back, Unix ms. A mark: the alarm stays.
    pub cancelled_at_ms: Option<u64>,
    /// Who took it; `None` while unacknowledged.
    pub owner: Option<Owner>,
    /// The wearer's SEEN receipt.
    pub receipt: ReceiptState,
    /// Which force system has it; `None` while none has.
    pub accepted: Option<Acceptance>,
    /// The wearer's DELIVERED receipt.
    pub delivered: ReceiptState,
}

/// A force system accepted an alarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    /// The forwarder, as it is configured.
    pub by: String,
    /// When, Unix ms by the gateway's clock.
    pub at_ms: u64,
}

/// Payload of a [`RecordKind::Delivered`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Delivered {
    /// The alarm's id as text.
    pub(crate) alarm: String,
    #[serde(flatten)]
    pub(crate) acceptance: Acceptance,
}

impl Acceptance {
    /// The record that makes it last.
    #[must_use]
    pub(crate) fn record(self, alarm: &AlarmId) -> Record {
        let received_at_ms = self.at_ms;
        let said = Delivered { alarm: alarm.to_string(), acceptance: self };
        let payload = serde_json::to_vec(&said).expect("strings and numbers are JSON");
        Record {
            lsn: Lsn(0),
            received_at_ms,
            force: alarm.unit.force.clone(),
            device: alarm.unit.device.clone(),
            ceiling: Mode::Test,
            lane: Lane::Alarm,
            kind: RecordKind::Delivered,
            payload: payload.into(),
        }
    }
}

/// Payload of a [`crate::record::RecordKind::Acknowledged`] record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// The alarm's id as text.
    pub alarm: String,
    /// Who.
    pub operator: String,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// Every alarm the page shows.
#[derive(Debug, Default)]
pub struct Book {
    alarms: BTreeMap<AlarmId, Alarm>,
    /// Those of `alarms` that nobody has acknowledged.
    open_count: usize,
    /// Alarms that there is no room for yet.
    waiting: BTreeMap<AlarmId, Alarm>,
    /// Records up to here are in `alarms` and `waiting`.
    folded: Lsn,
    changed: BTreeSet<AlarmId>,
    revision: u64,
    /// Alarms that could not even wait.
    refused_count: u64,
    /// Receipts that are owed for alarms which have left the queue.
    owed: BTreeSet<Owed>,
}

/// A receipt that a wearer's device has not confirmed.
pub type Owed = (AlarmId, Receipt);

impl Book {
    /// A book as a snapshot left it: records up to `folded` are in `alarms` and, without room, in `waiting`; of alarms that have
    /// left it `owed` are still to be told.
    #[must_use]
    pub fn restored(alarms: Vec<Alarm>, waiting: Vec<Alarm>, owed: BTreeSet<Owed>, folded: Lsn) -> Self {
        let changed = alarms.iter().map(|alarm| alarm.id.clone()).collect();
        let by_id = |alarms: Vec<Alarm>| alarms.into_iter().map(|alarm| (alarm.id.clone(), alarm)).collect();
        let open_count = alarms.iter().filter(|alarm| alarm.owner.is_none()).count();
        let (alarms, waiting) = (by_id(alarms), by_id(waiting));
        let mut book = Self { alarms, open_count, waiting, folded, changed, owed, ..Self::default() };
        book.show_waiting();
        book
    }

    /// Whether the record at `lsn` is still to be folded; marks it folded.
    pub fn takes(&mut self, lsn: Lsn) -> bool {
        let takes = lsn > self.folded;
        self.folded = self.folded.max(lsn);
        takes
    }

    /// If the spool ends at `committed`, before what is in the book, numbers after it will be given out anew: takes them
    /// when they come. Returns whether that was so.
    pub fn goes_back_to(&mut self, committed: Lsn) -> bool {
        let goes_back = self.folded > committed;
        self.folded = self.folded.min(committed);
        goes_back
    }

    /// Records up to here are in the book.
    #[must_use]
    pub fn folded(&self) -> Lsn {
        self.folded
    }

    /// Enters an alarm, or lets it wait for room. The same record again changes nothing.
    pub fn raise(&mut self, alarm: Alarm) {
        if self.alarms.contains_key(&alarm.id) || self.waiting.contains_key(&alarm.id) {
            return;
        }
        if self.has_room_for(&alarm.id.unit) {
            self.show(alarm);
        } else if self.waiting.len() < WAITING_MAX
            && of(&self.waiting, &alarm.id.unit).count() < UNIT_OPEN_MAX
        {
            self.revision += 1;
            self.waiting.insert(alarm.id.clone(), alarm);
        } else {
            self.refused_count += 1;
        }
    }

    /// Marks an alarm as taken back by its wearer: of several under a repeated identity the newest. The first mark stays.
    pub fn cancel(&mut self, id: &AlarmId, at_ms: u64) {
        let of_unit = of(&self.alarms, &id.unit).chain(of(&self.waiting, &id.unit));
        let alike = of_unit.filter(|(alike, _)| (alike.boot, alike.seq) == (id.boot, id.seq));
        let newest = alike.max_by_key(|(_, alarm)| alarm.received_at_ms).map(|(id, _)| id.clone());
        let Some(id) = &newest else { return };
        let Some(alarm) = self.alarms.get_mut(id).or_else(|| self.waiting.get_mut(id)) else { return };
        if alarm.cancelled_at_ms.is_none() {
            alarm.cancelled_at_ms = Some(at_ms);
            self.change(id);
        }
    }

    /// Gives an alarm its owner. The first one stays. What waited longest takes the room.
    pub fn acknowledge(&mut self, id: &AlarmId, owner: Owner) {
        if let Some(mut alarm) = self.waiting.remove(id) {
            // Shown when it was acknowledged, in a run whose queue was another.
            alarm.owner = Some(owner);
            alarm.receipt = ReceiptState::Queued;
            self.show(alarm);
            return;
        }
        let Some(alarm) = self.alarms.get_mut(id) else { return };
        if alarm.owner.is_none() {
            alarm.owner = Some(owner);
            alarm.receipt = ReceiptState::Queued;
            self.open_count -= 1;
            self.change(id);
            self.show_waiting();
        }
    }

    fn has_room_for(&self, unit: &UnitId) -> bool {
        let open_of_unit = || self.of(unit).filter(|(_, alarm)| alarm.owner.is_none()).count();
        self.open_count < ALARMS_MAX && open_of_unit() < UNIT_OPEN_MAX
    }

    fn show(&mut self, alarm: Alarm) {
        self.open_count += usize::from(alarm.owner.is_none());
        self.change(&alarm.id);
        self.alarms.insert(alarm.id.clone(), alarm);
        while self.alarms.len() > ALARMS_MAX + TAKEN_MIN && self.drop_oldest_acknowledged() {}
    }

    /// Shows the alarms that waited longest, as far as there is room.
    fn show_waiting(&mut self) {
        while self.open_count < ALARMS_MAX {
            let fits = self.waiting.values().filter(|alarm| self.has_room_for(&alarm.id.unit));
            let Some(id) = fits.min_by_key(|alarm| alarm.received_at_ms).map(|alarm| alarm.id.clone()) else {
                return;
            };
            if let Some(alarm) = self.waiting.remove(&id) {
                self.show(alarm);
            }
        }
    }

    /// A force system has the alarm. The first one stays.
    pub fn accept(&mut self, id: &AlarmId, acceptance: Acceptance) {
        let Some(alarm) = self.alarms.get_mut(id).or_else(|| self.waiting.get_mut(id)) else { return };
        if alarm.accepted.is_none() {
            alarm.accepted = Some(acceptance);
            alarm.delivered = ReceiptState::Queued;
            self.change(id);
        }
    }

    /// Every receipt that a device has not confirmed: DELIVERED before SEEN.
    pub fn receipts_owed(&self) -> impl Iterator<Item = Owed> {
        let of_queue = self.alarms.values().chain(self.waiting.values()).flat_map(Alarm::receipts_owed);
        of_queue.chain(self.owed.iter().cloned())
    }

    /// The device has confirmed a receipt.
    pub fn receipt_confirmed(&mut self, owed: &Owed) {
        let (id, receipt) = owed;
        if self.owed.remove(owed) {
            self.revision += 1;
        }
        let Some(alarm) = self.alarms.get_mut(id).or_else(|| self.waiting.get_mut(id)) else { return };
        let state = match receipt {
            Receipt::Seen => &mut alarm.receipt,
            Receipt::Delivered => &mut alarm.delivered,
            Receipt::Stored => return,
        };
        if *state == ReceiptState::Queued {
            *state = ReceiptState::Delivered;
            self.change(id);
        }
    }

    /// Receipts owed for alarms that have left the queue.
    #[must_use]
    pub fn owed(&self) -> &BTreeSet<Owed> {
        &self.owed
    }

    /// One alarm.
    #[must_use]
    pub fn get(&self, id: &AlarmId) -> Option<&Alarm> {
        self.alarms.get(id)
    }

    /// Every alarm, by identity.
    pub fn iter(&self) -> impl Iterator<Item = &Alarm> {
        self.alarms.values()
    }

    /// The alarm that a unit's marker shows: its newest unacknowledged one, else its newest.
    #[must_use]
    pub fn of_unit(&self, unit: &UnitId) -> Option<&AlarmId> {
        let newest = |open: bool| {
            self.of(unit)
                .filter(|(_, alarm)| !open || alarm.owner.is_none())
                .max_by_key(|(_, alarm)| alarm.received_at_ms)
        };
        newest(true).or_else(|| newest(false)).map(|(id, _)| id)
    }

    fn of<'a>(&'a self, unit: &UnitId) -> impl Iterator<Item = (&'a AlarmId, &'a Alarm)> + use<'a> {
        of(&self.alarms, unit)
    }

    /// Every alarm that waits for room, by identity.
    pub fn waiting(&self) -> impl Iterator<Item = &Alarm> {
        self.waiting.values()
    }

    /// How many of those shown nobody has acknowledged.
    #[must_use]
    pub fn unacknowledged_count(&self) -> usize {
        self.open_count
    }

    /// How many alarms wait for room now, and how many could not even wait since the start.
    #[must_use]
    pub fn not_shown_count(&self) -> u64 {
        self.waiting.len() as u64 + self.refused_count
    }

    /// The alarms that changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<AlarmId> {
        std::mem::take(&mut self.changed)
    }

    /// Counts the changes since the start.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    fn change(&mut self, id: &AlarmId) {
        self.revision += 1;
        self.changed.insert(id.clone());
    }

    fn drop_oldest_acknowledged(&mut self) -> bool {
        let oldest = self
            .alarms
            .values()
            .filter_map(|alarm| Some((alarm.owner.as_ref()?.at_ms, &alarm.id)))
            .min()
            .map(|(_, id)| id.clone());
        let Some(alarm) = oldest.and_then(|id| self.alarms.remove(&id)) else { return false };
        self.change(&alarm.id);
        // It leaves the page, not the wearer's concern.
        self.owed.extend(alarm.receipts_owed());
        while self.owed.len() > OWED_MAX {
            self.owed.pop_first();
        }
        true
    }
}

fn of<'a>(
    alarms: &'a BTreeMap<AlarmId, Alarm>,
    unit: &UnitId,
) -> impl Iterator<Item = (&'a AlarmId, &'a Alarm)> + use<'a> {
    let unit = unit.clone();
    let first = AlarmId { unit: unit.clone(), boot: BootId(0), seq: Seq(0), repeat: None };
    alarms.range(first..).take_while(move |(id, _)| id.unit == unit)
}

impl Alarm {
    fn receipts_owed(&self) -> impl Iterator<Item = Owed> + use<> {
        let states = [(Receipt::Delivered, self.delivered), (Receipt::Seen, self.receipt)];
        let id = self.id.clone();
        let queued = states.into_iter().filter(|(_, state)| *state == ReceiptState::Queued);
        queued.map(move |(receipt, _)| (id.clone(), receipt))
    }
}

impl From<AlarmCause> for Cause {
    fn from(cause: AlarmCause) -> Self {
        match cause {
            AlarmCause::OFFICER_DOWN | AlarmCause::WEAPON_AND_FALL => Self::OfficerDown,
            AlarmCause::BUTTON => Self::Button,
            AlarmCause::CRASH => Self::Crash,
            AlarmCause::CED => Self::Ced,
            AlarmCause::CHECK_IN => Self::CheckIn,
            AlarmCause::TAMPER => Self::Tamper,
            _ => Self::Unknown,
        }
    }
}

impl fmt::Display for AlarmId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.unit, self.boot.0, self.seq.0)?;
        self.repeat.map_or(Ok(()), |repeat| write!(f, "~{repeat}"))
    }
}

/// The text is not `force/device/boot/seq`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an alarm id is force/device/boot/sequence")]
pub struct AlarmIdError;

impl FromStr for AlarmId {
    type Err = AlarmIdError;

    fn from_str(text: &str) -> Result<Self, AlarmIdError> {
        let mut parts = text.split('/');
        let mut part = || parts.next().ok_or(AlarmIdError);
        let force = ForceId::try_new(part()?).map_err(|_| AlarmIdError)?;
        let device = DeviceId::try_new(part()?).map_err(|_| AlarmIdError)?;
        let boot = part()?.parse().map_err(|_| AlarmIdError)?;
        let last = part()?;
        let (seq, repeat) = last.split_once('~').map_or((last, None), |(seq, repeat)| (seq, Some(repeat)));
        let seq = seq.parse().map_err(|_| AlarmIdError)?;
        let repeat = repeat.map(|repeat| u32::from_str_radix(repeat, 16).map(Fingerprint)).transpose();
        let repeat = repeat.map_err(|_| AlarmIdError)?;
        let id = Self { unit: UnitId { force, device }, boot: BootId(boot), seq: Seq(seq), repeat };
        // Only the canonical form: "+1" and "01" would name the same alarm twice.
        if id.to_string() == text { Ok(id) } else { Err(AlarmIdError) }
    }
}

/// An alarm as JSON: in the API, in SSE and in the snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlarmRow {
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
}

/// WGS 84 degrees.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LonLat {
    lon: f64,
    lat: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AlarmState {
    Unacknowledged,
    Acknowledged,
}

impl From<&Alarm> for AlarmRow {
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
        }
    }
}

impl TryFrom<AlarmRow> for Alarm {
    type Error = AlarmIdError;

    #[expect(clippy::cast_possible_truncation, reason = "checked against the range of a coordinate first")]
    fn try_from(row: AlarmRow) -> Result<Self, AlarmIdError> {
        let micro = |degrees: f64, bound: f64| {
            (degrees.abs() <= bound).then(|| (degrees * 1e6).round() as i32).ok_or(AlarmIdError)
        };
        let position_udeg = match row.position {
            Some(LonLat { lon, lat }) => Some((micro(lon, 180.0)?, micro(lat, 90.0)?)),
            None => None,
        };
        let owner = match (row.acknowledged_by, row.acknowledged_at_ms) {
            (Some(operator), Some(at_ms)) => Some(Owner { operator, at_ms }),
            (None, None) => None,
            _ => return Err(AlarmIdError),
        };
        Ok(Self {
            id: row.id.parse()?,
            callsign: row.callsign,
            cause: row.cause,
            mode: row.mode.parse().map_err(|_| AlarmIdError)?,
            raised_at_ms: row.raised_at_ms,
            received_at_ms: row.received_at_ms,
            position_udeg,
            cancelled_at_ms: row.cancelled_at_ms,
            owner,
            receipt: row.receipt,
            accepted: row.accepted,
            delivered: row.delivered,
        })
    }
}

#[cfg(test)]
mod tests;
