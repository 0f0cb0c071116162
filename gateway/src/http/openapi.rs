//! `GET /api/v1/openapi.json`: what the API is, for people, generators and the tests that hold it to its word.
//!
//! **Written by hand, one part beside each area in `gateway/api/`, and held by tests**: every route of [`super::routes`] is in
//! it and nothing else, every reference resolves, and every answer that the end-to-end tests see matches it.

use std::sync::LazyLock;

use axum::response::Response;
use bytes::Bytes;
use serde_json::{Map, Value};

use super::json_response;

/// The parts; a new area adds its own.
const PARTS: &[(&str, &str)] = &[
    ("base", include_str!("../../api/base.json")),
    ("live", include_str!("../../api/live.json")),
    ("alarms", include_str!("../../api/alarms.json")),
    ("ledger", include_str!("../../api/ledger.json")),
    ("people", include_str!("../../api/people.json")),
    ("history", include_str!("../../api/history.json")),
    ("audit", include_str!("../../api/audit.json")),
    ("feed", include_str!("../../api/feed.json")),
];

/// The whole document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let mut whole = Value::Object(Map::new());
    for (name, part) in PARTS {
        let part = serde_json::from_str(part);
        merge(&mut whole, part.expect(name));
    }
    whole
});

static TEXT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(DOCUMENT.to_string()));

/// Adds `part` to `whole`, object by object.
fn merge(whole: &mut Value, part: Value) {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                merge(whole.entry(key).or_insert(Value::Null), value);
            }
        }
        (whole, part) => *whole = part,
    }
}

/// `GET /api/v1/openapi.json`.
pub(super) async fn openapi() -> Response {
    json_response(TEXT.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::routes::{ROUTES, Route};
    use super::super::{guard, reason};
    use super::*;

    #[test]
    fn every_call_is_in_the_document_and_nothing_else() {
        let wildcard = |path: &&str| path.starts_with("/api/v1/") && !path.contains('*');
        let routes: BTreeSet<String> = ROUTES
            .iter()
            .filter(|route| wildcard(&route.path))
            .map(|route| format!("{} {}", route.verb.to_lowercase(), route.path))
            .collect();
        let paths = DOCUMENT["paths"].as_object().unwrap();
        let verbs = |(path, item): (&String, &Value)| {
            let path = path.clone();
            item.as_object().unwrap().keys().map(move |verb| format!("{verb} {path}")).collect::<Vec<_>>()
        };
        let documented: BTreeSet<String> = paths.iter().flat_map(verbs).collect();
        assert_eq!(documented, routes, "gateway/api/*.json and http/routes.rs differ");
    }

    #[test]
    fn a_call_that_may_ask_why_or_find_its_console_locked_says_so_and_no_other_does() {
        let is_ours = |route: &&Route| route.path.starts_with("/api/v1/");
        for route in ROUTES.iter().filter(is_ours) {
            let changes = route.verb != "GET";
            let answers = &DOCUMENT["paths"][route.path][route.verb.to_lowercase()]["responses"];
            for (status, may_come) in [
                ("428", reason::is_look(route.needs, changes)),
                ("423", guard::is_kept_from_a_locked_console(route.needs, changes)),
            ] {
                assert_eq!(answers.get(status).is_some(), may_come, "{route:?}: {status}");
            }
        }
    }

    #[test]
    fn every_reference_resolves_and_every_operation_has_its_own_name() {
        fn walk(value: &Value, names: &mut Vec<String>) {
            match value {
                Value::Object(object) => {
                    if let Some(Value::String(reference)) = object.get("$ref") {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(DOCUMENT.pointer(pointer).is_some(), "{reference}");
                    }
                    names.extend(object.get("operationId").and_then(Value::as_str).map(str::to_owned));
                    object.values().for_each(|value| walk(value, names));
                }
                Value::Array(values) => values.iter().for_each(|value| walk(value, names)),
                _ => {}
            }
        }
        let mut names = Vec::new();
        walk(&DOCUMENT, &mut names);
        let distinct: BTreeSet<&String> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn no_part_takes_another_parts_place() {
        let mut seen = BTreeSet::new();
        for (name, part) in PARTS {
            let part: Value = serde_json::from_str(part).unwrap();
            for place in ["/paths", "/components/schemas"] {
                for key in part.pointer(place).and_then(Value::as_object).into_iter().flat_map(Map::keys) {
                    assert!(seen.insert((place, key.clone())), "{name}: {key} is there already");
                }
            }
        }
    }
}
