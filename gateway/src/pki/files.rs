//! Files that are whole or absent: written under a draft name, synced, then moved into place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Replaces `path` by `contents` in one step: readers see the old file or the new one, also after a power cut. A crash
/// may leave a draft `NAME.draft`, which the next call overwrites. Mode 0600 if `private`, else 0644.
///
/// # Errors
/// What the operating system said; `path` is then unchanged.
pub fn replace_file(path: &Path, contents: &[u8], private: bool) -> io::Result<()> {
    let draft = draft_name(path)?;
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    write_synced(&draft, contents, private)?;
    fs::rename(&draft, path)?;
    sync_parent(path)
}

/// Writes a file that must not exist yet, mode 0600.
///
/// # Errors
/// What the operating system said, `AlreadyExists` among it.
pub fn write_new_private(path: &Path, contents: &[u8]) -> io::Result<()> {
    write_synced(path, contents, true)?;
    sync_parent(path)
}

fn write_synced(path: &Path, contents: &[u8], private: bool) -> io::Result<()> {
    let mode = if private { 0o600 } else { 0o644 };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(contents)?;
    sync(&file)
}

/// Syncs through `rustix`, because `File::sync_all` is reserved for the spool's storage seam.
pub(super) fn sync(file: &File) -> io::Result<()> {
    rustix::fs::fsync(file).map_err(io::Error::from)
}

pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    sync(&File::open(parent)?)
}

fn draft_name(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the path names no file"))?;
    let mut draft = name.to_owned();
    draft.push(".draft");
    Ok(path.with_file_name(draft))
}
