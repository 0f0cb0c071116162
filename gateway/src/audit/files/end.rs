//! What the end of a file of a chain looks like.

use super::super::hash::Hash;
use super::super::line::{LINE_BYTES_MAX, Line};

/// What the end of a file looks like.
#[derive(Debug, Default)]
pub(super) struct End {
    /// Number of the last whole line.
    pub(super) n: u64,
    /// Its hash; none if there is no whole line.
    pub(super) hash: Option<Hash>,
    /// When the first whole line was written, and the newest time of any: Unix ms. A clock that was set back may have written the
    /// last line with a time before others.
    pub(super) times_ms: Option<(u64, u64)>,
    /// Bytes behind the last whole line, without their line feeds: a crash may have come while they were ended.
    pub(super) torn: Vec<u8>,
}

/// The last whole line, and what is behind it. At most one file is read, so memory is bounded by its size.
pub(super) fn end_of(text: &[u8]) -> End {
    let mut end = End::default();
    let mut whole_to = 0;
    let mut at = 0;
    while at < text.len() {
        let line_end = text[at..].iter().position(|byte| *byte == b'\n').map_or(text.len(), |len| at + len);
        let line = &text[at..line_end];
        if line.len() <= LINE_BYTES_MAX
            && let Some(line) = Line::parse(line)
        {
            (end.n, end.hash, whole_to) = (line.n, Some(line.hash()), text.len().min(line_end + 1));
            let (first, newest) = end.times_ms.unwrap_or((line.at_ms, line.at_ms));
            end.times_ms = Some((first, newest.max(line.at_ms)));
        }
        at = line_end + 1;
    }
    end.torn = text[whole_to..].iter().copied().filter(|byte| *byte != b'\n').collect();
    end
}
