//! Header, CRC and body.

use super::{
    HEADER_BYTES, IMAGE_BYTES_MAX, MAGIC, Provision, SlotError, VERSION, VERSION_BROKER, wire,
    wire::{Behind, Wire},
};
use crate::storage::crc32;

/// Bytes 0 to 4 magic, to 6 version, to 8 length, to 12 CRC.
struct Header {
    version: u16,
    length: u16,
    crc: u32,
}

/// Reads a slot image; bytes after its end are ignored. The result borrows from it.
///
/// # Errors
/// [`SlotError`]; each says what to do.
pub fn decode(image: &[u8]) -> Result<Provision<'_>, SlotError> {
    let (header, body) = open(image)?;
    if crc(header.version, header.length, body) != header.crc {
        return Err(SlotError::Corrupt);
    }
    let (wire, rest) = postcard::take_from_bytes::<Wire<'_>>(body).map_err(|_| SlotError::Malformed)?;
    let behind: Option<Behind<'_>> = match header.version {
        VERSION => None,
        _ => Some(postcard::from_bytes(rest).map_err(|_| SlotError::Malformed)?),
    };
    wire.into_provision(behind)
}

/// Writes a slot image into `buffer` and returns the part used.
///
/// # Errors
/// [`SlotError::TooLong`] if it does not fit buffer or slot, or the fault that [`decode`] would find.
pub fn encode<'b>(provision: &Provision<'_>, buffer: &'b mut [u8]) -> Result<&'b [u8], SlotError> {
    wire::check(provision)?;
    let wire = Wire::from_provision(provision)?;
    let usable = buffer.len().min(IMAGE_BYTES_MAX);
    let too_long = SlotError::TooLong { length: usize::from(u16::MAX) };
    let (header, rest) = buffer[..usable].split_at_mut_checked(HEADER_BYTES).ok_or(too_long)?;
    let (version, length) = match provision.envelope_key {
        None => (VERSION, postcard::to_slice(&wire, rest).map_err(|_| too_long)?.len()),
        Some(key) => {
            let whole: (_, Behind<'_>) = (&wire, key);
            (VERSION_BROKER, postcard::to_slice(&whole, rest).map_err(|_| too_long)?.len())
        }
    };
    let length_field = u16::try_from(length).map_err(|_| too_long)?;
    header[..4].copy_from_slice(&MAGIC);
    header[4..6].copy_from_slice(&version.to_le_bytes());
    header[6..8].copy_from_slice(&length_field.to_le_bytes());
    let crc = crc(version, length_field, &rest[..length]);
    header[8..].copy_from_slice(&crc.to_le_bytes());
    Ok(&buffer[..HEADER_BYTES + length])
}

fn open(image: &[u8]) -> Result<(Header, &[u8]), SlotError> {
    let (header, rest) = image.split_at_checked(HEADER_BYTES).ok_or(SlotError::TooLong { length: 0 })?;
    if header.iter().all(|byte| *byte == 0xFF) {
        return Err(SlotError::Empty);
    }
    let [m0, m1, m2, m3, v0, v1, l0, l1, c0, c1, c2, c3] = *header else { return Err(SlotError::NotASlot) };
    if [m0, m1, m2, m3] != MAGIC {
        return Err(SlotError::NotASlot);
    }
    let header = Header {
        version: u16::from_le_bytes([v0, v1]),
        length: u16::from_le_bytes([l0, l1]),
        crc: u32::from_le_bytes([c0, c1, c2, c3]),
    };
    let length = usize::from(header.length);
    let body = rest.get(..length).ok_or(SlotError::TooLong { length })?;
    // A header of another version is only believed if its CRC is good: else it is damage.
    let is_known = matches!(header.version, VERSION | VERSION_BROKER);
    if !is_known && crc(header.version, header.length, body) == header.crc {
        return Err(SlotError::Version(header.version));
    }
    Ok((header, body))
}

fn crc(version: u16, length: u16, body: &[u8]) -> u32 {
    crc32(&[&version.to_le_bytes(), &length.to_le_bytes(), body])
}
