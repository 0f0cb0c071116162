//! `/api/v1/assignments`: who wears which device.
//!
//! A name and a device are no position, but say who is on duty: recorded like a look, and of the viewer's forces only.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::listener::Peer;
use super::question::{Asked, Checked, maybe_unit, read, time};
use super::viewer::Viewer;
use super::{App, not_shown, refusal};
use crate::audit::{Field, Holds, Subjects, Unseen, What};
use crate::live::unit::UnitId;
use crate::people::assignments::{AssignmentError, NewAssignment};
use crate::people::wearers::Assignment;
use crate::people::{By, Forces};

/// Most in one answer; the next are asked for with `after`.
const PAGE_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    unit: Option<String>,
    at_ms: Option<u64>,
    after: Option<String>,
}

#[derive(Serialize)]
struct View {
    assignments: Vec<Assignment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_after: Option<String>,
}

/// A unit, a time, and after which unit to go on.
fn asked(question: Asked<Question>) -> Checked<(Option<UnitId>, Option<u64>, Option<UnitId>)> {
    let words = "ask with unit=FORCE/DEVICE, or with at_ms=UNIX_MS and after=FORCE/DEVICE";
    let Question { unit, at_ms, after } = read(question, words)?;
    Ok((maybe_unit(unit.as_deref())?, at_ms.map(time).transpose()?, maybe_unit(after.as_deref())?))
}

/// `GET /api/v1/assignments`: who wears what at `at_ms` (now), or all that was written of one `unit`, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<Question>,
) -> Response {
    let (unit, past_ms, after) = match asked(question) {
        Ok(asked) => asked,
        Err(refused) => return *refused,
    };
    let at_ms = past_ms.unwrap_or_else(|| app.live.now_ms());
    let wearers = app.wearers();
    let (subjects, assignments) = match &unit {
        Some(unit) if viewer.sees(&unit.force) => (Subjects::unit(unit), wearers.of_unit(unit, PAGE_MAX)),
        Some(unit) => (Subjects::unit(unit), Vec::new()),
        None => {
            let sees = |unit: &UnitId| viewer.sees(&unit.force);
            (subjects_of(&viewer.forces), wearers.all_at(at_ms, sees, after.as_ref(), PAGE_MAX))
        }
    };
    let is_full = unit.is_none() && assignments.len() == PAGE_MAX;
    let next_after = assignments.last().filter(|_| is_full).map(|last| last.unit.to_string());
    let view = View { assignments, next_after };
    let view = Unseen::new(view, Holds::no_position(subjects, &[Field::Name])).json();
    let asked = app.asked(&viewer, peer, What::AssignmentsRead);
    let asked = match past_ms.filter(|_| unit.is_none()) {
        Some(past_ms) => asked.of_time(past_ms, past_ms),
        None => asked,
    };
    app.answer(asked, view).await
}

/// `POST /api/v1/assignments`: one more; 204 once it is durable.
pub(super) async fn assign(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<NewAssignment>, JsonRejection>,
) -> Response {
    let Json(new) = match body {
        Ok(body) => body,
        Err(rejection) => {
            let said = "the body must be {\"force\":..,\"device\":..,\"officer\":..,\"callsign\":..,\"vehicle\":..,\"role\":..,\"from_ms\":..,\"until_ms\":..} as application/json";
            return refusal(rejection.status(), said);
        }
    };
    let unit = match new.unit() {
        Ok(unit) => unit,
        Err(said) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &said),
    };
    if !viewer.sees(&unit.force) {
        return refusal(StatusCode::FORBIDDEN, "this force is not one of yours");
    }
    let Some(assignments) = app.assignments.clone() else {
        return refusal(StatusCode::NOT_FOUND, "this gateway keeps no assignments");
    };
    let asked = app.asked(&viewer, peer, What::DeviceAssigned);
    let note = asked.of(Holds::no_position(Subjects::unit(&unit), &[Field::Name]));
    if let Err(error) = app.access.write(note.into()).await {
        return not_shown(error);
    }
    let by = By { who: viewer.operator.to_string(), at_ms: app.live.now_ms() };
    let written = spawn_blocking(move || assignments.assign(&[new], &by)).await;
    let failed = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the assignment could not be stored: try again");
    match written {
        Ok(Ok(())) => {
            tracing::info!(by = %viewer.operator, %unit, "device assigned");
            StatusCode::NO_CONTENT.into_response()
        }
        Ok(Err(error @ AssignmentError::Wrong(_))) => {
            refusal(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string())
        }
        Ok(Err(error @ AssignmentError::Files { .. })) => {
            tracing::error!(%error, "assignment not stored");
            failed()
        }
        Err(_) => failed(),
    }
}

fn subjects_of(forces: &Forces) -> Subjects {
    match forces {
        Forces::All => Subjects::everyone(),
        Forces::These(forces) => Subjects::forces(forces.iter()),
    }
}
