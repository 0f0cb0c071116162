//! From accept to CONNACK, under one deadline; then the connection is its desk's.
//!
//! **Nobody is served who was not let in here**: a verified certificate, an identity in it, and a CONNECT that says the same.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;

use super::codec;
use super::commit::CommitBell;
use super::connection::{Connection, say_goodbye};
use super::desk::Desk;
use super::pipe::Pipe;
use super::reason::Reason;
use super::session::{Session, read_connect};
use super::tls::Link;
use super::turns::Turns;
use super::{Door, IngestConfig};
use crate::pki::{FrontDoorTls, Identity};

/// Lets one accepted connection arrive here, then hands it to `desk`, which serves it to its end.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    tls: FrontDoorTls,
    door: Arc<Door>,
    desk: Desk,
) {
    let counted = Counted::new(&door);
    // PUBACKs are small and late already: they must not wait for more of their kind. A failure shows on first use.
    _ = stream.set_nodelay(true);
    let accepting = Link::accept(stream, &tls);
    let Some((arrival, session)) = arrive(accepting, peer, &door, desk.bell()).await else { return };
    if arrival.link.as_ref().is_some_and(Link::is_resumed) {
        door.metrics.ingest.resumed.inc();
    }
    let Ok(arrival) = arrival.try_map(Link::detach) else { return };
    let tracker = door.connections.clone();
    // Boxed, here and there: a future keeps room for every step of a value that moves through it, for as long as it lives.
    let brought = Box::new((arrival, session, door, Arc::clone(desk.turns())));
    let served = async move {
        // On the desk's thread now, whose event loop takes the socket over.
        let Some(connection) = Connection::attach(brought) else { return };
        connection.run(peer, counted).await;
    };
    desk.serve(served, &tracker);
}

/// Serves the connection that `accepting` brings to its end; without `turns`, all it brings is heard at once.
pub(super) async fn serve_on<W: Pipe>(
    accepting: impl Future<Output = Result<(W, Identity), (Reason, String)>>,
    peer: SocketAddr,
    door: Arc<Door>,
    bell: Arc<CommitBell>,
    turns: Option<Arc<Turns>>,
) {
    let counted = Counted::new(&door);
    // Boxed: arriving is done once, the connection stays for hours.
    if let Some((arrival, session)) = Box::pin(arrive(accepting, peer, &door, &bell)).await {
        Box::new(Connection::new(arrival, session, door, turns)).run(peer, counted).await;
    }
}

/// Counts a connection for as long as it is there, however it ends.
pub(super) struct Counted(Gauge);

impl Counted {
    fn new(door: &Door) -> Self {
        let gauge = door.metrics.ingest.connections.clone();
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// From accept to CONNACK, under one deadline. `None` if the connection was refused, which is counted, logged and told.
async fn arrive<W: Pipe>(
    accepting: impl Future<Output = Result<(W, Identity), (Reason, String)>>,
    peer: SocketAddr,
    door: &Arc<Door>,
    bell: &Arc<CommitBell>,
) -> Option<(Arrival<W>, Session)> {
    let config = door.config();
    let mut arrival = Arrival { peer, identity: None, link: None, received: Vec::new(), out: Vec::new() };
    let outcome = tokio::select! {
        biased;
        () = door.closing.cancelled() => Err(Reason::Draining.into()),
        outcome = arrival.proceed(accepting, &config, door, bell) => outcome,
        () = tokio::time::sleep(config.connect_deadline) => Err(Reason::ConnectDeadline.into()),
    };
    match outcome {
        Ok(session) => Some((arrival, session)),
        Err((reason, detail)) => {
            arrival.refuse(door, reason, &detail);
            if let Some(link) = arrival.link {
                say_goodbye(link, arrival.out).await;
            }
            None
        }
    }
}

/// A connection on its way to CONNACK.
pub(super) struct Arrival<W> {
    pub(super) peer: SocketAddr,
    identity: Option<Identity>,
    pub(super) link: Option<W>,
    /// MQTT bytes behind the CONNECT.
    pub(super) received: Vec<u8>,
    /// MQTT bytes to write.
    pub(super) out: Vec<u8>,
}

impl<W: Pipe> Arrival<W> {
    async fn proceed(
        &mut self,
        accepting: impl Future<Output = Result<(W, Identity), (Reason, String)>>,
        config: &Arc<IngestConfig>,
        door: &Arc<Door>,
        bell: &Arc<CommitBell>,
    ) -> Result<Session, (Reason, String)> {
        let (link, identity) = accepting.await?;
        let link = self.link.insert(link);
        let identity = self.identity.insert(identity);
        loop {
            if let Some(packet) = codec::split(&self.received, config.packet_bytes_max as usize)? {
                let connect = read_connect(&packet, identity, &config.forces, &mut self.out)?;
                let size = packet.size;
                self.received.drain(..size);
                let (identity, config, bell) = (identity.clone(), Arc::clone(config), Arc::clone(bell));
                return Ok(Session::start(&connect, identity, config, door, bell, &mut self.out));
            }
            let mut opened = Vec::new();
            let read = poll_fn(|cx| link.poll_read(cx, &mut opened)).await;
            if read.is_err() || opened.is_empty() {
                return Err(Reason::PeerClosed.into());
            }
            self.received.append(&mut opened);
        }
    }

    fn refuse(&self, door: &Door, reason: Reason, detail: &str) {
        door.metrics.ingest.refused(reason).inc();
        let (peer, reason) = (self.peer, reason.as_str());
        match &self.identity {
            Some(identity) => {
                tracing::warn!(%peer, unit = %identity, reason, detail, "connection refused");
            }
            None => {
                if let Some(unsaid) = door.strangers.may_say(std::time::Instant::now()) {
                    tracing::warn!(%peer, reason, detail, unsaid, "connection refused");
                }
            }
        }
    }
}

impl<W> Arrival<W> {
    /// The same over another form of its link.
    pub(super) fn try_map<V, E>(self, form: impl FnOnce(W) -> Result<V, E>) -> Result<Arrival<V>, E> {
        let Self { peer, identity, link, received, out } = self;
        Ok(Arrival { peer, identity, link: link.map(form).transpose()?, received, out })
    }
}

/// A device on its way from the handshake to its desk.
pub(super) type Brought = (Arrival<Link<std::net::TcpStream>>, Session, Arc<Door>, Arc<Turns>);
