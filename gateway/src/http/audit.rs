//! `GET /api/v1/audit/*`: the access record, for who may read it.
//!
//! **Reading the record is on record before it is served**, with what it may be used for beside each answer. One question
//! at a time, until its thread has ended: it reads whole files, beside the thread that writes the record.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::timeout;

use super::listener::Peer;
use super::viewer::{Forces, Viewer};
use super::{App, refusal};
use crate::audit::answer::{Place, Span, looks, saw, saw_worn};
use crate::audit::disclosed::{Question, disclosed};
use crate::audit::files::{ACCESS_DIR, PURPOSE};
use crate::audit::pictures::PICTURES_DIR;
use crate::audit::verify::{Verdict, verify};
use crate::audit::{Field, Holds, Precision, Series, Subjects, Unseen, What};
use crate::live::unit::UnitId;

/// Longest time that one question is about: a shift and its handing over.
const SPAN_MS_MAX: u64 = 24 * 3_600_000;
/// Longest time of a question about what was sent of every unit: every record of it is counted.
const SPAN_OF_ALL_MS_MAX: u64 = 3_600_000;
/// How long a question waits for the one before it.
const TURN: Duration = Duration::from_secs(5);

const POSITIONS_OF_ACCESS: &[Field] =
    &[Field::Access, Field::Position, Field::Movement, Field::State, Field::Name, Field::Alarm];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AboutUnit {
    unit: Option<UnitText>,
    officer: Option<String>,
    from_ms: u64,
    until_ms: u64,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct UnitText(String);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AboutOperator {
    operator: String,
    from_ms: u64,
    until_ms: u64,
}

#[derive(Serialize)]
struct Verified {
    purpose: &'static str,
    #[serde(flatten)]
    verdict: Verdict,
}

/// Who it is about: a device, or whoever wore devices.
enum Whom {
    Unit(UnitId),
    Officer(String),
}

impl AboutUnit {
    fn question(self) -> Option<(Whom, Span)> {
        let span = span(self.from_ms, self.until_ms)?;
        let whom = match (self.unit, self.officer) {
            (Some(unit), None) => Whom::Unit(unit.0.parse().ok()?),
            (None, Some(officer)) if !officer.trim().is_empty() => Whom::Officer(officer.trim().to_owned()),
            _ => return None,
        };
        Some((whom, span))
    }
}

/// `GET /api/v1/audit/saw`. An officer whom the viewer does not see is answered like one whom nobody knows: nothing was worn.
pub(super) async fn who_saw(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Result<Query<AboutUnit>, QueryRejection>,
) -> Response {
    let Some((whom, span)) = question.ok().and_then(|Query(question)| question.question()) else {
        return bad(
            "ask with unit=FORCE/DEVICE or officer=NAME, and from_ms and until_ms, at most 24 hours apart",
        );
    };
    let asked = app.asked(&viewer, peer, What::AuditRead);
    let wearers = app.wearers().clone();
    let (subjects, read) = match whom {
        Whom::Unit(unit) if !viewer.sees(&unit.force) => {
            return refusal(StatusCode::NOT_FOUND, "there is no such unit");
        }
        Whom::Unit(unit) => {
            (Subjects::unit(&unit), on_files(&app, move |place| saw(place, &wearers, &unit, span)).await)
        }
        Whom::Officer(officer) => {
            let times = (span.from_ms, span.until_ms);
            let parts = wearers.worn_by(&officer, times, |unit| viewer.sees(&unit.force));
            let units: BTreeSet<&UnitId> = parts.worn.iter().map(|part| &part.unit).collect();
            let subjects = Subjects::units(units);
            (subjects, on_files(&app, move |place| saw_worn(place, parts, span)).await)
        }
    };
    let holds = Holds { subjects, fields: POSITIONS_OF_ACCESS, precision: Precision::Full };
    match read {
        Ok(report) => app.answer(asked, Unseen::new(report, holds).json()).await,
        Err(refused) => refused,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AboutDisclosures {
    unit: Option<UnitText>,
    sink: Option<String>,
    from_ms: u64,
    until_ms: u64,
}

const DISCLOSURES_ASKED: &str =
    "ask with from_ms and until_ms, at most 24 hours apart, and with unit=FORCE/DEVICE or sink=NAME";

impl AboutDisclosures {
    fn question(self) -> Result<Question, &'static str> {
        let unit =
            self.unit.map(|unit| unit.0.parse::<UnitId>()).transpose().map_err(|_| DISCLOSURES_ASKED)?;
        let span = span(self.from_ms, self.until_ms).ok_or(DISCLOSURES_ASKED)?;
        if unit.is_none() && span.until_ms - span.from_ms > SPAN_OF_ALL_MS_MAX {
            return Err("without unit=FORCE/DEVICE this is about every unit: ask for at most one hour");
        }
        Ok(Question { to: self.sink, unit, key: None, span })
    }
}

/// `GET /api/v1/audit/disclosures`: what was sent to force systems, of one unit or of all.
pub(super) async fn disclosures(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Result<Query<AboutDisclosures>, QueryRejection>,
) -> Response {
    let question = match question.map_err(|_| DISCLOSURES_ASKED).and_then(|Query(q)| q.question()) {
        Ok(question) => question,
        Err(words) => return bad(words),
    };
    match &question.unit {
        Some(unit) if !viewer.sees(&unit.force) => {
            return refusal(StatusCode::NOT_FOUND, "there is no such unit");
        }
        None if viewer.forces != Forces::All => {
            return refusal(
                StatusCode::FORBIDDEN,
                "without a unit this is about every force: it takes a grant of all",
            );
        }
        _ => {}
    }
    let subjects = question.unit.as_ref().map_or_else(Subjects::everyone, Subjects::unit);
    let holds = Holds::no_position(subjects, &[Field::Access, Field::Heard]);
    let asked = app.asked(&viewer, peer, What::AuditRead);
    let read = on_files(&app, move |place| {
        let dir = place.access.with_file_name(Series::Disclosures.name());
        disclosed(&dir, &question)
    })
    .await;
    match read {
        Ok(answer) => app.answer(asked, Unseen::new(answer, holds).json()).await,
        Err(refused) => refused,
    }
}

/// `GET /api/v1/audit/looks`.
pub(super) async fn looks_of(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Result<Query<AboutOperator>, QueryRejection>,
) -> Response {
    let question = question.ok().and_then(|Query(q)| Some((q.operator, span(q.from_ms, q.until_ms)?)));
    let Some((operator, span)) = question else {
        return bad("ask with operator=NAME, from_ms and until_ms, at most 24 hours apart");
    };
    if let Some(refused) = only_for_all_forces(&viewer) {
        return refused;
    }
    let asked = app.asked(&viewer, peer, What::AuditRead);
    let read = on_files(&app, move |place| looks(place.access, &operator, span)).await;
    match read {
        Ok(report) => app.answer(asked, Unseen::new(report, of_access()).json()).await,
        Err(refused) => refused,
    }
}

/// `GET /api/v1/audit/verify`.
pub(super) async fn verified(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
) -> Response {
    let asked = app.asked(&viewer, peer, What::AuditRead);
    let read = on_files(&app, |place| verify(place.access, &[], &mut |_| Ok(()))).await;
    match read {
        Ok(verdict) => {
            let verified = Verified { purpose: PURPOSE, verdict };
            app.answer(asked, Unseen::new(verified, of_access()).json()).await
        }
        Err(refused) => refused,
    }
}

/// `GET /api/v1/audit/export`: the lines of a time, as JSON, with the verdict. The whole record is
/// `fieldpost audit export`.
pub(super) async fn exported(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Result<Query<Times>, QueryRejection>,
) -> Response {
    let Some(span) = question.ok().and_then(|Query(q)| span(q.from_ms, q.until_ms)) else {
        return bad("ask with from_ms and until_ms, at most 24 hours apart");
    };
    if let Some(refused) = only_for_all_forces(&viewer) {
        return refused;
    }
    let asked = app.asked(&viewer, peer, What::AuditExported);
    let read = on_files(&app, move |place| crate::audit::export::lines(place.access, span)).await;
    match read {
        Ok(json) => app.answer(asked, Unseen::new(Bytes::from(json), of_access())).await,
        Err(refused) => refused,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Times {
    from_ms: u64,
    until_ms: u64,
}

fn of_access() -> Holds {
    Holds::no_position(Subjects::everyone(), &[Field::Access])
}

fn span(from_ms: u64, until_ms: u64) -> Option<Span> {
    let length_ms = until_ms.checked_sub(from_ms)?;
    (length_ms <= SPAN_MS_MAX).then_some(Span { from_ms, until_ms })
}

fn bad(words: &str) -> Response {
    refusal(StatusCode::BAD_REQUEST, words)
}

/// What names people of every force is for who may see every force.
fn only_for_all_forces(viewer: &Viewer) -> Option<Response> {
    (viewer.forces != Forces::All)
        .then(|| refusal(StatusCode::FORBIDDEN, "this names people of every force: it takes a grant of all"))
}

async fn on_files<T: Send + 'static>(
    app: &App,
    read: impl FnOnce(Place<'_>) -> std::io::Result<T> + Send + 'static,
) -> Result<T, Response> {
    let data_dir = app.live.data_dir().to_owned();
    let outcome = in_turn(&app.audits, move || {
        let (access, pictures) = (data_dir.join(ACCESS_DIR), data_dir.join(PICTURES_DIR));
        read(Place { access: &access, pictures: &pictures })
    });
    match outcome.await {
        Some(Ok(Ok(value))) => Ok(value),
        Some(outcome) => {
            tracing::error!(failed = ?outcome.err(), "the access record cannot be read");
            Err(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "the access record cannot be read: see the gateway's log",
            ))
        }
        None => {
            Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "another question is being answered: ask again"))
        }
    }
}

/// Reads on a thread of its own when it is its turn; `None` if that does not come. Cancelled, it reads to its end and keeps
/// its turn: whoever asks and hangs up, again and again, has one thread.
async fn in_turn<T: Send + 'static>(
    turns: &Arc<Semaphore>,
    read: impl FnOnce() -> T + Send + 'static,
) -> Option<Result<T, JoinError>> {
    let turn = timeout(TURN, Arc::clone(turns).acquire_owned()).await.ok()?.expect("nobody closes it");
    let reading = spawn_blocking(move || {
        let _turn = turn;
        read()
    });
    Some(reading.await)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_reader_whose_asker_has_gone_keeps_its_turn_until_it_has_ended() {
        let turns = Arc::new(Semaphore::new(1));
        let (go, wait) = mpsc::channel::<()>();
        let (begun, begins) = tokio::sync::oneshot::channel();
        let asker = tokio::spawn({
            let turns = Arc::clone(&turns);
            async move {
                let read = move || {
                    begun.send(()).unwrap();
                    wait.recv().unwrap();
                };
                in_turn(&turns, read).await
            }
        });
        begins.await.unwrap();
        asker.abort();
        assert!(asker.await.unwrap_err().is_cancelled());
        assert_eq!(turns.available_permits(), 0, "its thread reads on");
        go.send(()).unwrap();
        assert_eq!(in_turn(&turns, || 7).await.unwrap().unwrap(), 7);
    }

    #[test]
    fn without_a_unit_a_question_about_disclosures_spans_an_hour_and_with_one_a_day() {
        let asked = |unit: Option<&str>, until_ms| {
            let unit = unit.map(|unit| UnitText(unit.to_owned()));
            AboutDisclosures { unit, sink: Some("cad".to_owned()), from_ms: 1_000, until_ms }.question()
        };
        assert_eq!(asked(None, 3_601_000).map(|question| question.unit), Ok(None));
        let refused = asked(None, 3_601_001).map(|question| question.span).unwrap_err();
        assert!(refused.contains("at most one hour"), "{refused}");
        assert!(asked(Some("met/pc-1234"), 86_401_000).is_ok());
        assert!(asked(Some("met/pc-1234"), 86_401_001).is_err_and(|words| words.contains("24 hours")));
        assert!(asked(None, 999).is_err());
    }
}
