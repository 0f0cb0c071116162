//! One-byte codes that outlive the code tables: a value nobody here knows yet stays a number and is passed on.

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($(#[$doc:meta])* $name:ident { $($(#[$item_doc:meta])* $item:ident = $value:literal => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[cfg_attr(feature = "defmt", derive(defmt::Format))]
        #[serde(transparent)]
        pub struct $name(pub u8);

        impl $name {
            $($(#[$item_doc])* pub const $item: Self = Self($value);)*

            /// Every code this version knows, in ascending order of definition.
            pub const KNOWN: &'static [Self] = &[$(Self::$item),*];

            /// The code's name, or `None` if this version does not know it.
            #[must_use]
            pub fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

codes! {
    /// What a frame's body is. `0x10..=0x1F` is the alarm family: **an unknown class in it is still an alarm.**
    Class {
        /// One position.
        POSITION = 0x01 => "position",
        /// Many positions, delta-coded; never stored as such: the gateway unpacks it.
        POSITION_BATCH = 0x02 => "position-batch",
        /// The device's own state.
        STATUS = 0x03 => "status",
        /// A sensor changed.
        SENSOR_EVENT = 0x04 => "sensor-event",
        /// Which sequences the device dropped, and why.
        LOSS = 0x07 => "loss",
        /// Opt-in health of the wearer, on its own topic.
        HEALTH = 0x08 => "health",
        /// The device has a receipt for its alarm.
        HEARD = 0x09 => "receipt-heard",
        /// The wearer needs help.
        ALARM = 0x10 => "alarm",
        /// The wearer takes an alarm back. It marks the alarm; it never removes it.
        ALARM_CANCEL = 0x11 => "alarm-cancel",
    }
}

impl Class {
    /// Whether the class belongs to the alarm family, known or not.
    #[must_use]
    pub fn is_alarm_family(self) -> bool {
        self.0 & 0xF0 == 0x10
    }
}

codes! {
    /// Algorithm of an authentication trailer, for when TLS ends at somebody else's broker.
    AuthAlgorithm {
        /// HMAC-SHA-256 cut to 16 bytes (RFC 2104, RFC 4868 section 2.3).
        HMAC_SHA256_128 = 1 => "hmac-sha256-128",
        /// Ed25519 (RFC 8032).
        ED25519 = 2 => "ed25519",
        /// ECDSA on P-256 with SHA-256, r and s concatenated (FIPS 186-5).
        ECDSA_P256_SHA256 = 3 => "ecdsa-p256-sha256",
    }
}

codes! {
    /// Where a position comes from.
    FixSource {
        /// Satellite fix.
        GNSS = 0 => "gnss",
        /// Satellite fix with differential or RTK corrections.
        GNSS_AUGMENTED = 1 => "gnss-augmented",
        /// Dead reckoning from the last fix.
        DEAD_RECKONING = 2 => "dead-reckoning",
        /// Mobile network or Wi-Fi.
        NETWORK = 3 => "network",
        /// Entered by hand.
        MANUAL = 4 => "manual",
    }
}

codes! {
    /// Why a position was reported. Values are those of the TETRA Location Information Protocol's reason for sending.
    ReportReason {
        /// Subscriber unit powered on.
        POWERED_ON = 0 => "powered-on",
        /// Subscriber unit powered off.
        POWERED_OFF = 1 => "powered-off",
        /// Emergency condition.
        EMERGENCY = 2 => "emergency",
        /// Push to talk.
        PUSH_TO_TALK = 3 => "push-to-talk",
        /// Status changed.
        STATUS = 4 => "status",
        /// Entered service.
        ENTERED_SERVICE = 9 => "entered-service",
        /// Lost service.
        LOST_SERVICE = 10 => "lost-service",
        /// Low battery.
        LOW_BATTERY = 12 => "low-battery",
        /// Arrived.
        ARRIVED = 16 => "arrived",
        /// Lost the satellite fix.
        LOST_FIX = 21 => "lost-fix",
        /// Regained the satellite fix.
        REGAINED_FIX = 22 => "regained-fix",
        /// Answer to a report-now command.
        REQUESTED = 32 => "requested",
        /// The longest reporting interval passed.
        INTERVAL = 129 => "interval",
        /// The longest reporting distance was covered.
        DISTANCE = 130 => "distance",
    }
}

codes! {
    /// What the officer is doing. Values are the status codes in use on the present UK radio network.
    Duty {
        /// Emergency.
        EMERGENCY = 0 => "emergency",
        /// On duty.
        ON_DUTY = 1 => "on-duty",
        /// Available.
        AVAILABLE = 2 => "available",
        /// At the station.
        AT_STATION = 3 => "at-station",
        /// On a break: no coordinate leaves the device.
        REFRESHMENTS = 4 => "refreshments",
        /// On the way to an incident.
        EN_ROUTE = 5 => "en-route",
        /// At the scene.
        AT_SCENE = 6 => "at-scene",
        /// Committed, can be redeployed.
        COMMITTED_DEPLOYABLE = 7 => "committed-deployable",
        /// Committed, cannot be redeployed.
        COMMITTED = 8 => "committed",
        /// With a prisoner.
        PRISONER = 9 => "prisoner",
        /// Off duty: no coordinate leaves the device.
        OFF_DUTY = 11 => "off-duty",
    }
}

impl Duty {
    /// The duty gate: off duty or on a break no coordinate leaves the device.
    #[must_use]
    pub fn permits_position(self) -> bool {
        self != Self::OFF_DUTY && self != Self::REFRESHMENTS
    }
}

codes! {
    /// How the device is powered.
    Power {
        /// On battery.
        BATTERY = 0 => "battery",
        /// On battery, being charged.
        CHARGING = 1 => "charging",
        /// In its dock.
        DOCKED = 2 => "docked",
        /// From the vehicle.
        VEHICLE = 3 => "vehicle",
    }
}

codes! {
    /// Why the device last started.
    ResetReason {
        /// Not known.
        UNKNOWN = 0 => "unknown",
        /// Power applied.
        POWER_ON = 1 => "power-on",
        /// Supply voltage fell.
        BROWN_OUT = 2 => "brown-out",
        /// The watchdog fired.
        WATCHDOG = 3 => "watchdog",
        /// The firmware asked for it.
        SOFTWARE = 4 => "software",
        /// A fault or a panic.
        FAULT = 5 => "fault",
        /// Memory ran out.
        OUT_OF_MEMORY = 6 => "out-of-memory",
        /// A firmware update.
        UPDATE = 7 => "update",
    }
}

codes! {
    /// What a sensor reported. `value` of the event is 0 unless a unit is given here.
    EventCode {
        /// Firearm or CED left its holster.
        UNHOLSTERED = 1 => "unholstered",
        /// Weapon back in its holster.
        HOLSTERED = 2 => "holstered",
        /// Conducted energy device armed.
        CED_ARMED = 10 => "ced-armed",
        /// Conducted energy device made safe.
        CED_SAFE = 11 => "ced-safe",
        /// Conducted energy device trigger pulled; value: cartridges left.
        CED_TRIGGER = 12 => "ced-trigger",
        /// Conducted energy device arc displayed.
        CED_ARC = 13 => "ced-arc",
        /// Conducted energy device function test. Never raises an alarm.
        CED_TEST = 14 => "ced-test",
        /// Conducted energy device in training use. Never raises an alarm.
        CED_TRAINING = 15 => "ced-training",
        /// Camera off.
        CAMERA_OFF = 20 => "camera-off",
        /// Camera buffering, not recording.
        CAMERA_BUFFERING = 21 => "camera-buffering",
        /// Camera recording.
        CAMERA_RECORDING = 22 => "camera-recording",
        /// Blue lights; value: 0 off, 1 on.
        BLUE_LIGHTS = 30 => "blue-lights",
        /// Siren; value: 0 off, 1 on.
        SIREN = 31 => "siren",
        /// Doors; value: bit per open door, bit 0 the driver's.
        DOORS = 32 => "doors",
        /// Ignition; value: 0 off, 1 on.
        IGNITION = 33 => "ignition",
        /// Impact; value: change of velocity in cm/s.
        CRASH = 34 => "crash",
        /// Rollover; value: roll in degrees.
        ROLLOVER = 35 => "rollover",
        /// The device's case was opened.
        CASE_OPEN = 40 => "case-open",
        /// No satellite fix for a minute on duty; value: 1 the receiver is mute, 2 it sends garbage, 3 it has no fix.
        GNSS_SILENT = 50 => "gnss-silent",
        /// Satellite fixes are back.
        GNSS_BACK = 51 => "gnss-back",
        /// A fix too far away to be true was held back; value: distance in m, 65535 that or more.
        GNSS_JUMP = 52 => "gnss-jump",
        /// A sensor keeps failing; index: 0 temperature, 1 inputs, 2 accelerometer, 3 real-time clock, 4 battery gauge; value: 1 no answer, 2 bus, 3 another part, 4 impossible value, 5 stopped.
        SENSOR_FAILED = 60 => "sensor-failed",
        /// The sensor of that index works again.
        SENSOR_BACK = 61 => "sensor-back",
    }
}

codes! {
    /// What raised an alarm.
    AlarmCause {
        /// Not stated.
        UNKNOWN = 0 => "unknown",
        /// Emergency button.
        BUTTON = 1 => "button",
        /// Officer down: tilt and no motion, not cancelled in time.
        OFFICER_DOWN = 2 => "officer-down",
        /// Conducted energy device fired.
        CED = 3 => "ced",
        /// Weapon drawn, then a fall.
        WEAPON_AND_FALL = 4 => "weapon-and-fall",
        /// Vehicle crash or rollover.
        CRASH = 5 => "crash",
        /// A check-in was missed.
        CHECK_IN = 6 => "check-in",
        /// The device was tampered with.
        TAMPER = 7 => "tamper",
    }
}

codes! {
    /// Why an alarm was taken back.
    CancelReason {
        /// The wearer cancelled it.
        WEARER = 1 => "wearer",
        /// The wearer cancelled it during the pre-alarm that was already on its way.
        PRE_ALARM = 2 => "pre-alarm",
    }
}

codes! {
    /// Why a device dropped records.
    LossReason {
        /// The outbox was full and the lane gave way to a higher one.
        EVICTED = 1 => "evicted",
        /// Older than the policy keeps.
        EXPIRED = 2 => "expired",
        /// Storage returned damaged bytes.
        DAMAGED = 3 => "damaged",
        /// Storage was formatted.
        FORMATTED = 4 => "formatted",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_class_of_the_alarm_family_is_still_an_alarm() {
        assert!(Class(0x1F).is_alarm_family());
        assert_eq!(Class(0x1F).name(), None);
        assert!(!Class::POSITION.is_alarm_family());
        assert!(!Class(0x20).is_alarm_family());
    }

    #[test]
    fn off_duty_and_on_a_break_no_position_is_permitted() {
        for duty in Duty::KNOWN {
            let gated = matches!(*duty, Duty::OFF_DUTY | Duty::REFRESHMENTS);
            assert_eq!(duty.permits_position(), !gated);
        }
    }
}
