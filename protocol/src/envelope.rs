//! The envelope: fixed for ever, readable without knowing the body.
//!
//! ```text
//!  0        1      2                                     varints, little end first (LEB128)
//! +--------+------+-------------------------------+ +---------+-----+--------------+ +----------+------+ +---------+-----+
//! | version| class| flags                         | | boot id | seq | device time  | | body len | body | | algorithm| tag |
//! +--------+------+-------------------------------+ +---------+-----+--------------+ +----------+------+ +---------+-----+
//!                   bits 0-1 mode  2-3 clock  4 tag follows  5-7 zero, ignored                           only if bit 4 is set
//! ```
//!
//! **Version and class never move, and every decoder reads every version's head**: so an alarm from newer firmware is an
//! alarm even where its body is not understood.

use crate::{
    code::{AuthAlgorithm, Class},
    identity::{BootId, ClockQuality, Mode, Seq},
    limits::{BODY_BYTES_MAX, FRAME_BYTES_MAX, TAG_BYTES_MAX},
    wire::{DecodeError, EncodeError, Reader, Writer},
};

/// The version this crate writes.
pub const VERSION: u8 = 1;

const MODE_MASK: u8 = 0b0000_0011;
const CLOCK_SHIFT: u8 = 2;
const TAG_FLAG: u8 = 0b0001_0000;

/// What every frame says about itself, whatever its body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Head {
    /// Version of the body tables the sender used; 1 or more.
    pub version: u8,
    /// What the body is.
    pub class: Class,
    /// Real duty, exercise or test.
    pub mode: Mode,
    /// How far `time_ms` can be believed.
    pub clock: ClockQuality,
    /// The device's start.
    pub boot: BootId,
    /// The record within that start.
    pub seq: Seq,
    /// Device time of the reading, milliseconds of Unix time; milliseconds since start if `clock` is unset.
    pub time_ms: u64,
}

/// Proof of origin for when TLS ends at somebody else's broker. Over mutual TLS to the gateway it is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trailer<'a> {
    /// How the tag was made.
    pub algorithm: AuthAlgorithm,
    /// The tag over every byte of the frame before it, the algorithm id included; 1 to 64 bytes.
    pub tag: &'a [u8],
}

/// One frame: an MQTT payload, and the unit of custody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Envelope<'a> {
    /// What the frame says about itself.
    pub head: Head,
    /// The body's bytes, read by [`crate::Body::decode`].
    pub body: &'a [u8],
    /// Proof of origin, if the frame carries one.
    pub trailer: Option<Trailer<'a>>,
}

impl<'a> Envelope<'a> {
    /// Reads a frame. The whole slice must be one frame.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not an envelope of any version.
    pub fn decode(frame: &'a [u8]) -> Result<Self, DecodeError> {
        if frame.len() > FRAME_BYTES_MAX {
            return Err(DecodeError::TooLong);
        }
        let mut reader = Reader::new(frame);
        let (head, has_tag) = decode_head(&mut reader)?;
        let body_len: u32 = reader.value()?;
        if body_len as usize > BODY_BYTES_MAX {
            return Err(DecodeError::TooLong);
        }
        let body = reader.bytes(body_len as usize)?;
        let trailer = if has_tag { Some(decode_trailer(&mut reader)?) } else { None };
        if !reader.rest().is_empty() {
            return Err(DecodeError::TrailingBytes);
        }
        Ok(Self { head, body, trailer })
    }

    /// Writes the frame to the front of `buffer` and returns it. [`FRAME_BYTES_MAX`] bytes always suffice.
    ///
    /// # Errors
    /// [`EncodeError`] if the buffer is too small, or the body or tag over its limit.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let tag_len = self.trailer.map_or(1, |trailer| trailer.tag.len());
        if self.body.len() > BODY_BYTES_MAX || !(1..=TAG_BYTES_MAX).contains(&tag_len) {
            return Err(EncodeError::TooLong);
        }
        let mut writer = Writer::new(buffer);
        encode_head(&self.head, self.trailer.is_some(), &mut writer)?;
        writer.value(self.body)?;
        if let Some(trailer) = self.trailer {
            writer.value(&trailer.algorithm)?;
            writer.bytes(trailer.tag)?;
        }
        Ok(writer.finish())
    }
}

/// Says in a frame's flags that a tag follows. `None` if it is no envelope's head, or says so already.
pub(crate) fn mark_tagged(frame: &mut [u8]) -> Option<()> {
    let flags = frame.get_mut(2).filter(|flags| **flags & TAG_FLAG == 0)?;
    *flags |= TAG_FLAG;
    Some(())
}

fn encode_head(head: &Head, has_tag: bool, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    let tag_bit = if has_tag { TAG_FLAG } else { 0 };
    let flags = head.mode as u8 | (head.clock as u8) << CLOCK_SHIFT | tag_bit;
    writer.value(&(head.version, head.class, flags, head.boot, head.seq, head.time_ms))
}

fn decode_head(reader: &mut Reader<'_>) -> Result<(Head, bool), DecodeError> {
    let (version, class, flags, boot, seq, time_ms): (u8, Class, u8, BootId, Seq, u64) = reader.value()?;
    if version == 0 {
        return Err(DecodeError::VersionZero);
    }
    let mode = Mode::from_bits(flags & MODE_MASK).ok_or(DecodeError::ModeMissing)?;
    let clock = ClockQuality::from_bits(flags >> CLOCK_SHIFT);
    let head = Head { version, class, mode, clock, boot, seq, time_ms };
    Ok((head, flags & TAG_FLAG != 0))
}

fn decode_trailer<'a>(reader: &mut Reader<'a>) -> Result<Trailer<'a>, DecodeError> {
    let algorithm = reader.value()?;
    let tag = reader.bytes(reader.rest().len())?;
    match tag.len() {
        0 => Err(DecodeError::Truncated),
        1..=TAG_BYTES_MAX => Ok(Trailer { algorithm, tag }),
        _ => Err(DecodeError::TooLong),
    }
}
