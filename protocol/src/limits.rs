//! Every bound of the wire, in one place; each is asserted against the others at compile time.
//!
//! Sizes are in bytes unless the name says otherwise.

/// Longest device or force identity, in ASCII characters `[A-Za-z0-9._-]`.
pub const ID_CHARS_MAX: usize = 64;

/// Version, class and flags (3), boot id and sequence (5 each, varint), device time (10, varint).
pub const HEAD_BYTES_MAX: usize = 3 + 5 + 5 + 10;

/// Longest body of any class. 1 KiB holds the largest batch, so a device needs one such buffer.
pub const BODY_BYTES_MAX: usize = 1024;

/// Longest authentication tag: an Ed25519 or P-256 signature.
pub const TAG_BYTES_MAX: usize = 64;

/// Longest frame: head, body length (2, varint), body, algorithm id, tag.
pub const FRAME_BYTES_MAX: usize = HEAD_BYTES_MAX + 2 + BODY_BYTES_MAX + 1 + TAG_BYTES_MAX;

/// Longest body of a lone position.
pub const POSITION_BYTES_MAX: usize = 16;

/// Most items in one position batch.
pub const BATCH_ITEMS_MAX: usize = 32;

/// Longest coded item after the first: control 1, sequence step 5, time step 5, latitude 5, longitude 5, speed 3,
/// course 1, accuracy, reason and source 3.
pub const BATCH_ITEM_BYTES_MAX: usize = 1 + 5 + 5 + 5 + 5 + 3 + 1 + 3;

/// Fastest speed a position can state: 163.83 m/s, the largest value of a two-byte varint.
pub const SPEED_CMPS_MAX: u16 = 0x3FFF;

/// Most sequence ranges in one loss record or receipt.
pub const SEQ_RANGES_MAX: usize = 16;

/// Most records in one proven receipt.
pub const PROVEN_RECORDS_MAX: usize = 24;

/// Longest text a command may show on the device, in UTF-8 bytes.
pub const TEXT_BYTES_MAX: usize = 64;

/// Longest downlink frame.
pub const DOWNLINK_BYTES_MAX: usize = 256;

/// Longest topic: `fp1/` + identity + `/backlog`.
pub const TOPIC_BYTES_MAX: usize = 4 + ID_CHARS_MAX + 8;

/// The Maximum Packet Size that the gateway announces: the longest frame with its topic, MQTT header and properties.
pub const MQTT_PACKET_BYTES_MAX: usize = 2048;

/// Size goals for whole frames, checked by `tests/sizes.rs` (a position is measured as its body).
pub const STATUS_FRAME_BYTES_GOAL: usize = 32;
/// See [`STATUS_FRAME_BYTES_GOAL`].
pub const ALARM_FRAME_BYTES_GOAL: usize = 40;
/// What a device of ours makes of both, and of an alarm's cancellation: frames of exactly this length, so that an onlooker
/// cannot tell an officer in need from a device that says hello. Class, boot id, sequence and time of the longest head that
/// can occur before 2109 (3 + 5 + 5 + 6), the body's length (1) and the longest alarm (22).
pub const PADDED_FRAME_BYTES: usize = 19 + 1 + 22;
/// Bytes per position of a batch of thirty, the whole frame shared out.
pub const BATCH_POSITION_BYTES_GOAL: usize = 8;

const _: () = assert!(
    1 + POSITION_BYTES_MAX + (BATCH_ITEMS_MAX - 1) * BATCH_ITEM_BYTES_MAX <= BODY_BYTES_MAX,
    "the largest batch fits a body"
);
const _: () = assert!(
    FRAME_BYTES_MAX + TOPIC_BYTES_MAX + 64 <= MQTT_PACKET_BYTES_MAX,
    "the largest frame fits a packet with room for MQTT's own header and properties"
);
const _: () = assert!(BATCH_ITEMS_MAX <= u8::MAX as usize, "the count is one byte");
const _: () =
    assert!(SEQ_RANGES_MAX * 10 + 16 <= DOWNLINK_BYTES_MAX, "the longest receipt fits a downlink frame");
const _: () = assert!(
    PROVEN_RECORDS_MAX * 9 + 11 + 4 + 17 <= DOWNLINK_BYTES_MAX,
    "the longest proven receipt fits a downlink frame, and that one the frame it is sealed in"
);
