//! What a device is told about itself before it starts.

use fieldpost_protocol::{Duty, EnvelopeKey, Mode, ResetReason};

use crate::{
    clock::ClockPolicy,
    rules::RuleSettings,
    sampler::Profile,
    sensor::{motion::MotionSettings, panel::PanelSettings},
    uplink::UplinkSettings,
};

/// Whether an emergency opens the duty gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum GatePolicy {
    /// Off duty or on a break no coordinate leaves, not even with an alarm.
    Closed,
    /// While an emergency lasts, coordinates leave in every duty state. A force decides this; it is never the default.
    EmergencyOpens,
}

/// Who is at the other end of the connection, and so what says STORED.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Peer {
    /// The gateway: a PUBACK is STORED, and TLS says who speaks.
    Gateway,
    /// A broker that is not the gateway's: every frame carries a tag, only sealed frames are heard, and STORED is a receipt.
    Broker(EnvelopeKey),
}

/// Everything that is fixed for the life of a [`crate::Device`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Settings {
    /// What its records speak of; at most as real as its enrolment.
    pub mode: Mode,
    /// Which fixes become readings.
    pub profile: Profile,
    /// Duty state at the very first start; later ones begin with the duty that the storage's note remembers. A device that
    /// does not know is off duty and reports no position.
    pub duty: Duty,
    /// Which times are possible.
    pub clock: ClockPolicy,
    /// Whether an emergency opens the duty gate.
    pub gate: GatePolicy,
    /// How patient the alarm rules are.
    pub rules: RuleSettings,
    /// How the accelerometer sits.
    pub motion: MotionSettings,
    /// Which buttons and switches there are.
    pub panel: PanelSettings,
    /// Windows, deadlines and backoff.
    pub uplink: UplinkSettings,
    /// Who is at the other end.
    pub peer: Peer,
    /// Firmware version: major, minor, patch.
    pub firmware: [u8; 3],
    /// Why the device started.
    pub reset_reason: ResetReason,
}

impl Settings {
    /// A device on an officer's chest. It starts off duty: call `on_duty`.
    #[must_use]
    pub fn body_worn(mode: Mode) -> Self {
        Self {
            mode,
            profile: Profile::BodyWorn,
            duty: Duty::OFF_DUTY,
            clock: ClockPolicy::DEVICE,
            gate: GatePolicy::Closed,
            rules: RuleSettings::DEFAULT,
            motion: MotionSettings::BODY_WORN,
            panel: PanelSettings::DEFAULT,
            uplink: UplinkSettings::DEFAULT,
            peer: Peer::Gateway,
            firmware: [0, 1, 0],
            reset_reason: ResetReason::POWER_ON,
        }
    }

    /// A device in a vehicle. It starts off duty: call `on_duty`.
    #[must_use]
    pub fn vehicle(mode: Mode) -> Self {
        Self { profile: Profile::Vehicle, motion: MotionSettings::VEHICLE, ..Self::body_worn(mode) }
    }

    /// The same device behind a broker. What has no receipt is sent again after a minute: a broker may lose what it took.
    #[must_use]
    pub fn behind_broker(self, key: EnvelopeKey) -> Self {
        let uplink = UplinkSettings { answer_ms_max: 60_000, ..self.uplink };
        Self { peer: Peer::Broker(key), uplink, ..self }
    }

    /// A recorded receiver log: on duty, and every fix is reported with the recording's own time.
    #[must_use]
    pub fn replay(mode: Mode) -> Self {
        Self {
            profile: Profile::Every,
            duty: Duty::ON_DUTY,
            clock: ClockPolicy::REPLAY,
            ..Self::body_worn(mode)
        }
    }
}
