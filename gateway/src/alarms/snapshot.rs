//! The alarm queue on disk, so that an open alarm survives a restart however long ago it was raised.
//!
//! **The snapshot only saves replay; the spool remains the truth.** It names the last record it contains, so what came
//! after is folded from the spool. Damaged or unreadable, it is put aside and the retained spool is replayed; **a snapshot
//! that could not be read is never overwritten**.
//!
//! ```text
//! {"version":1,"lsn":4711,"alarms":[ALARM,...],"waiting":[ALARM,...]}\n
//! crc32c of the first line, 8 hex digits\n
//! ```
//! Written whole under another name, fsynced, renamed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Alarm, AlarmRow, Book};
use crate::spool::Lsn;

/// File name in the data directory.
pub const SNAPSHOT_FILE: &str = "alarms.json";
/// Largest snapshot read: [`super::ALARMS_MAX`] alarms and [`super::WAITING_MAX`] that wait, of 1 KiB.
const SNAPSHOT_BYTES_MAX: u64 = 33 * 1024 * 1024;
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Contents {
    version: u32,
    lsn: Lsn,
    alarms: Vec<AlarmRow>,
    /// Without room so far; left out if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    waiting: Vec<AlarmRow>,
}

/// Why a snapshot was not used.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("{path} is damaged ({detail}); the retained records are replayed instead")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        detail: &'static str,
    },
}

/// Reads the snapshot in `data_dir`; `None` if there is none.
///
/// # Errors
/// [`SnapshotError`]: start from an empty book and the first record.
pub fn read(data_dir: &Path) -> Result<Option<Book>, SnapshotError> {
    let path = data_dir.join(SNAPSHOT_FILE);
    let unreadable = |source| SnapshotError::Unreadable { path: path.clone(), source };
    let length = match fs::metadata(&path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let damaged = |detail| SnapshotError::Damaged { path: path.clone(), detail };
    if length > SNAPSHOT_BYTES_MAX {
        return Err(damaged("too large"));
    }
    let text = fs::read(&path).map_err(unreadable)?;
    parse(&text).map(Some).map_err(damaged)
}

fn parse(text: &[u8]) -> Result<Book, &'static str> {
    let text = text.strip_suffix(b"\n").ok_or("its end is missing")?;
    let (json, check) =
        text.iter().rposition(|byte| *byte == b'\n').map(|at| text.split_at(at)).ok_or("one line only")?;
    if check[1..] != *format!("{:08x}", crc32c::crc32c(json)).as_bytes() {
        return Err("its checksum does not match");
    }
    let contents: Contents = serde_json::from_slice(json).map_err(|_| "not the expected JSON")?;
    if contents.version != VERSION {
        return Err("another version wrote it");
    }
    let alarms = |rows: Vec<AlarmRow>| {
        let alarms: Result<Vec<Alarm>, _> = rows.into_iter().map(Alarm::try_from).collect();
        alarms.map_err(|_| "an alarm in it is not one")
    };
    Ok(Book::restored(alarms(contents.alarms)?, alarms(contents.waiting)?, contents.lsn))
}

/// The bytes of a snapshot of `book`.
#[must_use]
pub fn render(book: &Book) -> Vec<u8> {
    let alarms = book.iter().map(AlarmRow::from).collect();
    let waiting = book.waiting().map(AlarmRow::from).collect();
    let contents = Contents { version: VERSION, lsn: book.folded(), alarms, waiting };
    let mut text = serde_json::to_vec(&contents).expect("rows of strings and numbers are JSON");
    let check = crc32c::crc32c(&text);
    writeln!(text, "\n{check:08x}").expect("writing into a Vec cannot fail");
    text
}

/// Puts `text` in place of the snapshot in `data_dir`, durably, mode 0600. Blocking.
///
/// # Errors
/// What the operating system said; the old snapshot is then still there.
#[expect(clippy::disallowed_methods, reason = "not the spool's: a snapshot that replay can replace")]
pub fn write(data_dir: &Path, text: &[u8]) -> io::Result<()> {
    let path = data_dir.join(SNAPSHOT_FILE);
    let draft = data_dir.join("alarms.json.new");
    // It says who needed help, and where.
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, &path)?;
    fs::File::open(data_dir)?.sync_all()
}

/// Moves a snapshot that cannot be used out of the way, for a person to look at: it may be all that is left of an old
/// alarm. Its new name ends in `now_ms`, so that none takes another's place. Blocking.
///
/// # Errors
/// What the operating system said; the snapshot then still has its name, and nothing may be written in its place.
pub fn set_aside(data_dir: &Path, now_ms: u64) -> io::Result<PathBuf> {
    let aside = data_dir.join(format!("{SNAPSHOT_FILE}.damaged-{now_ms}"));
    if fs::symlink_metadata(&aside).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", aside.display())));
    }
    fs::rename(data_dir.join(SNAPSHOT_FILE), &aside)?;
    Ok(aside)
}
