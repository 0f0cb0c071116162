//! Rule settings as numbered values, so that a slot written today says what it means to the firmware of tomorrow.
//!
//! **A number is never reused.** One that this firmware does not know is ignored; a setting that is missing keeps the
//! firmware's own value. A new setting is a new line in [`values`] and in [`settings`].

use serde::{Deserialize, Serialize};

use crate::RuleSettings;

/// Rule settings a slot may carry.
pub(super) const RULE_COUNT_MAX: usize = 32;

const DOWN_MS_MIN: u8 = 1;
const PRE_ALARM_MS: u8 = 2;
const FALL_WINDOW_MS: u8 = 3;
const FALL_PRE_ALARM_MS: u8 = 4;
const CRASH_PRE_ALARM_MS: u8 = 5;
const CHECK_IN_PRE_ALARM_MS: u8 = 6;

/// One setting: its number, and its value in its own unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RuleValue {
    id: u8,
    value: u32,
}

pub(super) type RuleValues = heapless::Vec<RuleValue, RULE_COUNT_MAX>;

/// Every setting, so that a later firmware with other values of its own still does what was decided.
pub(super) fn values(rules: &RuleSettings) -> RuleValues {
    [
        (DOWN_MS_MIN, rules.down_ms_min),
        (PRE_ALARM_MS, rules.pre_alarm_ms),
        (FALL_WINDOW_MS, rules.fall_window_ms),
        (FALL_PRE_ALARM_MS, rules.fall_pre_alarm_ms),
        (CRASH_PRE_ALARM_MS, rules.crash_pre_alarm_ms),
        (CHECK_IN_PRE_ALARM_MS, rules.check_in_pre_alarm_ms),
    ]
    .into_iter()
    .map(|(id, value)| RuleValue { id, value })
    .collect()
}

/// The firmware's own settings with these values in them.
pub(super) fn settings(values: &RuleValues) -> RuleSettings {
    let mut rules = RuleSettings::DEFAULT;
    for RuleValue { id, value } in values {
        match *id {
            DOWN_MS_MIN => rules.down_ms_min = *value,
            PRE_ALARM_MS => rules.pre_alarm_ms = *value,
            FALL_WINDOW_MS => rules.fall_window_ms = *value,
            FALL_PRE_ALARM_MS => rules.fall_pre_alarm_ms = *value,
            CRASH_PRE_ALARM_MS => rules.crash_pre_alarm_ms = *value,
            CHECK_IN_PRE_ALARM_MS => rules.check_in_pre_alarm_ms = *value,
            _ => {}
        }
    }
    rules
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_of_tomorrow_is_ignored_and_a_missing_one_keeps_the_firmwares_value() {
        let mut carried = values(&RuleSettings { down_ms_min: 7, ..RuleSettings::DEFAULT });
        carried.retain(|rule| rule.id != PRE_ALARM_MS);
        carried.push(RuleValue { id: 200, value: 1 }).unwrap();
        let rules = settings(&carried);
        assert_eq!(rules, RuleSettings { down_ms_min: 7, ..RuleSettings::DEFAULT });
    }
}
