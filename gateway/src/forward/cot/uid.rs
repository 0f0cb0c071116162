//! Who an event is about, in TAK's words.
//!
//! **A unit has one uid for ever, and another one while it only practises**: `fieldpost.met.pc-0001`,
//! `fieldpost.test.met.pc-0001`. So test data can never move, or end the alert of, an officer on duty. A dot inside an
//! identity is written `%2E`, so no two units share a uid.

use fieldpost_protocol::Mode;

use crate::live::unit::UnitId;

/// Behind a unit's uid, the uid of its alert: TAK clients write it so.
pub(crate) const ALERT: &str = "-9-1-1";

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

/// The uid of a unit's alert.
pub(crate) fn of_alert(unit: &UnitId, mode: Mode) -> String {
    of(unit, mode) + ALERT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_units_share_a_uid_whatever_their_force_is_called() {
        let unit = |text: &str| text.parse::<UnitId>().unwrap();
        assert_eq!(of(&unit("met/pc-0001"), Mode::Actual), "fieldpost.met.pc-0001");
        assert_eq!(of_alert(&unit("met/pc-0001"), Mode::Test), "fieldpost.test.met.pc-0001-9-1-1");
        let units = ["a.b/c", "a/b.c", "test/a", "a/test.a", "met/a", "test/met.a", "exercise/a"];
        let mut uids: Vec<_> = units
            .iter()
            .flat_map(|text| [Mode::Actual, Mode::Exercise, Mode::Test].map(|mode| of(&unit(text), mode)))
            .collect();
        uids.sort();
        uids.dedup();
        assert_eq!(uids.len(), units.len() * 3);
    }
}
