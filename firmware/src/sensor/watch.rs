//! Which sensors keep failing. **One bad read is a glitch; three in a row are a failing sensor**, said once, and once more
//! when it is back.

use super::{Fault, Sensor};

/// Failed reads in a row before a sensor counts as failing.
const FAILURES_MIN: u8 = 3;

/// A sensor's state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Failing(Fault),
    Back,
}

/// Failed reads in a row, by sensor.
#[derive(Debug, Clone, Default)]
pub(crate) struct SensorWatch {
    failures: [u8; Sensor::ALL.len()],
}

impl SensorWatch {
    /// A read ended.
    pub(crate) fn on_read(&mut self, sensor: Sensor, outcome: Result<(), Fault>) -> Option<Change> {
        let failures = &mut self.failures[sensor as usize];
        match outcome {
            Ok(()) => {
                let was_failing = core::mem::take(failures) >= FAILURES_MIN;
                was_failing.then_some(Change::Back)
            }
            Err(fault) => {
                let before = *failures;
                *failures = before.saturating_add(1).min(FAILURES_MIN);
                (before + 1 == FAILURES_MIN).then_some(Change::Failing(fault))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sensor_is_said_to_fail_once_and_to_be_back_once() {
        let mut watch = SensorWatch::default();
        let mut read = |outcome| watch.on_read(Sensor::Inputs, outcome);
        assert_eq!(read(Err(Fault::Bus)), None);
        assert_eq!(read(Ok(())), None, "a glitch");
        assert_eq!(read(Err(Fault::Bus)), None);
        assert_eq!(read(Err(Fault::Bus)), None);
        assert_eq!(read(Err(Fault::NoAnswer)), Some(Change::Failing(Fault::NoAnswer)));
        for _ in 0..1000 {
            assert_eq!(read(Err(Fault::NoAnswer)), None);
        }
        assert_eq!(read(Ok(())), Some(Change::Back));
        assert_eq!(read(Ok(())), None);
    }
}
