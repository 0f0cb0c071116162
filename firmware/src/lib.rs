//! # The device logic of Fieldpost
//!
//! ```text
//!  sensor -> clock -> sampler / rules -> outbox (storage) -> uplink
//! ```
//!
//! The same code runs on a board, on the emulated target and in the simulator. **Time, randomness, storage and the network
//! come from the caller**: nothing here waits, allocates or speaks to hardware, so the same stimuli and seed give the same
//! frame bytes in every body.
//!
//! Start at [`Device`].
#![no_std]

#[cfg(test)]
extern crate std;

pub mod clock;
pub mod device;
pub mod outbox;
pub mod rules;
pub mod sampler;
pub mod sensor;
pub mod settings;
pub mod slot;
pub mod storage;
#[cfg(feature = "trace")]
pub mod trace;
pub mod uplink;

pub use clock::{Clock, ClockPolicy, Judgement, Stamp, TimeSource};
pub use device::{Device, DeviceCounters, Input, Notice, Output};
pub use outbox::{FrameBuffer, Handle, Ledger, OutboxCounters, StartError};
pub use rules::{AlarmId, Posture, RuleSettings};
pub use sampler::Profile;
pub use sensor::{
    Fault, Sensor,
    accelerometer::Sample,
    inputs::Inputs,
    motion::{Motion, MotionSettings},
    nmea::{Fix, NmeaCounters, Reject},
    panel::PanelSettings,
};
pub use settings::{GatePolicy, Peer, Settings};
pub use storage::{CounterState, FlashMap, FlashReport, FlashStorage, RamStorage, Storage, StorageError};
pub use uplink::{HangUp, Random, UplinkCounters, UplinkSettings};
