//! `/api/v1/alarms`: the queue, and what people do to it.
//!
//! Every change names the alarm in a JSON body. **Every answer with an alarm waits for its access record**: an alarm has a position. 409 carries the alarm as it is.

use std::sync::Arc;

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::listener::Peer;
use super::viewer::Viewer;
use super::{App, not_shown, refusal};
use crate::alarms::{Action, AlarmId, AlarmRow, Event, Grade, Outcome, RANGE_MS_MAX};
use crate::audit::{Holds, Logged, Subjects, Unseen, What};
use crate::live::{AcknowledgeError, ActError};

/// What a request to change something comes with.
pub(super) struct Change<T> {
    app: Arc<App>,
    viewer: Viewer,
    peer: Peer,
    body: T,
}

/// Who asks, and from where.
type From = (Extension<Viewer>, Extension<Peer>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OneAlarm {
    id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ShelveRequest {
    id: String,
    minutes: u16,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LowerRequest {
    id: String,
    grade: Grade,
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseRequest {
    id: String,
    outcome: Outcome,
    #[serde(default)]
    note: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoteRequest {
    id: String,
    text: String,
}

/// Unix ms; the last day if neither is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Range {
    from_ms: Option<u64>,
    until_ms: Option<u64>,
}

impl Range {
    fn within(self, now_ms: u64) -> Option<(u64, u64)> {
        const DAY_MS: u64 = 86_400_000;
        let until_ms = self.until_ms.unwrap_or(now_ms + 1);
        let from_ms = self.from_ms.unwrap_or(until_ms.saturating_sub(DAY_MS));
        (from_ms < until_ms && until_ms - from_ms <= RANGE_MS_MAX).then_some((from_ms, until_ms))
    }
}

#[derive(Serialize)]
struct Timeline {
    events: Vec<Event>,
}

/// `GET /api/v1/alarms`.
pub(super) async fn alarms(
    State(app): State<Arc<App>>,
    (Extension(viewer), Extension(peer)): From,
) -> Response {
    app.answer(app.asked(&viewer, peer, What::AlarmsRead), app.live.alarms(&viewer.forces)).await
}

/// `GET /api/v1/alarms/timeline?id=`: what happened to one alarm, oldest first. No position.
pub(super) async fn timeline(
    State(app): State<Arc<App>>,
    (Extension(viewer), Extension(peer)): From,
    query: Result<Query<OneAlarm>, QueryRejection>,
) -> Response {
    let Ok(Query(OneAlarm { id })) = query else {
        return refusal(StatusCode::BAD_REQUEST, "name one alarm: ?id=force/device/boot/sequence");
    };
    let id = match parsed(&id) {
        Ok(id) => id,
        Err(refused) => return *refused,
    };
    let story = app.live.story(&id).filter(|_| viewer.sees(&id.unit.force));
    let Some(story) = story else { return no_such_alarm() };
    let story = story.map(|events| Timeline { events }).json();
    app.answer(app.asked(&viewer, peer, What::AlarmStoryRead), story).await
}

/// `GET /api/v1/alarms/performance?from_ms&until_ms`: the last day if not said otherwise.
pub(super) async fn performance(
    State(app): State<Arc<App>>,
    (Extension(viewer), Extension(peer)): From,
    query: Result<Query<Range>, QueryRejection>,
) -> Response {
    let now_ms = app.live.now_ms();
    let range = query.ok().and_then(|Query(range)| range.within(now_ms));
    let Some((from_ms, until_ms)) = range else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "ask with from_ms and until_ms in Unix milliseconds, at most 31 days apart",
        );
    };
    let performance = app.live.performance(&viewer.forces, from_ms, until_ms).json();
    app.answer(app.asked(&viewer, peer, What::AlarmFiguresRead), performance).await
}

/// `POST /api/v1/alarms/acknowledge {id}`.
pub(super) async fn acknowledge(
    app: State<Arc<App>>,
    from: From,
    request: Result<Json<OneAlarm>, JsonRejection>,
) -> Response {
    let change = match change(app, from, request, "{\"id\":\"ALARM_ID\"}") {
        Ok(change) => change,
        Err(refused) => return *refused,
    };
    let (id, logged) = match change.alarm(&change.body.id, What::AlarmAcknowledged).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    match change.app.live.acknowledge(&id, &change.viewer.operator).await {
        Ok(row) => shown(StatusCode::OK, None, row, &logged),
        Err(AcknowledgeError::Taken(row)) => shown(StatusCode::CONFLICT, None, *row, &logged),
        Err(AcknowledgeError::NotFound) => no_such_alarm(),
        Err(error @ (AcknowledgeError::Spool(_) | AcknowledgeError::Late)) => {
            tracing::error!(%error, "acknowledgement not stored");
            refusal(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())
        }
    }
}

/// `POST /api/v1/alarms/shelve {id, minutes, reason}`.
pub(super) async fn shelve(
    app: State<Arc<App>>,
    from: From,
    request: Result<Json<ShelveRequest>, JsonRejection>,
) -> Response {
    let shape = "{\"id\":\"ALARM_ID\",\"minutes\":15,\"reason\":\"WHY\"}";
    act(change(app, from, request, shape), |ShelveRequest { id, minutes, reason }| {
        (id, Action::Shelve { minutes, reason })
    })
    .await
}

/// `POST /api/v1/alarms/unshelve {id}`.
pub(super) async fn unshelve(
    app: State<Arc<App>>,
    from: From,
    request: Result<Json<OneAlarm>, JsonRejection>,
) -> Response {
    let shape = "{\"id\":\"ALARM_ID\"}";
    act(change(app, from, request, shape), |OneAlarm { id }| (id, Action::Unshelve)).await
}

/// `POST /api/v1/alarms/lower {id, grade, reason}`.
pub(super) async fn lower(
    app: State<Arc<App>>,
    from: From,
    request: Result<Json<LowerRequest>, JsonRejection>,
) -> Response {
    let shape = "{\"id\":\"ALARM_ID\",\"grade\":\"P3\",\"reason\":\"WHY\"}";
    act(change(app, from, request, shape), |LowerRequest { id, grade, reason }| {
        (id, Action::Lower { grade, reason })
    })
    .await
}

/// `POST /api/v1/alarms/close {id, outcome, note}`.
pub(super) async fn close(
    app: State<Arc<App>>,
    from: From,
    request: Result<Json<CloseRequest>, JsonRejection>,
) -> Response {
    let shape =
        "{\"id\":\"ALARM_ID\",\"outcome\":\"genuine\" or \"false\", \"test\", \"exercise\",\"note\":\"...\"}";
    act(change(app, from, request, shape), |CloseRequest { id, outcome, note }| {
        (id, Action::Close { outcome, note })
    })
    .await
}

/// `POST /api/v1/alarms/note {id, text}`.
pub(super) async fn note(
    app: State<Arc<App>>,
    from: From,
    request: Result<Json<NoteRequest>, JsonRejection>,
) -> Response {
    let shape = "{\"id\":\"ALARM_ID\",\"text\":\"...\"}";
    act(change(app, from, request, shape), |NoteRequest { id, text }| (id, Action::Note { text })).await
}

/// Checks what every change has to bring.
fn change<T: DeserializeOwned>(
    State(app): State<Arc<App>>,
    (Extension(viewer), Extension(peer)): From,
    request: Result<Json<T>, JsonRejection>,
    shape: &str,
) -> Result<Change<T>, Box<Response>> {
    match request {
        Ok(Json(body)) => Ok(Change { app, viewer, peer, body }),
        Err(rejection) => {
            let said = format!("the body must be {shape} as application/json");
            Err(Box::new(refusal(rejection.status(), &said)))
        }
    }
}

impl<T> Change<T> {
    /// The alarm that is asked for, once the look at it is on record.
    async fn alarm(&self, id: &str, what: What) -> Result<(AlarmId, Logged), Response> {
        let id = parsed(id).map_err(|refused| *refused)?;
        // As much work for one of a force that the viewer does not see: time must not tell them apart. But nobody was shown it.
        let sees = self.viewer.sees(&id.unit.force);
        let holds = if sees { Holds::live(Subjects::unit(&id.unit)) } else { Holds::nothing() };
        let asked = self.app.asked(&self.viewer, self.peer, what);
        let logged = self.app.record(asked.of(holds)).await?;
        if sees { Ok((id, logged)) } else { Err(no_such_alarm()) }
    }
}

async fn act<T>(
    change: Result<Change<T>, Box<Response>>,
    action: impl FnOnce(T) -> (String, Action),
) -> Response {
    let Change { app, viewer, peer, body } = match change {
        Ok(change) => change,
        Err(refused) => return *refused,
    };
    let (id, action) = action(body);
    let change = Change { app, viewer, peer, body: () };
    let (id, logged) = match change.alarm(&id, What::AlarmChanged).await {
        Ok(found) => found,
        Err(refused) => return refused,
    };
    match change.app.live.act(&id, &change.viewer.operator, action).await {
        Ok(row) => shown(StatusCode::OK, None, row, &logged),
        Err(error) => refused(error, &logged),
    }
}

/// An alarm, and why it was not changed if it was not.
#[derive(Serialize)]
struct Answer {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(flatten)]
    alarm: AlarmRow,
}

fn refused(error: ActError, logged: &Logged) -> Response {
    let words = error.to_string();
    match error {
        ActError::Refused(_, alarm) | ActError::Overtaken(alarm) => {
            shown(StatusCode::CONFLICT, Some(words), *alarm, logged)
        }
        ActError::NotFound => no_such_alarm(),
        ActError::Spool(_) | ActError::Late => {
            tracing::error!(error = words, "what an operator did to an alarm is not stored");
            refusal(StatusCode::SERVICE_UNAVAILABLE, &words)
        }
    }
}

fn shown(status: StatusCode, error: Option<String>, row: Unseen<AlarmRow>, logged: &Logged) -> Response {
    match row.open(logged) {
        Ok(alarm) => (status, Json(Answer { error, alarm })).into_response(),
        Err(error) => not_shown(error.into()),
    }
}

fn parsed(id: &str) -> Result<AlarmId, Box<Response>> {
    id.parse()
        .map_err(|_| Box::new(refusal(StatusCode::BAD_REQUEST, "an alarm id is force/device/boot/sequence")))
}

fn no_such_alarm() -> Response {
    refusal(StatusCode::NOT_FOUND, "there is no such alarm: read the queue again")
}
