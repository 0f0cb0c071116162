//! What a gateway that is broken on purpose must be found by: **a rig that is red for any other reason has proven nothing.**

use serde_json::Value;

/// A figure of a rig's report that must not be 0, or must be above a bound.
#[derive(Debug, Clone, PartialEq)]
pub struct RedBy {
    /// JSON pointer (RFC 6901).
    pointer: String,
    /// A figure must be above it.
    most: f64,
}

/// The verdict was red, and not by what was named.
#[derive(Debug, thiserror::Error)]
#[error("red, but not by {0}")]
pub struct OtherReason(String);

impl std::str::FromStr for RedBy {
    type Err = std::num::ParseFloatError;

    /// `account/lost_count`, or `screen_ms/p50:1000` for more than a thousand.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (field, most) = text.split_once(':').unwrap_or((text, "0"));
        Ok(Self { pointer: format!("/{field}"), most: most.parse()? })
    }
}

impl RedBy {
    /// Whether a red `report` is red by this.
    ///
    /// # Errors
    /// [`OtherReason`] with the report.
    pub fn check(&self, report: &Value) -> Result<(), OtherReason> {
        let is_red = match report.pointer(&self.pointer) {
            Some(Value::Number(figure)) => figure.as_f64().is_some_and(|figure| figure > self.most),
            Some(Value::Bool(is_true)) => *is_true,
            // Words that say what is wrong.
            Some(Value::String(_)) => true,
            _ => false,
        };
        if is_red { Ok(()) } else { Err(OtherReason(format!("{}: {report}", &self.pointer[1..]))) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn is_red(field: &str, report: &Value) -> bool {
        field.parse::<RedBy>().unwrap().check(report).is_ok()
    }

    #[test]
    fn a_report_is_red_only_by_a_figure_above_its_bound() {
        let report =
            json!({ "account": { "lost_count": 3, "duplicate_count": 0 }, "screen_ms": { "p50": 999.5 } });
        assert!(is_red("account/lost_count", &report));
        assert!(!is_red("account/lost_count:3", &report));
        assert!(!is_red("account/duplicate_count", &report));
        assert!(is_red("screen_ms/p50:999", &report));
        assert!(!is_red("screen_ms/p50:1000", &report));
        assert!(!is_red("account/nowhere", &report));
        assert!(!is_red("account", &report));
    }

    #[test]
    fn a_report_is_red_by_words_and_by_what_is_true() {
        let report = json!({ "broken": "line 7", "whole": null, "in_line": true, "late": false });
        assert!(is_red("broken", &report) && is_red("in_line", &report));
        assert!(!is_red("whole", &report) && !is_red("late", &report));
    }
}
