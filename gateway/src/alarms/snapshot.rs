//! The alarm queue on disk, so that an open alarm survives a restart however long ago it was raised.
//!
//! **The snapshot only saves replay; the spool remains the truth.** It names the last record it contains, so what came
//! after is folded from the spool. Damaged or unreadable, it is put aside and the retained spool is replayed; **a snapshot
//! that could not be read is never overwritten**.
//!
//! ```text
//! {"version":1,"lsn":4711,"alarms":[ALARM,...],"waiting":[ALARM,...],"closed":[ALARM,...],"owed":[["force/device/boot/seq","Seen"],...]}\n
//! crc32c of the first line, 8 hex digits\n
//! ```
//! Written whole under another name, fsynced, renamed.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldpost_protocol::Receipt;
use serde::{Deserialize, Serialize};

use super::alarm::Alarm;
use super::book::{Book, Kept};
use super::clock::Time;
use super::figures::Figures;
use super::row::KeptRow;
use super::rules::Rules;
use super::signals::Memory;
use super::verdict::Verdict;
use crate::config;
use crate::sealed;
pub use crate::sealed::SealedError as SnapshotError;
use crate::spool::{Disk, Lsn};

/// File name in the data directory.
pub const SNAPSHOT_FILE: &str = "alarms.json";
/// Largest snapshot read: [`super::ALARMS_MAX`] alarms, [`super::TAKEN_MIN`] taken ones, [`super::WAITING_MAX`] that wait and
/// [`super::CLOSED_MAX`] closed ones, of 3 KiB, [`super::OWED_MAX`] receipts of 160 bytes and [`super::UNSAID_MAX`] verdicts of 400:
/// 117 MiB. One whose story is full of notes has up to 24 KiB; a thousand of those fit as well.
const SNAPSHOT_BYTES_MAX: u64 = 144 * 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    lsn: Lsn,
    alarms: Vec<KeptRow>,
    /// Without room so far; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<KeptRow>,
    /// Closed not long ago; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    closed: Vec<KeptRow>,
    /// Of alarms that are gone.
    #[serde(flatten)]
    figures: Figures,
    /// The rule file in force; left out if it is the built-in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rules: Option<String>,
    #[serde(default)]
    time: Time,
    /// What units did lately; left out if nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    memory: Vec<Memory>,
    /// Receipts for alarms that have left the queue; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    owed: Vec<(String, Receipt)>,
    /// Verdicts that no record says yet; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    unsaid: Vec<Verdict>,
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

pub(super) fn parse(text: &[u8]) -> Result<Book, &'static str> {
    let contents: Contents = sealed::unseal(text)?;
    if contents.version != VERSION {
        return Err("another version wrote it");
    }
    let alarms = |rows: Vec<KeptRow>| {
        let alarms: Result<Vec<Alarm>, _> = rows.into_iter().map(KeptRow::into_alarm).collect();
        alarms.map_err(|_| "an alarm in it is not one")
    };
    let owed = contents
        .owed
        .into_iter()
        .map(|(id, receipt)| Ok((id.parse().map_err(|_| "a receipt in it is not one")?, receipt)));
    let owed = owed.collect::<Result<_, &'static str>>()?;
    Ok(Book::restored(Kept {
        alarms: alarms(contents.alarms)?,
        waiting: alarms(contents.waiting)?,
        closed: alarms(contents.closed)?,
        owed,
        folded: contents.lsn,
        figures: contents.figures,
        rules: rules(contents.rules.as_deref())?,
        time: contents.time,
        signals: contents.memory.into_iter().collect(),
        unsaid: contents.unsaid,
    }))
}

fn rules(text: Option<&str>) -> Result<Option<Arc<Rules>>, &'static str> {
    let read = |text| config::rules::from_text(Path::new("snapshot"), text).map(Arc::new);
    text.map(read).transpose().map_err(|_| "the rules in it are not such")
}

/// The bytes of a snapshot of `book`.
#[must_use]
pub fn render(book: &Book) -> Vec<u8> {
    let alarms = book.iter().map(KeptRow::from).collect();
    let waiting = book.waiting().map(KeptRow::from).collect();
    let closed = book.closed().map(KeptRow::from).collect();
    let owed = book.owed().iter().map(|(id, receipt)| (id.to_string(), *receipt)).collect();
    let rules = book.rules();
    sealed::seal(&Contents {
        version: VERSION,
        lsn: book.folded(),
        alarms,
        waiting,
        closed,
        figures: book.figures.clone(),
        rules: (!rules.is_built_in()).then(|| rules.text.clone()),
        time: book.time().clone(),
        memory: book.signals.memory(book.time().now_ms),
        owed,
        unsaid: book.unsaid().cloned().collect(),
    })
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
