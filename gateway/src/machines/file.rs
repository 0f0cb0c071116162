//! The machines as a file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::release::Words;
use super::token::digest_of;
use super::{Change, DAYS_MAX, MACHINES_MAX, Machine, MachinesError, NewMachine, Token, is_name};
use crate::forward::release::Release;
use crate::pki::replace_file;

/// File name in the data directory.
pub const MACHINES_FILE: &str = "machines.json";
const LOCK_FILE: &str = "machines.lock";
const FILE_VERSION: u32 = 1;
/// Largest file: [`MACHINES_MAX`] of 4 KiB.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
const DAY_MS: u64 = 24 * 3_600_000;

type Table = BTreeMap<String, Machine>;
/// (inode, length, seconds, nanoseconds): a renamed file has another inode.
type Stamp = (u64, u64, i64, i64);

/// The machines. Clones share what was read last.
#[derive(Debug, Clone)]
pub struct Machines {
    path: PathBuf,
    lock: PathBuf,
    read: Arc<Mutex<(Option<Stamp>, Arc<Table>)>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    machines: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    release: Words,
    token_sha256: String,
    until_ms: u64,
    changed: Change,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<Change>,
}

impl Machines {
    /// The machines in `data_dir`; the file need not be there yet.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(MACHINES_FILE), lock: data_dir.join(LOCK_FILE), read: Arc::default() }
    }

    /// Every machine by its name, revoked ones too, as of now. Blocking.
    ///
    /// # Errors
    /// [`MachinesError::Files`], [`MachinesError::Damaged`].
    pub fn all(&self) -> Result<Arc<Table>, MachinesError> {
        let stamp = self.stamp()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp != read.0 {
            *read = (stamp, Arc::new(self.load()?));
        }
        Ok(Arc::clone(&read.1))
    }

    /// Whose token this is, if it holds at `now_ms`. Blocking.
    ///
    /// # Errors
    /// As [`Machines::all`].
    pub fn of_token(&self, token: &str, now_ms: u64) -> Result<Option<Machine>, MachinesError> {
        let digest = digest_of(token);
        let all = self.all()?;
        Ok(all.values().find(|machine| machine.digest == digest && machine.holds(now_ms)).cloned())
    }

    /// Makes a machine and returns its token, to be shown once. Blocking.
    ///
    /// # Errors
    /// [`MachinesError`].
    pub fn add(&self, new: NewMachine, change: Change) -> Result<Token, MachinesError> {
        if !is_name(&new.name) {
            return Err(MachinesError::Name);
        }
        new.release.none_in_vain()?;
        let token = Token::random()?;
        let until_ms = until(&change, new.days);
        let NewMachine { name, release, .. } = new;
        let digest = token.digest();
        let machine = Machine { name, release, digest, until_ms, changed: change, revoked: None };
        self.change(|machines| {
            if machines.contains_key(&machine.name) {
                return Err(MachinesError::Exists(machine.name));
            }
            if machines.len() >= MACHINES_MAX {
                return Err(MachinesError::Full);
            }
            machines.insert(machine.name.clone(), machine);
            Ok(())
        })?;
        Ok(token)
    }

    /// Gives a machine a new token, to be shown once; the old one ends at once. Blocking.
    ///
    /// # Errors
    /// [`MachinesError`].
    pub fn renew(&self, name: &str, days: u32, change: Change) -> Result<Token, MachinesError> {
        let token = Token::random()?;
        self.change_one(name, |machine| {
            machine.digest = token.digest();
            machine.until_ms = until(&change, days);
            machine.changed = change;
        })?;
        Ok(token)
    }

    /// Ends a machine's token for good. Blocking.
    ///
    /// # Errors
    /// [`MachinesError`].
    pub fn revoke(&self, name: &str, change: Change) -> Result<(), MachinesError> {
        self.change_one(name, |machine| machine.revoked = Some(change))
    }

    fn change_one(&self, name: &str, change: impl FnOnce(&mut Machine)) -> Result<(), MachinesError> {
        self.change(|machines| {
            let machine = machines.get_mut(name).filter(|machine| machine.revoked.is_none());
            change(machine.ok_or_else(|| MachinesError::Unknown(name.to_owned()))?);
            Ok(())
        })
    }

    /// Reads, changes and writes under the lock; on an error nothing is changed.
    fn change(
        &self,
        change: impl FnOnce(&mut Table) -> Result<(), MachinesError>,
    ) -> Result<(), MachinesError> {
        let _lock = self.locked().map_err(|source| self.failed(source))?;
        let mut machines = self.load()?;
        change(&mut machines)?;
        let document =
            Document { version: FILE_VERSION, machines: machines.values().map(Row::from).collect() };
        let mut text = serde_json::to_vec_pretty(&document).expect("strings, numbers and lists are JSON");
        text.push(b'\n');
        replace_file(&self.path, &text, true).map_err(|source| self.failed(source))
    }

    /// Held until dropped; a process that dies lets it go.
    fn locked(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.lock)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn load(&self) -> Result<Table, MachinesError> {
        let damaged = |detail: String| MachinesError::Damaged { path: self.path.clone(), detail };
        let text = match fs::metadata(&self.path) {
            Ok(found) if found.len() > FILE_BYTES_MAX => return Err(damaged("it is too large".to_owned())),
            Ok(_) => fs::read(&self.path).map_err(|source| self.failed(source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Table::new()),
            Err(source) => return Err(self.failed(source)),
        };
        let document: Document = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if document.version != FILE_VERSION {
            return Err(damaged(format!("version {} is not known here", document.version)));
        }
        let machines = document.machines.into_iter().map(Machine::try_from);
        let machines = machines.collect::<Result<Vec<_>, _>>().map_err(damaged)?;
        Ok(machines.into_iter().map(|machine| (machine.name.clone(), machine)).collect())
    }

    fn stamp(&self) -> Result<Option<Stamp>, MachinesError> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> MachinesError {
        MachinesError::Files { path: self.path.clone(), source }
    }
}

impl From<&Machine> for Row {
    fn from(machine: &Machine) -> Self {
        Self {
            name: machine.name.clone(),
            release: Words::from(&machine.release),
            token_sha256: machine.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
            until_ms: machine.until_ms,
            changed: machine.changed.clone(),
            revoked: machine.revoked.clone(),
        }
    }
}

impl TryFrom<Row> for Machine {
    type Error = String;

    fn try_from(row: Row) -> Result<Self, String> {
        let release = Release::try_from(&row.release).map_err(|error| format!("{}: {error}", row.name))?;
        let digest = digest_in(&row.token_sha256).ok_or_else(|| format!("{}: no SHA-256", row.name))?;
        let Row { name, until_ms, changed, revoked, .. } = row;
        Ok(Self { name, release, digest, until_ms, changed, revoked })
    }
}

fn digest_in(hex: &str) -> Option<[u8; 32]> {
    let byte = |at: usize| u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..32).map(byte).collect();
    bytes.filter(|_| hex.len() == 64)?.try_into().ok()
}

fn until(change: &Change, days: u32) -> u64 {
    change.at_ms.saturating_add(u64::from(days.min(DAYS_MAX)) * DAY_MS)
}
