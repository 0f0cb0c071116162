//! The file of accounts: [`PEOPLE_FILE`] in the data directory, with the promises of [`crate::table_file`]. `fieldpost people` and the
//! running gateway change the same file; each sees what the other did when it looks next, the gateway every second. A file
//! that cannot be read lets nobody in.
//!
//! **Whoever changes an account reaches it at the moment of the change**: an account with a force that is not among theirs does
//! not exist for them, and that is judged under the lock that the change is made under. So is whether the password by which an
//! owner chooses another is still theirs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::account::{Account, FULL_NAME_CHARS_MAX, Row, Standing};
use super::password::{Hashed, Password, PasswordError};
use super::{Forces, Grant, Proven, Role, Roles};
use crate::login::{LoginError, Operator};
use crate::table_file::{Rows, Table, TableError, TableFile};

/// File name in the data directory.
pub const PEOPLE_FILE: &str = "people.json";
/// Most accounts: every control room of the largest force, several times over.
pub const ACCOUNTS_MAX: usize = 10_000;
/// File in the data directory that holds the first administrator's password until it is changed, if nobody was there to
/// read it from a terminal.
pub const FIRST_PASSWORD_FILE: &str = "administrator.password";
/// Who the first account is.
pub const FIRST_NAME: &str = "administrator";

/// The accounts. Clones share what was read last.
#[derive(Debug, Clone)]
pub struct Accounts {
    file: TableFile<InFile>,
}

/// What is in the file.
#[derive(Debug)]
enum InFile {}

impl Rows for InFile {
    type Item = Account;
    type Document = Document;
    const FILE: &'static str = PEOPLE_FILE;
    const LOCK: &'static str = "people.lock";
    const VERSION: u32 = 1;
    /// [`ACCOUNTS_MAX`] of 800 bytes.
    const BYTES_MAX: u64 = 8 * 1024 * 1024;

    fn document(table: &Table<Account>) -> Document {
        Document { version: Self::VERSION, accounts: table.values().map(Account::row).collect() }
    }

    fn version(document: &Document) -> u32 {
        document.version
    }

    fn items(document: Document) -> Result<Table<Account>, String> {
        let accounts = document.accounts.into_iter().map(Account::try_from);
        let accounts = accounts.map(|account| account.map(|account| (account.name.to_string(), account)));
        accounts.collect::<Result<_, _>>().map_err(str::to_owned)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    accounts: Vec<Row>,
}

/// Why nothing was changed, or nothing could be read.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// The operating system said no.
    #[error("cannot use the accounts {path}: {source}")]
    Files {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// The file is not what was written.
    #[error(
        "the accounts {path} are damaged ({detail}): restore the file from a backup, or log in with `fieldpost login`"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The name is none.
    #[error(transparent)]
    Name(#[from] LoginError),
    /// The password is none.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// There is one of that name.
    #[error("there is already an account {0}: names are never used twice")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no account {0}")]
    Unknown(String),
    /// It has another password now than the one that was proven.
    #[error("the password of {0} was changed meanwhile: nothing was done")]
    Overtaken(String),
    /// Nobody could make accounts any more.
    #[error("{0} is the last administrator of every force: make another one first")]
    LastAdministrator(String),
    /// Too many.
    #[error("there are {ACCOUNTS_MAX} accounts: no more are kept")]
    Full,
    /// The full name is too long.
    #[error("a full name has at most {FULL_NAME_CHARS_MAX} characters and no control characters")]
    FullName,
    /// No role at all.
    #[error("an account needs at least one role, and at least one force or *")]
    NoGrant,
}

/// A new account.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// What they log in with.
    pub name: Operator,
    /// What colleagues call them.
    pub full_name: String,
    /// What they may.
    pub grant: Grant,
}

/// Who changes something, and when.
#[derive(Debug, Clone)]
pub struct By {
    /// A name, or `cli:UID`.
    pub who: String,
    /// Unix ms.
    pub at_ms: u64,
}

impl Accounts {
    /// The accounts in `data_dir`; the file need not be there yet.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self { file: TableFile::new(data_dir) }
    }

    /// Everybody, as of now. Blocking.
    ///
    /// # Errors
    /// [`AccountsError::Files`], [`AccountsError::Damaged`].
    pub fn all(&self) -> Result<Arc<Table<Account>>, AccountsError> {
        Ok(self.file.all()?)
    }

    /// One account. Blocking.
    ///
    /// # Errors
    /// As [`Accounts::all`].
    pub fn get(&self, name: &str) -> Result<Option<Account>, AccountsError> {
        Ok(self.all()?.get(name).cloned())
    }

    /// What the account behind `proven` gives a session; `None` if it gives none, or has another password by now. Blocking.
    ///
    /// # Errors
    /// As [`Accounts::all`].
    pub fn standing(&self, proven: &Proven) -> Result<Option<Standing>, AccountsError> {
        let all = self.all()?;
        let account = all.get(proven.operator.as_str()).filter(|now| now.credential == proven.credential);
        Ok(account.and_then(|account| account.standing(false)))
    }

    /// Makes the first account, [`FIRST_NAME`], if there is none at all. Returns its password, to be shown once. Blocking.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub fn found(&self, by: &By) -> Result<Option<Password>, AccountsError> {
        if !self.all()?.is_empty() {
            return Ok(None);
        }
        let grant = Grant { roles: Roles::from_iter([Role::Administrator]), forces: Forces::All };
        let name = Operator::try_new(FIRST_NAME)?;
        let account = NewAccount { name, full_name: "First administrator".to_owned(), grant };
        match self.add(account, by) {
            Ok(password) => Ok(Some(password)),
            // Another process was first.
            Err(AccountsError::Exists(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Makes an account and returns its password, to be shown once; its owner has to choose another. Blocking: hashes.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub fn add(&self, new: NewAccount, by: &By) -> Result<Password, AccountsError> {
        let full_name = new.full_name.trim().to_owned();
        if full_name.chars().count() > FULL_NAME_CHARS_MAX || full_name.chars().any(char::is_control) {
            return Err(AccountsError::FullName);
        }
        require(&new.grant)?;
        let password = Password::random()?;
        let hashed = password.hash()?;
        self.file.change(|accounts| {
            let name = new.name.to_string();
            if accounts.contains_key(&name) {
                return Err(AccountsError::Exists(name));
            }
            if accounts.len() >= ACCOUNTS_MAX {
                return Err(AccountsError::Full);
            }
            let account = Account {
                name: new.name,
                full_name,
                grant: new.grant,
                password: Some(hashed),
                must_change: true,
                disabled: false,
                credential: 1,
                changed_at_ms: by.at_ms,
                changed_by: by.who.clone(),
            };
            accounts.insert(name, account);
            Ok(())
        })?;
        Ok(password)
    }

    /// Gives an account that `over` covers a random password, to be shown once, and ends its sessions. Blocking: hashes, but not
    /// for an account that is not there or not covered.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub fn reset(&self, name: &str, over: &Forces, by: &By) -> Result<Password, AccountsError> {
        reached(&*self.all()?, name, over)?;
        let password = Password::random()?;
        let hashed = password.hash()?;
        self.change_one(name, over, by, |account| {
            put_password(account, hashed, true);
            Ok(())
        })?;
        self.forget_first_password(name);
        Ok(password)
    }

    /// Gives an account the password behind `hashed`, which its owner chose, and ends its sessions; returns what its owner has
    /// proven by that. Whoever proved a password that is none any more changes nothing. Blocking.
    ///
    /// # Errors
    /// [`AccountsError::Overtaken`] and others.
    pub fn set_password(&self, proven: &Proven, hashed: Hashed, by: &By) -> Result<Proven, AccountsError> {
        let (name, mut credential) = (proven.operator.as_str(), proven.credential);
        self.change_one(name, &Forces::All, by, |account| {
            if account.credential != credential {
                return Err(AccountsError::Overtaken(name.to_owned()));
            }
            put_password(account, hashed, false);
            credential = account.credential;
            Ok(())
        })?;
        self.forget_first_password(name);
        Ok(Proven { operator: proven.operator.clone(), credential })
    }

    fn forget_first_password(&self, name: &str) {
        if name == FIRST_NAME {
            // It holds a password that is none any more; usually it is not there.
            _ = fs::remove_file(self.file.path().with_file_name(FIRST_PASSWORD_FILE));
        }
    }

    /// Lets an account that `over` covers in no more, or again. Blocking.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub fn set_disabled(
        &self,
        name: &str,
        over: &Forces,
        disabled: bool,
        by: &By,
    ) -> Result<(), AccountsError> {
        self.change_one(name, over, by, |account| {
            account.disabled = disabled;
            account.credential += 1;
            Ok(())
        })
    }

    /// Gives an account that `over` covers other roles and forces. Its sessions have them within a second. Blocking.
    ///
    /// # Errors
    /// [`AccountsError`].
    pub fn set_grant(&self, name: &str, over: &Forces, grant: Grant, by: &By) -> Result<(), AccountsError> {
        require(&grant)?;
        self.change_one(name, over, by, |account| {
            account.grant = grant;
            Ok(())
        })
    }

    fn change_one(
        &self,
        name: &str,
        over: &Forces,
        by: &By,
        change: impl FnOnce(&mut Account) -> Result<(), AccountsError>,
    ) -> Result<(), AccountsError> {
        self.file.change(|accounts| {
            reached(accounts, name, over)?;
            let account = accounts.get_mut(name).expect("it is there: reached above");
            let was_chief = account.is_chief();
            change(account)?;
            account.changed_at_ms = by.at_ms;
            account.changed_by.clone_from(&by.who);
            if was_chief && !accounts.values().any(Account::is_chief) {
                return Err(AccountsError::LastAdministrator(name.to_owned()));
            }
            Ok(())
        })
    }
}

impl From<TableError> for AccountsError {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Files(path, source) => Self::Files { path, source },
            TableError::Damaged(path, detail) => Self::Damaged { path, detail },
        }
    }
}

fn put_password(account: &mut Account, hashed: Hashed, must_change: bool) {
    account.password = Some(hashed);
    account.must_change = must_change;
    account.credential += 1;
}

/// An account that is beyond `over` is answered like one that is not there.
fn reached(accounts: &Table<Account>, name: &str, over: &Forces) -> Result<(), AccountsError> {
    let is_reached = accounts.get(name).is_some_and(|account| over.cover(&account.grant.forces));
    if is_reached { Ok(()) } else { Err(AccountsError::Unknown(name.to_owned())) }
}

fn require(grant: &Grant) -> Result<(), AccountsError> {
    if grant.roles.is_empty() || grant.forces.is_empty() { Err(AccountsError::NoGrant) } else { Ok(()) }
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;
