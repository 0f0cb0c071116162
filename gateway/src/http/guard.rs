//! What every request must pass and every answer carries, whatever the route.
//!
//! ```text
//! request -> time limit -> Host -> Origin / Sec-Fetch-Site -> session, or machine -> route's permission -> route -> security headers
//! ```
//! **No session, no answer but 401**, except for health, and for what makes a session. **No permission, no answer but 403**,
//! whatever the request asks for: it tells nothing of what is there.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::places::{Holder, Place};
use super::routes::{self, Needs};
use super::session::Session;
use super::viewer::{Permission, Role, Viewer};
use super::{App, feed, login, reason, refusal};
use crate::machines::Machine;

/// Scripts, styles, images, workers and connections from here only; no inline script or style, no frame, no plug-in.
pub const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
connect-src 'self'; worker-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// `same-origin`, not `no-referrer`: with that a browser sends our own login form with `Origin: null`, and we refuse it.
const REFERRERS: &str = "same-origin";

const HEADERS: [(HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, REFERRERS),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
    ),
];

/// Longest time until an answer begins. Most are memory; acknowledging waits for the disk, and history, ledger, trace and the access
/// record read it, or a database: they bound what one question reads, and this what it may wait.
const ANSWER_MS_MAX: u64 = 15_000;

const NO_SESSION: &str = "no session: log in, or make a link with `fieldpost login` and open it";

/// Puts the time limit before a request and the security headers on its answer.
pub(super) async fn frame(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(Duration::from_millis(ANSWER_MS_MAX), next.run(request));
    let mut response = answer
        .await
        .unwrap_or_else(|_| refusal(StatusCode::REQUEST_TIMEOUT, "the request took too long: try again"));
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if app.is_tls {
        let a_year = HeaderValue::from_static("max-age=31536000");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, a_year);
    }
    // What may be kept says so itself; everything else may hold positions.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Lets a request through to its route if it comes from our own page and has a session.
pub(super) async fn admit(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    if app.is_loopback && !is_loopback_host(request.headers()) {
        // A foreign name that resolves to this machine: DNS rebinding.
        return refusal(
            StatusCode::MISDIRECTED_REQUEST,
            "open this page as http://127.0.0.1 or http://localhost",
        );
    }
    if !is_same_origin(&request, app.is_tls) {
        return refusal(StatusCode::FORBIDDEN, "this request comes from another site");
    }
    if routes::is_public(request.uri().path()) {
        return next.run(request).await;
    }
    if routes::is_for_machines(request.uri().path()) {
        return match feed::machine_of(&app, request.headers()).await {
            Ok(machine) => {
                hold_place(&request, || Holder::Machine(machine.name.clone()));
                request.extensions_mut().insert(Arc::new(machine));
                next.run(request).await
            }
            Err(refused) => refused,
        };
    }
    let now_ms = app.live.now_ms();
    match app.sessions.of_request(request.headers(), app.is_tls, now_ms) {
        Some(session) => {
            let mut viewer = session.viewer();
            let asks = app.reasons.of(&viewer.forces);
            reason::give(&mut viewer, asks, request.headers());
            hold_place(&request, || Holder::Session(session.label()));
            request.extensions_mut().insert(viewer);
            request.extensions_mut().insert(Arc::new(session));
            next.run(request).await
        }
        None if request.uri().path().starts_with("/api/") => refusal(StatusCode::UNAUTHORIZED, NO_SESSION),
        None => login::page(&app, StatusCode::UNAUTHORIZED, None).into_response(),
    }
}

/// The connection's place is not a stranger's any more.
fn hold_place(request: &Request, holder: impl FnOnce() -> Holder) {
    if let Some(place) = request.extensions().get::<Arc<Place>>() {
        place.belongs_to(holder());
    }
}

/// Lets a request through to its handler if its viewer may what the route needs.
pub(super) async fn permit(needs: Needs, request: Request, next: Next) -> Response {
    let is_call = request.uri().path().starts_with("/api/");
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    // A form on a foreign page cannot send this header.
    if is_call && changes && request.headers().get("x-fieldpost").is_none_or(|value| value != "1") {
        return refusal(StatusCode::FORBIDDEN, "the header X-Fieldpost: 1 is missing");
    }
    let is_locked = request.extensions().get::<Arc<Session>>().is_some_and(|session| session.locked);
    if is_locked && is_kept_from_a_locked_console(needs, changes) {
        return refusal(StatusCode::LOCKED, "this console is locked: unlock it first");
    }
    if needs == Needs::Machine && request.extensions().get::<Arc<Machine>>().is_some() {
        return next.run(request).await;
    }
    let viewer = request.extensions().get::<Viewer>();
    let said = match (needs, viewer) {
        (Needs::Nothing, _) | (Needs::Session | Needs::Unlocked, Some(_)) => return next.run(request).await,
        (Needs::May(permission), Some(viewer)) if viewer.may(permission) => {
            if reason::is_owed(viewer, needs, changes) {
                return reason::asked_for();
            }
            return next.run(request).await;
        }
        (Needs::May(permission), Some(_)) => forbidden(permission),
        (Needs::Machine, Some(_)) => "this is for machines: a session is none".to_owned(),
        // The guard before this one lets nobody come here.
        (_, None) => return refusal(StatusCode::UNAUTHORIZED, NO_SESSION),
    };
    refusal(StatusCode::FORBIDDEN, &said)
}

/// Alarms still come to a locked console, and are heard; nobody does anything from it, or looks anything up.
pub(super) fn is_kept_from_a_locked_console(needs: Needs, changes: bool) -> bool {
    match needs {
        Needs::May(Permission::Look) => changes,
        Needs::May(_) | Needs::Unlocked => true,
        Needs::Nothing | Needs::Session | Needs::Machine => false,
    }
}

fn forbidden(permission: Permission) -> String {
    let roles: Vec<&str> = permission.roles().map(Role::as_str).collect();
    format!(
        "your roles do not permit this: \"{}\" is for {}; ask an administrator",
        permission.as_str(),
        roles.join(", ")
    )
}

/// Whether the `Host` is this machine by a name that nobody else can give it.
fn is_loopback_host(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

/// Whether a request that does something, or asks for data, was made by our own page. A browser always says where a
/// request comes from; a request without any word of it is not a browser's, and has only the cookie it was given.
fn is_same_origin(request: &Request<Body>, is_tls: bool) -> bool {
    let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
    let is_api = request.uri().path().starts_with("/api/");
    let headers = request.headers();
    if (changes || is_api)
        && let Some(site) = headers.get("sec-fetch-site")
        && site != "same-origin"
        && (changes || site != "none")
    {
        return false;
    }
    match headers.get(header::ORIGIN) {
        None => true,
        Some(origin) => {
            let scheme = if is_tls { "https" } else { "http" };
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
            origin.to_str().is_ok_and(|origin| origin == format!("{scheme}://{host}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::HOST, HeaderValue::try_from(name).unwrap())])
    }

    #[test]
    fn only_names_that_nobody_can_rebind_are_loopback() {
        for good in ["localhost", "localhost:8080", "127.0.0.1:9", "[::1]:8080", "[::1]"] {
            assert!(is_loopback_host(&host(good)), "{good}");
        }
        for bad in [
            "evil.example",
            "127.0.0.1.evil.example:80",
            "localhost.evil",
            "::1",
            "",
            "localhost:",
            "0.0.0.0",
        ] {
            assert!(!is_loopback_host(&host(bad)), "{bad}");
        }
        assert!(!is_loopback_host(&HeaderMap::new()));
    }
}
