//! Legal holds: [`HOLDS_FILE`] in the data directory.
//!
//! **A hold is on the disk, whole, before `fieldpost hold add` says so, and nothing that it covers is erased after that**: the
//! file and the keeper's looks share a lock. A released hold stays in the file: who held what, from when to when and why, is
//! history itself. A file that cannot be read holds everything, and is never written over.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fieldpost_protocol::{DeviceId, ForceId};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::erased::ERASED_FILE;
use crate::pki::replace_file;
use crate::record::{Record, RecordKind};

/// File name in the data directory.
pub const HOLDS_FILE: &str = "holds.json";
const LOCK_FILE: &str = "holds.lock";
const FILE_VERSION: u32 = 1;
/// Most holds, released ones among them.
const HOLDS_MAX: usize = 10_000;
/// Largest file: [`HOLDS_MAX`] with two reasons each.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Longest name and reason, bytes.
const TEXT_BYTES_MAX: usize = 500;
/// What people did with a held unit's alarm is held if they did it up to so long after the time that is held.
const AFTERMATH_MS: u64 = 24 * 3_600_000;

/// Who did something, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Note {
    /// A person's name.
    pub by: String,
    /// The reason: a case number, an order.
    pub why: String,
    /// Unix ms.
    pub at_ms: u64,
}

/// Records that nobody erases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// What it is released by; 1 and up, never used twice.
    pub id: u32,
    /// Of this force.
    pub force: String,
    /// Of this device only; of all the force's without.
    pub device: Option<String>,
    /// From this time on, Unix ms.
    pub from_ms: u64,
    /// Before this time, Unix ms.
    pub until_ms: u64,
    /// Who placed it.
    pub added: Note,
    /// Who ended it.
    pub released: Option<Note>,
}

/// Why nothing was changed, or nothing can be erased.
#[derive(Debug, thiserror::Error)]
pub enum HoldsError {
    /// The operating system said no.
    #[error("cannot use the legal holds {}: {source}; check the file's owner and mode", path.display())]
    Files {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error("the legal holds {} are damaged ({detail}): restore the file from a backup", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// A hold is just being placed or released.
    #[error("the legal holds {} are being changed", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// The request makes no sense.
    #[error("{0}")]
    Refused(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    holds: Vec<Hold>,
}

/// The file of holds. Reads it anew each time.
#[derive(Debug, Clone)]
pub struct Holds {
    dir: PathBuf,
    path: PathBuf,
}

impl Hold {
    /// True until it is released.
    #[must_use]
    pub fn is_active(&self) -> bool {
        self.released.is_none()
    }

    /// Whether `record` must not be erased. By the device's time or the gateway's, so that neither a wrong clock nor a late
    /// delivery lets it go.
    #[must_use]
    pub fn covers(&self, record: &Record) -> bool {
        // The time, who watches and the rules in force are no unit's: they say what became of everybody's alarms.
        let is_everybodys = matches!(record.kind, RecordKind::Clock | RecordKind::Rules);
        let is_its_own = self.force == record.force.as_str()
            && self.device.as_ref().is_none_or(|device| device == record.device.as_str());
        if !self.is_active() || !(is_everybodys || is_its_own) {
            return false;
        }
        let until_ms = match record.kind {
            kind if kind.is_gateways_own() => self.until_ms.saturating_add(AFTERMATH_MS),
            _ => self.until_ms,
        };
        let is_within = |at_ms: u64| (self.from_ms..until_ms).contains(&at_ms);
        is_within(record.received_at_ms)
            || record.envelope().is_some_and(|envelope| is_within(envelope.head.time_ms))
    }
}

impl Holds {
    /// The holds in `data_dir`; the file need not be there yet.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { dir: data_dir.to_owned(), path: data_dir.join(HOLDS_FILE) }
    }

    /// All of them, released ones too. Blocking.
    ///
    /// # Errors
    /// [`HoldsError::Files`], [`HoldsError::Damaged`]. A file that is missing although something was erased before is damage.
    pub fn all(&self) -> Result<Vec<Hold>, HoldsError> {
        Ok(self.read()?.1)
    }

    /// All of them, and a number that changes with the file.
    pub(super) fn read(&self) -> Result<(u64, Vec<Hold>), HoldsError> {
        let damaged = |detail: String| HoldsError::Damaged { path: self.path.clone(), detail };
        let text = match fs::metadata(&self.path) {
            Ok(found) if found.len() > FILE_BYTES_MAX => return Err(damaged("it is too large".to_owned())),
            Ok(_) => fs::read(&self.path).map_err(|source| self.failed(source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Something was erased, and before that the file was made.
                if self.dir.join(ERASED_FILE).exists() {
                    return Err(damaged("it is missing".to_owned()));
                }
                return Ok((0, Vec::new()));
            }
            Err(source) => return Err(self.failed(source)),
        };
        let document: Document = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if document.version != FILE_VERSION {
            return Err(damaged(format!("version {} is not one this release knows", document.version)));
        }
        Ok((u64::from(crc32c::crc32c(&text)) + 1, document.holds))
    }

    /// Makes an empty file if nothing was ever held or erased here, so that a missing file is noticed later. Blocking.
    ///
    /// # Errors
    /// As [`Holds::all`]; the keeper says it again and erases nothing.
    pub fn make(&self) -> Result<(), HoldsError> {
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let holds = self.all()?;
        if self.path.exists() { Ok(()) } else { self.write(holds) }
    }

    /// Holds what `force` (or one `device` of it) sent from `from_ms` until `until_ms`. Durable when it returns. Blocking:
    /// waits for a look that has begun.
    ///
    /// # Errors
    /// [`HoldsError`].
    pub fn add(
        &self,
        (force, device): (&ForceId, Option<&DeviceId>),
        (from_ms, until_ms): (u64, u64),
        note: Note,
    ) -> Result<Hold, HoldsError> {
        check(&note)?;
        if from_ms >= until_ms {
            return Err(HoldsError::Refused(
                "a hold ends after it begins: --until is not after --from".to_owned(),
            ));
        }
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let mut holds = self.all()?;
        if holds.len() >= HOLDS_MAX {
            return Err(HoldsError::Refused(format!("there are {HOLDS_MAX} holds: no more are kept")));
        }
        let hold = Hold {
            id: holds.iter().map(|hold| hold.id).max().unwrap_or(0) + 1,
            force: force.as_str().to_owned(),
            device: device.map(|device| device.as_str().to_owned()),
            from_ms,
            until_ms,
            added: note,
            released: None,
        };
        holds.push(hold.clone());
        self.write(holds)?;
        Ok(hold)
    }

    /// Ends hold `id`; it stays in the file. Blocking.
    ///
    /// # Errors
    /// [`HoldsError`].
    pub fn release(&self, id: u32, note: Note) -> Result<Hold, HoldsError> {
        check(&note)?;
        let _lock = self.lock(FlockOperation::LockExclusive)?;
        let mut holds = self.all()?;
        let refused =
            |what: &str| HoldsError::Refused(format!("hold {id} {what}: see `fieldpost hold list`"));
        let hold = holds.iter_mut().find(|hold| hold.id == id).ok_or_else(|| refused("does not exist"))?;
        if !hold.is_active() {
            return Err(refused("was released before"));
        }
        hold.released = Some(note);
        let hold = hold.clone();
        self.write(holds)?;
        Ok(hold)
    }

    /// Keeps everybody from changing the holds; `Busy` if somebody is about to.
    pub(super) fn pin(&self) -> Result<File, HoldsError> {
        self.lock(FlockOperation::NonBlockingLockShared)
    }

    /// Does `work` while no hold stands, and none can be placed; `None` if one stands. Blocking.
    ///
    /// # Errors
    /// [`HoldsError`]; nothing was done.
    pub(crate) fn while_none_stands<T>(&self, work: impl FnOnce() -> T) -> Result<Option<T>, HoldsError> {
        let _pin = self.pin()?;
        let stands = self.all()?.iter().any(Hold::is_active);
        Ok((!stands).then(work))
    }

    fn write(&self, holds: Vec<Hold>) -> Result<(), HoldsError> {
        let document = Document { version: FILE_VERSION, holds };
        let mut text = serde_json::to_vec_pretty(&document).expect("strings, numbers and lists are JSON");
        text.push(b'\n');
        replace_file(&self.path, &text, true).and_then(|()| self.give(&self.path)).map_err(|s| self.failed(s))
    }

    /// Held until dropped; a process that dies lets it go.
    fn lock(&self, how: FlockOperation) -> Result<File, HoldsError> {
        let path = self.dir.join(LOCK_FILE);
        let mut options = OpenOptions::new();
        let opened = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = opened.and_then(|file| self.give(&path).map(|()| file)).map_err(|s| self.failed(s))?;
        match flock(&file, how) {
            Ok(()) => Ok(file),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(HoldsError::Busy { path: self.path.clone() }),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    /// What root writes the gateway can still read.
    fn give(&self, path: &Path) -> io::Result<()> {
        let owner = fs::metadata(&self.dir)?;
        if fs::metadata(path)?.uid() == owner.uid() {
            return Ok(());
        }
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
    }

    fn failed(&self, source: io::Error) -> HoldsError {
        HoldsError::Files { path: self.path.clone(), source }
    }
}

fn check(note: &Note) -> Result<(), HoldsError> {
    let is_text = |text: &str| {
        !text.trim().is_empty() && text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
    };
    if is_text(&note.by) && is_text(&note.why) {
        return Ok(());
    }
    Err(HoldsError::Refused(format!("--by and --why take 1 to {TEXT_BYTES_MAX} bytes of text on one line")))
}
