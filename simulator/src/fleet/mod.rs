//! # The fleet: virtual devices that are the real device logic
//!
//! **A simulated device is `fieldpost_firmware::Device` with RAM for storage, the world for sensors and its own MQTT 5
//! connection over mutual TLS for a radio.** Nothing about sampling, storing, resending or backing off is written twice.
//!
//! ```text
//! world::Unit -> Device (firmware) -> connection (rumqttc, rustls) -> front door
//!                   ^ STORED, SEEN, commands <------'
//! ```

pub mod connection;
pub mod enrol;
pub mod tls;
