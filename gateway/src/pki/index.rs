//! The authority's memory: `index.jsonl`, one JSON line for every act, appended and synced, never rewritten. What is in
//! force is what replaying it gives; it doubles as the audit trail.
//!
//! A line torn by a power cut is the end of the file without a newline: its act never completed (its result never left),
//! so it is cut off. Damage anywhere else is refused with its line number.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::authority::AuthorityError;
use super::files::{sync, sync_parent};

/// One line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Line {
    /// RFC 3339, UTC: for people.
    pub(super) at: String,
    #[serde(flatten)]
    pub(super) act: Act,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "snake_case")]
pub(super) enum Act {
    CreateAuthority { serial: String, not_after_s: i64 },
    IssueDevice { serial: String, force: String, device: String, mode: String, not_after_s: i64 },
    IssueServer { serial: String, names: Vec<String>, not_after_s: i64 },
    Revoke { serial: String, revoked_at_s: i64 },
    RevocationList { number: u64, next_update_s: i64 },
}

/// One certificate the authority has issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Serial number in lower-case hexadecimal.
    pub serial: String,
    /// The force, for a device's certificate.
    pub force: Option<String>,
    /// The device, for a device's certificate.
    pub device: Option<String>,
    /// The mode ceiling, for a device's certificate.
    pub mode: Option<String>,
    /// Names and addresses, for a server's certificate.
    pub names: Vec<String>,
    /// Unix seconds after which it is not valid.
    pub not_after_s: i64,
    /// Unix seconds of its revocation.
    pub revoked_at_s: Option<i64>,
}

/// Where a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Valid.
    Active,
    /// Past its date.
    Expired,
    /// Revoked.
    Revoked,
}

impl Entry {
    /// Where it stands at `now_s`.
    #[must_use]
    pub fn status(&self, now_s: i64) -> Status {
        if self.revoked_at_s.is_some() {
            Status::Revoked
        } else if self.not_after_s < now_s {
            Status::Expired
        } else {
            Status::Active
        }
    }

    /// Whether it is a certificate of this device.
    #[must_use]
    pub fn is_device(&self, force: &ForceId, device: &DeviceId) -> bool {
        self.force.as_deref() == Some(force.as_str()) && self.device.as_deref() == Some(device.as_str())
    }
}

/// The open, locked index.
#[derive(Debug)]
pub(super) struct Index {
    path: PathBuf,
    file: File,
    pub(super) entries: Vec<Entry>,
    pub(super) list_number: u64,
    /// A certificate was revoked after the newest list was made.
    pub(super) list_is_owed: bool,
}

impl Index {
    /// Makes an empty index that must not exist yet.
    pub(super) fn create(path: &Path) -> Result<Self, AuthorityError> {
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(io_at(path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| io_at(path)(error.into()))?;
        sync_parent(path).map_err(io_at(path))?;
        Ok(Self { path: path.to_owned(), file, entries: Vec::new(), list_number: 0, list_is_owed: false })
    }

    /// Opens, waits for the lock, and replays.
    pub(super) fn open(path: &Path) -> Result<Self, AuthorityError> {
        let mut file = OpenOptions::new().read(true).append(true).open(path).map_err(io_at(path))?;
        flock(&file, FlockOperation::LockExclusive).map_err(|error| io_at(path)(error.into()))?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(io_at(path))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(u64::try_from(whole).unwrap_or(u64::MAX)).map_err(io_at(path))?;
            file.seek(SeekFrom::End(0)).map_err(io_at(path))?;
        }
        let mut index =
            Self { path: path.to_owned(), file, entries: Vec::new(), list_number: 0, list_is_owed: false };
        for (number, line) in text[..whole].lines().enumerate() {
            let damaged = |detail: String| AuthorityError::DamagedIndex {
                path: path.to_owned(),
                line: number + 1,
                detail,
            };
            let line: Line = serde_json::from_str(line).map_err(|error| damaged(error.to_string()))?;
            index
                .replay(line.act)
                .map_err(|serial| damaged(format!("it revokes {serial}, which was never issued")))?;
        }
        Ok(index)
    }

    /// Appends `acts` with one sync. When this returns they are durable; if it fails, none may be acted on.
    pub(super) fn append(&mut self, acts: Vec<Act>, now_s: i64) -> Result<(), AuthorityError> {
        let at = jiff::Timestamp::from_second(now_s).map_or_else(|_| now_s.to_string(), |at| at.to_string());
        let mut lines = String::new();
        for act in &acts {
            let line = Line { at: at.clone(), act: act.clone() };
            lines.push_str(&serde_json::to_string(&line).expect("an act has only plain fields"));
            lines.push('\n');
        }
        let length = self.file.metadata().map_err(io_at(&self.path))?.len();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| sync(&self.file));
        if let Err(error) = written {
            // Cut a half-written line off again; if that fails too, the next open does it.
            let _ = self.file.set_len(length);
            return Err(io_at(&self.path)(error));
        }
        for act in acts {
            self.replay(act).expect("the caller revokes only entries of this index");
        }
        Ok(())
    }

    /// Takes one act into memory. `Err` holds the unknown serial.
    fn replay(&mut self, act: Act) -> Result<(), String> {
        let entry = |serial: String, not_after_s: i64| Entry {
            serial,
            force: None,
            device: None,
            mode: None,
            names: Vec::new(),
            not_after_s,
            revoked_at_s: None,
        };
        match act {
            Act::CreateAuthority { .. } => {}
            Act::IssueDevice { serial, force, device, mode, not_after_s } => {
                let entry = entry(serial, not_after_s);
                self.entries.push(Entry {
                    force: Some(force),
                    device: Some(device),
                    mode: Some(mode),
                    ..entry
                });
            }
            Act::IssueServer { serial, names, not_after_s } => {
                self.entries.push(Entry { names, ..entry(serial, not_after_s) });
            }
            Act::Revoke { serial, revoked_at_s } => {
                let entry = self.entries.iter_mut().find(|entry| entry.serial == serial).ok_or(serial)?;
                entry.revoked_at_s.get_or_insert(revoked_at_s);
                self.list_is_owed = true;
            }
            Act::RevocationList { number, .. } => {
                self.list_number = number;
                self.list_is_owed = false;
            }
        }
        Ok(())
    }

    pub(super) fn active_device(&self, force: &ForceId, device: &DeviceId, now_s: i64) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.is_device(force, device) && entry.status(now_s) == Status::Active)
    }
}

pub(super) fn issue_device(
    serial: &str,
    force: &ForceId,
    device: &DeviceId,
    mode: Mode,
    not_after_s: i64,
) -> Act {
    Act::IssueDevice {
        serial: serial.to_owned(),
        force: force.to_string(),
        device: device.to_string(),
        mode: mode.to_string(),
        not_after_s,
    }
}

pub(super) fn io_at(path: &Path) -> impl FnOnce(io::Error) -> AuthorityError + use<> {
    let path = path.to_owned();
    move |source| AuthorityError::Files { path, source }
}
