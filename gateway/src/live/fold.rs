//! Records become state, in the order of the spool.
//!
//! **Pure: the same records give the same state**, whether they came live or are replayed after a restart.
//!
//! | record | effect |
//! |---|---|
//! | position, live | moves the marker if it is newer ([`super::order`]) |
//! | position, backlog | moves the marker only if newer, and marks it history |
//! | status | duty, battery; off duty or on a break hides the position |
//! | any but a repeated one | what is missing of its unit ([`super::gaps`]), a loss included |
//! | alarm family, known or not | an alarm in the queue, whatever becomes of its unit |
//! | alarm cancel | a mark on the alarm |
//! | acknowledged | the alarm has its owner |
//! | delivered | a force system has the alarm |
//! | verdict | none: what the rules found is said, and need not be again |
//! | quarantined alarm whose head is readable | an alarm of unknown cause |
//! | under a repeated identity | the same, its alarm beside the other; the page says whose identities repeat |
//! | health | nothing: it is not for this page |

use fieldpost_protocol::{Alarm as AlarmBody, Body, Class, Envelope, Heard};

use super::state::State;
use super::told::{Said, Told};
use crate::alarms::{
    self, Acknowledgement, Alarm, AlarmId, Cause, ClockSaid, Confirmed, Delivered, Owner, ReceiptState,
    RulesSaid, Verdict, rules::Trigger,
};
use crate::fingerprint::Fingerprint;
use crate::record::{QuarantineReason, Record, RecordKind};

/// Folds one committed record into `state`. Records must come in ascending LSN.
pub fn fold(state: &mut State, record: &Record) {
    state.folded = state.folded.max(record.lsn);
    let to_alarms = state.alarms.takes(record.lsn);
    // What time does comes first: a record must not be judged by a shelf or a ladder that is over.
    if to_alarms && record.kind != RecordKind::Clock {
        state.alarms.advance(record.received_at_ms);
    }
    match record.kind {
        RecordKind::Acknowledged if to_alarms => fold_acknowledged(state, record),
        RecordKind::Delivered if to_alarms => fold_delivered(state, record),
        RecordKind::AlarmAction if to_alarms => fold_action(state, record),
        RecordKind::Confirmed if to_alarms => fold_confirmed(state, record),
        RecordKind::Clock if to_alarms => fold_clock(state, record),
        RecordKind::Rules if to_alarms => fold_rules(state, record),
        RecordKind::Verdict if to_alarms => fold_verdict(state, record),
        kind if kind.is_gateways_own() => {}
        // A frame above its device's ceiling must never look real, so not even its alarm is raised.
        RecordKind::Quarantine(QuarantineReason::AboveCeiling) => {}
        RecordKind::Quarantine(_) => {
            if let Ok(envelope) = Envelope::decode(&record.payload)
                && is_alarm(envelope.head.class)
                && to_alarms
            {
                let mut told = Told::of(record, &envelope.head, state.bounds);
                // Kept twice under one identity: not a redelivery that was known for one, so possibly another alarm.
                let is_known = state.alarms.get(&told.alarm_id()).is_some();
                told.repeat = is_known.then(|| Fingerprint::of_envelope(&envelope));
                fold_report(state, &told, None);
                state.observe(&told, None, to_alarms);
                fold_alarm(state, &told, None);
            }
        }
        RecordKind::Envelope | RecordKind::Repeated => {
            if let Ok(envelope) = Envelope::decode(&record.payload) {
                fold_envelope(state, record, &envelope, to_alarms);
            }
        }
        _ => {}
    }
}

/// Whether a class raises an alarm even if nothing more of its record can be read.
pub(super) fn is_alarm(class: Class) -> bool {
    class.is_alarm_family() && class != Class::ALARM_CANCEL
}

fn fold_envelope(state: &mut State, record: &Record, envelope: &Envelope<'_>, to_alarms: bool) {
    let head = &envelope.head;
    // By class, not by lane: an alarm is taken from every lane, and must show from every lane.
    let told = Told::of(record, head, state.bounds);
    let body = Body::decode(head, envelope.body);
    state.observe(&told, body.as_ref().ok(), to_alarms);
    // It is for one rule, if somebody turned that on, and for no page.
    if head.class == Class::HEALTH {
        return;
    }
    fold_report(state, &told, told.said(&body));
    if told.repeat.is_some() {
        state.note_repeater(&told);
    } else if let Some(unit) = state.unit_mut(&told.id) {
        unit.gaps.note(head.boot.0, head.seq.0, told.at_ms(), told.received_at_ms);
    }
    match body {
        Ok(Body::Loss(loss)) => {
            if let Some(unit) = state.unit_mut(&told.id) {
                unit.gaps.lose(&loss);
            }
        }
        Ok(Body::Heard(heard)) if to_alarms => fold_heard(state, &told, &heard),
        Ok(Body::AlarmCancel(cancel)) if to_alarms => {
            let id = AlarmId { unit: told.id.clone(), boot: cancel.boot, seq: cancel.seq, repeat: None };
            state.alarms.cancel(&id, told.at_ms());
            state.touch(&told.id);
        }
        Ok(Body::Alarm(alarm)) if to_alarms => fold_alarm(state, &told, Some(&alarm)),
        // An unknown class of the alarm family, or an alarm whose body is not readable: still an alarm.
        Ok(Body::Unknown(_)) | Err(_) if to_alarms && is_alarm(head.class) => fold_alarm(state, &told, None),
        _ => {}
    }
}

/// Whatever it says, the device has reported.
fn fold_report(state: &mut State, told: &Told<'_>, said: Option<Said>) {
    let Some(unit) = state.unit_or_new(told) else {
        state.refused_count += 1;
        return;
    };
    unit.hear(told, said);
    state.touch(&told.id);
}

fn fold_alarm(state: &mut State, told: &Told<'_>, body: Option<&AlarmBody>) {
    state.alarms.raise(alarm_of(state, told, body));
    state.touch(&told.id);
}

/// The alarm that a record raises, judged by what is folded so far.
pub(super) fn alarm_of(state: &State, told: &Told<'_>, body: Option<&AlarmBody>) -> Alarm {
    let position = body.and_then(|body| body.position);
    let raised_at_ms = told.at_ms();
    let place = position.map(|position| (position.longitude_udeg, position.latitude_udeg));
    let trigger = body.map_or(Trigger::UnknownAlarm, |body| Trigger::of(body.cause));
    let standing = state.alarms.judge(&told.observed(""), trigger, place);
    Alarm {
        id: told.alarm_id(),
        callsign: state.name_at(&told.id, raised_at_ms).callsign.to_string(),
        cause: body.map_or(Cause::Unknown, |body| body.cause.into()),
        mode: told.head.mode,
        raised_at_ms,
        received_at_ms: told.received_at_ms,
        position_udeg: place,
        cancelled_at_ms: None,
        owner: None,
        receipt: ReceiptState::None,
        accepted: None,
        delivered: ReceiptState::None,
        standing,
    }
}

fn fold_delivered(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<Delivered>(&record.payload) else { return };
    let Ok(id) = said.alarm.parse::<AlarmId>() else { return };
    state.alarms.accept(&id, said.acceptance);
}

fn fold_acknowledged(state: &mut State, record: &Record) {
    // Written by this gateway; a payload that is not readable was written by a newer one, and changes nothing here.
    let Ok(said) = serde_json::from_slice::<Acknowledgement>(&record.payload) else { return };
    let Ok(id) = said.alarm.parse::<AlarmId>() else { return };
    state.alarms.acknowledge(&id, Owner { operator: said.operator, at_ms: said.at_ms });
    state.touch(&id.unit);
}

fn fold_action(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<alarms::Said>(&record.payload) else { return };
    state.alarms.act(&said);
    state.touch(&said.alarm.unit);
}

fn fold_confirmed(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<Confirmed>(&record.payload) else { return };
    state.alarms.confirm(&said);
}

/// The device itself says that it has a receipt: of the alarm that said so, if its identity was used
/// twice; of the one that bears its number, if none is known by what it said.
fn fold_heard(state: &mut State, told: &Told<'_>, heard: &Heard) {
    let AlarmId { unit, .. } = told.alarm_id();
    for repeat in [Some(Fingerprint(heard.print.0)), None] {
        let alarm = AlarmId { unit: unit.clone(), boot: heard.boot, seq: heard.seq, repeat };
        if state.alarms.awaits(&alarm, heard.receipt) {
            let (told_ms, at_ms) = (told.received_at_ms, told.received_at_ms);
            state.alarms.confirm(&Confirmed { alarm, receipt: heard.receipt, told_ms, at_ms });
            state.touch(&unit);
            return;
        }
        // It is this one, and has its receipt: whoever else bears its number said something else.
        if state.alarms.find(&alarm).is_some() {
            return;
        }
    }
}

fn fold_clock(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<ClockSaid>(&record.payload) else { return };
    state.alarms.tick(said);
}

fn fold_rules(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<RulesSaid>(&record.payload) else { return };
    if !state.alarms.adopt(&said) {
        tracing::error!(
            version = said.version,
            "rules of a newer version cannot be read: the old ones stay in force"
        );
    }
}

fn fold_verdict(state: &mut State, record: &Record) {
    let Ok(said) = serde_json::from_slice::<Verdict>(&record.payload) else { return };
    state.alarms.said(&said);
}
