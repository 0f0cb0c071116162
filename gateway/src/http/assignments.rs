//! `/api/v1/assignments`: who wears which device.
//!
//! A name and a device are no position, but say who is on duty: recorded like a look, and of the viewer's forces only.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::listener::Peer;
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

/// `GET /api/v1/assignments`: who wears what at `at_ms` (now), or all that was written of one `unit`, the newest first.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Result<Query<Question>, QueryRejection>,
) -> Response {
    let parse = |text: Option<String>| text.map(|text| text.parse::<UnitId>()).transpose();
    let parsed = question.ok().and_then(|Query(Question { unit, at_ms, after })| {
        Some((parse(unit).ok()?, at_ms.unwrap_or_else(|| app.live.now_ms()), parse(after).ok()?))
    });
    let Some((unit, at_ms, after)) = parsed else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "ask with unit=FORCE/DEVICE, or with at_ms=UNIX_MS and after=FORCE/DEVICE",
        );
    };
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
    app.answer(app.asked(&viewer, peer, What::AssignmentsRead), view).await
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
