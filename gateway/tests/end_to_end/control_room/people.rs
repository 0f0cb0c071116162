//! Roles: every call by every role.

use fieldpost_gateway::http::routes::{Needs, ROUTES};
use fieldpost_gateway::people::Role;
use hyper::Method;

use super::rig::Site;

/// Who may what, written down a second time: a change of the product's table has to be meant.
const MAY: &[(&str, &str)] = &[
    ("GET /api/v1/session", "operator supervisor engineer auditor data_protection administrator"),
    ("POST /api/v1/session/reason", "operator supervisor engineer auditor data_protection administrator"),
    ("POST /api/v1/logout", "operator supervisor engineer auditor data_protection administrator"),
    ("POST /api/v1/password", "operator supervisor engineer auditor data_protection administrator"),
    ("POST /api/v1/console/lock", "operator supervisor engineer auditor data_protection administrator"),
    ("POST /api/v1/console/unlock", "operator supervisor engineer auditor data_protection administrator"),
    ("GET /api/v1/people", "administrator"),
    ("POST /api/v1/people", "administrator"),
    ("POST /api/v1/people/{name}/disable", "administrator"),
    ("POST /api/v1/people/{name}/enable", "administrator"),
    ("POST /api/v1/people/{name}/roles", "administrator"),
    ("POST /api/v1/people/{name}/password", "administrator"),
    ("GET /api/v1/assignments", "operator supervisor data_protection administrator"),
    ("POST /api/v1/assignments", "supervisor administrator"),
    ("GET /api/v1/units", "operator supervisor"),
    ("GET /api/v1/alarms", "operator supervisor"),
    ("POST /api/v1/alarms/acknowledge", "operator supervisor"),
    ("POST /api/v1/alarms/shelve", "operator supervisor"),
    ("POST /api/v1/alarms/unshelve", "operator supervisor"),
    ("POST /api/v1/alarms/lower", "supervisor"),
    ("POST /api/v1/alarms/close", "operator supervisor"),
    ("POST /api/v1/alarms/note", "operator supervisor"),
    ("GET /api/v1/alarms/timeline", "operator supervisor"),
    ("GET /api/v1/alarms/performance", "supervisor"),
    ("GET /api/v1/ledger", "operator supervisor engineer"),
    ("GET /api/v1/trace", "operator supervisor engineer"),
    ("GET /api/v1/history/track", "operator supervisor data_protection"),
    ("GET /api/v1/history/at", "operator supervisor data_protection"),
    ("GET /api/v1/history/units", "operator supervisor data_protection"),
    ("GET /api/v1/history/replay", "operator supervisor data_protection"),
    ("GET /api/v1/history/alarms", "operator supervisor data_protection"),
    ("GET /api/v1/openapi.json", "operator supervisor engineer auditor data_protection administrator"),
    ("GET /api/v1/stream", "operator supervisor"),
    ("GET /api/v1/audit/verify", "auditor data_protection"),
    ("GET /api/v1/audit/saw", "auditor data_protection"),
    ("GET /api/v1/audit/looks", "auditor data_protection"),
    ("GET /api/v1/audit/disclosures", "auditor data_protection"),
    ("GET /api/v1/audit/export", "data_protection"),
    ("GET /map/streets.json", "operator supervisor engineer auditor data_protection administrator"),
    ("GET /map/base.json", "operator supervisor engineer auditor data_protection administrator"),
    ("GET /map/tiles/{z}/{x}/{y}", "operator supervisor engineer auditor data_protection administrator"),
    ("* /api/{*rest}", "operator supervisor engineer auditor data_protection administrator"),
];

fn is_for_people(needs: Needs) -> bool {
    !matches!(needs, Needs::Nothing | Needs::Machine)
}

#[tokio::test]
async fn every_call_answers_the_roles_that_may_and_403_to_every_other() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    for role in Role::ALL {
        for route in ROUTES.iter().filter(|route| is_for_people(route.needs)) {
            // Its own session for each call: one of them ends it.
            let browser = room.browser_as("anna", &[role], "*").await;
            let name = format!("{} {}", route.verb, route.path);
            let (_, may) = MAY.iter().find(|(call, _)| *call == name).expect("every call is in the table");
            let may = may.split(' ').any(|allowed| allowed == role.as_str());
            let verb = if route.verb == "*" { "GET" } else { route.verb };
            let path = route.path.replace("{*rest}", "v1/nothing");
            let method = Method::from_bytes(verb.as_bytes()).unwrap();
            let status = browser.status_of(method, &path, "{}").await;
            assert_eq!(status != 403, may, "{name} by {role}: {status}");
        }
    }
    assert_eq!(MAY.len(), ROUTES.iter().filter(|route| is_for_people(route.needs)).count());
    room.stop().await;
}

#[tokio::test]
async fn a_refusal_says_for_whom_the_call_is_and_nothing_of_what_is_there() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let engineer = room.browser_as("eve", &[Role::Engineer], "*").await;
    let answer = engineer.get("/api/v1/units").await;
    let said = "your roles do not permit this: \"look\" is for operator, supervisor; ask an administrator";
    assert_eq!((answer.status, answer.json()["error"].as_str()), (403, Some(said)));
    let session = engineer.get("/api/v1/session").await.json();
    assert_eq!(session["roles"], serde_json::json!(["engineer"]));
    assert_eq!(session["may"], serde_json::json!(["ledger"]));
    room.stop().await;
}

#[tokio::test]
async fn a_link_without_roles_is_for_the_live_page_and_not_for_accounts_or_the_access_record() {
    let site = Site::new();
    let room = site.open().await;
    let session = room.browser("demo").await.get("/api/v1/session").await.json();
    assert_eq!(session["roles"], serde_json::json!(["operator", "supervisor", "engineer"]));
    assert_eq!(session["forces"], serde_json::json!(["*"]));
    let may = session["may"].to_string();
    assert!(may.contains("look") && may.contains("acknowledge") && may.contains("ledger"), "{may}");
    assert!(!may.contains("people") && !may.contains("audit"), "{may}");
    room.stop().await;
}
