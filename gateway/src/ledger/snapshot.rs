//! The ledger on disk, so that a restart reads on where it was instead of from the first record.
//!
//! **It only saves replay, as far as the spool still has the records**: what retention has dropped is nowhere else. It
//! names the last record it contains. Damaged or unreadable, it is put aside and the retained records are replayed; what
//! came before them is then unaccounted for, and said so.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Account, Bounds, Ledger};
use crate::live::unit::UnitId;
use crate::sealed::{self, SealedError};
use crate::spool::{Disk, Lsn};

/// File name in the data directory.
pub const SNAPSHOT_FILE: &str = "ledger.json";
/// Largest snapshot read. By [`Bounds`]: 100,000 devices of 300 bytes and 16 alarms of 35, 8 boots each of 300 bytes and
/// [`super::SPANS_MIN`] spans of 50: 490 MB. A snapshot that is written but too large to be read would be a ledger lost.
const SNAPSHOT_BYTES_MAX: u64 = 512 * 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Contents<A> {
    version: u32,
    lsn: Lsn,
    is_complete: bool,
    missed: u64,
    /// `force/device`, account.
    devices: Vec<(String, A)>,
}

/// Reads the ledger in `data_dir` on `disk`; `None` if there is none.
///
/// # Errors
/// [`SealedError`]: start from an empty ledger and the first record.
pub fn read(disk: &dyn Disk, data_dir: &Path, bounds: Bounds) -> Result<Option<Ledger>, SealedError> {
    let path = data_dir.join(SNAPSHOT_FILE);
    let Some(text) = sealed::read(disk, &path, SNAPSHOT_BYTES_MAX)? else { return Ok(None) };
    parse(&text, bounds).map(Some).map_err(|detail| SealedError::Damaged { path, detail })
}

fn parse(text: &[u8], bounds: Bounds) -> Result<Ledger, &'static str> {
    let contents: Contents<Account> = sealed::unseal(text)?;
    if contents.version != VERSION {
        return Err("another version wrote it");
    }
    let mut ledger = Ledger {
        folded: contents.lsn,
        is_complete: contents.is_complete,
        missed_count: contents.missed,
        ..Ledger::new(bounds)
    };
    for (unit, account) in contents.devices {
        let unit = unit.parse::<UnitId>().map_err(|_| "a device in it is not one")?;
        ledger.spans_total += account.spans_count();
        ledger.devices.get_or_insert_with(&unit, || account);
    }
    Ok(ledger)
}

/// The bytes of a snapshot of `ledger`.
#[must_use]
pub fn render(ledger: &Ledger) -> Vec<u8> {
    let devices = ledger.devices.iter().map(|(unit, account)| (unit.to_string(), account)).collect();
    sealed::seal(&Contents {
        version: VERSION,
        lsn: ledger.folded,
        is_complete: ledger.is_complete,
        missed: ledger.missed_count,
        devices,
    })
}

/// Puts `text` in place of the ledger in `data_dir`, durably. Blocking.
///
/// # Errors
/// What the operating system said; the old one is then still there.
pub fn write(disk: &dyn Disk, data_dir: &Path, text: &[u8]) -> io::Result<()> {
    sealed::write(disk, &data_dir.join(SNAPSHOT_FILE), text)
}

/// Moves a ledger that cannot be used out of the way. Blocking.
///
/// # Errors
/// As [`sealed::set_aside`].
pub fn set_aside(disk: &dyn Disk, data_dir: &Path, now_ms: u64) -> io::Result<PathBuf> {
    sealed::set_aside(disk, &data_dir.join(SNAPSHOT_FILE), now_ms)
}
