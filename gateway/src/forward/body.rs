//! `data` of an event, by class: SI units, degrees, names for codes. A key that is absent is not known.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fieldpost_protocol::{Alarm, AlarmCancel, Body, EventCode, Head, Loss, Position, SensorEvent, Status};

use super::json::Object;
use super::release::{Cut, Field, Fields};
use crate::record::Record;

/// Writes the members of `data` that are released. An alarm whose body is not understood has its bytes, if they may go.
pub(super) fn write(data: &mut Object<'_>, cut: &Cut<'_>, head: &Head) {
    match &cut.body {
        Some(Body::Position(position)) => write_position(data, position),
        Some(Body::Status(status)) => write_status(data, status, cut.fields),
        Some(Body::SensorEvent(event)) => write_sensor_event(data, event),
        Some(Body::Alarm(alarm)) => write_alarm(data, alarm),
        Some(Body::AlarmCancel(cancel)) => write_cancel(data, &cut.record, cancel),
        Some(Body::Loss(loss)) => write_loss(data, loss),
        // Ingest unpacks batches and what is health or a device's answer is withheld: none gets here, and none is worth a panic.
        Some(Body::PositionBatch(_) | Body::Health(_) | Body::Heard(_) | Body::Unknown(_)) | None => {
            data.number("class", head.class.0);
            if !cut.raw.is_empty() {
                data.text("body_base64", &STANDARD.encode(cut.raw));
            }
        }
    }
}

fn write_position(data: &mut Object<'_>, position: &Position) {
    data.fixed("latitude_deg", position.latitude_udeg.into(), 6);
    data.fixed("longitude_deg", position.longitude_udeg.into(), 6);
    if let Some(speed_cmps) = position.speed_cmps {
        data.fixed("speed_mps", speed_cmps.into(), 2);
    }
    if let Some(course) = position.course_turn256 {
        // 360/256 = 1.40625: hundredths of a degree, rounded to nearest.
        data.fixed("course_deg", (i64::from(course) * 36_000 + 128) / 256, 2);
    }
    if position.accuracy_m != 0 {
        data.number("accuracy_m", position.accuracy_m);
    }
    code(data, "source", position.source.name(), position.source.0);
    code(data, "reason", position.reason.name(), position.reason.0);
}

fn write_status(data: &mut Object<'_>, status: &Status, fields: Fields) {
    if fields.has(Field::Duty) {
        code(data, "duty", status.duty.name(), status.duty.0);
    }
    if fields.has(Field::Device) {
        write_device(data, status);
    }
}

fn write_device(data: &mut Object<'_>, status: &Status) {
    if status.battery_pct != 255 {
        data.number("battery_pct", status.battery_pct);
    }
    code(data, "power", status.power.name(), status.power.0);
    if status.signal_dbm != 0 {
        data.number("signal_dbm", status.signal_dbm);
    }
    if status.satellites != 255 {
        data.number("satellites_count", status.satellites);
    }
    if status.temperature_degc != -128 {
        data.number("temperature_degc", status.temperature_degc);
    }
    if status.storage_pct != 255 {
        data.number("storage_pct", status.storage_pct);
    }
    data.number("outbox_owed_count", status.outbox_owed);
    code(data, "reset_reason", status.reset_reason.name(), status.reset_reason.0);
    let [major, minor, patch] = status.firmware;
    data.display("firmware", format_args!("{major}.{minor}.{patch}"));
    data.number("uptime_s", status.uptime_s);
}

fn write_sensor_event(data: &mut Object<'_>, event: &SensorEvent) {
    code(data, "event", event.code.name(), event.code.0);
    data.number("index", event.index);
    match event.code {
        EventCode::CED_TRIGGER => data.number("cartridges_left_count", event.value),
        EventCode::BLUE_LIGHTS | EventCode::SIREN | EventCode::IGNITION => {
            data.boolean("is_on", event.value != 0);
        }
        EventCode::DOORS => data.number("doors_open_bits", event.value),
        EventCode::CRASH => data.fixed("velocity_change_mps", event.value.into(), 2),
        EventCode::ROLLOVER => data.number("roll_deg", event.value),
        _ if event.value == 0 => {}
        _ => data.number("value", event.value),
    }
}

fn write_alarm(data: &mut Object<'_>, alarm: &Alarm) {
    code(data, "cause", alarm.cause.name(), alarm.cause.0);
    data.boolean("silent", alarm.silent);
    if let Some(position) = &alarm.position {
        let mut nested = data.object("position");
        write_position(&mut nested, position);
        nested.number("age_s", alarm.position_age_s);
        nested.close();
    }
}

fn write_cancel(data: &mut Object<'_>, record: &Record, cancel: &AlarmCancel) {
    let AlarmCancel { boot, seq, .. } = cancel;
    data.text("alarm", &record.key_of(*boot, *seq));
    code(data, "reason", cancel.reason.name(), cancel.reason.0);
}

fn write_loss(data: &mut Object<'_>, loss: &Loss) {
    code(data, "reason", loss.reason.name(), loss.reason.0);
    data.number("boot", loss.boot.0);
    data.number("count", loss.ranges.iter().map(|range| u64::from(range.more) + 1).sum::<u64>());
    data.objects("ranges", loss.ranges.iter(), |object, range| {
        object.number("first", range.first.0);
        object.number("last", u64::from(range.first.0) + u64::from(range.more));
    });
}

/// A code's name; one that nobody here knows yet keeps its number: `code-37`.
fn code(data: &mut Object<'_>, key: &str, name: Option<&'static str>, value: u8) {
    match name {
        Some(name) => data.text(key, name),
        None => data.display(key, format_args!("code-{value}")),
    }
}
