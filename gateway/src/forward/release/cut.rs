//! Cutting a record down to what is released.

use bytes::Bytes;
use fieldpost_protocol::limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX};
use fieldpost_protocol::{Alarm, Body, Duty, EncodeError, Envelope, Position, Power, ResetReason, Status};

use super::super::event::Withheld;
use super::{Field, Fields, Kind, Marking, Release, grid};
use crate::record::Record;

/// A record without what is not released.
#[derive(Debug)]
pub(in crate::forward) struct Cut<'a> {
    /// Its own frame, if anything had to go: no trailer, and no bytes behind the known body.
    pub(in crate::forward) record: Record,
    /// The body that is left; `None` for an alarm that is not understood.
    pub(in crate::forward) body: Option<Body<'a>>,
    /// The bytes of a body that is not understood, if they may go; they may hold anything.
    pub(in crate::forward) raw: &'a [u8],
    /// What the record has to say of what is released.
    pub(in crate::forward) fields: Fields,
    /// What it is marked.
    pub(in crate::forward) marking: Marking,
}

impl Release {
    /// Takes away what is not released of `record`, whose envelope and body these are.
    ///
    /// # Errors
    /// [`Withheld`] if nothing is left to be sent.
    pub(in crate::forward) fn cut<'a>(
        &self,
        record: &Record,
        envelope: &Envelope<'a>,
        body: Option<Body<'a>>,
    ) -> Result<Cut<'a>, Withheld> {
        let kind = Kind::of(envelope.head.class, body.as_ref());
        if !self.forces.has(&record.force) {
            return Err(Withheld::Force);
        }
        if !self.classes.has(kind) {
            return Err(Withheld::Class);
        }
        let fields = self.fields.and(kind.fields());
        let needs = kind.needs();
        if !needs.is_empty() && fields.and(needs).is_empty() {
            return Err(Withheld::Fields);
        }
        let marking = Marking::of(kind, fields);
        if marking > self.marking {
            return Err(Withheld::Marking);
        }
        let fields = fields.or(self.fields.and(Fields::of(&[Field::Callsign])));
        if self.is_whole() {
            return Ok(Cut { record: record.clone(), body, raw: envelope.body, fields, marking });
        }
        let body = body.map(|body| self.cut_body(body));
        // A body that does not encode was decoded from as many bytes: it cannot be; and then nothing of it goes.
        let payload = frame(envelope, body.as_ref()).map_err(|_| Withheld::Fields)?;
        Ok(Cut { record: Record { payload, ..record.clone() }, body, raw: &[], fields, marking })
    }

    fn cut_body<'a>(&self, body: Body<'a>) -> Body<'a> {
        match body {
            Body::Position(position) => Body::Position(self.cut_position(position)),
            Body::Status(status) => Body::Status(self.cut_status(status)),
            Body::Alarm(alarm) => {
                let position = alarm.position.filter(|_| self.fields.has(Field::Position));
                let position = position.map(|position| self.cut_position(position));
                let position_age_s = if position.is_some() { alarm.position_age_s } else { 0 };
                Body::Alarm(Alarm { position, position_age_s, ..alarm })
            }
            whole => whole,
        }
    }

    fn cut_position(&self, mut position: Position) -> Position {
        if !self.fields.has(Field::Movement) {
            (position.speed_cmps, position.course_turn256) = (None, None);
        }
        if self.precision_m > 0 {
            grid::round(&mut position, self.precision_m);
        }
        position
    }

    fn cut_status(&self, mut status: Status) -> Status {
        if !self.fields.has(Field::Duty) {
            status.duty = UNKNOWN_DUTY;
        }
        if !self.fields.has(Field::Device) {
            status = Status { duty: status.duty, ..UNKNOWN_STATUS };
        }
        status
    }
}

/// No duty: none is ever given this number.
const UNKNOWN_DUTY: Duty = Duty(255);
/// Every number is the one that means "not known", where there is one; [`Fields`] says that they are not released.
const UNKNOWN_STATUS: Status = Status {
    duty: UNKNOWN_DUTY,
    battery_pct: 255,
    power: Power(255),
    signal_dbm: 0,
    satellites: 255,
    temperature_degc: -128,
    storage_pct: 255,
    outbox_owed: 0,
    reset_reason: ResetReason::UNKNOWN,
    firmware: [0; 3],
    uptime_s: 0,
};

/// The frame anew, from what is known of its body. One that is not understood goes without.
fn frame(envelope: &Envelope<'_>, body: Option<&Body<'_>>) -> Result<Bytes, EncodeError> {
    let mut buffer = [0; BODY_BYTES_MAX];
    let body: &[u8] = match body {
        Some(Body::Position(position)) => position.encode(&mut buffer)?,
        Some(Body::Status(status)) => status.encode(&mut buffer)?,
        Some(Body::SensorEvent(event)) => event.encode(&mut buffer)?,
        Some(Body::Alarm(alarm)) => alarm.encode(&mut buffer)?,
        Some(Body::AlarmCancel(cancel)) => cancel.encode(&mut buffer)?,
        Some(Body::Loss(loss)) => loss.encode(&mut buffer)?,
        Some(Body::PositionBatch(_) | Body::Health(_) | Body::Heard(_) | Body::Unknown(_)) | None => &[],
    };
    let mut frame = [0; FRAME_BYTES_MAX];
    let frame = Envelope { head: envelope.head, body, trailer: None }.encode(&mut frame)?;
    Ok(Bytes::copy_from_slice(frame))
}
