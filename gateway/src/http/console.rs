//! One's own session: who one is, leaving, and locking the console.
//!
//! **A locked console goes on to show and sound alarms, and does nothing**: whoever passes by acknowledges nothing in the
//! operator's name. It counts as nobody watching.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::listener::Peer;
use super::session::{self, Session};
use super::viewer::{Permission, Role, Viewer};
use super::{App, enter, refusal};
use crate::audit::What;

#[derive(Serialize)]
struct SessionView<'a> {
    operator: &'a str,
    /// What colleagues call them; the operator's name if nothing is known.
    name: &'a str,
    roles: Vec<&'static str>,
    /// Whose units the operator sees: `["*"]` is every force.
    forces: Vec<&'a str>,
    /// `forces` as one text.
    force: String,
    may: Vec<&'static str>,
    /// Whether looking asks for a reason: `off`, `optional` or `required`.
    reason: &'static str,
    locked: bool,
    /// Nothing else is permitted before a password is chosen.
    must_change_password: bool,
    server_time_ms: u64,
    gateway_version: &'static str,
}

/// `GET /api/v1/session`.
pub(super) async fn session(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(viewer): Extension<Viewer>,
) -> Response {
    let name = match session.standing.full_name.as_str() {
        "" => viewer.operator.as_str(),
        name => name,
    };
    Json(SessionView {
        operator: viewer.operator.as_str(),
        name,
        roles: viewer.roles.iter().map(Role::as_str).collect(),
        forces: viewer.forces.names(),
        force: viewer.forces.to_string(),
        may: viewer.roles.permissions().map(Permission::as_str).collect(),
        reason: app.reasons.of(&viewer.forces).as_str(),
        locked: session.locked,
        must_change_password: session.standing.must_change,
        server_time_ms: app.live.now_ms(),
        gateway_version: env!("CARGO_PKG_VERSION"),
    })
    .into_response()
}

/// `POST /api/v1/logout`: the session ends, its streams with it.
pub(super) async fn logout(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(peer): Extension<Peer>,
) -> Response {
    app.sessions.end(&session);
    app.count_sessions(app.live.now_ms());
    app.access.note(app.asked(&session.viewer(), peer, What::SessionClosed).event());
    tracing::info!(operator = %session.operator, session = session.label(), "operator logged out");
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, session::clear_cookie(app.is_tls))]).into_response()
}

/// `POST /api/v1/console/lock`.
pub(super) async fn lock(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(peer): Extension<Peer>,
) -> Response {
    set_locked(&app, &session, true);
    app.access.note(app.asked(&session.viewer(), peer, What::ConsoleLocked).event());
    StatusCode::NO_CONTENT.into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unlock {
    password: String,
}

/// `POST /api/v1/console/unlock`: with the password of the account. Who came by a link has none: their lock is a curtain.
pub(super) async fn unlock(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(peer): Extension<Peer>,
    body: Bytes,
) -> Response {
    let entrance = app.entrance.as_ref().filter(|_| session.standing.credential.is_some());
    // A session that came by a link has no password to give; what it sends must be understood all the same.
    if entrance.is_some() || !body.is_empty() {
        let Ok(Unlock { password }) = serde_json::from_slice(&body) else {
            return refusal(
                StatusCode::BAD_REQUEST,
                "the body must be {\"password\":..} as application/json",
            );
        };
        let Some(entrance) = entrance else { return unlocked(&app, &session, peer) };
        let proven =
            enter::prove(&app, entrance, peer, session.operator.as_str(), password, Some(&session)).await;
        if let Err(no) = proven {
            enter::note_refusal(&app, peer, Some(&session.operator));
            return no.with(|status, said| match status {
                // 401 would say that the session has ended.
                StatusCode::UNAUTHORIZED => refusal(StatusCode::FORBIDDEN, "the password is wrong"),
                _ => refusal(status, said),
            });
        }
    }
    unlocked(&app, &session, peer)
}

fn unlocked(app: &App, session: &Session, peer: Peer) -> Response {
    set_locked(app, session, false);
    app.access.note(app.asked(&session.viewer(), peer, What::ConsoleUnlocked).event());
    StatusCode::NO_CONTENT.into_response()
}

fn set_locked(app: &App, session: &Session, locked: bool) {
    app.consoles.set_locked(&session.label(), locked, || app.sessions.set_locked(session, locked));
}
