//! Accepting browsers: TLS, limits, and an end.
//!
//! Every connection has its own task and every step of it a limit: the handshake, the head of a request, an idle
//! connection, a browser that stops reading. Every connection is accepted; when all places are taken another one ends for it
//! ([`super::places`]), so that **strangers who hold every place keep no console out**. On shutdown answers under way finish, within [`DRAIN_MS_MAX`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::places::{Place, Places};
use super::stall::Stalling;

/// Most connections at once: a browser holds up to six, one of them the stream.
pub const CONNECTIONS_MAX: usize = 1024;
/// How long answers under way may take at shutdown.
pub const DRAIN_MS_MAX: u64 = 5_000;

/// A page is written to every 2 s: five times unheard.
pub const SILENCE_MS_MAX: u32 = 10_000;
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// For the head of a request, and for a connection that waits for its next one.
pub const HEAD_MS_MAX: u64 = 30_000;
const HEAD_BYTES_MAX: usize = 32 * 1024;
const HEADERS_MAX: usize = 64;
/// After a failed accept (usually: no descriptor left) the next is tried this much later.
const ACCEPT_RETRY_MS: u64 = 100;

/// Who a request comes from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

/// Serves `routes` until shutdown, to peers that acknowledge something within `silence_ms_max`.
pub(super) async fn serve(
    socket: TcpListener,
    tls: Option<Arc<rustls::ServerConfig>>,
    routes: Router,
    silence_ms_max: u32,
    shutdown: CancellationToken,
) {
    let tls = tls.map(TlsAcceptor::from);
    let places = Places::new(CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, peer)) => {
                let place = tokio::select! {
                    () = shutdown.cancelled() => break,
                    place = places.take(peer.ip()) => place,
                };
                let routes = routes.clone().layer(Extension(Peer(peer.ip()))).layer(Extension(place.clone()));
                // Without it an alarm may wait 40 ms for the browser's delayed acknowledgement. A socket that refuses is about to fail.
                _ = stream.set_nodelay(true);
                _ = notice_silence(&stream, silence_ms_max);
                let (tls, shutdown) = (tls.clone(), shutdown.clone());
                connections.spawn(until_ended(place, connection(stream, tls, routes, shutdown)));
            }
            Err(error) => {
                tracing::warn!(%error, "control room cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
            }
        }
    }
    drop(socket);
    let drained = timeout(Duration::from_millis(DRAIN_MS_MAX), async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!(connections = connections.len(), "control room connections cut off at shutdown");
    }
}

/// Lets go of the connection when its place must be given up.
async fn until_ended(place: Arc<Place>, connection: impl Future<Output = ()>) {
    tokio::select! {
        () = connection => {}
        () = place.end.cancelled() => {}
    }
}

async fn connection(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    routes: Router,
    shutdown: CancellationToken,
) {
    match tls {
        None => speak(stream, routes, shutdown).await,
        Some(tls) => {
            let handshake = timeout(Duration::from_millis(HANDSHAKE_MS_MAX), tls.accept(stream));
            // A failed handshake is the peer's affair: a scanner, or a browser that distrusts the certificate.
            if let Ok(Ok(stream)) = handshake.await {
                speak(stream, routes, shutdown).await;
            }
        }
    }
}

/// Ends the connection of a peer that acknowledges nothing for `silence_ms_max`: a laptop that was closed, a cable that was
/// pulled. Left to itself TCP takes a quarter of an hour, and so long the console would count as watching.
fn notice_silence(stream: &TcpStream, silence_ms_max: u32) -> std::io::Result<()> {
    sockopt::set_tcp_user_timeout(stream, silence_ms_max)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_millis(silence_ms_max.into()))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_socket_keepalive(stream, true)?;
    Ok(())
}

async fn speak<S>(stream: S, routes: Router, shutdown: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Stalling::new(stream));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(HEAD_MS_MAX))
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, TowerToHyperService::new(routes));
    tokio::pin!(connection);
    tokio::select! {
        // However it ends, it is the browser's business: a closed tab, a stalled one, a malformed request.
        _ = connection.as_mut() => {}
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            _ = connection.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_falls_silent_is_given_up_within_seconds() {
        let socket = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let (stream, _peer) = tokio::join!(socket.accept(), TcpStream::connect(address));
        let (stream, _) = stream.unwrap();
        notice_silence(&stream, SILENCE_MS_MAX).unwrap();
        assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), SILENCE_MS_MAX);
        assert!(sockopt::socket_keepalive(&stream).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&stream).unwrap(), Duration::from_millis(SILENCE_MS_MAX.into()));
    }
}
