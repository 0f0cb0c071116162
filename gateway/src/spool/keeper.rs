//! The keeper: one thread that retires segments and keeps spares ready, so that the writer never zero-fills.
//!
//! **A segment goes only when every cursor has passed its last record**, and then when `retain_ms` is over or its space
//! is needed, and what the rules of retention keep of it is durable in the archive. If nothing may go and nothing may be added, entries that may not use the reserve are no longer admitted.

use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::Lsn;
use super::archive;
use super::format::{SegmentHeader, segment_name};
use super::log::{Log, SegmentMeta, Spare, create_spare, fill_with_zeros};
use super::shared::{Shared, lock};
use crate::sabotage::{self, Sabotage};

/// Retention by time is looked at this often.
const ROUND: Duration = Duration::from_secs(1);

/// Runs until the writer has ended.
pub(super) fn run(shared: &Shared) {
    loop {
        {
            let mut poked = lock(&shared.poked);
            if !*poked {
                (poked, _) = shared.keeper.wait_timeout(poked, ROUND).unwrap_or_else(PoisonError::into_inner);
            }
            *poked = false;
        }
        if shared.writer_done.load(Ordering::Acquire) {
            return;
        }
        round(shared);
    }
}

/// Whether somebody has asked for a round since this was last asked.
pub(super) fn is_asked(shared: &Shared) -> bool {
    std::mem::take(&mut *lock(&shared.poked))
}

/// One round, counted for those who wait for one.
pub(super) fn round(shared: &Shared) {
    tend(shared);
    if let Some(keep) = &shared.settings.keep {
        let _turn = lock(&shared.tending);
        archive::sweep(shared, keep);
    }
    shared.rounds.send_modify(|rounds| *rounds += 1);
}

/// One round: retire what may go, refill the spares, decide who may write.
pub(super) fn tend(shared: &Shared) {
    let _turn = lock(&shared.tending);
    while retire_one(shared, false) {}
    let scarce = loop {
        match refill(shared) {
            Ok(()) => break None,
            Err(_) if retire_one(shared, true) => {}
            Err(error) => break Some(error.to_string()),
        }
    };
    let reserve_only = {
        let mut log = lock(&shared.log);
        let reserve_only = scarce.is_some() && log.spares.len() < shared.settings.reserve_segments();
        log.scarce = scarce;
        reserve_only
    };
    if shared.reserve_only.swap(reserve_only, Ordering::AcqRel) != reserve_only {
        shared.publish_health();
    }
    if shared.stalled.load(Ordering::Acquire) {
        shared.work.notify_one();
    }
}

/// One spare more than the reserve: the next segment.
fn spares_wanted(shared: &Shared) -> usize {
    shared.settings.reserve_segments() + 1
}

/// Retired segments kept as spares beyond those wanted: in a steady flow nothing is ever created or deleted.
const SPARES_EXTRA: usize = 2;

/// Creates spares until there are enough; an error says why there cannot be more.
fn refill(shared: &Shared) -> io::Result<()> {
    let segment_bytes = shared.settings.segment_bytes;
    loop {
        let serial = {
            let mut log = lock(&shared.log);
            if log.spares.len() >= spares_wanted(shared) {
                return Ok(());
            }
            if log.bytes(segment_bytes) + segment_bytes > shared.settings.bytes_max {
                return Err(io::Error::other(
                    "bytes_max is reached and a cursor still needs the oldest segment",
                ));
            }
            log.spare_serial += 1;
            log.spare_serial
        };
        let spare = create_spare(&*shared.disk, &shared.dir, serial, segment_bytes)?;
        lock(&shared.log).spares.push_back(spare);
    }
}

/// Retires the oldest segment if the rules allow it. True if one went.
fn retire_one(shared: &Shared, space_is_needed: bool) -> bool {
    // No rule changes until the segment is gone.
    let _pass = match &shared.settings.keep {
        None => None,
        Some(keep) => {
            let Some(segment) = oldest_that_may_go(shared, space_is_needed) else { return false };
            let Some(pass) = archive::set_aside(shared, &**keep, segment, space_is_needed) else {
                return false;
            };
            Some(pass)
        }
    };
    let (segment, serial) = {
        let mut log = lock(&shared.log);
        if !may_go(shared, &log, space_is_needed) {
            return false;
        }
        let Some(segment) = log.segments.pop_front() else {
            return false;
        };
        let recyclable = log.spares.len() < spares_wanted(shared) + SPARES_EXTRA
            && segment.file_bytes == shared.settings.segment_bytes
            // Out of the map, so nobody can pin it any more; but who has it open reads on.
            && Arc::strong_count(&segment.pin) == 1;
        log.spare_serial += 1;
        // What is gone from the disk is not left in memory.
        lock(&shared.tail).forget_before(log.first());
        (segment, recyclable.then_some(log.spare_serial))
    };
    match retire(shared, &segment, serial) {
        Ok(Some(spare)) => lock(&shared.log).spares.push_back(spare),
        Ok(None) => {}
        // The file stays behind and comes back with the next open; its records were delivered.
        Err(error) => tracing::warn!(%error, "a delivered segment could not be removed"),
    }
    true
}

/// Base, first number after it, and header of the oldest segment, if the rules let it go. Only who tends can change that,
/// but for a new cursor, which is looked at again.
fn oldest_that_may_go(shared: &Shared, space_is_needed: bool) -> Option<(u64, u64, Option<SegmentHeader>)> {
    let log = lock(&shared.log);
    if !may_go(shared, &log, space_is_needed) {
        return None;
    }
    let (segment, next) = (log.segments.front()?, log.segments.get(1)?);
    Some((segment.base, next.base, segment.header))
}

fn may_go(shared: &Shared, log: &Log, space_is_needed: bool) -> bool {
    let Some(next) = log.segments.get(1) else {
        return false;
    };
    let last = next.base - 1;
    let delivered = log.slowest_cursor().is_none_or(|position| position >= last);
    #[cfg(test)]
    let delivered = delivered || shared.settings.sabotaged(super::settings::Sabotage::DeleteUndelivered);
    let delivered = delivered || sabotage::is(Sabotage::DeleteUndelivered);
    // It was written to until the next one was created.
    let sealed_at_ms = next.header.map_or(0, |header| header.created_at_ms);
    let age_ms = shared.settings.clock.now_ms().saturating_sub(sealed_at_ms);
    let retain_ms = shared.settings.keep.as_ref().map_or(u64::MAX, |keep| keep.shortest_ms());
    delivered && (space_is_needed || age_ms >= retain_ms.min(shared.settings.retain_ms))
}

/// Removes a segment's file, or turns it into the spare `serial`.
fn retire(shared: &Shared, segment: &SegmentMeta, serial: Option<u64>) -> io::Result<Option<Spare>> {
    let (disk, dir) = (&*shared.disk, &shared.dir);
    let path = dir.join(segment_name(Lsn(segment.base)));
    let Some(serial) = serial else {
        // A reader that has it open reads on, so only what nobody reads is overwritten.
        let unread = (Arc::strong_count(&segment.pin) == 1).then(|| disk.open(&path)).transpose()?;
        disk.remove(&path)?;
        disk.sync_dir(dir)?;
        if let Some(file) = unread {
            archive::wipe(shared, &*file);
        }
        return Ok(None);
    };
    let stale = Spare { name: format!("spare-{serial:06}.used"), zeroed: false };
    let stale_path = dir.join(&stale.name);
    disk.rename(&path, &stale_path)?;
    // Durable before the file gets another header: no name may ever show another segment's bytes.
    disk.sync_dir(dir)?;
    if !shared.settings.erase_recycled {
        return Ok(Some(stale));
    }
    let erased = disk.open(&stale_path).and_then(|file| fill_with_zeros(&*file, segment.file_bytes));
    if let Err(error) = erased {
        // Not fit to be a spare; deleted, its space is at least free again.
        disk.remove(&stale_path)?;
        return Err(error);
    }
    let spare = Spare { name: format!("spare-{serial:06}.free"), zeroed: true };
    disk.rename(&stale_path, &dir.join(&spare.name))?;
    disk.sync_dir(dir)?;
    Ok(Some(spare))
}
