//! `GET /login?token=..`: a one-time link becomes a session. And the page for who has none.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;

use super::listener::Peer;
use super::session;
use super::{App, refusal};
use crate::audit::What;
use crate::login::{Invitation, LoginError};
use crate::people::Grant;

#[derive(Deserialize)]
pub(super) struct Link {
    token: String,
}

/// Answers a look at a link (HEAD: a chat's preview, a mail filter) without using it up, and the same for every link.
pub(super) async fn preview() -> StatusCode {
    StatusCode::OK
}

/// Redeems a link. It works once: a browser that asks twice is told why the second time fails.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let Ok(Query(Link { token })) = link else {
        return page(StatusCode::BAD_REQUEST, Some("The link is not complete.")).into_response();
    };
    let now_ms = app.live.now_ms();
    let Invitation { operator, grant } = match app.links.redeem(&token, now_ms) {
        Ok(invitation) => invitation,
        Err(error) => return refused(&error),
    };
    let grant = grant.unwrap_or_else(Grant::of_link);
    let Ok((session, token)) = app.sessions.open(operator, grant, now_ms) else {
        return refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the operating system gave no random bytes: try again",
        );
    };
    app.count_sessions(now_ms);
    app.access.note(app.asked(&session.viewer(), peer, What::SessionOpened).event());
    tracing::info!(operator = %session.operator, session = session.label(), "operator logged in");
    let mut response = StatusCode::SEE_OTHER.into_response();
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static("/"));
    response.headers_mut().insert(header::SET_COOKIE, session::set_cookie(&token, app.is_tls));
    response
}

fn refused(error: &LoginError) -> Response {
    let status = match error {
        LoginError::TooMany => StatusCode::TOO_MANY_REQUESTS,
        LoginError::Secret { .. } | LoginError::DamagedSecret { .. } | LoginError::Random => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::UNAUTHORIZED,
    };
    let said = match status {
        // Paths on this machine are nobody's business.
        StatusCode::SERVICE_UNAVAILABLE => "The gateway cannot check links now.".to_owned(),
        _ => format!("It was refused: {error}."),
    };
    page(status, Some(&said)).into_response()
}

/// What a browser without a session is shown. `said` is our own text.
pub(super) fn page(status: StatusCode, said: Option<&str>) -> (StatusCode, Html<String>) {
    let said = said.map(|said| format!("<p role=\"alert\">{}</p>\n", escaped(said))).unwrap_or_default();
    let html = format!(
        "<!doctype html>
<html lang=\"en-GB\">
<head>
<meta charset=\"utf-8\">
<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">
<meta name=\"color-scheme\" content=\"light dark\">
<title>Log in - Fieldpost control room</title>
</head>
<body>
<main>
<h1>You need a login link</h1>
{said}<p>The control room shows where people are, so it opens only with a link made for you. It works once, within five
minutes.</p>
<p>On the gateway's machine, run:</p>
<pre><code>fieldpost login -c FILE --operator NAME</code></pre>
<p>and open the link it prints in this browser. <code>FILE</code> is the gateway's configuration, <code>NAME</code> is
who you are: it is recorded with everything you look at.</p>
</main>
</body>
</html>
"
    );
    (status, Html(html))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "")
}
