//! Cuts the bytes of a connection into events.
//!
//! As XML an event ends with the first `</event>` (`protocol.txt` of the TAK protocol, "Traditional Protocol"); as
//! protobuf it is the byte 0xBF, its length as a varint, and so many bytes. **At most one event of
//! [`EVENT_BYTES_MAX`] bytes is held**; each byte is looked at a bounded number of times however it arrives.

use bytes::{Buf as _, Bytes, BytesMut};

use super::parse::{EVENT_BYTES_MAX, Refused};

/// Begins every protobuf frame.
pub(crate) const MAGIC: u8 = 0xbf;
const END: &[u8] = b"</event>";
/// A length of [`EVENT_BYTES_MAX`] has three.
const VARINT_BYTES_MAX: usize = 4;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Protocol {
    /// Version 0.
    #[default]
    Xml,
    /// Version 1.
    Protobuf,
}

/// Bytes of a connection that are not an event yet.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    buffer: BytesMut,
    /// No `</event>` begins before here.
    searched: usize,
    /// What the next byte is.
    pub(crate) protocol: Protocol,
}

impl Splitter {
    /// Of a connection that speaks `protocol` from its first byte on.
    #[cfg(any(test, feature = "fuzz-doors"))]
    pub(crate) fn speaking(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }

    /// Takes what has arrived.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next event: XML with what stands before it, or the payload of a frame.
    ///
    /// # Errors
    /// [`Refused::TooLarge`], or [`Refused::Malformed`] if it is no frame. The connection is of no use any more.
    pub(crate) fn next(&mut self) -> Result<Option<Bytes>, Refused> {
        match self.protocol {
            Protocol::Xml => self.next_xml(),
            Protocol::Protobuf => self.next_frame(),
        }
    }

    fn next_xml(&mut self) -> Result<Option<Bytes>, Refused> {
        let unsearched = &self.buffer[self.searched..];
        let found = unsearched.windows(END.len()).position(|window| window == END);
        let Some(found) = found else {
            self.searched = self.buffer.len().saturating_sub(END.len() - 1);
            let is_too_large = self.buffer.len() > EVENT_BYTES_MAX;
            return if is_too_large { Err(Refused::TooLarge) } else { Ok(None) };
        };
        let end = self.searched + found + END.len();
        self.searched = 0;
        let event = self.buffer.split_to(end).freeze();
        if event.len() > EVENT_BYTES_MAX { Err(Refused::TooLarge) } else { Ok(Some(event)) }
    }

    fn next_frame(&mut self) -> Result<Option<Bytes>, Refused> {
        let Some((&magic, rest)) = self.buffer.split_first() else { return Ok(None) };
        if magic != MAGIC {
            return Err(Refused::Malformed);
        }
        let mut length = 0_usize;
        for (count, byte) in rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            length |= usize::from(byte & 0x7f) << (7 * count);
            if byte & 0x80 == 0 {
                return self.cut_frame(count + 2, length);
            }
        }
        if rest.len() < VARINT_BYTES_MAX { Ok(None) } else { Err(Refused::TooLarge) }
    }

    fn cut_frame(&mut self, header_bytes: usize, length: usize) -> Result<Option<Bytes>, Refused> {
        if length > EVENT_BYTES_MAX {
            return Err(Refused::TooLarge);
        }
        if self.buffer.len() < header_bytes + length {
            return Ok(None);
        }
        self.buffer.advance(header_bytes);
        Ok(Some(self.buffer.split_to(length).freeze()))
    }
}
