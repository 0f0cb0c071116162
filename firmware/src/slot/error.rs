//! Why a slot cannot be used, and what to do about it.

use core::fmt;

/// A slot cannot be used. The text says what to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotError {
    /// Erased: nothing was ever written, or a renewal was cut off after its erase.
    Empty,
    /// It does not begin with the magic number.
    NotASlot,
    /// A good slot of another version.
    Version(u16),
    /// It is longer than the slot or the buffer.
    TooLong {
        /// Bytes of the body, as far as known.
        length: usize,
    },
    /// The CRC does not match: damaged, or cut off while it was written.
    Corrupt,
    /// The CRC is good and the body is not one.
    Malformed,
    /// The device id is not an identity.
    Device,
    /// No such profile.
    Profile(u8),
    /// The replay profile in mode actual: a recording is never real duty.
    ActualReplay,
    /// No such mode.
    Mode(u8),
    /// No such gate policy.
    Gate(u8),
    /// The gateway has no name, no host or port 0.
    Gateway,
    /// No device certificate.
    NoCertificate,
    /// The certificate is another device's.
    ForeignCertificate,
    /// No private key.
    NoKey,
    /// The private key is not the certificate's.
    ForeignKey,
    /// No authority to verify the gateway by.
    NoAuthority,
    /// The envelope key is not an uncompressed point.
    EnvelopeKey,
    /// Behind a broker, and the certificate names no force: the key is of a device of a force.
    NoForce,
}

impl fmt::Display for SlotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => {
                f.write_str("the slot is empty: enrol the device, then write what `fieldpost-sim slot` makes")
            }
            Self::NotASlot => {
                f.write_str("this is no provisioning slot: check the address it was written to")
            }
            Self::Version(version) => {
                write!(
                    f,
                    "the slot has version {version}, this firmware reads {} and {}: write it anew",
                    super::VERSION,
                    super::VERSION_BROKER
                )
            }
            Self::TooLong { length } => {
                write!(f, "a body of {length} bytes does not fit: fewer or smaller certificates")
            }
            Self::Corrupt => {
                f.write_str("the slot's CRC does not match: it is damaged or cut off, write it again")
            }
            Self::Malformed => f.write_str("the slot's body cannot be read: write it anew"),
            Self::Device => f.write_str("the slot's device id is no identity: 1 to 64 of A-Z a-z 0-9 . _ -"),
            Self::Profile(profile) => {
                write!(f, "the slot's profile is {profile}: 1 is body-worn, 2 vehicle, 3 replay")
            }
            Self::ActualReplay => {
                f.write_str("a recording is never real duty: profile replay takes mode exercise or test")
            }
            Self::Mode(mode) => write!(f, "the slot's mode is {mode}: 1 is actual, 2 exercise, 3 test"),
            Self::Gate(gate) => {
                write!(f, "the slot's gate policy is {gate}: 0 is closed, 1 an emergency opens it")
            }
            Self::Gateway => f.write_str("the gateway needs a name, a host of 1 to 253 bytes and a port"),
            Self::NoCertificate => f.write_str("the slot has no device certificate: issue one"),
            Self::ForeignCertificate => {
                f.write_str("the certificate is not this device's: take the files issued for its id")
            }
            Self::NoKey => {
                f.write_str("the slot has no private key: take the .key file issued with the certificate")
            }
            Self::ForeignKey => {
                f.write_str("the private key is not the certificate's: take the two files issued together")
            }
            Self::NoAuthority => {
                f.write_str("the slot names no authority: add the ca.pem that signs the gateway")
            }
            Self::EnvelopeKey => f.write_str(
                "the slot's envelope key is no P-256 point: take the .pub file of `fieldpost pki envelope-key`",
            ),
            Self::NoForce => {
                f.write_str("the certificate names no force, which a device behind a broker needs: issue it again")
            }
        }
    }
}

impl core::error::Error for SlotError {}

/// Neither slot can be used: the device has no name and must not connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SlotsError {
    /// What is wrong with slot A.
    pub a: SlotError,
    /// What is wrong with slot B.
    pub b: SlotError,
}

impl fmt::Display for SlotsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no provisioning slot can be used. A: {}. B: {}", self.a, self.b)
    }
}

impl core::error::Error for SlotsError {}
