//! A control room over a real spool, a real socket and a real directory, with a turnable clock and a page of lines where
//! the devices would be.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fieldpost_gateway::alarms::AlarmId;
use fieldpost_gateway::audit::files::ACCESS_DIR;
use fieldpost_gateway::audit::line::Note;
use fieldpost_gateway::audit::{self, AccessFiles, Journal};
use fieldpost_gateway::config::roster::Roster;
use fieldpost_gateway::forward::ClockBounds;
use fieldpost_gateway::forward::feed::Feeds;
use fieldpost_gateway::forward::release::Disclosures;
use fieldpost_gateway::history;
use fieldpost_gateway::http;
use fieldpost_gateway::http::tiles::{Ground, Tiles};
use fieldpost_gateway::ledger;
use fieldpost_gateway::live::devices::{Confirmation, Connection, Connections, Devices};
use fieldpost_gateway::live::unit::UnitId;
use fieldpost_gateway::live::{self, Live};
use fieldpost_gateway::login::{LoginLinks, Operator};
use fieldpost_gateway::machines::Machines;
use fieldpost_gateway::metrics::Metrics;
use fieldpost_gateway::people::reasons::Reasons;
use fieldpost_gateway::people::{Assignments, Consoles, Entrance, Grant, NewAssignment, Role};
use fieldpost_gateway::postgres::Server;
use fieldpost_gateway::record::{Record, RecordKind};
use fieldpost_gateway::spool::{Disk, EntryClass, Lsn, RealDisk, Spool, SpoolSettings};
use fieldpost_protocol::{
    Alarm, AlarmCause, BootId, Class, ClockQuality, DeviceId, Envelope, EventCode, FixSource, ForceId, Head,
    Lane, Mode, Position, Receipt, ReportReason, SensorEvent, Seq,
};
use tempfile::TempDir;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

use super::browser::Browser;

/// A map file of this name in the site's directory is the room's.
pub(crate) const MAP: &str = "map.pmtiles";
/// Long enough for a slow machine, short enough to notice a hang.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The devices, as far as the control room knows them.
pub(crate) struct Fleet {
    connected: Mutex<BTreeSet<UnitId>>,
    news: broadcast::Sender<Connection>,
    /// Every SEEN sent, with whether the wearer's device confirms.
    pub(crate) seen: watch::Sender<Vec<AlarmId>>,
    /// Every DELIVERED sent.
    pub(crate) delivered: watch::Sender<Vec<AlarmId>>,
    confirms: watch::Sender<bool>,
}

impl Fleet {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            connected: Mutex::default(),
            news: broadcast::Sender::new(64),
            seen: watch::Sender::default(),
            delivered: watch::Sender::default(),
            confirms: watch::Sender::new(false),
        })
    }

    pub(crate) fn connect(&self, unit: &UnitId) {
        self.connected.lock().unwrap().insert(unit.clone());
        // Nobody may be listening yet: then the set is read.
        _ = self.news.send(Connection::Opened(unit.clone()));
    }

    /// From now on devices confirm what they are sent, and what they were.
    pub(crate) fn confirm(&self) {
        self.confirms.send_replace(true);
    }
}

impl Devices for Fleet {
    fn connected(&self) -> BTreeSet<UnitId> {
        self.connected.lock().unwrap().clone()
    }

    fn connections(&self) -> Connections {
        let news = self.news.subscribe();
        Box::pin(futures_util::stream::unfold(news, |mut news| async move {
            let one = news.recv().await.unwrap_or(Connection::Missed);
            Some((one, news))
        }))
    }

    fn is_behind_broker(&self, _: &UnitId) -> bool {
        false
    }

    fn send_receipt(&self, alarm: &AlarmId, receipt: Receipt) -> Confirmation {
        let told = if receipt == Receipt::Seen { &self.seen } else { &self.delivered };
        told.send_modify(|seen| seen.push(alarm.clone()));
        let mut confirms = self.confirms.subscribe();
        Box::pin(async move { confirms.wait_for(|confirms| *confirms).await.is_ok() })
    }
}

/// An access journal that a test can hold back.
#[derive(Clone)]
pub(crate) struct HeldJournal {
    gate: Arc<(Mutex<bool>, Condvar)>,
    pub(crate) arrived: watch::Sender<u32>,
    file: Arc<Mutex<AccessFiles>>,
}

impl HeldJournal {
    pub(crate) fn new(dir: &Path) -> Self {
        Self {
            gate: Arc::default(),
            arrived: watch::Sender::new(0),
            file: Arc::new(Mutex::new(AccessFiles::new(dir))),
        }
    }

    pub(crate) fn release(&self) {
        *self.gate.0.lock().unwrap() = true;
        self.gate.1.notify_all();
    }
}

impl Journal for HeldJournal {
    fn append(&mut self, notes: &[Note]) -> io::Result<u64> {
        self.arrived.send_modify(|count| *count += 1);
        let guard = self.gate.0.lock().unwrap();
        drop(self.gate.1.wait_while(guard, |released| !*released).unwrap());
        self.file.lock().unwrap().append(notes)
    }
}

/// Opens what is unseen, for a test that is no browser.
pub(crate) fn seen<T>(unseen: audit::Unseen<T>) -> T {
    let who = audit::Who { operator: "test".into(), session: "-".into(), from: [127, 0, 0, 1].into() };
    let asked = audit::Asked { at_ms: 0, who, what: audit::What::UnitsRead, reason: None, of: None };
    let dir = tempfile::tempdir().unwrap();
    audit::show_now(&mut AccessFiles::new(dir.path()), asked, unseen).unwrap()
}

/// An officer of the force `sim` who wears a device for a time.
pub(crate) fn worn(device: &str, officer: &str, from_ms: u64, until_ms: u64) -> NewAssignment {
    NewAssignment {
        force: "sim".to_owned(),
        device: device.to_owned(),
        officer: officer.to_owned(),
        callsign: String::new(),
        vehicle: String::new(),
        role: String::new(),
        from_ms,
        until_ms,
    }
}

/// Every whole line of the access record.
pub(crate) fn access_lines(site: &Site) -> Vec<serde_json::Value> {
    let dir = site.dir.path().join(ACCESS_DIR);
    let files = audit::files::indices(&dir).unwrap().into_iter().map(audit::files::file_name);
    let text: String = files.map(|name| std::fs::read_to_string(dir.join(name)).unwrap()).collect();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What outlives a restart of the gateway.
pub(crate) struct Site {
    pub(crate) dir: TempDir,
    pub(crate) now_ms: Arc<AtomicU64>,
    pub(crate) fleet: Arc<Fleet>,
    pub(crate) roster: Arc<Roster>,
    /// What forces ask of who looks.
    pub(crate) reasons: Reasons,
    /// The map, instead of the file [`MAP`].
    pub(crate) tiles: Option<Tiles>,
    /// Where the history is kept, instead of files of the site's own.
    pub(crate) database: Option<Server>,
    /// Who finds out who somebody is, instead of the local passwords.
    pub(crate) entrance: Option<Entrance>,
    seq: AtomicU32,
}

/// The control room at work.
pub(crate) struct Room {
    pub(crate) spool: Spool,
    pub(crate) live: live::Running,
    pub(crate) ledger: ledger::task::Running,
    pub(crate) history: history::task::Running,
    pub(crate) http: http::Running,
    pub(crate) links: Arc<LoginLinks>,
    pub(crate) entrance: Entrance,
    pub(crate) assignments: Assignments,
    pub(crate) consoles: Consoles,
    pub(crate) metrics: Arc<Metrics>,
    now_ms: Arc<AtomicU64>,
}

impl Site {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            now_ms: Arc::new(AtomicU64::new(live::system_now_ms())),
            fleet: Fleet::new(),
            roster: Arc::default(),
            reasons: Reasons::default(),
            tiles: None,
            database: None,
            entrance: None,
            seq: AtomicU32::new(0),
        }
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    pub(crate) fn turn_clock(&self, by_ms: u64) {
        self.now_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    pub(crate) async fn open(&self) -> Room {
        self.open_with(AccessFiles::new(self.dir.path())).await
    }

    pub(crate) async fn open_with(&self, journal: impl Journal) -> Room {
        self.open_on(self.spool(Arc::new(RealDisk)), journal, None).await
    }

    pub(crate) fn spool(&self, disk: Arc<dyn Disk>) -> Spool {
        let settings = SpoolSettings {
            segment_bytes: 2 << 20,
            bytes_max: 64 << 20,
            reserve_bytes: 4 << 20,
            ..SpoolSettings::default()
        };
        Spool::open(&self.dir.path().join("spool"), settings, disk).unwrap().0
    }

    pub(crate) async fn open_on(
        &self,
        spool: Spool,
        journal: impl Journal,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Room {
        let links = Arc::new(LoginLinks::open(self.dir.path(), self.now_ms()).unwrap());
        let metrics = Metrics::new();
        let clock = Arc::clone(&self.now_ms);
        let mut settings = live::Settings::new(self.dir.path().to_owned());
        let assignments = Assignments::new(self.dir.path());
        assignments.refresh().unwrap();
        settings.wearers = assignments.wearers().clone();
        settings.now_ms = Arc::new(move || clock.load(Ordering::Relaxed));
        let shutdown = CancellationToken::new();
        let live = live::start(
            settings,
            &spool,
            Arc::clone(&self.fleet) as Arc<dyn Devices>,
            Arc::clone(&self.roster),
            Arc::clone(&metrics),
            &shutdown,
        )
        .unwrap();
        let ledger = ledger::task::start(self.dir.path(), &spool, self.now_ms(), &shutdown).unwrap();
        let history = self.start_history(&spool, &metrics, &shutdown).await;
        let local = || Entrance::local(self.dir.path()).unwrap();
        let entrance = self.entrance.clone().unwrap_or_else(local);
        let consoles = Consoles::default();
        let map = self.dir.path().join(MAP);
        let file = if map.exists() { Ground::File(map) } else { Ground::Outline };
        let tiles = self.tiles.clone().unwrap_or_else(|| Tiles::open(&file));
        let settings = http::Settings {
            tls,
            tiles,
            entrance: Some(entrance.clone()),
            consoles: consoles.clone(),
            assignments: Some(assignments.clone()),
            reasons: self.reasons.clone(),
            feeds: Some(self.feeds(&spool, &live, &metrics)),
            // A page that reads nothing stays one, however long the rest takes on a busy machine.
            silence_ms_max: 600_000,
            ..http::Settings::new("127.0.0.1:0".parse().unwrap())
        };
        let http = http::start(
            settings,
            http::Sources {
                live: live.live().clone(),
                ledger: ledger.shared().clone(),
                history: history.history().clone(),
            },
            Arc::clone(&links),
            journal,
            &shutdown,
        )
        .await
        .unwrap();
        let now_ms = Arc::clone(&self.now_ms);
        Room { spool, live, ledger, history, http, links, entrance, assignments, consoles, metrics, now_ms }
    }

    fn feeds(&self, spool: &Spool, live: &live::Running, metrics: &Arc<Metrics>) -> http::MachineFeeds {
        let log = Disclosures::inline(AccessFiles::of(audit::Series::Disclosures, self.dir.path()));
        let (situation, metrics) = (Arc::new(live.live().clone()), Arc::clone(metrics));
        http::MachineFeeds {
            feeds: Feeds::new(spool.clone(), log, situation, metrics, ClockBounds::default()),
            machines: Machines::new(self.dir.path()),
        }
    }

    async fn start_history(
        &self,
        spool: &Spool,
        metrics: &Arc<Metrics>,
        shutdown: &CancellationToken,
    ) -> history::task::Running {
        let now_ms = Arc::clone(&self.now_ms);
        let around = history::task::Surroundings {
            spool,
            clock_bounds: live::order::ClockBounds::default(),
            now_ms: Arc::new(move || now_ms.load(Ordering::Relaxed)),
            metrics: Arc::clone(metrics),
            shutdown,
        };
        let settings = history::Settings::new(history::task::dir_in(self.dir.path()));
        if let Some(server) = self.database.clone() {
            let history::Settings { rows_max, retention, holds, .. } = settings;
            let settings = history::PostgresSettings { server, rows_max, retention, holds };
            let (store, is_new) = history::PostgresStore::open(settings, PATIENCE).await;
            return history::task::start_new_or_on(Arc::new(store), is_new, around).unwrap();
        }
        history::task::start(history::FileStore::open(settings), around).unwrap()
    }

    /// `device` of the force `sim`, or `force/device`.
    pub(crate) fn unit(&self, device: &str) -> UnitId {
        let (force, device) = device.split_once('/').unwrap_or(("sim", device));
        UnitId { force: ForceId::try_new(force).unwrap(), device: DeviceId::try_new(device).unwrap() }
    }

    /// A record as ingest would append it: live, made and received now.
    fn record(&self, device: &str, class: Class, lane: Lane, body: &[u8]) -> Record {
        let head = Head {
            version: 1,
            class,
            mode: Mode::Test,
            clock: ClockQuality::Gnss,
            boot: BootId(3),
            seq: Seq(self.seq.fetch_add(1, Ordering::Relaxed)),
            time_ms: self.now_ms(),
        };
        let mut buffer = [0; 2048];
        let payload = Envelope { head, body, trailer: None }.encode(&mut buffer).unwrap();
        let UnitId { force, device } = self.unit(device);
        Record {
            lsn: Lsn(0),
            received_at_ms: self.now_ms(),
            force,
            device,
            ceiling: Mode::Test,
            lane,
            kind: RecordKind::Envelope,
            payload: Bytes::copy_from_slice(payload),
        }
    }

    pub(crate) fn position(&self, device: &str, latitude_udeg: i32) -> Record {
        let mut buffer = [0; 64];
        let body = position(latitude_udeg);
        self.record(device, Class::POSITION, Lane::Live, body.encode(&mut buffer).unwrap())
    }

    /// What a sensor noticed; a rule may raise an alarm of this id for it.
    pub(crate) fn event(&self, device: &str, code: EventCode) -> (AlarmId, Record) {
        let mut buffer = [0; 64];
        let event = SensorEvent { code, index: 0, value: 0 };
        let record = self.record(device, Class::SENSOR_EVENT, Lane::Live, event.encode(&mut buffer).unwrap());
        (self.id_of(device, &record), record)
    }

    fn id_of(&self, device: &str, record: &Record) -> AlarmId {
        let head = record.envelope().unwrap().head;
        AlarmId { unit: self.unit(device), boot: head.boot, seq: head.seq, repeat: None }
    }

    pub(crate) fn alarm(&self, device: &str) -> (AlarmId, Record) {
        let alarm = Alarm {
            cause: AlarmCause::OFFICER_DOWN,
            silent: false,
            position: Some(position(51_500_000)),
            position_age_s: 0,
        };
        let mut buffer = [0; 64];
        let record = self.record(device, Class::ALARM, Lane::Alarm, alarm.encode(&mut buffer).unwrap());
        (self.id_of(device, &record), record)
    }
}

fn position(latitude_udeg: i32) -> Position {
    Position {
        latitude_udeg,
        longitude_udeg: -1_234_567,
        speed_cmps: Some(140),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

impl Room {
    pub(crate) fn live(&self) -> &Live {
        self.live.live()
    }

    /// Commits a record and waits until the live half has folded it.
    pub(crate) async fn commit(&self, record: &Record) {
        let lsn = self.append(record).await;
        self.spool.wait_committed(lsn).await.unwrap();
        self.live().wait_folded(lsn).await;
    }

    pub(crate) async fn append(&self, record: &Record) -> Lsn {
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        self.spool.append(EntryClass::Live, &bytes).await.unwrap()
    }

    /// A browser whose operator has exactly these roles for these forces: `*` or `met,city`.
    pub(crate) async fn browser_as(&self, operator: &str, roles: &[Role], forces: &str) -> Browser {
        let grant = Grant { roles: roles.iter().copied().collect(), forces: forces.parse().unwrap() };
        let operator = Operator::try_new(operator).unwrap();
        let token = self.links.issue_as(&operator, &grant, self.now_ms.load(Ordering::Relaxed)).unwrap();
        self.opened(&format!("/login?token={token}")).await
    }

    pub(crate) fn link(&self, operator: &str) -> String {
        let operator = Operator::try_new(operator).unwrap();
        let token = self.links.issue(&operator, self.now_ms.load(Ordering::Relaxed)).unwrap();
        format!("/login?token={token}")
    }

    /// A browser without a session.
    pub(crate) fn stranger(&self) -> Browser {
        Browser::new(self.http.address())
    }

    /// A browser that has opened its operator's link.
    pub(crate) async fn browser(&self, operator: &str) -> Browser {
        self.opened(&self.link(operator)).await
    }

    async fn opened(&self, link: &str) -> Browser {
        let mut browser = self.stranger();
        let answer = browser.get(link).await;
        assert_eq!(answer.status, 303, "{}", answer.text());
        browser.keep_cookie(&answer);
        browser
    }

    /// As SIGTERM does.
    pub(crate) async fn stop(self) {
        self.http.stop().await;
        self.live.stop().await;
        self.ledger.stop().await;
        self.history.stop().await;
        self.spool.close().await;
    }
}
