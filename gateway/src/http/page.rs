//! The page itself: files built into the binary, nothing read from disk, nothing from outside.

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use rust_embed::{Embed, EmbeddedFile};

use super::refusal;

#[derive(Embed)]
#[folder = "ui/dist"]
struct Dist;

/// Any path that is no call: a file of the page.
pub(super) async fn file(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    if !matches!(method, Method::GET | Method::HEAD) {
        return refusal(StatusCode::METHOD_NOT_ALLOWED, "files can only be read");
    }
    let path = match uri.path() {
        "/" => "index.html",
        path => path.trim_start_matches('/'),
    };
    match Dist::get(path) {
        Some(file) => respond(path, file, &headers),
        None => refusal(StatusCode::NOT_FOUND, "there is no such page"),
    }
}

fn respond(path: &str, file: EmbeddedFile, asked: &HeaderMap) -> Response {
    let tag: String = file.metadata.sha256_hash()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let is_known = asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|known| known.trim().trim_start_matches("W/") == tag);
    let mut response = if is_known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let body = match file.data {
            std::borrow::Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            std::borrow::Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let mut response = body.into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, content_type(file.metadata.mimetype()));
        response
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::try_from(tag).expect("hexadecimal in quotes is header text"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(caching(path)));
    response
}

/// `private`: a shared cache must not hand the page to somebody without a session.
fn caching(path: &str) -> &'static str {
    if has_hash(path) { "private, max-age=31536000, immutable" } else { "private, no-cache" }
}

/// Whether a file's name changes with its contents: `name-0123abcd.js`.
fn has_hash(path: &str) -> bool {
    let stem = path.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(stem, _)| stem);
    let hash = stem.rsplit_once(['-', '.']).map_or("", |(_, hash)| hash);
    hash.len() >= 8
        && hash.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && hash.bytes().any(|byte| byte.is_ascii_digit())
}

fn content_type(mime: &str) -> HeaderValue {
    let text = match mime {
        // RFC 9239: one name for scripts.
        "application/javascript" => "text/javascript; charset=utf-8".to_owned(),
        text if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        other => other.to_owned(),
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("application/octet-stream"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_with_a_hash_may_be_kept_for_ever() {
        assert!(has_hash("assets/app-B3dK9x0Q.js"));
        for path in
            ["assets/app.js", "index.html", "map/outline.json", "vendor/maplibre-gl-worker.mjs", "a-b.js"]
        {
            assert!(!has_hash(path), "{path}");
        }
    }

    #[test]
    fn the_page_and_its_parts_are_in_the_binary() {
        assert!(Dist::get("index.html").is_some());
        assert!(Dist::get("map/outline.json").is_some());
        assert!(Dist::get("../Cargo.toml").is_none());
    }
}
