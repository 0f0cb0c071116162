//! A file that is whole or refused: one line of JSON and its checksum.
//!
//! **What is read back is what was written, or an error**; and a crash while writing leaves the old file. Written whole
//! under another name, fsynced, renamed, the directory fsynced. Mode 0600.
//!
//! ```text
//! {"version":1,...}\n
//! crc32c of the first line, 8 hex digits\n
//! ```

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

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
pub fn read(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, SealedError> {
    let unreadable = |source| SealedError::Unreadable { path: path.to_owned(), source };
    match fs::metadata(path) {
        Ok(metadata) if metadata.len() > bytes_max => {
            Err(SealedError::Damaged { path: path.to_owned(), detail: "too large" })
        }
        Ok(_) => fs::read(path).map(Some).map_err(unreadable),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(error)),
    }
}

/// Puts `text` in place of the file at `path`, durably. Blocking.
///
/// # Errors
/// What the operating system said; the old file is then still there.
#[expect(clippy::disallowed_methods, reason = "not the spool's: a snapshot that replay can replace")]
pub fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let draft = path.with_added_extension("new");
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(text)?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    fs::File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Moves a file that cannot be used out of the way, for a person to look at. Its new name ends in `now_ms`, so that none
/// takes another's place. Blocking.
///
/// # Errors
/// What the operating system said; the file then still has its name, and nothing may be written in its place.
pub fn set_aside(path: &Path, now_ms: u64) -> io::Result<PathBuf> {
    let aside = path.with_added_extension(format!("damaged-{now_ms}"));
    if fs::symlink_metadata(&aside).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("{} exists", aside.display())));
    }
    fs::rename(path, &aside)?;
    Ok(aside)
}
