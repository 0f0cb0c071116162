//! The webhook sink: batches of CloudEvents by HTTP POST.
//!
//! **2xx accepts the whole batch; only 400, 413 and 422 condemn events, because only they speak of the content.** A
//! wrong token, a wrong path, a redirect or a server in trouble says nothing about the events: they wait in the spool
//! until it is put right. `Idempotency-Key` is a hash over the ids of the batch, so an identical repetition shows as
//! one; a batch cut differently shows in the events' own ids.
//!
//! ```text
//! POST path                                            2xx           accepted
//! content-type: application/cloudevents-batch+json     400 413 422   refused: halved until the event stands alone
//! idempotency-key: 32 hex digits                       401 403       wait: credentials
//! authorization: Bearer ...                            408 429 5xx   wait, as long as Retry-After asks (<= 5 min)
//! webhook-id, -timestamp, -signature (`signature`)     other         wait: misconfigured (redirects are not followed)
//! [event, event, ...]
//! ```
//!
//! Bounds: one request at a time, under the forwarder's deadline; at most [`ANSWER_BYTES_MAX`] of an answer are read.

mod signature;

use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

pub use self::signature::{SigningKeys, SigningKeysError};
use super::event::{BATCH_MEDIA_TYPE, Event, EventState};
use super::{RefuseReason, RetryReason, Sink, SinkError};
use crate::https::{self, AuthorityError, with_causes};

/// Most bytes of an answer that are read, so that the connection can be used again. The answer is not looked at.
pub const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Longest pause a server can ask for: a mistyped date must not stop the flow for a day.
pub const RETRY_AFTER_MS_MAX: u64 = 5 * 60_000;

/// Where and as whom.
#[derive(Debug, Clone)]
pub struct WebhookSettings {
    /// `https://host/path`, or `http://` to loopback.
    pub url: String,
    /// PEM of who issued the server's certificate; the system's roots otherwise.
    pub authority: Option<PathBuf>,
    /// File whose first line is the bearer token; read for every request, so that it can be replaced.
    pub bearer_token_file: Option<PathBuf>,
    /// File with the [`SigningKeys`]; read for every request likewise.
    pub signing_keys_file: Option<PathBuf>,
}

/// The settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Not an absolute URL.
    #[error("{url} is not an http or https URL: {detail}")]
    Url {
        /// As configured.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// The authority's certificates cannot be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// The sink.
pub struct WebhookSink {
    settings: WebhookSettings,
    uri: Uri,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl WebhookSink {
    /// A sink that connects at its first batch. Blocking: reads the authority's certificates.
    ///
    /// # Errors
    /// [`WebhookError`]: the URL or the authority cannot be used.
    pub fn try_new(settings: WebhookSettings) -> Result<Self, WebhookError> {
        let uri = parse_url(&settings.url)?;
        let connector = https::connector(settings.authority.as_deref())?;
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(1).build(connector);
        Ok(Self { settings, uri, client })
    }

    async fn request(&self, events: &[Event]) -> Result<Request<Full<Bytes>>, SinkError> {
        let (id, body) = (idempotency_key(events), batch(events));
        let mut request = Request::post(self.uri.clone())
            .header(CONTENT_TYPE, BATCH_MEDIA_TYPE)
            .header(USER_AGENT, concat!("fieldpost/", env!("CARGO_PKG_VERSION")))
            .header("idempotency-key", &id);
        if let Some(path) = &self.settings.bearer_token_file {
            request = request.header(AUTHORIZATION, bearer(path).await?);
        }
        if let Some(path) = &self.settings.signing_keys_file {
            let signed_at_s = jiff::Timestamp::now().as_second();
            let signature = signing_keys(path).await?.sign(&id, signed_at_s, &body);
            request = request
                .header("webhook-id", &id)
                .header("webhook-timestamp", signed_at_s)
                .header("webhook-signature", signature);
        }
        Ok(request.body(Full::new(body)).expect("every part was checked"))
    }
}

impl Sink for WebhookSink {
    fn kind(&self) -> &'static str {
        "webhook"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let request = self.request(events).await?;
        let answer = self.client.request(request).await.map_err(|error| {
            let reason = if error.is_connect() { RetryReason::Unreachable } else { RetryReason::Interrupted };
            SinkError::retry(reason, with_causes(&error))
        })?;
        let verdict = verdict(&answer);
        // Read to the end so that the connection can serve the next batch; an answer cut short or too long only
        // costs the connection, the status counts.
        let rest = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
        match (verdict, rest) {
            (Ok(()), Err(error)) if error.downcast_ref::<hyper::Error>().is_some() => {
                Err(SinkError::retry(RetryReason::Interrupted, "the answer broke off"))
            }
            (verdict, _) => verdict,
        }
    }
}

fn verdict<B>(answer: &Response<B>) -> Result<(), SinkError> {
    let status = answer.status();
    let reason = match status {
        _ if status.is_success() => return Ok(()),
        StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
            return Err(SinkError::Refuse {
                reason: RefuseReason::Content,
                detail: format!("HTTP {status}"),
            });
        }
        StatusCode::PAYLOAD_TOO_LARGE => {
            return Err(SinkError::Refuse {
                reason: RefuseReason::TooLarge,
                detail: format!("HTTP {status}"),
            });
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RetryReason::Credentials,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => RetryReason::Overloaded,
        StatusCode::REQUEST_TIMEOUT | StatusCode::GATEWAY_TIMEOUT => RetryReason::Timeout,
        _ if status.is_server_error() => RetryReason::Failing,
        _ => RetryReason::Misconfigured,
    };
    let after_ms = retry_after_ms(answer.headers(), jiff::Timestamp::now());
    Err(SinkError::Retry { reason, detail: format!("HTTP {status}"), after_ms })
}

/// `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), bounded.
fn retry_after_ms(headers: &HeaderMap, now: jiff::Timestamp) -> Option<u64> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let ms = match text.parse::<u64>() {
        Ok(seconds) => seconds.saturating_mul(1000),
        Err(_) => {
            let date = jiff::fmt::rfc2822::parse(text).ok()?.timestamp();
            u64::try_from(date.as_millisecond().saturating_sub(now.as_millisecond())).unwrap_or(0)
        }
    };
    Some(ms.min(RETRY_AFTER_MS_MAX))
}

fn owed(events: &[Event]) -> impl Iterator<Item = &Event> {
    events.iter().filter(|event| event.state == EventState::Owed)
}

fn batch(events: &[Event]) -> Bytes {
    let mut body = BytesMut::with_capacity(owed(events).map(|event| event.json.len() + 1).sum::<usize>() + 2);
    for event in owed(events) {
        body.put_u8(if body.is_empty() { b'[' } else { b',' });
        body.put_slice(&event.json);
    }
    body.put_u8(b']');
    body.freeze()
}

/// The first 16 bytes of SHA-256 over the ids, each ended by a line feed, in hexadecimal.
fn idempotency_key(events: &[Event]) -> String {
    let mut hash = Context::new(&SHA256);
    for event in owed(events) {
        hash.update(event.key.as_bytes());
        hash.update(b"\n");
    }
    let mut key = String::with_capacity(32);
    for byte in &hash.finish().as_ref()[..16] {
        for digit in [byte >> 4, byte & 15] {
            key.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    key
}

async fn bearer(path: &Path) -> Result<HeaderValue, SinkError> {
    let failed = |detail: String| {
        SinkError::retry(RetryReason::Credentials, format!("bearer token file {}: {detail}", path.display()))
    };
    let text = tokio::fs::read_to_string(path).await.map_err(|error| failed(error.to_string()))?;
    let token = text.lines().next().unwrap_or_default().trim();
    if token.is_empty() {
        return Err(failed("its first line is empty".to_owned()));
    }
    let value = HeaderValue::try_from(format!("Bearer {token}"));
    let mut value = value.map_err(|_| failed("not visible ASCII".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn signing_keys(path: &Path) -> Result<SigningKeys, SinkError> {
    let path = path.to_path_buf();
    let shown = path.display().to_string();
    let loaded = tokio::task::spawn_blocking(move || SigningKeys::load(&path)).await;
    let failed = |detail: &dyn std::fmt::Display| {
        SinkError::retry(RetryReason::Credentials, format!("signing keys file {shown}: {detail}"))
    };
    loaded.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
}

fn parse_url(url: &str) -> Result<Uri, WebhookError> {
    let wrong = |detail: &str| WebhookError::Url { url: url.to_owned(), detail: detail.to_owned() };
    let uri: Uri = url.parse().map_err(|error: hyper::http::uri::InvalidUri| wrong(&error.to_string()))?;
    match uri.scheme_str() {
        Some("http" | "https") if uri.host().is_some() => Ok(uri),
        _ => Err(wrong("write https://host/path")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::release::Release;
    use super::super::testing::position_record;
    use super::super::{ClockBounds, Renderer};
    use super::*;

    fn events(count: u64) -> Vec<Event> {
        let mut renderer = Renderer::new(ClockBounds::default(), Release::everything());
        (1..=count).map(|lsn| renderer.event(&position_record(lsn)).unwrap()).collect()
    }

    fn answer(status: u16, retry_after: Option<&str>) -> Result<(), SinkError> {
        let mut answer = Response::builder().status(status);
        if let Some(text) = retry_after {
            answer = answer.header(RETRY_AFTER, text);
        }
        verdict(&answer.body(()).unwrap())
    }

    #[test]
    fn only_answers_about_the_content_condemn_events() {
        for status in [200, 201, 202, 204] {
            assert_eq!(answer(status, None), Ok(()));
        }
        for status in [400, 413, 422] {
            assert!(matches!(answer(status, None), Err(SinkError::Refuse { .. })), "{status}");
        }
        for status in [301, 307, 401, 403, 404, 405, 408, 409, 410, 415, 429, 500, 501, 502, 503, 504] {
            assert!(matches!(answer(status, None), Err(SinkError::Retry { .. })), "{status}");
        }
    }

    #[test]
    fn retry_after_is_read_in_both_forms_and_bounded() {
        let now = jiff::Timestamp::from_millisecond(784_111_777_000).unwrap();
        let after = |text: &str| {
            retry_after_ms(&HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_str(text).unwrap())]), now)
        };
        assert_eq!(after("7"), Some(7_000));
        assert_eq!(after("86400"), Some(RETRY_AFTER_MS_MAX));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60_000));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn a_batch_is_a_json_array_of_what_is_owed_and_its_key_is_that_of_its_ids() {
        let mut events = events(3);
        let whole_key = idempotency_key(&events);
        assert_eq!(whole_key.len(), 32);
        events[1].state = EventState::Accepted;
        let array: Vec<serde_json::Value> = serde_json::from_slice(&batch(&events)).unwrap();
        assert_eq!(array.iter().map(|event| event["fieldpostseq"].clone()).collect::<Vec<_>>(), ["1", "3"]);
        assert_ne!(idempotency_key(&events), whole_key);
    }

    #[test]
    fn an_address_that_is_none_is_refused_at_once() {
        for url in ["", "cad.example", "/events", "ftp://cad.example/", "https:///x"] {
            let settings = WebhookSettings {
                url: url.into(),
                authority: None,
                bearer_token_file: None,
                signing_keys_file: None,
            };
            assert!(WebhookSink::try_new(settings).is_err(), "{url:?}");
        }
    }
}
