//! Asking the history: every answer leaves as [`Unseen`], so that it is on record before anybody looks.

use std::collections::BTreeSet;

use super::row::Row;
use super::standing::Standing;
use super::task::History;
use super::{AlarmStory, Alarms, Found, HistoryError, HistoryStore, STANDING_MS, Sees, Track};
use crate::audit::look::LIVE_FIELDS;
use crate::audit::{Field, Holds, Precision, Subjects, Unseen};
use crate::live::unit::UnitId;

const TRACK_FIELDS: &[Field] = &[Field::Position, Field::Movement, Field::State];

/// Every unit at a time, and how they moved on from there.
#[derive(Debug)]
pub struct Course {
    /// Where they stood.
    pub start: Found<Standing>,
    /// What they said since, by time.
    pub rows: Found<(UnitId, Row)>,
}

impl Course {
    /// Times of which a part could not be read, each once: before the start, and since.
    #[must_use]
    pub fn damaged(&self) -> BTreeSet<(u64, u64)> {
        self.start.damaged.iter().chain(&self.rows.damaged).copied().collect()
    }
}

impl Sees {
    fn subjects(&self) -> Subjects {
        match self {
            Self::All => Subjects::everyone(),
            Self::Only(forces) => Subjects::forces(forces),
        }
    }
}

impl History {
    /// Rows of one unit.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    pub async fn track(&self, question: Track) -> Result<Unseen<Found<Row>>, HistoryError> {
        let subjects = Subjects::unit(&question.unit);
        let holds = Holds { subjects, fields: TRACK_FIELDS, precision: Precision::Full };
        self.store().track(question).await.map(|found| Unseen::new(found, holds))
    }

    /// Where one unit stood.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    pub async fn at(&self, unit: &UnitId, at_ms: u64) -> Result<Unseen<Found<Standing>>, HistoryError> {
        let holds =
            Holds { subjects: Subjects::unit(unit), fields: TRACK_FIELDS, precision: Precision::Full };
        self.store().at(unit.clone(), at_ms).await.map(|found| Unseen::new(found, holds))
    }

    /// Where every unit of `sees` stood at `from_ms`, and what they said until `until_ms`, at most `rows_max` rows.
    ///
    /// # Errors
    /// [`HistoryError::TooMuch`], [`HistoryError::Storage`].
    pub async fn course(
        &self,
        from_ms: u64,
        until_ms: u64,
        sees: Sees,
        rows_max: usize,
    ) -> Result<Unseen<Course>, HistoryError> {
        let holds = Holds { subjects: sees.subjects(), fields: LIVE_FIELDS, precision: Precision::Full };
        let start = self.store().everyone(from_ms, sees.clone()).await?;
        // What was true at `from_ms` is in `start`.
        let rows = self.store().window(from_ms.saturating_add(1), until_ms, sees, rows_max).await?;
        Ok(Unseen::new(Course { start, rows }, holds))
    }

    /// Alarms raised in a time; `with_standing` also those raised in [`STANDING_MS`] before that nobody had closed when it began.
    ///
    /// # Errors
    /// [`HistoryError::Storage`].
    pub async fn alarms(
        &self,
        question: Alarms,
        with_standing: bool,
    ) -> Result<Unseen<Found<AlarmStory>>, HistoryError> {
        let fields: &'static [Field] = &[Field::Position, Field::Name, Field::Alarm];
        let holds = Holds { subjects: question.sees.subjects(), fields, precision: Precision::Full };
        let found = if with_standing {
            standing(self.store(), question).await?
        } else {
            self.store().alarms(question).await?
        };
        Ok(Unseen::new(found, holds))
    }
}

/// Read at once while alarms of earlier days are looked through.
const LOOKED_AT_ONCE: usize = 500;

/// The alarms of a question, and before them those that stood when its time began.
pub(super) async fn standing(
    store: &dyn HistoryStore,
    asked: Alarms,
) -> Result<Found<AlarmStory>, HistoryError> {
    let (from_ms, alarms_max) = (asked.from_ms, asked.alarms_max);
    let mut question =
        Alarms { from_ms: from_ms.saturating_sub(STANDING_MS), alarms_max: LOOKED_AT_ONCE, ..asked };
    let mut found = Found { items: Vec::new(), has_more: false, damaged: Vec::new() };
    loop {
        let part = store.alarms(question.clone()).await?;
        found.damaged.extend(
            part.damaged.iter().filter(|times| !found.damaged.contains(times)).copied().collect::<Vec<_>>(),
        );
        let last = part.items.last().map(|story| (story.raised.at_ms, story.event.alarm.clone()));
        let shown =
            part.items.into_iter().filter(|story| story.raised.at_ms >= from_ms || story.stands_at(from_ms));
        for story in shown {
            if found.items.len() == alarms_max {
                found.has_more = true;
                return Ok(found);
            }
            found.items.push(story);
        }
        match last.filter(|_| part.has_more) {
            Some(last) => question.after = Some(last),
            None => return Ok(found),
        }
    }
}
