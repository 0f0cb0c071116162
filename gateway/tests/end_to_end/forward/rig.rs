//! A spool on disk, and forwarders that can be stopped and started over it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fieldpost_gateway::audit::{AccessFiles, Series};
use fieldpost_gateway::forward::release::{Disclosures, Release, Whom};
use fieldpost_gateway::forward::{
    BackoffSettings, ClockBounds, Forwarder, ForwarderSettings, ForwarderSnapshot, Random, Sink, SpoolSource,
};
use fieldpost_gateway::metrics::Metrics;
use fieldpost_gateway::record::{Record, RecordKind};
use fieldpost_gateway::spool::{BatchLimits, Clock, EntryClass, Lsn, RealDisk, Spool, SpoolSettings};
use fieldpost_protocol::{
    Alarm, AlarmCause, BootId, Class, ClockQuality, DeviceId, Envelope, FixSource, ForceId, Head, Lane, Mode,
    Position, ReportReason, Seq,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Nothing these tests wait for takes longer; a wait that does fails the test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const DEVICE: &str = "pc.0001";

pub(crate) struct Rig {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) spool: Spool,
    pub(crate) metrics: Arc<Metrics>,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool_dir = dir.path().join("spool");
        let (spool, _) = Spool::open(&spool_dir, SpoolSettings::default(), Arc::new(RealDisk)).unwrap();
        Self { dir, spool, metrics: Metrics::new(), running: None }
    }

    /// Over a spool that somebody else fills.
    pub(crate) fn over(spool: Spool) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), spool, metrics: Metrics::new(), running: None }
    }

    /// Closes the spool, lets `harm` work on its directory, and opens it again.
    pub(crate) async fn reopen_after(&mut self, harm: impl FnOnce(&Path)) {
        assert!(self.running.is_none(), "stop the forwarder first");
        self.spool.close().await;
        let dir = self.dir.path().join("spool");
        harm(&dir);
        let (spool, _) = Spool::open(&dir, SpoolSettings::default(), Arc::new(RealDisk)).unwrap();
        self.spool = spool;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Appends the records `sim.pc%2E0001.1.{seq}` and waits for their commit.
    pub(crate) async fn append(&self, sequences: std::ops::RangeInclusive<u32>) {
        let mut last = Lsn(0);
        for seq in sequences {
            last = self.spool.append(EntryClass::Live, &record(seq)).await.unwrap();
        }
        self.spool.wait_committed(last).await.unwrap();
    }

    /// Appends the alarm `sim.pc%2E0001.1.{seq}` and waits for its commit.
    pub(crate) async fn append_alarm(&self, seq: u32) {
        let alarm = Alarm { cause: AlarmCause::BUTTON, silent: false, position: None, position_age_s: 0 };
        let mut body = [0; 64];
        let entry = record_of(seq, Class::ALARM, Lane::Alarm, alarm.encode(&mut body).unwrap());
        let lsn = self.spool.append(EntryClass::Alarm, &entry).await.unwrap();
        self.spool.wait_committed(lsn).await.unwrap();
    }

    pub(crate) fn start<S: Sink + 'static>(&mut self, sink: S) {
        assert!(self.running.is_none(), "one forwarder at a time");
        let limits = BatchLimits { count_max: 200, bytes_max: 256 << 10, age_ms_max: 5 };
        let source = SpoolSource::open(&self.spool, "sink", limits).unwrap();
        let stop = CancellationToken::new();
        let settings = settings(self.dir.path());
        let forwarder = Forwarder::new(settings, source, sink, &self.metrics, stop.clone());
        self.running = Some((stop, tokio::spawn(forwarder.run())));
    }

    pub(crate) async fn stop(&mut self) {
        let (stop, task) = self.running.take().expect("a forwarder runs");
        stop.cancel();
        tokio::time::timeout(PATIENCE, task).await.expect("a forwarder stops in time").unwrap();
    }

    pub(crate) fn figures(&self) -> ForwarderSnapshot {
        self.metrics.forward.snapshot().remove(0)
    }

    /// Waits until the figures are as wanted.
    pub(crate) async fn until(&self, what: &str, is_reached: impl Fn(&ForwarderSnapshot) -> bool) {
        wait_for(what, || is_reached(&self.figures())).await;
    }

    /// Waits until the cursor has passed everything committed.
    pub(crate) async fn until_drained(&self) {
        let committed = self.spool.committed();
        wait_for("the cursor to pass everything", || {
            self.spool.stats().cursors.iter().all(|cursor| cursor.position >= committed)
        })
        .await;
    }
}

/// A real log, written by whoever discloses.
pub(crate) fn disclosures(dir: &Path) -> Disclosures {
    Disclosures::inline(AccessFiles::of(Series::Disclosures, dir))
}

fn settings(dir: &Path) -> ForwarderSettings {
    ForwarderSettings {
        name: "sink".into(),
        backoff: BackoffSettings { delay_ms_min: 20, delay_ms_max: 400 },
        attempt_ms_max: 3_000,
        stop_ms_max: 1_000,
        clock: ClockBounds::default(),
        release: Release::everything(),
        recipient: disclosures(dir).recipient(
            Whom { name: "sink".into(), kind: "rig", address: "here".into() },
            &Release::everything(),
        ),
        refusals: dir.join("refused.ndjson"),
        wall: Clock::system(),
        random: Random::system(),
    }
}

/// Waits for a condition that another task, thread or process brings about.
pub(crate) async fn wait_for(what: &str, mut is_met: impl FnMut() -> bool) {
    let met = async {
        while !is_met() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("waited in vain for {what}"));
}

/// The key of a record of [`DEVICE`].
pub(crate) fn key(seq: u32) -> String {
    format!("sim.pc%2E0001.1.{seq}")
}

/// A position record as the spool keeps it.
pub(crate) fn record(seq: u32) -> Bytes {
    let position = Position {
        latitude_udeg: 51_500_000 + i32::try_from(seq).unwrap(),
        longitude_udeg: -120_000,
        speed_cmps: Some(150),
        course_turn256: None,
        accuracy_m: 4,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    let mut body = [0; 64];
    record_of(seq, Class::POSITION, Lane::Live, position.encode(&mut body).unwrap())
}

fn record_of(seq: u32, class: Class, lane: Lane, body: &[u8]) -> Bytes {
    let now_ms = u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap();
    let head = Head {
        version: 1,
        class,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(1),
        seq: Seq(seq),
        time_ms: now_ms,
    };
    let mut frame = [0; 256];
    let frame = Envelope { head, body, trailer: None }.encode(&mut frame).unwrap();
    let record = Record {
        lsn: Lsn(0),
        received_at_ms: now_ms,
        force: ForceId::try_new("sim").unwrap(),
        device: DeviceId::try_new(DEVICE).unwrap(),
        ceiling: Mode::Test,
        lane,
        kind: RecordKind::Envelope,
        payload: Bytes::copy_from_slice(frame),
    };
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    bytes.freeze()
}
