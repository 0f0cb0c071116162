//! `GET /api/v1/stream`: Server-Sent Events.
//!
//! First every unit and every alarm, then what changes. A page that comes back with the `id` of the last event it has
//! (`Last-Event-ID`, or `?cursor=`) is sent what followed it, if all of that is still there and it sees the forces it saw then;
//! else it is told that it `lagged`, and everything follows. Only what comes in order has an `id`. **A stream ends when its session ends, when the gateway stops, when
//! its forces come to require a reason and it was opened without one, or when its page goes; nothing it does can delay anything
//! else**: it reads from its own bounded queue.
//!
//! **On record is the interval, not each update**: the picture it opened with and whose units, where it left the order of
//! the pictures, and how far it came. With the picture journal that is every byte (`fieldpost audit rebuild`).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::listener::Peer;
use super::session::{PAGES_OF_SESSION_MAX, Session};
use super::viewer::{Forces, Permission, Viewer};
use super::{App, not_shown, refusal};
use crate::audit::line::{FileNote, Note, StreamNote};
use crate::audit::{Asked, What};
use crate::live::cursor;
use crate::live::fanout::{Subscription, Taken};
use crate::people::reasons::Reason;
use crate::people::{Console, OpenConsole};
use crate::sabotage::{self, Sabotage};

/// How often a stream looks whether its session still holds.
const SESSION_CHECK_MS: u64 = 1_000;

struct Feed {
    app: Arc<App>,
    session: Arc<Session>,
    forces: Forces,
    first: VecDeque<Bytes>,
    then: Subscription,
    check: Interval,
    record: Record,
    _console: OpenConsole,
    _place: OwnedSemaphorePermit,
}

/// The stream's side of the access record. Writes the closing line, however the stream ends.
struct Record {
    app: Arc<App>,
    asked: Asked,
    /// The number of the line that opened it.
    id: u64,
    frames: u64,
    bytes: u64,
}

impl Record {
    fn note(&self, what: What, stream: StreamNote) -> Note {
        let mut note = Note::from(self.asked.clone().event());
        (note.at_ms, note.what) = (self.app.live.now_ms(), what);
        note.stream = Some(StreamNote { id: self.id, ..stream });
        note
    }

    fn count(&mut self, frame: &Bytes) {
        self.frames += 1;
        self.bytes += frame.len() as u64;
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if sabotage::is(Sabotage::DropClosing) {
            return;
        }
        let closed =
            StreamNote { frames: Some(self.frames), bytes: Some(self.bytes), ..StreamNote::default() };
        let mut note = self.note(What::StreamClosed, closed);
        note.file = Some(picture_anchor(&self.app));
        self.app.access.note(note);
    }
}

/// How far the picture journal is, so that the access record holds its end, too.
fn picture_anchor(app: &App) -> FileNote {
    let head = app.live.picture_head();
    FileNote { sha256: Some(head.hash.to_string()), ..FileNote::default() }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    cursor: Option<String>,
}

/// Where the page was: a browser says it by itself. What is no cursor of ours for these forces is change 0, which nobody knows.
fn cursor_of(headers: &HeaderMap, question: &Question, forces: &Forces) -> Option<u64> {
    let said = headers.get("last-event-id").map(|id| id.to_str().unwrap_or_default());
    let said = said.or(question.cursor.as_deref()).filter(|cursor| !cursor.is_empty());
    said.map(|cursor| cursor::read(cursor, forces).unwrap_or(0))
}

/// Opens a live page.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    question: Result<Query<Question>, QueryRejection>,
) -> Response {
    let Ok(Query(question)) = question else {
        return refusal(StatusCode::BAD_REQUEST, "cursor is the id of an event; nothing else can be asked");
    };
    let Ok(_place) = Arc::clone(&session.pages).try_acquire_owned() else {
        let said = format!("this session has {PAGES_OF_SESSION_MAX} live pages: close one");
        return refusal(StatusCode::SERVICE_UNAVAILABLE, &said);
    };
    let cursor = cursor_of(&headers, &question, &viewer.forces);
    let Some((opened, opening)) = app.live.open_page(&viewer.forces, cursor) else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open: close one");
    };
    if let Err(error) = app.live.wait_journalled(opening.picture().unwrap_or_default()).await {
        return not_shown(error);
    }
    let asked = app.asked(&viewer, peer, What::StreamOpened);
    let mut note = Note::from(asked.clone().of(opening.holds().clone()));
    note.stream = Some(opened);
    note.file = Some(picture_anchor(&app));
    let (id, opening) = match app.access.show_as(note, opening).await {
        Ok(shown) => shown,
        Err(error) => return not_shown(error),
    };
    let record = Record { app: Arc::clone(&app), asked, id, frames: 0, bytes: 0 };
    let mut check = interval(Duration::from_millis(SESSION_CHECK_MS));
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let forces = viewer.forces.clone();
    let _console = app.consoles.open(|| Console {
        answers: viewer.may(Permission::Acknowledge),
        operator: viewer.operator.to_string(),
        session: viewer.session,
        forces: viewer.forces,
        // Now, not when the request came: two writes to the disk lie between.
        locked: app.sessions.is_locked(&session),
    });
    let (first, then) = (opening.first.into(), opening.then);
    let feed = Feed { app, session, forces, first, then, check, record, _console, _place };
    let frames = stream::unfold(feed, |mut feed| async move {
        let frame = feed.next().await?;
        feed.record.count(&frame);
        Some((Ok::<_, Infallible>(frame), feed))
    });
    answer(frames)
}

/// An answer of Server-Sent Events.
pub(super) fn answer(
    events: impl futures_util::Stream<Item = Result<Bytes, Infallible>> + Send + 'static,
) -> Response {
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that buffer would hold alarms back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Feed {
    /// The next frame; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(frame) = self.first.pop_front() {
            return Some(frame);
        }
        loop {
            tokio::select! {
                () = self.app.shutdown.cancelled() => return None,
                taken = self.then.next() => return self.show(taken?).await,
                _ = self.check.tick() => {
                    // With other roles or forces it begins anew, as what it is then.
                    if !self.app.sessions.keeps(&self.session, self.app.live.now_ms()) || self.owes_reason() {
                        return None;
                    }
                }
            }
        }
    }

    /// Its forces ask why, since it was opened, and its record does not say so: whoever opens it anew is asked.
    fn owes_reason(&self) -> bool {
        self.record.asked.reason.is_none() && self.app.reasons.of(&self.forces) == Reason::Required
    }

    /// What is out of order is on record before it is sent; if it cannot be, the stream ends.
    async fn show(&self, taken: Taken) -> Option<Bytes> {
        match taken {
            Taken::InOrder(frame) => Some(frame),
            Taken::OutOfOrder(order, frames) => {
                let note = self.record.note(What::StreamOrder, *order);
                self.app.access.show_as(note, frames).await.ok().map(|(_, frames)| frames)
            }
        }
    }
}
