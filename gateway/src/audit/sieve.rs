//! What was shown of some units, picked out of the bytes that were sent.
//!
//! Bound: [`SHOWN_MAX`] versions of a unit for each part of the time. **Where there were more the answer says so**: the first ones are
//! told, and whoever asks must ask for a shorter time.

use std::collections::BTreeMap;

use serde_json::Value;

use super::answer::Shown;
use super::look::Span;

/// Most versions of one unit in one look: above what ten minutes show. A vehicle every 2 s has as many in less than three hours.
const SHOWN_MAX: usize = 5_000;

/// Picks units, each for parts of the time, out of what was sent.
pub(super) struct Sieve<'a> {
    units: BTreeMap<&'a str, Picked>,
    /// After this nothing is picked.
    until_ms: u64,
    held: Vec<u8>,
}

/// What was picked.
#[derive(Default)]
pub(super) struct Sifted {
    /// By unit and part, the oldest first.
    pub(super) shown: Vec<Shown>,
    /// There were more versions than are kept.
    pub(super) is_cut: bool,
}

/// One unit.
struct Picked {
    /// How it begins in JSON: looked for before anything is parsed.
    marks: [Vec<u8>; 2],
    parts: Vec<Part>,
}

/// One part of the time.
struct Part {
    span: Span,
    before: BTreeMap<(&'static str, String), Shown>,
    shown: Vec<Shown>,
    is_cut: bool,
}

impl<'a> Sieve<'a> {
    /// One for each of these units, for its part of the time.
    pub(super) fn new(about: impl Iterator<Item = (&'a str, Span)>) -> Self {
        let mut sieve = Self { units: BTreeMap::new(), until_ms: 0, held: Vec::new() };
        for (unit, span) in about {
            let mark = |key: &str| format!("\"{key}\":\"{unit}\"").into_bytes();
            let picked = sieve.units.entry(unit);
            let picked =
                picked.or_insert_with(|| Picked { marks: [mark("id"), mark("unit")], parts: Vec::new() });
            picked.parts.push(Part { span, before: BTreeMap::new(), shown: Vec::new(), is_cut: false });
            sieve.until_ms = sieve.until_ms.max(span.until_ms);
        }
        sieve
    }

    /// Nothing that was sent later is picked, Unix ms.
    pub(super) fn until_ms(&self) -> u64 {
        self.until_ms
    }

    /// Takes bytes of a stream; an event ends with an empty line.
    pub(super) fn bytes(&mut self, at_ms: u64, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
        if !self.held.ends_with(b"\n\n") {
            return;
        }
        let held = std::mem::take(&mut self.held);
        let mut marks = self.units.values().flat_map(|picked| &picked.marks);
        if !marks.any(|mark| held.windows(mark.len()).any(|window| window == mark)) {
            return;
        }
        for event in String::from_utf8_lossy(&held).split("\n\n") {
            let Some((head, data)) = event.split_once("\ndata: ") else { continue };
            let value: Value = serde_json::from_str(data).unwrap_or_default();
            if head.ends_with("event: units") {
                self.rows("units", at_ms, &value);
            } else if head.ends_with("event: alarm") {
                self.row("alarm", at_ms, &value);
            }
        }
    }

    /// Takes a list of units, or of alarms.
    pub(super) fn rows(&mut self, event: &'static str, at_ms: u64, rows: &Value) {
        rows.as_array().into_iter().flatten().for_each(|row| self.row(event, at_ms, row));
    }

    fn row(&mut self, event: &'static str, at_ms: u64, row: &Value) {
        let key = if event == "units" { "id" } else { "unit" };
        let picked = row[key].as_str().and_then(|unit| self.units.get_mut(unit));
        picked.into_iter().flat_map(|picked| &mut picked.parts).for_each(|part| part.row(event, at_ms, row));
    }

    /// What was picked.
    pub(super) fn finish(self) -> Sifted {
        let mut sifted = Sifted::default();
        for part in self.units.into_values().flat_map(|picked| picked.parts) {
            sifted.shown.extend(part.before.into_values().chain(part.shown));
            sifted.is_cut |= part.is_cut;
        }
        sifted
    }
}

impl Part {
    fn row(&mut self, event: &'static str, at_ms: u64, row: &Value) {
        if at_ms > self.span.until_ms {
            return;
        }
        let shown = Shown { at_ms, was_there: at_ms < self.span.from_ms, event, row: row.clone() };
        if shown.was_there {
            // Only the newest version of each was still on the screen.
            self.before.insert((event, row["id"].to_string()), shown);
        } else if self.shown.len() < SHOWN_MAX {
            self.shown.push(shown);
        } else {
            self.is_cut = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn more_versions_than_an_answer_takes_are_said_to_be_missing() {
        let span = Span { from_ms: 10, until_ms: u64::MAX };
        let shown = |count: u64| {
            let mut sieve = Sieve::new([("met/pc-1", span)].into_iter());
            sieve.rows("units", 1, &json!([{ "id": "met/pc-1" }]));
            (10..10 + count).for_each(|at_ms| sieve.rows("units", at_ms, &json!([{ "id": "met/pc-1" }])));
            sieve.finish()
        };
        let most = shown(SHOWN_MAX as u64);
        assert_eq!(
            (most.shown.len(), most.is_cut),
            (SHOWN_MAX + 1, false),
            "and the one that was there before"
        );
        let cut = shown(SHOWN_MAX as u64 + 1);
        assert_eq!((cut.shown.len(), cut.is_cut), (SHOWN_MAX + 1, true));
    }
}
