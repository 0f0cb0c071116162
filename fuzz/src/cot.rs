//! Cursor on Target as TAK parties send it; the claims stand beside the reader in the gateway.

use fieldpost_gateway::forward::fuzz_door;

use crate::allocation;

/// Per byte: an event of forty bytes is read, written again in both encodings and read twice.
const BYTES_PER_BYTE: usize = 1024;

/// Any stream of a TAK party.
pub fn check(bytes: &[u8]) {
    allocation::at_most((1 << 20) + bytes.len() * BYTES_PER_BYTE, || fuzz_door::tak_stream(bytes));
}
