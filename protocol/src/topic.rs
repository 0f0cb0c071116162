//! Topics: a device publishes its own four lanes and hears its own downlink. No force name: a topic tells an onlooker nothing.

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

/// Splits a topic into the device level and the lane.
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
        assert!(downlink(&device).ends_with("/down"));
    }

    #[test]
    fn what_is_not_an_uplink_topic_is_refused() {
        assert_eq!(parse_uplink("fp2/a/live"), Err(TopicError::Shape));
        assert_eq!(parse_uplink("fp1/live"), Err(TopicError::Shape));
        assert_eq!(parse_uplink("fp1/a/down"), Err(TopicError::Lane));
        assert_eq!(parse_uplink("fp1/a/live/x"), Err(TopicError::Lane));
    }
}
