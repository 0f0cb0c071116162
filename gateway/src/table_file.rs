//! A table in a JSON file that the command line and the running gateway both change: accounts, machines.
//!
//! **A change is on the disk, whole, before anybody hears of it**: written under another name, fsynced, renamed, mode 0600; it is
//! judged and made under one lock, on what the file holds then. **A file that cannot be read is never written over**, nor taken for
//! empty. Who looks sees what another process did: a renamed file has another inode.
//!
//! Bound: [`Rows::BYTES_MAX`] of a file; the table is held once, whoever looks at it. Everything here blocks.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::pki::replace_file;

/// What is in one kind of table.
pub(crate) trait Rows {
    /// One of it, as the gateway knows it.
    type Item;
    /// The file: a version and its rows.
    type Document: Serialize + DeserializeOwned;
    /// File name in the data directory.
    const FILE: &'static str;
    /// That of the lock.
    const LOCK: &'static str;
    /// The version that is written, and the only one that is read.
    const VERSION: u32;
    /// Largest file.
    const BYTES_MAX: u64;

    /// As it is written, in [`Rows::VERSION`].
    fn document(table: &Table<Self::Item>) -> Self::Document;

    /// Of a file that was read.
    fn version(document: &Self::Document) -> u32;

    /// The rows of a file that was read.
    ///
    /// # Errors
    /// Which row is wrong, and how.
    fn items(document: Self::Document) -> Result<Table<Self::Item>, String>;
}

/// By name.
pub(crate) type Table<T> = BTreeMap<String, T>;

/// (inode, length, seconds, nanoseconds).
type Stamp = (u64, u64, i64, i64);
/// What was read last, and what the file was like then.
type Read<T> = (Option<Stamp>, Arc<Table<T>>);

/// One table. Clones share what was read last.
pub(crate) struct TableFile<R: Rows> {
    path: PathBuf,
    lock: PathBuf,
    read: Arc<Mutex<Read<R::Item>>>,
}

/// Why a table cannot be read or changed.
#[derive(Debug)]
pub(crate) enum TableError {
    /// The operating system said no.
    Files(PathBuf, io::Error),
    /// The file is not what was written, and how.
    Damaged(PathBuf, String),
}

impl<R: Rows> TableFile<R> {
    /// The table in `data_dir`; the file need not be there yet.
    pub(crate) fn new(data_dir: &Path) -> Self {
        Self { path: data_dir.join(R::FILE), lock: data_dir.join(R::LOCK), read: Arc::default() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Everything in it, as of now.
    ///
    /// # Errors
    /// [`TableError`].
    pub(crate) fn all(&self) -> Result<Arc<Table<R::Item>>, TableError> {
        let stamp = self.stamp()?;
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if stamp != read.0 {
            *read = (stamp, Arc::new(self.load()?));
        }
        Ok(Arc::clone(&read.1))
    }

    /// Reads, changes and writes under the lock; on an error nothing is changed.
    ///
    /// # Errors
    /// [`TableError`], and what `change` says.
    pub(crate) fn change<E: From<TableError>>(
        &self,
        change: impl FnOnce(&mut Table<R::Item>) -> Result<(), E>,
    ) -> Result<(), E> {
        let _lock = self.locked().map_err(|source| self.failed(source))?;
        let mut table = self.load()?;
        change(&mut table)?;
        let document = R::document(&table);
        let mut text = serde_json::to_vec_pretty(&document).expect("strings, numbers and lists are JSON");
        text.push(b'\n');
        replace_file(&self.path, &text, true).map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Held until dropped; a process that dies lets it go.
    fn locked(&self) -> io::Result<File> {
        let mut options = OpenOptions::new();
        let file = options.write(true).create(true).truncate(false).mode(0o600).open(&self.lock)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    }

    fn load(&self) -> Result<Table<R::Item>, TableError> {
        let damaged = |detail: String| TableError::Damaged(self.path.clone(), detail);
        let text = match fs::metadata(&self.path) {
            Ok(found) if found.len() > R::BYTES_MAX => return Err(damaged("it is too large".to_owned())),
            Ok(_) => fs::read(&self.path).map_err(|source| self.failed(source))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Table::new()),
            Err(source) => return Err(self.failed(source)),
        };
        let document = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        let version = R::version(&document);
        if version != R::VERSION {
            return Err(damaged(format!("version {version} is not known here")));
        }
        R::items(document).map_err(damaged)
    }

    fn stamp(&self) -> Result<Option<Stamp>, TableError> {
        match fs::metadata(&self.path) {
            Ok(found) => Ok(Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: io::Error) -> TableError {
        TableError::Files(self.path.clone(), source)
    }
}

impl<R: Rows> Clone for TableFile<R> {
    fn clone(&self) -> Self {
        Self { path: self.path.clone(), lock: self.lock.clone(), read: Arc::clone(&self.read) }
    }
}

impl<R: Rows> fmt::Debug for TableFile<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TableFile").field(&self.path).finish()
    }
}
