//! Gateway to device: who is connected, and what waits for whom.
//!
//! **"Delivered" means the device acknowledged it, never that it was written to a socket.** A message is in exactly one
//! state: waiting or in flight ([`Delivery::Queued`]), acknowledged ([`Delivery::Delivered`]), or nobody's any more
//! ([`Delivery::Unknown`]). Sessions live in memory: a restart of the gateway ends them, and every waiting message with
//! them becomes `Unknown`; what must outlive that (an alarm's acknowledgement) is in the spool.
//!
//! ```text
//! send --> queue (<= 64) --> in flight (<= client's receive maximum) --PUBACK--> Delivered
//!             ^                  '-- connection lost: kept for the session's expiry, sent again marked DUP
//! ```

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;

use bytes::Bytes;
use fieldpost_protocol::limits::DOWNLINK_BYTES_MAX;
use fieldpost_protocol::{DeviceId, Downlink as Frame, ForceId};
use tokio::sync::{broadcast, oneshot};
use tokio::time::Instant;

use crate::ingest::Reason;

/// How much waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownlinkBounds {
    /// Messages waiting for or in flight to one device.
    pub messages_max: usize,
    /// Sessions, connected or not; beyond it the disconnected one that expires first is ended.
    pub sessions_max: usize,
}

impl Default for DownlinkBounds {
    /// 64 x 256 B a device at most; 100,000 sessions: twice the largest force.
    fn default() -> Self {
        Self { messages_max: 64, sessions_max: 100_000 }
    }
}

/// How far a downlink message has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The device acknowledged it.
    Delivered,
    /// It waits for the device, connected or not.
    Queued,
    /// Nobody can say: the device has no session, its queue was full, or its session ended before it acknowledged.
    Unknown,
}

/// A message under way. Dropping it does not take the message back.
#[derive(Debug)]
pub struct Sending {
    outcome: Option<oneshot::Receiver<()>>,
}

impl Sending {
    /// How far the message is at this moment, without waiting.
    pub fn now(&mut self) -> Delivery {
        match self.outcome.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Ok(())) => {
                // A oneshot gives its value once; the answer must stay the same.
                let (sender, receiver) = oneshot::channel();
                _ = sender.send(());
                self.outcome = Some(receiver);
                Delivery::Delivered
            }
            Some(Err(oneshot::error::TryRecvError::Empty)) => Delivery::Queued,
            Some(Err(oneshot::error::TryRecvError::Closed)) | None => Delivery::Unknown,
        }
    }

    /// Waits until the device acknowledged it, or nobody can any more. May take as long as the device's session lasts.
    /// Cancel-safe; never [`Delivery::Queued`].
    pub async fn settled(self) -> Delivery {
        let Some(outcome) = self.outcome else { return Delivery::Unknown };
        if outcome.await.is_ok() { Delivery::Delivered } else { Delivery::Unknown }
    }
}

/// A device came or went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionEvent {
    /// Its force.
    pub force: ForceId,
    /// The device.
    pub device: DeviceId,
    /// True if it came.
    pub is_connected: bool,
}

/// Events a slow listener may be behind before it is told that it missed some.
const EVENTS_MAX: usize = 4096;

/// The registry of sessions. Clones share it.
#[derive(Debug, Clone)]
pub struct Downlink {
    registry: Arc<Registry>,
}

#[derive(Debug)]
struct Registry {
    units: Mutex<HashMap<Box<str>, Arc<Unit>>>,
    events: broadcast::Sender<ConnectionEvent>,
    bounds: DownlinkBounds,
    next_line: AtomicU64,
}

/// One device's session: outlives its connections by the session expiry.
#[derive(Debug)]
pub(crate) struct Unit {
    force: ForceId,
    device: DeviceId,
    messages_max: usize,
    session: Mutex<Session>,
}

#[derive(Debug, Default)]
struct Session {
    line: Option<Arc<Line>>,
    /// Granted quality of the device's one subscription.
    subscribed: Option<u8>,
    time_is_due: bool,
    waiting: VecDeque<Message>,
    /// In flight, oldest first; `sent_on` tells a redelivery.
    in_flight: VecDeque<InFlight>,
    last_packet_id: u16,
    /// Set while disconnected.
    expires_at: Option<Instant>,
}

#[derive(Debug)]
struct Message {
    frame: Bytes,
    /// Not sent after this, Unix time in ms.
    expires_at_ms: u64,
    outcome: oneshot::Sender<()>,
}

#[derive(Debug)]
struct InFlight {
    packet_id: NonZeroU16,
    sent_on: u64,
    message: Message,
}

/// One connection as the rest of the gateway sees it: it can be woken, and told to end.
#[derive(Debug)]
pub(crate) struct Line {
    id: u64,
    /// Certificate serial number, to find the connections of a revoked one.
    serial: Box<[u8]>,
    /// The connection's task. It stays: a task is woken many times and registers once.
    waker: Mutex<Option<Waker>>,
    /// Set when there may be something to write, so that a connection looks only then.
    has_mail: AtomicBool,
    ended: Mutex<Option<Reason>>,
    /// Set once there is a reason in `ended`, so that a connection locks only then.
    has_ended: AtomicBool,
}

/// What the connection writes next.
pub(crate) enum Outgoing {
    /// The gateway's time, quality 0: a late copy would be wrong.
    Time,
    /// A frame; the packet id is there for quality 1.
    Frame { frame: Bytes, packet_id: Option<NonZeroU16>, is_redelivery: bool },
}

impl Downlink {
    /// An empty registry.
    #[must_use]
    pub fn new(bounds: DownlinkBounds) -> Self {
        let (events, _) = broadcast::channel(EVENTS_MAX);
        Self {
            registry: Arc::new(Registry {
                units: Mutex::default(),
                events,
                bounds,
                next_line: AtomicU64::new(1),
            }),
        }
    }

    /// Queues a message for a device that has a session. A command is not sent after its expiry.
    pub fn send(&self, force: &ForceId, device: &DeviceId, message: &Frame) -> Sending {
        let Some(unit) = self.unit(force, device) else { return Sending { outcome: None } };
        let mut buffer = [0; DOWNLINK_BYTES_MAX];
        let Ok(frame) = message.encode(&mut buffer) else { return Sending { outcome: None } };
        let expires_at_ms = match message {
            Frame::Command(command) => command.expires_at_ms,
            _ => u64::MAX,
        };
        let (sender, receiver) = oneshot::channel();
        let message = Message { frame: Bytes::copy_from_slice(frame), expires_at_ms, outcome: sender };
        unit.enqueue(message);
        Sending { outcome: Some(receiver) }
    }

    /// Ends a device's connection. False if it has none.
    pub fn disconnect(&self, force: &ForceId, device: &DeviceId, reason: Reason) -> bool {
        let line = self.unit(force, device).and_then(|unit| unit.lock().line.clone());
        if let Some(line) = &line {
            line.end(reason);
        }
        line.is_some()
    }

    /// Ends every connection whose certificate serial number `is_revoked` says yes to; returns how many.
    pub fn disconnect_revoked(&self, is_revoked: impl Fn(&[u8]) -> bool) -> usize {
        self.end_where(Reason::CertificateRevoked, |_, line| is_revoked(&line.serial))
    }

    /// Ends every connection that `ends` says yes to; returns how many.
    pub(crate) fn end_where(&self, reason: Reason, ends: impl Fn(&ForceId, &Line) -> bool) -> usize {
        let mut count = 0;
        for unit in lock(&self.registry.units).values() {
            if let Some(line) = unit.lock().line.as_ref().filter(|line| ends(&unit.force, line)) {
                line.end(reason);
                count += 1;
            }
        }
        count
    }

    /// Whether the device is connected now.
    #[must_use]
    pub fn is_connected(&self, force: &ForceId, device: &DeviceId) -> bool {
        self.unit(force, device).is_some_and(|unit| unit.lock().line.is_some())
    }

    /// Every device connected now. For a picture that stays true, subscribe to [`Downlink::events`] first.
    #[must_use]
    pub fn connected(&self) -> Vec<(ForceId, DeviceId)> {
        let units = lock(&self.registry.units);
        let connected = units.values().filter(|unit| unit.lock().line.is_some());
        connected.map(|unit| (unit.force.clone(), unit.device.clone())).collect()
    }

    /// Devices coming and going from now on. A listener that falls behind gets `Lagged` and reads
    /// [`Downlink::connected`] again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.registry.events.subscribe()
    }

    fn unit(&self, force: &ForceId, device: &DeviceId) -> Option<Arc<Unit>> {
        lock(&self.registry.units).get(unit_id(force, device).as_str()).cloned()
    }

    /// Makes a connection the device's one, ending an older one. Returns the session and whether it was there before.
    pub(crate) fn attach(
        &self,
        force: &ForceId,
        device: &DeviceId,
        serial: &[u8],
        clean_start: bool,
    ) -> (Arc<Unit>, Arc<Line>, bool) {
        let line = Arc::new(Line {
            id: self.registry.next_line.fetch_add(1, Ordering::Relaxed),
            serial: serial.into(),
            waker: Mutex::default(),
            has_mail: AtomicBool::new(true), // whatever a resumed session has waiting
            ended: Mutex::default(),
            has_ended: AtomicBool::new(false),
        });
        let mut units = lock(&self.registry.units);
        let unit = match units.get(unit_id(force, device).as_str()) {
            Some(unit) => Arc::clone(unit),
            None => self.insert(&mut units, force, device),
        };
        let mut session = unit.lock();
        drop(units);
        let older = session.line.take();
        let is_kept = older.is_some() || session.expires_at.is_some_and(|at| at > Instant::now());
        let is_resumed = is_kept && !clean_start;
        if !is_resumed {
            *session = Session::default();
        }
        session.line = Some(Arc::clone(&line));
        session.expires_at = None;
        session.time_is_due = session.subscribed.is_some();
        match older {
            Some(older) => older.end(Reason::TakenOver),
            None => self.announce(&unit, true),
        }
        drop(session);
        (unit, line, is_resumed)
    }

    fn insert(
        &self,
        units: &mut HashMap<Box<str>, Arc<Unit>>,
        force: &ForceId,
        device: &DeviceId,
    ) -> Arc<Unit> {
        if units.len() >= self.registry.bounds.sessions_max {
            let soonest =
                units.iter().filter_map(|(id, unit)| Some((unit.lock().expires_at?, id.clone()))).min();
            soonest.map(|(_, id)| units.remove(&id));
        }
        let unit = Arc::new(Unit {
            force: force.clone(),
            device: device.clone(),
            messages_max: self.registry.bounds.messages_max,
            session: Mutex::default(),
        });
        units.insert(unit_id(force, device).into_boxed_str(), Arc::clone(&unit));
        unit
    }

    /// The connection is over; its session stays for `expiry`.
    pub(crate) fn detach(&self, unit: &Unit, line: &Line, expiry: Duration) {
        let mut units = lock(&self.registry.units);
        let mut session = unit.lock();
        if session.line.as_ref().is_none_or(|current| current.id != line.id) {
            return; // taken over
        }
        session.line = None;
        if expiry.is_zero() {
            *session = Session::default();
            units.remove(unit_id(&unit.force, &unit.device).as_str());
        } else {
            session.expires_at = Some(Instant::now() + expiry);
        }
        self.announce(unit, false);
    }

    /// Ends the sessions that have expired.
    pub(crate) fn sweep(&self, now: Instant) {
        lock(&self.registry.units).retain(|_, unit| unit.lock().expires_at.is_none_or(|at| at > now));
    }

    /// Tells the listeners. Call with the session locked: events of one device are in the order of what happened.
    fn announce(&self, unit: &Unit, is_connected: bool) {
        let event = ConnectionEvent { force: unit.force.clone(), device: unit.device.clone(), is_connected };
        // Nobody listening is fine: whoever comes later reads `connected` first.
        _ = self.registry.events.send(event);
    }
}

impl Unit {
    fn lock(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    /// Takes a message, or drops it (which tells its sender) if the queue is full.
    fn enqueue(&self, message: Message) {
        let mut session = self.lock();
        if session.waiting.len() + session.in_flight.len() < self.messages_max {
            session.waiting.push_back(message);
            if let Some(line) = &session.line {
                line.post();
            }
        }
    }

    /// The device subscribed its downlink with this quality, or took it back.
    pub(crate) fn subscribe(&self, qos: Option<u8>) -> bool {
        let mut session = self.lock();
        session.time_is_due = qos.is_some();
        if let Some(line) = &session.line {
            line.post();
        }
        std::mem::replace(&mut session.subscribed, qos).is_some()
    }

    /// The next message to write on `line`, if the client takes another: `in_flight_max` is its receive maximum and
    /// `fits` its maximum packet size.
    pub(crate) fn next(
        &self,
        line: &Line,
        in_flight_max: u16,
        now_ms: u64,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Option<Outgoing> {
        let mut session = self.lock();
        let qos = session.subscribed?;
        if session.line.as_ref().is_none_or(|current| current.id != line.id) {
            return None;
        }
        if std::mem::take(&mut session.time_is_due) {
            return Some(Outgoing::Time);
        }
        let under_way_count = session.in_flight.iter().filter(|sent| sent.sent_on == line.id).count();
        if under_way_count >= usize::from(in_flight_max) {
            return None;
        }
        // Redeliveries first, so that the order stays.
        if let Some(again) = session.in_flight.iter_mut().find(|sent| sent.sent_on != line.id) {
            again.sent_on = line.id;
            return Some(Outgoing::Frame {
                frame: again.message.frame.clone(),
                packet_id: Some(again.packet_id),
                is_redelivery: true,
            });
        }
        loop {
            let message = session.waiting.pop_front()?;
            if message.expires_at_ms <= now_ms || !fits(&message.frame) {
                continue; // dropping it tells its sender
            }
            let frame = message.frame.clone();
            if qos == 0 {
                return Some(Outgoing::Frame { frame, packet_id: None, is_redelivery: false });
            }
            let packet_id = session.next_packet_id();
            session.in_flight.push_back(InFlight { packet_id, sent_on: line.id, message });
            return Some(Outgoing::Frame { frame, packet_id: Some(packet_id), is_redelivery: false });
        }
    }

    /// The device answered a message: it took it, or refused it, which tells the sender that nobody has it. Nothing
    /// happens if that packet id is not in flight.
    pub(crate) fn answered(&self, packet_id: NonZeroU16, is_refused: bool) {
        let mut session = self.lock();
        let Some(at) = session.in_flight.iter().position(|sent| sent.packet_id == packet_id) else {
            return;
        };
        if let Some(sent) = session.in_flight.remove(at).filter(|_| !is_refused) {
            // The sender may have stopped waiting; the message has arrived all the same.
            _ = sent.message.outcome.send(());
        }
        // There is room for another: a waiting one, or one of an older connection.
        if let Some(line) = &session.line {
            line.post();
        }
    }
}

impl Session {
    /// Never 0, never one in flight: at most `messages_max` of 65,535 are.
    fn next_packet_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            let id = NonZeroU16::new(self.last_packet_id).unwrap_or(NonZeroU16::MIN);
            if self.in_flight.iter().all(|sent| sent.packet_id != id) {
                return id;
            }
        }
    }
}

impl Line {
    /// Tells the connection to end. The first reason stays, except that a drain gives way to anything.
    pub(crate) fn end(&self, reason: Reason) {
        let mut ended = lock(&self.ended);
        if ended.is_none_or(|first| first == Reason::Draining) {
            *ended = Some(reason);
        }
        self.has_ended.store(true, Ordering::Release);
        drop(ended);
        self.wake();
    }

    /// Why the connection has to end, if it has to.
    pub(crate) fn ended(&self) -> Option<Reason> {
        if self.has_ended.load(Ordering::Acquire) { *lock(&self.ended) } else { None }
    }

    fn post(&self) {
        self.has_mail.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether there may be something to write; asks once.
    pub(crate) fn take_mail(&self) -> bool {
        // Read first: nearly always there is none, and a read leaves the cache line where it is.
        self.has_mail.load(Ordering::Acquire) && self.has_mail.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn wake(&self) {
        let waker = lock(&self.waker).clone();
        waker.iter().for_each(Waker::wake_by_ref);
    }

    /// The connection's task, woken from now on until another is registered.
    pub(crate) fn register(&self, waker: &Waker) {
        *lock(&self.waker) = Some(waker.clone());
    }

    /// Serial number of the connection's certificate.
    pub(crate) fn serial(&self) -> &[u8] {
        &self.serial
    }
}

fn unit_id(force: &ForceId, device: &DeviceId) -> String {
    format!("{force}/{device}")
}

/// Locks whatever another thread may have left: every critical section leaves its data whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> (ForceId, DeviceId) {
        (ForceId::try_new("f").unwrap(), DeviceId::try_new("d").unwrap())
    }

    const TIME: Frame = Frame::Time { unix_ms: 1 };

    #[test]
    fn a_session_ends_when_it_expires_and_what_waits_is_unknown() {
        let downlink = Downlink::new(DownlinkBounds::default());
        let (force, device) = ids();
        let (unit, line, _) = downlink.attach(&force, &device, &[1], false);
        downlink.detach(&unit, &line, Duration::from_secs(60));
        let mut sending = downlink.send(&force, &device, &TIME);
        drop(unit);
        downlink.sweep(Instant::now() + Duration::from_secs(59));
        assert_eq!(sending.now(), Delivery::Queued);
        downlink.sweep(Instant::now() + Duration::from_secs(61));
        assert_eq!(sending.now(), Delivery::Unknown);
        assert_eq!(downlink.send(&force, &device, &TIME).now(), Delivery::Unknown);
    }

    #[test]
    fn too_many_sessions_end_the_one_that_expires_first_and_never_a_connected_one() {
        let downlink = Downlink::new(DownlinkBounds { sessions_max: 3, ..DownlinkBounds::default() });
        let (force, _) = ids();
        let device = |n: u8| DeviceId::try_new(&format!("d{n}")).unwrap();
        let (_connected, _line, _) = downlink.attach(&force, &device(0), &[0], true);
        for (n, seconds) in [(1, 20), (2, 10)] {
            let (unit, line, _) = downlink.attach(&force, &device(n), &[n], false);
            downlink.detach(&unit, &line, Duration::from_secs(seconds));
        }
        downlink.attach(&force, &device(3), &[3], false);
        assert!(downlink.is_connected(&force, &device(0)) && downlink.is_connected(&force, &device(3)));
        assert_eq!(downlink.send(&force, &device(1), &TIME).now(), Delivery::Queued);
        assert_eq!(downlink.send(&force, &device(2), &TIME).now(), Delivery::Unknown);
    }

    #[test]
    fn the_same_device_id_in_another_force_is_another_device() {
        let downlink = Downlink::new(DownlinkBounds::default());
        let (force, device) = ids();
        let other = ForceId::try_new("g").unwrap();
        let (_unit, line, _) = downlink.attach(&force, &device, &[1], true);
        downlink.attach(&other, &device, &[2], true);
        assert_eq!(line.ended(), None);
        assert!(downlink.disconnect(&other, &device, Reason::Administrative));
        assert_eq!(line.ended(), None);
        assert_eq!(downlink.disconnect_revoked(|serial| serial == [1]), 1);
        assert_eq!(line.ended(), Some(Reason::CertificateRevoked));
    }

    #[test]
    fn a_takeover_is_neither_a_departure_nor_an_arrival() {
        let downlink = Downlink::new(DownlinkBounds::default());
        let (force, device) = ids();
        let mut events = downlink.events();
        let (unit, old, _) = downlink.attach(&force, &device, &[1], true);
        let (_, new, _) = downlink.attach(&force, &device, &[1], true);
        assert_eq!(old.ended(), Some(Reason::TakenOver));
        downlink.detach(&unit, &old, Duration::ZERO);
        assert!(downlink.is_connected(&force, &device));
        downlink.detach(&unit, &new, Duration::ZERO);
        let seen: Vec<_> =
            std::iter::from_fn(|| events.try_recv().ok()).map(|event| event.is_connected).collect();
        assert_eq!(seen, [true, false]);
    }

    #[test]
    fn an_answer_once_given_stays_the_same() {
        let (sender, receiver) = oneshot::channel();
        let mut sending = Sending { outcome: Some(receiver) };
        assert_eq!(sending.now(), Delivery::Queued);
        sender.send(()).unwrap();
        assert_eq!(sending.now(), Delivery::Delivered);
        assert_eq!(sending.now(), Delivery::Delivered);
    }
}
