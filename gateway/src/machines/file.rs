//! The machines as a file.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::release::Words;
use super::token::digest_of;
use super::{Change, DAYS_MAX, MACHINES_MAX, Machine, MachinesError, NewMachine, Token, is_name};
use crate::forward::release::Release;
use crate::table_file::{Rows, Table, TableError, TableFile};

/// File name in the data directory.
pub const MACHINES_FILE: &str = "machines.json";
const DAY_MS: u64 = 24 * 3_600_000;

/// The machines. Clones share what was read last.
#[derive(Debug, Clone)]
pub struct Machines {
    file: TableFile<InFile>,
}

/// What is in the file.
#[derive(Debug)]
enum InFile {}

impl Rows for InFile {
    type Item = Machine;
    type Document = Document;
    const FILE: &'static str = MACHINES_FILE;
    const LOCK: &'static str = "machines.lock";
    const VERSION: u32 = 1;
    /// [`MACHINES_MAX`] of 4 KiB.
    const BYTES_MAX: u64 = 1024 * 1024;

    fn document(table: &Table<Machine>) -> Document {
        Document { version: Self::VERSION, machines: table.values().map(Row::from).collect() }
    }

    fn version(document: &Document) -> u32 {
        document.version
    }

    fn items(document: Document) -> Result<Table<Machine>, String> {
        let machines = document.machines.into_iter().map(Machine::try_from);
        machines.map(|machine| machine.map(|machine| (machine.name.clone(), machine))).collect()
    }
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
        Self { file: TableFile::new(data_dir) }
    }

    /// Every machine by its name, revoked ones too, as of now. Blocking.
    ///
    /// # Errors
    /// [`MachinesError::Files`], [`MachinesError::Damaged`].
    pub fn all(&self) -> Result<Arc<Table<Machine>>, MachinesError> {
        Ok(self.file.all()?)
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
        self.file.change(|machines| {
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
        self.file.change(|machines| {
            let machine = machines.get_mut(name).filter(|machine| machine.revoked.is_none());
            change(machine.ok_or_else(|| MachinesError::Unknown(name.to_owned()))?);
            Ok(())
        })
    }
}

impl From<TableError> for MachinesError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Files(path, source) => Self::Files { path, source },
            TableError::Damaged(path, detail) => Self::Damaged { path, detail },
        }
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
