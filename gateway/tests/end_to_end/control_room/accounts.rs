//! Names and passwords, from a browser's side.

use std::fs;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fieldpost_gateway::login::Operator;
use fieldpost_gateway::people::accounts::PEOPLE_FILE;
use fieldpost_gateway::people::authenticator::NAME_LIMIT;
use fieldpost_gateway::people::reasons::{Reason, Reasons};
use fieldpost_gateway::people::{
    Accounts, Authenticator, By, Entrance, Forces, Grant, NewAccount, Proof, Proven, Refused, Role,
};
use fieldpost_protocol::ForceId;
use hyper::Method;
use serde_json::json;

use super::browser::{Answer, Browser};
use super::rig::{Room, Site, access_lines};

const OWN: &str = "otter violin cloud";

fn by() -> By {
    By { who: "test".to_owned(), at_ms: 0 }
}

/// An account whose password its owner has chosen: [`OWN`].
pub(crate) fn account(room: &Room, name: &str, roles: &[Role], forces: &str) {
    let first = made(room, name, roles, forces);
    assert!(!first.is_empty());
    let own = fieldpost_gateway::people::Password::chosen(OWN.to_owned(), name).unwrap();
    let proven = Proven { operator: Operator::try_new(name).unwrap(), credential: 1 };
    room.entrance.accounts.set_password(&proven, own.hash().unwrap(), &by()).unwrap();
}

/// From now on the operator sees these forces.
pub(crate) fn regrant(room: &Room, name: &str, forces: &str) {
    let grant = Grant { roles: [Role::Operator].into_iter().collect(), forces: forces.parse().unwrap() };
    room.entrance.accounts.set_grant(name, &Forces::All, grant, &by()).unwrap();
}

/// An account with the password that was made for it.
fn made(room: &Room, name: &str, roles: &[Role], forces: &str) -> String {
    let grant = Grant { roles: roles.iter().copied().collect(), forces: forces.parse().unwrap() };
    let name = Operator::try_new(name).unwrap();
    let new = NewAccount { name, full_name: "Anna <b>Smith</b>".to_owned(), grant };
    room.entrance.accounts.add(new, &by()).unwrap().reveal().to_owned()
}

async fn log_in(browser: &Browser, name: &str, password: &str) -> Answer {
    let body = json!({ "name": name, "password": password }).to_string();
    browser.ask(Method::POST, "/api/v1/login", &body).await
}

/// A browser that has logged in with [`OWN`].
pub(crate) async fn logged_in(room: &Room, name: &str) -> Browser {
    let mut browser = room.stranger();
    let answer = log_in(&browser, name, OWN).await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    browser.keep_cookie(&answer);
    browser
}

async fn post(browser: &Browser, path: &str, body: &serde_json::Value) -> Answer {
    browser.ask(Method::POST, path, &body.to_string()).await
}

#[tokio::test]
async fn a_name_and_a_password_open_a_session_and_leaving_ends_it() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let browser = logged_in(&room, "anna").await;
    let session = browser.get("/api/v1/session").await.json();
    assert_eq!((&session["operator"], &session["name"]), (&json!("anna"), &json!("Anna <b>Smith</b>")));
    assert_eq!((&session["roles"], &session["forces"]), (&json!(["operator"]), &json!(["sim"])));
    assert_eq!((&session["locked"], &session["must_change_password"]), (&json!(false), &json!(false)));
    let mut stream = browser.stream().await;
    let left = post(&browser, "/api/v1/logout", &json!({})).await;
    assert_eq!(left.status, 204);
    assert!(left.headers["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
    assert_eq!(browser.get("/api/v1/session").await.status, 401, "a stale cookie is nobody's");
    while stream.next().await.is_some() {}
    room.stop().await;
}

#[tokio::test]
async fn whatever_is_wrong_the_answer_is_one() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    account(&room, "gone", &[Role::Operator], "sim");
    room.entrance.accounts.set_disabled("gone", &Forces::All, true, &by()).unwrap();
    let browser = room.stranger();
    let mut answers = Vec::new();
    let long = "x".repeat(300);
    for (name, password) in
        [("anna", "wrong"), ("nobody", OWN), ("gone", OWN), ("no name", OWN), ("anna", &long)]
    {
        let answer = log_in(&browser, name, password).await;
        assert!(answer.headers.get("set-cookie").is_none());
        answers.push((answer.status, answer.text()));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.0 == 401), "{answers:?}");
    room.stop().await;
}

#[tokio::test]
async fn too_many_tries_wait_and_are_told_how_long() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let browser = room.stranger();
    for _ in 0..NAME_LIMIT.burst {
        assert_eq!(log_in(&browser, "anna", "wrong").await.status, 401);
    }
    let refused = log_in(&browser, "anna", OWN).await;
    assert_eq!((refused.status, refused.headers["retry-after"].to_str().unwrap()), (429, "10"));
    site.turn_clock(NAME_LIMIT.refill_ms);
    assert_eq!(log_in(&browser, "anna", OWN).await.status, 204, "the wait is over");
    room.stop().await;
}

#[tokio::test]
async fn a_password_that_was_made_is_good_for_choosing_another_and_nothing_else() {
    let site = Site::new();
    let room = site.open().await;
    let first = made(&room, "anna", &[Role::Operator, Role::Administrator], "*");
    let mut browser = room.stranger();
    let answer = log_in(&browser, "anna", &first).await;
    browser.keep_cookie(&answer);
    let session = browser.get("/api/v1/session").await.json();
    assert_eq!((&session["must_change_password"], &session["may"]), (&json!(true), &json!([])));
    for path in ["/api/v1/units", "/api/v1/stream", "/api/v1/people", "/api/v1/ledger"] {
        assert_eq!(browser.status_of(Method::GET, path, "").await, 403, "{path}");
    }
    for (old, new, status) in
        [("wrong", OWN, 401), (first.as_str(), "short", 422), (&first, "annaannaanna", 422)]
    {
        let answer = post(&browser, "/api/v1/password", &json!({ "old": old, "new": new })).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let changed = post(&browser, "/api/v1/password", &json!({ "old": first, "new": OWN })).await;
    assert_eq!(changed.status, 204, "{}", changed.text());
    assert_eq!(browser.get("/api/v1/session").await.status, 401, "the session is a new one");
    browser.keep_cookie(&changed);
    assert_eq!(browser.get("/api/v1/units").await.status, 200);
    assert_eq!(log_in(&room.stranger(), "anna", &first).await.status, 401, "the old one is none any more");
    room.stop().await;
}

#[tokio::test]
async fn a_session_is_new_at_every_login_and_ends_with_its_account() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let first = logged_in(&room, "anna").await;
    let again = log_in(&first, "anna", OWN).await;
    assert_eq!(first.get("/api/v1/session").await.status, 401, "the cookie before was given up");
    let mut second = room.stranger();
    second.keep_cookie(&again);
    let mut stream = second.stream().await;
    // As `fieldpost people` does, in another process.
    let command = Accounts::new(site.dir.path());
    command.set_disabled("anna", &Forces::All, true, &by()).unwrap();
    while stream.next().await.is_some() {}
    assert_eq!(second.get("/api/v1/session").await.status, 401, "within a second, streams included");
    room.stop().await;
}

/// An administrator resets the account between the proof and what it is for, once `is_due`.
struct Overtaken {
    inner: Arc<dyn Authenticator>,
    accounts: Accounts,
    is_due: AtomicBool,
}

impl Authenticator for Overtaken {
    fn authenticate(
        &self,
        proof: Proof,
    ) -> Pin<Box<dyn Future<Output = Result<Proven, Refused>> + Send + '_>> {
        Box::pin(async move {
            let name = proof.name.clone();
            let proven = self.inner.authenticate(proof).await;
            if self.is_due.swap(false, Ordering::Relaxed) {
                self.accounts.reset(&name, &Forces::All, &by()).unwrap();
            }
            proven
        })
    }
}

#[tokio::test]
async fn a_reset_during_a_login_or_a_change_of_password_wins() {
    let mut site = Site::new();
    let local = Entrance::local(site.dir.path()).unwrap();
    let (inner, accounts) = (Arc::clone(&local.authenticator), local.accounts.clone());
    let overtaken = Arc::new(Overtaken { inner, accounts, is_due: AtomicBool::new(false) });
    site.entrance = Some(Entrance { authenticator: overtaken.clone(), ..local });
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    account(&room, "ben", &[Role::Operator], "sim");
    overtaken.is_due.store(true, Ordering::Relaxed);
    let answer = log_in(&room.stranger(), "anna", OWN).await;
    assert_eq!((answer.status, answer.headers.get("set-cookie")), (401, None));
    let browser = logged_in(&room, "ben").await;
    overtaken.is_due.store(true, Ordering::Relaxed);
    let thiefs = "marble lantern seven";
    let answer = post(&browser, "/api/v1/password", &json!({ "old": OWN, "new": thiefs })).await;
    assert_eq!((answer.status, answer.headers.get("set-cookie")), (401, None));
    assert_eq!(log_in(&room.stranger(), "ben", thiefs).await.status, 401);
    assert!(room.entrance.accounts.get("ben").unwrap().unwrap().must_change, "the reset stands");
    room.stop().await;
}

#[tokio::test]
async fn the_form_works_without_a_script_and_keeps_what_is_typed_out_of_the_page() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let page = room.stranger().get("/login").await;
    assert!(page.status == 200 && page.text().contains("<form method=\"post\" action=\"/login\">"));
    assert!(!page.text().contains("<script") && !page.text().contains("style="));
    assert_eq!(room.stranger().get("/login.css").await.headers["content-type"], "text/css; charset=utf-8");
    let form = room.stranger().with("content-type", "application/x-www-form-urlencoded");
    let wrong = form.ask(Method::POST, "/login", "name=%3Cb%3Eanna&password=wrong").await;
    assert!(wrong.status == 401 && wrong.text().contains("role=\"alert\"") && !wrong.text().contains("<b>"));
    let right = form.ask(Method::POST, "/login", "name=anna&password=otter+violin+cloud").await;
    assert_eq!((right.status, right.headers["location"].to_str().unwrap()), (303, "/"));
    let foreign = room.stranger().with("origin", "http://evil.example");
    assert_eq!(foreign.ask(Method::POST, "/login", "name=anna&password=x").await.status, 403);
    let bare = room.stranger().with("x-fieldpost", "0");
    assert_eq!(log_in(&bare, "anna", OWN).await.status, 403, "nor can a foreign form make the call");
    room.stop().await;
}

#[tokio::test]
async fn a_locked_console_shows_alarms_and_does_nothing() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let browser = logged_in(&room, "anna").await;
    let mut stream = browser.stream().await;
    stream.until("units", |_| true).await;
    assert!(!room.consoles.watching(None).nobody);
    assert_eq!(post(&browser, "/api/v1/console/lock", &json!({})).await.status, 204);
    assert!(room.consoles.watching(None).nobody, "behind a lock nobody watches");
    assert_eq!(browser.get("/api/v1/session").await.json()["locked"], json!(true));
    let (alarm, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    stream.until("alarm", |row| row["id"] == alarm.to_string()).await;
    assert_eq!(browser.acknowledge(&alarm.to_string()).await.status, 423);
    assert_eq!(browser.get("/api/v1/ledger").await.status, 423);
    assert_eq!(room.live().unacknowledged_count(), 1);
    let wrong = post(&browser, "/api/v1/console/unlock", &json!({ "password": "wrong" })).await;
    assert_eq!(wrong.status, 403, "{}", wrong.text());
    assert_eq!(post(&browser, "/api/v1/console/unlock", &json!({ "password": OWN })).await.status, 204);
    assert!(!room.consoles.watching(None).nobody);
    assert_eq!(browser.acknowledge(&alarm.to_string()).await.status, 200);
    drop(stream);
    room.stop().await;
}

#[tokio::test]
async fn an_administrator_reaches_accounts_of_their_own_forces_only() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "chief", &[Role::Administrator], "*");
    account(&room, "met-admin", &[Role::Administrator], "met");
    account(&room, "ben", &[Role::Operator], "kent");
    let met = logged_in(&room, "met-admin").await;
    let person =
        |name: &str, forces: &str| json!({ "name": name, "roles": ["operator"], "forces": [forces] });
    let made = post(&met, "/api/v1/people", &person("anna", "met")).await;
    assert_eq!(made.status, 201, "{}", made.text());
    let password = made.json()["password"].as_str().unwrap().to_owned();
    assert_eq!(log_in(&room.stranger(), "anna", &password).await.status, 204);
    assert_eq!(post(&met, "/api/v1/people", &person("eve", "kent")).await.status, 403);
    assert_eq!(post(&met, "/api/v1/people", &person("eve", "*")).await.status, 403);
    let listed = met.get("/api/v1/people").await.text();
    assert!(listed.contains("anna") && listed.contains("met-admin") && !listed.contains("ben"), "{listed}");
    assert!(!listed.contains("argon2") && !listed.contains("chief"), "{listed}");
    let hidden = post(&met, "/api/v1/people/ben/disable", &json!({})).await;
    let missing = post(&met, "/api/v1/people/who/disable", &json!({})).await;
    assert_eq!((hidden.status, missing.status), (404, 404));
    assert_eq!(hidden.text().replace("ben", "who"), missing.text(), "what is beyond one is not there");
    let chief = logged_in(&room, "chief").await;
    assert_eq!(post(&chief, "/api/v1/people/chief/disable", &json!({})).await.status, 409);
    assert_eq!(post(&chief, "/api/v1/people/ben/disable", &json!({})).await.status, 204);
    room.stop().await;
}

#[tokio::test]
async fn roles_and_forces_are_changed_within_ones_own_forces_and_hold_at_once() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "chief", &[Role::Administrator], "*");
    account(&room, "met-admin", &[Role::Administrator], "met");
    account(&room, "anna", &[Role::Operator], "met");
    let anna = logged_in(&room, "anna").await;
    let met = logged_in(&room, "met-admin").await;
    let grant = |roles: &[&str], forces: &str| json!({ "roles": roles, "forces": [forces] });
    let of_anna = "/api/v1/people/anna/roles";
    assert_eq!(post(&met, of_anna, &grant(&["operator"], "*")).await.status, 403, "not theirs to give");
    assert_eq!(post(&met, of_anna, &grant(&["king"], "met")).await.status, 422);
    assert_eq!(post(&met, of_anna, &grant(&[], "met")).await.status, 422, "a role is needed");
    assert_eq!(post(&met, of_anna, &grant(&["auditor"], "met")).await.status, 204);
    assert_eq!(anna.get("/api/v1/session").await.json()["roles"], json!(["auditor"]));
    assert_eq!(anna.get("/api/v1/units").await.status, 403, "the role they had is gone");
    let chief = logged_in(&room, "chief").await;
    let lost = post(&chief, "/api/v1/people/chief/roles", &grant(&["operator"], "*")).await;
    assert_eq!(lost.status, 409, "somebody must administer: {}", lost.text());
    assert_eq!(post(&met, "/api/v1/people/anna/disable", &json!({})).await.status, 204);
    assert_eq!(anna.get("/api/v1/session").await.status, 401);
    assert_eq!(post(&met, "/api/v1/people/anna/enable", &json!({})).await.status, 204);
    logged_in(&room, "anna").await;
    room.stop().await;
}

#[tokio::test]
async fn damaged_accounts_let_nobody_new_in_and_send_nobody_home() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let browser = logged_in(&room, "anna").await;
    fs::write(site.dir.path().join(PEOPLE_FILE), "{").unwrap();
    let refused = log_in(&room.stranger(), "anna", OWN).await;
    assert_eq!(refused.status, 503);
    assert!(!refused.text().contains(PEOPLE_FILE), "no path of this machine: {}", refused.text());
    assert_eq!(browser.get("/api/v1/units").await.status, 200);
    let as_anybody = room.stranger().get(&room.link("ben")).await;
    assert_eq!(as_anybody.status, 401, "nobody knows what ben has, or whether he is disabled");
    let named = room.browser_as("ben", &[Role::Operator], "sim").await;
    assert_eq!(
        named.get("/api/v1/units").await.status,
        200,
        "a link that names its roles is the way in that is left"
    );
    room.stop().await;
}

#[tokio::test]
async fn what_is_no_call_is_refused_in_words() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.stranger();
    for (path, body, status) in [
        ("/api/v1/login", String::new(), 400),
        ("/api/v1/login", "{}".to_owned(), 422),
        ("/api/v1/login", r#"{"name":"anna","password":1}"#.to_owned(), 422),
        ("/api/v1/login", r#"{"name":"anna","password":"x","admin":true}"#.to_owned(), 422),
        ("/api/v1/login", format!(r#"{{"name":"{}","password":"x"}}"#, "x".repeat(10_000)), 413),
    ] {
        let answer = browser.ask(Method::POST, path, &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
    room.stop().await;
}

#[tokio::test]
async fn a_stranger_keeps_no_locked_console_locked_and_fills_no_record() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    let browser = logged_in(&room, "anna").await;
    assert_eq!(post(&browser, "/api/v1/console/lock", &json!({})).await.status, 204);
    let stranger = room.stranger();
    for _ in 0..200 {
        assert!(matches!(log_in(&stranger, "anna", "wrong").await.status, 401 | 429));
    }
    assert_eq!(log_in(&stranger, "anna", OWN).await.status, 429);
    assert_eq!(post(&browser, "/api/v1/console/unlock", &json!({ "password": OWN })).await.status, 204);
    let refused = |site: &Site| {
        access_lines(site).into_iter().filter(|line| line["what"] == "login_refused").collect::<Vec<_>>()
    };
    site.turn_clock(60_000);
    assert_eq!(log_in(&stranger, "anna", "wrong").await.status, 401);
    // What waits behind the last note is written after it.
    assert_eq!(browser.get("/api/v1/units").await.status, 200);
    let lines = refused(&site);
    assert!(lines.len() <= 31, "{}", lines.len());
    let last = lines.last().unwrap()["reason"].as_str().unwrap().to_owned();
    assert!(last.ends_with("more since the line before"), "{last}");
    room.stop().await;
}

#[tokio::test]
async fn what_is_typed_as_a_name_is_on_record_only_if_it_is_one() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "anna", &[Role::Operator], "sim");
    // Every password that the gateway makes could be a name.
    let password = made(&room, "ben", &[Role::Operator], "sim");
    let stranger = room.stranger();
    assert_eq!(log_in(&stranger, &password, OWN).await.status, 401);
    assert_eq!(log_in(&stranger, "anna", &password).await.status, 401);
    let anna = logged_in(&room, "anna").await;
    // What waits behind the last note is written after it.
    assert_eq!(anna.get("/api/v1/units").await.status, 200);
    let lines = access_lines(&site);
    assert!(!serde_json::to_string(&lines).unwrap().contains(&password));
    let refused = lines.iter().filter(|line| line["what"] == "login_refused");
    assert_eq!(refused.map(|line| &line["operator"]).collect::<Vec<_>>(), ["-", "anna"]);
    room.stop().await;
}

#[tokio::test]
async fn what_is_done_to_an_account_is_on_record_before_it_is_done() {
    let site = Site::new();
    let room = site.open().await;
    account(&room, "ben", &[Role::Operator], "sim");
    let eve = room.browser_as("eve", &Role::ALL, "*").await;
    let asks = (ForceId::try_new("sim").unwrap(), Reason::Optional);
    site.reasons.take(&Reasons::from_iter([asks]));
    let why = eve.saying("x-fieldpost-reason", "HR%2017");
    assert_eq!(post(&why, "/api/v1/people/ben/disable", &json!({})).await.status, 204);
    let body = json!({ "force": "sim", "device": "pc-1", "officer": "x", "from_ms": 1, "until_ms": 2 });
    assert_eq!(post(&eve, "/api/v1/assignments", &body).await.status, 204);
    let lines = access_lines(&site);
    let of = |what: &str| lines.iter().find(|line| line["what"] == what).unwrap();
    let changed = of("people_changed");
    assert_eq!((&changed["operator"], &changed["reason"]), (&json!("eve"), &json!("HR 17")));
    assert_eq!(changed["account"], json!({ "name": "ben", "change": "disable" }), "beside why");
    assert_eq!(of("device_assigned")["subjects"], json!(["sim/pc-1"]));
    room.stop().await;
}

#[tokio::test]
async fn a_link_ends_the_session_that_the_browser_had() {
    let site = Site::new();
    let room = site.open().await;
    let before = room.browser("anna").await;
    assert_eq!(before.get(&room.link("anna")).await.status, 303);
    assert_eq!(before.get("/api/v1/session").await.status, 401);
    room.stop().await;
}
