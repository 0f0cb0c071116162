//! A PostgreSQL that fails under load: **every acknowledged record stands in its tables exactly once, whatever happened to the
//! server, the connection or the answer to a COMMIT, and devices notice nothing.**
//!
//! ```text
//! devices -> gateway -> proxy -> PostgreSQL   not there yet, killed, stopped, restarted, read-only, out of connections, disk full
//!                         '- cuts in the middle of a batch; before a COMMIT arrives; after it, before its answer
//! ```
//!
//! One case after the other, in one run: what a case left behind is the start of the next one. Needs root, for a disk that is
//! full: the gateway's tables are in a tablespace on a small tmpfs.

mod beside;
// The gateway's tests run on the same: it is no part of the product, so it is in no crate's library.
#[path = "../../../../gateway/src/postgres/cluster.rs"]
mod cluster;
mod proxy;

use std::{
    collections::HashMap,
    io::Write as _,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

pub(super) use beside::Beside;
pub(super) use cluster::Cluster;
use fieldpost_gateway::config::RELEASE_ALL;
use proxy::{Mood, Proxy};

use super::{
    Account, RigError,
    disk::Mount,
    gateway::{Launch, SPOOL, Setup},
    load::{self, Load, Pace},
    spool,
};
use crate::console;

/// What is done to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Killed,
    Stopped,
    Restarted,
    ReadOnly,
    NoConnections,
    DiskFull,
    CutMidBatch,
    CutBeforeCommit,
    CutAfterCommit,
}

impl Case {
    const ALL: [Self; 9] = [
        Self::CutMidBatch,
        Self::CutBeforeCommit,
        Self::CutAfterCommit,
        Self::Killed,
        Self::Stopped,
        Self::Restarted,
        Self::ReadOnly,
        Self::NoConnections,
        Self::DiskFull,
    ];
}

/// What to do.
#[derive(Debug, Clone)]
pub struct PostgresPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Devices.
    pub device_count: usize,
    /// How long each case lasts.
    pub lasts: Duration,
    /// For everything to arrive when all is well again; what has not is lost.
    pub arrival_max: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct PostgresReport {
    /// Cases gone through.
    pub case_count: usize,
    /// What devices had stored before the database was there for the first time, and empty.
    pub before_count: u64,
    /// How often the database found no room on its disk.
    pub full_count: usize,
    /// Connections that the proxy cut.
    pub cut_count: u64,
    /// Of records whose PUBACK a device has read: lost, and in the tables more than once. Must be 0.
    #[serde(flatten)]
    pub account: Account,
    /// The same of the history, which is in the same database.
    pub history: Account,
    /// Of the lost, those that the gateway does not owe the database any more: no wait would bring them.
    pub gone_count: u64,
    /// From the last case's end until everything was there.
    pub catch_up_ms: u128,
}

impl PostgresReport {
    pub(super) fn held(&self) -> bool {
        let was_hit = self.before_count > 0 && self.full_count > 0 && self.cut_count > 0;
        self.account.held() && self.history.held() && was_hit && self.case_count == Case::ALL.len()
    }
}

/// What the output releases.
const EVENTS: &[&str] = &["fieldpost.positions", "fieldpost.alarms", "fieldpost.events"];
/// What the gateway keeps for itself.
const HISTORY: &[&str] = &["fieldpost_history.movement"];
const PACE: Pace = Pace::new(4, 50);
/// For the gateway's tables; the server's log of changes is elsewhere, and does not fill it.
const DISK: &str = "size=64m";
const BALLAST: &str = "ballast";

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn postgres(plan: &PostgresPlan, dir: &Path) -> Result<PostgresReport, RigError> {
    let mut database = tokio::task::block_in_place(Database::start)?;
    let proxy = Proxy::start(database.cluster.port()).await.map_err(RigError::io("listen as a proxy"))?;
    let url = format!("postgresql://gateway@127.0.0.1:{}/postgres", proxy.port());
    let appendix = format!(
        "[[forward.postgres]]\nurl = \"{url}\"\n\
         retry_delay_ms_max = 500\nattempt_ms_max = 2000\n{RELEASE_ALL}\n"
    );
    let launch = Launch::of(&plan.binary)
        .with("FIELDPOST__HISTORY__STORE", "postgres")
        .with("FIELDPOST__HISTORY__POSTGRES__URL", &url);
    let setup = Setup::new(&dir.join("gateway"), plan.device_count, &appendix)?;
    console::progress("now: no database yet");
    tokio::task::block_in_place(|| database.stop())?;
    let mut gateway = tokio::task::block_in_place(|| setup.start(&launch))?;
    let load = Load::start(setup.address, &setup.devices, Load::fresh(plan.device_count), PACE);
    load.everyone_hears(10).await?;
    let mut report =
        PostgresReport { before_count: 10 * plan.device_count as u64, ..PostgresReport::default() };
    tokio::task::block_in_place(|| database.restart())?;
    load.everyone_hears(10).await?;
    for case in Case::ALL {
        console::progress(&format!("now: {case:?}"));
        tokio::task::block_in_place(|| database.break_it(case, &proxy))?;
        load.everyone_hears(1).await?;
        // How long the fault lasts, not a wait for something to be ready.
        tokio::time::sleep(plan.lasts).await;
        tokio::task::block_in_place(|| database.mend(case, &proxy))?;
        report.case_count += 1;
    }
    let mended = Instant::now();
    let mut windows = load.end().await?;
    load::settle(&setup, &mut windows).await?;
    let counts = load::counts(&windows);
    while mended.elapsed() < plan.arrival_max {
        let found = tokio::task::block_in_place(|| keys(&database.cluster, EVENTS))?;
        report.account = Account::of(&setup.devices, &counts, &found);
        if report.account.lost_count == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    report.catch_up_ms = mended.elapsed().as_millis();
    report.cut_count = proxy.cut_count();
    report.full_count = tokio::task::block_in_place(|| database.said("No space left on device"))?;
    gateway.terminate()?;
    // What came after everything was there can only be there twice.
    let (found, history) = tokio::task::block_in_place(|| {
        Ok::<_, RigError>((keys(&database.cluster, EVENTS)?, keys(&database.cluster, HISTORY)?))
    })?;
    report.account = Account::of(&setup.devices, &counts, &found);
    report.history = Account::of(&setup.devices, &counts, &history);
    report.gone_count = report.account.lost_count.saturating_sub(spool::owed_count_max(&dir.join(SPOOL))?);
    Ok(report)
}

/// Dropped in this order: the server leaves the disk before the disk goes.
struct Database {
    cluster: Cluster,
    disk: Mount,
    _dir: tempfile::TempDir,
}

impl Database {
    fn start() -> Result<Self, RigError> {
        let cluster = Cluster::start(&[]).map_err(RigError::io("start PostgreSQL"))?;
        // Of its own: the server's user may not look into the rig's.
        let dir = tempfile::Builder::new().prefix("fieldpost-tablespace-").tempdir();
        let dir = dir.map_err(RigError::io("make a folder"))?;
        let open = std::fs::Permissions::from_mode(0o711);
        std::fs::set_permissions(dir.path(), open).map_err(RigError::io("open a folder"))?;
        let disk = Mount::new(&["-t", "tmpfs", "-o", DISK], Path::new("tmpfs"), &dir.path().join("disk"))?;
        let at = disk.at().to_string_lossy().into_owned();
        super::error::tool(&["chown", "postgres:", &at])?;
        let database = Self { cluster, disk, _dir: dir };
        database.sql(&format!("CREATE TABLESPACE small LOCATION '{at}'"))?;
        database.sql(
            "CREATE ROLE gateway LOGIN; CREATE SCHEMA fieldpost AUTHORIZATION gateway; \
             CREATE SCHEMA fieldpost_history AUTHORIZATION gateway; GRANT CREATE ON TABLESPACE small TO gateway; \
             ALTER ROLE gateway SET default_tablespace = small",
        )?;
        Ok(database)
    }

    fn stop(&mut self) -> Result<(), RigError> {
        self.cluster.stop().map_err(RigError::io("stop PostgreSQL"))
    }

    fn restart(&mut self) -> Result<(), RigError> {
        self.cluster.restart().map_err(RigError::io("start PostgreSQL"))
    }

    /// How often the server's log says so.
    fn said(&self, what: &str) -> Result<usize, RigError> {
        self.cluster.log().map(|log| log.matches(what).count()).map_err(RigError::io("read the log"))
    }

    /// Leaves no byte on the disk of the gateway's tables.
    fn fill(&self) -> Result<(), RigError> {
        let mut ballast =
            std::fs::File::create(self.disk.at().join(BALLAST)).map_err(RigError::io("fill the disk"))?;
        let block = [0; 4096];
        loop {
            match ballast.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(RigError::io("fill the disk")(error)),
            }
        }
    }

    fn sql(&self, sql: &str) -> Result<String, RigError> {
        self.cluster.sql("postgres", sql).map_err(RigError::io("ask PostgreSQL"))
    }

    fn break_it(&mut self, case: Case, proxy: &Proxy) -> Result<(), RigError> {
        match case {
            Case::Killed => self.cluster.kill().map_err(RigError::io("kill PostgreSQL")),
            Case::Stopped => self.everybody("STOP"),
            Case::Restarted => self
                .cluster
                .stop()
                .and_then(|()| self.cluster.restart())
                .map_err(RigError::io("restart PostgreSQL")),
            Case::ReadOnly => self.setting("default_transaction_read_only = on"),
            Case::NoConnections => self
                .sql(
                    "ALTER ROLE gateway CONNECTION LIMIT 0; \
                     SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'gateway'",
                )
                .map(drop),
            Case::DiskFull => self.fill(),
            Case::CutMidBatch => {
                proxy.be(Mood::CutsMidBatch);
                Ok(())
            }
            Case::CutBeforeCommit => {
                proxy.be(Mood::CutsBeforeCommit);
                Ok(())
            }
            Case::CutAfterCommit => {
                proxy.be(Mood::CutsAfterCommit);
                Ok(())
            }
        }
    }

    fn mend(&mut self, case: Case, proxy: &Proxy) -> Result<(), RigError> {
        match case {
            Case::Killed => self.cluster.restart().map_err(RigError::io("start PostgreSQL again")),
            Case::Stopped => self.everybody("CONT"),
            Case::Restarted => Ok(()),
            // A session of the administrator's that says so may write all the same.
            Case::ReadOnly => self.setting("default_transaction_read_only = off"),
            Case::NoConnections => self.sql("ALTER ROLE gateway CONNECTION LIMIT -1").map(drop),
            Case::DiskFull => {
                std::fs::remove_file(self.disk.at().join(BALLAST)).map_err(RigError::io("make room"))
            }
            Case::CutMidBatch | Case::CutBeforeCommit | Case::CutAfterCommit => {
                proxy.be(Mood::Passes);
                Ok(())
            }
        }
    }

    fn setting(&self, setting: &str) -> Result<(), RigError> {
        // Not in one transaction: ALTER SYSTEM cannot be.
        self.sql(&format!("ALTER SYSTEM SET {setting}"))?;
        self.sql("SELECT pg_reload_conf()").map(drop)
    }

    /// A signal to the server's first process and to all of its children.
    fn everybody(&self, signal: &str) -> Result<(), RigError> {
        let first = self.cluster.process().map_err(RigError::io("find PostgreSQL"))?;
        let children = std::fs::read_to_string(format!("/proc/{first}/task/{first}/children"));
        let children = children.map_err(RigError::io("find PostgreSQL's sessions"))?;
        super::error::signal(first, signal)?;
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            // One that has ended meanwhile needs no signal.
            if super::error::signal(child, signal).is_err() {
                tracing::debug!(child, "a session of PostgreSQL ended before its signal");
            }
        }
        Ok(())
    }
}

/// How often each key stands in `tables`.
fn keys(cluster: &Cluster, tables: &[&str]) -> Result<HashMap<String, u32>, RigError> {
    let rows = tables.iter().map(|table| format!("SELECT force, device, boot, seq FROM {table}"));
    let rows: Vec<String> = rows.collect();
    let sql = format!(
        "SELECT force || '.' || device || '.' || boot || '.' || seq, count(*) FROM ({}) r GROUP BY 1",
        rows.join(" UNION ALL ")
    );
    let found = cluster.sql("postgres", &sql).map_err(RigError::io("ask PostgreSQL"))?;
    let pairs = found.lines().filter_map(|line| line.split_once('|'));
    Ok(pairs.filter_map(|(key, count)| Some((key.to_owned(), count.parse().ok()?))).collect())
}
