//! The control room's door: page, API, stream, login, health.
//!
//! ```text
//! listener (TLS, limits) -> guard (Host, origin, session) -> routes (permission) -> access record -> api, stream, page
//!                                                                                   '-- fsynced before a position is served
//! ```
//! **No session, no answer; no permission, no call; no access record, no position.**
//!
//! Bounds: [`listener::CONNECTIONS_MAX`] connections, 32 KiB of request head, [`BODY_BYTES_MAX`] of body, 15 s to an
//! answer, 30 s for a browser that takes no bytes; [`session::SESSIONS_MAX`] sessions;
//! [`crate::live::board::PAGES_MAX`] streams with 1 MiB each, [`session::PAGES_OF_SESSION_MAX`] of one session.

pub mod guard;
pub mod listener;
pub mod routes;
pub mod session;
pub mod streets;
pub mod tiles;
pub mod viewer;

mod alarms;
mod api;
mod assignments;
mod audit;
mod console;
mod enter;
mod feed;
mod history;
mod ledger;
mod login;
pub mod openapi;
mod page;
mod people;
mod places;
mod question;
mod reason;
mod stall;
mod stream;
mod trace;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use bytes::Bytes;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::listener::Peer;
use self::session::Sessions;
use self::viewer::Viewer;
use crate::audit::line::{FileNote, Note};
use crate::audit::{AccessLog, Asked, Journal, Logged, Look, NotShown, Unseen, What, Who};
use crate::forward::feed::Feeds;
use crate::history::task::History;
use crate::ledger::task::SharedLedger;
use crate::live::Live;
use crate::login::LoginLinks;
use crate::machines::Machines;
use crate::people::reasons::Reasons;
use crate::people::throttle::Throttle;
use crate::people::{AccountsError, AssignmentError, Assignments, Consoles, Entrance, Wearers};
use crate::trace::Outputs;

/// How soon the access record says which pictures were removed.
const RETIRED_EVERY: Duration = Duration::from_secs(10);

/// Longest request body: an alarm id is at most 153 characters.
pub const BODY_BYTES_MAX: usize = 4 * 1024;

/// Where and how the page is served.
#[derive(Clone)]
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// TLS. Without it only loopback addresses are for clear text; the configuration sees to that.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The streets, from [`streets::load`].
    pub streets: Bytes,
    /// The map, from [`tiles::Tiles::open`].
    pub tiles: tiles::Tiles,
    /// `/healthz` and `/readyz`, which need no session: they must tell nothing but how the gateway is.
    pub health: Router,
    /// Accounts and passwords; without them there are only links.
    pub entrance: Option<Entrance>,
    /// Who wears which device, as a file; its [`Assignments::wearers`] are the live half's.
    pub assignments: Option<Assignments>,
    /// Who is watching: kept up to date here, read by whoever has to know.
    pub consoles: Consoles,
    /// The outputs in force: kept up to date by whoever reloads them.
    pub outputs: Outputs,
    /// Which forces ask why somebody looks.
    pub reasons: Reasons,
    /// What machines fetch, and which; nothing without.
    pub feeds: Option<MachineFeeds>,
    /// For how long a browser may acknowledge nothing, in ms.
    pub silence_ms_max: u32,
}

/// Events for machines.
#[derive(Debug, Clone)]
pub struct MachineFeeds {
    /// Where they come from.
    pub feeds: Feeds,
    /// Who may fetch which.
    pub machines: Machines,
}

impl Settings {
    /// Clear text on `listen`, no streets, no health, no accounts.
    #[must_use]
    pub fn new(listen: SocketAddr) -> Self {
        Self {
            listen,
            tls: None,
            streets: Bytes::from_static(streets::EMPTY),
            tiles: tiles::Tiles::none(),
            health: Router::new(),
            entrance: None,
            assignments: None,
            consoles: Consoles::default(),
            outputs: Outputs::default(),
            reasons: Reasons::default(),
            feeds: None,
            silence_ms_max: listener::SILENCE_MS_MAX,
        }
    }
}

/// Why the page is not served.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be had.
    #[error(
        "cannot listen on {listen} for the control room: {source}; is another gateway running? else change `control_room.listen`"
    )]
    Bind {
        /// The address.
        listen: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

/// What the page shows.
#[derive(Debug, Clone)]
pub struct Sources {
    /// What is true now.
    pub live: Live,
    /// What became of every record.
    pub ledger: SharedLedger,
    /// What was true.
    pub history: History,
}

/// The page being served.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    serving: JoinHandle<()>,
    shutdown: CancellationToken,
}

/// What every request can reach.
struct App {
    live: Live,
    ledger: SharedLedger,
    history: History,
    turns: history::Turns,
    links: Arc<LoginLinks>,
    sessions: Sessions,
    /// Bounds what refused logins write.
    refusals: Throttle<()>,
    refusals_left_out: AtomicU64,
    entrance: Option<Entrance>,
    assignments: Option<Assignments>,
    consoles: Consoles,
    reasons: Reasons,
    feeds: Option<MachineFeeds>,
    access: AccessLog,
    streets: Bytes,
    tiles: tiles::Tiles,
    outputs: Outputs,
    /// One at a time.
    traces: Arc<Semaphore>,
    /// Questions to the access record, one at a time over all sessions.
    audits: Arc<Semaphore>,
    is_tls: bool,
    is_loopback: bool,
    shutdown: CancellationToken,
}

/// Starts serving on the current runtime, until `shutdown` is cancelled or [`Running::stop`].
///
/// # Errors
/// [`StartError::Bind`].
pub async fn start(
    settings: Settings,
    sources: Sources,
    links: Arc<LoginLinks>,
    journal: impl Journal,
    shutdown: &CancellationToken,
) -> Result<Running, StartError> {
    let listen = settings.listen;
    let failed = |source| StartError::Bind { listen, source };
    let socket = TcpListener::bind(listen).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    let shutdown = shutdown.child_token();
    let Sources { live, ledger, history } = sources;
    let access = AccessLog::start(journal, live.metrics());
    access.note(Note::own(live.now_ms(), What::GatewayStarted));
    tokio::spawn(say_retired(live.clone(), access.clone(), shutdown.clone()));
    let app = Arc::new(App {
        live,
        ledger,
        history,
        turns: history::Turns::default(),
        links,
        sessions: Sessions::default(),
        refusals: Throttle::new(enter::REFUSALS),
        refusals_left_out: AtomicU64::new(0),
        entrance: settings.entrance,
        assignments: settings.assignments,
        consoles: settings.consoles,
        reasons: settings.reasons,
        feeds: settings.feeds,
        access,
        streets: settings.streets,
        tiles: settings.tiles,
        outputs: settings.outputs,
        traces: Arc::new(Semaphore::new(1)),
        audits: Arc::new(Semaphore::new(1)),
        is_tls: settings.tls.is_some(),
        is_loopback: address.ip().is_loopback(),
        shutdown: shutdown.clone(),
    });
    tokio::spawn(follow_accounts(Arc::clone(&app)));
    let routes = service(app, settings.health);
    let serving = listener::serve(socket, settings.tls, routes, settings.silence_ms_max, shutdown.clone());
    let serving = tokio::spawn(serving);
    Ok(Running { address, serving, shutdown })
}

/// How soon a session follows a change that `fieldpost people` made.
const FOLLOW_MS: u64 = 1_000;

/// Holds sessions against the accounts until the gateway stops.
async fn follow_accounts(app: Arc<App>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(FOLLOW_MS));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failed_before = false;
    loop {
        tokio::select! {
            () = app.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let outcome = app.follow_accounts().await;
        if let (Err(error), false) = (&outcome, failed_before) {
            // A control room at work is not sent home because a disk fails; nobody new gets in.
            tracing::error!(%error, "sessions stay as they are");
        }
        failed_before = outcome.is_err();
        if let Err(error) = app.follow_assignments().await {
            tracing::warn!(%error, "who wears which device is as it was");
        }
    }
}

/// Says in the access record which pictures were removed: from there on it knows of them by their digest. What cannot be
/// written is said later; a last time at the stop.
async fn say_retired(live: Live, access: AccessLog, shutdown: CancellationToken) {
    let mut looks = tokio::time::interval(RETIRED_EVERY);
    let mut unsaid = VecDeque::new();
    loop {
        let is_last = tokio::select! {
            () = shutdown.cancelled() => true,
            _ = looks.tick() => false,
        };
        unsaid.extend(live.take_retired_pictures().into_iter().map(|retired| {
            let mut note = Note::own(live.now_ms(), What::PicturesRetired);
            note.picture = Some(retired.last.n);
            note.file = Some(FileNote {
                name: Some(retired.name),
                bytes: Some(retired.bytes),
                sha256: Some(retired.last.hash.to_string()),
                ..FileNote::default()
            });
            note
        }));
        while let Some(note) = unsaid.front() {
            if access.write(Note::clone(note)).await.is_err() {
                break;
            }
            unsaid.pop_front();
        }
        if is_last {
            return;
        }
    }
}

fn service(app: Arc<App>, health: Router) -> Router {
    routes::router()
        .merge(health.with_state(()))
        .fallback(page::file)
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(from_fn_with_state(Arc::clone(&app), guard::admit))
        .layer(from_fn_with_state(Arc::clone(&app), guard::frame))
        .with_state(app)
}

impl Running {
    /// Where the page is.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, ends the streams, lets answers under way finish (at most 5 s), and returns.
    pub async fn stop(self) {
        self.shutdown.cancel();
        // A panic in the server is already in the log.
        _ = self.serving.await;
    }
}

impl App {
    /// Who asks for what, now.
    fn asked(&self, viewer: &Viewer, Peer(from): Peer, what: What) -> Asked {
        let who = Who { operator: viewer.operator.to_string(), session: viewer.session.to_string(), from };
        Asked { at_ms: self.live.now_ms(), who, what, reason: None, of: None }
            .because(viewer.reason.as_deref())
    }

    /// Makes a look durable before it happens.
    async fn record(&self, look: Look) -> Result<Logged, Response> {
        self.access.record(look).await.map_err(not_shown)
    }

    /// Answers with JSON that is unseen, once it is on record who is shown it, and which bytes.
    async fn answer(&self, asked: Asked, unseen: Unseen<Bytes>) -> Response {
        if let Some(n) = unseen.picture()
            && let Err(error) = self.live.wait_journalled(n).await
        {
            return not_shown(error);
        }
        match self.access.show_answer(asked, unseen).await {
            Ok(json) => json_response(json),
            Err(error) => not_shown(error),
        }
    }

    /// Who wears which device.
    fn wearers(&self) -> &Wearers {
        self.live.wearers()
    }

    /// Reads what `fieldpost people assign` added.
    async fn follow_assignments(&self) -> Result<(), AssignmentError> {
        let Some(assignments) = self.assignments.clone() else { return Ok(()) };
        // A panic while reading is in the log already; the next look is in a second.
        spawn_blocking(move || assignments.refresh()).await.unwrap_or(Ok(()))
    }

    /// Gives sessions what their accounts give now.
    async fn follow_accounts(&self) -> Result<(), AccountsError> {
        let Some(entrance) = &self.entrance else { return Ok(()) };
        let accounts = entrance.accounts.clone();
        // A panic while reading is in the log already; the next look is in a second.
        let Ok(all) = spawn_blocking(move || accounts.all()).await else { return Ok(()) };
        let all = all?;
        self.sessions.follow(|operator, by_link| all.get(operator.as_str())?.standing(by_link));
        Ok(())
    }

    fn count_sessions(&self, now_ms: u64) {
        let count = i64::try_from(self.sessions.count(now_ms)).unwrap_or(i64::MAX);
        self.live.metrics().live.sessions.set(count);
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings").field("listen", &self.listen).finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Refusal<'a> {
    error: &'a str,
}

/// An answer that says in one sentence why not, as JSON.
fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(Refusal { error })).into_response()
}

fn not_shown(error: NotShown) -> Response {
    let status = match error {
        NotShown::NotWritten => StatusCode::SERVICE_UNAVAILABLE,
        NotShown::NotCovered(_) => StatusCode::INTERNAL_SERVER_ERROR,
    };
    refusal(status, &error.to_string())
}

fn json_response(body: Bytes) -> Response {
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
