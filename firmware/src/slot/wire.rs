//! The body as it lies in flash. **Append-only within a version**; names and enums are checked on the way in and out.

use fieldpost_protocol::{DeviceId, Mode};
use serde::{Deserialize, Serialize};

use super::{
    AUTHORITY_COUNT_MAX, CHAIN_COUNT_MAX, GATEWAY_NAME_BYTES_MAX, GatewayAddress, PrivateKey, Provision,
    SlotError,
    rules::{self, RuleValues},
};
use crate::{GatePolicy, Profile};

#[derive(Serialize, Deserialize)]
pub(super) struct Wire<'a> {
    pub(super) generation: u32,
    device: &'a str,
    profile: u8,
    mode: u8,
    gate: u8,
    gateway_name: &'a str,
    #[serde(borrow)]
    gateway_address: GatewayAddress<'a>,
    gateway_port: u16,
    #[serde(borrow)]
    chain: heapless::Vec<&'a [u8], CHAIN_COUNT_MAX>,
    #[serde(borrow)]
    private_key: PrivateKey<'a>,
    #[serde(borrow)]
    authorities: heapless::Vec<&'a [u8], AUTHORITY_COUNT_MAX>,
    rules: RuleValues,
}

/// What version 2 has behind the body of version 1: the envelope key.
pub(super) type Behind<'a> = &'a [u8];

impl<'a> Wire<'a> {
    pub(super) fn from_provision(provision: &'a Provision<'a>) -> Result<Self, SlotError> {
        let profile = match provision.profile {
            Profile::BodyWorn => 1,
            Profile::Vehicle => 2,
            Profile::Every => 3,
        };
        let gate = match provision.gate {
            GatePolicy::Closed => 0,
            GatePolicy::EmergencyOpens => 1,
        };
        Ok(Self {
            generation: provision.generation,
            device: provision.device.as_str(),
            profile,
            mode: provision.mode as u8,
            gate,
            gateway_name: provision.gateway_name,
            gateway_address: provision.gateway_address,
            gateway_port: provision.gateway_port,
            chain: provision.chain.clone(),
            private_key: provision.private_key,
            authorities: provision.authorities.clone(),
            rules: rules::values(&provision.rules),
        })
    }

    /// With what version 2 has behind it.
    pub(super) fn into_provision(self, behind: Option<Behind<'a>>) -> Result<Provision<'a>, SlotError> {
        let profile = match self.profile {
            1 => Profile::BodyWorn,
            2 => Profile::Vehicle,
            3 => Profile::Every,
            other => return Err(SlotError::Profile(other)),
        };
        let gate = match self.gate {
            0 => GatePolicy::Closed,
            1 => GatePolicy::EmergencyOpens,
            other => return Err(SlotError::Gate(other)),
        };
        let provision = Provision {
            generation: self.generation,
            device: DeviceId::try_new(self.device).map_err(|_| SlotError::Device)?,
            profile,
            mode: Mode::from_bits(self.mode).ok_or(SlotError::Mode(self.mode))?,
            gate,
            gateway_name: self.gateway_name,
            gateway_address: self.gateway_address,
            gateway_port: self.gateway_port,
            chain: self.chain,
            private_key: self.private_key,
            authorities: self.authorities,
            rules: rules::settings(&self.rules),
            envelope_key: behind.map(|key| key.try_into().map_err(|_| SlotError::EnvelopeKey)).transpose()?,
        };
        check(&provision)?;
        Ok(provision)
    }
}

/// What must hold of a slot beyond its types.
pub(super) fn check(provision: &Provision<'_>) -> Result<(), SlotError> {
    let is_name = |name: &str| (1..=GATEWAY_NAME_BYTES_MAX).contains(&name.len());
    let host_is_good = match provision.gateway_address {
        GatewayAddress::Host(host) => is_name(host),
        GatewayAddress::Ipv4(_) => true,
    };
    if !is_name(provision.gateway_name) || !host_is_good || provision.gateway_port == 0 {
        return Err(SlotError::Gateway);
    }
    if provision.profile == Profile::Every && provision.mode == Mode::Actual {
        return Err(SlotError::ActualReplay);
    }
    if provision.authorities.is_empty() {
        return Err(SlotError::NoAuthority);
    }
    let own = provision.chain.first().ok_or(SlotError::NoCertificate)?;
    if !names_device(own, &provision.device) {
        return Err(SlotError::ForeignCertificate);
    }
    let key = provision.private_key.expose_pkcs8_der();
    match public_point(key) {
        _ if key.is_empty() => Err(SlotError::NoKey),
        Some(point) if !contains(own, point) => Err(SlotError::ForeignKey),
        _ => check_broker(provision),
    }
}

/// Whether the point is on the curve is for who has the cryptography; a key of another kind is found out here.
fn check_broker(provision: &Provision<'_>) -> Result<(), SlotError> {
    const UNCOMPRESSED: u8 = 4;
    match provision.envelope_key {
        None => Ok(()),
        Some([UNCOMPRESSED, ..]) if provision.force().is_some() => Ok(()),
        Some([UNCOMPRESSED, ..]) => Err(SlotError::NoForce),
        Some(_) => Err(SlotError::EnvelopeKey),
    }
}

/// Whether the certificate is of this device. No proof (the gateway verifies it), but a mix-up of slots is found here and said
/// in words.
fn names_device(certificate: &[u8], wanted: &DeviceId) -> bool {
    force_of(certificate, wanted).is_some()
}

/// The force in the certificate's identity, `urn:fieldpost:device:FORCE:DEVICE:MODE`, if it is of this device.
pub(super) fn force_of<'c>(certificate: &'c [u8], wanted: &DeviceId) -> Option<&'c [u8]> {
    const URN: &[u8] = b"urn:fieldpost:device:";
    let places = certificate.windows(URN.len()).enumerate().filter(|(_, window)| *window == URN);
    let mut identities = places.filter_map(|(at, _)| {
        let mut parts = certificate[at + URN.len()..].split(|byte| *byte == b':');
        Some((parts.next()?, parts.next()?))
    });
    let (force, _) = identities.find(|(_, device)| *device == wanted.as_str().as_bytes())?;
    Some(force)
}

/// The uncompressed P-256 point that usually ends a PKCS#8 key, if it is there.
fn public_point(key: &[u8]) -> Option<&[u8]> {
    // RFC 5915: [1] { BIT STRING, 66 bytes, no unused bits, uncompressed point }.
    const BEFORE_POINT: [u8; 6] = [0xA1, 0x44, 0x03, 0x42, 0x00, 0x04];
    let at = key.windows(BEFORE_POINT.len()).position(|window| window == BEFORE_POINT)?;
    key.get(at + BEFORE_POINT.len()..at + BEFORE_POINT.len() + 64)
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
