//! `GET /login?token=..`: a one-time link becomes a session. And the page for who has none.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use serde::Deserialize;
use tokio::task::spawn_blocking;

use super::listener::Peer;
use super::session;
use super::{App, refusal};
use crate::audit::What;
use crate::login::{Invitation, LoginError, Operator};
use crate::people::{Grant, Standing};

#[derive(Deserialize)]
pub(super) struct Link {
    token: Option<String>,
}

/// Answers a look at a link (HEAD: a chat's preview, a mail filter) without using it up, and the same for every link.
pub(super) async fn preview() -> StatusCode {
    StatusCode::OK
}

/// Redeems a link. It works once: a browser that asks twice is told why the second time fails.
pub(super) async fn login(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    link: Result<Query<Link>, QueryRejection>,
) -> Response {
    let token = match link {
        Ok(Query(Link { token: Some(token) })) => token,
        Ok(Query(Link { token: None })) => return page(&app, StatusCode::OK, None).into_response(),
        Err(_) => {
            return page(&app, StatusCode::BAD_REQUEST, Some("The link is not complete.")).into_response();
        }
    };
    let now_ms = app.live.now_ms();
    let Invitation { operator, grant } = match app.links.redeem(&token, now_ms) {
        Ok(invitation) => invitation,
        Err(error) => return refused(&app, &error),
    };
    let standing = match standing(&app, &operator, grant).await {
        Ok(standing) => standing,
        Err(said) => return page(&app, StatusCode::UNAUTHORIZED, Some(said)).into_response(),
    };
    if let Some(before) = app.sessions.of_request(&headers, app.is_tls, now_ms) {
        app.sessions.end(&before);
    }
    let Ok((session, token)) = app.sessions.open(operator, standing, now_ms) else {
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

/// As what somebody comes by a link: what it says, or what their account says, or [`Grant::of_link`]. Whoever makes links
/// runs the gateway, so a password that waits to be chosen is no obstacle.
async fn standing(app: &App, operator: &Operator, grant: Option<Grant>) -> Result<Standing, &'static str> {
    let by_link = Standing::of_link(grant.clone().unwrap_or_else(Grant::of_link));
    let (Some(entrance), None) = (&app.entrance, grant) else { return Ok(by_link) };
    let (accounts, name) = (entrance.accounts.clone(), operator.to_string());
    match spawn_blocking(move || accounts.get(&name)).await {
        Ok(Ok(Some(account))) => account.standing(true).ok_or("The account of that name is disabled."),
        Ok(Ok(None)) => Ok(by_link),
        // Whether the account is disabled, or for one force, cannot be known: only a link that says itself what it is for.
        _ => Err(
            "The gateway cannot read its accounts. A link that names its roles still works: fieldpost login --role.",
        ),
    }
}

fn refused(app: &App, error: &LoginError) -> Response {
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
    page(app, status, Some(&said)).into_response()
}

/// What a browser without a session is shown. `said` is our own text. No script, one style from here.
pub(super) fn page(app: &App, status: StatusCode, said: Option<&str>) -> (StatusCode, Html<String>) {
    let said = said.map(|said| format!("<p class=\"said\" role=\"alert\">{}</p>\n", escaped(said)));
    let said = said.unwrap_or_default();
    let form = if app.entrance.is_some() { FORM } else { "" };
    (status, Html(format!("{HEAD}{said}{form}{LINK}")))
}

/// `GET /login.css`.
pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")], STYLE)
        .into_response()
}

const HEAD: &str = r##"<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Log in - Fieldpost control room</title>
<link rel="icon" type="image/svg+xml" href="/favicon.svg">
<link rel="stylesheet" href="/login.css">
</head>
<body>
<main>
<h1><svg width="30" height="30" viewBox="0 0 32 32" aria-hidden="true"><path d="M16 3a10 10 0 0 0-10 10c0 7.2 10 16 10 16s10-8.8 10-16A10 10 0 0 0 16 3z" fill="#5fd0c0"/><path d="M10.5 9.5h11v7h-11z M10.5 9.5l5.5 4 5.5-4" fill="none" stroke="#10243a" stroke-width="1.8" stroke-linejoin="round"/></svg>Fieldpost control room</h1>
<p class="soft">It shows where people are. What you look at is recorded with your name.</p>
"##;

const FORM: &str = r#"<form method="post" action="/login">
<h2>Log in</h2>
<label for="name">Name</label>
<input id="name" name="name" autocomplete="username" autocapitalize="none" spellcheck="false" maxlength="64" required autofocus>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" maxlength="256" required>
<button type="submit">Log in</button>
</form>
"#;

const LINK: &str = r#"<section>
<h2>Or use a one-time link</h2>
<p class="soft">Whoever runs the gateway can make one. It works once, within five minutes:</p>
<pre tabindex="0"><code>fieldpost login -c FILE --operator NAME</code></pre>
<p class="soft"><code>FILE</code> is the gateway's configuration, <code>NAME</code> is who you are. Open the link in this browser.</p>
</section>
</main>
</body>
</html>
"#;

/// The page's own colours (`gateway/ui/src/styles/tokens.css`), without its files: those are for sessions only.
const STYLE: &str = "\
:root { color-scheme: light dark; font: 1rem/1.5 system-ui, sans-serif;
  --page: light-dark(#e6eaee, #0a1016); --panel: light-dark(#fff, #111922); --soft: light-dark(#f4f6f8, #17212b);
  --line: light-dark(#a3afbb, #465a70); --text: light-dark(#15202b, #e6ecf2); --muted: light-dark(#506070, #a0b0c0);
  --accent: light-dark(#1f5fbf, #7fb2ff); --on-accent: light-dark(#fff, #0a1016); }
* { box-sizing: border-box; }
body { display: grid; place-items: center; min-height: 100vh; margin: 0; background: var(--page); color: var(--text); }
main { width: min(28rem, 100%); overflow: hidden; border-radius: 12px; background: var(--panel);
  box-shadow: 0 1px 2px rgb(0 0 0 / 12%), 0 12px 40px rgb(0 0 0 / 14%); }
h1 { display: flex; gap: .6rem; align-items: center; margin: 0; padding: 1.1rem 2rem; background: #10243a; color: #f2f6fa;
  font-size: 1.15rem; letter-spacing: -.01em; }
h2 { margin: 0; font-size: 1rem; }
main > p, form, section { margin: 0; padding: 1rem 2rem; }
main > .said { margin-top: 1rem; }
section { padding-bottom: 1.5rem; border-top: 1px solid var(--line); background: var(--soft); }
section p { margin: .35rem 0; }
.soft { color: var(--muted); font-size: .875rem; }
form { padding-bottom: 1.5rem; }
main > .soft { padding-bottom: 0; }
label { display: block; margin-top: .8rem; font-size: .875rem; font-weight: 600; }
input, button { width: 100%; min-height: 2.75rem; padding: .5rem .75rem; border-radius: 6px; font: inherit; }
input { border: 1px solid var(--line); background: var(--soft); color: var(--text); }
button { margin-top: 1.25rem; border: 1px solid var(--accent); background: var(--accent); color: var(--on-accent);
  font-weight: 600; cursor: pointer; }
button:hover { text-decoration: underline; text-underline-offset: 3px; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.said { border-inline-start: .4rem solid #8a5200; background: #ffc94d; color: #3a2600; font-weight: 600; }
pre { margin: .6rem 0; padding: .6rem .75rem; overflow-x: auto; border: 1px solid var(--line); border-radius: 6px;
  background: var(--panel); font-size: .8125rem; }
@media (prefers-contrast: more) { :root { --line: var(--text); --muted: var(--text); } }
@media (forced-colors: active) { main, h1, .said { border: 1px solid; }
  .said { background: Canvas; color: CanvasText; }
  button { border-color: ButtonText; background: ButtonFace; color: ButtonText; } }
";

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "")
}
