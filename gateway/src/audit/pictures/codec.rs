//! Keyframes and changes as bytes, each unit's JSON as its difference from the one before.
//!
//! ```text
//! 0 n units: count (id text, delta from the unit before)  alarms: count (id, text)  told: count (name, text)
//! 1 n count (index | next index + id, delta from what the unit was)
//! 2 n count (id)     3 n id remains text     4 n id     5 n name text
//! ```
//! Indices count the units of the file, in the order in which it names them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::delta;
use super::wire::{Reader, put_bytes, put_varint};
use crate::live::frames::{Change, Picture};
use crate::live::unit::UnitId;

const KEYFRAME: u8 = 0;
const UNITS: u8 = 1;
const UNITS_GONE: u8 = 2;
const ALARM: u8 = 3;
const ALARM_GONE: u8 = 4;
const TOLD: u8 = 5;

/// One entry of the picture journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The whole picture: a file begins with one.
    Keyframe(Picture),
    /// One change with its number.
    Change(u64, Change),
}

/// What the file has said of each unit: both ends have the same.
#[derive(Debug, Default)]
pub(super) struct Known {
    indices: HashMap<UnitId, usize>,
    units: Vec<(UnitId, Bytes)>,
}

impl Entry {
    /// The newest change in it.
    #[must_use]
    pub fn n(&self) -> u64 {
        match self {
            Self::Keyframe(picture) => picture.n,
            Self::Change(n, _) => *n,
        }
    }
}

impl Known {
    /// Appends an entry. A keyframe forgets what was known.
    pub(super) fn put(&mut self, out: &mut Vec<u8>, entry: &Entry) {
        match entry {
            Entry::Keyframe(picture) => self.put_keyframe(out, picture),
            Entry::Change(n, change) => self.put_change(out, *n, change),
        }
    }

    /// The next entry; `None` if there is none that can be read.
    pub(super) fn take(&mut self, reader: &mut Reader<'_>) -> Option<Entry> {
        let kind = reader.byte()?;
        let n = reader.varint()?;
        if kind == KEYFRAME {
            return Some(Entry::Keyframe(self.take_keyframe(reader, n)?));
        }
        let change = match kind {
            UNITS => Change::Units(self.take_units(reader)?),
            UNITS_GONE => {
                let count = reader.varint()?;
                Change::UnitsGone((0..count).map(|_| reader.text()?.parse().ok()).collect::<Option<_>>()?)
            }
            ALARM => Change::Alarm {
                id: reader.text()?.parse().ok()?,
                remains: reader.byte()? == 1,
                json: Bytes::copy_from_slice(reader.bytes()?),
            },
            ALARM_GONE => Change::AlarmGone(reader.text()?.parse().ok()?),
            TOLD => Change::Told {
                event: reader.text()?.to_owned(),
                json: Bytes::copy_from_slice(reader.bytes()?),
            },
            _ => return None,
        };
        Some(Entry::Change(n, change))
    }

    fn put_keyframe(&mut self, out: &mut Vec<u8>, picture: &Picture) {
        *self = Self::default();
        out.push(KEYFRAME);
        put_varint(out, picture.n);
        put_varint(out, picture.units.len() as u64);
        let (mut before, mut text) = (Bytes::new(), Vec::new());
        for (id, json) in &picture.units {
            put_bytes(out, id.to_string().as_bytes());
            text.clear();
            delta::put(&mut text, &before, json);
            put_bytes(out, &text);
            before = json.clone();
            self.learn(id, json.clone());
        }
        put_varint(out, picture.alarms.len() as u64);
        for (id, json) in &picture.alarms {
            put_bytes(out, id.to_string().as_bytes());
            put_bytes(out, json);
        }
        put_varint(out, picture.told.len() as u64);
        for (name, json) in &picture.told {
            put_bytes(out, name.as_bytes());
            put_bytes(out, json);
        }
    }

    fn take_keyframe(&mut self, reader: &mut Reader<'_>, n: u64) -> Option<Picture> {
        *self = Self::default();
        let mut picture = Picture { n, ..Picture::default() };
        let mut before = Bytes::new();
        for _ in 0..reader.varint()? {
            let id: UnitId = reader.text()?.parse().ok()?;
            before = Bytes::from(delta::apply(&before, reader.bytes()?)?);
            self.learn(&id, before.clone());
            picture.units.insert(id, before.clone());
        }
        for _ in 0..reader.varint()? {
            let id = reader.text()?.parse().ok()?;
            picture.alarms.insert(id, Bytes::copy_from_slice(reader.bytes()?));
        }
        let mut told = BTreeMap::new();
        for _ in 0..reader.varint()? {
            told.insert(reader.text()?.to_owned(), Bytes::copy_from_slice(reader.bytes()?));
        }
        picture.told = told;
        Some(picture)
    }

    fn put_change(&mut self, out: &mut Vec<u8>, n: u64, change: &Change) {
        let kind = match change {
            Change::Units(_) => UNITS,
            Change::UnitsGone(_) => UNITS_GONE,
            Change::Alarm { .. } => ALARM,
            Change::AlarmGone(_) => ALARM_GONE,
            Change::Told { .. } => TOLD,
        };
        out.push(kind);
        put_varint(out, n);
        match change {
            Change::Units(units) => {
                put_varint(out, units.len() as u64);
                units.iter().for_each(|(id, json)| self.put_unit(out, id, json));
            }
            Change::UnitsGone(units) => {
                put_varint(out, units.len() as u64);
                units.iter().for_each(|id| put_bytes(out, id.to_string().as_bytes()));
            }
            Change::Alarm { id, json, remains } => {
                put_bytes(out, id.to_string().as_bytes());
                out.push(u8::from(*remains));
                put_bytes(out, json);
            }
            Change::AlarmGone(id) => put_bytes(out, id.to_string().as_bytes()),
            Change::Told { event, json } => {
                put_bytes(out, event.as_bytes());
                put_bytes(out, json);
            }
        }
    }

    fn put_unit(&mut self, out: &mut Vec<u8>, id: &UnitId, json: &Bytes) {
        let index = self.indices.get(id).copied().unwrap_or(self.units.len());
        put_varint(out, index as u64);
        if index == self.units.len() {
            put_bytes(out, id.to_string().as_bytes());
            self.learn(id, Bytes::new());
        }
        let was = &mut self.units[index].1;
        let mut text = Vec::with_capacity(96);
        delta::put(&mut text, was, json);
        *was = json.clone();
        put_bytes(out, &text);
    }

    fn take_units(&mut self, reader: &mut Reader<'_>) -> Option<Vec<(UnitId, Bytes)>> {
        let count = reader.varint()?;
        let mut units = Vec::new();
        for _ in 0..count {
            let index = usize::try_from(reader.varint()?).ok()?;
            if index == self.units.len() {
                self.learn(&reader.text()?.parse().ok()?, Bytes::new());
            }
            let (id, was) = self.units.get_mut(index)?;
            *was = Bytes::from(delta::apply(was, reader.bytes()?)?);
            units.push((id.clone(), was.clone()));
        }
        Some(units)
    }

    fn learn(&mut self, id: &UnitId, json: Bytes) {
        self.indices.insert(id.clone(), self.units.len());
        self.units.push((id.clone(), json));
    }
}
