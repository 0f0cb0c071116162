//! Topics: a device publishes its own four lanes and hears its own downlink. No force name: a topic tells an onlooker nothing.
//!
//! A lane has a long name, `fp1/{device}/{lane}`, and a short one of a single letter. They mean the same where the
//! connection has named the device already: every PUBLISH may then do without twenty bytes that say nothing new, and all
//! lanes' packets have the same overhead.

use core::fmt::Write;

use crate::{
    identity::{DeviceId, IdError},
    limits::TOPIC_BYTES_MAX,
};

/// The first level: protocol name and major version.
pub const PREFIX: &str = "fp1/";

/// Which queue a record travels in, most urgent first. **Alarm overtakes live, live overtakes backlog, on every hop.**
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Lane {
    /// Alarms and their cancellations.
    Alarm,
    /// What is true now.
    Live,
    /// What was true while nobody could hear it.
    Backlog,
    /// Opt-in health, apart because it is sensitive.
    Health,
}

impl Lane {
    /// The last level of the topic.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Alarm => "alarm",
            Self::Live => "live",
            Self::Backlog => "backlog",
            Self::Health => "health",
        }
    }
}

/// The short name of a lane, for a connection that has named the device by its certificate.
#[must_use]
pub const fn short(lane: Lane) -> &'static str {
    match lane {
        Lane::Alarm => "a",
        Lane::Live => "l",
        Lane::Backlog => "b",
        Lane::Health => "h",
    }
}

/// A topic is not one that a device may publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum TopicError {
    /// Not `fp1/{device}/{lane}`.
    Shape,
    /// The device level is not an identity.
    Device,
    /// No such lane.
    Lane,
}

impl From<IdError> for TopicError {
    fn from(_: IdError) -> Self {
        Self::Device
    }
}

impl core::fmt::Display for TopicError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Shape => "a topic is fp1/{device}/{lane}",
            Self::Device => "the device level is not an identity",
            Self::Lane => "the lane is alarm, live, backlog or health",
        })
    }
}

impl core::error::Error for TopicError {}

/// A topic as text.
pub type Topic = heapless::String<TOPIC_BYTES_MAX>;

/// The topic a device publishes a lane on.
#[must_use]
pub fn uplink(device: &DeviceId, lane: Lane) -> Topic {
    build(device, lane.as_str())
}

/// The only topic a device may subscribe.
#[must_use]
pub fn downlink(device: &DeviceId) -> Topic {
    build(device, "down")
}

fn build(device: &DeviceId, last: &str) -> Topic {
    let mut topic = Topic::new();
    write!(topic, "{PREFIX}{device}/{last}")
        .expect("prefix, identity and the longest level fit: TOPIC_BYTES_MAX");
    topic
}

/// The lane that `device` means by a topic, long or short.
///
/// # Errors
/// [`TopicError`]; [`TopicError::Device`] if it is another device's.
pub fn lane_of(topic: &str, device: &str) -> Result<Lane, TopicError> {
    match topic {
        "a" => Ok(Lane::Alarm),
        "l" => Ok(Lane::Live),
        "b" => Ok(Lane::Backlog),
        "h" => Ok(Lane::Health),
        long => match parse_uplink(long)? {
            (named, lane) if named == device => Ok(lane),
            _ => Err(TopicError::Device),
        },
    }
}

/// Splits a long topic into the device level and the lane.
///
/// # Errors
/// [`TopicError`] if it is not a topic that some device may publish.
pub fn parse_uplink(topic: &str) -> Result<(&str, Lane), TopicError> {
    let rest = topic.strip_prefix(PREFIX).ok_or(TopicError::Shape)?;
    let (device, lane) = rest.split_once('/').ok_or(TopicError::Shape)?;
    let lane = match lane {
        "alarm" => Lane::Alarm,
        "live" => Lane::Live,
        "backlog" => Lane::Backlog,
        "health" => Lane::Health,
        _ => return Err(TopicError::Lane),
    };
    Ok((device, lane))
}

/// The device level of a downlink topic, if it is one.
#[must_use]
pub fn downlink_of(topic: &str) -> Option<&str> {
    topic.strip_prefix(PREFIX)?.strip_suffix("/down").filter(|device| !device.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_parses_back_and_the_longest_fits() {
        let device = DeviceId::try_new(&"x".repeat(64)).expect("64 characters are an identity");
        for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
            let topic = uplink(&device, lane);
            assert_eq!(parse_uplink(&topic), Ok((device.as_str(), lane)));
        }
        assert_eq!(downlink_of(&downlink(&device)), Some(device.as_str()));
        assert_eq!(downlink_of("fp1/a/b/down"), None);
    }

    #[test]
    fn a_lane_is_meant_by_its_long_and_by_its_short_name() {
        let device = DeviceId::try_new("unit-7").expect("an identity");
        for lane in [Lane::Alarm, Lane::Live, Lane::Backlog, Lane::Health] {
            assert_eq!(lane_of(&uplink(&device, lane), "unit-7"), Ok(lane));
            assert_eq!(lane_of(&uplink(&device, lane), "unit-8"), Err(TopicError::Device));
            assert_eq!(lane_of(short(lane), "unit-7"), Ok(lane));
            assert_eq!(short(lane).len(), 1, "all lanes look alike");
        }
        assert_eq!(lane_of("d", "unit-7"), Err(TopicError::Shape));
        assert_eq!(lane_of("", "unit-7"), Err(TopicError::Shape));
    }

    #[test]
    fn what_is_not_an_uplink_topic_is_refused() {
        assert_eq!(parse_uplink("fp2/a/live"), Err(TopicError::Shape));
        assert_eq!(parse_uplink("fp1/live"), Err(TopicError::Shape));
        assert_eq!(parse_uplink("fp1/a/down"), Err(TopicError::Lane));
        assert_eq!(parse_uplink("fp1/a/live/x"), Err(TopicError::Lane));
    }
}
