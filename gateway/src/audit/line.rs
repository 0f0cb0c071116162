//! One record of the chain as a line of JSON.
//!
//! ```text
//! {"n":17,"time":"2026-11-21T10:00:00.123Z","at_ms":1795..,"what":"units_read","operator":"anna",..,"hash":"9f.."}
//! hash = SHA-256(hash of the line before, 32 bytes ++ this line up to `,"hash":"`)
//! ```
//! The bytes that are hashed are the bytes that are in the file: nothing has to be written again in some canonical form
//! to be verified. `jq` reads it; a dozen lines of any language verify it.

use serde::{Deserialize, Serialize};

use super::hash::{self, Hash};
use super::look::{Field, Look, Precision, Span, Subjects, What};
use super::unseen::AnswerDigest;
use crate::sabotage::{self, Sabotage};

/// Longest line: 256 subjects of 130 characters, twice over.
pub const LINE_BYTES_MAX: usize = 80 * 1024;

const HASH_KEY: &[u8] = b",\"hash\":\"";
/// `,"hash":"` 64 digits `"}`.
const TAIL_BYTES: usize = HASH_KEY.len() + 64 + 2;

/// A look, or something that has to stand between looks, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// When, Unix ms.
    pub at_ms: u64,
    /// What happened.
    pub what: What,
    /// Who did it; the gateway itself if empty.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub who: Option<super::look::Who>,
    /// Whose positions.
    #[serde(skip_serializing_if = "is_empty")]
    pub subjects: Subjects,
    /// Which fields.
    #[serde(skip_serializing_if = "<[Field]>::is_empty")]
    pub fields: &'static [Field],
    /// How exact; nothing if there are no fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
    /// Which past time was asked about; nothing if the present was shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<Span>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is done to which account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountNote>,
    /// What exactly was handed out, if it was one answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerDigest>,
    /// The picture that one answer shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<u64>,
    /// Of a live page: which, and what it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<StreamNote>,
    /// What was sent to a force system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disclosure: Option<DisclosureNote>,
    /// Of the log itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileNote>,
}

/// What an administrator does to an account, whether or not it can be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountNote {
    /// Whose it is: as it was asked for, so perhaps nobody's.
    pub name: String,
    /// What: `make`, `disable`, `enable`, `roles` or `password`.
    pub change: String,
}

/// What goes to a force system.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisclosureNote {
    /// The output's name in the configuration.
    pub to: String,
    /// What kind of output it is.
    #[serde(default)]
    pub kind: String,
    /// Where it is, without passwords.
    #[serde(default)]
    pub address: String,
    /// How many records.
    pub count: u64,
    /// Which: keys, and runs of keys (see [`super::runs`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<String>,
    /// Those of this line, all of them; then there are no keys here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<u64>,
    /// Which fields the output is released.
    pub fields: Vec<String>,
    /// Positions are rounded to squares of so many metres; 0: as they came.
    #[serde(default)]
    pub precision_m: u32,
    /// Up to which marking.
    pub marking: String,
}

/// What a live page is sent, in numbers of pictures.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamNote {
    /// Which page: the number of the record that opened it. 0 in that record itself.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub id: u64,
    /// Its first answer shows the pictures up to this one; those after it follow in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opened_at: Option<u64>,
    /// It had everything up to this picture already, and takes up there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_after: Option<u64>,
    /// It asked to take up after this one, which was not known any more: it was told that it lagged, and shown everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lagged_from: Option<u64>,
    /// Until here it was sent every picture in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_to: Option<u64>,
    /// These pictures are sent now, ahead of others that wait.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overtook: Vec<u64>,
    /// It was told that it lagged; of the pictures up to this one it is sent no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lagged_to: Option<u64>,
    /// Closed: the frames that were handed to its connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frames: Option<u64>,
    /// Closed: their bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// What the log says of its files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileNote {
    /// The hash of the line before this file, so that a file can be verified alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The file that this is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Bytes of it, or of the torn line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// SHA-256 of those bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// The number of the last line of a file that is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_n: Option<u64>,
    /// Its hash: the line behind it follows from that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_hash: Option<String>,
    /// What the log may be used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
}

/// A line read back. Words of a newer version are kept as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Its number: 1, 2, 3 without a hole.
    pub n: u64,
    /// When, Unix ms.
    pub at_ms: u64,
    /// What happened.
    pub what: String,
    /// Who; empty is the gateway.
    #[serde(default)]
    pub operator: String,
    /// Their session.
    #[serde(default)]
    pub session: String,
    /// Their address.
    #[serde(default)]
    pub from: String,
    /// Whose positions.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// Which fields.
    #[serde(default)]
    pub fields: Vec<String>,
    /// How exact.
    #[serde(default)]
    pub precision: String,
    /// Which past time was asked about; versions before did not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<Span>,
    /// Why.
    #[serde(default)]
    pub reason: Option<String>,
    /// What is done to which account; versions before said it in `reason`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountNote>,
    /// What was handed out.
    #[serde(default)]
    pub answer: Option<ReadDigest>,
    /// The picture that was shown.
    #[serde(default)]
    pub picture: Option<u64>,
    /// Of a live page.
    #[serde(default)]
    pub stream: Option<StreamNote>,
    /// Of a force system.
    #[serde(default)]
    pub disclosure: Option<DisclosureNote>,
    /// Of the log itself.
    #[serde(default)]
    pub file: Option<FileNote>,
    /// The link to the next line.
    pub hash: String,
}

/// An [`AnswerDigest`] read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadDigest {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
}

#[derive(Serialize)]
struct Written<'a> {
    n: u64,
    time: String,
    #[serde(flatten)]
    note: &'a Note,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks by reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_empty(subjects: &Subjects) -> bool {
    subjects.patterns().is_empty()
}

impl Note {
    /// Something the gateway says itself.
    #[must_use]
    pub fn own(at_ms: u64, what: What) -> Self {
        Self {
            at_ms,
            what,
            who: None,
            subjects: Subjects::nobody(),
            fields: &[],
            precision: None,
            of: None,
            reason: None,
            account: None,
            answer: None,
            picture: None,
            stream: None,
            disclosure: None,
            file: None,
        }
    }

    /// Appends the line to `out` and returns its hash.
    pub(super) fn write(&self, out: &mut Vec<u8>, n: u64, previous: &Hash) -> Hash {
        let from = out.len();
        let at_ms = i64::try_from(self.at_ms).unwrap_or(i64::MAX);
        let time = jiff::Timestamp::from_millisecond(at_ms)
            .map_or_else(|_| String::new(), |time| format!("{time:.3}"));
        serde_json::to_writer(&mut *out, &Written { n, time, note: self })
            .expect("strings and numbers are JSON, and a Vec takes every write");
        out.pop();
        let is_skipped = sabotage::is(Sabotage::SkipChain) && n.is_multiple_of(7);
        let hash = hash::after(if is_skipped { &hash::NOTHING } else { previous }, &out[from..]);
        out.extend_from_slice(HASH_KEY);
        out.extend_from_slice(hash.to_string().as_bytes());
        out.extend_from_slice(b"\"}\n");
        hash
    }
}

impl From<Look> for Note {
    fn from(look: Look) -> Self {
        let Look { asked, holds } = look;
        Self {
            who: Some(asked.who),
            subjects: holds.subjects,
            precision: (!holds.fields.is_empty()).then_some(holds.precision),
            fields: holds.fields,
            of: asked.of,
            reason: asked.reason,
            ..Self::own(asked.at_ms, asked.what)
        }
    }
}

impl Line {
    /// Reads one line, without its line feed; `None` if it is no record.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let line: Self = serde_json::from_slice(text).ok()?;
        (hashed_part(text).is_some() && line.hash.parse::<Hash>().is_ok()).then_some(line)
    }

    /// The link that it claims to be.
    #[must_use]
    pub fn hash(&self) -> Hash {
        self.hash.parse().unwrap_or(hash::NOTHING)
    }
}

/// Whether the line's hash is right, coming after `previous`.
#[must_use]
pub fn is_link(text: &[u8], line: &Line, previous: &Hash) -> bool {
    hashed_part(text).is_some_and(|part| hash::after(previous, part) == line.hash())
}

fn hashed_part(text: &[u8]) -> Option<&[u8]> {
    let at = text.len().checked_sub(TAIL_BYTES)?;
    text[at..].starts_with(HASH_KEY).then(|| &text[..at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_reads_back_and_any_changed_byte_breaks_its_link() {
        let mut out = Vec::new();
        let hash = Note::own(1_795_000_000_123, What::GatewayStarted).write(&mut out, 7, &hash::NOTHING);
        let text = out.strip_suffix(b"\n").unwrap();
        let line = Line::parse(text).unwrap();
        assert_eq!((line.n, line.hash(), line.what.as_str()), (7, hash, "gateway_started"));
        assert!(is_link(text, &line, &hash::NOTHING) && !is_link(text, &line, &hash));
        for at in 0..text.len() {
            let mut changed = text.to_vec();
            changed[at] ^= 1;
            let is_good = Line::parse(&changed).is_some_and(|line| is_link(&changed, &line, &hash::NOTHING));
            assert!(!is_good, "byte {at}");
        }
    }
}
