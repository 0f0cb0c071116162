//! `/api/v1/people`: accounts, for administrators.
//!
//! **An administrator reaches the accounts whose forces are all theirs**; any other does not exist for them, and none is
//! made that sees more than its maker administers. Names are shared by all forces, since records name people by them: that
//! a name is taken is told to whoever wants to make it.

use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use super::listener::Peer;
use super::viewer::{Forces, Role, Viewer};
use super::{App, not_shown, refusal};
use crate::audit::What;
use crate::audit::line::{AccountNote, Note};
use crate::login::Operator;
use crate::people::account::AccountView;
use crate::people::{Account, Accounts, AccountsError, By, Grant, NewAccount};

/// Most of a name that a line of the access record takes: an account's has 64 at most, but anything may be asked for.
const NAME_CHARS_MAX: usize = 128;

#[derive(Serialize)]
struct PeopleView {
    people: Vec<AccountView>,
}

#[derive(Serialize)]
struct Made {
    name: String,
    /// Shown once; its owner has to choose another.
    password: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPerson {
    name: String,
    #[serde(default)]
    full_name: String,
    roles: Vec<Role>,
    forces: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewGrant {
    roles: Vec<Role>,
    forces: Vec<String>,
}

/// `GET /api/v1/people`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
) -> Response {
    app.access.note(app.asked(&viewer, peer, What::PeopleRead).event());
    let listed = with_accounts(&app, move |accounts| {
        let all = accounts.all()?;
        let reached = all.values().filter(|account| viewer.forces.cover(&account.grant.forces));
        Ok(reached.map(Account::view).collect())
    });
    match listed.await {
        Ok(people) => Json(PeopleView { people }).into_response(),
        Err(refused) => refused,
    }
}

/// `POST /api/v1/people`: 201 and a password that is shown once.
pub(super) async fn add(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    body: Result<Json<NewPerson>, JsonRejection>,
) -> Response {
    let Json(person) = match body {
        Ok(body) => body,
        Err(rejection) => {
            let said = "the body must be {\"name\":..,\"full_name\":..,\"roles\":[..],\"forces\":[..]} as application/json";
            return refusal(rejection.status(), said);
        }
    };
    let new = match person.account() {
        Ok(new) => new,
        Err(said) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &said),
    };
    if !viewer.forces.cover(&new.grant.forces) {
        return refusal(StatusCode::FORBIDDEN, "you cannot give away forces that are not yours");
    }
    let (name, by) = (new.name.to_string(), by(&app, &viewer));
    if let Err(refused) = will_change(&app, &viewer, peer, &name, "make").await {
        return refused;
    }
    match with_accounts(&app, move |accounts| accounts.add(new, &by)).await {
        Ok(password) => {
            tracing::info!(by = %viewer.operator, account = name, "account made");
            let password = password.reveal().to_owned();
            (StatusCode::CREATED, Json(Made { name, password })).into_response()
        }
        Err(refused) => refused,
    }
}

/// `POST /api/v1/people/{name}/disable`: their sessions end at once.
pub(super) async fn disable(
    app: State<Arc<App>>,
    viewer: Extension<Viewer>,
    peer: Extension<Peer>,
    name: Path<String>,
) -> Response {
    set_disabled(app, viewer, peer, name, true).await
}

/// `POST /api/v1/people/{name}/enable`: let in again, with the password they had.
pub(super) async fn enable(
    app: State<Arc<App>>,
    viewer: Extension<Viewer>,
    peer: Extension<Peer>,
    name: Path<String>,
) -> Response {
    set_disabled(app, viewer, peer, name, false).await
}

async fn set_disabled(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    disabled: bool,
) -> Response {
    let action = if disabled { "disable" } else { "enable" };
    if let Err(refused) = will_change(&app, &viewer, peer, &name, action).await {
        return refused;
    }
    let (by, over, of) = (by(&app, &viewer), viewer.forces.clone(), name.clone());
    let changed = with_accounts(&app, move |accounts| accounts.set_disabled(&of, &over, disabled, &by));
    if let Err(refused) = changed.await {
        return refused;
    }
    tracing::info!(by = %viewer.operator, account = name, disabled, "account changed");
    followed(&app).await
}

/// `POST /api/v1/people/{name}/roles`: other roles and forces; their sessions have them at once. Nobody is given forces that
/// are not the giver's.
pub(super) async fn grant(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
    body: Result<Json<NewGrant>, JsonRejection>,
) -> Response {
    let Json(NewGrant { roles, forces }) = match body {
        Ok(body) => body,
        Err(rejection) => {
            let said = "the body must be {\"roles\":[..],\"forces\":[..]} as application/json";
            return refusal(rejection.status(), said);
        }
    };
    let grant = match granted(roles, &forces) {
        Ok(grant) => grant,
        Err(said) => return refusal(StatusCode::UNPROCESSABLE_ENTITY, &said),
    };
    if !viewer.forces.cover(&grant.forces) {
        return refusal(StatusCode::FORBIDDEN, "you cannot give away forces that are not yours");
    }
    if let Err(refused) = will_change(&app, &viewer, peer, &name, "roles").await {
        return refused;
    }
    let (by, over, of) = (by(&app, &viewer), viewer.forces.clone(), name.clone());
    let changed = with_accounts(&app, move |accounts| accounts.set_grant(&of, &over, grant, &by));
    if let Err(refused) = changed.await {
        return refused;
    }
    tracing::info!(by = %viewer.operator, account = name, "account has other roles or forces");
    followed(&app).await
}

/// Answers once the sessions know what the accounts say.
async fn followed(app: &App) -> Response {
    match app.follow_accounts().await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => refused(&error),
    }
}

/// `POST /api/v1/people/{name}/password`: 200 and a new password that is shown once; their sessions end at once.
pub(super) async fn reset(
    State(app): State<Arc<App>>,
    Extension(viewer): Extension<Viewer>,
    Extension(peer): Extension<Peer>,
    Path(name): Path<String>,
) -> Response {
    if let Err(refused) = will_change(&app, &viewer, peer, &name, "password").await {
        return refused;
    }
    let (by, over, of) = (by(&app, &viewer), viewer.forces.clone(), name.clone());
    let made = with_accounts(&app, move |accounts| accounts.reset(&of, &over, &by));
    let password = match made.await {
        Ok(password) => password.reveal().to_owned(),
        Err(refused) => return refused,
    };
    tracing::info!(by = %viewer.operator, account = name, "password reset");
    match app.follow_accounts().await {
        Ok(()) => Json(Made { name, password }).into_response(),
        Err(error) => refused(&error),
    }
}

/// Puts on record what is about to be done to which account, whether or not it can be: beside why, if somebody said.
async fn will_change(
    app: &App,
    viewer: &Viewer,
    peer: Peer,
    name: &str,
    change: &str,
) -> Result<(), Response> {
    let mut note = Note::from(app.asked(viewer, peer, What::PeopleChanged).event());
    let name = name.escape_debug().take(NAME_CHARS_MAX).collect();
    note.account = Some(AccountNote { name, change: change.to_owned() });
    app.access.write(note).await.map(drop).map_err(not_shown)
}

fn by(app: &App, viewer: &Viewer) -> By {
    By { who: viewer.operator.to_string(), at_ms: app.live.now_ms() }
}

async fn with_accounts<T: Send + 'static>(
    app: &App,
    work: impl FnOnce(&Accounts) -> Result<T, AccountsError> + Send + 'static,
) -> Result<T, Response> {
    let Some(entrance) = &app.entrance else {
        return Err(refusal(StatusCode::NOT_FOUND, "this gateway has no accounts"));
    };
    let accounts = entrance.accounts.clone();
    let failed = || refusal(StatusCode::SERVICE_UNAVAILABLE, "the accounts could not be changed: try again");
    let outcome = spawn_blocking(move || work(&accounts)).await.map_err(|_| failed())?;
    outcome.map_err(|error| refused(&error))
}

fn refused(error: &AccountsError) -> Response {
    let status = match error {
        AccountsError::Unknown(_) => StatusCode::NOT_FOUND,
        AccountsError::Exists(_) | AccountsError::LastAdministrator(_) | AccountsError::Full => {
            StatusCode::CONFLICT
        }
        AccountsError::Files { .. } | AccountsError::Damaged { .. } => {
            tracing::error!(%error, "accounts");
            let said = "the gateway cannot use its accounts: its log says why";
            return refusal(StatusCode::SERVICE_UNAVAILABLE, said);
        }
        _ => StatusCode::UNPROCESSABLE_ENTITY,
    };
    refusal(status, &error.to_string())
}

fn granted(roles: Vec<Role>, forces: &[String]) -> Result<Grant, String> {
    let forces: Forces =
        forces.join(",").parse().map_err(|error: crate::people::forces::ForcesError| error.to_string())?;
    Ok(Grant { roles: roles.into_iter().collect(), forces })
}

impl NewPerson {
    fn account(self) -> Result<NewAccount, String> {
        let name = Operator::try_new(&self.name).map_err(|error| error.to_string())?;
        let grant = granted(self.roles, &self.forces)?;
        Ok(NewAccount { name, full_name: self.full_name, grant })
    }
}
