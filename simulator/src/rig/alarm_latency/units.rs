//! Units on duty, each with a connection: a position each period, and, once the word is given, a backlog as their devices send it:
//! batches of [`BATCH_ITEMS`] in the backlog's lane, [`OPEN_MAX`] at a time, beside what is live.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use fieldpost_protocol::{BootId, Lane, Seq, limits};
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{AlarmLatencyPlan, RigError};
use crate::{
    check::latency::Latencies,
    fleet::source::unix_ms,
    raw::{Client, ClientError, Credentials, Heard, frame},
};

/// What a device puts into a batch.
const BATCH_ITEMS: u32 = 30;
/// Batches of one unit that wait for their PUBACK.
const OPEN_MAX: usize = 2;
/// Handshakes at a time: more only wait for each other.
const HANDSHAKES_MAX: usize = 32;
const BOOT: BootId = BootId(1);

/// Running units.
pub(super) struct Units {
    running: JoinSet<Result<(), ClientError>>,
    field: Arc<Field>,
}

/// What the units share.
struct Field {
    address: SocketAddr,
    period: Duration,
    backlog_count: u64,
    /// Everybody is back within this.
    spread: Duration,
    unit_count: u64,
    /// Units that have had a PUBACK.
    reporting: watch::Sender<u64>,
    draining: watch::Sender<bool>,
    /// Records of the backlog that are acknowledged.
    drained: watch::Sender<u64>,
    live: Mutex<Latencies>,
    disconnected: AtomicU64,
    handshakes: Semaphore,
    stop: CancellationToken,
}

impl Units {
    pub(super) fn start(address: SocketAddr, devices: &[Credentials], plan: &AlarmLatencyPlan) -> Self {
        let field = Arc::new(Field {
            address,
            period: plan.period,
            backlog_count: plan.backlog_count,
            spread: plan.spread,
            unit_count: devices.len() as u64,
            reporting: watch::Sender::new(0),
            draining: watch::Sender::new(false),
            drained: watch::Sender::new(0),
            live: Mutex::default(),
            disconnected: AtomicU64::new(0),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
            stop: CancellationToken::new(),
        });
        let mut units = Self { running: JoinSet::new(), field };
        for (number, credentials) in (0..).zip(devices) {
            let unit = Unit {
                number,
                field: Arc::clone(&units.field),
                seq: 0,
                packet_id: 0,
                open: VecDeque::new(),
                owed: 0,
            };
            units.running.spawn(unit.run(credentials.clone()));
        }
        units
    }

    pub(super) async fn everyone_reports(&self, patience: Duration) -> Result<(), RigError> {
        let mut reporting = self.field.reporting.subscribe();
        let everyone = reporting.wait_for(|count| *count >= self.field.unit_count);
        timeout(patience, everyone).await.map_err(|_| RigError::Hang(patience)).map(drop)
    }

    /// The network is back: everybody's backlog comes. What is measured begins here.
    pub(super) fn drain(&self) {
        *self.field.live() = Latencies::default();
        self.field.draining.send_replace(true);
    }

    pub(super) async fn until_drained(&self, patience: Duration) -> Result<(), RigError> {
        let mut drained = self.field.drained.subscribe();
        let all = drained.wait_for(|count| *count >= self.field.backlog_count);
        timeout(patience, all).await.map_err(|_| RigError::Hang(patience)).map(drop)
    }

    /// How long live positions have waited for their PUBACKs since [`Units::drain`].
    pub(super) fn measured(&self) -> Latencies {
        self.field.live().clone()
    }

    /// Ends all; how many connections had ended before.
    pub(super) async fn end(self) -> u64 {
        self.field.stop.cancel();
        self.running.join_all().await;
        self.field.disconnected.load(Ordering::Relaxed)
    }
}

impl Field {
    fn live(&self) -> std::sync::MutexGuard<'_, Latencies> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The backlog of unit `number`: a fair share.
    fn share(&self, number: u64) -> u64 {
        let units = self.unit_count;
        self.backlog_count / units + u64::from(number < self.backlog_count % units)
    }
}

/// Until the instant; for ever without one.
async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

struct Unit {
    number: u64,
    field: Arc<Field>,
    seq: u32,
    packet_id: u16,
    open: VecDeque<Open>,
    /// Of its backlog, not sent yet.
    owed: u64,
}

/// A publish that waits for its PUBACK.
struct Open {
    packet_id: u16,
    since: Instant,
    /// Records of the backlog in it; none if it is live.
    backlog_count: u64,
}

impl Unit {
    async fn run(mut self, credentials: Credentials) -> Result<(), ClientError> {
        let field = Arc::clone(&self.field);
        let outcome = Box::pin(field.stop.run_until_cancelled(self.report(&credentials))).await;
        if let Some(Err(error)) = &outcome {
            field.disconnected.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(%error, device = %credentials.device, "a unit lost its connection");
        }
        Ok(())
    }

    async fn report(&mut self, credentials: &Credentials) -> Result<(), ClientError> {
        let field = Arc::clone(&self.field);
        let mut client = {
            let _turn = field.handshakes.acquire().await;
            Client::connect(field.address, credentials, 64).await?
        };
        self.publish_live(&mut client).await?;
        let mut draining = field.draining.subscribe();
        // Spread over the period, as units are.
        let place = (self.number as f64 * 0.618_034).fract();
        let offset = field.period.mul_f64(place);
        let mut back_at: Option<Instant> = None;
        let mut ticks = interval_at((Instant::now() + offset).into(), field.period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_reporting = false;
        loop {
            let batches = self.open.iter().filter(|open| open.backlog_count > 0).count();
            let has_more = self.owed > 0 && batches < OPEN_MAX;
            tokio::select! {
                heard = client.hear() => {
                    if let Heard::Acknowledged(packet_id) = heard? {
                        self.settle(packet_id);
                        if !std::mem::replace(&mut is_reporting, true) {
                            field.reporting.send_modify(|count| *count += 1);
                        }
                    }
                }
                _ = ticks.tick() => self.publish_live(&mut client).await?,
                Ok(()) = draining.changed() => back_at = Some(Instant::now() + field.spread.mul_f64(place)),
                () = until(back_at) => {
                    back_at = None;
                    self.owed = field.share(self.number);
                }
                () = std::future::ready(()), if has_more => self.publish_backlog(&mut client).await?,
            }
        }
    }

    async fn publish_live(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let mut bytes = [0; limits::FRAME_BYTES_MAX];
        let len = frame::position(BOOT, Seq(self.seq), unix_ms(), 64, &mut bytes);
        self.seq += 1;
        let packet_id = self.opens(0);
        client.publish(Lane::Live, packet_id, &bytes[..len]).await
    }

    async fn publish_backlog(&mut self, client: &mut Client) -> Result<(), ClientError> {
        let count = BATCH_ITEMS.min(u32::try_from(self.owed).unwrap_or(BATCH_ITEMS));
        // A quarter of an hour ago, ten seconds apart.
        let began_ms = unix_ms() - 900_000 - self.owed * 10_000;
        let mut bytes = [0; limits::FRAME_BYTES_MAX];
        let (taken, len) = frame::batch(BOOT, Seq(self.seq), began_ms, count, &mut bytes);
        self.seq += taken;
        self.owed -= u64::from(taken);
        let packet_id = self.opens(u64::from(taken));
        client.publish(Lane::Backlog, packet_id, &bytes[..len]).await
    }

    fn opens(&mut self, backlog_count: u64) -> u16 {
        self.packet_id = self.packet_id % u16::MAX + 1;
        self.open.push_back(Open { packet_id: self.packet_id, since: Instant::now(), backlog_count });
        self.packet_id
    }

    fn settle(&mut self, packet_id: u16) {
        let Some(at) = self.open.iter().position(|open| open.packet_id == packet_id) else { return };
        let open = self.open.remove(at).expect("the position was found just above");
        if open.backlog_count > 0 {
            self.field.drained.send_modify(|count| *count += open.backlog_count);
        } else {
            let waited_us = u64::try_from(open.since.elapsed().as_micros()).unwrap_or(u64::MAX);
            self.field.live().add(waited_us);
        }
    }
}
