//! Where TAK clients come in: TCP, TLS with a certificate of either side, and then to the place of whoever it is.
//!
//! **Nobody gets in who is not in the configuration by the common name of a certificate of the client authority**, and nothing is
//! sent before that is known: the gateway speaks first only behind the handshake. **Who is revoked while they are there is put out**:
//! with a renewed list every certificate is looked at again.
//!
//! ```text
//! accept -> TLS, within HANDSHAKE_MS_MAX -> common name -> the client's place ([`super::guest`])
//!                                                             renewed list --> [`Pass`] --'
//! ```
//! Bounds: [`HANDSHAKES_MAX`] at once, and one connection a client: a newer one takes the place of the older.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rustix::net::sockopt;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::metrics::{TakMetrics, TakRefusal};
use super::settings::TakError;
use super::talk::Stream;
use crate::config;
use crate::ingest::strangers::StrangersLog;
use crate::pki;

/// A handshake costs a signature and a few KiB.
const HANDSHAKES_MAX: usize = 32;
/// From accept to the end of the handshake.
const HANDSHAKE_MS_MAX: u64 = 5_000;
/// What the kernel holds of what a client has not taken. Left to itself it takes megabytes: an alarm would wait behind thousands
/// of old positions, and nobody would see that the client is slow.
const SEND_BYTES: usize = 128 * 1024;
/// After a failed accept (usually: no descriptor left) the next is tried this much later.
const ACCEPT_RETRY_MS: u64 = 100;

/// A client that has proven who it is.
pub(super) struct Arrival {
    pub(super) stream: Box<dyn Stream>,
    pub(super) peer: SocketAddr,
    /// Unix seconds after which its certificate is not valid.
    pub(super) not_after_s: i64,
    pub(super) pass: Pass,
}

/// What somebody was let in with, and who judges it.
pub(super) struct Pass {
    chain: Vec<CertificateDer<'static>>,
    judges: watch::Receiver<Judge>,
}

/// Judges certificates by the newest revocation list.
pub(super) type Judge = Arc<dyn ClientCertVerifier>;

impl Pass {
    /// `judges` as it was before the handshake: what has come since is asked.
    pub(super) fn new(chain: Vec<CertificateDer<'static>>, judges: watch::Receiver<Judge>) -> Self {
        Self { chain, judges }
    }

    /// Whether a list that was renewed since it was last asked lets its holder in no more.
    pub(super) fn is_void(&mut self) -> bool {
        if !self.judges.has_changed().unwrap_or(false) {
            return false;
        }
        let judge = Arc::clone(&self.judges.borrow_and_update());
        let Some((own, others)) = self.chain.split_first() else { return true };
        judge.verify_client_cert(own, others, UnixTime::now()).is_err()
    }
}

/// The way in.
pub(crate) struct Door {
    tls: RwLock<TlsAcceptor>,
    judges: watch::Sender<Judge>,
    metrics: TakMetrics,
    strangers: StrangersLog,
    /// By common name.
    places: Mutex<BTreeMap<String, mpsc::Sender<Arrival>>>,
}

impl Door {
    /// # Errors
    /// [`TakError`]: rustls refused certificates or lists.
    pub(crate) fn new(listener: &config::TakListener, metrics: &TakMetrics) -> Result<Arc<Self>, TakError> {
        let (tls, judge) = tls(listener)?;
        Ok(Arc::new(Self {
            tls: RwLock::new(tls),
            judges: watch::Sender::new(judge),
            metrics: metrics.clone(),
            strangers: StrangersLog::new(Instant::now()),
            places: Mutex::default(),
        }))
    }

    /// Takes what `listener` says of certificates; from now on the next handshake and every connection is judged by it.
    ///
    /// # Errors
    /// [`pki::TlsError`]; then nothing has changed.
    pub(crate) fn renew(&self, listener: &config::TakListener) -> Result<(), pki::TlsError> {
        let (tls, judge) = tls(listener)?;
        // In this order: who is let in by the old one learns of the new judge.
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        self.judges.send_replace(judge);
        Ok(())
    }

    /// A place for the client with this common name; an older one of that name is left.
    pub(super) fn place(&self, common_name: &str) -> mpsc::Receiver<Arrival> {
        // One: who comes while another of the name is being taken in comes again.
        let (to, arrivals) = mpsc::channel(1);
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert(common_name.to_owned(), to);
        arrivals
    }

    pub(super) fn metrics(&self) -> &TakMetrics {
        &self.metrics
    }

    /// Lets clients in until `stop`.
    pub(crate) async fn run(self: Arc<Self>, listener: Arc<TcpListener>, stop: CancellationToken) {
        let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
        let mut welcomes = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Some(_) = welcomes.join_next() => continue,
                accepted = accept(&listener, &handshakes) => accepted,
            };
            match accepted {
                Ok((stream, peer, permit)) => {
                    let door = Arc::clone(&self);
                    welcomes.spawn(async move {
                        door.welcome(stream, peer).await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a TAK client");
                    sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await;
                }
            }
        }
    }

    async fn welcome(&self, stream: TcpStream, peer: SocketAddr) {
        // An alarm does not wait for a full segment. A socket that refuses is about to fail.
        _ = stream.set_nodelay(true);
        _ = sockopt::set_socket_send_buffer_size(&stream, SEND_BYTES);
        let judges = self.judges.subscribe();
        let tls = self.tls.read().unwrap_or_else(PoisonError::into_inner).clone();
        let handshake = timeout(Duration::from_millis(HANDSHAKE_MS_MAX), tls.accept(stream));
        let stream = match handshake.await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return self.refuse(peer, TakRefusal::Tls, &error.to_string()),
            Err(_) => return self.refuse(peer, TakRefusal::Tls, "the handshake took too long"),
        };
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default().to_vec();
        let holder = chain.first().and_then(pki::certificate_holder);
        let Some(holder) = holder else {
            return self.refuse(peer, TakRefusal::Stranger, "the certificate has no common name, or several");
        };
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = places.get(&holder.common_name) else {
            drop(places);
            return self.refuse(peer, TakRefusal::Stranger, &format!("{:?}", holder.common_name));
        };
        let pass = Pass::new(chain.into_iter().map(CertificateDer::into_owned).collect(), judges);
        let arrival = Arrival { stream: Box::new(stream), peer, not_after_s: holder.not_after_s, pass };
        let is_full = place.try_send(arrival).is_err();
        drop(places);
        if is_full {
            self.refuse(peer, TakRefusal::Busy, &holder.common_name);
        }
    }

    fn refuse(&self, peer: SocketAddr, reason: TakRefusal, detail: &str) {
        self.metrics.refused(reason).inc();
        if let Some(unsaid) = self.strangers.may_say(Instant::now()) {
            tracing::warn!(%peer, reason = reason.as_str(), detail, unsaid, "TAK client refused");
        }
    }
}

fn tls(listener: &config::TakListener) -> Result<(TlsAcceptor, Judge), pki::TlsError> {
    let judge = pki::client_verifier(&listener.client_authority, listener.revocation_list.as_deref())?;
    let tls = pki::mutual_server_with(&listener.identity, Arc::clone(&judge))?;
    Ok((TlsAcceptor::from(tls), judge))
}

async fn accept(
    listener: &TcpListener,
    handshakes: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(handshakes).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, permit))
}
