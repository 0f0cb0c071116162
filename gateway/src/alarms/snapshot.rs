//! The alarm queue on disk, so that an open alarm survives a restart however long ago it was raised.
//!
//! **The snapshot only saves replay; the spool remains the truth.** It names the last record it contains, so what came
//! after is folded from the spool. Damaged or unreadable, it is put aside and the retained spool is replayed; **a snapshot
//! that could not be read is never overwritten**.
//!
//! ```text
//! {"version":1,"lsn":4711,"alarms":[ALARM,...],"waiting":[ALARM,...],"owed":[["force/device/boot/seq","Seen"],...]}\n
//! crc32c of the first line, 8 hex digits\n
//! ```
//! Written whole under another name, fsynced, renamed.

use std::io;
use std::path::{Path, PathBuf};

use fieldpost_protocol::Receipt;
use serde::{Deserialize, Serialize};

use super::{Alarm, AlarmRow, Book};
use crate::sealed;
pub use crate::sealed::SealedError as SnapshotError;
use crate::spool::{Disk, Lsn};

/// File name in the data directory.
pub const SNAPSHOT_FILE: &str = "alarms.json";
/// Largest snapshot read: [`super::ALARMS_MAX`] alarms, [`super::TAKEN_MIN`] taken ones and [`super::WAITING_MAX`] that
/// wait, of 1 KiB, and [`super::OWED_MAX`] receipts of 160 bytes: 42 MiB.
const SNAPSHOT_BYTES_MAX: u64 = 48 * 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    lsn: Lsn,
    alarms: Vec<AlarmRow>,
    /// Without room so far; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<AlarmRow>,
    /// Receipts for alarms that have left the queue; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owed: Vec<(String, Receipt)>,
}

/// Reads the snapshot in `data_dir`; `None` if there is none.
///
/// # Errors
/// [`SnapshotError`]: start from an empty book and the first record.
pub fn read(disk: &dyn Disk, data_dir: &Path) -> Result<Option<Book>, SnapshotError> {
    let path = data_dir.join(SNAPSHOT_FILE);
    let Some(text) = sealed::read(disk, &path, SNAPSHOT_BYTES_MAX)? else { return Ok(None) };
    parse(&text).map(Some).map_err(|detail| SnapshotError::Damaged { path, detail })
}

fn parse(text: &[u8]) -> Result<Book, &'static str> {
    let contents: Contents = sealed::unseal(text)?;
    if contents.version != VERSION {
        return Err("another version wrote it");
    }
    let alarms = |rows: Vec<AlarmRow>| {
        let alarms: Result<Vec<Alarm>, _> = rows.into_iter().map(Alarm::try_from).collect();
        alarms.map_err(|_| "an alarm in it is not one")
    };
    let owed = contents
        .owed
        .into_iter()
        .map(|(id, receipt)| Ok((id.parse().map_err(|_| "a receipt in it is not one")?, receipt)));
    let owed = owed.collect::<Result<_, &'static str>>()?;
    Ok(Book::restored(alarms(contents.alarms)?, alarms(contents.waiting)?, owed, contents.lsn))
}

/// The bytes of a snapshot of `book`.
#[must_use]
pub fn render(book: &Book) -> Vec<u8> {
    let alarms = book.iter().map(AlarmRow::from).collect();
    let waiting = book.waiting().map(AlarmRow::from).collect();
    let owed = book.owed().iter().map(|(id, receipt)| (id.to_string(), *receipt)).collect();
    sealed::seal(&Contents { version: VERSION, lsn: book.folded(), alarms, waiting, owed })
}

/// Puts `text` in place of the snapshot in `data_dir`, durably, mode 0600: it says who needed help, and where. Blocking.
///
/// # Errors
/// What the operating system said; the old snapshot is then still there.
pub fn write(disk: &dyn Disk, data_dir: &Path, text: &[u8]) -> io::Result<()> {
    sealed::write(disk, &data_dir.join(SNAPSHOT_FILE), text)
}

/// Moves a snapshot that cannot be used out of the way, for a person to look at: it may be all that is left of an old
/// alarm. Blocking.
///
/// # Errors
/// As [`sealed::set_aside`].
pub fn set_aside(disk: &dyn Disk, data_dir: &Path, now_ms: u64) -> io::Result<PathBuf> {
    sealed::set_aside(disk, &data_dir.join(SNAPSHOT_FILE), now_ms)
}
