//! Devices behind an MQTT broker that is not ours: the gateway is a client there, one of a group that shares the load.
//!
//! **The broker is a carrier and nothing more**: it may lose, hold back, repeat and invent, and none of it makes a record. What
//! counts is the tag that the device put on its envelope; what lets the device forget a record is the gateway's own sealed
//! receipt, after the commit.
//!
//! ```text
//!  device --tag--> broker --$share/GROUP/fp1/+/{lane}--> station --> register: whose tag is it? --> custody --> spool
//!     ^               | ^--- PUBACK ----------------------------------------------- after the commit ---|
//!     '--- sealed ----' <--- STORED, DELIVERED, SEEN, commands ------------------------------------------'
//!                       ---> fp1/+/down of the other gateways: what they have said STORED of is not stored again
//! ```
//!
//! Bounds, a broker: `receive_max` messages without PUBACK, which the broker has to keep to; 1,024 requests that wait for the
//! connection; 256 errands. A broken connection is dropped with all of it, and made again with jittered backoff. With the
//! spool full what is no alarm is given back to the broker with 0x97: its device has it and sends it again.

mod bare;
mod elsewhere;
mod link;
mod metrics;
mod receipts;
mod refusal;
mod register;
mod session;
mod station;

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use fieldpost_protocol::{DeviceId, Downlink as Frame, ForceId};
use rumqttc::mqttbytes::QoS;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::bare::BareBroker;
pub use self::link::News;
pub use self::metrics::BrokerMetrics;
pub use self::refusal::Refusal;
use self::register::{Enrolled, Register};
pub use self::session::IdleSession;
use self::station::{Broken, Station};
use crate::config::{BrokerLink, Config};
use crate::dedup::Dedup;
use crate::forward::backoff::{Backoff, BackoffSettings};
use crate::ingest::IngestConfig;
use crate::ingest::strangers::StrangersLog;
use crate::metrics::Metrics;
use crate::pki::{FrontDoorTls, Identity};
use crate::spool::{Clock, Spool};

/// Frames for devices that wait for a station.
const ERRANDS_MAX: usize = 256;
/// A connection that held this long lets the next attempt come soon again.
const STABLE: Duration = Duration::from_secs(10);
/// How long a broker keeps DELIVERED, SEEN or a command for a device that is away; it is repeated no more often.
pub const ERRAND_KEPT: Duration = Duration::from_secs(60);

/// Every configured broker. Clones share them.
#[derive(Debug, Clone)]
pub struct Brokers {
    posts: Arc<Vec<Post>>,
    tasks: TaskTracker,
    config: Arc<RwLock<Arc<IngestConfig>>>,
}

/// One broker, connected or not.
#[derive(Debug)]
struct Post {
    /// `None`: somebody else has the connections ([`BareBroker`]).
    link: Option<BrokerLink>,
    register: Arc<Register>,
    errands: mpsc::Sender<Errand>,
    /// Taken by the station.
    waiting: Mutex<Option<mpsc::Receiver<Errand>>>,
}

/// A frame for a device.
#[derive(Debug)]
struct Errand {
    device: Arc<Enrolled>,
    frame: Frame,
    kept_s: u32,
}

/// What every station needs of the gateway.
struct Shared {
    config: Arc<RwLock<Arc<IngestConfig>>>,
    spool: Spool,
    dedup: Dedup,
    metrics: Arc<Metrics>,
    clock: Clock,
    complaints: Complaints,
}

/// What may be said of messages in the log.
struct Complaints {
    refused: StrangersLog,
    former_key: StrangersLog,
}

impl Brokers {
    /// The brokers of a configuration, none of them connected yet. `tls` judges the devices' certificates.
    #[must_use]
    pub fn new(config: &Config, tls: &FrontDoorTls) -> Self {
        let post = |link: &BrokerLink| {
            let (errands, waiting) = mpsc::channel(ERRANDS_MAX);
            let register = Arc::new(Register::new(link, tls.clone(), Clock::system()));
            Post { link: Some(link.clone()), register, errands, waiting: Mutex::new(Some(waiting)) }
        };
        Self::of(config.brokers.iter().map(post).collect(), IngestConfig::new(config))
    }

    fn of(posts: Vec<Post>, config: IngestConfig) -> Self {
        let config = Arc::new(RwLock::new(Arc::new(config)));
        Self { posts: Arc::new(posts), tasks: TaskTracker::new(), config }
    }

    /// Connects to each of them and serves it until `closing`. Call once, on a tokio runtime, when the memory of duplicates
    /// is known again.
    pub fn start(&self, spool: &Spool, dedup: &Dedup, metrics: &Arc<Metrics>, closing: &CancellationToken) {
        for at in 0..self.posts.len() {
            let taken = self.posts[at].waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
            let Some(errands) = taken else { continue };
            let shared = self.shared(spool, dedup, metrics, Clock::system());
            let (posts, closing) = (Arc::clone(&self.posts), closing.clone());
            self.tasks.spawn(async move {
                let post = &posts[at];
                let Some(link) = &post.link else { return };
                closing.run_until_cancelled(Box::pin(post.serve(link, &shared, errands))).await;
            });
        }
        self.tasks.close();
    }

    fn shared(&self, spool: &Spool, dedup: &Dedup, metrics: &Arc<Metrics>, clock: Clock) -> Shared {
        Shared {
            config: Arc::clone(&self.config),
            spool: spool.clone(),
            dedup: dedup.clone(),
            metrics: Arc::clone(metrics),
            clock,
            complaints: Complaints::new(Instant::now()),
        }
    }

    /// Takes certificates, envelope keys, forces and clock bounds of a new configuration; everything else needs a restart.
    pub fn reload(&self, config: &Config) {
        *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(IngestConfig::new(config));
        for post in self.posts.iter() {
            let is_its =
                |link: &&BrokerLink| post.link.as_ref().is_some_and(|its| its.client_id == link.client_id);
            let link = config.brokers.iter().find(is_its);
            link.iter().for_each(|link| post.register.renew(link));
        }
    }

    /// Whether a device is behind one of the brokers, with a certificate that is good now.
    #[must_use]
    pub fn know(&self, force: &ForceId, device: &DeviceId) -> bool {
        let named = self.posts.iter().flat_map(|post| post.register.good(device.as_str()));
        named.into_iter().any(|enrolled| enrolled.identity.force == *force)
    }

    /// Hands a frame for a device to the broker that it is behind, once for each key that the device may have: which one it
    /// was told, only its next record says. False if there is none, or it takes no more now. True does not mean that the
    /// device has it: the device says so by a record of its own.
    pub fn send(&self, force: &ForceId, device: &DeviceId, frame: &Frame) -> bool {
        let mut is_sent = false;
        for post in self.posts.iter() {
            let named = post.register.good(device.as_str());
            for device in named.into_iter().filter(|enrolled| enrolled.identity.force == *force) {
                let kept_s = u32::try_from(ERRAND_KEPT.as_secs()).unwrap_or(u32::MAX);
                is_sent |= post.errands.try_send(Errand { device, frame: frame.clone(), kept_s }).is_ok();
            }
        }
        is_sent
    }

    /// Waits until no station works any more, after `closing`.
    pub async fn stopped(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Post {
    /// Connects, serves, and begins again. Never ends.
    async fn serve(&self, link: &BrokerLink, shared: &Shared, mut errands: mpsc::Receiver<Errand>) {
        let retry = link.retry;
        let mut backoff = Backoff::new(BackoffSettings {
            delay_ms_min: retry.delay_ms_min,
            delay_ms_max: retry.delay_ms_max,
        });
        loop {
            let began = Instant::now();
            let why = Box::pin(self.connection(link, shared, &mut errands)).await;
            if began.elapsed() >= STABLE {
                backoff.reset();
            }
            let delay = backoff.next_delay(random());
            let url = crate::config::show::redacted_urls(&link.url);
            tracing::warn!(%url, why, delay_ms = delay.as_millis(), "no connection to the broker");
            tokio::time::sleep(delay).await;
        }
    }

    /// One connection, from its making to its end. Why it ended.
    async fn connection(
        &self,
        link: &BrokerLink,
        shared: &Shared,
        errands: &mut mpsc::Receiver<Errand>,
    ) -> String {
        let (client, carrier, mut news) = match link::open(link, topics(&link.group)) {
            Ok(opened) => opened,
            Err(why) => return why,
        };
        let mut commits = shared.spool.committed_watch();
        let station = Station::new(shared, &self.register, client);
        tokio::select! {
            why = carrier.run() => why,
            served = station.serve(&mut news, errands, &mut commits) => match served {
                Ok(()) => "the gateway stops".to_owned(),
                Err(Broken(why)) => why.to_owned(),
            },
        }
    }
}

/// What to subscribe: the four lanes, shared; and what the other gateways tell devices, which is never worth a PUBACK.
fn topics(group: &str) -> Vec<(String, QoS, bool)> {
    let lanes = ["alarm", "live", "backlog", "health"];
    let shared = lanes.map(|lane| (format!("$share/{group}/fp1/+/{lane}"), QoS::AtLeastOnce, false));
    shared.into_iter().chain([("fp1/+/down".to_owned(), QoS::AtMostOnce, true)]).collect()
}

impl Shared {
    fn config(&self) -> Arc<IngestConfig> {
        Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn serves(&self, force: &ForceId) -> bool {
        self.config().forces.contains(force)
    }
}

impl Complaints {
    fn new(now: Instant) -> Self {
        Self { refused: StrangersLog::new(now), former_key: StrangersLog::new(now) }
    }

    /// Names a device that still seals with a key that is being replaced: once, and at most ten a second.
    fn name_former(&self, device: &Enrolled) {
        if device.is_to_be_named(|| self.former_key.may_say(Instant::now()).is_some()) {
            let Identity { force, device, .. } = &device.identity;
            tracing::info!(%force, %device, "a device still seals with the former envelope key");
        }
    }

    /// At most ten lines a second, whatever a broker sends. The topic is shown if it is one: it names a device.
    fn say(&self, refusal: Refusal, topic: &[u8]) {
        let Some(unsaid) = self.refused.may_say(Instant::now()) else { return };
        let named = std::str::from_utf8(topic).ok();
        let device = named
            .and_then(|topic| fieldpost_protocol::topic::parse_uplink(topic).ok())
            .map(|(device, _)| device);
        let device = device.filter(|device| DeviceId::try_new(device).is_ok()).unwrap_or("?");
        tracing::warn!(reason = refusal.as_str(), device, unsaid, "message through a broker refused");
    }
}

/// For jitter alone.
fn random() -> u32 {
    let mut bytes = [0; 4];
    // Without randomness every gateway waits as long as every other: slower, not wrong.
    _ = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
