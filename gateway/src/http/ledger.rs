//! `GET /api/v1/ledger`: the loss ledger.
//!
//! It holds no position, but it says when a device was heard of, so it is read like one: with a session, and after its
//! access record is durable. `?device=FORCE/DEVICE` is one account; without it come the first thousand after
//! `?after=FORCE/DEVICE`.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::listener::Peer;
use super::question::{Asked, Checked, maybe_unit, read};
use super::viewer::{Forces, Viewer};
use super::{App, refusal};
use crate::audit::{Field, Holds, Subjects, Unseen, What};
use crate::ledger::view::LedgerView;
use crate::live::unit::UnitId;

/// How long an answer waits for what was committed before it was asked; then it says how far it is.
pub(super) const CATCH_UP_MAX: Duration = Duration::from_secs(3);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    device: Option<String>,
    after: Option<String>,
}

fn asked(question: Asked<Question>) -> Checked<(Option<UnitId>, Option<UnitId>)> {
    let question = read(question, "ask with device=FORCE/DEVICE or after=FORCE/DEVICE")?;
    Ok((maybe_unit(question.device.as_deref())?, maybe_unit(question.after.as_deref())?))
}

/// `GET /api/v1/ledger`.
pub(super) async fn ledger(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<Question>,
) -> Response {
    let (device, after) = match asked(question) {
        Ok(units) => units,
        Err(refused) => return *refused,
    };
    let subjects = match (&device, &viewer.forces) {
        (Some(unit), _) => Subjects::unit(unit),
        (None, Forces::All) => Subjects::everyone(),
        (None, Forces::These(forces)) => Subjects::forces(forces.iter()),
    };
    let committed = app.live.committed();
    // Late, the answer is older than the question and says so by its `through_lsn`.
    _ = tokio::time::timeout(CATCH_UP_MAX, app.ledger.wait_folded(committed)).await;
    let (ledger, forces) = (app.ledger.clone(), viewer.forces.clone());
    // Beside the runtime: accounts may be long, and their lock taken.
    let rendered = spawn_blocking(move || {
        let ledger = ledger.lock();
        let view = match &device {
            Some(unit) if forces.sees(&unit.force) => LedgerView::of(&ledger, unit),
            Some(_) => LedgerView::empty(&ledger),
            None => LedgerView::page(&ledger, after.as_ref(), |unit| forces.sees(&unit.force)),
        };
        drop(ledger);
        Unseen::new(view, Holds::no_position(subjects, &[Field::Heard])).json()
    });
    let Ok(view) = rendered.await else {
        let said = "the ledger did not answer: see the gateway's log";
        return refusal(StatusCode::INTERNAL_SERVER_ERROR, said);
    };
    app.answer(app.asked(&viewer, peer, What::LedgerRead), view).await
}
