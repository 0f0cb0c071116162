//! `/api/v1`: JSON for the page. Every answer with a position waits for its access record.

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::listener::Peer;
use super::viewer::Viewer;
use super::{App, json_response, not_shown, refusal};
use crate::alarms::AlarmId;
use crate::audit::{Holds, Subjects, What};
use crate::live::AcknowledgeError;

/// `GET /api/v1/units`.
pub(super) async fn units(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
) -> Response {
    app.answer(app.asked(&viewer, peer, What::UnitsRead), app.live.units(&viewer.forces)).await
}

/// `GET /api/v1/alarms`.
pub(super) async fn alarms(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
) -> Response {
    app.answer(app.asked(&viewer, peer, What::AlarmsRead), app.live.alarms(&viewer.forces)).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AcknowledgeRequest {
    id: String,
}

/// `POST /api/v1/alarms/acknowledge`.
pub(super) async fn acknowledge(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    request: Result<Json<AcknowledgeRequest>, JsonRejection>,
) -> Response {
    let Json(request) = match request {
        Ok(request) => request,
        Err(rejection) => {
            return refusal(rejection.status(), "the body must be {\"id\":\"ALARM_ID\"} as application/json");
        }
    };
    let Ok(id) = request.id.parse::<AlarmId>() else {
        return refusal(StatusCode::BAD_REQUEST, "an alarm id is force/device/boot/sequence");
    };
    let holds = Holds::live(Subjects::unit(&id.unit));
    let logged = match app.record(app.asked(&viewer, peer, What::AlarmAcknowledged).of(holds)).await {
        Ok(logged) => logged,
        Err(refused) => return refused,
    };
    if !viewer.sees(&id.unit.force) {
        return refusal(StatusCode::NOT_FOUND, &AcknowledgeError::NotFound.to_string());
    }
    let (status, row) = match app.live.acknowledge(&id, &viewer.operator).await {
        Ok(row) => (StatusCode::OK, row),
        Err(AcknowledgeError::Taken(row)) => (StatusCode::CONFLICT, *row),
        Err(error @ AcknowledgeError::NotFound) => {
            return refusal(StatusCode::NOT_FOUND, &error.to_string());
        }
        Err(error @ (AcknowledgeError::Spool(_) | AcknowledgeError::Late)) => {
            tracing::error!(%error, "acknowledgement not stored");
            return refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string());
        }
    };
    match row.open(&logged) {
        Ok(row) => (status, Json(row)).into_response(),
        Err(error) => not_shown(error.into()),
    }
}

/// `GET /map/streets.json`.
pub(super) async fn streets(State(app): State<Arc<App>>) -> Response {
    json_response(app.streets.clone())
}

/// What is under `/api/` and is not there.
pub(super) async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is no such call")
}
