//! What a slot says.

use fieldpost_protocol::{DeviceId, ForceId, Mode};
use serde::{Deserialize, Serialize};

use super::{AUTHORITY_COUNT_MAX, CHAIN_COUNT_MAX, ENVELOPE_KEY_BYTES, wire};
use crate::{GatePolicy, Profile, RuleSettings, Settings};

/// What a device is told about itself. Made from what `fieldpost pki issue` wrote, by `fieldpost-sim slot`.
///
/// The force is not in it: the certificate says it ([`Provision::force`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provision<'a> {
    /// Counts renewals, from 1: the higher of two valid slots is in force.
    pub generation: u32,
    /// Equal to the certificate's and to the MQTT client id.
    pub device: DeviceId,
    /// What it is worn by; [`Profile::Every`] replays a recording and is never `actual`.
    pub profile: Profile,
    /// What its records speak of; at most as real as its certificate.
    pub mode: Mode,
    /// Whether an emergency opens the duty gate.
    pub gate: GatePolicy,
    /// The name that the gateway's certificate must carry, however it is dialled.
    pub gateway_name: &'a str,
    /// Where the gateway is dialled.
    pub gateway_address: GatewayAddress<'a>,
    /// TCP port.
    pub gateway_port: u16,
    /// The device's certificate chain, DER, its own first.
    pub chain: heapless::Vec<&'a [u8], CHAIN_COUNT_MAX>,
    /// The private key of the first certificate.
    pub private_key: PrivateKey<'a>,
    /// Certificates of the authorities that may sign the gateway's, DER.
    pub authorities: heapless::Vec<&'a [u8], AUTHORITY_COUNT_MAX>,
    /// How patient the alarm rules are.
    pub rules: RuleSettings,
    /// The gateways' public envelope key, if what is dialled is a broker: only what is sealed is then believed, and every envelope
    /// carries a tag. No secret: the device agrees on its own key with it.
    pub envelope_key: Option<&'a [u8; ENVELOPE_KEY_BYTES]>,
}

impl Provision<'_> {
    /// The force that its certificate names.
    #[must_use]
    pub fn force(&self) -> Option<ForceId> {
        let force = wire::force_of(self.chain.first()?, &self.device)?;
        ForceId::try_new(core::str::from_utf8(force).ok()?).ok()
    }

    /// The settings of this device; duty, firmware version, reset reason and, with an envelope key,
    /// [`Settings::behind_broker`] are the caller's to fill in.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let defaults = match self.profile {
            Profile::BodyWorn => Settings::body_worn(self.mode),
            Profile::Vehicle => Settings::vehicle(self.mode),
            Profile::Every => Settings::replay(self.mode),
        };
        Settings { gate: self.gate, rules: self.rules, ..defaults }
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for Provision<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(
            f,
            "Provision(generation {=u32}, device {=str}, {}, {}, gateway {=str})",
            self.generation,
            self.device.as_str(),
            self.mode,
            self.profile,
            self.gateway_name
        );
    }
}

/// Where the gateway is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GatewayAddress<'a> {
    /// At this IPv4 address.
    Ipv4([u8; 4]),
    /// At whatever address DNS gives for this host.
    Host(&'a str),
}

/// A private key, PKCS#8 DER. Prints as its length only.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PrivateKey<'a>(#[serde(borrow)] &'a [u8]);

impl<'a> PrivateKey<'a> {
    /// Takes PKCS#8 DER as it was issued.
    #[must_use]
    pub fn from_pkcs8_der(der: &'a [u8]) -> Self {
        Self(der)
    }

    /// The key itself: for the TLS provider, for nothing else.
    #[must_use]
    pub fn expose_pkcs8_der(&self) -> &'a [u8] {
        self.0
    }
}

impl core::fmt::Debug for PrivateKey<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "PrivateKey({} bytes, not shown)", self.0.len())
    }
}

#[cfg(feature = "defmt")]
impl defmt::Format for PrivateKey<'_> {
    fn format(&self, f: defmt::Formatter<'_>) {
        defmt::write!(f, "PrivateKey({=usize} bytes, not shown)", self.0.len());
    }
}
