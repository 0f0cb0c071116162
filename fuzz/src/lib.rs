//! # What no input may do
//!
//! One module per decoder that meets the outside, each with `check(bytes)`: it panics if a claim does not hold for these
//! bytes. The programs in `bin/` hand it to libFuzzer, which looks for such bytes; `corpus/` is where it starts, and
//! `regressions/` holds every input that once broke a claim. `cargo xtask fuzz` builds and runs them all.
//!
//! | target | code | beyond "no panic" |
//! |---|---|---|
//! | `envelope` | envelope, bodies | what decodes encodes and decodes to the same; nothing allocated |
//! | `batch` | position batch | items ascend, lie on the globe, fit again; all or quarantine |
//! | `downlink` | receipts, commands, time | what decodes encodes and decodes to the same |
//! | `topic` | topics, identities | what parses is built the same |
//! | `nmea` | receiver sentences | a fix lies on the globe; one outcome a sentence; nothing allocated |
//! | `mqtt` | MQTT 3.1.1 and 5 | agrees with a second decoder; write and read again; bounded allocation |
//! | `segment` | a damaged spool segment | no wrong record; only damaged ones lost, and told |
//! | `configuration` | the gateway's TOML, the roster | every refusal names a mistake; bounded allocation |
//! | `device_mqtt` | MQTT 5 as the device reads it | a publish is answered once; nothing allocated |
//! | `device_tls` | the device's TLS stream | no stream from a changed handshake; hears what was said; bounded memory |
//! | `cot` | Cursor on Target, XML and protobuf | however it comes the same events; what is kept is bounded, and one event when we say it |
//! | `certificates` | certificates, revocation lists | an identity reads back from its own URI; bounded allocation |

pub mod allocation;
pub mod batch;
pub mod certificates;
pub mod configuration;
pub mod cot;
pub mod damage;
pub mod device_mqtt;
pub mod device_tls;
pub mod downlink;
pub mod envelope;
pub mod mqtt;
pub mod nmea;
pub mod segment;
pub mod topic;

/// Called once by every target: wakes the planted mistakes if the run is to find them.
pub fn start() {
    if std::env::var_os("FIELDPOST_PLANTED_BUGS").is_some() {
        fieldpost_protocol::planted::wake();
    }
}
