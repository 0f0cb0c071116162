//! The archive: what is kept of a segment after it went, one file for each.
//!
//! **A segment goes only after what the rules keep of it is durable here, and the erasure on record.** The same look is
//! taken again at an archive file when the first of its entries may go, and at all of them when the rules change.
//!
//! ```text
//! segment --judge--> archive/BASE.tmp --fsync--> BASE.arc --fsync of the directory--> on record --> segment retired
//! BASE.arc --judge--> on record --> BASE.tmp --fsync--> BASE.arc (the old file's bytes become zeros)
//! ```
//! A file has a segment's header, then batches of at most 64 KiB with a segment's records; their numbers have gaps. Damage
//! costs the records it hits; a file with a damaged header is never removed. Files share a bound of their own
//! (`archive_bytes_max`, and one file more while it is rewritten): when it is reached segments stay, and the spool's own bound
//! speaks. Opening reads names and lengths.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use super::Lsn;
use super::archive_file::{Remains, read_whole, walk};
use super::disk::{Disk, DiskFile, write_all_at};
use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader, segment_name};
use super::keep::{Keep, Pass};
use super::log::fill_with_zeros;
use super::recovery::find_tail;
use super::shared::{Shared, lock};

/// Directory of the archive in the spool's.
pub(super) const ARCHIVE_DIR: &str = "archive";
/// After a segment could not go, it is read again only after this, ms.
const RETRY_MS: u64 = 10_000;
/// Files looked at in one round of the keeper: the writer may wait for it.
const FILES_A_ROUND: usize = 4;

/// What is known of the files without reading them.
#[derive(Debug, Default)]
pub(super) struct Archive {
    /// By base: length, and when to look again (unix ms; 0 = soon).
    files: BTreeMap<u64, (u64, u64)>,
    version: Option<u64>,
    /// No segment is looked at before this time.
    retry_at_ms: u64,
    /// A file that could not be looked at, and why.
    sore: Option<(u64, String)>,
    trouble: Option<String>,
}

/// Figures of the archive.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ArchiveStats {
    /// Files.
    pub files_count: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The bound on them.
    pub bytes_max: u64,
    /// Why nothing can be erased at present, if so.
    pub trouble: Option<String>,
}

impl Archive {
    /// Lists the archive of the spool in `dir`, made if need be, and removes what a crash left half-made.
    pub(super) fn open(disk: &dyn Disk, dir: &Path) -> io::Result<Self> {
        let dir = dir.join(ARCHIVE_DIR);
        disk.create_dir_all(&dir)?;
        let mut archive = Self::default();
        for name in disk.list(&dir)? {
            if name.ends_with(".tmp") {
                disk.remove(&dir.join(name))?;
            } else if let Some(base) = base_of(&name) {
                archive.files.insert(base, (disk.open_read(&dir.join(name))?.len()?, 0));
            }
        }
        // A rename of the last run may not have reached the disk, and a segment may go because of it.
        disk.sync_dir(&dir)?;
        Ok(archive)
    }

    pub(super) fn stats(&self, bytes_max: u64) -> ArchiveStats {
        ArchiveStats {
            files_count: self.files.len() as u64,
            bytes: self.bytes_without(None),
            bytes_max,
            trouble: self.trouble.clone(),
        }
    }

    fn bytes_without(&self, base: Option<u64>) -> u64 {
        self.files.iter().filter(|(one, _)| Some(**one) != base).map(|(_, (bytes, _))| bytes).sum()
    }

    /// The first files whose time to look has come.
    fn due(&self, now_ms: u64) -> Vec<u64> {
        let due = self.files.iter().filter(|(_, (_, due_ms))| *due_ms <= now_ms).map(|(base, _)| *base);
        due.take(FILES_A_ROUND).collect()
    }
}

fn name_of(base: u64) -> String {
    format!("{base:020}.arc")
}

fn base_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".arc")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

fn path_of(shared: &Shared, base: u64) -> PathBuf {
    shared.dir.join(ARCHIVE_DIR).join(name_of(base))
}

/// Names of the archive's files on `disk`, oldest first; none if there is no archive.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let dir = dir.join(ARCHIVE_DIR);
    let names = match disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => names?,
    };
    let mut files: Vec<_> = names.iter().filter_map(|name| Some((base_of(name)?, dir.join(name)))).collect();
    files.sort_unstable();
    Ok(files)
}

/// Puts what the rules keep of the segment `base` (its entries end before `limit`) into the archive, and the rest on record.
/// While the answer lives, no rule changes. `None`: the segment stays.
pub(super) fn set_aside<'a>(
    shared: &Shared,
    keep: &'a dyn Keep,
    (base, limit, header): (u64, u64, Option<SegmentHeader>),
    is_pressed: bool,
) -> Option<Box<dyn Pass + 'a>> {
    let now_ms = shared.settings.clock.now_ms();
    {
        let archive = lock(&shared.archive);
        // A clock that was set back makes nobody wait longer.
        if now_ms < archive.retry_at_ms && archive.retry_at_ms - now_ms <= RETRY_MS {
            return None;
        }
    }
    let done = keep.begin(now_ms, is_pressed).and_then(|mut pass| {
        try_set_aside(shared, &mut *pass, base, limit, header)?;
        Ok(pass)
    });
    match done {
        Ok(pass) => {
            tell(shared, keep, None);
            Some(pass)
        }
        Err(why) => {
            lock(&shared.archive).retry_at_ms = now_ms + RETRY_MS;
            tell(shared, keep, Some(why));
            None
        }
    }
}

fn try_set_aside(
    shared: &Shared,
    pass: &mut dyn Pass,
    base: u64,
    limit: u64,
    header: Option<SegmentHeader>,
) -> Result<(), String> {
    let name = segment_name(Lsn(base));
    let Some(header) = header else {
        // Its records cannot be told from chance: every reader has reported them lost.
        return pass.erasing(&name, limit - base);
    };
    let file = shared.disk.open_read(&shared.dir.join(&name));
    let bytes =
        file.and_then(|file| read_whole(&*file)).map_err(|error| format!("reading {name}: {error}"))?;
    let mut remains = Remains::new(header);
    let tail = find_tail(&bytes, &header, limit, &mut |entry| {
        remains.take(pass.judge(entry), entry);
    });
    let damaged_count = tail.damaged.iter().map(|gap| gap.to.0 - gap.from.0 + 1).sum::<u64>()
        + limit.saturating_sub(tail.next_lsn);
    #[cfg(test)]
    if shared.settings.sabotaged(super::settings::Sabotage::EraseBeforeArchive) {
        let (bytes, due_ms) = remains.finish();
        let _ = put_without_sync(shared, base, bytes, due_ms);
        return pass.erasing(&name, damaged_count);
    }
    let (bytes, due_ms) = remains.finish();
    put(shared, base, bytes, due_ms)?;
    pass.erasing(&name, damaged_count)
}

/// Replaces the archive file of `base` durably; without bytes there is none afterwards.
fn put(shared: &Shared, base: u64, bytes: Option<Vec<u8>>, due_ms: u64) -> Result<(), String> {
    let bytes_max = shared.settings.archive_bytes_max;
    let (old_bytes, others_bytes) = {
        let archive = lock(&shared.archive);
        let old = archive.files.get(&base).map(|(bytes, _)| *bytes);
        if bytes.is_none() && old.is_none() {
            return Ok(());
        }
        (old.unwrap_or(0), archive.bytes_without(Some(base)))
    };
    let new_bytes = bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
    if new_bytes > old_bytes && others_bytes + new_bytes > bytes_max {
        return Err(format!(
            "the archive is full ({others_bytes} of {bytes_max} bytes): raise retention.archive_bytes_max, or release holds"
        ));
    }
    let (disk, dir, path) = (&*shared.disk, shared.dir.join(ARCHIVE_DIR), path_of(shared, base));
    let say = |error: io::Error| format!("writing {}: {error}", path.display());
    let old = disk.open(&path).ok();
    match &bytes {
        Some(bytes) => {
            let unfinished = path.with_extension("tmp");
            // What an earlier attempt left.
            let _ = disk.remove(&unfinished);
            let written = disk.create(&unfinished).and_then(|file| {
                write_all_at(&*file, bytes, 0)?;
                file.sync_data()?;
                disk.rename(&unfinished, &path)
            });
            if let Err(error) = written {
                // Best effort: what is left over is removed at the next open.
                let _ = disk.remove(&unfinished);
                return Err(say(error));
            }
        }
        None => disk.remove(&path).map_err(say)?,
    }
    {
        let mut archive = lock(&shared.archive);
        match bytes {
            // From now on the name stands for these bytes, durably or not.
            Some(bytes) => archive.files.insert(base, (bytes.len() as u64, due_ms)),
            None => archive.files.remove(&base),
        };
    }
    disk.sync_dir(&dir).map_err(say)?;
    if let Some(old) = old {
        wipe(shared, &*old);
    }
    Ok(())
}

/// Overwrites a file that has no name any more. If that fails, its blocks are free all the same.
pub(super) fn wipe(shared: &Shared, old: &dyn DiskFile) {
    if !shared.settings.erase_recycled {
        return;
    }
    let wiped = old.len().and_then(|bytes| fill_with_zeros(old, bytes));
    if let Err(error) = wiped {
        tracing::warn!(%error, "an erased file's blocks are free but were not overwritten");
    }
}

#[cfg(test)]
fn put_without_sync(shared: &Shared, base: u64, bytes: Option<Vec<u8>>, due_ms: u64) -> io::Result<()> {
    let Some(bytes) = bytes else { return Ok(()) };
    let file = shared.disk.create(&path_of(shared, base))?;
    write_all_at(&*file, &bytes, 0)?;
    lock(&shared.archive).files.insert(base, (bytes.len() as u64, due_ms));
    Ok(())
}

/// Looks at the archive files whose time has come.
pub(super) fn sweep(shared: &Shared, keep: &Arc<dyn Keep>) {
    let now_ms = shared.settings.clock.now_ms();
    let version = match keep.version() {
        Ok(version) => version,
        Err(why) => return tell(shared, &**keep, Some(why)),
    };
    let due = {
        let mut archive = lock(&shared.archive);
        if archive.version.replace(version).is_some_and(|before| before != version) {
            archive.retry_at_ms = 0;
            archive.files.values_mut().for_each(|(_, due_ms)| *due_ms = 0);
        }
        archive.due(now_ms)
    };
    for base in due {
        let looked = look_again(shared, &**keep, base, now_ms);
        let mut archive = lock(&shared.archive);
        match looked {
            Ok(()) => drop(archive.sore.take_if(|(sore, _)| *sore == base)),
            Err(why) => {
                archive.sore = Some((base, why));
                if let Some((_, due_ms)) = archive.files.get_mut(&base) {
                    *due_ms = now_ms + RETRY_MS;
                }
            }
        }
    }
    let (has_stuck_segment, sore) = {
        let archive = lock(&shared.archive);
        (archive.retry_at_ms > now_ms, archive.sore.clone())
    };
    // A segment that could not go has its own word.
    if !has_stuck_segment {
        tell(shared, &**keep, sore.map(|(_, why)| why));
    }
}

fn look_again(shared: &Shared, keep: &dyn Keep, base: u64, now_ms: u64) -> Result<(), String> {
    let (name, path) = (name_of(base), path_of(shared, base));
    let mut pass = keep.begin(now_ms, false)?;
    let file = shared.disk.open_read(&path);
    let bytes =
        file.and_then(|file| read_whole(&*file)).map_err(|error| format!("reading {name}: {error}"))?;
    let damaged = || format!("{name} has no readable header: restore it from a backup or remove it");
    let page = bytes.get(..SEGMENT_HEADER_BYTES).ok_or_else(damaged)?;
    let mut remains = Remains::new(SegmentHeader::decode(page).map_err(|_| damaged())?);
    let found =
        walk(&bytes, base, &mut |entry| remains.take(pass.judge(entry), entry)).ok_or_else(damaged)?;
    // Not again within the hour for one entry more: a file is read and written whole.
    let not_before_ms = now_ms.saturating_add(shared.settings.archive_look_ms);
    if remains.erased_count == 0 {
        let due_ms = remains.due_ms.max(not_before_ms);
        if let Some(known) = lock(&shared.archive).files.get_mut(&base) {
            known.1 = due_ms;
        }
        return Ok(());
    }
    let (bytes, due_ms) = remains.finish();
    pass.erasing(&name, found.damaged_count)?;
    put(shared, base, bytes, due_ms.max(not_before_ms))
}

fn tell(shared: &Shared, keep: &dyn Keep, trouble: Option<String>) {
    {
        let mut archive = lock(&shared.archive);
        if archive.trouble == trouble {
            return;
        }
        archive.trouble.clone_from(&trouble);
    }
    match &trouble {
        Some(why) => tracing::error!(why, "nothing is erased: retention cannot go on"),
        None => tracing::info!("retention goes on"),
    }
    keep.tell(trouble.as_deref());
    drop(trouble);
}
