//! `GET /api/v1/stream`: Server-Sent Events.
//!
//! First every unit and every alarm, then what changes. **A stream ends when its session ends, when the gateway stops, or
//! when its page goes; nothing it does can delay anything else**: it reads from its own bounded queue.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::listener::Peer;
use super::session::Session;
use super::{App, refusal};
use crate::audit::{Look, What};
use crate::live::fanout::Subscription;

/// How often a stream looks whether its session still holds.
const SESSION_CHECK_MS: u64 = 1_000;

struct Feed {
    app: Arc<App>,
    session: Arc<Session>,
    first: VecDeque<Bytes>,
    then: Subscription,
    check: Interval,
    closing: Closing,
}

/// Writes the closing line, however the stream ends.
struct Closing {
    app: Arc<App>,
    line: Option<Look>,
}

impl Drop for Closing {
    fn drop(&mut self) {
        if let Some(mut line) = self.line.take() {
            line.asked.at_ms = self.app.live.now_ms();
            line.asked.what = What::StreamClosed;
            self.app.access.note(line);
        }
    }
}

/// Opens a live page.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(peer): Extension<Peer>,
) -> Response {
    let Some(opening) = app.live.open_page() else {
        return refusal(StatusCode::SERVICE_UNAVAILABLE, "too many pages are open: close one");
    };
    let asked = app.asked(&session, peer, What::StreamOpened);
    let line = asked.clone().of(opening.holds().clone());
    let opening = match app.show(asked, opening).await {
        Ok(opening) => opening,
        Err(refused) => return refused,
    };
    let closing = Closing { app: Arc::clone(&app), line: Some(line) };
    let mut check = interval(Duration::from_millis(SESSION_CHECK_MS));
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed { app, session, first: opening.first.into(), then: opening.then, check, closing };
    let frames = stream::unfold(feed, |mut feed| async move {
        let frame = feed.next().await?;
        Some((Ok::<_, Infallible>(frame), feed))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    // Proxies that buffer would hold alarms back.
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    response
}

impl Feed {
    /// The next frame; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        debug_assert!(self.closing.line.is_some(), "a stream that was opened is closed once");
        if let Some(frame) = self.first.pop_front() {
            return Some(frame);
        }
        loop {
            tokio::select! {
                () = self.app.shutdown.cancelled() => return None,
                frame = self.then.next() => return frame,
                _ = self.check.tick() => {
                    if !self.app.sessions.keep(&self.session, self.app.live.now_ms()) {
                        return None;
                    }
                }
            }
        }
    }
}
