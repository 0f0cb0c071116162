//! The board's flash from the outside: what a factory writes, and what goes wrong with it.
//!
//! The board is off while these work: its flash is a file ([`crate::qemu::BoardPlan::flash`]).

use std::{fs::OpenOptions, ops::Range, os::unix::fs::FileExt as _, path::Path};

use fieldpost_firmware::{
    GatePolicy, Profile, RuleSettings,
    slot::{self, ENVELOPE_KEY_BYTES, GatewayAddress, IMAGE_BYTES_MAX, PrivateKey, Provision},
};
use fieldpost_protocol::{DeviceId, Mode};

use crate::{
    Failure,
    gateway::{Enrolled, GATEWAY_NAME},
};

/// Flash erases by this much.
pub const SECTOR_BYTES: u32 = 4096;

/// What a slot says beside the certificates.
#[derive(Debug, Clone)]
pub struct SlotPlan {
    /// What the device is worn by.
    pub profile: Profile,
    /// What its records speak of.
    pub mode: Mode,
    /// The name that the gateway's certificate must carry.
    pub gateway_name: String,
    /// Where the gateway is, as the board sees it.
    pub gateway_port: u16,
    /// How patient the alarm rules are.
    pub rules: RuleSettings,
    /// The gateways' public envelope key, if the board dials a broker.
    pub envelope_key: Option<[u8; ENVELOPE_KEY_BYTES]>,
}

/// The host, as QEMU's user network shows it to the board.
const HOST: [u8; 4] = [10, 0, 2, 2];

impl SlotPlan {
    /// A body-worn device in test mode whose gateway listens on `gateway_port` of this machine.
    #[must_use]
    pub fn body_worn(gateway_port: u16) -> Self {
        Self {
            profile: Profile::BodyWorn,
            mode: Mode::Test,
            gateway_name: GATEWAY_NAME.to_owned(),
            gateway_port,
            rules: RuleSettings::DEFAULT,
            envelope_key: None,
        }
    }

    /// The image of the slot for an enrolled device.
    ///
    /// # Errors
    /// [`Failure`] if the slot would not be valid.
    pub fn encode(&self, enrolled: &Enrolled) -> Result<Vec<u8>, Failure> {
        let device = DeviceId::try_new(&enrolled.device).map_err(|error| Failure::child("slot", error))?;
        let too_many = |_| Failure::child("slot", "has no room for so many certificates");
        let provision = Provision {
            generation: 1,
            device,
            profile: self.profile,
            mode: self.mode,
            gate: GatePolicy::Closed,
            gateway_name: &self.gateway_name,
            gateway_address: GatewayAddress::Ipv4(HOST),
            gateway_port: self.gateway_port,
            chain: enrolled
                .chain
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>()
                .as_slice()
                .try_into()
                .map_err(too_many)?,
            private_key: PrivateKey::from_pkcs8_der(&enrolled.key),
            authorities: enrolled
                .authorities
                .iter()
                .map(Vec::as_slice)
                .collect::<Vec<_>>()
                .as_slice()
                .try_into()
                .map_err(too_many)?,
            rules: self.rules,
            envelope_key: self.envelope_key.as_ref(),
        };
        let mut buffer = [0; IMAGE_BYTES_MAX];
        let image = slot::encode(&provision, &mut buffer).map_err(|error| Failure::child("slot", error))?;
        Ok(image.to_vec())
    }
}

/// Writes bytes at an address, as a programmer on a bench does: without erasing first.
///
/// # Errors
/// [`Failure::Io`].
pub fn write(flash: &Path, address: u32, bytes: &[u8]) -> Result<(), Failure> {
    let file = OpenOptions::new().write(true).open(flash).map_err(Failure::at("open", flash))?;
    file.write_all_at(bytes, address.into()).map_err(Failure::at("write", flash))
}

/// Copies a part of the flash to another place in it.
///
/// # Errors
/// [`Failure::Io`].
pub fn copy(flash: &Path, from: u32, to: u32, length: usize) -> Result<(), Failure> {
    let file = OpenOptions::new().read(true).open(flash).map_err(Failure::at("open", flash))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, from.into()).map_err(Failure::at("read", flash))?;
    write(flash, to, &bytes)
}

/// Fills a range with zeros: what a failed supply leaves of a sector.
///
/// # Errors
/// [`Failure::Io`].
pub fn zero(flash: &Path, range: Range<u32>) -> Result<(), Failure> {
    write(flash, range.start, &vec![0; range.len()])
}

/// Turns one bit over.
///
/// # Errors
/// [`Failure::Io`].
pub fn flip(flash: &Path, address: u32, bit: u8) -> Result<(), Failure> {
    let file = OpenOptions::new().read(true).write(true).open(flash).map_err(Failure::at("open", flash))?;
    let mut byte = [0];
    file.read_exact_at(&mut byte, address.into()).map_err(Failure::at("read", flash))?;
    byte[0] ^= 1 << bit;
    file.write_all_at(&byte, address.into()).map_err(Failure::at("write", flash))
}
