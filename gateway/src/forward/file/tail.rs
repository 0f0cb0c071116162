//! The end of an NDJSON file after a crash: how far it is good, and which keys it holds.

use std::collections::HashSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// How much of the end is read: 30,000 events, three of the largest batches that can be configured. Of a longer one a
/// part would come twice.
pub(super) const TAIL_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How every line of ours begins; a torn one may be shorter.
const LINE_START: &[u8] = br#"{"specversion":"1.0","id":""#;

/// What the end of a file says.
pub(super) struct Tail {
    /// Bytes of the file up to the end of its last whole line.
    pub(super) good_len: u64,
    /// The ids of the whole lines read.
    pub(super) keys: HashSet<String>,
}

#[derive(serde::Deserialize)]
struct Id {
    id: String,
}

impl Tail {
    /// Reads the end of a file of `len` bytes; `None` if it ends in something that no crash of ours can leave.
    pub(super) fn read(file: &File, len: u64) -> io::Result<Option<Self>> {
        let start = len.saturating_sub(TAIL_BYTES_MAX);
        let mut bytes = vec![0; usize::try_from(len - start).expect("at most TAIL_BYTES_MAX")];
        file.read_exact_at(&mut bytes, start)?;
        let good_bytes = good_prefix(&bytes);
        let torn = &bytes[good_bytes..];
        let is_whole_file = start == 0;
        if !is_ours(torn) || (good_bytes == 0 && !is_whole_file) {
            return Ok(None);
        }
        let lines = bytes[..good_bytes].split(|byte| *byte == b'\n');
        // The first piece may be the end of a longer line: then it is no JSON, and has no id to give.
        let keys =
            lines.filter_map(|line| serde_json::from_slice::<Id>(line).ok()).map(|line| line.id).collect();
        Ok(Some(Self { good_len: start + good_bytes as u64, keys }))
    }
}

/// Up to the last line end before the first zero byte. A power cut can leave pages of zeros, but only where nothing was
/// synced: all that follows is to be written again anyway.
fn good_prefix(bytes: &[u8]) -> usize {
    let written = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes[..written].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)
}

/// Whether a torn piece can be an unfinished line of ours. Anything else is somebody's text, and stays.
fn is_ours(torn: &[u8]) -> bool {
    let text = torn.split(|byte| *byte == 0).next().unwrap_or_default();
    let common = text.len().min(LINE_START.len());
    text[..common] == LINE_START[..common]
}
