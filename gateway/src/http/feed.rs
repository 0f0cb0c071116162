//! `GET /api/v1/feed`: events for a machine, as Server-Sent Events.
//!
//! **Only a machine's token opens it, and it opens nothing else**: no cookie, no role, no link. It ends when the token does, when
//! its release changes, when the same machine connects again, or when the gateway stops: within a second each.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::listener::Peer;
use super::{App, refusal};
use crate::forward::feed::Connection;
use crate::machines::{Machine, bearer};

/// How often a feed looks whether its machine is still what it was.
const MACHINE_CHECK_MS: u64 = 1_000;
/// A connection without events says so often that it is there: so both ends notice when it is not.
const SILENT_MAX: Duration = Duration::from_secs(15);

const NO_TOKEN: &str =
    "no machine's token, or it has ended: send Authorization: Bearer ...; `fieldpost machine add` makes one";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    cursor: Option<String>,
}

struct Feed {
    app: Arc<App>,
    machine: Arc<Machine>,
    connection: Connection,
    check: Interval,
    written_at: Instant,
}

/// Whose token the request brings, or why it goes no further.
pub(super) async fn machine_of(app: &App, headers: &HeaderMap) -> Result<Machine, Response> {
    let (Some(feeds), Some(token)) = (&app.feeds, bearer(headers)) else { return Err(unknown()) };
    let (machines, token, now_ms) = (feeds.machines.clone(), token.to_owned(), app.live.now_ms());
    match spawn_blocking(move || machines.of_token(&token, now_ms)).await {
        Ok(Ok(Some(machine))) => Ok(machine),
        Ok(Ok(None)) => Err(unknown()),
        Ok(Err(error)) => {
            tracing::error!(%error, "no machine is let in");
            Err(refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "the machines cannot be read: ask whoever runs the gateway",
            ))
        }
        // A panic is in the log already.
        Err(_) => Err(refusal(StatusCode::SERVICE_UNAVAILABLE, "try again")),
    }
}

fn unknown() -> Response {
    let mut response = refusal(StatusCode::UNAUTHORIZED, NO_TOKEN);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// Opens a feed.
pub(super) async fn feed(
    State(app): State<Arc<App>>,
    Extension(machine): Extension<Arc<Machine>>,
    Extension(Peer(from)): Extension<Peer>,
    headers: HeaderMap,
    question: Result<Query<Question>, QueryRejection>,
) -> Response {
    let Ok(Query(question)) = question else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "cursor is what the feed said last; nothing else can be asked",
        );
    };
    let Some(feeds) = &app.feeds else { return unknown() };
    let said = headers.get("last-event-id").map(|id| id.to_str().unwrap_or("not text"));
    let cursor = said.or(question.cursor.as_deref()).filter(|cursor| !cursor.is_empty());
    let connection = match feeds.feeds.open(&machine, from, cursor) {
        Ok(connection) => connection,
        Err(error) => return refusal(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    tracing::info!(machine = machine.name, %from, "machine connected");
    let mut check = interval(Duration::from_millis(MACHINE_CHECK_MS));
    check.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let feed = Feed { app, machine, connection, check, written_at: Instant::now() };
    let messages = stream::unfold(feed, |mut feed| async move {
        let message = feed.next().await?;
        Some((Ok::<_, Infallible>(message), feed))
    });
    super::stream::answer(messages)
}

impl Feed {
    /// The next message; `None` ends the feed.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let shutdown = self.app.shutdown.cancelled();
            let message = match step(shutdown, &mut self.check, self.connection.next()).await {
                Step::End => None,
                Step::Check if !self.holds().await => return None,
                Step::Check if self.written_at.elapsed() < SILENT_MAX => continue,
                Step::Check => Some(Bytes::from_static(b":\n\n")),
                Step::Message(message) => message,
            };
            self.written_at = Instant::now();
            return message;
        }
    }

    /// Whether the machine still is what it was when it connected. If that cannot be read, it goes on: what it may do was decided.
    async fn holds(&self) -> bool {
        let Some(feeds) = &self.app.feeds else { return false };
        let (machines, name) = (feeds.machines.clone(), self.machine.name.clone());
        match spawn_blocking(move || machines.all()).await {
            Ok(Ok(all)) => {
                let now_ms = self.app.live.now_ms();
                all.get(&name).is_some_and(|now| *now == *self.machine && now.holds(now_ms))
            }
            _ => self.machine.holds(self.app.live.now_ms()),
        }
    }
}

/// What a feed does next.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    End,
    Check,
    Message(Option<Bytes>),
}

/// What may end a feed goes first: a machine that is told without a pause is looked at all the same.
async fn step(
    shutdown: impl Future<Output = ()>,
    check: &mut Interval,
    message: impl Future<Output = Option<Bytes>>,
) -> Step {
    tokio::select! {
        biased;
        () = shutdown => Step::End,
        _ = check.tick() => Step::Check,
        message = message => Step::Message(message),
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        tracing::info!(machine = self.machine.name, "machine disconnected");
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_machine_is_looked_at_before_it_is_told_more() {
        let message = || ready(Some(Bytes::from_static(b"data: {}\n\n")));
        let mut check = interval(Duration::from_millis(MACHINE_CHECK_MS));
        // More than chance.
        for _ in 0..32 {
            assert_eq!(step(pending(), &mut check, message()).await, Step::Check);
            assert!(matches!(step(pending(), &mut check, message()).await, Step::Message(Some(_))));
            tokio::time::advance(Duration::from_millis(MACHINE_CHECK_MS)).await;
            assert_eq!(step(ready(()), &mut check, message()).await, Step::End);
        }
    }
}
