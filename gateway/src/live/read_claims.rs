//! What the fold promises of its reads: **an alarm, who has it and the newest position do not wait for history**, and a sector that
//! cannot be read costs its own records only.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use bytes::BytesMut;
use fieldpost_protocol::{AlarmCause, Lane, Receipt};

use super::*;
use crate::alarms::{Acknowledgement, AlarmId};
use crate::live::devices::{Confirmation, Connections, Devices};
use crate::live::state::tests::{Device, NOW_MS};
use crate::live::unit::UnitId;
use crate::live::{Live, Settings, start};
use crate::metrics::Metrics;
use crate::record::Record;
use crate::spool::faulty::FaultyDisk;
use crate::spool::{Crew, Spool, SpoolSettings, Wait};

struct Nobody;

impl Devices for Nobody {
    fn connected(&self) -> BTreeSet<UnitId> {
        BTreeSet::new()
    }

    fn connections(&self) -> Connections {
        Box::pin(futures_util::stream::pending())
    }

    fn is_behind_broker(&self, _: &UnitId) -> bool {
        false
    }

    fn send_receipt(&self, _: &AlarmId, _: Receipt) -> Confirmation {
        Box::pin(std::future::ready(false))
    }
}

/// A spool on a disk in memory, and the live half at its beginning, driven by hand.
struct Bench {
    disk: FaultyDisk,
    spool: Spool,
    crew: Crew,
    now: Instant,
    device: Device,
    live: Live,
    _dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        Self::with_tail(SpoolSettings::default().tail_bytes_max)
    }

    /// So many of the newest bytes are read from memory.
    fn with_tail(tail_bytes_max: usize) -> Self {
        let (mut settings, disk) = (SpoolSettings::default(), FaultyDisk::new());
        settings.tail_bytes_max = tail_bytes_max;
        (settings.segment_bytes, settings.bytes_max, settings.reserve_bytes) = (2 << 20, 64 << 20, 2 << 20);
        let (spool, crew, _) =
            Spool::open_by_hand(Path::new("/spool"), settings, Arc::new(disk.clone())).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings::new(dir.path().to_owned());
        let (metrics, shutdown) = (Metrics::new(), CancellationToken::new());
        let (live, _) =
            start::prepare(settings, &spool, Arc::new(Nobody), Arc::default(), metrics, &shutdown).unwrap();
        Self { disk, spool, crew, now: Instant::now(), device: Device::new(), live, _dir: dir }
    }

    fn append(&mut self, class: EntryClass, record: &Record) -> Lsn {
        let mut bytes = BytesMut::new();
        record.encode(&mut bytes);
        loop {
            match self.spool.try_append(class, &bytes) {
                Ok(lsn) => break lsn,
                Err(_) => self.commit(),
            }
        }
    }

    fn history(&mut self, count: i32) {
        for n in 0..count {
            let mut record = self.device.position(n, Lane::Backlog, NOW_MS - 60_000, NOW_MS);
            record.device = "pc-0002".parse().unwrap();
            self.append(EntryClass::Backlog, &record);
        }
    }

    fn commit(&mut self) {
        self.now += Duration::from_secs(1);
        while self.crew.step(self.now) == Some(Wait::Nothing) {}
    }

    fn lanes(&self) -> Lanes {
        Lanes::new(&self.live.hub, Lsn(1), Lsn(0))
    }

    fn folded(&self) -> Lsn {
        *self.live.hub.folded.borrow()
    }
}

#[tokio::test]
async fn an_alarm_and_who_has_it_and_the_newest_position_do_not_wait_for_history() {
    let mut bench = Bench::new();
    bench.history(3_000);
    let newest = bench.device.position(7_777, Lane::Live, NOW_MS, NOW_MS);
    bench.append(EntryClass::Live, &newest);
    let raised = bench.append(EntryClass::Alarm, &Device::new().alarm(AlarmCause::BUTTON, None, NOW_MS));
    bench.history(3_000);
    bench.commit();
    let mut lanes = bench.lanes();
    lanes.turn().await.unwrap();

    let id: AlarmId = "sim/pc-0001/1/0".parse().unwrap();
    assert!(bench.folded() < raised, "what is kept is the fold's");
    assert!(bench.live.hub.state().alarms.get(&id).is_none());
    assert!(bench.live.hub.state().shown().get(&id).is_some());
    bench.live.hub.wait_shown(raised).await;
    let latitude = |bench: &Bench| {
        let state = bench.live.hub.state();
        state.unit(&id.unit).unwrap().report().place.unwrap().position.latitude_udeg
    };
    assert_eq!(latitude(&bench), 7_777);

    let said =
        Acknowledgement { alarm: id.to_string(), operator: "anna".to_owned(), at_ms: NOW_MS, seen_as: None };
    let taken = bench.append(EntryClass::Internal, &said.record(&id));
    bench.commit();
    lanes.turn().await.unwrap();
    bench.live.hub.wait_shown(taken).await;
    assert!(bench.folded() < raised);
    let owner = bench.live.hub.state().shown().get(&id).unwrap().owner.clone();
    assert_eq!(owner.unwrap().operator, "anna");

    while bench.folded() < bench.spool.committed() {
        lanes.turn().await.unwrap();
        assert_eq!(latitude(&bench), 7_777, "never backwards");
    }
    let state = bench.live.hub.state();
    assert!(state.alarms_ahead.is_empty());
    assert_eq!(state.alarms.get(&id).unwrap().owner.as_ref().unwrap().operator, "anna");
}

#[tokio::test]
async fn while_the_fold_keeps_up_no_lane_reads_anything() {
    let mut bench = Bench::new();
    let mut lanes = bench.lanes();
    for _ in 0..3 {
        bench.history(100);
        let alarm = bench.device.alarm(AlarmCause::BUTTON, None, NOW_MS);
        bench.append(EntryClass::Alarm, &alarm);
        bench.commit();
        lanes.turn().await.unwrap();
    }
    assert_eq!(bench.folded(), bench.spool.committed());
    assert_eq!((lanes.alarms.position(), lanes.live.position()), (Lsn(1), Lsn(1)));
}

#[tokio::test]
async fn a_live_lane_that_gains_nothing_rests() {
    let mut bench = Bench::new();
    bench.history(1);
    for n in 0..4_000 {
        let record = bench.device.position(n, Lane::Live, NOW_MS, NOW_MS);
        bench.append(EntryClass::Live, &record);
    }
    bench.commit();
    let mut lanes = bench.lanes();
    lanes.turn().await.unwrap();
    let rests_at = lanes.live.position();
    lanes.turn().await.unwrap();
    assert_eq!(lanes.live.position(), rests_at, "twice the work for the same picture");
}

#[tokio::test]
async fn a_sector_that_stays_unreadable_costs_its_records_and_holds_up_nothing_else() {
    let mut bench = Bench::with_tail(0);
    for n in 0..200 {
        bench.history(20);
        let record = bench.device.position(n, Lane::Live, NOW_MS, NOW_MS);
        bench.append(EntryClass::Live, &record);
    }
    bench.commit();
    let first = bench.disk.paths().into_iter().find(|path| path.extension().is_some_and(|e| e == "seg"));
    bench.disk.break_sector(&first.unwrap(), 8 << 10);
    let mut lanes = bench.lanes();
    let mut failures_count = 0;
    while bench.folded() < bench.spool.committed() {
        match lanes.turn().await {
            Err(ReadError::Io(_)) => failures_count += 1,
            turn => turn.unwrap(),
        }
        assert!(failures_count < 10, "at {:?} for ever", bench.folded());
    }
    assert!(failures_count > 0);
    assert!(bench.live.hub.metrics.live.records_missing.get() > 0);
}
