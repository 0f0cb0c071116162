//! A broker without a connection: whoever has it carries the messages.
//!
//! **The same stations as behind a real broker**, each a future of the caller's, so that a simulation can run them under virtual
//! time over a broker that loses, holds back and repeats when it says so. Left out: TLS to the broker, the MQTT client's own
//! event loop, and the devices' certificates, for which the caller vouches.

use std::future::Future;
use std::sync::Arc;

use fieldpost_protocol::EnvelopeKey;
use rumqttc::AsyncClient;
use tokio::sync::{Mutex, mpsc};

use super::{Brokers, ERRANDS_MAX, Errand, News, Post, Register, Shared, Station};
use crate::dedup::Dedup;
use crate::ingest::IngestConfig;
use crate::metrics::Metrics;
use crate::pki::Identity;
use crate::spool::{Clock, Spool};

/// One broker. Nothing runs by itself. Clones share it.
#[derive(Clone)]
pub struct BareBroker {
    brokers: Brokers,
    shared: Arc<Shared>,
    /// One connection at a time has them.
    errands: Arc<Mutex<mpsc::Receiver<Errand>>>,
}

impl BareBroker {
    /// A broker with these devices behind it; `clock` is the gateway's wall clock.
    #[must_use]
    pub fn new(
        devices: impl IntoIterator<Item = (Identity, EnvelopeKey)>,
        config: IngestConfig,
        spool: &Spool,
        dedup: &Dedup,
        metrics: &Arc<Metrics>,
        clock: Clock,
    ) -> Self {
        let (errands, waiting) = mpsc::channel(ERRANDS_MAX);
        let register = Arc::new(Register::vouched_for(devices, clock.clone()));
        let post = Post { link: None, register, errands, waiting: std::sync::Mutex::default() };
        let brokers = Brokers::of(vec![post], config);
        let shared = Arc::new(brokers.shared(spool, dedup, metrics, clock));
        Self { brokers, shared, errands: Arc::new(Mutex::new(waiting)) }
    }

    /// The way to its devices.
    #[must_use]
    pub fn brokers(&self) -> Brokers {
        self.brokers.clone()
    }

    /// Serves one connection to its end: it hears `news`, and speaks by `client`. Dropped, it ends there.
    pub fn serve(
        &self,
        client: AsyncClient,
        mut news: mpsc::Receiver<News>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let Self { brokers, shared, errands } = self.clone();
        async move {
            let mut errands = errands.lock().await;
            let mut commits = shared.spool.committed_watch();
            for post in brokers.posts.iter() {
                let station = Station::new(&shared, &post.register, client.clone());
                // Why it ended, its caller knows best.
                _ = station.serve(&mut news, &mut errands, &mut commits).await;
            }
        }
    }
}
