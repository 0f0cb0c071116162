//! Claims of a slow disk: nobody waits for it but who asked.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use super::super::{FileStore, HistoryStore, Sees, Settings, Track};
use super::{HOUR_MS, NOON_MS, place, settings, unit};
use crate::spool::faulty::FaultyDisk;
use crate::spool::{DirLock, Disk, DiskFile};

/// Holds what the disk is asked for, once shut.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<Held>, Condvar)>);

#[derive(Default)]
struct Held {
    reads_shut: bool,
    changes_shut: bool,
    waiting_count: usize,
}

impl Gate {
    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn pass(&self, is_shut: impl Fn(&Held) -> bool) {
        let (held, changed) = &*self.0;
        let mut held = held.lock().unwrap();
        held.waiting_count += usize::from(is_shut(&held));
        changed.notify_all();
        drop(changed.wait_while(held, |held| is_shut(held)).unwrap());
    }

    /// Until somebody waits at it.
    fn wait_held(&self) {
        let (held, changed) = &*self.0;
        drop(changed.wait_while(held.lock().unwrap(), |held| held.waiting_count == 0).unwrap());
    }
}

struct SlowDisk(FaultyDisk, Gate);
struct SlowFile(Arc<dyn DiskFile>, Gate);

impl Disk for SlowDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.0.create_dir_all(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.0.list(dir)
    }
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DirLock>> {
        self.0.lock(path)
    }
    fn create(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.create(path)
    }
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        self.0.open(path)
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.open_read(path)?, self.1.clone())))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        if path.extension().is_some_and(|extension| extension == "rows") {
            self.1.pass(|held| held.changes_shut);
        }
        self.0.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
}

impl DiskFile for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.1.pass(|held| held.reads_shut);
        self.0.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(buf, offset)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }
    fn allocate(&self, bytes: u64) -> io::Result<()> {
        self.0.allocate(bytes)
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}

/// A store with one settled row an hour for so many hours.
async fn store_of(hours_count: u32, bound: impl FnOnce(&mut Settings)) -> (FileStore, Gate) {
    let gate = Gate::default();
    let mut settings = settings(&FaultyDisk::new());
    settings.disk = Arc::new(SlowDisk(FaultyDisk::new(), gate.clone()));
    bound(&mut settings);
    let store = FileStore::open(settings).unwrap().0;
    for n in 0..hours_count {
        let row = place(NOON_MS + u64::from(n) * HOUR_MS, n);
        store.take(vec![(unit("sim/anna"), row)]).await.unwrap();
        store.settle(NOON_MS).await.unwrap();
    }
    (store, gate)
}

/// Whether a row is taken and the condition told while somebody waits at the gate: on a thread of their own, so that a store that
/// makes them wait fails the test and does not hang it.
fn is_quick(store: &FileStore, n: u32) -> bool {
    let store = store.clone();
    let (done, is_done) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let row = place(NOON_MS + 1_000, 1_000 + n);
        // What takes rows does so before its future is awaited.
        drop(store.take(vec![(unit("sim/ben"), row)]));
        _ = store.condition();
        _ = done.send(());
    });
    is_done.recv_timeout(std::time::Duration::from_secs(10)).is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_waits_for_the_disk_delays_neither_rows_nor_the_page() {
    let (store, gate) = store_of(1, |_| ()).await;
    gate.change(|held| held.reads_shut = true);
    let everyone = tokio::spawn(store.everyone(NOON_MS + 1, Sees::All));
    let question = Track { unit: unit("sim/anna"), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 9 };
    let track = tokio::spawn(store.track(question));
    gate.wait_held();
    let was_quick = is_quick(&store, 0);
    gate.change(|held| held.reads_shut = false);
    assert!(was_quick, "taking rows or the condition waited for somebody's read");
    assert_eq!(everyone.await.unwrap().unwrap().items.len(), 1);
    assert_eq!(track.await.unwrap().unwrap().items.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_hour_that_the_disk_takes_away_slowly_delays_nobody_either() {
    let (store, gate) = store_of(1, |settings| settings.retention.movement_days = 1).await;
    gate.change(|held| held.changes_shut = true);
    let settling = tokio::spawn(store.settle(NOON_MS + 9 * 24 * HOUR_MS));
    gate.wait_held();
    let was_quick = is_quick(&store, 0);
    gate.change(|held| held.changes_shut = false);
    assert!(was_quick, "taking rows or the condition waited for a file to go");
    settling.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_dropped_while_it_is_read_is_read_to_its_end() {
    let (store, gate) = store_of(1, |settings| settings.retention.movement_days = 1).await;
    gate.change(|held| held.reads_shut = true);
    let everyone = tokio::spawn(store.everyone(NOON_MS + 1, Sees::All));
    gate.wait_held();
    store.settle(NOON_MS + 9 * 24 * HOUR_MS).await.unwrap();
    gate.change(|held| held.reads_shut = false);
    assert_eq!(everyone.await.unwrap().unwrap().items.len(), 1);
}
