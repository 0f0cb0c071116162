//! Refused events, kept with their reason: one JSON line each, for a person to look at, to send again or to drop
//! ([`super::again`]).
//!
//! **A refused event is durable here before its place in the spool is given up.** Bound: two files of
//! [`REFUSALS_BYTES_MAX`]; when the second is full the older one goes, which the log says. They hold positions: mode 0600.
//!
//! A line holds the event as the sink refused it, and what it takes to render it anew: the record, cut down as it was, and the
//! fields that the output was released then. A gap has no record; its event says all.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{BufMut as _, Bytes, BytesMut};
use serde::Deserialize;

use super::RefuseReason;
use super::event::{Event, Gap, GapReason, Kept, Withheld};
use super::file::append_durably;
use super::json::Object;
use super::release::Fields;
use crate::alarms::AlarmId;
use crate::record::Record;
use crate::spool::Lsn;

/// Largest refusals file: about 50,000 events.
pub const REFUSALS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Where the forwarder `name` keeps them.
#[must_use]
pub fn refusals_of(data_dir: &Path, name: &str) -> PathBuf {
    data_dir.join("refused").join(format!("{name}.ndjson"))
}

/// The older of the two files.
#[must_use]
pub fn older_of(newest: &Path) -> PathBuf {
    let mut older = newest.as_os_str().to_owned();
    older.push(".1");
    older.into()
}

/// Those that a person sends again, until they are sent. A forwarder's name has no dot.
#[must_use]
pub fn again_of(newest: &Path) -> PathBuf {
    newest.with_extension("again.ndjson")
}

/// The refusals of one forwarder.
#[derive(Debug)]
pub struct Refusals {
    path: PathBuf,
    /// What its output is released.
    fields: Fields,
}

/// One line, read back.
#[derive(Debug, Deserialize)]
pub(super) struct Line {
    pub(super) refused_at: jiff::Timestamp,
    pub(super) reason: String,
    pub(super) detail: String,
    lsn: u64,
    #[serde(default)]
    alarm: Option<AlarmId>,
    #[serde(default)]
    released: Option<String>,
    #[serde(default)]
    record: Option<String>,
    /// By whom and why, of an event that a person dropped: of it only this is left.
    #[serde(default)]
    pub(super) dropped: Option<String>,
    pub(super) event: EventPart,
}

/// Of the event, what is looked at.
#[derive(Debug, Deserialize)]
pub(super) struct EventPart {
    pub(super) id: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    data: Option<GapPart>,
}

/// Of the data, what a gap has; of all others nothing.
#[derive(Debug, Deserialize)]
struct GapPart {
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    first_lsn: Option<u64>,
    #[serde(default)]
    last_lsn: Option<u64>,
}

/// What a line is an event of.
#[derive(Debug)]
pub(super) enum Subject {
    Record(Box<Kept>),
    Gap(Gap),
}

impl Refusals {
    /// Refusals kept at `path` and, when that is full, `path.1`, of an output that is released `fields`. Nothing is created
    /// before the first refusal.
    #[must_use]
    pub fn new(path: PathBuf, fields: Fields) -> Self {
        Self { path, fields }
    }

    /// Appends one event and makes it durable.
    ///
    /// # Errors
    /// What the file system said; the event is not kept then, or twice after a repetition.
    pub async fn keep(
        &self,
        event: &Event,
        reason: RefuseReason,
        detail: &str,
        refused_at_ms: u64,
    ) -> io::Result<()> {
        let mut line = BytesMut::new();
        let mut object = Object::open(&mut line);
        object.time("refused_at", refused_at_ms);
        object.text("reason", reason.as_str());
        object.text("detail", detail);
        object.number("lsn", event.lsn.0);
        if let Some(alarm) = &event.alarm {
            object.display("alarm", format_args!("{alarm}"));
        }
        if let Some(record) = &event.record {
            let mut bytes = BytesMut::new();
            record.encode(&mut bytes);
            object.text("released", &self.fields.to_string());
            object.text("record", &STANDARD.encode(&bytes));
        }
        object.raw("event", &event.json);
        object.close();
        line.put_u8(b'\n');
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || keep_line(&path, &line))
            .await
            .unwrap_or_else(|panic| Err(panic.into()))
    }
}

impl Refusals {
    /// Appends lines of events once more that a person sent again and that are not released any more, and makes them durable.
    ///
    /// # Errors
    /// As [`Self::keep`].
    pub(super) async fn keep_withheld(
        &self,
        lines: &[(Vec<u8>, Withheld)],
        at: jiff::Timestamp,
    ) -> io::Result<()> {
        let mut text = Vec::new();
        for (line, why) in lines {
            let mut line: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line)?;
            line.insert("refused_at".to_owned(), format!("{at:.3}").into());
            line.insert("reason".to_owned(), "withheld".into());
            line.insert("detail".to_owned(), format!("not released any more: {}", why.as_str()).into());
            serde_json::to_writer(&mut text, &line)?;
            text.push(b'\n');
        }
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || keep_line(&path, &text))
            .await
            .unwrap_or_else(|panic| Err(panic.into()))
    }
}

impl Line {
    /// `None` if it is no line of ours: cut off by a crash, or of a newer version.
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        serde_json::from_slice(text).ok()
    }

    /// What it is an event of; `None` if that was not kept with it, as by versions before this, or was dropped.
    pub(super) fn subject(&self) -> Option<Subject> {
        if self.dropped.is_some() {
            return None;
        }
        let Some(record) = &self.record else { return self.gap().map(Subject::Gap) };
        let bytes = Bytes::from(STANDARD.decode(record).ok()?);
        Some(Subject::Record(Box::new(Kept {
            key: self.event.id.clone(),
            alarm: self.alarm.clone().map(Box::new),
            fields: Fields::parse(self.released.as_deref()?)?,
            record: Record::decode(Lsn(self.lsn), &bytes).ok()?,
        })))
    }

    fn gap(&self) -> Option<Gap> {
        let data = self.event.data.as_ref()?;
        let reason = data.reason.as_deref()?;
        let reason = GapReason::ALL.into_iter().find(|known| known.as_str() == reason)?;
        Some(Gap { first: Lsn(data.first_lsn?), last: Lsn(data.last_lsn?), reason })
    }

    /// Writes what is left of it once a person dropped it.
    pub(super) fn write_dropped(&self, out: &mut BytesMut, said: &str) {
        let mut object = Object::open(out);
        object.display("refused_at", format_args!("{:.3}", self.refused_at));
        object.text("reason", &self.reason);
        object.text("detail", &self.detail);
        object.number("lsn", self.lsn);
        object.text("dropped", said);
        let mut event = object.object("event");
        event.text("id", &self.event.id);
        event.text("type", &self.event.kind);
        event.close();
        object.close();
        out.put_u8(b'\n');
    }
}

fn keep_line(path: &Path, line: &[u8]) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    if bytes > 0 && bytes + line.len() as u64 > REFUSALS_BYTES_MAX {
        let older = older_of(path);
        if std::fs::exists(&older)? {
            tracing::error!(path = %path.display(), "refusals are full: the older half is dropped");
        }
        std::fs::rename(path, &older)?;
    }
    append_durably(path, line, 0o600)
}
