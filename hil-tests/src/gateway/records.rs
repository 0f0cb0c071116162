//! What is committed, straight from the spool: `fieldpost spool export`, while the gateway runs or not.

use std::collections::BTreeMap;

use fieldpost_protocol::{Body, Class, Envelope, Position};
use serde_json::Value;

use super::Gateway;
use crate::Failure;

/// One committed record.
#[derive(Clone, PartialEq, Eq)]
pub struct Record {
    /// Place in the spool: the order of commits.
    pub lsn: u64,
    /// Device.
    pub device: String,
    /// Boot id and sequence.
    pub id: (u32, u32),
    /// `alarm`, `live`, `backlog` or `health`.
    pub lane: String,
    /// `envelope`, `quarantine` or `acknowledged`.
    pub kind: String,
    /// The frame, or what the gateway keeps instead.
    pub payload: Vec<u8>,
}

/// Every committed record, in the order of commits.
#[derive(Clone, Default)]
pub struct Records(pub Vec<Record>);

impl Gateway {
    /// Every committed record.
    ///
    /// # Errors
    /// [`Failure`], also if the spool is damaged.
    pub fn records(&self) -> Result<Records, Failure> {
        let text = self.command(&["spool", "export", "-c", &self.config().display().to_string()])?;
        let records: Option<Vec<Record>> = text.lines().map(parse).collect();
        let records =
            records.ok_or_else(|| Failure::child("gateway", "exported a record that does not read"))?;
        Ok(Records(records))
    }
}

impl Gateway {
    /// The gateway's own account of a device: sequences in each state, by the state's name.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn account(&self, device: &str) -> Result<BTreeMap<String, u64>, Failure> {
        let config = self.config().display().to_string();
        let text = self.command(&["ledger", "-c", &config, "--device", device, "--json"])?;
        let view: Value = serde_json::from_str(&text).map_err(|error| Failure::child("gateway", error))?;
        let counts = view["accounts"][0]["counts"].as_object();
        let counts =
            counts.ok_or_else(|| Failure::child("gateway", format!("has no account of {device}: {text}")))?;
        Ok(counts.iter().filter_map(|(state, count)| Some((state.clone(), count.as_u64()?))).collect())
    }
}

impl Records {
    /// What devices sent and the gateway understood as an envelope.
    pub fn envelopes(&self) -> impl Iterator<Item = &Record> {
        self.0.iter().filter(|record| record.kind == "envelope")
    }

    /// How often each (boot id, sequence) of a device is committed. More than once is a broken promise.
    #[must_use]
    pub fn ids(&self, device: &str) -> BTreeMap<(u32, u32), usize> {
        let mut ids = BTreeMap::new();
        for record in self.envelopes().filter(|record| record.device == device) {
            *ids.entry(record.id).or_insert(0) += 1;
        }
        ids
    }

    /// Positions, in the order of commits: device time in Unix ms, and the place.
    #[must_use]
    pub fn positions(&self, device: &str) -> Vec<(u64, Position)> {
        let of_device = self.envelopes().filter(|record| record.device == device);
        of_device.filter_map(Record::position).collect()
    }
}

impl Record {
    /// The class of its envelope.
    #[must_use]
    pub fn class(&self) -> Option<Class> {
        Envelope::decode(&self.payload).ok().map(|envelope| envelope.head.class)
    }

    /// Device time and place, if it is a position.
    #[must_use]
    pub fn position(&self) -> Option<(u64, Position)> {
        let envelope = Envelope::decode(&self.payload).ok()?;
        match Body::decode(&envelope.head, envelope.body) {
            Ok(Body::Position(position)) => Some((envelope.head.time_ms, position)),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Record {
    /// Without its payload: positions are not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lsn, device, id, lane, kind, .. } = self;
        write!(f, "{lsn}: {device} {id:?} {lane} {kind} class {:?}", self.class())
    }
}

fn parse(line: &str) -> Option<Record> {
    let value: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| value.get(name)?.as_str().map(str::to_owned);
    let payload = text("payload")?;
    let bytes =
        payload.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let payload = bytes.collect::<Option<Vec<u8>>>()?;
    let head = Envelope::decode(&payload).ok().map(|envelope| envelope.head);
    Some(Record {
        lsn: value.get("lsn")?.as_u64()?,
        device: text("device")?,
        // What is no envelope has no identity of a device's making.
        id: head.map_or((u32::MAX, u32::MAX), |head| (head.boot.0, head.seq.0)),
        lane: text("lane")?,
        kind: text("kind")?,
        payload,
    })
}
