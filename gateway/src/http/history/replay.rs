//! `GET /api/v1/history/replay`: the past in frames, for a slider.
//!
//! **The first frame of the first answer holds every unit, each later one what changed since the frame before**, across answers
//! too. An answer ends after [`ANSWER_BYTES_MAX`] or [`FRAMES_MAX`] frames (a single frame always fits); `next` goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::question::{REPLAY_MS_MAX, STEP_MS_MAX, STEP_MS_MIN};
use super::view::{GoneView, PastUnit, unit_of};
use super::{damaged, sees};
use crate::audit::{Unseen, What};
use crate::history::ask::Course;
use crate::history::standing::Standing;
use crate::history::task::History;
use crate::history::{HistoryError, LOOK_BACK_MS, Sees};
use crate::http::App;
use crate::http::listener::Peer;
use crate::http::question::{self, Asked, Checked, bad, span};
use crate::http::viewer::Viewer;
use crate::live::unit::{UnitId, UnitName};

/// An answer takes no further frame after so many bytes.
const ANSWER_BYTES_MAX: usize = 2 << 20;
/// Most frames in an answer.
const FRAMES_MAX: u64 = 600;
/// Most rows read for one answer: 50 MB. A longer time is answered in parts.
const ROWS_MAX: usize = 300_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayQuestion {
    from_ms: u64,
    until_ms: u64,
    step_ms: u64,
    cursor: Option<u64>,
}

/// One answer's part of a replay.
#[derive(Clone, Copy)]
struct Part {
    /// The frame that comes first, or came last.
    from_ms: u64,
    until_ms: u64,
    step_ms: u64,
    /// The frame at `from_ms` was sent with the answer before.
    goes_on: bool,
}

/// `GET /api/v1/history/replay`.
pub(crate) async fn replay(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<ReplayQuestion>,
) -> Response {
    match answer(&app, &viewer, peer, question).await {
        Ok(answer) => answer,
        Err(refused) => *refused,
    }
}

async fn answer(
    app: &App,
    viewer: &Viewer,
    peer: Peer,
    question: Asked<ReplayQuestion>,
) -> Checked<Response> {
    let question = question::read(question, "ask with from_ms, until_ms and step_ms; cursor may be added")?;
    let (from_ms, until_ms) = span(question.from_ms, question.until_ms, REPLAY_MS_MAX)?;
    let step_ms = question.step_ms;
    if !(STEP_MS_MIN..=STEP_MS_MAX).contains(&step_ms) {
        return Err(bad(&format!("step_ms must be from {STEP_MS_MIN} to {STEP_MS_MAX}")));
    }
    let goes_on = question.cursor.is_some();
    let from_ms = match question.cursor {
        Some(cursor)
            if (from_ms..until_ms).contains(&cursor) && (cursor - from_ms).is_multiple_of(step_ms) =>
        {
            cursor
        }
        Some(_) => return Err(bad("cursor must be the `next` of the answer before")),
        None => from_ms,
    };
    let part = Part { from_ms, until_ms, step_ms, goes_on };
    let (history, sees) = (app.history.clone(), sees(viewer));
    let read = async move { read(&history, sees, part).await };
    let (roster, wearers) = (app.live.roster(), app.live.wearers().clone());
    let form = move |(part, course): (Part, Course)| {
        render(&course, part, until_ms, |unit, at_ms| UnitName::at(unit, &roster, &wearers, at_ms))
    };
    let json = app.turns.answer(&viewer.session, read, form).await?;
    Ok(app.answer(app.asked(viewer, peer, What::ReplayRead).of_time(from_ms, until_ms), json).await)
}

/// Reads a part; a shorter one if it has too many rows.
async fn read(history: &History, sees: Sees, part: Part) -> Result<Unseen<(Part, Course)>, HistoryError> {
    let mut frames_count = FRAMES_MAX.min((part.until_ms - part.from_ms).div_ceil(part.step_ms));
    loop {
        // One step more than frames: a frame lies before its part's end.
        let until_ms = part.until_ms.min(part.from_ms + (frames_count + 1) * part.step_ms);
        match history.course(part.from_ms, until_ms, sees.clone(), ROWS_MAX).await {
            Err(HistoryError::TooMuch { .. }) if frames_count > 1 => frames_count = frames_count.div_ceil(4),
            Ok(course) => return Ok(course.map(|course| (Part { until_ms, ..part }, course))),
            Err(error) => return Err(error),
        }
    }
}

/// The frames of `part`, with the names of their times; `end_ms` is where the whole replay ends.
fn render(course: &Course, part: Part, end_ms: u64, name: impl Fn(&UnitId, u64) -> UnitName) -> Value {
    let mut standings: BTreeMap<&UnitId, Standing> =
        course.start.items.iter().map(|standing| (&standing.unit, standing.clone())).collect();
    let view = |standing: &Standing| unit_of(standing, &name(&standing.unit, standing.at_ms));
    let mut shown: BTreeMap<&UnitId, PastUnit> =
        standings.iter().map(|(unit, standing)| (*unit, view(standing))).collect();
    let mut frames = Vec::new();
    let mut bytes = 0;
    if !part.goes_on {
        let frame = json!({"at_ms": part.from_ms, "units": shown.values().collect::<Vec<_>>()});
        bytes += frame.to_string().len();
        frames.push(frame);
    }
    let mut rows = course.rows.items.iter().peekable();
    let mut last_ms = part.from_ms;
    let mut at_ms = part.from_ms + part.step_ms;
    while at_ms < part.until_ms && bytes < ANSWER_BYTES_MAX {
        let mut touched: BTreeSet<&UnitId> = BTreeSet::new();
        while let Some((unit, row)) = rows.next_if(|(_, row)| row.at_ms <= at_ms) {
            let standing = standings.entry(unit).or_insert_with(|| Standing::new(unit.clone(), at_ms));
            standing.move_to(at_ms);
            standing.fold(row);
            touched.insert(unit);
        }
        let mut changed = Vec::new();
        standings.retain(|unit, standing| {
            standing.move_to(at_ms);
            let is_gone = at_ms.saturating_sub(standing.last_report_ms()) > LOOK_BACK_MS;
            if is_gone {
                shown.remove(unit);
                changed.push(json!(GoneView { id: unit.to_string(), position: None }));
            }
            !is_gone
        });
        for (unit, standing) in standings.iter().filter(|(_, standing)| standing.is_known()) {
            // Only staleness changes without a word from the unit.
            let is_due = touched.contains(unit)
                || shown.get(unit).is_none_or(|view| view.stale != standing.is_stale());
            if is_due {
                let now = view(standing);
                if shown.get(unit) != Some(&now) {
                    changed.push(json!(now));
                    shown.insert(unit, now);
                }
            }
        }
        let frame = json!({"at_ms": at_ms, "units": changed});
        bytes += frame.to_string().len();
        frames.push(frame);
        last_ms = at_ms;
        at_ms += part.step_ms;
    }
    let has_more = last_ms + part.step_ms < end_ms;
    let next = has_more.then(|| last_ms.to_string());
    json!({"frames": frames, "next": next, "gaps": damaged(course.damaged())})
}
