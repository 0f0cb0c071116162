//! Rows in memory, by slot and unit, until they are written as segments.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::row::{Row, RowClass};
use crate::live::unit::UnitId;

/// Milliseconds in the hour that a slot covers.
pub(super) const HOUR_MS: u64 = 3_600_000;

/// One class in one hour of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Slot {
    pub(super) class: RowClass,
    /// Hours since 1970.
    pub(super) hour: u64,
}

impl Slot {
    pub(super) fn of(row: &Row) -> Self {
        Self { class: row.said.class(), hour: row.at_ms / HOUR_MS }
    }

    pub(super) fn starts_ms(self) -> u64 {
        self.hour.saturating_mul(HOUR_MS)
    }

    pub(super) fn ends_ms(self) -> u64 {
        self.starts_ms().saturating_add(HOUR_MS)
    }
}

pub(super) type Rows = HashMap<UnitId, Vec<Row>>;

/// Rows in no order.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: BTreeMap<Slot, Rows>,
    rows_count: usize,
}

impl Table {
    /// Devices send in bursts: rows of one unit and slot behind each other are looked up once.
    pub(super) fn add(&mut self, rows: impl IntoIterator<Item = (UnitId, Row)>) {
        let mut rows = rows.into_iter().peekable();
        while let Some((unit, row)) = rows.next() {
            let slot = Slot::of(&row);
            let mut of_unit = match self.slots.entry(slot).or_default().entry(unit) {
                Entry::Occupied(known) => known,
                Entry::Vacant(new) => new.insert_entry(Vec::new()),
            };
            of_unit.get_mut().push(row);
            self.rows_count += 1;
            while let Some((_, row)) =
                rows.next_if(|(next, row)| next == of_unit.key() && Slot::of(row) == slot)
            {
                of_unit.get_mut().push(row);
                self.rows_count += 1;
            }
        }
    }

    /// Puts back the rows of one slot.
    pub(super) fn put_back(&mut self, slot: Slot, rows: &Rows) {
        for (unit, rows) in rows {
            self.rows_count += rows.len();
            let of_unit = self.slots.entry(slot).or_default().entry(unit.clone()).or_default();
            of_unit.extend(rows.iter().cloned());
        }
    }

    pub(super) fn rows_count(&self) -> usize {
        self.rows_count
    }

    pub(super) fn slots(&self) -> impl Iterator<Item = (Slot, &Rows)> {
        self.slots.iter().map(|(slot, rows)| (*slot, rows))
    }

    pub(super) fn slot(&self, slot: Slot) -> Option<&Rows> {
        self.slots.get(&slot)
    }
}

/// Puts rows of one unit in order, each once.
pub(super) fn in_order(rows: &mut Vec<Row>) {
    rows.sort_unstable_by_key(Row::key);
    rows.dedup_by_key(|row| row.key());
}

/// From when on something may have happened to the alarm that `raised` raised: an acknowledgement may be dated before an alarm whose
/// device's clock is ahead. From the beginning of the hour before.
pub(super) fn aftermath_ms(raised: &Row) -> u64 {
    raised.at_ms.saturating_sub(HOUR_MS) / HOUR_MS * HOUR_MS
}
