//! One connection: a task that moves bytes between the TLS link and the session.
//!
//! **One poll reads all there is, then writes once**: PUBACKs of a whole read batch, or of a whole commit, leave in one
//! TLS record and one system call. Nothing is allocated for an idle connection: the receive buffer belongs to the worker
//! thread, and what remains of a packet cut in two is kept only while it is cut.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::BytesMut;
use prometheus_client::metrics::gauge::Gauge;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep_until};

use super::codec;
use super::commit::CommitBell;
use super::desk::Desk;
use super::pipe::Pipe;
use super::reason::Reason;
use super::session::{Session, read_connect};
use super::tls::Link;
use super::{Door, IngestConfig};
use crate::pki::{FrontDoorTls, Identity};
use crate::spool::Lsn;

/// Unwritten bytes above which nothing more is read: a client that does not read its PUBACKs gets no more.
const OUT_BYTES_MAX: usize = 16 * 1024;

/// Larger buffers are given back once they are empty.
const IDLE_BYTES_MAX: usize = 256;

/// How long a last packet and its goodbye may take.
const CLOSE_DEADLINE: Duration = Duration::from_secs(1);

thread_local! {
    /// Of the worker thread, used only within one poll.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        opened: Vec::new(),
        entry: BytesMut::new(),
    });
}

struct Scratch {
    /// MQTT bytes as they came.
    opened: Vec<u8>,
    /// One entry of the spool.
    entry: BytesMut,
}

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
    let brought = Box::new((arrival, session, door));
    let served = async move {
        // On the desk's thread now, whose event loop takes the socket over.
        let Some(connection) = Connection::attach(brought) else { return };
        connection.run(peer, counted).await;
    };
    desk.serve(served, &tracker);
}

/// Serves the connection that `accepting` brings to its end.
pub(super) async fn serve_on<W: Pipe>(
    accepting: impl Future<Output = Result<(W, Identity), (Reason, String)>>,
    peer: SocketAddr,
    door: Arc<Door>,
    bell: Arc<CommitBell>,
) {
    let counted = Counted::new(&door);
    // Boxed: arriving is done once, the connection stays for hours.
    if let Some((arrival, session)) = Box::pin(arrive(accepting, peer, &door, &bell)).await {
        Box::new(Connection::new(arrival, session, door)).run(peer, counted).await;
    }
}

/// Counts a connection for as long as it is there, however it ends.
struct Counted(Gauge);

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
struct Arrival<W> {
    peer: SocketAddr,
    identity: Option<Identity>,
    link: Option<W>,
    received: Vec<u8>,
    out: Vec<u8>,
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
            let received = &mut self.received;
            let read = poll_fn(|cx| {
                SCRATCH.with_borrow_mut(|Scratch { opened, .. }| {
                    let read = link.poll_read(cx, opened);
                    read.map_ok(|()| {
                        received.extend_from_slice(opened);
                        opened.len()
                    })
                })
            });
            if !matches!(read.await, Ok(count) if count > 0) {
                return Err(Reason::PeerClosed.into());
            }
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
    fn try_map<V, E>(self, form: impl FnOnce(W) -> Result<V, E>) -> Result<Arrival<V>, E> {
        let Self { peer, identity, link, received, out } = self;
        Ok(Arrival { peer, identity, link: link.map(form).transpose()?, received, out })
    }
}

/// A device on its way from the handshake to its desk.
type Brought = (Arrival<Link<std::net::TcpStream>>, Session, Arc<Door>);

/// A connected device.
struct Connection<W> {
    door: Arc<Door>,
    link: W,
    session: Session,
    /// The beginning of a packet, or what a blocked session has not taken.
    kept: Vec<u8>,
    /// MQTT bytes to write.
    out: Vec<u8>,
    /// When this poll began.
    now: Instant,
    heard_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// Whom line, timer and bell know: registered once, not at every poll.
    waker: Option<Waker>,
    /// The entry whose commit wakes this task, if any.
    bell_rings_for: Lsn,
    /// The ring of the bell that a wait for room was registered after.
    room_asked_at: Option<u64>,
}

impl Connection<Link> {
    /// What the handshake brought, on this thread's event loop; `None` if that takes no more.
    fn attach(brought: Box<Brought>) -> Option<Box<Self>> {
        let (arrival, session, door) = *brought;
        let arrival = arrival.try_map(Link::attach).ok()?;
        Some(Box::new(Self::new(arrival, session, door)))
    }
}

impl<W: Pipe> Connection<W> {
    fn new(arrival: Arrival<W>, session: Session, door: Arc<Door>) -> Self {
        tracing::debug!(peer = %arrival.peer, unit = %session.identity(), "device connected");
        let heard_at = Instant::now();
        Self {
            door,
            link: arrival.link.expect("a session starts on a link"),
            timer: Box::pin(sleep_until(heard_at + session.keep_alive())),
            session,
            kept: arrival.received,
            out: arrival.out,
            now: heard_at,
            heard_at,
            waker: None,
            bell_rings_for: Lsn(0),
            room_asked_at: None,
        }
    }

    /// Serves the device until the connection has ended.
    async fn run(mut self: Box<Self>, peer: SocketAddr, counted: Counted) {
        let reason = poll_fn(|cx| self.poll(cx)).await;
        self.finish(peer, reason);
        match reason {
            // Who has gone hears no goodbye.
            Reason::PeerClosed => drop(self),
            _ => (*self).leave().await,
        }
        drop(counted);
    }

    /// Ends the session, then says goodbye.
    fn leave(self) -> Pin<Box<impl Future<Output = ()>>> {
        let Self { link, out, session, .. } = self;
        drop(session);
        Box::pin(say_goodbye(link, out))
    }

    /// Runs until the connection has to end, and says why.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Reason> {
        self.now = Instant::now();
        if !self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.session.line().register(cx.waker());
            self.bell_rings_for = Lsn(0);
        }
        match SCRATCH.with_borrow_mut(|scratch| self.work(cx, scratch)) {
            Ok(()) => Poll::Pending,
            Err(reason) => Poll::Ready(reason),
        }
    }

    /// Reads and handles all there is, settles what is due, writes it, and arranges the next wake-up.
    fn work(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Reason> {
        let ended = self.session.line().ended();
        if let Some(reason) = ended.filter(|reason| *reason != Reason::Draining) {
            return Err(reason);
        }
        loop {
            if ended.is_none() {
                self.receive(cx, scratch)?;
            }
            let had_stopped = self.is_stopped();
            self.session.settle(&mut scratch.entry, &mut self.out)?;
            if let Poll::Ready(Err(_)) = self.link.poll_write(cx, &mut self.out) {
                return Err(Reason::PeerClosed);
            }
            // Reading stopped with bytes left, so the socket wakes nobody: read on here.
            let reads_on = had_stopped && !self.is_stopped() && ended.is_none();
            if !reads_on && self.sleeps(cx)? {
                break;
            }
        }
        if self.out.is_empty() && self.out.capacity() > IDLE_BYTES_MAX {
            self.out = Vec::new();
        }
        // Draining: nothing is read any more, and what was stored has been acknowledged.
        if ended.is_some() && self.session.uplink().waits_for().is_none() {
            return Err(Reason::Draining);
        }
        Ok(())
    }

    /// Whether the session takes no more, or the client takes no more.
    fn is_stopped(&self) -> bool {
        self.session.uplink().is_blocked() || self.out.len() > OUT_BYTES_MAX
    }

    /// Reads until there is nothing, or reading is stopped.
    fn receive(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Reason> {
        if !self.kept.is_empty() && !self.session.uplink().is_blocked() {
            self.feed_kept(&mut scratch.entry)?;
        }
        while !self.is_stopped() {
            let Poll::Ready(read) = self.link.poll_read(cx, &mut scratch.opened) else { break };
            let bytes = &scratch.opened[..];
            match read {
                // Not what TLS sent: damage on the way, or an attempt.
                Err(error) if error.kind() == ErrorKind::InvalidData => return Err(Reason::Malformed),
                Err(_) => return Err(Reason::PeerClosed),
                Ok(()) if bytes.is_empty() => return Err(Reason::PeerClosed),
                Ok(()) => {}
            }
            self.heard_at = self.now;
            if self.kept.is_empty() {
                let fed = self.session.feed(bytes, &mut scratch.entry, &mut self.out);
                self.kept.extend_from_slice(&bytes[fed.used..]);
                fed.end.map_or(Ok(()), Err)?;
            } else {
                self.kept.extend_from_slice(bytes);
                self.feed_kept(&mut scratch.entry)?;
            }
        }
        Ok(())
    }

    fn feed_kept(&mut self, entry: &mut BytesMut) -> Result<(), Reason> {
        let fed = self.session.feed(&self.kept, entry, &mut self.out);
        self.kept.drain(..fed.used);
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
        fed.end.map_or(Ok(()), Err)
    }

    /// Registers every wake-up that the connection needs. False if something is due already.
    fn sleeps(&mut self, cx: &mut Context<'_>) -> Result<bool, Reason> {
        let bell = self.session.bell();
        if let Some(lsn) = self.session.uplink().waits_for() {
            if bell.is_final() && lsn > bell.committed() {
                return Err(Reason::SpoolFailed);
            }
            if lsn != self.bell_rings_for {
                if !bell.wait_for(lsn, cx.waker()) {
                    return Ok(false);
                }
                self.bell_rings_for = lsn;
            }
        }
        if self.session.uplink().holds() {
            let asked_at = bell.wait_for_room(self.room_asked_at, cx.waker());
            if self.room_asked_at.replace(asked_at) != Some(asked_at) {
                return Ok(false); // there may be room since it was last tried
            }
        }
        let timer_knows = self.waker.as_ref().is_some_and(|known| known.will_wake(cx.waker()));
        if timer_knows && self.timer.deadline() > self.now {
            return Ok(true);
        }
        self.waker = Some(cx.waker().clone());
        while self.timer.as_mut().poll(cx).is_ready() {
            let due_at = self.heard_at + self.session.keep_alive();
            // Verified at the handshake, once; a connection may outlive it by a keep-alive interval.
            if self.session.is_expired() {
                return Err(Reason::CertificateExpired);
            }
            // While reading is stopped, silence is ours.
            if due_at > Instant::now() {
                self.timer.as_mut().reset(due_at);
            } else if self.session.uplink().is_blocked() {
                self.heard_at = Instant::now();
            } else {
                return Err(Reason::KeepAlive);
            }
        }
        Ok(true)
    }

    /// Counts, logs, and leaves the session to whoever comes next.
    fn finish(&mut self, peer: SocketAddr, reason: Reason) {
        self.session.write_end(reason, &mut self.out);
        self.door.metrics.ingest.ended(reason).inc();
        let unit = self.session.identity();
        let foreign_topics = self.session.uplink().foreign_count();
        let is_ordinary = reason.is_ordinary() && foreign_topics == 0;
        let reason = reason.as_str();
        if is_ordinary {
            tracing::debug!(%peer, %unit, reason, "device disconnected");
        } else {
            tracing::warn!(%peer, %unit, reason, foreign_topics, "device disconnected");
        }
    }
}

/// Writes what is left and closes, within [`CLOSE_DEADLINE`]. A peer that is gone, or too slow, misses it.
async fn say_goodbye(mut link: impl Pipe, mut out: Vec<u8>) {
    _ = tokio::time::timeout(CLOSE_DEADLINE, link.close(&mut out)).await;
}
