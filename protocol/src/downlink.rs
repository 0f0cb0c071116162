//! Gateway to device: receipts, commands that expire, time.
//!
//! ```text
//! version u8 | kind u8 | body len varint | body
//! ```
//!
//! The same rules as upward: the frame is fixed, bodies grow at their end, an unknown kind is skipped.
//!
//! Through a broker every frame is wrapped into another, of the kind `sealed`: a whole frame, algorithm id, tag
//! ([`crate::auth`]). A device without a key skips it as it skips every kind it does not know.

use serde::{Deserialize, Serialize};

use crate::{
    body::SeqRange,
    code::Duty,
    identity::{BootId, Seq},
    limits::{DOWNLINK_BYTES_MAX, PROVEN_RECORDS_MAX, SEQ_RANGES_MAX, TEXT_BYTES_MAX},
    print::Print,
    wire::{DecodeError, EncodeError, Reader, Writer},
};

const VERSION: u8 = 1;
const RECEIPTS: u8 = 1;
const COMMAND: u8 = 2;
const TIME: u8 = 3;
const SEALED: u8 = 4;
const PROVEN: u8 = 5;

/// How far a record has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Receipt {
    /// Committed in the gateway: the device may erase it. The PUBACK says the same on a direct connection.
    Stored,
    /// A force system accepted it.
    Delivered,
    /// A person acknowledged it: an alarm.
    Seen,
}

/// Receipts of one kind for records of one boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Receipts {
    /// Which step.
    pub receipt: Receipt,
    /// Boot id of the records.
    pub boot: BootId,
    /// Their sequences, ascending.
    pub ranges: heapless::Vec<SeqRange, SEQ_RANGES_MAX>,
}

/// A receipt that names what the records said, so that it cannot be taken for one of others under the same identities: of an
/// earlier life of a device that was wiped and counts its starts from the beginning. The only receipt that is heard behind
/// a broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Proven {
    /// Which step.
    pub receipt: Receipt,
    /// Boot id of the records.
    pub boot: BootId,
    /// The records.
    pub records: heapless::Vec<NamedRecord, PROVEN_RECORDS_MAX>,
}

/// One record of a boot, by number and by content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct NamedRecord {
    /// Its sequence.
    pub seq: Seq,
    /// What it said.
    pub print: Print,
}

/// What a device is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Action {
    /// Report position and status now, with reason `requested`.
    ReportNow,
    /// Report a position every so many seconds; 0 returns to the profile's own intervals.
    Interval {
        /// Seconds, 0 to 3600.
        seconds: u16,
    },
    /// Take up a duty state.
    Duty(Duty),
    /// Show a text to the wearer.
    Show(heapless::String<TEXT_BYTES_MAX>),
    /// Expect a sign of life from the wearer every so many seconds, and raise an alarm without one; 0 ends it. Going off
    /// duty ends it too.
    CheckIn {
        /// Seconds.
        seconds: u16,
    },
}

/// An order with an end: after `expires_at_ms` it is not carried out, and said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Command {
    /// Names the command; a repeated id is carried out once.
    pub id: u32,
    /// Unix time in ms.
    pub expires_at_ms: u64,
    /// What to do.
    pub action: Action,
}

/// One downlink message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Downlink {
    /// Records came a step further.
    Receipts(Receipts),
    /// The same of records that are named by their content too.
    Proven(Proven),
    /// Do something.
    Command(Command),
    /// The gateway's Unix time in ms, for a device whose clock is not set.
    Time {
        /// Unix time in ms.
        unix_ms: u64,
    },
    /// A kind that this version does not know; skip it.
    Unknown(u8),
}

impl Downlink {
    /// Reads one frame. A sealed one is [`Downlink::Unknown`] here: it takes a key.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not a downlink frame. The device ignores such a frame and counts it.
    pub fn decode(frame: &[u8]) -> Result<Self, DecodeError> {
        let (kind, body) = split(frame)?;
        let mut body = Reader::new(body);
        Ok(match kind {
            RECEIPTS => Self::Receipts(body.value()?),
            PROVEN => Self::Proven(body.value()?),
            COMMAND => Self::Command(body.value()?),
            TIME => Self::Time { unix_ms: body.value()? },
            other => Self::Unknown(other),
        })
    }

    /// The body of a sealed frame; `None` if it is of another kind.
    pub(crate) fn sealed(frame: &[u8]) -> Result<Option<&[u8]>, DecodeError> {
        split(frame).map(|(kind, body)| (kind == SEALED).then_some(body))
    }

    /// Writes a sealed frame with this body to the front of `buffer`.
    pub(crate) fn encode_sealed<'b>(body: &[u8], buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let mut writer = Writer::new(buffer);
        writer.value(&(VERSION, SEALED))?;
        writer.value(body)?;
        if writer.used() > DOWNLINK_BYTES_MAX {
            return Err(EncodeError::TooLong);
        }
        Ok(writer.finish())
    }

    /// Writes the frame to the front of `buffer` and returns it. [`DOWNLINK_BYTES_MAX`] bytes always suffice.
    ///
    /// # Errors
    /// [`EncodeError::BufferTooSmall`]; [`EncodeError::TooLong`] for [`Downlink::Unknown`], which cannot be sent.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let mut body = [0; DOWNLINK_BYTES_MAX];
        let mut body_writer = Writer::new(&mut body);
        let kind = match self {
            Self::Receipts(receipts) => body_writer.value(receipts).map(|()| RECEIPTS)?,
            Self::Proven(proven) => body_writer.value(proven).map(|()| PROVEN)?,
            Self::Command(command) => body_writer.value(command).map(|()| COMMAND)?,
            Self::Time { unix_ms } => body_writer.value(unix_ms).map(|()| TIME)?,
            Self::Unknown(_) => return Err(EncodeError::TooLong),
        };
        let mut writer = Writer::new(buffer);
        writer.value(&(VERSION, kind))?;
        writer.value(body_writer.finish())?;
        Ok(writer.finish())
    }
}

/// Kind and body of a frame.
fn split(frame: &[u8]) -> Result<(u8, &[u8]), DecodeError> {
    if frame.len() > DOWNLINK_BYTES_MAX {
        return Err(DecodeError::TooLong);
    }
    let mut reader = Reader::new(frame);
    let (version, kind, body_len): (u8, u8, u32) = reader.value()?;
    if version == 0 {
        return Err(DecodeError::VersionZero);
    }
    let body = reader.bytes(body_len as usize)?;
    if reader.rest().is_empty() { Ok((kind, body)) } else { Err(DecodeError::TrailingBytes) }
}
