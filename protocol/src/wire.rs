//! Reading and writing postcard values in a caller's buffer, with errors that name whose fault it is.

use serde::{Serialize, de::DeserializeOwned};

/// Why a frame was not understood. Always the sender's fault; the gateway keeps such a frame in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum DecodeError {
    /// The bytes end before the value does.
    Truncated,
    /// The frame is longer than [`crate::limits::FRAME_BYTES_MAX`] or the body than its limit.
    TooLong,
    /// Version 0 does not exist.
    VersionZero,
    /// The two mode bits are 0: the frame says neither actual, exercise nor test.
    ModeMissing,
    /// Bytes follow the body although the flags announce no authentication trailer.
    TrailingBytes,
    /// A value is outside its range (latitude, longitude, speed, count, identity).
    OutOfRange,
    /// The bytes are not a value of the expected type.
    Malformed,
}

/// Why a frame could not be built. Always the caller's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum EncodeError {
    /// The buffer is shorter than the frame.
    BufferTooSmall,
    /// The body, tag or item count is over its limit in [`crate::limits`].
    TooLong,
    /// The items of a batch are empty, or not in ascending sequence.
    NotABatch,
}

impl core::fmt::Display for DecodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the bytes end before the value does",
            Self::TooLong => "longer than the limit",
            Self::VersionZero => "version 0 does not exist",
            Self::ModeMissing => "neither actual, exercise nor test",
            Self::TrailingBytes => "bytes follow the body",
            Self::OutOfRange => "a value is outside its range",
            Self::Malformed => "not a value of this class",
        })
    }
}

impl core::fmt::Display for EncodeError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::BufferTooSmall => "the buffer is shorter than the frame",
            Self::TooLong => "over a limit of the protocol",
            Self::NotABatch => "a batch needs items in ascending sequence",
        })
    }
}

impl core::error::Error for DecodeError {}
impl core::error::Error for EncodeError {}

/// Appends values to a caller's buffer.
pub(crate) struct Writer<'b> {
    buffer: &'b mut [u8],
    used: usize,
}

impl<'b> Writer<'b> {
    pub(crate) fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, used: 0 }
    }

    pub(crate) fn used(&self) -> usize {
        self.used
    }

    pub(crate) fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), EncodeError> {
        let written = postcard::to_slice(value, &mut self.buffer[self.used..])
            .map_err(|_| EncodeError::BufferTooSmall)?
            .len();
        self.used += written;
        Ok(())
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.buffer
            .get_mut(self.used..self.used + bytes.len())
            .ok_or(EncodeError::BufferTooSmall)?
            .copy_from_slice(bytes);
        self.used += bytes.len();
        Ok(())
    }

    pub(crate) fn finish(self) -> &'b [u8] {
        &self.buffer[..self.used]
    }
}

/// Takes values from the front of a slice.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn value<T: DeserializeOwned>(&mut self) -> Result<T, DecodeError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(|error| match error {
            postcard::Error::DeserializeUnexpectedEnd => DecodeError::Truncated,
            _ => DecodeError::Malformed,
        })?;
        self.rest = rest;
        Ok(value)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(DecodeError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }
}
