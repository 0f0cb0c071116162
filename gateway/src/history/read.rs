//! Answers of the embedded store.
//!
//! **No disk is read under the store's lock**: an answer copies what is in memory, opens the files of one slot and lets go, so that
//! however slow the disk is, rows are taken and the page asks how the store is. A file that is merged or dropped
//! meanwhile is read to its end: it is open.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use super::files::Inner;
use super::row::{AlarmEvent, Row, RowClass, RowKey};
use super::segment::{Segment, SegmentError, SegmentReader, hash_of};
use super::standing::Standing;
use super::table::{Slot, Table, aftermath_ms, in_order};
use super::{AlarmStory, Alarms, Found, HistoryError, LOOK_BACK_MS, Sees, Track};
use crate::live::unit::UnitId;

/// Is handed rows of a unit.
type Each<'a> = &'a mut dyn FnMut(&UnitId, &[Row]) -> Result<(), HistoryError>;

/// What one slot held at one moment, its files open: settling takes nothing of it away any more.
struct Look {
    slot: Slot,
    readers: Vec<SegmentReader>,
    is_whole: bool,
    writing: Arc<Table>,
    fresh: Vec<(UnitId, Vec<Row>)>,
}

impl Look {
    fn note(&self, damaged: &mut Vec<(u64, u64)>) {
        if !self.is_whole {
            damaged.push((self.slot.starts_ms(), self.slot.ends_ms()));
        }
    }
}

fn copied(table: &Table, slot: Slot, unit: Option<&UnitId>) -> Vec<(UnitId, Vec<Row>)> {
    let Some(rows) = table.slot(slot) else { return Vec::new() };
    match unit {
        Some(unit) => rows.get(unit).map(|rows| (unit.clone(), rows.clone())).into_iter().collect(),
        None => rows.iter().map(|(unit, rows)| (unit.clone(), rows.clone())).collect(),
    }
}

impl Inner {
    /// Slots of `class` with rows in `[from_ms, until_ms)`, oldest first.
    fn slots(&self, class: RowClass, from_ms: u64, until_ms: u64) -> Vec<Slot> {
        let state = self.read();
        let in_memory = state.fresh.slots().chain(state.writing.slots()).map(|(slot, _)| slot);
        let slots: BTreeSet<Slot> = state.shelf.all_slots().chain(in_memory).collect();
        let overlaps =
            |slot: &Slot| slot.class == class && slot.starts_ms() < until_ms && slot.ends_ms() > from_ms;
        slots.into_iter().filter(overlaps).collect()
    }

    /// What `slot` holds now, of `unit` or of every unit. Only what is in memory is copied under the lock.
    fn look(&self, slot: Slot, unit: Option<&UnitId>) -> Result<Look, HistoryError> {
        let mut gone: Option<Vec<Segment>> = None;
        loop {
            let (segments, is_whole, writing, fresh) = {
                let state = self.read();
                let segments = state.shelf.segments(slot).to_vec();
                let is_whole = !state.shelf.is_damaged(slot);
                (segments, is_whole, Arc::clone(&state.writing), copied(&state.fresh, slot, unit))
            };
            let opened: Result<Vec<_>, _> =
                segments.iter().map(|segment| segment.read(&*self.settings.disk)).collect();
            match opened {
                Ok(readers) => return Ok(Look { slot, readers, is_whole, writing, fresh }),
                // Merged or dropped since we looked; if not, somebody else has taken it away.
                Err(SegmentError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && gone.as_ref() != Some(&segments) =>
                {
                    gone = Some(segments);
                }
                Err(error) => return Err(HistoryError::Storage(error.to_string())),
            }
        }
    }

    /// The rows of `unit` in `slot`, in order; notes the slot if a part could not be read.
    fn rows(
        &self,
        slot: Slot,
        unit: &UnitId,
        damaged: &mut Vec<(u64, u64)>,
    ) -> Result<Vec<Row>, HistoryError> {
        let mut look = self.look(slot, Some(unit))?;
        let mut rows = Vec::new();
        for reader in &look.readers {
            rows.extend(or_damaged(reader.rows_of(unit), &mut look.is_whole)?.unwrap_or_default());
        }
        let writing = look.writing.slot(slot).and_then(|rows| rows.get(unit));
        rows.extend(writing.into_iter().flatten().cloned());
        rows.extend(std::mem::take(&mut look.fresh).into_iter().flat_map(|(_, rows)| rows));
        look.note(damaged);
        in_order(&mut rows);
        Ok(rows)
    }

    /// Calls `each` with the rows of every unit in `slot`, several times for a unit, in no order. `skips` says by hash which
    /// units need not be read.
    fn every(
        &self,
        slot: Slot,
        damaged: &mut Vec<(u64, u64)>,
        skips: &dyn Fn(u64) -> bool,
        each: Each<'_>,
    ) -> Result<(), HistoryError> {
        let mut look = self.look(slot, None)?;
        for reader in &look.readers {
            for n in 0..reader.units_count() {
                let Some(hash) = or_damaged(reader.hash_at(n), &mut look.is_whole)? else { continue };
                if skips(hash) {
                    continue;
                }
                if let Some((unit, rows)) = or_damaged(reader.block(n), &mut look.is_whole)? {
                    each(&unit, &rows)?;
                }
            }
        }
        for (unit, rows) in look.writing.slot(slot).into_iter().flatten() {
            each(unit, rows)?;
        }
        for (unit, rows) in &look.fresh {
            each(unit, rows)?;
        }
        look.note(damaged);
        Ok(())
    }

    pub(super) fn track(&self, question: &Track) -> Result<Found<Row>, HistoryError> {
        let mut found = Found { items: Vec::new(), has_more: false, damaged: Vec::new() };
        let from_ms = question.after.map_or(question.from_ms, |after| after.at_ms.max(question.from_ms));
        for slot in self.slots(RowClass::Movement, from_ms, question.until_ms) {
            let rows = self.rows(slot, &question.unit, &mut found.damaged)?;
            let is_asked = |row: &Row| {
                (from_ms..question.until_ms).contains(&row.at_ms)
                    && question.after.is_none_or(|after| row.key() > after)
            };
            found.items.extend(rows.into_iter().filter(is_asked));
            if found.items.len() > question.rows_max {
                found.items.truncate(question.rows_max);
                found.has_more = true;
                break;
            }
        }
        Ok(found)
    }

    pub(super) fn at(&self, unit: &UnitId, at_ms: u64) -> Result<Found<Standing>, HistoryError> {
        let mut standing = Standing::new(unit.clone(), at_ms);
        let mut damaged = Vec::new();
        let slots =
            self.slots(RowClass::Movement, at_ms.saturating_sub(LOOK_BACK_MS), at_ms.saturating_add(1));
        for slot in slots.into_iter().rev() {
            let rows = self.rows(slot, unit, &mut damaged)?;
            rows.iter().for_each(|row| standing.fold(row));
            if standing.is_settled() {
                break;
            }
        }
        let items = Some(standing).filter(Standing::is_known).into_iter().collect();
        Ok(Found { items, has_more: false, damaged })
    }

    pub(super) fn everyone(&self, at_ms: u64, sees: &Sees) -> Result<Found<Standing>, HistoryError> {
        let mut standings: BTreeMap<UnitId, Standing> = BTreeMap::new();
        let mut settled: BTreeSet<u64> = BTreeSet::new();
        let mut damaged = Vec::new();
        let slots =
            self.slots(RowClass::Movement, at_ms.saturating_sub(LOOK_BACK_MS), at_ms.saturating_add(1));
        for slot in slots.into_iter().rev() {
            let skips = |hash: u64| settled.contains(&hash);
            self.every(slot, &mut damaged, &skips, &mut |unit, rows| {
                if sees.force(&unit.force) {
                    let fresh = || Standing::new(unit.clone(), at_ms);
                    let standing = standings.entry(unit.clone()).or_insert_with(fresh);
                    rows.iter().for_each(|row| standing.fold(row));
                }
                Ok(())
            })?;
            let done = standings.values().filter(|standing| standing.is_settled());
            settled = done.map(|standing| hash_of(&standing.unit)).collect();
        }
        let items = standings.into_values().filter(Standing::is_known).collect();
        Ok(Found { items, has_more: false, damaged })
    }

    pub(super) fn window(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: &Sees,
        rows_max: usize,
    ) -> Result<Found<(UnitId, Row)>, HistoryError> {
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        for slot in self.slots(RowClass::Movement, from_ms, until_ms) {
            self.every(slot, &mut damaged, &|_| false, &mut |unit, rows| {
                if sees.force(&unit.force) {
                    let within = rows.iter().filter(|row| (from_ms..until_ms).contains(&row.at_ms));
                    found.extend(within.map(|row| (unit.clone(), row.clone())));
                }
                if found.len() > rows_max { Err(HistoryError::TooMuch { rows_max }) } else { Ok(()) }
            })?;
        }
        found.sort_unstable_by(|a, b| (a.1.key(), &a.0).cmp(&(b.1.key(), &b.0)));
        found.dedup_by(|a, b| (a.1.key(), &a.0) == (b.1.key(), &b.0));
        Ok(Found { items: found, has_more: false, damaged })
    }

    pub(super) fn alarms(&self, question: &Alarms) -> Result<Found<AlarmStory>, HistoryError> {
        let mut found = Found { items: Vec::new(), has_more: false, damaged: Vec::new() };
        'slots: for slot in self.slots(RowClass::Alarms, question.from_ms, question.until_ms) {
            let mut raised = BTreeMap::new();
            self.every(slot, &mut found.damaged, &|_| false, &mut |unit, rows| {
                let within =
                    rows.iter().filter(|row| (question.from_ms..question.until_ms).contains(&row.at_ms));
                for row in within.filter(|_| question.sees.force(&unit.force)) {
                    let Some(event) = row.alarm_event().filter(|event| event.what == "raised") else {
                        continue;
                    };
                    let key = (row.at_ms, event.alarm.clone());
                    if question.after.as_ref().is_none_or(|after| key > *after) {
                        raised.entry(key).or_insert_with(|| (unit.clone(), row.clone(), event));
                    }
                }
                Ok(())
            })?;
            for (unit, raised, event) in raised.into_values() {
                if found.items.len() >= question.alarms_max {
                    found.has_more = true;
                    break 'slots;
                }
                found.items.push(AlarmStory { unit, raised, event, since: Vec::new() });
            }
        }
        self.follow(&mut found)?;
        Ok(found)
    }

    /// Enters what happened to alarms after they were raised, in one pass over the hours since the first of them. What is damaged
    /// there is told too: what closed an alarm may be in it.
    fn follow(&self, found: &mut Found<AlarmStory>) -> Result<(), HistoryError> {
        let stories = &mut found.items;
        let mut damaged = Vec::new();
        let Some(first_ms) = stories.iter().map(|story| aftermath_ms(&story.raised)).min() else {
            return Ok(());
        };
        let units: BTreeSet<u64> = stories.iter().map(|story| hash_of(&story.unit)).collect();
        let places = stories.iter().enumerate();
        let places: BTreeMap<(UnitId, String), usize> =
            places.map(|(at, story)| ((story.unit.clone(), story.event.alarm.clone()), at)).collect();
        let mut since: BTreeMap<(usize, RowKey), AlarmEvent> = BTreeMap::new();
        for slot in self.slots(RowClass::Alarms, first_ms, u64::MAX) {
            self.every(slot, &mut damaged, &|hash| !units.contains(&hash), &mut |unit, rows| {
                for row in rows {
                    let Some(event) = row.alarm_event().filter(|event| event.what != "raised") else {
                        continue;
                    };
                    let at = places.get(&(unit.clone(), event.alarm.clone()));
                    if let Some(at) = at.filter(|at| row.at_ms >= aftermath_ms(&stories[**at].raised)) {
                        since.insert((*at, row.key()), event);
                    }
                }
                Ok(())
            })?;
        }
        for ((at, key), event) in since {
            stories[at].since.push((key.at_ms, event));
        }
        found.damaged.extend(damaged);
        found.damaged.sort_unstable();
        found.damaged.dedup();
        Ok(())
    }
}

fn or_damaged<T>(found: Result<T, SegmentError>, is_whole: &mut bool) -> Result<Option<T>, HistoryError> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(SegmentError::Damaged { .. }) => {
            *is_whole = false;
            Ok(None)
        }
        Err(error) => Err(HistoryError::Storage(error.to_string())),
    }
}
