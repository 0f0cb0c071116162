//! The front door's decoders for the fuzz targets in `fuzz`: what is private to the gateway, with its claims.

use super::codec::Version;
use super::codec::claims;

/// Any bytes as what a client sends: the first byte chooses the version, the second the announced packet size.
///
/// # Panics
/// If a claim of the codec does not hold.
pub fn mqtt_stream(bytes: &[u8]) {
    let [choice, size, stream @ ..] = bytes else { return };
    let version = if choice & 1 == 0 { Version::V3 } else { Version::V5 };
    let packet_bytes_max = 16 << (size % 8);
    claims::any_stream(version, stream, packet_bytes_max);
    claims::any_varint(stream);
}
