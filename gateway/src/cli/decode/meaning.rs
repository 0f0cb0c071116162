//! What a number on the wire means: names of codes, and units read off the end of a field's name.

use fieldpost_protocol::{
    AlarmCause, CancelReason, Duty, EventCode, FixSource, LossReason, Power, ReportReason, ResetReason,
};

/// The value of `field` of the struct `owner`, for people.
pub(super) fn of(owner: &str, field: &str, number: i128) -> String {
    if let Some(name) = code_name(owner, field, number) {
        return format!("{name} ({number})");
    }
    if let Some(not_known) = not_known(owner, field, number) {
        return format!("{not_known} ({number})");
    }
    match field.rsplit('_').next() {
        Some("cmps") => format!("{} m/s", decimal(number, 2)),
        Some("turn256") => format!("{} degrees", decimal(number * 360_000 / 256, 3)),
        Some("pct") => format!("{number} %"),
        Some("dbm") => format!("{number} dBm"),
        Some("degc") => format!("{number} degrees Celsius"),
        Some("bpm") => format!("{number} per minute"),
        Some("m") => format!("{number} m"),
        Some("s") => format!("{number} s"),
        Some("ms") => time(number),
        _ => number.to_string(),
    }
}

/// Several single bytes that make one value.
pub(super) fn of_bytes(field: &str, bytes: &[u8]) -> String {
    match (field.rsplit('_').next(), bytes) {
        (Some("udeg"), &[a, b, c, d]) => {
            format!("{} degrees", decimal(i128::from(i32::from_le_bytes([a, b, c, d])), 6))
        }
        _ => bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
    }
}

/// Micro-degrees as degrees.
pub(super) fn degrees(udeg: i32) -> String {
    decimal(i128::from(udeg), 6)
}

/// Unix milliseconds as a date.
pub(super) fn time(unix_ms: i128) -> String {
    let at = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    at.map_or_else(|| format!("{unix_ms} ms"), |at| format!("{at} ({unix_ms} ms)"))
}

/// `number` with the last `places` digits behind the point.
fn decimal(number: i128, places: usize) -> String {
    let digits = format!("{:0width$}", number.unsigned_abs(), width = places + 1);
    let (whole, fraction) = digits.split_at(digits.len() - places);
    format!("{}{whole}.{fraction}", if number < 0 { "-" } else { "" })
}

fn code_name(owner: &str, field: &str, number: i128) -> Option<&'static str> {
    let code = u8::try_from(number).ok()?;
    match (owner, field) {
        ("Alarm", "cause") => AlarmCause(code).name(),
        ("AlarmCancel", "reason") => CancelReason(code).name(),
        ("Loss", "reason") => LossReason(code).name(),
        ("Position", "reason") => ReportReason(code).name(),
        ("Position", "source") => FixSource(code).name(),
        ("Status", "duty") | ("", "action") => Duty(code).name(),
        ("Status", "power") => Power(code).name(),
        ("Status", "reset_reason") => ResetReason(code).name(),
        ("SensorEvent", "code") => EventCode(code).name(),
        _ => None,
    }
}

/// The values that say "not known" (the field's own documentation in the protocol).
fn not_known(owner: &str, field: &str, number: i128) -> Option<&'static str> {
    let sentinel = match (owner, field) {
        ("Status", "battery_pct" | "satellites" | "storage_pct") | ("Health", "confidence_pct") => 255,
        ("Status", "signal_dbm") | ("Health", "heart_rate_bpm") | ("Position", "accuracy_m") => 0,
        ("Status", "temperature_degc") => -128,
        _ => return None,
    };
    (number == sentinel).then_some("not known")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_their_unit() {
        assert_eq!(of("Position", "speed_cmps", 1234), "12.34 m/s");
        assert_eq!(of("Position", "course_turn256", 64), "90.000 degrees");
        assert_eq!(of_bytes("latitude_udeg", &(-100_i32).to_le_bytes()), "-0.000100 degrees");
        assert_eq!(of_bytes("firmware", &[1, 2, 3]), "1.2.3");
        assert_eq!(of("Status", "battery_pct", 255), "not known (255)");
        assert_eq!(of("Alarm", "cause", 2), "officer-down (2)");
        assert_eq!(of("Alarm", "cause", 99), "99");
    }
}
