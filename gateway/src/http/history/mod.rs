//! `/api/v1/history`: where every unit was, tracks, replay, past alarms.
//!
//! **What is shown is what is known now, and says what was not known then**: `backlog` and `history` mark what nobody could see
//! at the time. Every answer is on record before it is shown, ends at a bound, and says where it goes on; how many are made at a time
//! has one, too ([`turns`]).
//!
//! | call | answer |
//! |---|---|
//! | `track?unit&from_ms&until_ms[&limit&cursor&format=geojson]` | points and gaps of one unit |
//! | `at?unit&at_ms` | one unit: where it was, and what the page showed |
//! | `units?at_ms` | every unit as it was |
//! | `replay?from_ms&until_ms&step_ms[&cursor]` | frames: all units, then what changes |
//! | `alarms?from_ms&until_ms[&standing&limit&cursor&format=geojson]` | alarms raised, each with what became of it |

mod alarms;
mod gaps;
mod geojson;
mod question;
mod replay;
mod turns;
mod view;

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use self::gaps::{Lost, between, lost};
use self::question::{POINTS_DEFAULT, POINTS_MAX, SPAN_MS_MAX, cursor_of, row_of};
use self::view::{GapView, PastUnit, PointView};
use super::listener::Peer;
use super::question::{Asked, Checked, bad, limit, read, span, time, unit_seen_by};
use super::viewer::{Forces, Viewer};
use super::{App, refusal};
use crate::audit::What;
use crate::history::ask::Course;
use crate::history::row::Row;
use crate::history::standing::Standing;
use crate::history::{Found, HistoryError, Sees, Track};
use crate::ledger::view::LedgerView;
use crate::live::unit::{UnitId, UnitName};
use crate::live::view::PositionView;

pub(super) use alarms::alarms;
pub(super) use replay::replay;
pub(super) use turns::Turns;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TrackQuestion {
    unit: String,
    from_ms: u64,
    until_ms: u64,
    limit: Option<usize>,
    cursor: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Serialize)]
struct TrackView {
    unit: String,
    from_ms: u64,
    until_ms: u64,
    points: Vec<PointView>,
    gaps: Vec<GapView>,
    next: Option<String>,
}

/// An answer in the form that was asked for.
#[derive(Serialize)]
#[serde(untagged)]
enum Formed<T> {
    Plain(T),
    GeoJson(serde_json::Value),
}

/// `GET /api/v1/history/track`.
pub(super) async fn track(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<TrackQuestion>,
) -> Response {
    match answer_track(&app, &viewer, peer, question).await {
        Ok(answer) => answer,
        Err(refused) => *refused,
    }
}

async fn answer_track(
    app: &App,
    viewer: &Viewer,
    peer: Peer,
    question: Asked<TrackQuestion>,
) -> Checked<Response> {
    let words =
        "ask with unit=FORCE/DEVICE, from_ms and until_ms; limit, cursor and format=geojson may be added";
    let question = read(question, words)?;
    let is_geojson = is_geojson(question.format.as_deref())?;
    let unit = unit_seen_by(viewer, &question.unit)?;
    let (from_ms, until_ms) = span(question.from_ms, question.until_ms, SPAN_MS_MAX)?;
    let rows_max = limit(question.limit, POINTS_DEFAULT, POINTS_MAX)?;
    let after = question.cursor.as_deref().map(row_of).transpose()?;
    let ledger = app.ledger.clone();
    let question = Track { unit: unit.clone(), from_ms, until_ms, after, rows_max };
    let history = app.history.clone();
    let found = async move { history.track(question).await };
    // Beside the runtime, as is all of this: an account may be long, and its lock taken.
    let form = move |found: Found<Row>| {
        let lost = lost(&LedgerView::of(&ledger.lock(), &unit));
        let view = track_view(&unit, (from_ms, until_ms), &found, after, &lost);
        if is_geojson { Formed::GeoJson(geojson::collection(&view)) } else { Formed::Plain(view) }
    };
    let json = app.turns.answer(&viewer.session, found, form).await?;
    let asked = app.asked(viewer, peer, What::TrackRead).of_time(from_ms, until_ms);
    Ok(typed(app.answer(asked, json).await, is_geojson))
}

fn is_geojson(format: Option<&str>) -> Checked<bool> {
    match format {
        None | Some("json") => Ok(false),
        Some("geojson") => Ok(true),
        Some(_) => Err(bad("format must be json or geojson")),
    }
}

/// The answer under its type.
fn typed(mut answer: Response, is_geojson: bool) -> Response {
    if is_geojson && answer.status().is_success() {
        let geojson = HeaderValue::from_static("application/geo+json");
        answer.headers_mut().insert(header::CONTENT_TYPE, geojson);
    }
    answer
}

fn track_view(
    unit: &UnitId,
    (from_ms, until_ms): (u64, u64),
    found: &Found<Row>,
    after: Option<crate::history::row::RowKey>,
    lost: &Lost,
) -> TrackView {
    // A point of no known time would draw a line to where the unit was not.
    let timed: Vec<Row> = found.items.iter().filter(|row| !row.is_timeless()).cloned().collect();
    let mut gaps = between(&timed, after, lost);
    gaps.extend(damaged(found.damaged.iter().copied()));
    TrackView {
        unit: unit.to_string(),
        from_ms,
        until_ms,
        points: timed.iter().filter_map(PointView::of).collect(),
        gaps,
        next: found.items.last().filter(|_| found.has_more).map(|row| cursor_of(row.key())),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtQuestion {
    unit: String,
    at_ms: u64,
}

#[derive(Debug, Serialize)]
struct AtView {
    at_ms: u64,
    /// As it was, by all that is known now.
    unit: Option<PastUnit>,
    /// What the page showed at the time.
    shown: Option<PositionView>,
    /// Times before it of which a part could not be read: it may have been elsewhere.
    gaps: Vec<GapView>,
}

/// `GET /api/v1/history/at`.
pub(super) async fn at(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<AtQuestion>,
) -> Response {
    match answer_at(&app, &viewer, peer, question).await {
        Ok(answer) => answer,
        Err(refused) => *refused,
    }
}

async fn answer_at(app: &App, viewer: &Viewer, peer: Peer, question: Asked<AtQuestion>) -> Checked<Response> {
    let question = read(question, "ask with unit=FORCE/DEVICE and at_ms")?;
    let unit = unit_seen_by(viewer, &question.unit)?;
    let at_ms = time(question.at_ms)?;
    let name = UnitName::at(&unit, &app.live.roster(), app.live.wearers(), at_ms);
    let history = app.history.clone();
    let found = async move { history.at(&unit, at_ms).await };
    let form = move |found: Found<Standing>| {
        let standing = found.items.first();
        AtView {
            at_ms,
            unit: standing.map(|standing| view::unit_of(standing, &name)),
            shown: standing.and_then(view::shown_of),
            gaps: damaged(found.damaged),
        }
    };
    let json = app.turns.answer(&viewer.session, found, form).await?;
    Ok(app.answer(app.asked(viewer, peer, What::PlaceRead).of_time(at_ms, at_ms), json).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnitsQuestion {
    at_ms: u64,
}

#[derive(Debug, Serialize)]
struct UnitsView {
    at_ms: u64,
    units: Vec<PastUnit>,
    /// Times of which a part could not be read.
    gaps: Vec<GapView>,
}

/// `GET /api/v1/history/units`.
pub(super) async fn units(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<UnitsQuestion>,
) -> Response {
    let at_ms = match read(question, "ask with at_ms").and_then(|question| time(question.at_ms)) {
        Ok(at_ms) => at_ms,
        Err(refused) => return *refused,
    };
    let (history, sees) = (app.history.clone(), sees(&viewer));
    // Nothing that follows the time is asked for: an empty window.
    let found = async move { history.course(at_ms, at_ms, sees, 0).await };
    let (roster, wearers) = (app.live.roster(), app.live.wearers().clone());
    let form = move |course: Course| {
        let name = |standing: &Standing| UnitName::at(&standing.unit, &roster, &wearers, standing.at_ms);
        let standings = course.start.items.iter();
        UnitsView {
            at_ms,
            units: standings.map(|standing| view::unit_of(standing, &name(standing))).collect(),
            gaps: damaged(course.damaged()),
        }
    };
    match app.turns.answer(&viewer.session, found, form).await {
        Ok(json) => app.answer(app.asked(&viewer, peer, What::ReplayRead).of_time(at_ms, at_ms), json).await,
        Err(refused) => *refused,
    }
}

fn damaged(times: impl IntoIterator<Item = (u64, u64)>) -> Vec<GapView> {
    times.into_iter().map(|(from_ms, until_ms)| GapView { from_ms, until_ms, kind: "damaged" }).collect()
}

fn sees(viewer: &Viewer) -> Sees {
    match &viewer.forces {
        Forces::All => Sees::All,
        Forces::These(forces) => Sees::Only(forces.as_ref().clone()),
    }
}

fn refused(error: &HistoryError) -> Response {
    let status = match error {
        HistoryError::TooMuch { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        HistoryError::Full | HistoryError::Storage(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    if status == StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(%error, "the history does not answer");
        // Paths of the machine are for its log.
        return refusal(status, "the history cannot be read: see the gateway's log");
    }
    refusal(status, &error.to_string())
}
