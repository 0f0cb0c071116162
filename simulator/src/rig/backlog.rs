//! A force system that was away for long: **it hears alarms within a second and the newest position with the first answer,
//! however much waits behind them, and the rest in the end.**
//!
//! ```text
//! 1. a spool of N records that nobody took            production spool, production forwarder,
//! 2. the force system is away, then answers           a force system that takes so long for each batch
//! 3. devices go on: positions and alarms    ----->    when was each accepted, and which was first?
//! ```

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use bytes::BytesMut;
use fieldpost_gateway::{
    audit::{AccessFiles, Series},
    forward::release::{Disclosures, RecentOf, Release, Whom},
    forward::{
        BackoffSettings, ClockBounds, Event, EventState, Forwarder, ForwarderSettings, Random, RetryReason,
        Sink, SinkError, SpoolSource,
    },
    metrics::Metrics,
    record::{Record, RecordKind},
    spool::{Clock, EntryClass, RealDisk, Spool, SpoolError, SpoolSettings},
};
use fieldpost_protocol::{
    Alarm, AlarmCause, BootId, Class, ClockQuality, DeviceId, Envelope, FixSource, ForceId, Head, Lane, Mode,
    Position, ReportReason, Seq,
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use super::{
    RigError, System,
    nats::Nats,
    systems::{FarAway, Postgres, nats_sink, stored_by},
};
use crate::check::latency::{Latencies, Percentiles};
use crate::console;

const DEVICES: u64 = 1_000;
/// Every fifth record of the backlog is history that a device had kept itself.
const HISTORY_EVERY: u64 = 5;
/// From one look of the devices at what they owe to the next.
const TICK_MS: u64 = 10;
/// How long the force system is away while the forwarder runs.
const AWAY: Duration = Duration::from_secs(2);
/// An alarm must be there within this.
const ALARM_P99_MS_MAX: f64 = 1_000.0;
/// The first call may be an alarm's.
const NEWEST_CALLS_MAX: u64 = 2;

/// What to do.
#[derive(Debug, Clone)]
pub struct BacklogPlan {
    /// Records that wait.
    pub records: u64,
    /// Which force system comes back.
    pub system: System,
    /// Positions a second that keep coming, and a tenth as many alarms.
    pub live_per_s: u64,
    /// The backlog must go at least so many times as fast as what comes, alarms included; 0: at any speed.
    pub times_live: u64,
    /// After this the rig gives up.
    pub patience: Duration,
}

/// What happened.
#[derive(Debug, Serialize)]
pub struct BacklogReport {
    /// Records that waited when the force system came back.
    pub backlog_count: u64,
    /// Which force system.
    pub system: &'static str,
    /// Positions a second that came meanwhile.
    pub live_per_s: u64,
    /// Calls it had answered when it had the position that was newest as it came back, or a newer one; that call included.
    pub newest_after_calls: Option<u64>,
    /// And how long that was.
    pub newest_after_ms: Option<u128>,
    /// From an alarm's append to the force system.
    pub alarm_ms: Percentiles,
    /// Alarms.
    pub alarm_count: u64,
    /// The same of positions that came since.
    pub live_ms: Percentiles,
    /// Until the backlog was empty.
    pub drained_s: f64,
    /// Records of the backlog a second meanwhile, beside what came.
    pub drained_per_s: f64,
    /// The same as a multiple of what came, and what it must be at least.
    pub times_live: f64,
    /// See [`BacklogPlan::times_live`].
    pub times_live_min: u64,
    /// Records that never arrived.
    pub lost_count: usize,
    /// Arrivals beyond the first.
    pub duplicate_count: u64,
    /// Records issued in all.
    pub issued_count: u64,
    /// In a real force system at the end: records, and different keys. Both must be what was issued.
    pub stored: Option<(u64, u64)>,
}

impl BacklogReport {
    /// Whether the promise held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost_count == 0
            && self.alarm_count > 0
            && self.alarm_ms.p99.is_some_and(|ms| ms <= ALARM_P99_MS_MAX)
            && self.newest_after_calls.is_some_and(|calls| calls <= NEWEST_CALLS_MAX)
            && self.times_live >= self.times_live_min as f64
            && self.stored.is_none_or(|stored| stored == (self.issued_count, self.issued_count))
    }
}

/// What the force system has heard, and what it should.
#[derive(Default)]
struct Heard {
    is_back_at: Option<Instant>,
    calls_count: u64,
    /// Key, and since when it is owed; the class.
    owed: HashMap<String, (Instant, EntryClass)>,
    /// When the newest position was appended that it has not heard of because it is away.
    newest_at: Option<Instant>,
    newest_after: Option<(u64, Duration)>,
    alarms: Latencies,
    live: Latencies,
    duplicate_count: u64,
}

#[derive(Clone, Default)]
struct ForceSystem {
    heard: Arc<Mutex<Heard>>,
}

/// A sink that is away first, and of which every answer is noted.
struct Watched<S> {
    sink: S,
    force_system: ForceSystem,
}

impl ForceSystem {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Sink> Sink for Watched<S> {
    fn kind(&self) -> &'static str {
        self.sink.kind()
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let Some(is_back_at) = self.force_system.lock().is_back_at else {
            return Err(SinkError::retry(RetryReason::Unreachable, "away"));
        };
        let owed: Vec<bool> = events.iter().map(|event| event.state == EventState::Owed).collect();
        let answer = self.sink.deliver(events).await;
        let mut heard = self.force_system.lock();
        heard.calls_count += 1;
        for (event, was_owed) in events.iter_mut().zip(owed) {
            if answer.is_ok() && event.state == EventState::Owed {
                event.state = EventState::Accepted;
            }
            if was_owed && event.state == EventState::Accepted {
                heard.accept(&event.key, is_back_at);
            }
        }
        answer
    }
}

impl Heard {
    fn note_newest(&mut self, at: Instant) {
        if self.is_back_at.is_none() {
            self.newest_at = Some(at);
        }
    }

    fn accept(&mut self, key: &str, is_back_at: Instant) {
        let Some((since, class)) = self.owed.remove(key) else {
            self.duplicate_count += 1;
            return;
        };
        let is_as_new = self.newest_at.is_some_and(|newest_at| since >= newest_at);
        if class == EntryClass::Live && is_as_new && self.newest_after.is_none() {
            self.newest_after = Some((self.calls_count, is_back_at.elapsed()));
        }
        let waited_us = u64::try_from(since.max(is_back_at).elapsed().as_micros()).unwrap_or(u64::MAX);
        match class {
            EntryClass::Alarm => self.alarms.add(waited_us),
            EntryClass::Live if since > is_back_at => self.live.add(waited_us),
            _ => {}
        }
    }
}

/// Devices that go on.
struct Devices {
    spool: Spool,
    force_system: ForceSystem,
    clock: Clock,
    issued: u64,
    bytes: BytesMut,
}

impl Devices {
    /// Appends the next record.
    async fn append(&mut self, class: EntryClass, age_ms: u64) -> Result<(), SpoolError> {
        let number = self.issued;
        self.issued += 1;
        let device = format!("pc-{:04}", number % DEVICES);
        let (lane, alarm) = match class {
            EntryClass::Alarm => (Lane::Alarm, true),
            EntryClass::Backlog => (Lane::Backlog, false),
            _ => (Lane::Live, false),
        };
        let record = record(&device, (number / DEVICES) as u32, lane, alarm, self.clock.now_ms() - age_ms);
        self.bytes.clear();
        record.encode(&mut self.bytes);
        let key = record.key();
        self.force_system.lock().owed.insert(key, (Instant::now(), class));
        self.spool.append(class, &self.bytes).await?;
        Ok(())
    }

    async fn fill(&mut self, count: u64) -> Result<(), SpoolError> {
        for number in 0..count {
            let class = if number % HISTORY_EVERY == 0 { EntryClass::Backlog } else { EntryClass::Live };
            // Half a day of it, the newest a minute old.
            let age_ms = 60_000 + (count - number) * 43_200_000 / count;
            self.append(class, age_ms).await?;
        }
        Ok(())
    }

    /// Until `stop`: positions at a steady rate, and an alarm for every tenth.
    async fn go_on(mut self, per_s: u64, stop: CancellationToken) -> Result<u64, SpoolError> {
        let mut ticks = tokio::time::interval(Duration::from_millis(TICK_MS));
        let (began, mut sent) = (Instant::now(), 0);
        while !stop.is_cancelled() {
            ticks.tick().await;
            let due = began.elapsed().as_millis() as u64 * per_s / 1_000;
            while sent < due {
                sent += 1;
                let at = Instant::now();
                self.append(EntryClass::Live, 0).await?;
                self.force_system.lock().note_newest(at);
                if sent.is_multiple_of(10) {
                    self.append(EntryClass::Alarm, 0).await?;
                }
            }
        }
        Ok(self.issued)
    }
}

fn record(device: &str, seq: u32, lane: Lane, alarm: bool, at_ms: u64) -> Record {
    let position = Position {
        latitude_udeg: 51_507_400,
        longitude_udeg: -127_758,
        speed_cmps: Some(134),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    let (mut body, mut frame) = ([0; 64], [0; 128]);
    let (class, encoded) = if alarm {
        let alarm =
            Alarm { cause: AlarmCause::BUTTON, silent: false, position: Some(position), position_age_s: 1 };
        (Class::ALARM, alarm.encode(&mut body))
    } else {
        (Class::POSITION, position.encode(&mut body))
    };
    let body = encoded.expect("a body of at most 64 bytes");
    let (boot, seq) = (BootId(1), Seq(seq));
    let head =
        Head { version: 1, class, mode: Mode::Test, clock: ClockQuality::Gnss, boot, seq, time_ms: at_ms };
    let frame =
        Envelope { head, body, trailer: None }.encode(&mut frame).expect("a frame of at most 128 bytes");
    Record {
        lsn: fieldpost_gateway::spool::Lsn(0),
        received_at_ms: at_ms,
        force: ForceId::try_new("sim").expect("an identity"),
        device: DeviceId::try_new(device).expect("an identity"),
        ceiling: Mode::Test,
        lane,
        kind: RecordKind::Envelope,
        payload: bytes::Bytes::copy_from_slice(frame),
    }
}

/// Runs it in `dir`.
///
/// # Errors
/// The spool cannot work: the rig proves nothing then.
pub async fn backlog(plan: &BacklogPlan, dir: &Path) -> Result<BacklogReport, RigError> {
    match &plan.system {
        System::FarAway(round_trip) => drain(plan, dir, FarAway(*round_trip)).await,
        System::Postgres => {
            let postgres = tokio::task::block_in_place(Postgres::start)?;
            let mut report = drain(plan, dir, postgres.sink()).await?;
            report.stored = Some(tokio::task::block_in_place(|| postgres.stored())?);
            Ok(report)
        }
        System::Nats(binary) => {
            let started = Nats::start(binary, &dir.join("nats"));
            let nats = started.map_err(RigError::io("start nats-server"))?;
            let mut report = drain(plan, dir, nats_sink(&nats)).await?;
            report.stored = Some(stored_by(&nats).await?);
            Ok(report)
        }
    }
}

async fn drain(plan: &BacklogPlan, dir: &Path, sink: impl Sink + 'static) -> Result<BacklogReport, RigError> {
    let spool_failed = || RigError::cannot::<SpoolError>("use the spool");
    let mut settings = SpoolSettings::default();
    settings.bytes_max = settings.bytes_max.max(plan.records * 400);
    let (spool, _) = Spool::open(&dir.join("spool"), settings, Arc::new(RealDisk)).map_err(spool_failed())?;
    let force_system = ForceSystem::default();
    // The cursor first: it stands before everything.
    let source = SpoolSource::open(&spool, "force", plan.system.limits()).map_err(spool_failed())?;
    let mut devices = Devices {
        spool: spool.clone(),
        force_system: force_system.clone(),
        clock: Clock::system(),
        issued: 0,
        bytes: BytesMut::new(),
    };
    console::progress(&format!("a backlog of {} records is written", plan.records));
    devices.fill(plan.records).await.map_err(spool_failed())?;
    let stop = CancellationToken::new();
    let metrics = Metrics::new();
    let watched = Watched { sink, force_system: force_system.clone() };
    let settings = forwarder_settings(dir, &metrics);
    let forwarder = Forwarder::new(settings, source, watched, &metrics, stop.clone());
    let forwarder = tokio::spawn(forwarder.run());
    let live = stop.child_token();
    let going_on = tokio::spawn(devices.go_on(plan.live_per_s, live.clone()));
    tokio::time::sleep(AWAY).await;
    let backlog_count = {
        let mut heard = force_system.lock();
        heard.is_back_at = Some(Instant::now());
        heard.owed.len() as u64
    };
    console::progress("the force system answers");
    let began = Instant::now();
    until_drained(&force_system, plan, began).await;
    let drained = began.elapsed();
    live.cancel();
    let appended = going_on.await;
    let last = until_empty(&force_system, began + plan.patience).await;
    stop.cancel();
    // A panic is in the log; the count shows it too.
    _ = forwarder.await;
    let issued_count = appended.map_err(RigError::cannot("go on as devices"))?.map_err(spool_failed())?;
    spool.close().await;
    Ok(report(plan, &force_system.lock(), backlog_count, drained, (last, issued_count)))
}

/// Until nothing is owed but what has only just come.
async fn until_drained(force_system: &ForceSystem, plan: &BacklogPlan, began: Instant) {
    let is_old = |since: &Instant| since.elapsed() > Duration::from_secs(1);
    while began.elapsed() < plan.patience {
        let owes = {
            let heard = force_system.lock();
            heard.owed.len() as u64 > 2 * plan.live_per_s
                || heard.owed.values().any(|(since, _)| is_old(since))
        };
        if !owes {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Until nothing is owed; how much is.
async fn until_empty(force_system: &ForceSystem, deadline: Instant) -> usize {
    loop {
        let owed_count = force_system.lock().owed.len();
        if owed_count == 0 || Instant::now() > deadline {
            return owed_count;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn report(
    plan: &BacklogPlan,
    heard: &Heard,
    backlog_count: u64,
    drained: Duration,
    (lost_count, issued_count): (usize, u64),
) -> BacklogReport {
    let newest = heard.newest_after;
    let drained_per_s = backlog_count as f64 / drained.as_secs_f64().max(0.001);
    // A tenth of it more are alarms.
    let comes_per_s = plan.live_per_s as f64 * 1.1;
    BacklogReport {
        backlog_count,
        system: plan.system.name(),
        live_per_s: plan.live_per_s,
        newest_after_calls: newest.map(|(calls, _)| calls),
        newest_after_ms: newest.map(|(_, after)| after.as_millis()),
        alarm_ms: heard.alarms.percentiles(),
        alarm_count: heard.alarms.count(),
        live_ms: heard.live.percentiles(),
        drained_s: drained.as_secs_f64(),
        drained_per_s,
        times_live: drained_per_s / comes_per_s.max(1.0),
        times_live_min: plan.times_live,
        lost_count,
        duplicate_count: heard.duplicate_count,
        issued_count,
        stored: None,
    }
}

fn forwarder_settings(dir: &Path, metrics: &Metrics) -> ForwarderSettings {
    let whom = Whom { name: "force".to_owned(), kind: "rig", address: String::new() };
    let files = AccessFiles::of(Series::Disclosures, dir);
    ForwarderSettings {
        name: "force".to_owned(),
        backoff: BackoffSettings { delay_ms_min: 50, delay_ms_max: 500 },
        attempt_ms_max: 10_000,
        stop_ms_max: 1_000,
        clock: ClockBounds::default(),
        recipient: Disclosures::start(
            files,
            RecentOf::default(),
            metrics.forward.disclosure_failures.clone(),
        )
        .recipient(whom, &Release::everything()),
        release: Release::everything(),
        refusals: dir.join("refused.ndjson"),
        wall: Clock::system(),
        random: Random::system(),
    }
}
