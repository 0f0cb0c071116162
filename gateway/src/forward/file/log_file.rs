//! The open file: what is good in it, what comes next.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

use super::tail::{self, Tail};
use super::{Line, Storage, open_append, sync_dir_of};

/// Why the file cannot be written.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    /// The file system said no.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not our file: writing would harm it.
    #[error("{0}")]
    Foreign(&'static str),
}

/// A file that ends in whole lines, the first `len` bytes of which are durable.
pub(super) struct LogFile {
    file: File,
    storage: Arc<Storage>,
    len: u64,
    /// Keys at its end, until the first key that is not among them shows that the overlap is over.
    overlap: HashSet<String>,
}

impl LogFile {
    /// Opens or creates the file, cuts off what a crash left behind, and learns which keys it ends with.
    pub(super) fn open(path: &Path, storage: Arc<Storage>) -> Result<Self, OpenError> {
        if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(OpenError::Foreign("not a regular file; name one, or a path where none is yet"));
        }
        let file = open_append(path, 0o640)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(OpenError::Foreign(
                "another process has it locked; give every forwarder its own file",
            ));
        }
        let len = file.metadata()?.len();
        let Some(mut tail) = Tail::read(&file, len)? else {
            return Err(OpenError::Foreign("it ends in text that is not an event; move it away"));
        };
        if tail.good_len < len {
            tracing::warn!(path = %path.display(), bytes = len - tail.good_len, "cut off an unfinished write");
            file.set_len(tail.good_len)?;
        }
        // What a dead process wrote may be in memory only; and the cut must not come undone.
        (storage.sync)(&file)?;
        if tail.good_len < tail::TAIL_BYTES_MAX
            && let Some(previous) = newest_rotated(path)?
        {
            let previous = File::open(previous)?;
            let len = previous.metadata()?.len();
            tail.keys.extend(Tail::read(&previous, len)?.into_iter().flat_map(|tail| tail.keys));
        }
        Ok(Self { file, storage, len: tail.good_len, overlap: tail.keys })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Whether `path` still names this file and nobody else has changed its length.
    pub(super) fn is_still_at(&self, path: &Path) -> bool {
        let (Ok(ours), Ok(named)) = (self.file.metadata(), std::fs::metadata(path)) else { return false };
        (ours.dev(), ours.ino()) == (named.dev(), named.ino()) && ours.len() == self.len
    }

    /// The lines that are not in the file yet, as bytes. Keys repeat only where a batch is written again after a crash,
    /// so the first new key ends the comparison.
    pub(super) fn new_lines(&mut self, lines: &[Line]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(lines.iter().map(|line| line.json.len() + 1).sum());
        for line in lines {
            if self.overlap.contains(&line.key) {
                continue;
            }
            self.overlap = HashSet::new();
            bytes.extend_from_slice(&line.json);
            bytes.push(b'\n');
        }
        bytes
    }

    /// Appends and makes durable. After an error the file must be opened anew: the kernel may have marked lost pages
    /// clean, so what was written is cut off and written again.
    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let written =
            (self.storage.write_all)(&self.file, bytes).and_then(|()| (self.storage.sync)(&self.file));
        if let Err(error) = written {
            if let Err(cut) = self.file.set_len(self.len) {
                tracing::warn!(%cut, "could not cut off a failed write; the next open will");
            }
            return Err(error);
        }
        self.len += bytes.len() as u64;
        Ok(())
    }

    /// Moves the file aside under the time of day and begins a new one.
    pub(super) fn rotate(self, path: &Path) -> Result<Self, OpenError> {
        let stamp = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
        let mut number = 0;
        let aside = loop {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{stamp}"));
            if number > 0 {
                name.push(format!("-{number:04}"));
            }
            if !std::fs::exists(&name)? {
                break name;
            }
            number += 1;
        };
        std::fs::rename(path, aside)?;
        sync_dir_of(path)?;
        let storage = Arc::clone(&self.storage);
        let file = open_append(path, 0o640)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(io::Error::from)?;
        Ok(Self { file, storage, len: 0, overlap: HashSet::new() })
    }
}

/// The rotated file with the latest name; names sort by time.
fn newest_rotated(path: &Path) -> io::Result<Option<PathBuf>> {
    let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Ok(None);
    };
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    let mut newest: Option<String> = None;
    for entry in std::fs::read_dir(dir)? {
        let Ok(entry) = entry?.file_name().into_string() else { continue };
        let stamp = entry.strip_prefix(name).and_then(|rest| rest.strip_prefix('.'));
        let is_rotated = stamp.is_some_and(|stamp| stamp.len() >= 16 && stamp.as_bytes()[8] == b'T');
        if is_rotated && newest.as_ref().is_none_or(|newest| *newest < entry) {
            newest = Some(entry);
        }
    }
    Ok(newest.map(|name| dir.join(name)))
}
