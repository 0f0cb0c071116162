//! Records that a lane reads ahead of their place, for the screen.
//!
//! **The fold is not touched**: it comes to the record in its place as if nobody had looked ahead, and what was shown until then
//! gives way to it. So whatever the lanes do, and whenever, the state comes to the same, and a restart needs nothing of it.
//!
//! Only what a person must not wait for is looked at: alarms and what is done to them, where a unit is, how it is. What is
//! missing of a unit ([`super::gaps`]) is known by the fold alone, so history that was overtaken is never shown as a gap.

use fieldpost_protocol::{Body, Class, Envelope};

use super::fold::{alarm_of, is_alarm};
use super::state::State;
use super::told::Told;
use crate::alarms::{Acknowledgement, AlarmId, Confirmed, Deed, Delivered, Owner};
use crate::fingerprint::Fingerprint;
use crate::record::{QuarantineReason, Record, RecordKind};

/// Shows what one committed record says that `state` has not come to. Records of one lane must come in ascending LSN, those of two in no order.
pub(super) fn look_ahead(state: &mut State, record: &Record) {
    if record.lsn <= state.folded() {
        return;
    }
    let is_new = record.lsn > state.alarms.folded();
    match record.kind {
        RecordKind::Acknowledged
        | RecordKind::Delivered
        | RecordKind::AlarmAction
        | RecordKind::Confirmed => {
            if let Some((id, deed)) = deed_of(record).filter(|_| is_new) {
                note(state, record, &id, deed);
            }
        }
        RecordKind::Quarantine(QuarantineReason::AboveCeiling) => {}
        RecordKind::Quarantine(_) => {
            if let Ok(envelope) = Envelope::decode(&record.payload)
                && is_alarm(envelope.head.class)
                && is_new
            {
                let mut told = Told::of(record, &envelope.head, state.bounds);
                let is_known = state.shown().get(&told.alarm_id()).is_some();
                told.repeat = is_known.then(|| Fingerprint::of_envelope(&envelope));
                overhear(state, &told, &Err(()));
                raise(state, &told, &Err(()));
            }
        }
        RecordKind::Envelope | RecordKind::Repeated => {
            if let Ok(envelope) = Envelope::decode(&record.payload)
                && envelope.head.class != Class::HEALTH
            {
                let told = Told::of(record, &envelope.head, state.bounds);
                let body = Body::decode(&envelope.head, envelope.body);
                overhear(state, &told, &body);
                if is_new {
                    raise(state, &told, &body);
                }
            }
        }
        _ => {}
    }
}

/// What a record of the gateway's own says was done to an alarm. One that cannot be read was written by a newer version.
fn deed_of(record: &Record) -> Option<(AlarmId, Deed)> {
    match record.kind {
        RecordKind::Acknowledged => {
            let said: Acknowledgement = serde_json::from_slice(&record.payload).ok()?;
            let owner = Owner { operator: said.operator, at_ms: said.at_ms };
            Some((said.alarm.parse().ok()?, Deed::Taken(owner)))
        }
        RecordKind::Delivered => {
            let said: Delivered = serde_json::from_slice(&record.payload).ok()?;
            Some((said.alarm.parse().ok()?, Deed::Accepted(said.acceptance)))
        }
        RecordKind::Confirmed => {
            let said: Confirmed = serde_json::from_slice(&record.payload).ok()?;
            Some((said.alarm.clone(), Deed::Confirmed(said)))
        }
        _ => None,
    }
}

/// What was done to an alarm that is not shown waits for its place.
fn note(state: &mut State, record: &Record, id: &AlarmId, deed: Deed) {
    if state.shown().find(id).is_some() {
        state.alarms_ahead.note(&state.alarms, record.lsn, id, deed);
        state.touch(&id.unit);
    }
}

fn raise<E>(state: &mut State, told: &Told<'_>, body: &Result<Body<'_>, E>) {
    let alarm = match body {
        Ok(Body::AlarmCancel(cancel)) => {
            let id = AlarmId { unit: told.id.clone(), boot: cancel.boot, seq: cancel.seq, repeat: None };
            if let Some(id) = state.shown().newest_alike(&id) {
                state.alarms_ahead.note(
                    &state.alarms,
                    told.lsn,
                    &id,
                    Deed::TakenBack { at_ms: told.at_ms() },
                );
                state.touch(&told.id);
            }
            return;
        }
        Ok(Body::Alarm(alarm)) => alarm_of(state, told, Some(alarm)),
        Ok(Body::Unknown(_)) | Err(_) if is_alarm(told.head.class) => alarm_of(state, told, None),
        _ => return,
    };
    state.alarms_ahead.raise(&state.alarms, told.lsn, alarm);
    state.touch(&told.id);
}

fn overhear<E>(state: &mut State, told: &Told<'_>, body: &Result<Body<'_>, E>) {
    if let Some(unit) = state.unit_or_new(told) {
        unit.overhear(told, told.said(body));
        state.touch(&told.id);
    }
}
