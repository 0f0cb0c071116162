//! Reading the journal back, whether or not the gateway runs.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::super::hash::Hash;
use super::codec::{Entry, Known};
use super::format::{BATCH_HEAD_BYTES, BatchHead, FILE_HEAD_BYTES, MAGIC, link, parse_name};
use super::wire::Reader;
use super::write::PictureHead;

/// One file of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its number.
    pub index: u32,
    /// When it was begun, Unix ms.
    pub begun_ms: u64,
}

/// How a file ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileEnd {
    /// The hash before its first batch, as the file has it.
    pub previous: Hash,
    /// Its last good batch.
    pub head: Option<PictureHead>,
    /// Bytes behind it that are no batch: torn by a crash if it is the run's last file.
    pub torn_bytes: u64,
    /// A batch whose hash does not match: it was changed. Everything behind it is left out.
    pub is_broken: bool,
}

/// The journal's files, oldest first; none if there is no directory.
///
/// # Errors
/// The directory cannot be read.
pub fn files(dir: &Path) -> io::Result<Vec<PictureFile>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        if let Some((index, begun_ms)) = entry.file_name().to_str().and_then(parse_name) {
            files.push(PictureFile { path: entry.path(), index, begun_ms });
        }
    }
    files.sort_unstable_by_key(|file| file.index);
    Ok(files)
}

/// Hands over every batch of a file that is whole and good: when it was committed, Unix ms, and its entries.
///
/// # Errors
/// The file cannot be read, or `each` says so.
pub fn read(path: &Path, each: &mut dyn FnMut(u64, Vec<Entry>) -> io::Result<()>) -> io::Result<FileEnd> {
    let bytes = fs::read(path)?;
    let mut end = FileEnd {
        previous: super::super::hash::NOTHING,
        head: None,
        torn_bytes: bytes.len() as u64,
        is_broken: false,
    };
    if bytes.len() < FILE_HEAD_BYTES || !bytes.starts_with(MAGIC) {
        end.is_broken = bytes.len() >= FILE_HEAD_BYTES;
        return Ok(end);
    }
    end.previous.0.copy_from_slice(&bytes[MAGIC.len()..FILE_HEAD_BYTES]);
    let mut previous = end.previous;
    let mut rest = &bytes[FILE_HEAD_BYTES..];
    let mut known = Known::default();
    while let Some(head) = BatchHead::read(rest) {
        let Some(payload) = rest[BATCH_HEAD_BYTES..].get(..head.payload_bytes).filter(|p| !p.is_empty())
        else {
            break;
        };
        let Some(entries) = (link(&previous, head.at_ms, head.n, payload) == head.hash)
            .then(|| entries(&mut known, payload))
            .flatten()
        else {
            end.is_broken = true;
            break;
        };
        each(head.at_ms, entries)?;
        previous = head.hash;
        end.head = Some(PictureHead { n: head.n, hash: head.hash });
        rest = &rest[BATCH_HEAD_BYTES + head.payload_bytes..];
    }
    end.torn_bytes = rest.len() as u64;
    Ok(end)
}

fn entries(known: &mut Known, payload: &[u8]) -> Option<Vec<Entry>> {
    let mut reader = Reader::new(payload);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        entries.push(known.take(&mut reader)?);
    }
    Some(entries)
}

/// The number of the picture that a file begins with; `None` if nothing of it is whole.
///
/// # Errors
/// The file cannot be read.
pub fn first_n(path: &Path) -> io::Result<Option<u64>> {
    // A keyframe's kind and number: 11 bytes at most.
    let mut head = Vec::with_capacity(FILE_HEAD_BYTES + BATCH_HEAD_BYTES + 11);
    fs::File::open(path)?.take(head.capacity() as u64).read_to_end(&mut head)?;
    let payload = head.get(FILE_HEAD_BYTES + BATCH_HEAD_BYTES..).unwrap_or_default();
    let mut reader = Reader::new(payload);
    Ok(reader.byte().and_then(|_| reader.varint()).filter(|_| head.starts_with(MAGIC)))
}
