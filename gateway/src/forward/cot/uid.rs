//! Who an event is about, in TAK's words.
//!
//! **A unit has one uid for ever, and another one while it only practises**: `fieldpost.met.pc-0001`,
//! `fieldpost.test.met.pc-0001`. So test data can never move, or end the alert of, an officer on duty. A dot inside an
//! identity is written `%2E`, so no two units share a uid. **Every alarm has an alert of its own**, named after its record.

use fieldpost_protocol::Mode;

use crate::alarms::AlarmId;
use crate::live::unit::UnitId;

/// What the uid of an alert ends with: TAK clients write it so.
const ALERT: &str = "-9-1-1";

/// The uid of a unit.
pub(crate) fn of(unit: &UnitId, mode: Mode) -> String {
    let mode = match mode {
        Mode::Actual => "",
        Mode::Exercise => "exercise.",
        Mode::Test => "test.",
    };
    let [force, device] = [unit.force.as_str(), unit.device.as_str()].map(|id| id.replace('.', "%2E"));
    // A force called `test` must not be taken for another force's tests.
    let force = if matches!(force.as_str(), "test" | "exercise") { format!("%{force}") } else { force };
    format!("fieldpost.{mode}{force}.{device}")
}

/// The uid of an alarm's alert.
pub(crate) fn of_alert(alarm: &AlarmId, mode: Mode) -> String {
    let repeat = alarm.repeat.map(|repeat| format!("~{repeat}")).unwrap_or_default();
    format!("{}.{}.{}{repeat}{ALERT}", of(&alarm.unit, mode), alarm.boot.0, alarm.seq.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_units_share_a_uid_whatever_their_force_is_called() {
        let unit = |text: &str| text.parse::<UnitId>().unwrap();
        assert_eq!(of(&unit("met/pc-0001"), Mode::Actual), "fieldpost.met.pc-0001");
        let units = ["a.b/c", "a/b.c", "test/a", "a/test.a", "met/a", "test/met.a", "exercise/a"];
        let mut uids: Vec<_> = units
            .iter()
            .flat_map(|text| [Mode::Actual, Mode::Exercise, Mode::Test].map(|mode| of(&unit(text), mode)))
            .collect();
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), units.len() * 3);
    }

    #[test]
    fn no_two_alarms_of_a_unit_share_an_alert() {
        let of_alarm = |text: &str| of_alert(&text.parse().unwrap(), Mode::Test);
        assert_eq!(of_alarm("met/pc-0001/3/7"), "fieldpost.test.met.pc-0001.3.7-9-1-1");
        assert_eq!(of_alarm("met/pc-0001/3/7~0000abcd"), "fieldpost.test.met.pc-0001.3.7~0000abcd-9-1-1");
    }
}
