//! One record's circumstances, worked out once.

use fieldpost_protocol::{Alarm as AlarmBody, Body, Head, Lane, Position, Status};

use super::fold::is_alarm;
use super::order::{ClockBounds, JudgedTime, Order};
use super::report::Report;
use super::unit::UnitId;
use crate::alarms::{AlarmId, Observed};
use crate::fingerprint::Fingerprint;
use crate::record::Record;
use crate::spool::Lsn;

/// Whose record it is, from when, and how it came.
pub(super) struct Told<'a> {
    pub(super) id: UnitId,
    pub(super) head: &'a Head,
    pub(super) lsn: Lsn,
    pub(super) lane: Lane,
    pub(super) received_at_ms: u64,
    pub(super) time: JudgedTime,
    pub(super) order: Order,
    /// Set if the record's identity was used before.
    pub(super) repeat: Option<Fingerprint>,
}

/// What a record says of where its unit is or how it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Said {
    Position(Position, JudgedTime),
    Status(Status),
}

impl<'a> Told<'a> {
    pub(super) fn of(record: &Record, head: &'a Head, bounds: ClockBounds) -> Self {
        let time = JudgedTime::of(head, record.received_at_ms, bounds);
        let order = Order::of(head, time, record.lane, record.received_at_ms);
        let id = UnitId { force: record.force.clone(), device: record.device.clone() };
        let (repeat, lsn) = (record.repeat(), record.lsn);
        Self { id, head, lsn, lane: record.lane, received_at_ms: record.received_at_ms, time, order, repeat }
    }

    /// When it was true, Unix ms: the device's time if believed, else that of receipt.
    pub(super) fn at_ms(&self) -> u64 {
        self.time.believed_ms(self.received_at_ms).unwrap_or(self.received_at_ms)
    }

    pub(super) fn observed<'r>(&'r self, callsign: &'r str) -> Observed<'r> {
        Observed {
            unit: &self.id,
            boot: self.head.boot,
            seq: self.head.seq,
            repeat: self.repeat,
            lsn: self.lsn,
            received_at_ms: self.received_at_ms,
            at_ms: self.at_ms(),
            lane: self.lane,
            mode: self.head.mode,
            is_alarm: is_alarm(self.head.class),
            callsign,
        }
    }

    pub(super) fn alarm_id(&self) -> AlarmId {
        AlarmId { unit: self.id.clone(), boot: self.head.boot, seq: self.head.seq, repeat: self.repeat }
    }

    /// What it says of its unit. An alarm may overtake the very position it quotes, so it moves the marker too.
    pub(super) fn said<E>(&self, body: &Result<Body<'_>, E>) -> Option<Said> {
        match body {
            Ok(Body::Position(position)) => Some(Said::Position(*position, self.time)),
            Ok(Body::Status(status)) => Some(Said::Status(*status)),
            Ok(Body::Alarm(alarm)) => self.quoted(alarm),
            _ => None,
        }
    }

    fn quoted(&self, alarm: &AlarmBody) -> Option<Said> {
        let age_ms = u64::from(alarm.position_age_s) * 1000;
        let device_time_ms = self.time.device_time_ms.saturating_sub(age_ms);
        let time = JudgedTime { device_time_ms, clock: self.time.clock };
        alarm.position.map(|position| Said::Position(position, time))
    }
}

impl Said {
    pub(super) fn tell(self, told: &Told<'_>, report: &mut Report) {
        match self {
            Self::Position(position, time) => report.stand(told, position, time),
            Self::Status(status) => report.say(told, status),
        }
    }
}
