//! The connection to a location server.
//!
//! **Clear text only to this machine, and nothing is written to a server that may still refuse our certificate.** Connected when
//! there is something to write; what the server says is read and thrown away, so that its end is noticed. Cancel-safe: a write that
//! is cut off takes the connection with it.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::material::{Authority, MaterialError, ServerIdentity};
use crate::forward::{RetryReason, SinkError};
use crate::https::{self, AuthorityError};
use crate::pki;

const CONNECT_MAX: Duration = Duration::from_secs(5);
/// In TLS 1.3 a server looks at our certificate, or at that we have none, only when the handshake is over for us. What it takes in
/// this time to refuse us is seen before anything counts as taken: two round trips of a bad mobile network.
const GRACE: Duration = Duration::from_millis(500);
/// Read of what the server says in one go, and thrown away.
const SAID_BYTES_MAX: usize = 64 * 1024;

/// Where a location server is.
#[derive(Debug, Clone)]
pub struct NmeaServer {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Whether it is `tls://`.
    pub is_tls: bool,
    /// PEM of who issued its certificate; else the system's roots.
    pub authority: Option<PathBuf>,
    /// PEM of our certificate and of its key, if it wants one.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// The settings cannot work.
#[derive(Debug, thiserror::Error)]
pub enum NmeaError {
    /// A certificate or key cannot be used.
    #[error("{0}")]
    Material(#[from] MaterialError),
    /// The authority cannot be used.
    #[error("{0}")]
    Authority(#[from] AuthorityError),
    /// rustls refused them.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] pki::TlsError),
    /// Not a name that a certificate can have.
    #[error("{name} is neither a host name nor an address")]
    Name {
        /// As configured.
        name: String,
    },
}

/// What an attempt over TLS has to be given: [`GRACE`], and as long to connect.
pub(crate) const ATTEMPT_MS_MIN: u64 = 1_000;
const _: () = assert!(2 * GRACE.as_millis() <= ATTEMPT_MS_MIN as u128);

trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

pub(super) struct Link {
    server: NmeaServer,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    open: Option<Box<dyn Stream>>,
    pub(super) grace: Duration,
}

impl Link {
    pub(super) fn try_new(server: NmeaServer) -> Result<Self, NmeaError> {
        let tls = if server.is_tls {
            let bare = server.host.trim_matches(['[', ']']).to_owned();
            let name =
                ServerName::try_from(bare).map_err(|_| NmeaError::Name { name: server.host.clone() })?;
            Some((TlsConnector::from(tls(&server)?), name))
        } else {
            None
        };
        Ok(Self { server, tls, open: None, grace: GRACE })
    }

    /// Returns when there is a connection that the server has not ended.
    pub(super) async fn ready(&mut self) -> Result<(), SinkError> {
        if let Some(open) = self.open.take()
            && let Some(open) = still_open(open).await
        {
            self.open = Some(open);
            return Ok(());
        }
        let at = format!("{}:{}", self.server.host, self.server.port);
        let opened = timeout(CONNECT_MAX, self.connect(&at)).await;
        let mut open = opened.unwrap_or_else(|_| Err(unreachable(&at, &"no answer")))?;
        if self.tls.is_some() {
            accepted(&mut open, self.grace).await.map_err(|error| refused(&at, &error))?;
        }
        self.open = Some(open);
        Ok(())
    }

    /// Whether there is a connection that the server has not ended.
    #[cfg(test)]
    pub(super) async fn is_open(&mut self) -> bool {
        let Some(open) = self.open.take() else { return false };
        self.open = still_open(open).await;
        self.open.is_some()
    }

    /// Writes everything. After an error, or cut off, there is no connection any more.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let interrupted = |error: std::io::Error| {
            SinkError::retry(RetryReason::Interrupted, format!("connection lost: {error}"))
        };
        let Some(mut open) = self.open.take() else {
            return Err(SinkError::retry(RetryReason::Interrupted, "connection lost"));
        };
        open.write_all(bytes).await.map_err(interrupted)?;
        open.flush().await.map_err(interrupted)?;
        self.open = Some(open);
        Ok(())
    }

    async fn connect(&self, at: &str) -> Result<Box<dyn Stream>, SinkError> {
        let address = (self.server.host.trim_matches(['[', ']']), self.server.port);
        let socket = TcpStream::connect(address).await.map_err(|error| unreachable(at, &error))?;
        socket.set_nodelay(true).map_err(|error| unreachable(at, &error))?;
        let Some((connector, name)) = &self.tls else { return Ok(Box::new(socket)) };
        // Of a certificate that is wrong on either side: no time heals it, but a renewal does.
        let opened = connector.connect(name.clone(), socket).await;
        Ok(Box::new(opened.map_err(|error| refused(at, &error))?))
    }
}

fn tls(server: &NmeaServer) -> Result<Arc<ClientConfig>, NmeaError> {
    match (&server.authority, &server.client) {
        (Some(authority), Some((certificate, key))) => {
            let authority = Authority::load(authority)?;
            let identity = ServerIdentity::load(certificate, key)?;
            Ok(pki::mutual_client(&authority, &identity)?)
        }
        (authority, _) => Ok(Arc::new(https::tls(authority.as_deref())?)),
    }
}

/// Reads what waits; `None` if the server has ended the connection, or says too much for one who is only told.
async fn still_open(mut open: Box<dyn Stream>) -> Option<Box<dyn Stream>> {
    let mut said = [0; 1024];
    for _ in 0..SAID_BYTES_MAX / said.len() {
        let mut buffer = ReadBuf::new(&mut said);
        let polled =
            std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut open).poll_read(context, &mut buffer)));
        match polled.await {
            Poll::Pending => return Some(open),
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return None,
        }
    }
    None
}

/// Returns when the server has had its time to refuse us.
async fn accepted(open: &mut Box<dyn Stream>, grace: Duration) -> std::io::Result<()> {
    let ended = async {
        let (mut said, mut said_count) = ([0; 1024], 0);
        while said_count < SAID_BYTES_MAX {
            match open.read(&mut said).await? {
                0 => break,
                count => said_count += count,
            }
        }
        Err(std::io::Error::other("it ended the connection behind the handshake"))
    };
    timeout(grace, ended).await.unwrap_or(Ok(()))
}

fn refused(at: &str, error: &dyn std::fmt::Display) -> SinkError {
    SinkError::retry(RetryReason::Credentials, format!("{at}: TLS: {error}"))
}

fn unreachable(at: &str, error: &dyn std::fmt::Display) -> SinkError {
    SinkError::retry(RetryReason::Unreachable, format!("{at}: {error}"))
}
