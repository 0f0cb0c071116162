//! `GET /api/v1/trace`: where is my message.
//!
//! It holds no position and no name, but it says when a device was heard of, so it is read like the ledger: with a session, and
//! after its access record is durable. It reads the spool from end to end: one at a time, beside everything else.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use fieldpost_protocol::{BootId, Seq};
use serde::Deserialize;

use super::ledger::CATCH_UP_MAX;
use super::listener::Peer;
use super::viewer::Viewer;
use super::{App, refusal};
use crate::audit::{Field, Holds, Subjects, Unseen, What};
use crate::live::system_now_ms;
use crate::live::unit::UnitId;
use crate::trace::{self, Disclosures, Question, Trace};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    device: String,
    seq: u32,
    boot: Option<u32>,
}

/// `GET /api/v1/trace`.
pub(super) async fn trace(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = asked.ok().map(|Query(asked)| asked);
    let unit = asked.as_ref().and_then(|asked| asked.device.parse::<UnitId>().ok());
    let (Some(asked), Some(unit)) = (asked, unit) else {
        return refusal(StatusCode::BAD_REQUEST, "ask with device=FORCE/DEVICE, seq=N and perhaps boot=N");
    };
    // Of another force there is nothing, as of a device that never was.
    let traces = if viewer.sees(&unit.force) { follow(&app, &unit, &asked).await } else { Ok(Vec::new()) };
    let traces = match traces {
        Ok(traces) => traces,
        Err(why) => return refusal(StatusCode::SERVICE_UNAVAILABLE, why),
    };
    let traces = Unseen::new(traces, Holds::no_position(Subjects::unit(&unit), &[Field::Heard])).json();
    app.answer(app.asked(&viewer, peer, What::LedgerRead), traces).await
}

async fn follow(app: &App, unit: &UnitId, asked: &Asked) -> Result<Vec<Trace>, &'static str> {
    let committed = app.live.committed();
    // Late, the answer is older than the question.
    _ = tokio::time::timeout(CATCH_UP_MAX, app.ledger.wait_folded(committed)).await;
    let questions = Question::all(&app.ledger.lock(), unit, asked.boot.map(BootId), Seq(asked.seq));
    if questions.is_empty() {
        return Ok(Vec::new());
    }
    let turn = Arc::clone(&app.traces).try_acquire_owned();
    let turn = turn.map_err(|_| "another message is being traced; try again in a few seconds")?;
    let (data_dir, outputs) = (app.live.data_dir().to_owned(), app.outputs.now());
    let traced = tokio::task::spawn_blocking(move || {
        // Kept until it has ended, also if nobody waits for it any more.
        let _turn = turn;
        trace::trace(&data_dir, &outputs, &questions, Disclosures::LeftAlone, system_now_ms())
    });
    let traced = traced.await.map_err(|_| "the trace ended in a fault; the log says more")?;
    traced.map_err(|error| {
        tracing::warn!(%error, "a message cannot be traced");
        "the message cannot be traced; the log says more"
    })
}
