//! What a live page is sent: a pure function of the pictures and of whose units its viewer sees.
//!
//! ```text
//! State --renders--> Change, numbered --+--> picture journal, fsynced        (crate::audit::pictures)
//!                                       '--> frame(n, change, forces) ------> page
//! Picture = every change so far --------------> opening(forces) ------------> page that opens
//! ```
//! **No byte of a stream is made anywhere else**, and nothing here knows a clock, a connection or a state: so the same
//! journal gives the same bytes years later, whatever the gateway has learned to render since.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::cursor::Mark;
use super::unit::UnitId;
use crate::alarms::AlarmId;
use crate::people::Forces;

const FRAME_END: &[u8] = b"\n\n";
/// Tells a page to read everything again.
pub const LAGGED: Bytes = Bytes::from_static(b"event: lagged\ndata: {}\n\n");

/// One thing that changed. JSON is on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These units are now so.
    Units(Vec<(UnitId, Bytes)>),
    /// These units are not shown any more. No event takes a unit away: the pages read everything again.
    UnitsGone(Vec<UnitId>),
    /// An alarm is now so; shown once more and then no more if it does not remain.
    Alarm {
        /// Which.
        id: AlarmId,
        /// Its row.
        json: Bytes,
        /// Whether it stays in the queue.
        remains: bool,
    },
    /// An alarm has left the queue without a word.
    AlarmGone(AlarmId),
    /// Something about the gateway or the room, without a position and for everybody.
    Told {
        /// The event's name.
        event: String,
        /// What it says.
        json: Bytes,
    },
}

/// Everything that is shown after the change number [`Picture::n`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Picture {
    /// The newest change in it.
    pub n: u64,
    /// Units as JSON.
    pub units: BTreeMap<UnitId, Bytes>,
    /// The alarm queue as JSON.
    pub alarms: BTreeMap<AlarmId, Bytes>,
    /// The newest of each event about the gateway.
    pub told: BTreeMap<String, Bytes>,
}

impl Picture {
    /// Takes the change number `n` in.
    pub fn apply(&mut self, n: u64, change: &Change) {
        self.n = n;
        match change {
            Change::Units(units) => self.units.extend(units.iter().cloned()),
            Change::UnitsGone(units) => units.iter().for_each(|id| _ = self.units.remove(id)),
            Change::Alarm { id, json, remains: true } => _ = self.alarms.insert(id.clone(), json.clone()),
            Change::Alarm { id, .. } | Change::AlarmGone(id) => _ = self.alarms.remove(id),
            Change::Told { event, json } => _ = self.told.insert(event.clone(), json.clone()),
        }
    }

    /// The units of `forces` as a JSON array.
    #[must_use]
    pub fn units_json(&self, forces: &Forces) -> Bytes {
        array(self.units.iter().filter(|(id, _)| forces.sees(&id.force)).map(|(_, json)| json))
    }

    /// The alarms of `forces` as a JSON array.
    #[must_use]
    pub fn alarms_json(&self, forces: &Forces) -> Bytes {
        array(self.alarms.iter().filter(|(id, _)| forces.sees(&id.unit.force)).map(|(_, json)| json))
    }

    /// The first frames of a page, in parts: every unit (`units`, as [`Picture::units_json`] gives it, so that pages share
    /// one), every alarm, the gateway.
    #[must_use]
    pub fn opening(&self, forces: &Forces, units: Bytes) -> Vec<Bytes> {
        let mark = Mark::of(forces);
        let mut first = vec![mark.head(self.n, "units"), units, Bytes::from_static(FRAME_END)];
        let alarms = self.alarms.iter().filter(|(id, _)| forces.sees(&id.unit.force));
        first.extend(alarms.map(|(_, json)| event(mark, self.n, "alarm", json)));
        first.extend(self.told.iter().map(|(name, json)| event(mark, self.n, name, json)));
        first
    }

    /// The answer of `GET /api/v1/units` to who sees `forces`; `units` as [`Picture::units_json`] gives them.
    #[must_use]
    pub fn units_answer(&self, forces: &Forces, units: &[u8]) -> Bytes {
        let cursor = Mark::of(forces).cursor(self.n);
        Bytes::from([format!("{{\"cursor\":\"{cursor}\",\"units\":").as_bytes(), units, b"}"].concat())
    }

    /// The answer of `GET /api/v1/alarms`.
    #[must_use]
    pub fn alarms_answer(&self, alarms: &[u8]) -> Bytes {
        Bytes::from([b"{\"alarms\":".as_slice(), alarms, b"}"].concat())
    }
}

/// The frame of change number `n` for who sees `forces`; `None` if it is not for them.
#[must_use]
pub fn frame(n: u64, change: &Change, forces: &Forces) -> Option<Bytes> {
    let told = |name: &str, json: &[u8]| event(Mark::of(forces), n, name, json);
    match change {
        Change::Units(units) => {
            let mut seen = units.iter().filter(|(id, _)| forces.sees(&id.force)).peekable();
            seen.peek()?;
            Some(told("units", &array(seen.map(|(_, json)| json))))
        }
        Change::UnitsGone(units) => units.iter().any(|id| forces.sees(&id.force)).then_some(LAGGED),
        Change::Alarm { id, json, .. } => forces.sees(&id.unit.force).then(|| told("alarm", json)),
        Change::AlarmGone(_) => None,
        Change::Told { event: name, json } => Some(told(name, json)),
    }
}

/// A frame without its number, for one that is sent before others: a page that comes back has to be sent those.
#[must_use]
pub fn unnumbered(frame: &[u8]) -> &[u8] {
    let line = frame.starts_with(b"id: ").then(|| frame.iter().position(|byte| *byte == b'\n')).flatten();
    line.map_or(frame, |end| &frame[end + 1..])
}

/// One event of the stream (WHATWG HTML, "Server-sent events"). JSON on one line needs no escaping.
fn event(mark: Mark, n: u64, name: &str, json: &[u8]) -> Bytes {
    Bytes::from([&mark.head(n, name), json, FRAME_END].concat())
}

fn array<'a>(parts: impl Iterator<Item = &'a Bytes> + Clone) -> Bytes {
    let mut json = Vec::with_capacity(2 + parts.clone().map(|part| part.len() + 1).sum::<usize>());
    json.push(b'[');
    for (n, part) in parts.enumerate() {
        if n > 0 {
            json.push(b',');
        }
        json.extend_from_slice(part);
    }
    json.push(b']');
    Bytes::from(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(id: &str, json: &'static str) -> (UnitId, Bytes) {
        (id.parse().unwrap(), Bytes::from_static(json.as_bytes()))
    }

    #[test]
    fn a_frame_holds_what_its_viewer_sees_and_no_other_force() {
        let met: Forces = "met".parse().unwrap();
        let change = Change::Units(vec![unit("kent/a", "1"), unit("met/b", "2")]);
        let said = |forces: &Forces, n, rest: &str| format!("id: {}\n{rest}", Mark::of(forces).cursor(n));
        let of_met = said(&met, 7, "event: units\ndata: [2]\n\n");
        assert_eq!(frame(7, &change, &met).unwrap(), of_met);
        let of_all = said(&Forces::All, 7, "event: units\ndata: [1,2]\n\n");
        assert_eq!(frame(7, &change, &Forces::All).unwrap(), of_all);
        assert_eq!(frame(7, &change, &"city".parse().unwrap()), None, "not even an empty one");
        let id: AlarmId = "kent/a/1/2".parse().unwrap();
        let alarm = Change::Alarm { id, json: Bytes::from_static(b"3"), remains: true };
        assert_eq!(frame(8, &alarm, &met), None);
        let mut picture = Picture::default();
        [change, alarm].iter().zip(7..).for_each(|(change, n)| picture.apply(n, change));
        assert_eq!(picture.units_json(&met), "[2]");
        assert_eq!(
            (picture.alarms_json(&met), picture.alarms_json(&Forces::All)),
            ("[]".into(), "[3]".into())
        );
        let opening = picture.opening(&met, picture.units_json(&met)).concat();
        assert_eq!(opening, said(&met, 8, "event: units\ndata: [2]\n\n").as_bytes());
    }
}
