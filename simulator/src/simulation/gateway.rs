//! One life of the gateway: from its start to its crash, on a disk that outlives it.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use fieldpost_gateway::{
    broker::BareBroker,
    dedup::{Dedup, DedupBounds},
    downlink::{Downlink, DownlinkBounds},
    forward::{
        BackoffSettings, ClockBounds as ForwardClock, Forwarder, ForwarderSettings, Random, SpoolSource,
        release::{Disclosures, Release, Whom},
    },
    ingest::{BareDoor, ClockBounds, IngestConfig},
    ledger::{self, task::SharedLedger},
    live::{self, Live},
    login::Operator,
    metrics::Metrics,
    pki::Identity,
    record::Record,
    retention::{RetentionMetrics, Rules},
    service::ConnectedDevices,
    spool::{
        BatchLimits, Clock, Crew, Disk, Health, Lsn, ReadError, RecoveryReport, Spool, SpoolError,
        SpoolSettings, Wait,
    },
};
use fieldpost_protocol::{EnvelopeKey, ForceId};
use tokio_util::sync::CancellationToken;

use super::{
    retention::{Desk, PERIODS},
    sink::ForceSystem,
    tasks::{TaskId, Tasks},
};
use crate::world::dice::Dice;

/// The one force of the simulation.
pub(super) const FORCE: &str = "sim";
/// The force system's.
pub(super) const CURSOR_NAME: &str = "force";
/// Where the spool lies on the simulated disk.
pub(super) const SPOOL_DIR: &str = "/spool";
/// Its archive.
pub(super) const ARCHIVE_DIR: &str = "/spool/archive";
/// Everything else.
const DATA_DIR: &str = "/data";
/// What pages were shown, in it.
pub(super) const PICTURES_DIR: &str = "/data/pictures";
/// The loss ledger, and its draft.
pub(super) const LEDGER_FILE: &str = "/data/ledger.json";
/// The wall clock at the start of a run, Unix ms.
pub(super) const EPOCH_MS: u64 = 1_790_000_000_000;

/// Small, so that a run of minutes fills, rolls and retires segments.
pub(super) const SEGMENT_BYTES: u64 = 8 << 10;
const PENDING_BYTES: usize = 2 << 10;
/// Records that the force system is sent at once.
pub(super) const BATCH_COUNT_MAX: usize = 64;

/// What a gateway stands on, all of which outlives it.
pub(super) struct Surroundings {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) segment_count: u64,
    pub(super) archive_bytes_max: u64,
    pub(super) clock: Clock,
    pub(super) desk: Desk,
    pub(super) sink: ForceSystem,
    /// Devices that are behind a broker, each with its key.
    pub(super) behind_broker: Vec<(Identity, EnvelopeKey)>,
}

fn spool_settings(around: &Surroundings) -> SpoolSettings {
    SpoolSettings {
        segment_bytes: SEGMENT_BYTES,
        bytes_max: SEGMENT_BYTES * around.segment_count,
        reserve_bytes: SEGMENT_BYTES,
        retain_ms: PERIODS.spool_ms,
        seal_after_ms: PERIODS.seal_after_ms(),
        pending_bytes_max: PENDING_BYTES,
        // Readers that keep up find everything in memory, others read files.
        tail_bytes_max: 4 << 10,
        erase_recycled: true,
        clock: around.clock.clone(),
        keep: Some(Arc::new(Rules::on(around.desk.clone(), PERIODS, RetentionMetrics::default()))),
        archive_bytes_max: around.archive_bytes_max,
        archive_look_ms: 1_000,
    }
}

/// The gateway's wall clock: it may jump, and it outlives the gateway.
#[derive(Clone, Default)]
pub(super) struct WallClock(Arc<AtomicU64>);

impl WallClock {
    pub(super) fn set(&self, unix_ms: u64) {
        self.0.store(unix_ms, Ordering::Relaxed);
    }

    pub(super) fn clock(&self) -> Clock {
        let now = Arc::clone(&self.0);
        Clock::new(move || now.load(Ordering::Relaxed))
    }
}

/// A running gateway.
pub(super) struct Gateway {
    pub(super) spool: Spool,
    pub(super) crew: Crew,
    pub(super) door: BareDoor,
    /// If any device is behind one.
    pub(super) broker: Option<BareBroker>,
    pub(super) live: Live,
    pub(super) ledger: SharedLedger,
    /// What it said of its spool when it opened it.
    pub(super) recovery: RecoveryReport,
    tasks: Vec<TaskId>,
    _stop: CancellationToken,
}

impl Gateway {
    /// Starts on what is on the disk. Everything it runs is in `tasks`.
    pub(super) async fn start(
        around: Surroundings,
        dice: &Dice,
        tasks: &mut Tasks,
    ) -> Result<Self, SpoolError> {
        let settings = spool_settings(&around);
        let Surroundings { disk, clock, sink, behind_broker, .. } = around;
        let (spool, crew, recovery) = Spool::open_by_hand(Path::new(SPOOL_DIR), settings, Arc::clone(&disk))?;
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let (ledger, keeping) =
            ledger::task::prepare(Arc::clone(&disk), Path::new(DATA_DIR), &spool, clock.now_ms(), &stop)?;
        let dedup = Dedup::new(DedupBounds::default());
        ledger.teach(&dedup);
        // As in the product: a gateway that cannot read its newest records stores redeliveries twice, and sinks drop them.
        _ = dedup.rebuild_from(&spool).await;
        let broker = (!behind_broker.is_empty()).then(|| {
            BareBroker::new(behind_broker, ingest_config(), &spool, &dedup, &metrics, clock.clone())
        });
        let brokers = broker.as_ref().map(|broker| (broker.brokers(), dedup.clone()));
        let downlink = Downlink::new(DownlinkBounds::default());
        let door = BareDoor::new(
            ingest_config(),
            spool.clone(),
            dedup,
            downlink.clone(),
            Arc::clone(&metrics),
            clock.clone(),
        );
        let devices = Arc::new(ConnectedDevices { downlink, brokers });
        let settings = live_settings(Arc::clone(&disk), clock.clone());
        let (live, parts) =
            live::prepare(settings, &spool, devices, Arc::default(), Arc::clone(&metrics), &stop)?;
        let limits = BatchLimits { count_max: BATCH_COUNT_MAX, bytes_max: 64 << 10, age_ms_max: 0 };
        let source = SpoolSource::open(&spool, CURSOR_NAME, limits)?;
        let settings = forwarder_settings(clock, dice, &sink);
        let forwarder = Forwarder::new(settings, source, sink, &metrics, stop.clone());
        let mut running =
            vec![tasks.spawn(door.ring()), tasks.spawn(door.sweep()), tasks.spawn(forwarder.run())];
        running.push(tasks.spawn(keeping));
        running.extend(parts.into_iter().map(|part| tasks.spawn(part)));
        Ok(Self { spool, crew, door, broker, live, ledger, recovery, tasks: running, _stop: stop })
    }

    /// Ends as a killed process does.
    pub(super) fn kill(self, tasks: &mut Tasks) {
        for task in self.tasks {
            tasks.drop(task);
        }
    }

    /// The writer's next step at `now_ms`.
    pub(super) fn step(&mut self, began: Instant, now_ms: u64) -> Option<Wait> {
        self.crew.tend_if_asked();
        self.crew.step(began + Duration::from_millis(now_ms))
    }

    /// An operator takes an alarm.
    pub(super) fn acknowledge(&mut self, alarm: &str, tasks: &mut Tasks) {
        let (Ok(id), Ok(operator)) = (alarm.parse(), Operator::try_new("ada")) else { return };
        let live = self.live.clone();
        // Whether it worked, the page will show.
        self.tasks.push(tasks.spawn(async move { _ = live.acknowledge(&id, &operator).await }));
    }

    /// Whether its spool has room for records of every class.
    pub(super) fn takes_records(&self) -> bool {
        self.spool.stats().health == Health::Ok
    }

    /// The numbers of the entries that it says are committed, and kept in segments.
    pub(super) fn committed(&self) -> RangeInclusive<u64> {
        let stats = self.spool.stats();
        stats.first.0..=stats.committed.0
    }

    /// Bytes that wait for the writer now, and that may.
    pub(super) fn pending_bytes(&self) -> (u64, u64) {
        (self.spool.stats().pending_bytes, PENDING_BYTES as u64)
    }

    /// Every record that can be read.
    pub(super) async fn records(&self) -> Result<Vec<Record>, ReadError> {
        let committed = self.spool.committed();
        let mut reader = self.spool.reader(Lsn(1));
        let limits = BatchLimits { count_max: 4096, bytes_max: 1 << 20, age_ms_max: 0 };
        let mut records = Vec::new();
        while reader.position() <= committed {
            let batch = reader.next_batch(limits).await?;
            let whole = |payload: &Bytes| Bytes::copy_from_slice(payload);
            let read = batch.entries().filter_map(|e| Record::decode(e.lsn, &whole(&e.payload)).ok());
            records.extend(read);
        }
        Ok(records)
    }
}

fn live_settings(disk: Arc<dyn Disk>, clock: Clock) -> live::Settings {
    let mut settings = live::Settings::new(Path::new(DATA_DIR).to_owned());
    settings.disk = disk;
    settings.now_ms = Arc::new(move || clock.now_ms());
    settings
}

fn ingest_config() -> IngestConfig {
    let force = ForceId::try_new(FORCE).expect("an identity");
    IngestConfig {
        listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
        forces: Arc::new(HashSet::from([force])),
        revocation_list: None,
        connections_max: 1000,
        connect_deadline: Duration::from_secs(10),
        keep_alive_s_max: 120,
        session_expiry_s_max: 3600,
        packet_bytes_max: fieldpost_protocol::limits::MQTT_PACKET_BYTES_MAX as u32,
        receive_max: 100,
        topic_alias_max: 4,
        clock: ClockBounds { future_ms_max: 60_000, past_ms_max: 7 * 86_400_000 },
    }
}

fn forwarder_settings(clock: Clock, dice: &Dice, sink: &ForceSystem) -> ForwarderSettings {
    let whom = Whom { name: CURSOR_NAME.to_owned(), kind: "simulated", address: String::new() };
    let dice = std::sync::Mutex::new(dice.clone());
    let number = move || dice.lock().map_or(0, |mut dice| (dice.number() >> 32) as u32);
    ForwarderSettings {
        name: CURSOR_NAME.to_owned(),
        backoff: BackoffSettings::default(),
        attempt_ms_max: 10_000,
        stop_ms_max: 1_000,
        clock: ForwardClock { future_ms_max: 60_000, past_ms_max: 7 * 86_400_000 },
        recipient: Disclosures::inline(sink.log()).recipient(whom, &Release::everything()),
        release: Release::everything(),
        refusals: std::path::PathBuf::from("/nowhere/refusals.ndjson"),
        wall: clock,
        random: Random::new(number),
    }
}
