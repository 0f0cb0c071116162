//! One event of the stream: a CloudEvent whose data is a GeoJSON feature.
//!
//! **`properties` are the event's data as every output has it** ([`crate::forward::event`]), with force, device, mode and, if
//! released, callsign; `geometry` is where, longitude before latitude (RFC 7946), or null. Nothing is in it that the event has not,
//! but for the callsign. The mode stands here once more, for a map that keeps features and not their envelope: an exercise must not
//! look actual there.

use bytes::{BufMut as _, BytesMut};
use fieldpost_protocol::{Body, Position};

use crate::forward::event::Event;
use crate::forward::json::Object;
use crate::forward::release::Field;
use crate::live::standing::Situation;
use crate::live::unit::UnitId;
use crate::record::Record;

/// Begins the data of an event; nothing before it can hold these bytes: identities, numbers and times.
const DATA: &str = ",\"data\":{";

/// Appends the event as one message of the stream. It has no id of its own there: where to go on is told apart.
pub(super) fn write(out: &mut BytesMut, event: &Event, situation: &dyn Situation) {
    let json = std::str::from_utf8(&event.json).expect("events are written as text");
    let Some((attributes, data)) = json.split_once(DATA) else { return };
    let data = data.strip_suffix("}}").unwrap_or_default();
    out.put_slice(b"event: ");
    out.put_slice(kind_of(event).as_bytes());
    out.put_slice(b"\ndata: ");
    out.put_slice(attributes.as_bytes());
    out.put_slice(b",\"datacontenttype\":\"application/geo+json\",\"data\":");
    let mut feature = Object::open(out);
    feature.text("type", "Feature");
    feature.raw("geometry", geometry(event).as_bytes());
    let mut properties = feature.object("properties");
    if let Some(record) = &event.record {
        properties.display("force", format_args!("{}", record.force));
        properties.display("device", format_args!("{}", record.device));
        if let Some(envelope) = record.envelope() {
            properties.text("mode", envelope.head.mode.as_str());
        }
        if event.fields.has(Field::Callsign) {
            let unit = UnitId { force: record.force.clone(), device: record.device.clone() };
            properties.text("callsign", &situation.name(&unit, record.received_at_ms).callsign);
        }
    }
    properties.members(data.as_bytes());
    properties.close();
    feature.close();
    out.put_slice(b"}\n\n");
}

/// The middle of the route: `FORCE.CLASS.DEVICE`, of a gap `%gateway.loss.NAME`.
fn kind_of(event: &Event) -> &str {
    event.route.split('.').nth(1).unwrap_or("loss")
}

fn geometry(event: &Event) -> String {
    let place = event.record.as_deref().filter(|_| event.fields.has(Field::Position)).and_then(place);
    place.map_or_else(
        || "null".to_owned(),
        |position| {
            let (longitude, latitude) = (degrees(position.longitude_udeg), degrees(position.latitude_udeg));
            format!("{{\"type\":\"Point\",\"coordinates\":[{longitude},{latitude}]}}")
        },
    )
}

/// Where the record says that its wearer was.
fn place(record: &Record) -> Option<Position> {
    let envelope = record.envelope()?;
    match Body::decode(&envelope.head, envelope.body) {
        Ok(Body::Position(position)) => Some(position),
        Ok(Body::Alarm(alarm)) => alarm.position,
        _ => None,
    }
}

/// Micro-degrees with their six decimals.
fn degrees(udeg: i32) -> String {
    let sign = if udeg < 0 { "-" } else { "" };
    let udeg = udeg.unsigned_abs();
    format!("{sign}{}.{:06}", udeg / 1_000_000, udeg % 1_000_000)
}
