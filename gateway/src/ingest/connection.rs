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
use tokio::time::{Instant, Sleep, sleep_until};

use super::Door;
use super::arrival::{Arrival, Brought, Counted};
use super::pipe::Pipe;
use super::reason::Reason;
use super::session::Session;
use super::tls::Link;
use super::turns::{AT_ONCE_BYTES, Turn, Turns};
use crate::sabotage::{self, Sabotage};
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

/// A connected device.
pub(super) struct Connection<W> {
    door: Arc<Door>,
    link: W,
    session: Session,
    turns: Option<Arc<Turns>>,
    /// The beginning of a packet, what a blocked session has not taken, or what waits for `turn`.
    kept: Vec<u8>,
    /// Set while `kept` waits for it.
    turn: Option<Turn>,
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
    pub(super) fn attach(brought: Box<Brought>) -> Option<Box<Self>> {
        let (arrival, session, door, turns) = *brought;
        let arrival = arrival.try_map(Link::attach).ok()?;
        Some(Box::new(Self::new(arrival, session, door, Some(turns))))
    }
}

impl<W: Pipe> Connection<W> {
    pub(super) fn new(
        arrival: Arrival<W>,
        session: Session,
        door: Arc<Door>,
        turns: Option<Arc<Turns>>,
    ) -> Self {
        tracing::debug!(peer = %arrival.peer, unit = %session.identity(), "device connected");
        let heard_at = Instant::now();
        Self {
            door,
            link: arrival.link.expect("a session starts on a link"),
            timer: Box::pin(sleep_until(heard_at + session.keep_alive())),
            session,
            turns,
            kept: arrival.received,
            turn: None,
            out: arrival.out,
            now: heard_at,
            heard_at,
            waker: None,
            bell_rings_for: Lsn(0),
            room_asked_at: None,
        }
    }

    /// Serves the device until the connection has ended.
    pub(super) async fn run(mut self: Box<Self>, peer: SocketAddr, counted: Counted) {
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

    /// Whether the session takes no more, the client takes no more, or enough waits for its turn.
    fn is_stopped(&self) -> bool {
        self.session.uplink().is_blocked()
            || self.out.len() > OUT_BYTES_MAX
            || self.turn.as_ref().is_some_and(Turn::is_full)
    }

    /// Reads until there is nothing, or reading is stopped.
    fn receive(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Result<(), Reason> {
        self.turn.take_if(|turn| turn.has_come());
        if !self.kept.is_empty() && self.turn.is_none() && !self.session.uplink().is_blocked() {
            self.feed_kept(&mut scratch.entry)?;
        }
        while !self.is_stopped() {
            let Poll::Ready(read) = self.link.poll_read(cx, &mut scratch.opened) else { break };
            let bytes = &scratch.opened[..];
            if let Some(end) = end_of(&read, bytes) {
                // Before it went, it had said this.
                if self.turn.take().is_some() {
                    self.feed_kept(&mut scratch.entry)?;
                }
                return Err(end);
            }
            self.heard_at = self.now;
            if self.kept.is_empty() && bytes.len() <= AT_ONCE_BYTES {
                let fed = self.session.feed(bytes, &mut scratch.entry, &mut self.out);
                self.kept.extend_from_slice(&bytes[fed.used..]);
                fed.end.map_or(Ok(()), Err)?;
            } else {
                self.kept.extend_from_slice(bytes);
                self.turn = self.wait_for_turn(cx);
                if self.turn.is_none() {
                    self.feed_kept(&mut scratch.entry)?;
                }
            }
        }
        Ok(())
    }

    /// The turn that what is kept waits for; `None` if it is to be heard now.
    fn wait_for_turn(&mut self, cx: &Context<'_>) -> Option<Turn> {
        let turn = self.turn.take();
        if (turn.is_none() && self.kept.len() <= AT_ONCE_BYTES) || sabotage::is(Sabotage::OneLane) {
            return None;
        }
        let looked = turn.as_ref().map_or(0, |turn| turn.looked);
        let looked = looked + self.session.can_wait(&self.kept[looked..])?;
        let mut turn = match turn {
            Some(turn) => turn,
            None => self.turns.as_ref()?.ask(self.kept.len(), cx.waker())?,
        };
        turn.looked = looked;
        turn.has_room_for(self.kept.len()).then_some(turn)
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
            } else if self.session.uplink().is_blocked() || self.turn.is_some() {
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

/// Why a read is the connection's last, if it is.
fn end_of(read: &std::io::Result<()>, bytes: &[u8]) -> Option<Reason> {
    match read {
        // Not what TLS sent: damage on the way, or an attempt.
        Err(error) if error.kind() == ErrorKind::InvalidData => Some(Reason::Malformed),
        Err(_) => Some(Reason::PeerClosed),
        Ok(()) => bytes.is_empty().then_some(Reason::PeerClosed),
    }
}

/// Writes what is left and closes, within [`CLOSE_DEADLINE`]. A peer that is gone, or too slow, misses it.
pub(super) async fn say_goodbye(mut link: impl Pipe, mut out: Vec<u8>) {
    _ = tokio::time::timeout(CLOSE_DEADLINE, link.close(&mut out)).await;
}
