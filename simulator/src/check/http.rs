//! A small HTTP/1.1 client for the control room's own API: what a browser does, without a browser.

use std::{io, sync::Arc, time::Duration};

use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, lookup_host},
};
use tokio_rustls::TlsConnector;

/// The largest answer read as a whole.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);

/// The control room did not do as asked.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// Could not connect or talk.
    #[error("cannot talk to the control room at {0}: {1}")]
    Transport(String, String),
    /// It answered something else than expected.
    #[error("{0} answered {1}: {2}")]
    Status(String, StatusCode, String),
    /// The answer is not what the API promises.
    #[error("{0} answered something unexpected: {1}")]
    Shape(String, String),
    /// Nothing came in time.
    #[error("{0} did not answer within 20 s")]
    TimedOut(String),
}

/// Talks to one host. One connection per request: simple, and the stream needs its own anyway.
#[derive(Debug, Clone)]
pub struct Http {
    host: String,
    cookie: Option<String>,
    bearer: Option<String>,
    tls: Option<Arc<ClientConfig>>,
    receive_bytes: Option<u32>,
}

impl Http {
    /// For `host:port`, without a session.
    #[must_use]
    pub fn new(host: &str) -> Self {
        Self { host: host.to_owned(), cookie: None, bearer: None, tls: None, receive_bytes: None }
    }

    /// Over TLS from now on.
    #[must_use]
    pub fn over_tls(mut self, tls: Arc<ClientConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// As a machine, with its token.
    #[must_use]
    pub fn with_bearer(mut self, token: String) -> Self {
        self.bearer = Some(token);
        self
    }

    /// With room for so many bytes that were not read yet: a slow reader soon keeps its server waiting.
    #[must_use]
    pub fn with_receive_bytes(mut self, bytes: u32) -> Self {
        self.receive_bytes = Some(bytes);
        self
    }

    /// Opens the one-time link that ends with `path`, and keeps the session it gives.
    ///
    /// # Errors
    /// [`HttpError`] if the link is not taken.
    pub async fn log_in(&mut self, path: &str) -> Result<(), HttpError> {
        let answer = self.get(path).await?;
        if answer.status() != StatusCode::SEE_OTHER {
            return Err(HttpError::Status("/login".to_owned(), answer.status(), "expected 303".to_owned()));
        }
        let cookie = answer.headers().get(header::SET_COOKIE).and_then(|cookie| cookie.to_str().ok());
        let cookie = cookie.and_then(|cookie| cookie.split(';').next());
        let shape = || HttpError::Shape("the login link".to_owned(), "no cookie came back".to_owned());
        self.set_cookie(cookie.ok_or_else(shape)?.to_owned());
        Ok(())
    }

    /// Keeps the session cookie for every request from now on.
    pub fn set_cookie(&mut self, cookie: String) {
        self.cookie = Some(cookie);
    }

    /// `GET`, whatever the answer; the body may be an endless stream.
    ///
    /// # Errors
    /// [`HttpError::Transport`], [`HttpError::TimedOut`].
    pub async fn get(&self, path: &str) -> Result<Response<Incoming>, HttpError> {
        self.send(Method::GET, path, None).await
    }

    /// `GET` of a JSON document.
    ///
    /// # Errors
    /// [`HttpError`] if it is not 200 with JSON.
    pub async fn get_json(&self, path: &str) -> Result<serde_json::Value, HttpError> {
        let (status, body) = Self::whole(path, self.get(path).await?).await?;
        expect_json(path, status, &body, &[StatusCode::OK])
    }

    /// `POST` of a JSON document, as the page does it; returns the status too, for answers that are not 200.
    ///
    /// # Errors
    /// [`HttpError`] if it is neither 200 nor 409 with JSON.
    pub async fn post_json(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<(StatusCode, serde_json::Value), HttpError> {
        let answer = self.send(Method::POST, path, Some(body.to_string())).await?;
        let (status, body) = Self::whole(path, answer).await?;
        Ok((status, expect_json(path, status, &body, &[StatusCode::OK, StatusCode::CONFLICT])?))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Response<Incoming>, HttpError> {
        let sent = tokio::time::timeout(ANSWER_WAIT_MAX, self.send_now(method, path, body)).await;
        sent.unwrap_or_else(|_| Err(HttpError::TimedOut(path.to_owned())))
    }

    async fn send_now(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Response<Incoming>, HttpError> {
        let failed = |detail: String| HttpError::Transport(self.host.clone(), detail);
        let mut sender = self.connect().await.map_err(|error| failed(error.to_string()))?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, &self.host);
        if let Some(cookie) = &self.cookie {
            request = request.header(header::COOKIE, cookie);
        }
        if let Some(token) = &self.bearer {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if body.is_some() {
            request = request
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ORIGIN, format!("{}://{}", self.scheme(), self.host))
                .header("X-Fieldpost", "1");
        }
        let body = Full::new(Bytes::from(body.unwrap_or_default()));
        let request = request.body(body).map_err(|error| failed(error.to_string()))?;
        sender.send_request(request).await.map_err(|error| failed(error.to_string()))
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }

    async fn connect(&self) -> io::Result<Sender> {
        let address = lookup_host(&self.host).await?.next();
        let address = address.ok_or_else(|| io::Error::other("the name has no address"))?;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if let Some(bytes) = self.receive_bytes {
            socket.set_recv_buffer_size(bytes)?;
        }
        let tcp = socket.connect(address).await?;
        tcp.set_nodelay(true)?;
        match &self.tls {
            None => speak(tcp).await,
            Some(tls) => {
                let name = ServerName::from(address.ip());
                speak(TlsConnector::from(Arc::clone(tls)).connect(name, tcp).await?).await
            }
        }
    }

    async fn whole(path: &str, answer: Response<Incoming>) -> Result<(StatusCode, Bytes), HttpError> {
        let status = answer.status();
        let limited = http_body_util::Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
        let body =
            limited.collect().await.map_err(|error| HttpError::Shape(path.to_owned(), error.to_string()))?;
        Ok((status, body.to_bytes()))
    }
}

type Sender = http1::SendRequest<Full<Bytes>>;

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Sender> {
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // Ends by itself when the answer has been read or dropped.
    tokio::spawn(connection);
    Ok(sender)
}

fn expect_json(
    path: &str,
    status: StatusCode,
    body: &[u8],
    expected: &[StatusCode],
) -> Result<serde_json::Value, HttpError> {
    if !expected.contains(&status) {
        let text = String::from_utf8_lossy(body).chars().take(200).collect();
        return Err(HttpError::Status(path.to_owned(), status, text));
    }
    serde_json::from_slice(body).map_err(|error| HttpError::Shape(path.to_owned(), error.to_string()))
}
