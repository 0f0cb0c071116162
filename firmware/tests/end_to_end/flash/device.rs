//! A whole device on flash, cut at every word it writes: **every sequence it ever issued is stored or named lost, no boot id
//! repeats, no sequence means two things, and it always starts again.** Three storages that each break one rule turn it red.

use std::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use fieldpost_firmware::{
    Device, Storage, StorageError,
    storage::{Damage, Entry, Key, Note, Partition},
};
use fieldpost_protocol::{Body, BootId, Class, Envelope, EventCode};

use super::{
    SECTOR, SMALL, SmallStorage, new_chip,
    nor::{Faults, Nor},
};
use crate::bench::{Bench, Published, every_fix};

/// What a sequence says: device time, latitude.
type Content = (u64, Option<i32>);

/// What the gateway and the world know.
#[derive(Default, Clone)]
struct World {
    /// Sequences issued for sure, by boot.
    issued: BTreeMap<u32, u32>,
    contents: BTreeMap<(u32, u32), Content>,
    stored: BTreeSet<(u32, u32)>,
    named: BTreeSet<(u32, u32)>,
    unanswered: Vec<Published>,
    is_online: bool,
    now_ms: u64,
    step: u32,
}

impl World {
    /// The gateway hears a frame.
    fn hear(&mut self, published: &[Published]) -> Result<(), String> {
        for frame in published {
            let boot = frame.head().boot.0;
            for (seq, time_ms, position) in frame.records() {
                let content = (time_ms, position.map(|position| position.latitude_udeg));
                let before = self.contents.insert((boot, seq), content);
                // A loss record may be heard again with more in it.
                if before.is_some_and(|before| before != content) && frame.class() != Class::LOSS {
                    return Err(format!("sequence {seq} of boot {boot} means two things"));
                }
            }
        }
        self.unanswered.extend(published.iter().cloned());
        Ok(())
    }

    /// The gateway stores the oldest frame, and answers.
    fn store<S: Storage>(&mut self, bench: &mut Bench<S>) -> Result<(), String> {
        let frame = self.unanswered.remove(0);
        let envelope = Envelope::decode(&frame.frame).unwrap();
        let boot = envelope.head.boot.0;
        self.stored.extend(frame.records().into_iter().map(|(seq, ..)| (boot, seq)));
        if let Ok(Body::Loss(loss)) = Body::decode(&envelope.head, envelope.body) {
            if loss.ranges.is_empty() {
                return Err("a power cut alone damages nothing".to_owned());
            }
            for range in loss.ranges {
                let seqs = range.first.0..=range.last().unwrap().0;
                self.named.extend(seqs.map(|seq| (loss.boot.0, seq)));
            }
        }
        bench.acknowledge(&frame);
        Ok(())
    }

    fn start<S: Storage>(&mut self, storage: S) -> Result<Bench<S>, String> {
        let device = Device::start(every_fix(), storage).map_err(|error| error.to_string())?;
        (self.is_online, self.now_ms) = (false, self.now_ms + 5000);
        self.unanswered.clear();
        Ok(Bench { now_ms: self.now_ms, ..Bench::of(device) })
    }

    /// The start is over and the supply held: its boot id is a new one.
    fn note_boot<S: Storage>(&mut self, bench: &Bench<S>) -> Result<(), String> {
        let boot = bench.device.ledger().boot.0;
        let newest = self.issued.last_key_value().map_or(0, |(boot, _)| *boot);
        if boot <= newest {
            return Err(format!("boot id {boot} after {newest}"));
        }
        self.issued.insert(boot, 0);
        Ok(())
    }

    fn note_issued<S: Storage>(&mut self, bench: &Bench<S>) {
        let ledger = bench.device.ledger();
        self.issued.insert(ledger.boot.0, ledger.issued);
        self.now_ms = bench.now_ms;
    }

    /// One thing happens.
    fn act<S: Storage>(&mut self, bench: &mut Bench<S>) -> Result<Vec<Published>, String> {
        let step = self.step;
        self.step += 1;
        match step % 12 {
            0 | 2 | 4 | 6 => bench.walk(3),
            1 => bench.event(EventCode::DOORS),
            3 if step.is_multiple_of(24) => bench.device.on_cancel(bench.now_ms),
            3 => {
                bench.now_ms += 31_000;
                bench.device.on_button(bench.now_ms, false);
            }
            // Online for a third of the time.
            5 if !self.is_online && (step / 12).is_multiple_of(3) => {
                self.is_online = true;
                return Ok(bench.connect(false));
            }
            5 if self.is_online && step / 12 % 3 == 1 => {
                self.is_online = false;
                self.unanswered.clear();
                bench.disconnect();
            }
            7 => bench.now_ms += 900_000,
            _ => {
                for _ in 0..2.min(self.unanswered.len()) {
                    self.store(bench)?;
                }
            }
        }
        Ok(bench.drain())
    }

    /// Everything that is owed arrives; then every sequence has a fate.
    fn settle<S: Storage>(mut self, mut bench: Bench<S>) -> Result<(), String> {
        self.note_boot(&bench)?;
        let published = bench.connect(false);
        self.hear(&published)?;
        while !self.unanswered.is_empty() {
            self.store(&mut bench)?;
            let published = bench.drain();
            self.hear(&published)?;
        }
        self.note_issued(&bench);
        let ledger = bench.device.ledger();
        if ledger.owed != 0 || !ledger.balances() {
            return Err(format!("{ledger:?}"));
        }
        for (boot, issued) in &self.issued {
            for seq in 0..*issued {
                let key = (*boot, seq);
                if !self.stored.contains(&key) && !self.named.contains(&key) {
                    return Err(format!("sequence {seq} of boot {boot} is nowhere"));
                }
            }
        }
        Ok(())
    }
}

fn mounted(chip: &Nor<SECTOR>) -> Result<SmallStorage, StorageError> {
    let mut storage = SmallStorage::new(chip.clone(), &SMALL);
    storage.mount().map(|()| storage)
}

/// Starts and lets things happen until the steps are over or the supply fails.
fn live<S: Storage>(
    chip: &Nor<SECTOR>,
    world: &mut World,
    steps: u32,
    wrap: fn(SmallStorage) -> S,
) -> Result<(), String> {
    let Ok(storage) = mounted(chip) else { return Ok(()) };
    let started = world.start(wrap(storage));
    if chip.is_dead() {
        return Ok(());
    }
    let mut bench = started?;
    world.note_boot(&bench)?;
    for _ in 0..steps {
        let published = world.act(&mut bench);
        if chip.is_dead() {
            return Ok(());
        }
        world.hear(&published?)?;
        world.note_issued(&bench);
    }
    Ok(())
}

/// Cuts at every `stride`-th word of a few steps of life, again and again further on. Returns the number of cuts.
fn cut_a_life<S: Storage>(wrap: fn(SmallStorage) -> S, stride: usize) -> Result<u64, String> {
    let (chip, mut world) = (new_chip(), World::default());
    live(&chip, &mut world, 120, wrap)?;
    let mut cuts = 0;
    for _ in 0..12 {
        let words = {
            let (chip, mut world) = (chip.fork(), world.clone());
            chip.power_on(Faults::default());
            live(&chip, &mut world, 7, wrap)?;
            chip.steps()
        };
        for cut in (0..words).step_by(stride) {
            let (chip, mut world) = (chip.fork(), world.clone());
            chip.power_on(Faults { cut_after: Some(cut), seed: cut, ..Faults::default() });
            live(&chip, &mut world, 7, wrap).map_err(|error| format!("cut at {cut}: {error}"))?;
            chip.power_on(Faults::default());
            let storage = mounted(&chip).map_err(|error| error.to_string())?;
            let settled = world.start(storage).and_then(|bench| world.settle(bench));
            settled.map_err(|error| format!("after a cut at {cut}: {error}"))?;
            cuts += 1;
        }
        live(&chip, &mut world, 7, wrap)?;
    }
    Ok(cuts)
}

#[test]
fn a_device_cut_at_any_word_accounts_for_every_sequence() {
    let cuts = cut_a_life(|storage| storage, 3).unwrap();
    println!("{cuts} cuts of a whole device");
    assert!(cuts > 400);
}

/// What a broken storage puts off.
enum Later {
    Nothing,
    Boot,
    Push(Partition, Entry),
}

/// A storage that answers first and writes later.
struct Broken {
    inner: SmallStorage,
    later: Later,
    /// The boot id it answers with before it is written.
    early_boot: Option<BootId>,
    /// Answers a push before the entry is written.
    pushes_early: bool,
    /// Keeps a loss record in a cache until the removals that follow it are done.
    names_late: Option<Nor<SECTOR>>,
    /// Bytes that only the cache has, and what the flash holds there.
    cached: Vec<(usize, u8)>,
    last_key: u32,
}

impl Broken {
    fn new(inner: SmallStorage) -> Self {
        let later = Later::Nothing;
        Self {
            inner,
            later,
            early_boot: None,
            pushes_early: false,
            names_late: None,
            cached: Vec::new(),
            last_key: 0,
        }
    }

    fn with_early_boot(inner: SmallStorage) -> Self {
        let chip = inner.into_flash();
        let early_boot = mounted(&chip.fork()).and_then(|mut copy| copy.next_boot()).ok();
        Self { early_boot, ..Self::new(mounted(&chip).unwrap()) }
    }

    fn with_late_losses(inner: SmallStorage) -> Self {
        let chip = inner.into_flash();
        Self { names_late: Some(chip.clone()), ..Self::new(mounted(&chip).unwrap()) }
    }

    fn push_to_cache(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        let bytes = |chip: &Nor<SECTOR>| chip.0.borrow().bytes.clone();
        let before = self.names_late.as_ref().map(bytes).unwrap_or_default();
        let key = self.inner.push(partition, entry)?;
        let after = self.names_late.as_ref().map(bytes).unwrap_or_default();
        let changed = before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after);
        self.cached = changed.map(|(at, (before, _))| (at, *before)).collect();
        Ok(key)
    }

    /// The supply failed: what was in the cache never reached the flash.
    fn drop_cache_if_dead(&mut self) {
        let Some(chip) = self.names_late.as_ref().filter(|chip| chip.is_dead()) else { return };
        for (at, byte) in self.cached.drain(..) {
            chip.0.borrow_mut().bytes[at] = byte;
        }
    }

    fn catch_up(&mut self) -> Result<(), StorageError> {
        match core::mem::replace(&mut self.later, Later::Nothing) {
            Later::Nothing => Ok(()),
            Later::Boot => self.inner.next_boot().map(drop),
            Later::Push(partition, entry) => self.inner.push(partition, &entry).map(drop),
        }
    }
}

impl Storage for Broken {
    fn next_boot(&mut self) -> Result<BootId, StorageError> {
        let Some(boot) = self.early_boot else { return self.inner.next_boot() };
        self.later = Later::Boot;
        Ok(boot)
    }

    fn push(&mut self, partition: Partition, entry: &Entry) -> Result<Key, StorageError> {
        let is_loss = Envelope::decode(entry).is_ok_and(|envelope| envelope.head.class == Class::LOSS);
        if !matches!(self.later, Later::Boot) {
            self.catch_up()?;
        }
        if is_loss && self.names_late.is_some() {
            return self.push_to_cache(partition, entry);
        }
        self.cached.clear();
        if self.pushes_early {
            self.later = Later::Push(partition, entry.clone());
            return Ok(Key(self.last_key + 1));
        }
        let key = self.inner.push(partition, entry)?;
        self.last_key = key.0;
        if matches!(self.later, Later::Boot) {
            self.catch_up()?;
        }
        Ok(key)
    }

    fn next(
        &mut self,
        partition: Partition,
        after: Option<Key>,
        entry: &mut Entry,
    ) -> Result<Option<Key>, StorageError> {
        if !matches!(self.later, Later::Boot) {
            self.catch_up()?;
        }
        let found = self.inner.next(partition, after, entry)?;
        self.last_key = self.last_key.max(found.map_or(0, |key| key.0));
        Ok(found)
    }

    fn remove(&mut self, key: Key) -> Result<(), StorageError> {
        let removed = self.inner.remove(key);
        self.drop_cache_if_dead();
        if !matches!(self.later, Later::Boot) {
            self.catch_up()?;
        }
        removed
    }

    fn count(&self, partition: Partition) -> usize {
        let late = matches!(&self.later, Later::Push(late, _) if *late == partition);
        self.inner.count(partition) + usize::from(late)
    }

    fn capacity(&self) -> usize {
        self.inner.capacity()
    }

    fn take_damage(&mut self) -> Damage {
        self.inner.take_damage()
    }

    fn read_note(&mut self, note: &mut Note) -> Result<bool, StorageError> {
        self.inner.read_note(note)
    }

    fn write_note(&mut self, note: &Note) -> Result<(), StorageError> {
        self.inner.write_note(note)
    }
}

#[test]
fn a_boot_id_given_out_before_it_is_durable_is_found_out() {
    let error = cut_a_life(Broken::with_early_boot, 1).unwrap_err();
    assert!(error.contains("boot id") || error.contains("means two things"), "{error}");
}

#[test]
fn a_record_acknowledged_before_it_is_durable_is_found_out() {
    let error = cut_a_life(|inner| Broken { pushes_early: true, ..Broken::new(inner) }, 1).unwrap_err();
    assert!(error.contains("is nowhere"), "{error}");
}

#[test]
fn a_record_removed_before_its_loss_is_written_is_found_out() {
    let error = cut_a_life(Broken::with_late_losses, 1).unwrap_err();
    assert!(error.contains("is nowhere"), "{error}");
}
