//! A file that is whole or refused: one line of JSON and its checksum.
//!
//! **What is read back is what was written, or an error**; and a crash while writing leaves the old file. Written whole
//! under another name, fsynced, renamed, the directory fsynced. Mode 0600.
//!
//! ```text
//! {"version":1,...}\n
//! crc32c of the first line, 8 hex digits\n
//! ```

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::spool::{Disk, read_full_at, write_all_at};

/// Why a file was not used.
#[derive(Debug, thiserror::Error)]
pub enum SealedError {
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

/// The sealed text of a value: plain fields only, so that it is JSON.
#[must_use]
pub fn seal(value: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec(value).expect("strings, numbers and lists are JSON");
    let check = crc32c::crc32c(&text);
    writeln!(text, "\n{check:08x}").expect("writing into a Vec cannot fail");
    text
}

/// Reads sealed text back.
///
/// # Errors
/// What is wrong with it.
pub fn unseal<T: DeserializeOwned>(text: &[u8]) -> Result<T, &'static str> {
    let text = text.strip_suffix(b"\n").ok_or("its end is missing")?;
    let (json, check) =
        text.iter().rposition(|byte| *byte == b'\n').map(|at| text.split_at(at)).ok_or("one line only")?;
    if check[1..] != *format!("{:08x}", crc32c::crc32c(json)).as_bytes() {
        return Err("its checksum does not match");
    }
    serde_json::from_slice(json).map_err(|_| "not the expected JSON")
}

/// The bytes of the file at `path`, at most `bytes_max`; `None` if there is none.
///
/// # Errors
/// [`SealedError`].
pub fn read(disk: &dyn Disk, path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, SealedError> {
    let unreadable = |source| SealedError::Unreadable { path: path.to_owned(), source };
    let file = match disk.open_read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(unreadable)?,
    };
    let bytes = file.len().map_err(unreadable)?;
    if bytes > bytes_max {
        return Err(SealedError::Damaged { path: path.to_owned(), detail: "too large" });
    }
    let mut text = vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)];
    let read_bytes = read_full_at(&*file, &mut text, 0).map_err(unreadable)?;
    text.truncate(read_bytes);
    Ok(Some(text))
}

/// Puts `text` in place of the file at `path`, durably. Blocking.
///
/// # Errors
/// What the operating system said; the old file is then still there.
pub fn write(disk: &dyn Disk, path: &Path, text: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension("new");
    match disk.remove(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&draft)?;
    write_all_at(&*file, text, 0)?;
    file.sync_data()?;
    disk.rename(&draft, path)?;
    disk.sync_dir(path.parent().unwrap_or(Path::new(".")))
}

/// Moves a file that cannot be used out of the way, for a person to look at. Its new name ends in `now_ms`, so that none
/// takes another's place. Blocking.
///
/// # Errors
/// What the operating system said; the file then still has its name, and nothing may be written in its place.
pub fn set_aside(disk: &dyn Disk, path: &Path, now_ms: u64) -> io::Result<PathBuf> {
    let aside = path.with_added_extension(format!("damaged-{now_ms}"));
    match disk.open_read(&aside) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        _ => return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", aside.display()))),
    }
    disk.rename(path, &aside)?;
    Ok(aside)
}
