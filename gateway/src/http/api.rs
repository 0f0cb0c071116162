//! `/api/v1`: JSON for the page. Every answer with a position waits for its access record.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::listener::Peer;
use super::viewer::Viewer;
use super::{App, json_response, refusal};
use crate::audit::What;

/// `GET /api/v1/units`.
pub(super) async fn units(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
) -> Response {
    app.answer(app.asked(&viewer, peer, What::UnitsRead), app.live.units(&viewer.forces)).await
}

/// `GET /map/streets.json`.
pub(super) async fn streets(State(app): State<Arc<App>>) -> Response {
    json_response(app.streets.clone())
}

/// What is under `/api/` and is not there.
pub(super) async fn unknown() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is no such call")
}
