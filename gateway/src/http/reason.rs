//! Why somebody looks, if their force asks ([`crate::people::reasons`]).
//!
//! ```text
//! X-Fieldpost-Reason: Incident%202217      for this call (percent-encoded UTF-8)
//! POST /api/v1/session/reason              for every call of the session that says none itself: a stream cannot
//! ```
//! **Where a reason is required, no call with somebody's position, name or movements is answered without one**: 428. What answers
//! an alarm is no look: nobody is kept from an emergency by a form. What is said is in the access record, cut to
//! [`REASON_CHARS_MAX`].

use std::sync::Arc;

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use serde::Deserialize;

use super::routes::Needs;
use super::session::Session;
use super::viewer::{Permission, Viewer};
use super::{App, refusal};
use crate::audit::look::REASON_CHARS_MAX;
use crate::people::reasons::Reason;

const HEADER: &str = "x-fieldpost-reason";
/// Longest text taken; more than is kept, so that nobody is refused for a word.
const SAID_CHARS_MAX: usize = 500;

/// Puts what the request says, or else its session, into `viewer`.
pub(super) fn give(viewer: &mut Viewer, asks: Reason, headers: &HeaderMap) {
    let said = headers.get(HEADER).map(|value| {
        let text = String::from_utf8_lossy(value.as_bytes());
        percent_decoded(&text).unwrap_or_else(|| text.into_owned())
    });
    if let Some(said) = said.as_deref().and_then(trimmed) {
        viewer.reason = Some(said);
    }
    if asks == Reason::Off {
        viewer.reason = None;
    }
    viewer.owes_reason = asks == Reason::Required && viewer.reason.is_none();
}

/// Whether the call must wait until its viewer has said why.
pub(super) fn is_owed(viewer: &Viewer, needs: Needs, changes: bool) -> bool {
    is_look(needs, changes) && viewer.owes_reason
}

/// Whether somebody's position, name or movements are in the answer.
pub(super) fn is_look(needs: Needs, changes: bool) -> bool {
    match needs {
        Needs::Nothing | Needs::Session | Needs::Unlocked | Needs::Machine => false,
        Needs::May(Permission::Performance | Permission::People) => false,
        Needs::May(_) => !changes,
    }
}

/// The answer that asks for it.
pub(super) fn asked_for() -> Response {
    refusal(
        StatusCode::PRECONDITION_REQUIRED,
        "your force asks why: send X-Fieldpost-Reason, or POST /api/v1/session/reason",
    )
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    reason: String,
}

/// `POST /api/v1/session/reason`: from now on; an empty one takes it away. Not from a locked console ([`Needs::Unlocked`]).
pub(super) async fn set(
    State(app): State<Arc<App>>,
    Extension(session): Extension<Arc<Session>>,
    body: Result<Json<Said>, JsonRejection>,
) -> Response {
    let Ok(Json(Said { reason })) = body else {
        return refusal(StatusCode::BAD_REQUEST, "the body must be {\"reason\":..} as application/json");
    };
    if reason.chars().count() > SAID_CHARS_MAX {
        let said = format!("a reason has at most {SAID_CHARS_MAX} characters");
        return refusal(StatusCode::BAD_REQUEST, &said);
    }
    app.sessions.set_reason(&session, trimmed(&reason));
    StatusCode::NO_CONTENT.into_response()
}

fn trimmed(said: &str) -> Option<Arc<str>> {
    let said: String = said.trim().chars().take(REASON_CHARS_MAX).collect();
    (!said.is_empty()).then(|| said.into())
}

/// RFC 3986, 2.1; `None` if it is not UTF-8 then, or a `%` is without its digits.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_percent_encoded_utf_8_and_what_is_not_stands_as_it_was_said() {
        let decoded = |text| percent_decoded(text);
        assert_eq!(decoded("Incident%202217").as_deref(), Some("Incident 2217"));
        assert_eq!(decoded("caf%C3%A9 100%25").as_deref(), Some("caf\u{e9} 100%"));
        for bad in ["%", "%2", "%zz", "%ff", "%C3"] {
            assert_eq!(decoded(bad), None, "{bad}");
        }
        let asked = |said: &str| {
            let viewer = Viewer {
                operator: crate::login::Operator::try_new("anna").unwrap(),
                session: "s".into(),
                roles: crate::people::Roles::default(),
                forces: crate::people::Forces::All,
                reason: None,
                owes_reason: false,
            };
            let mut viewer = viewer;
            let headers = HeaderMap::from_iter([(HEADER.parse().unwrap(), said.parse().unwrap())]);
            give(&mut viewer, Reason::Required, &headers);
            (viewer.reason.as_deref().map(str::to_owned), viewer.owes_reason)
        };
        assert_eq!(asked("100%"), (Some("100%".to_owned()), false));
        assert_eq!(asked("%20"), (None, true));
        assert_eq!(trimmed("  "), None);
        assert_eq!(trimmed(&"x".repeat(500)).map(|said| said.len()), Some(REASON_CHARS_MAX));
    }
}
