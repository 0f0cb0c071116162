//! A real HTTP server that takes events, and first does whatever the test scripted.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use serde_json::Value;

/// What the server does with one request.
pub(crate) enum Knob {
    /// Answers with this status and header, takes nothing.
    Answer(u16, Option<(&'static str, &'static str)>),
    /// Takes the events and never answers.
    HangAfterTaking,
    /// Takes the events, answers 200 with a body it breaks off.
    BreakOff,
    /// Takes the events and answers with more than anybody wants to read.
    Flood,
}

#[derive(Clone, Default)]
pub(crate) struct Inbox(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    script: VecDeque<Knob>,
    poison: Vec<String>,
    token: Option<String>,
    /// Every batch taken: its idempotency key and ids.
    batches: Vec<(String, Vec<String>)>,
    requests_count: usize,
}

pub(crate) struct WebhookServer {
    pub(crate) address: SocketAddr,
    pub(crate) inbox: Inbox,
    task: tokio::task::JoinHandle<()>,
}

impl Inbox {
    pub(crate) fn with_script(script: impl IntoIterator<Item = Knob>) -> Self {
        let inbox = Self::default();
        inbox.0.lock().unwrap().script.extend(script);
        inbox
    }

    /// Batches with any of these ids are answered 400.
    pub(crate) fn poison(&self, ids: impl IntoIterator<Item = String>) {
        self.0.lock().unwrap().poison.extend(ids);
    }

    pub(crate) fn require_token(&self, token: &str) {
        self.0.lock().unwrap().token = Some(token.to_owned());
    }

    /// Ids in the order they were taken, repetitions included.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().batches.iter().flat_map(|(_, ids)| ids.clone()).collect()
    }

    pub(crate) fn batches(&self) -> Vec<(String, Vec<String>)> {
        self.0.lock().unwrap().batches.clone()
    }

    pub(crate) fn requests_count(&self) -> usize {
        self.0.lock().unwrap().requests_count
    }

    fn take(&self, headers: &HeaderMap, body: &[u8]) -> Result<Option<Knob>, StatusCode> {
        let mut contents = self.0.lock().unwrap();
        contents.requests_count += 1;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if let Some(token) = &contents.token
            && header("authorization") != format!("Bearer {token}")
        {
            return Err(StatusCode::UNAUTHORIZED);
        }
        assert_eq!(header("content-type"), "application/cloudevents-batch+json");
        let knob = contents.script.pop_front();
        if let Some(Knob::Answer(..)) = knob {
            return Ok(knob);
        }
        let events: Vec<Value> = serde_json::from_slice(body).unwrap();
        let ids: Vec<String> = events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect();
        if ids.iter().any(|id| contents.poison.contains(id)) {
            return Err(StatusCode::BAD_REQUEST);
        }
        contents.batches.push((header("idempotency-key").to_owned(), ids));
        Ok(knob)
    }
}

impl WebhookServer {
    pub(crate) async fn start(inbox: Inbox) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(inbox.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, inbox, task }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/events", self.address)
    }
}

impl Drop for WebhookServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The routes, also for a server over TLS.
pub(crate) fn router(inbox: Inbox) -> axum::Router {
    axum::Router::new().route("/events", post(take)).with_state(inbox)
}

async fn take(State(inbox): State<Inbox>, headers: HeaderMap, body: Bytes) -> Response {
    match inbox.take(&headers, &body) {
        Err(status) => answer(status, Body::empty()),
        Ok(None) => answer(StatusCode::ACCEPTED, Body::empty()),
        Ok(Some(Knob::Answer(status, header))) => {
            let mut response = answer(StatusCode::from_u16(status).unwrap(), Body::from("the answer's text"));
            if let Some((name, value)) = header {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
        Ok(Some(Knob::HangAfterTaking)) => std::future::pending().await,
        Ok(Some(Knob::BreakOff)) => answer(StatusCode::OK, broken_body()),
        Ok(Some(Knob::Flood)) => answer(StatusCode::OK, Body::from(vec![b'x'; 8 << 20])),
    }
}

fn answer(status: StatusCode, body: Body) -> Response {
    Response::builder().status(status).body(body).unwrap()
}

/// A body that promises more and then breaks the connection.
fn broken_body() -> Body {
    let pieces = [Ok(Bytes::from_static(b"{\"half\":")), Err(std::io::Error::other("cut"))];
    Body::from_stream(futures_util::stream::iter(pieces))
}
