//! What one TAK party has been told, and what it is to be told next.
//!
//! **Never backwards, and no alarm vanishes by itself.** A position older than the unit's newest is not sent, or stale from
//! the first: a TAK client shows what came last. An alarm is told at once, again before a client would let it go stale, and after every
//! reconnection, until a person has closed it: then a cancel is sent, again after a reconnection as long as the alert
//! could still stand somewhere. A wearer's own cancel is a remark; so is that somebody has acknowledged.
//!
//! **Every alarm has an alert of its own**: one that stands hides no other of its unit, and a cancel means the alarm whose alert
//! it names. Pure: time and alarms come from the caller.
//!
//! Bounds: [`UNITS_MAX`] units of about 0.5 KiB; beyond, positions are sent all the same, in the order in which they come,
//! and not repeated after a reconnection. Alerts are as many as the alarm book has alarms.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use fieldpost_protocol::{Alarm as AlarmBody, Body, FixSource, Head, Position};

use super::alert;
use super::message::{Cot, How, Kind, Point};
use super::uid;
use crate::alarms::AlarmId;
use crate::config::roster::UnitKind;
use crate::forward::event::PassedOver;
use crate::live::order::{ClockBounds, JudgedTime, Order};
use crate::live::standing::StandingAlarm;
use crate::live::unit::{UnitId, UnitName};
use crate::record::Record;
use crate::sabotage::{self, Sabotage};

/// Cancels of one alert are answered no more often.
pub(super) const CANCEL_MS: u64 = 5_000;
/// Most units remembered: as many as the live picture keeps.
const UNITS_MAX: usize = 50_000;

/// What is sent, how long it stands in TAK, and which device clocks are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spans {
    /// Whether positions are sent that newer ones have replaced, stale from the first.
    pub(crate) sends_every_position: bool,
    /// A position is stale after so long.
    pub(crate) position_stale_ms: u64,
    /// An alert is told again after so long.
    pub(crate) alarm_repeat_ms: u64,
    /// An alert that is not told again is stale after so long.
    pub(crate) alarm_stale_ms: u64,
    /// Which device clocks are believed.
    pub(crate) clock: ClockBounds,
}

/// A record as its output is released it.
#[derive(Debug, Clone)]
pub(crate) struct Said {
    /// The record, cut down.
    pub(crate) record: Arc<Record>,
    /// The key of the whole record.
    pub(crate) key: String,
    /// The alarm that it raises.
    pub(crate) alarm: Option<AlarmId>,
    /// Whether the unit may be called by its name.
    pub(crate) has_name: bool,
}

impl Said {
    pub(crate) fn unit(&self) -> UnitId {
        UnitId { force: self.record.force.clone(), device: self.record.device.clone() }
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Picture {
    spans: Spans,
    /// By uid.
    units: HashMap<String, Known>,
    /// By the alert's uid.
    alerts: BTreeMap<String, Alert>,
}

/// The newest of a unit.
#[derive(Debug)]
struct Known {
    order: Order,
    battery: Option<Battery>,
    cot: Option<Cot>,
}

/// The newest battery level of a unit.
#[derive(Debug, Clone)]
struct Battery {
    pct: u8,
    /// Of the status that says so.
    key: String,
    /// It went along with a position on this connection.
    is_told: bool,
}

/// An alert that was told.
#[derive(Debug)]
struct Alert {
    alarm: AlarmId,
    cot: Cot,
    /// When it was told last; `None`: not to this connection.
    told_ms: Option<u64>,
    /// Until when a client shows it.
    until_ms: u64,
    /// When a cancel of it was last passed on.
    asked_ms: Option<u64>,
    /// When it was last told because somebody had cancelled it.
    answered_ms: Option<u64>,
    /// Somebody has cancelled it: from then on it is due.
    again_ms: Option<u64>,
}

/// What a cancel from the other end comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cancelled {
    /// No alert of this uid stands on this connection.
    Nothing,
    /// The alert was cancelled a moment ago.
    TooSoon,
    /// It is meant for this alarm.
    Meant(AlarmId),
}

impl Picture {
    /// Nothing was told.
    pub(crate) fn new(spans: Spans) -> Self {
        Self { spans, units: HashMap::new(), alerts: BTreeMap::new() }
    }

    /// What a record has to say to TAK; nothing if it is an alarm that stands there already.
    ///
    /// # Errors
    /// [`PassedOver`]: it is older than what was said, or of no concern there.
    pub(crate) fn take(
        &mut self,
        said: &Said,
        name: &UnitName,
        alarms: &[StandingAlarm],
        now_ms: u64,
    ) -> Result<Vec<Cot>, PassedOver> {
        let envelope = said.record.envelope().ok_or(PassedOver::NoWord)?;
        let head = envelope.head;
        match Body::decode(&head, envelope.body) {
            Ok(Body::Position(position)) => {
                let taken = self.take_position(said, name, &head, position);
                taken.map(|cot| vec![cot]).ok_or(PassedOver::Older)
            }
            Ok(Body::Status(status)) => {
                self.take_battery(said, &head, status.battery_pct);
                Err(PassedOver::NoWord)
            }
            Ok(Body::Alarm(alarm)) => self.take_alarm(said, name, &head, Some(&alarm), alarms, now_ms),
            // An alarm whose body nobody here understands is still an alarm; a wearer's cancel ends none.
            _ if said.alarm.is_some() => self.take_alarm(said, name, &head, None, alarms, now_ms),
            _ => Err(PassedOver::NoWord),
        }
    }

    fn take_position(
        &mut self,
        said: &Said,
        name: &UnitName,
        head: &Head,
        position: Position,
    ) -> Option<Cot> {
        let record = &said.record;
        let time = JudgedTime::of(head, record.received_at_ms, self.spans.clock);
        let order = Order::of(head, time, record.lane, record.received_at_ms);
        let uid = uid::of(&said.unit(), head.mode);
        let known = self.units.get(&uid);
        let newest = known.and_then(|known| Some((known.order, known.cot.as_ref()?)));
        let is_old = newest.is_some_and(|(newest, _)| !order.is_after(newest));
        if is_old && !self.spans.sends_every_position {
            return None;
        }
        if let Some((_, cot)) = newest.filter(|(newest, _)| *newest == order) {
            // Delivered again: it is as current as it was.
            return Some(cot.clone());
        }
        let mut battery = known.and_then(|known| known.battery.clone());
        let (battery_pct, battery_key) = tell_battery(&mut battery);
        let at_ms = time.believed_ms(record.received_at_ms).unwrap_or(record.received_at_ms);
        let cot = Cot {
            key: said.key.clone(),
            battery_key,
            uid: uid.clone(),
            kind: match name.kind {
                UnitKind::Officer => Kind::Officer,
                UnitKind::Vehicle => Kind::Vehicle,
            },
            mode: head.mode,
            at_ms,
            stale_ms: if is_old { at_ms } else { at_ms.saturating_add(self.spans.position_stale_ms) },
            how: how(position.source),
            point: Some(point(&position)),
            callsign: name.callsign.to_string(),
            battery_pct,
            track: position.speed_cmps.zip(position.course_turn256),
            about: None,
            remarks: String::new(),
        };
        let has_room = self.units.len() < UNITS_MAX || self.units.contains_key(&uid);
        if has_room && !is_old {
            self.units.insert(uid, Known { order, battery, cot: Some(cot.clone()) });
        } else if let Some(known) = self.units.get_mut(&uid) {
            known.battery = battery;
        }
        Some(cot)
    }

    /// The battery goes along with the next position; its status counts as sent with that.
    fn take_battery(&mut self, said: &Said, head: &Head, battery_pct: u8) {
        let record = &said.record;
        let uid = uid::of(&said.unit(), head.mode);
        let battery =
            (battery_pct <= 100).then(|| Battery { pct: battery_pct, key: said.key.clone(), is_told: false });
        if let Some(known) = self.units.get_mut(&uid) {
            known.battery = battery;
        } else if self.units.len() < UNITS_MAX {
            let time = JudgedTime::of(head, record.received_at_ms, self.spans.clock);
            let order = Order::of(head, time, record.lane, record.received_at_ms);
            self.units.insert(uid, Known { order, battery, cot: None });
        }
    }

    fn take_alarm(
        &mut self,
        said: &Said,
        name: &UnitName,
        head: &Head,
        body: Option<&AlarmBody>,
        alarms: &[StandingAlarm],
        now_ms: u64,
    ) -> Result<Vec<Cot>, PassedOver> {
        let mut cots = Vec::with_capacity(2);
        if let Some((position, age_s)) = body.and_then(|body| Some((body.position?, body.position_age_s))) {
            let then_ms = head.time_ms.saturating_sub(u64::from(age_s) * 1000);
            let head = Head { time_ms: then_ms, ..*head };
            cots.extend(self.take_position(said, name, &head, position));
        }
        let id = said.alarm.clone().ok_or(PassedOver::NoWord)?;
        let standing = alert::of_record(id, &said.record, head, body, name, self.spans.clock);
        // It may be delivered again after a person has closed it; the book knows, once it has the record.
        let known = alarms.iter().find(|known| known.id == standing.id);
        if known.is_none_or(|known| known.closed_at_ms.is_none()) {
            cots.extend(self.tell(known.unwrap_or(&standing), now_ms));
        } else if cots.is_empty() {
            return Err(PassedOver::Closed);
        }
        Ok(cots)
    }

    /// What is due at `now_ms` of the alarms that stand, and cancels of those that a person has closed.
    pub(crate) fn due(&mut self, alarms: &[StandingAlarm], now_ms: u64) -> Vec<Cot> {
        let for_tak = alarms.iter().filter(|alarm| alert::is_for_tak(alarm));
        let (open, closed): (Vec<_>, Vec<_>) = for_tak.partition(|alarm| alarm.closed_at_ms.is_none());
        let mut said: Vec<Cot> = open.into_iter().filter_map(|alarm| self.tell(alarm, now_ms)).collect();
        said.extend(closed.into_iter().filter_map(|alarm| self.cancel(alarm, now_ms)));
        self.alerts.retain(|_, alert| alert.until_ms > now_ms);
        said
    }

    /// Tells an alarm, if it is due.
    fn tell(&mut self, alarm: &StandingAlarm, now_ms: u64) -> Option<Cot> {
        let uid = uid::of_alert(&alarm.id, alarm.mode);
        let until_ms = now_ms.saturating_add(self.spans.alarm_stale_ms);
        let place = self.units.get(&uid::of(&alarm.id.unit, alarm.mode)).and_then(|known| known.cot.as_ref());
        let cot = alert::cot(alarm, place, now_ms, until_ms);
        let told = self.alerts.get(&uid);
        let is_asked = told.and_then(|told| told.again_ms).is_some_and(|again_ms| again_ms <= now_ms);
        if let Some(told) = told {
            let is_same = told.cot.kind == cot.kind && told.cot.remarks == cot.remarks;
            let is_fresh = |told_ms: u64| now_ms < told_ms.saturating_add(self.spans.alarm_repeat_ms);
            let is_told = told.told_ms.is_some_and(is_fresh) || sabotage::is(Sabotage::TellOnce);
            if is_same && is_told && !is_asked {
                return None;
            }
        }
        let alert = Alert {
            alarm: alarm.id.clone(),
            cot: cot.clone(),
            told_ms: Some(now_ms),
            until_ms,
            asked_ms: told.filter(|told| told.stands()).and_then(|told| told.asked_ms),
            answered_ms: if is_asked { Some(now_ms) } else { told.and_then(|told| told.answered_ms) },
            again_ms: None,
        };
        self.alerts.insert(uid, alert);
        Some(cot)
    }

    /// Cancels the alert of an alarm that a person has closed, once a connection.
    fn cancel(&mut self, alarm: &StandingAlarm, now_ms: u64) -> Option<Cot> {
        let could_stand_ms = alarm.closed_at_ms?.saturating_add(self.spans.alarm_stale_ms);
        let uid = uid::of_alert(&alarm.id, alarm.mode);
        let told = self.alerts.get(&uid);
        match told {
            Some(told) if told.cot.kind == Kind::Cancel && told.told_ms.is_some() => return None,
            None if could_stand_ms <= now_ms => return None,
            _ => {}
        }
        let cot = alert::cancel(alarm, now_ms, now_ms.saturating_add(self.spans.alarm_stale_ms));
        let alert = Alert {
            alarm: alarm.id.clone(),
            cot: cot.clone(),
            told_ms: Some(now_ms),
            until_ms: told.map_or(0, |told| told.until_ms).max(could_stand_ms),
            asked_ms: None,
            answered_ms: told.and_then(|told| told.answered_ms),
            again_ms: None,
        };
        self.alerts.insert(uid, alert);
        Some(cot)
    }

    /// An alert is gone at the other end: it is due again, at once or [`CANCEL_MS`] after it was so last.
    pub(crate) fn hear_cancel(&mut self, uid: &str, now_ms: u64) -> Cancelled {
        let Some(alert) = self.alerts.get_mut(uid).filter(|alert| alert.stands()) else {
            return Cancelled::Nothing;
        };
        let pause_over_ms = |then_ms: u64| then_ms.saturating_add(CANCEL_MS);
        let due_ms = alert.answered_ms.map_or(now_ms, |then_ms| pause_over_ms(then_ms).max(now_ms));
        alert.again_ms.get_or_insert(due_ms);
        if alert.asked_ms.is_some_and(|then_ms| now_ms < pause_over_ms(then_ms)) {
            return Cancelled::TooSoon;
        }
        alert.asked_ms = Some(now_ms);
        Cancelled::Meant(alert.alarm.clone())
    }

    /// A new connection knows nothing: the newest of every unit that is not stale, and from now on every alarm is due.
    pub(crate) fn begin(&mut self, now_ms: u64) -> Vec<Cot> {
        self.alerts.values_mut().for_each(|alert| alert.told_ms = None);
        self.units.retain(|_, known| known.cot.as_ref().is_none_or(|cot| cot.stale_ms > now_ms));
        let again = |known: &mut Known| {
            if let Some(battery) = &mut known.battery {
                battery.is_told = false;
            }
            let cot = known.cot.as_ref()?;
            let (battery_pct, battery_key) = tell_battery(&mut known.battery);
            Some(Cot { battery_pct, battery_key, ..cot.clone() })
        };
        self.units.values_mut().filter_map(again).collect()
    }
}

impl Alert {
    /// This connection was told it, and not its end.
    fn stands(&self) -> bool {
        self.told_ms.is_some() && self.cot.kind != Kind::Cancel
    }
}

/// The level, and the key of its status if that goes along for the first time.
fn tell_battery(battery: &mut Option<Battery>) -> (Option<u8>, Option<String>) {
    let Some(battery) = battery else { return (None, None) };
    let key = (!std::mem::replace(&mut battery.is_told, true)).then(|| battery.key.clone());
    (Some(battery.pct), key)
}

fn how(source: FixSource) -> How {
    match source {
        FixSource::GNSS | FixSource::GNSS_AUGMENTED => How::Gps,
        FixSource::MANUAL => How::Human,
        _ => How::Machine,
    }
}

fn point(position: &Position) -> Point {
    Point {
        latitude_udeg: position.latitude_udeg,
        longitude_udeg: position.longitude_udeg,
        accuracy_m: (position.accuracy_m != 0).then_some(position.accuracy_m),
    }
}
