//! Coming in by name and password, and choosing a new one.
//!
//! **One answer for a wrong name, a wrong password and a disabled account**, at the same cost. A session is new at every
//! login and every new password; the one that the browser had before has ended. **What a password was proven for happens only while
//! it is still the account's**: a reset or a change meanwhile makes the proof one of a wrong password.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Form, Json};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::listener::Peer;
use super::session::{self, Session};
use super::{App, login, refusal};
use crate::audit::{Asked, What, Who};
use crate::login::Operator;
use crate::people::throttle::Limit;
use crate::people::{AccountsError, By, Entrance, Password, Proof, Proven, Refused, Standing};

/// Lines of the access record about people who were not let in: 30 at once, then one in 2 s.
pub(super) const REFUSALS: Limit = Limit { burst: 30, refill_ms: 2_000 };

/// What somebody types.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typed {
    name: String,
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPassword {
    old: String,
    new: String,
}

/// `POST /api/v1/login`: 204 and a cookie.
pub(super) async fn call(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    typed: Result<Json<Typed>, JsonRejection>,
) -> Response {
    let Json(typed) = match typed {
        Ok(typed) => typed,
        Err(rejection) => {
            return refusal(
                rejection.status(),
                "the body must be {\"name\":..,\"password\":..} as application/json",
            );
        }
    };
    match enter(&app, peer, &headers, typed).await {
        Ok(cookie) => (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response(),
        Err(no) => no.with(refusal),
    }
}

/// `POST /login`: the form of the page, without a script.
pub(super) async fn form(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    typed: Result<Form<Typed>, FormRejection>,
) -> Response {
    let Ok(Form(typed)) = typed else {
        return login::page(&app, StatusCode::BAD_REQUEST, Some("The form was not complete."))
            .into_response();
    };
    match enter(&app, peer, &headers, typed).await {
        Ok(cookie) => {
            let to_the_page =
                [(header::LOCATION, HeaderValue::from_static("/")), (header::SET_COOKIE, cookie)];
            (StatusCode::SEE_OTHER, to_the_page).into_response()
        }
        Err(no) => no.with(|status, said| {
            login::page(&app, status, Some(&format!("You were not let in: {said}."))).into_response()
        }),
    }
}

/// `POST /api/v1/password`: a new one for oneself; 204 and a new cookie. Every other session of the account ends.
pub(super) async fn password(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<NewPassword>, JsonRejection>,
) -> Response {
    let Json(NewPassword { old, new }) = match body {
        Ok(body) => body,
        Err(rejection) => {
            return refusal(
                rejection.status(),
                "the body must be {\"old\":..,\"new\":..} as application/json",
            );
        }
    };
    let name = session.operator.as_str();
    let Some(entrance) = app.entrance.as_ref().filter(|_| session.standing.credential.is_some()) else {
        return refusal(
            StatusCode::CONFLICT,
            "you came by a link and have no account: there is no password to change",
        );
    };
    let new = match Password::chosen(new, name) {
        Ok(new) => new,
        Err(error) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &error.to_string()),
    };
    match change(&app, entrance, &session, peer, old, new).await {
        Ok(cookie) => {
            app.access.note(app.asked(&session.viewer(), peer, What::PasswordChanged).event());
            (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response()
        }
        Err(no) => no.with(refusal),
    }
}

/// Why not, for a person.
pub(super) struct No {
    status: StatusCode,
    said: String,
    after_ms: Option<u64>,
}

impl No {
    fn unavailable(said: &str) -> Self {
        Self { status: StatusCode::SERVICE_UNAVAILABLE, said: said.to_owned(), after_ms: None }
    }

    pub(super) fn with(self, form: impl FnOnce(StatusCode, &str) -> Response) -> Response {
        let mut response = form(self.status, &self.said);
        if let Some(after_ms) = self.after_ms {
            let seconds = HeaderValue::from(after_ms.div_ceil(1000));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<Refused> for No {
    fn from(refused: Refused) -> Self {
        let (status, after_ms) = match &refused {
            Refused::Wrong => (StatusCode::UNAUTHORIZED, None),
            Refused::TooMany { after_ms } => (StatusCode::TOO_MANY_REQUESTS, Some(*after_ms)),
            Refused::Busy(_) => (StatusCode::TOO_MANY_REQUESTS, Some(1_000)),
            Refused::Accounts(error) => {
                tracing::error!(%error, "nobody can log in by password");
                (StatusCode::SERVICE_UNAVAILABLE, None)
            }
        };
        // The accounts' error names a path on this machine.
        let said = match refused {
            Refused::Accounts(_) => "the gateway cannot read its accounts: its log says why".to_owned(),
            other => other.to_string(),
        };
        Self { status, said, after_ms }
    }
}

async fn enter(app: &App, peer: Peer, headers: &HeaderMap, typed: Typed) -> Result<HeaderValue, No> {
    let Some(entrance) = &app.entrance else {
        return Err(No::unavailable("this gateway has no accounts: make a link with `fieldpost login`"));
    };
    let now_ms = app.live.now_ms();
    let proven = match prove(app, entrance, peer, &typed.name, typed.password, None).await {
        Ok(proven) => proven,
        Err(no) => {
            note_refusal(app, peer, known(entrance, typed.name).await.as_ref());
            return Err(no);
        }
    };
    let standing = standing(entrance, &proven).await?;
    if let Some(before) = app.sessions.of_request(headers, app.is_tls, now_ms) {
        app.sessions.end(&before);
    }
    open(app, peer, proven.operator, standing)
}

async fn change(
    app: &App,
    entrance: &Entrance,
    session: &Session,
    peer: Peer,
    old: String,
    new: Password,
) -> Result<HeaderValue, No> {
    let name = session.operator.as_str();
    let proven = match prove(app, entrance, peer, name, old, Some(session)).await {
        Ok(proven) => proven,
        Err(no) => {
            note_refusal(app, peer, Some(&session.operator));
            return Err(no);
        }
    };
    let failed = || No::unavailable("the password could not be changed: try again");
    let hashed = entrance.hashing.hash(new).await.map_err(|busy| No::from(Refused::Busy(busy)))?;
    let hashed = hashed.map_err(|_| failed())?;
    let by = By { who: proven.operator.to_string(), at_ms: app.live.now_ms() };
    let accounts = entrance.accounts.clone();
    let changed = spawn_blocking(move || accounts.set_password(&proven, hashed, &by)).await;
    let proven = changed.map_err(|_| failed())?.map_err(|error| match error {
        AccountsError::Overtaken(_) => No::from(Refused::Wrong),
        error => No::from(Refused::Accounts(error)),
    })?;
    // Everybody who came with the old one, here and elsewhere.
    app.sessions.end(session);
    app.follow_accounts().await.map_err(|error| No::from(Refused::Accounts(error)))?;
    let standing = standing(entrance, &proven).await?;
    tracing::info!(operator = %proven.operator, "password changed");
    open(app, peer, proven.operator, standing)
}

/// Who it is, if the password is right; `session` says so once more.
pub(super) async fn prove(
    app: &App,
    entrance: &Entrance,
    Peer(from): Peer,
    name: &str,
    password: String,
    session: Option<&Session>,
) -> Result<Proven, No> {
    let password = Password::typed_or_nobodys(password);
    let session = session.map(|session| session.label().into());
    let proof = Proof { name: name.to_owned(), password, from, session, at_ms: app.live.now_ms() };
    Ok(entrance.authenticator.authenticate(proof).await?)
}

async fn standing(entrance: &Entrance, proven: &Proven) -> Result<Standing, No> {
    let (accounts, proven) = (entrance.accounts.clone(), proven.clone());
    let found = spawn_blocking(move || accounts.standing(&proven)).await;
    let found = found.map_err(|_| No::unavailable("the account could not be read: try again"))?;
    found.map_err(|error| No::from(Refused::Accounts(error)))?.ok_or_else(|| No::from(Refused::Wrong))
}

/// Opens a session and returns its cookie.
fn open(app: &App, peer: Peer, operator: Operator, standing: Standing) -> Result<HeaderValue, No> {
    let now_ms = app.live.now_ms();
    let opened = app.sessions.open(operator, standing, now_ms);
    let (session, token) = opened.map_err(|error| No::unavailable(&format!("{error}: try again")))?;
    app.count_sessions(now_ms);
    app.access.note(app.asked(&session.viewer(), peer, What::SessionOpened).event());
    tracing::info!(operator = %session.operator, session = session.label(), "operator logged in");
    Ok(session::set_cookie(&token, app.is_tls))
}

/// Whose account it is that somebody typed; nobody's, while the accounts cannot be read.
async fn known(entrance: &Entrance, name: String) -> Option<Operator> {
    let accounts = entrance.accounts.clone();
    let found = spawn_blocking(move || accounts.get(&name)).await.ok()?.ok()?;
    found.map(|account| account.name)
}

/// Notes that somebody was not let in: [`REFUSALS`] lines at most, and how many more there were in the next one. Who is not
/// let in must not fill the disk, nor the record's queue.
///
/// **Who tried is on record only by the name of an account.** Whatever else was typed may be a password in the wrong field (those
/// that we make could all be names), and nothing is ever taken out of the chain.
pub(super) fn note_refusal(app: &App, Peer(from): Peer, operator: Option<&Operator>) {
    if app.refusals.take(&(), app.live.now_ms()).is_err() {
        app.refusals_left_out.fetch_add(1, Ordering::Relaxed);
        return;
    }
    let more = app.refusals_left_out.swap(0, Ordering::Relaxed);
    let more = (more > 0).then(|| format!("{more} more since the line before"));
    let operator = operator.map_or_else(|| "-".to_owned(), Operator::to_string);
    let who = Who { operator, session: "-".to_owned(), from };
    let asked = Asked { at_ms: app.live.now_ms(), who, what: What::LoginRefused, reason: more, of: None };
    app.access.note(asked.event());
}
