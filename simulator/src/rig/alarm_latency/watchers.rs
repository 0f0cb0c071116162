//! Wearers who press, the screen that shows it, the operator who answers at once, and the wearers' devices that hear of it.
//!
//! All on one thread of their own with one clock, [`Instant`], so that what is measured is what happened between its two ends.

use std::{
    collections::{HashMap, HashSet},
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use fieldpost_protocol::{BootId, Downlink, Lane, Receipt, Seq, limits};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval_at},
};

use super::{
    RigError,
    browsers::{Door, failed, open_stream},
    events::Events,
};
use crate::{
    check::{http::Http, latency::Latencies},
    fleet::source::unix_ms,
    raw::{Client, ClientError, Credentials, Heard, frame},
};

const BOOT: BootId = BootId(1);
const ACKNOWLEDGE: &str = "/api/v1/alarms/acknowledge";

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) pressed_count: u64,
    pub(super) screen: Latencies,
    pub(super) screen_max: Duration,
    pub(super) told: Latencies,
    pub(super) told_max: Duration,
    pub(super) puback: Latencies,
    pub(super) unshown_count: usize,
    pub(super) untold_count: usize,
    /// When each was pressed.
    pressed: HashMap<String, Instant>,
    /// Pressed, and not on the screen yet.
    unshown: HashSet<String>,
    /// Pressed, and its wearer has not heard yet.
    untold: HashSet<String>,
}

/// What the wearers are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Wait,
    Press,
    Listen,
}

/// The running thread.
pub(super) struct Watched {
    thread: JoinHandle<Result<(), RigError>>,
    phase: watch::Sender<Phase>,
    seen: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    /// Alarms that are not through yet.
    open: watch::Sender<usize>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn press(&self, id: String, now: Instant) {
        let mut seen = self.lock();
        seen.pressed_count += 1;
        seen.pressed.insert(id.clone(), now);
        seen.unshown.insert(id.clone());
        seen.untold.insert(id);
        self.open.send_replace(seen.untold.len());
    }

    fn tell(&self, ids: impl Iterator<Item = String>, now: Instant) {
        let mut seen = self.lock();
        ids.for_each(|id| seen.tell(&id, now));
        self.open.send_replace(seen.untold.len());
    }
}

/// Connects everybody; returns once the screen has its opening and every wearer listens.
pub(super) async fn start(
    front_door: SocketAddr,
    wearers: Vec<Credentials>,
    door: &Door,
    alarms_per_s: u32,
) -> Result<Watched, RigError> {
    let seen = Arc::new(Shared::default());
    let phase = watch::Sender::new(Phase::Wait);
    let (ready, is_ready) = oneshot::channel();
    let stage = Stage {
        front_door,
        wearers,
        door: door.clone(),
        alarms_per_s,
        seen: Arc::clone(&seen),
        phase: phase.subscribe(),
    };
    let thread = std::thread::Builder::new()
        .name("watchers".to_owned())
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(RigError::io("make a runtime"))?.block_on(stage.run(ready))
        })
        .map_err(RigError::io("start a thread"))?;
    // If it ends before it is ready, its end says why.
    if is_ready.await.is_err() {
        return Err(ended(thread).await.err().unwrap_or_else(|| cannot("watch", "nobody came")));
    }
    Ok(Watched { thread, phase, seen })
}

impl Watched {
    /// From now on buttons are pressed.
    pub(super) fn press(&self) {
        self.phase.send_replace(Phase::Press);
    }

    /// No button is pressed any more.
    pub(super) fn listen(&self) {
        self.phase.send_replace(Phase::Listen);
    }

    /// Waits for what is still under way, at most `late`.
    pub(super) async fn end(self, late: Duration) -> Result<Seen, RigError> {
        let mut open = self.seen.open.subscribe();
        // What is not through by then is counted.
        _ = tokio::time::timeout(late, open.wait_for(|count| *count == 0)).await;
        let mut seen = std::mem::take(&mut *self.seen.lock());
        (seen.unshown_count, seen.untold_count) = (seen.unshown.len(), seen.untold.len());
        drop(self.phase);
        ended(self.thread).await?;
        Ok(seen)
    }
}

async fn ended(thread: JoinHandle<Result<(), RigError>>) -> Result<(), RigError> {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    match joined {
        Ok(Ok(outcome)) => outcome,
        _ => Err(cannot("watch", "the watching thread panicked")),
    }
}

fn cannot(what: &str, why: &str) -> RigError {
    RigError::Cannot { what: what.to_owned(), why: why.to_owned() }
}

/// Everybody on the thread.
struct Stage {
    front_door: SocketAddr,
    wearers: Vec<Credentials>,
    door: Door,
    alarms_per_s: u32,
    seen: Arc<Shared>,
    phase: watch::Receiver<Phase>,
}

impl Stage {
    async fn run(self, ready: oneshot::Sender<()>) -> Result<(), RigError> {
        let operator = self.door.log_in("anna", None).await?;
        let screen = open_stream(&operator, None).await?;
        let (opened, mut is_open) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(show(screen, operator, Arc::clone(&self.seen), opened));
        let count = self.wearers.len() as u32;
        for (number, credentials) in (0..).zip(&self.wearers) {
            let mut client = Client::connect(self.front_door, credentials, 64)
                .await
                .map_err(RigError::cannot("connect a wearer"))?;
            client.subscribe().await.map_err(RigError::cannot("listen as a wearer"))?;
            let wearer = Wearer {
                client,
                id: format!("bench/{}", credentials.device),
                number,
                period: Duration::from_secs(count.into()) / self.alarms_per_s,
                offset: Duration::from_secs(number.into()) / self.alarms_per_s,
                seq: 0,
                published: HashMap::new(),
                seen: Arc::clone(&self.seen),
                phase: self.phase.clone(),
            };
            tasks.spawn(async move { wearer.run().await.map_err(RigError::cannot("be a wearer")) });
        }
        // An error here is that of the screen, and ends the loop below.
        _ = is_open.wait_for(|is_open| *is_open).await;
        _ = ready.send(());
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                // The sending end goes when everything is counted.
                changed = phase.changed() => if changed.is_err() { return Ok(()) },
                Some(Ok(ended)) = tasks.join_next() => ended?,
            }
        }
    }
}

#[derive(Deserialize)]
struct Alarm {
    id: String,
}

/// The screen and its operator.
async fn show(
    mut stream: Incoming,
    operator: Http,
    seen: Arc<Shared>,
    opened: watch::Sender<bool>,
) -> Result<(), RigError> {
    let mut events = Events::default();
    let mut shown = Vec::new();
    loop {
        let frame = stream.frame().await.ok_or_else(|| cannot("watch", "the stream ended"))?;
        let frame = frame.map_err(RigError::cannot("watch"))?;
        let Some(bytes) = frame.data_ref() else { continue };
        let now = Instant::now();
        events.take(bytes, |event| {
            opened.send_if_modified(|is_open| !std::mem::replace(is_open, true));
            if event.name == b"alarm"
                && let Ok(alarm) = serde_json::from_slice::<Alarm>(event.data)
            {
                shown.push(alarm.id);
            }
        });
        for id in shown.drain(..) {
            if seen.lock().show(&id, now) {
                tokio::spawn(acknowledge(operator.clone(), id));
            }
        }
    }
}

async fn acknowledge(operator: Http, id: String) {
    let answer = operator.post_json(ACKNOWLEDGE, &serde_json::json!({ "id": id })).await;
    if let Err(error) = answer.map_err(failed("acknowledge")) {
        // Its wearer is never told, and that is counted.
        tracing::warn!(%error, "an acknowledgement failed");
    }
}

impl Seen {
    /// Whether the alarm is on the screen for the first time.
    fn show(&mut self, id: &str, now: Instant) -> bool {
        if !self.unshown.remove(id) {
            return false;
        }
        let waited = self.pressed.get(id).map_or(Duration::ZERO, |pressed| now - *pressed);
        self.screen.add(us(waited));
        self.screen_max = self.screen_max.max(waited);
        true
    }

    fn tell(&mut self, id: &str, now: Instant) {
        if self.untold.remove(id) {
            let waited = self.pressed.get(id).map_or(Duration::ZERO, |pressed| now - *pressed);
            self.told.add(us(waited));
            self.told_max = self.told_max.max(waited);
        }
    }
}

fn us(waited: Duration) -> u64 {
    u64::try_from(waited.as_micros()).unwrap_or(u64::MAX)
}

struct Wearer {
    client: Client,
    /// `force/device`.
    id: String,
    number: u32,
    period: Duration,
    offset: Duration,
    seq: u32,
    published: HashMap<u16, Instant>,
    seen: Arc<Shared>,
    phase: watch::Receiver<Phase>,
}

impl Wearer {
    async fn run(mut self) -> Result<(), ClientError> {
        while *self.phase.borrow() == Phase::Wait {
            tokio::select! {
                heard = self.client.hear() => self.hear(heard?).await?,
                changed = self.phase.changed() => if changed.is_err() { return Ok(()) },
            }
        }
        let mut presses = interval_at((Instant::now() + self.offset).into(), self.period);
        presses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_pressing = *self.phase.borrow() == Phase::Press;
            tokio::select! {
                heard = self.client.hear() => self.hear(heard?).await?,
                _ = presses.tick(), if is_pressing => self.press().await?,
                changed = self.phase.changed() => if changed.is_err() { return Ok(()) },
            }
        }
    }

    async fn press(&mut self) -> Result<(), ClientError> {
        let seq = self.seq;
        self.seq += 1;
        let id = format!("{}/{}/{seq}", self.id, BOOT.0);
        let mut bytes = [0; limits::FRAME_BYTES_MAX];
        let len = frame::alarm(BOOT, Seq(seq), unix_ms(), Some(self.number), &mut bytes);
        let packet_id = u16::try_from(seq % u32::from(u16::MAX)).expect("below 65535") + 1;
        let now = Instant::now();
        self.seen.press(id, now);
        self.published.insert(packet_id, now);
        self.client.publish(Lane::Alarm, packet_id, &bytes[..len]).await
    }

    async fn hear(&mut self, heard: Heard) -> Result<(), ClientError> {
        let now = Instant::now();
        match heard {
            Heard::Acknowledged(packet_id) => {
                if let Some(published) = self.published.remove(&packet_id) {
                    self.seen.lock().puback.add(us(now - published));
                }
                Ok(())
            }
            Heard::Told { packet_id, frame } => {
                if let Ok(Downlink::Receipts(receipts)) = Downlink::decode(&frame)
                    && receipts.receipt == Receipt::Seen
                {
                    let seqs = receipts
                        .ranges
                        .iter()
                        .flat_map(|range| range.first.0..=range.last().map_or(0, |last| last.0));
                    let ids = seqs.map(|seq| format!("{}/{}/{seq}", self.id, receipts.boot.0));
                    self.seen.tell(ids, now);
                }
                match packet_id {
                    Some(packet_id) => self.client.confirm(packet_id).await,
                    None => Ok(()),
                }
            }
        }
    }
}
