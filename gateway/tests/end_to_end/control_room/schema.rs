//! The API is held to its own document: every answer that a test's browser gets is checked against it.
//!
//! **A word of JSON Schema that this checker does not know fails the test**, so that no part of the document goes unchecked.

use fieldpost_gateway::http::openapi::DOCUMENT;
use hyper::Method;
use serde_json::Value;

/// Words that say nothing of a value.
const NOTES: [&str; 4] = ["description", "default", "examples", "title"];

/// Checks an answer's status and JSON. Calls that are not in the document are not the API's.
pub(crate) fn check_answer(method: &Method, path: &str, status: u16, content_type: &str, body: &[u8]) {
    let path = path.split('?').next().unwrap_or(path);
    let Some(operation) = operation(method, path).filter(|operation| !operation.is_null()) else { return };
    // Of every request: not this page's, not at this address, too late.
    if [403, 405, 408, 421].contains(&status) {
        return;
    }
    let response = resolve(&operation["responses"][status.to_string()]);
    assert!(!response.is_null(), "{method} {path}: status {status} is not in the document");
    let media = content_type.split(';').next().unwrap_or_default();
    if status == 204 {
        assert!(body.is_empty(), "{method} {path}: 204 has no body");
        return;
    }
    let content = &response["content"][media];
    assert!(!content.is_null(), "{method} {path} {status}: {media} is not in the document");
    if media.ends_with("json") {
        let value = serde_json::from_slice(body).unwrap();
        if let Err(why) = matches(&content["schema"], &value) {
            panic!("{method} {path} {status} is not what the document says: {why}\n{value}");
        }
    }
}

/// A path of the document matches part by part; `{name}` is any part.
fn operation(method: &Method, path: &str) -> Option<&'static Value> {
    let is_part = |(pattern, part): (&str, &str)| pattern == part || pattern.starts_with('{');
    let is_it = |pattern: &&String| {
        pattern.split('/').count() == path.split('/').count()
            && pattern.split('/').zip(path.split('/')).all(is_part)
    };
    let paths = DOCUMENT["paths"].as_object().expect("paths are an object");
    let pattern = paths.keys().find(is_it)?;
    Some(&paths[pattern][method.as_str().to_lowercase()])
}

fn resolve(value: &Value) -> &Value {
    match value["$ref"].as_str() {
        Some(reference) => {
            resolve(DOCUMENT.pointer(reference.trim_start_matches('#')).expect("references resolve"))
        }
        None => value,
    }
}

/// Whether `value` is what `schema` says; if not, where and why not.
pub(crate) fn matches(schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(schema).as_object().ok_or("a schema is an object")?;
    for (word, rule) in schema {
        check(word, rule, value).map_err(|why| format!("{word}: {why}"))?;
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    if let (Some(others), Some(object)) = (schema.get("additionalProperties"), value.as_object()) {
        for (key, value) in
            object.iter().filter(|(key, _)| properties.is_none_or(|known| !known.contains_key(*key)))
        {
            match others {
                Value::Bool(true) => {}
                Value::Bool(false) => return Err(format!("{key} must not be there")),
                schema => matches(schema, value).map_err(|why| format!("{key}: {why}"))?,
            }
        }
    }
    Ok(())
}

fn check(word: &str, rule: &Value, value: &Value) -> Result<(), String> {
    let held = |is_so: bool, why: &str| if is_so { Ok(()) } else { Err(why.to_owned()) };
    let number = |rule: &Value| rule.as_f64().expect("a number");
    match word {
        "type" => {
            let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
            held(names.iter().any(|name| is_a(name, value)), &format!("it is {value}"))
        }
        "properties" => {
            let Some(object) = value.as_object() else { return Ok(()) };
            for (key, schema) in rule.as_object().expect("properties are an object") {
                if let Some(value) = object.get(key) {
                    matches(schema, value).map_err(|why| format!("{key}: {why}"))?;
                }
            }
            Ok(())
        }
        "required" => {
            let missing = rule
                .as_array()
                .expect("a list")
                .iter()
                .find(|key| value.get(key.as_str().unwrap()).is_none());
            missing.map_or(Ok(()), |key| Err(format!("{key} is missing")))
        }
        "items" => {
            let mut each = value.as_array().into_iter().flatten().zip(0..);
            each.try_for_each(|(value, n)| matches(rule, value).map_err(|why| format!("{n}: {why}")))
        }
        "enum" => held(rule.as_array().expect("a list").contains(value), &format!("{value}")),
        "anyOf" => {
            held(rule.as_array().expect("a list").iter().any(|schema| matches(schema, value).is_ok()), "none")
        }
        "allOf" => rule.as_array().expect("a list").iter().try_for_each(|schema| matches(schema, value)),
        "minimum" => held(value.as_f64().is_none_or(|value| value >= number(rule)), "too small"),
        "maximum" => held(value.as_f64().is_none_or(|value| value <= number(rule)), "too large"),
        "minItems" => {
            held(value.as_array().is_none_or(|items| items.len() as f64 >= number(rule)), "too few")
        }
        "minLength" => {
            held(value.as_str().is_none_or(|text| text.chars().count() as f64 >= number(rule)), "short")
        }
        "maxLength" => {
            held(value.as_str().is_none_or(|text| text.chars().count() as f64 <= number(rule)), "long")
        }
        "pattern" => held(
            value.as_str().is_none_or(|text| is_identities(rule.as_str().unwrap(), text)),
            "another form",
        ),
        "additionalProperties" => Ok(()),
        word if NOTES.contains(&word) => Ok(()),
        word => Err(format!("this checker does not know the word {word}")),
    }
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str().expect("a type is a name") {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        other => panic!("no such type: {other}"),
    }
}

/// The patterns of the document are identities, joined by slashes.
fn is_identities(pattern: &str, text: &str) -> bool {
    let identity = "[A-Za-z0-9._-]{1,64}";
    let count = pattern.matches(identity).count();
    assert_eq!(
        pattern,
        format!("^{}$", vec![identity; count].join("/")),
        "a pattern this checker does not know"
    );
    let is_identity = |part: &str| {
        (1..=64).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
    };
    text.split('/').count() == count && text.split('/').all(is_identity)
}

#[test]
fn the_checker_finds_what_is_wrong() {
    let unit = DOCUMENT.pointer("/components/schemas/Position").unwrap();
    let good = serde_json::json!({
        "lon": -1.5, "lat": 51.5, "speed_mps": null, "device_time_ms": 5, "received_at_ms": 5, "clock": "gnss", "history": false,
    });
    assert_eq!(matches(unit, &good), Ok(()));
    let wrong = [
        ("lat", serde_json::json!(91.0)),
        ("lon", serde_json::json!("west")),
        ("clock", serde_json::json!("sundial")),
        ("history", serde_json::json!(null)),
        ("received_at_ms", serde_json::json!(1.5)),
    ];
    for (key, value) in wrong {
        let mut bad = good.clone();
        bad[key] = value;
        assert!(matches(unit, &bad).is_err(), "{key}");
    }
    let mut bad = good;
    bad.as_object_mut().unwrap().remove("lat");
    assert!(matches(unit, &bad).is_err());
    assert!(
        matches(&serde_json::json!({"multipleOf": 2}), &serde_json::json!(4)).is_err(),
        "an unknown word"
    );
}

#[tokio::test]
async fn the_document_is_served_to_a_session() {
    let site = super::rig::Site::new();
    let room = site.open().await;
    let served = room.browser("anna").await.get("/api/v1/openapi.json").await;
    assert_eq!(served.json(), *DOCUMENT);
    assert_eq!(served.json()["openapi"], "3.1.0");
    room.stop().await;
}
