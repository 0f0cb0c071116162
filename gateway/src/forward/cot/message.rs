//! One Cursor-on-Target event as data, before it is XML or protobuf.
//!
//! Both encodings are made from this one type, so that a client sees the same whichever it has negotiated. Source: the
//! CoT base schema `Event.xsd` 2.0 and the protobuf files of the TAK protocol, version 1.

use fieldpost_protocol::Mode;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cot {
    /// The key of the record behind it, for the disclosure log; it is not sent.
    pub(crate) key: String,
    /// The key of the status that the battery is from, where that was not sent before; it is not sent either.
    pub(crate) battery_key: Option<String>,
    /// Whose it is: [`super::uid`].
    pub(crate) uid: String,
    /// The event's type.
    pub(crate) kind: Kind,
    /// Real duty, exercise or test: every text says so.
    pub(crate) mode: Mode,
    /// When it was so, Unix ms.
    pub(crate) at_ms: u64,
    /// Until when a client shows it as current, Unix ms.
    pub(crate) stale_ms: u64,
    /// How the place is known.
    pub(crate) how: How,
    /// Where; `None` if not known.
    pub(crate) point: Option<Point>,
    /// What people call it. Any text.
    pub(crate) callsign: String,
    /// Battery in percent.
    pub(crate) battery_pct: Option<u8>,
    /// Speed over ground in cm/s and course in 1/256 of a turn.
    pub(crate) track: Option<(u16, u8)>,
    /// The unit that an alert is about, and its type.
    pub(crate) about: Option<(String, Kind)>,
    /// In words. Any text; empty: none.
    pub(crate) remarks: String,
}

/// Types that we send. A type is a tree of letters; see domain tables of the CoT type list `CoTtypes.xml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A friendly law-enforcement officer on the ground.
    Officer,
    /// A friendly civilian law-enforcement vehicle on the ground.
    Vehicle,
    /// Emergency: "911".
    Emergency,
    /// Emergency: in contact.
    InContact,
    /// The end of an emergency.
    Cancel,
}

impl Kind {
    /// As in the event.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "a-f-G-U-U-L-C",
            Self::Vehicle => "a-f-G-E-V-C",
            Self::Emergency => "b-a-o-tbl",
            Self::InContact => "b-a-o-opn",
            Self::Cancel => "b-a-o-can",
        }
    }

    /// The `type` of the `emergency` element, as TAK clients write it.
    pub(crate) fn emergency(self) -> Option<&'static str> {
        match self {
            Self::Emergency => Some("911 Alert"),
            Self::InContact => Some("In Contact"),
            Self::Officer | Self::Vehicle | Self::Cancel => None,
        }
    }
}

/// How a place is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum How {
    /// By satellites.
    Gps,
    /// By a machine in another way.
    Machine,
    /// A person said so.
    Human,
}

impl How {
    /// As in the event.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Gps => "m-g",
            Self::Machine => "m",
            Self::Human => "h-e",
        }
    }

    /// As `geopointsrc`.
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::Gps => "GPS",
            Self::Machine => "???",
            Self::Human => "USER",
        }
    }
}

/// Where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    /// Micro-degrees, north positive.
    pub(crate) latitude_udeg: i32,
    /// Micro-degrees, east positive.
    pub(crate) longitude_udeg: i32,
    /// Radius in metres; `None` if not known.
    pub(crate) accuracy_m: Option<u8>,
}

/// What TAK writes for a height or an error that nobody knows, in metres.
pub(crate) const UNKNOWN_M: u32 = 9_999_999;

/// What stands before a callsign and a remark. Beside the uid it is all that tells an exercise from real duty: the attribute
/// `opex` of the schema would say it too, but FreeTAKServer 2.2.1 drops every event that has it.
pub(crate) fn prefix(mode: Mode) -> &'static str {
    match mode {
        Mode::Actual => "",
        Mode::Exercise => "EXERCISE ",
        Mode::Test => "TEST ",
    }
}
