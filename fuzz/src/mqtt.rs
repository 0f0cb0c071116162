//! MQTT 3.1.1 and 5 as the front door reads them; the claims stand beside the codec in the gateway.

use fieldpost_gateway::ingest::fuzz_door;

use crate::allocation;

/// Per byte of input: a property of two bytes becomes 80 in the library's reading of it, and every packet is read twice.
const BYTES_PER_BYTE: usize = 512;

/// Any stream of a client.
pub fn check(bytes: &[u8]) {
    allocation::at_most(4096 + bytes.len() * BYTES_PER_BYTE, || fuzz_door::mqtt_stream(bytes));
}
