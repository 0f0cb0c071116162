//! Who wore which device when: the shift assignments, in memory.
//!
//! **Of several assignments that cover an instant, the one written last holds**: a correction is written, nothing is taken
//! back, and an answer about the past is the same for ever unless somebody wrote about that past since.
//!
//! Bounds: [`ASSIGNMENTS_MAX`] assignments of about 0.5 KiB; beyond, the ones written first are in the file only.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use serde::Serialize;

use super::worn::{PARTS_MAX, Parts, parts_of};
use crate::live::unit::UnitId;

/// A week of the largest force (10,000 devices, three shifts a day), years of a small one.
pub const ASSIGNMENTS_MAX: usize = 200_000;

/// Who wears a device, as colleagues know them. Any text, which stays text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Wearer {
    /// Name or number; `None`: nobody wears it.
    pub officer: Option<Box<str>>,
    /// What they are called on the radio.
    pub callsign: Option<Box<str>>,
    /// The vehicle it is in, or they are in.
    pub vehicle: Option<Box<str>>,
    /// What they do: sergeant, dog handler.
    pub role: Option<Box<str>>,
}

/// One assignment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Assignment {
    /// Its place in the file, from 1.
    pub n: u64,
    /// Which device.
    #[serde(serialize_with = "as_text")]
    pub unit: UnitId,
    /// Who.
    #[serde(flatten)]
    pub wearer: Wearer,
    /// From, Unix ms.
    pub from_ms: u64,
    /// Until, Unix ms; not included.
    pub until_ms: u64,
    /// Who said so.
    pub by: String,
    /// When they said so, Unix ms.
    pub at_ms: u64,
}

/// Every assignment that is remembered. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Wearers {
    table: Arc<RwLock<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    by_unit: BTreeMap<UnitId, VecDeque<Assignment>>,
    /// Units in the order in which their assignments were written.
    order: VecDeque<UnitId>,
    revision: u64,
    /// The latest end of an assignment that is in the file only.
    forgotten_to_ms: u64,
}

impl Wearers {
    /// Who wore the device at `at_ms`; `None` if nothing is known. The access record, history and the live page ask here.
    #[must_use]
    pub fn at(&self, unit: &UnitId, at_ms: u64) -> Option<Wearer> {
        self.assignment_at(unit, at_ms).map(|assignment| assignment.wearer)
    }

    /// [`Wearers::at`], with when it began and who said so.
    #[must_use]
    pub fn assignment_at(&self, unit: &UnitId, at_ms: u64) -> Option<Assignment> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let covers = |one: &&Assignment| one.from_ms <= at_ms && at_ms < one.until_ms;
        table.by_unit.get(unit)?.iter().rev().find(covers).cloned()
    }

    /// Everything written about a device, the newest first.
    #[must_use]
    pub fn of_unit(&self, unit: &UnitId, count_max: usize) -> Vec<Assignment> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table.by_unit.get(unit).into_iter().flatten().rev().take(count_max).cloned().collect()
    }

    /// Who wore what at `at_ms`, of the units that `sees` admits, after `after`, by force and device.
    #[must_use]
    pub fn all_at(
        &self,
        at_ms: u64,
        sees: impl Fn(&UnitId) -> bool,
        after: Option<&UnitId>,
        count_max: usize,
    ) -> Vec<Assignment> {
        use std::ops::Bound::{Excluded, Unbounded};
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let units = table.by_unit.range::<UnitId, _>((after.map_or(Unbounded, Excluded), Unbounded));
        let covers = |one: &&Assignment| one.from_ms <= at_ms && at_ms < one.until_ms;
        let held = units.filter(|(unit, _)| sees(unit)).filter_map(|(_, all)| all.iter().rev().find(covers));
        held.take(count_max).cloned().collect()
    }

    /// Who wore the device when, in `from_ms..=until_ms`.
    #[must_use]
    pub fn parts_of(&self, unit: &UnitId, from_ms: u64, until_ms: u64) -> Parts {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let of_unit = table.by_unit.get(unit).into_iter().flatten();
        let (worn, is_cut) = parts_of(of_unit, (from_ms, until_ms), |_| true);
        Parts { worn, is_cut: is_cut || from_ms < table.forgotten_to_ms }
    }

    /// What the officer wore when, in `from_ms..=until_ms`, of the units that `sees` admits. A name is taken as it was written.
    #[must_use]
    pub fn worn_by(
        &self,
        officer: &str,
        (from_ms, until_ms): (u64, u64),
        sees: impl Fn(&UnitId) -> bool,
    ) -> Parts {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let is_theirs = |wearer: &Wearer| wearer.officer.as_deref() == Some(officer);
        let mut parts = Parts { worn: Vec::new(), is_cut: from_ms < table.forgotten_to_ms };
        for (_, all) in table.by_unit.iter().filter(|(unit, _)| sees(unit)) {
            if !all.iter().any(|one| is_theirs(&one.wearer)) {
                continue;
            }
            let (worn, is_cut) = parts_of(all.iter(), (from_ms, until_ms), is_theirs);
            parts.worn.extend(worn);
            parts.is_cut |= is_cut;
            if parts.worn.len() > PARTS_MAX {
                parts.worn.truncate(PARTS_MAX);
                parts.is_cut = true;
                break;
            }
        }
        parts
    }

    /// Counts what was written; a change means that names may be others.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.table.read().unwrap_or_else(PoisonError::into_inner).revision
    }

    /// When, after `at_ms`, an assignment begins or ends next.
    #[must_use]
    pub fn next_change_after(&self, at_ms: u64) -> Option<u64> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let all = table.by_unit.values().flatten();
        all.flat_map(|one| [one.from_ms, one.until_ms]).filter(|change_ms| *change_ms > at_ms).min()
    }

    /// Takes assignments in the order of the file.
    pub(super) fn take(&self, written: Vec<Assignment>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for one in written {
            table.revision += 1;
            table.order.push_back(one.unit.clone());
            table.by_unit.entry(one.unit.clone()).or_default().push_back(one);
        }
        while table.order.len() > ASSIGNMENTS_MAX {
            let Some(unit) = table.order.pop_front() else { return };
            let Some(of_unit) = table.by_unit.get_mut(&unit) else { continue };
            let forgotten = of_unit.pop_front();
            if of_unit.is_empty() {
                table.by_unit.remove(&unit);
            }
            let ended_ms = forgotten.map_or(0, |one| one.until_ms);
            table.forgotten_to_ms = table.forgotten_to_ms.max(ended_ms);
        }
    }
}

pub(super) fn as_text<S: serde::Serializer>(unit: &UnitId, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(text: &str) -> UnitId {
        text.parse().unwrap()
    }

    fn assignment(n: u64, of: &str, officer: &str, from_ms: u64, until_ms: u64) -> Assignment {
        let wearer = Wearer { officer: Some(officer.into()), ..Wearer::default() };
        Assignment { n, unit: unit(of), wearer, from_ms, until_ms, by: "eve".to_owned(), at_ms: 0 }
    }

    fn officer(wearers: &Wearers, of: &str, at_ms: u64) -> Option<String> {
        wearers.at(&unit(of), at_ms)?.officer.map(|officer| officer.to_string())
    }

    #[test]
    fn what_was_written_last_holds_while_it_lasts() {
        let wearers = Wearers::default();
        wearers.take(vec![
            assignment(1, "met/pc-1", "anna", 100, 200),
            assignment(2, "met/pc-1", "ben", 140, 160),
            assignment(3, "met/pc-2", "eve", 0, 1_000),
        ]);
        for (at_ms, worn_by) in [(99, None), (100, Some("anna")), (140, Some("ben")), (159, Some("ben"))] {
            assert_eq!(officer(&wearers, "met/pc-1", at_ms).as_deref(), worn_by, "{at_ms}");
        }
        assert_eq!(officer(&wearers, "met/pc-1", 160).as_deref(), Some("anna"), "lent for a while");
        assert_eq!(officer(&wearers, "met/pc-1", 200), None);
        assert_eq!(wearers.next_change_after(140), Some(160));
        assert_eq!(wearers.next_change_after(1_000), None);
        let met = |unit: &UnitId| unit.device.as_str() != "pc-2";
        assert_eq!(wearers.all_at(150, met, None, 10).len(), 1);
        assert_eq!(wearers.all_at(150, |_| true, Some(&unit("met/pc-1")), 10)[0].n, 3);
    }

    #[test]
    fn memory_is_bounded_and_what_was_written_first_gives_way() {
        let wearers = Wearers::default();
        let rows = 0..ASSIGNMENTS_MAX as u64 + 1;
        wearers.take(rows.map(|n| assignment(n, &format!("met/pc-{}", n % 7), "anna", n, n + 1)).collect());
        assert_eq!(officer(&wearers, "met/pc-0", 0), None);
        assert_eq!(officer(&wearers, "met/pc-1", 1).as_deref(), Some("anna"));
        let unit = unit("met/pc-1");
        assert!(wearers.parts_of(&unit, 0, 5).is_cut, "what is forgotten is said to be missing");
        assert!(!wearers.parts_of(&unit, 1, 5).is_cut);
        assert!(wearers.worn_by("anna", (0, 5), |_| true).is_cut);
    }

    #[test]
    fn an_officer_is_found_on_every_device_they_wore_and_on_none_that_is_not_seen() {
        let wearers = Wearers::default();
        wearers.take(vec![
            assignment(1, "met/pc-1", "PC 1234", 100, 200),
            assignment(2, "met/pc-2", "PC 1234", 200, 300),
            assignment(3, "kent/pc-9", "PC 1234", 100, 300),
            assignment(4, "met/pc-1", "PC 77", 150, 300),
        ]);
        let worn = |sees: fn(&UnitId) -> bool| {
            let parts = wearers.worn_by("PC 1234", (120, 250), sees);
            let said = parts.worn.iter().map(|part| (part.unit.to_string(), part.from_ms, part.until_ms));
            said.collect::<Vec<_>>()
        };
        let met = [("met/pc-1".to_owned(), 120, 149), ("met/pc-2".to_owned(), 200, 250)];
        assert_eq!(worn(|unit| unit.force.as_str() == "met"), met);
        assert_eq!(worn(|_| true).len(), 3);
        assert!(wearers.worn_by("pc 1234", (0, 500), |_| true).worn.is_empty(), "as it was written");
    }
}
