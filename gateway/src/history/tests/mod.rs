//! Claims of the stores: those of the seam hold for each of them, against a model that keeps every row in a list; the others are
//! of the embedded one alone.

mod damage;
mod model;
mod patience;
mod postgres;
mod retention;
mod task;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use fieldpost_protocol::{ClockQuality, Duty, FixSource, Mode, Position, ReportReason};

use super::row::{AlarmEvent, Row, Said};
use super::{FileStore, HistoryStore, Hold, Retention, Settings};
use crate::live::unit::UnitId;
use crate::spool::faulty::{FaultyDisk, Unsynced};

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;
/// Noon of a day.
const NOON_MS: u64 = 20_775 * DAY_MS + 12 * HOUR_MS;

fn unit(text: &str) -> UnitId {
    text.parse().unwrap()
}

fn row(at_ms: u64, seq: u32, said: Said) -> Row {
    Row {
        at_ms,
        received_at_ms: at_ms + 100,
        boot: 1,
        seq,
        print: 0,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        is_backlog: false,
        said,
    }
}

fn place(at_ms: u64, seq: u32) -> Row {
    let step = i32::try_from(seq % 100_000).unwrap();
    let position = Position {
        latitude_udeg: 51_500_000 + step * 13,
        longitude_udeg: -120_000 + step * 17,
        speed_cmps: Some(140),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    row(at_ms, seq, Said::Position(position))
}

fn status(at_ms: u64, seq: u32, duty: Duty) -> Row {
    row(at_ms, seq, Said::Status { duty, battery_pct: 80 })
}

fn alarm(at_ms: u64, seq: u32, what: &str, id: &str) -> Row {
    row(at_ms, seq, AlarmEvent::of(id.to_owned(), what).said())
}

/// A place where a kind of store keeps its rows, for the claims that hold for every kind.
trait Bed {
    /// Opens the store on what earlier ones settled here. `holds` are asked whenever it may drop something.
    async fn open_with(&self, retention: Retention, holds: Arc<Mutex<Vec<Hold>>>) -> Box<dyn HistoryStore>;

    /// As after a power cut: what was not settled is gone, or a part of it.
    fn cut_power(&mut self, seed: u64);

    async fn open(&self) -> Box<dyn HistoryStore> {
        let retention = Retention { movement_days: 31, alarms_days: 366 };
        self.open_with(retention, Arc::default()).await
    }
}

/// The embedded store's.
struct Files(FaultyDisk);

impl Bed for Files {
    async fn open_with(&self, retention: Retention, holds: Arc<Mutex<Vec<Hold>>>) -> Box<dyn HistoryStore> {
        let holds = Arc::new(move || holds.lock().unwrap().clone());
        Box::new(FileStore::open(Settings { retention, holds, ..settings(&self.0) }).unwrap().0)
    }

    fn cut_power(&mut self, seed: u64) {
        self.0 = self.0.cut_power(Unsynced::Torn(seed));
    }
}

fn settings(disk: &FaultyDisk) -> Settings {
    Settings { disk: Arc::new(disk.clone()), ..Settings::new(PathBuf::from("/history")) }
}

fn open(disk: &FaultyDisk) -> FileStore {
    FileStore::open(settings(disk)).unwrap().0
}
