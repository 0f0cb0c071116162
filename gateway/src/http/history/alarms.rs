//! `GET /api/v1/history/alarms`: who needed help, how grave it was at each time, and who had it.
//!
//! **Every alarm that the screen showed**, those that a rule raised as those of a device, from raise to close; asked with
//! `standing`, also those raised earlier that nobody had closed yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Extension;
use axum::extract::State;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::question::{ALARMS_DEFAULT, ALARMS_MAX, SPAN_MS_MAX, alarm_of};
use super::view::{AlarmView, GapView};
use super::{Formed, damaged, geojson, is_geojson, sees, typed};
use crate::alarms::AlarmId;
use crate::audit::What;
use crate::history::{AlarmStory, Alarms, Found};
use crate::http::App;
use crate::http::listener::Peer;
use crate::http::question::{self, Asked, Checked, limit, span};
use crate::http::viewer::Viewer;
use crate::live::unit::UnitName;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmsQuestion {
    from_ms: u64,
    until_ms: u64,
    /// Also those that were raised before and that nobody had closed by `from_ms`.
    #[serde(default)]
    standing: bool,
    limit: Option<usize>,
    cursor: Option<String>,
    format: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct AlarmsView {
    pub(super) alarms: Vec<AlarmView>,
    pub(super) next: Option<String>,
    pub(super) gaps: Vec<GapView>,
}

/// `GET /api/v1/history/alarms`.
pub(crate) async fn alarms(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    question: Asked<AlarmsQuestion>,
) -> Response {
    match answer_alarms(&app, &viewer, peer, question).await {
        Ok(answer) => answer,
        Err(refused) => *refused,
    }
}

async fn answer_alarms(
    app: &App,
    viewer: &Viewer,
    peer: Peer,
    question: Asked<AlarmsQuestion>,
) -> Checked<Response> {
    let words = "ask with from_ms and until_ms; standing, limit, cursor and format=geojson may be added";
    let question = question::read(question, words)?;
    let is_geojson = is_geojson(question.format.as_deref())?;
    let with_standing = question.standing;
    let (from_ms, until_ms) = span(question.from_ms, question.until_ms, SPAN_MS_MAX)?;
    let alarms_max = limit(question.limit, ALARMS_DEFAULT, ALARMS_MAX)?;
    let after = question.cursor.as_deref().map(alarm_of).transpose()?;
    let question = Alarms { from_ms, until_ms, after, alarms_max, sees: sees(viewer) };
    let history = app.history.clone();
    let read = async move { history.alarms(question, with_standing).await };
    let (live, roster, wearers) = (app.live.clone(), app.live.roster(), app.live.wearers().clone());
    // Of when it is: of those that stood, from when the first was raised.
    let of_from_ms = Arc::new(AtomicU64::new(from_ms));
    let first_ms = Arc::clone(&of_from_ms);
    let form = move |found: Found<AlarmStory>| {
        first_ms
            .fetch_min(found.items.first().map_or(from_ms, |story| story.raised.at_ms), Ordering::Relaxed);
        let ids: Vec<Option<AlarmId>> =
            found.items.iter().map(|story| story.event.alarm.parse().ok()).collect();
        let grades = live.grades_of(ids.iter().flatten());
        let grade = |id: &Option<AlarmId>| grades.get(id.as_ref()?).copied();
        let name = |story: &AlarmStory| UnitName::at(&story.unit, &roster, &wearers, story.raised.at_ms);
        let last = found.items.last().filter(|_| found.has_more);
        let view = AlarmsView {
            alarms: found
                .items
                .iter()
                .zip(&ids)
                .map(|(story, id)| AlarmView::of(story, &name(story), grade(id)))
                .collect(),
            next: last.map(|story| format!("{}.{}", story.raised.at_ms, story.event.alarm)),
            gaps: damaged(found.damaged.iter().copied()),
        };
        if is_geojson { Formed::GeoJson(geojson::alarms(&view)) } else { Formed::Plain(view) }
    };
    let json = app.turns.answer(&viewer.session, read, form).await?;
    let of_from_ms = of_from_ms.load(Ordering::Relaxed);
    let asked = app.asked(viewer, peer, What::PastAlarmsRead).of_time(of_from_ms, until_ms);
    Ok(typed(app.answer(asked, json).await, is_geojson))
}
