//! As much of a browser as the control room's promises need: a cookie, requests, a stream.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use rustls::RootCertStore;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::rig::PATIENCE;
use super::schema;

pub(crate) struct Browser {
    address: SocketAddr,
    pub(crate) headers: HashMap<&'static str, String>,
    tls: Option<TlsConnector>,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// An open stream.
pub(crate) struct Stream {
    body: Incoming,
    held: String,
    /// Every byte that came.
    pub(crate) received: Vec<u8>,
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Event {
    /// Empty if it has none.
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

impl Browser {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, headers: HashMap::from([("host", address.to_string())]), tls: None }
    }

    /// Speaks TLS and trusts `roots`.
    pub(crate) fn over_tls(mut self, roots: RootCertStore) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let config = builder.with_root_certificates(roots).with_no_client_auth();
        self.tls = Some(TlsConnector::from(Arc::new(config)));
        self
    }

    pub(crate) fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value.to_owned());
        self
    }

    pub(crate) fn keep_cookie(&mut self, answer: &Answer) {
        let cookie = answer.headers["set-cookie"].to_str().unwrap();
        let pair = cookie.split(';').next().unwrap();
        self.headers.insert("cookie", pair.to_owned());
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, "").await
    }

    /// Acknowledges as the page does.
    pub(crate) async fn acknowledge(&self, alarm: &str) -> Answer {
        let body = serde_json::json!({ "id": alarm }).to_string();
        self.ask(Method::POST, "/api/v1/alarms/acknowledge", &body).await
    }

    /// Sends JSON as the page does.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask(Method::POST, path, &body.to_string()).await
    }

    pub(crate) async fn ask(&self, method: Method, path: &str, body: &str) -> Answer {
        let response = self.send(method.clone(), path, body).await;
        let (head, body) = response.into_parts();
        let body = timeout(PATIENCE, body.collect()).await.unwrap().unwrap().to_bytes();
        let answer = Answer { status: head.status.as_u16(), headers: head.headers, body };
        let content_type = answer.header("content-type").unwrap_or_default();
        schema::check_answer(&method, path, answer.status, content_type, &answer.body);
        answer
    }

    /// The status alone: a stream's body never ends.
    pub(crate) async fn status_of(&self, method: Method, path: &str, body: &str) -> u16 {
        self.send(method, path, body).await.status().as_u16()
    }

    /// Opens the live stream.
    pub(crate) async fn stream(&self) -> Stream {
        Self::opened(self.send(Method::GET, "/api/v1/stream", "").await)
    }

    /// Opens another stream.
    pub(crate) async fn stream_at(&self, path: &str) -> Stream {
        Self::opened(self.send(Method::GET, path, "").await)
    }

    /// The same with one more header.
    pub(crate) fn saying(&self, name: &'static str, value: &str) -> Self {
        let headers = self.headers.clone().into_iter().chain([(name, value.to_owned())]);
        Self { address: self.address, headers: headers.collect(), tls: self.tls.clone() }
    }

    /// Opens it as a browser does that comes back with the newest id it has.
    pub(crate) async fn stream_from(&self, cursor: &str) -> Stream {
        let back = self.saying("last-event-id", cursor);
        Self::opened(back.send(Method::GET, "/api/v1/stream", "").await)
    }

    fn opened(response: Response<Incoming>) -> Stream {
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Stream { body: response.into_body(), held: String::new(), received: Vec::new() }
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> Response<Incoming> {
        let socket = TcpStream::connect(self.address).await.unwrap();
        let mut sender = match &self.tls {
            None => {
                let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
                tokio::spawn(connection);
                sender
            }
            Some(tls) => {
                let name = ServerName::try_from("localhost").unwrap();
                let socket = tls.connect(name, socket).await.unwrap();
                let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.unwrap();
                tokio::spawn(connection);
                sender
            }
        };
        let mut request = Request::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
        *request.method_mut() = method.clone();
        *request.uri_mut() = path.parse().unwrap();
        if method == Method::POST {
            let ours = [("content-type", "application/json"), ("x-fieldpost", "1")];
            for (name, value) in ours {
                request.headers_mut().insert(name, HeaderValue::from_static(value));
            }
        }
        for (name, value) in &self.headers {
            request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
        }
        timeout(PATIENCE, sender.send_request(request)).await.unwrap().unwrap()
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }
}

impl Stream {
    /// The next event; `None` if the gateway ended the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some((event, rest)) = self.held.split_once("\n\n") {
                let (event, rest) = (parse(event), rest.to_owned());
                self.held = rest;
                return Some(event);
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("the stream is silent");
            let data = frame?.ok()?.into_data().ok()?;
            self.received.extend_from_slice(&data);
            self.held.push_str(std::str::from_utf8(&data).unwrap());
        }
    }

    /// The next event of that name; `None` if the stream ends first.
    pub(crate) async fn next_of(&mut self, name: &str) -> Option<Event> {
        loop {
            let event = self.next().await?;
            if event.name == name {
                return Some(event);
            }
        }
    }

    /// Reads until an event of that name satisfies `wanted`.
    pub(crate) async fn until(&mut self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        // Heartbeats keep a stream from being silent: the whole wait has the limit.
        let reading = async {
            loop {
                let value = self.next_of(name).await.expect("the stream ended").json();
                if wanted(&value) {
                    return value;
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("no such event came")
    }
}

impl Event {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap()
    }
}

fn parse(event: &str) -> Event {
    let field = |name: &str| {
        let prefix = format!("{name}: ");
        event.lines().find_map(|line| line.strip_prefix(&prefix)).unwrap_or_default().to_owned()
    };
    Event { id: field("id"), name: field("event"), data: field("data") }
}
