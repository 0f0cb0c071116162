//! What the device says of itself, and when.

use fieldpost_firmware::Settings;
use fieldpost_protocol::{Body, Duty, Envelope, Mode, Power, ResetReason, Status};

use crate::bench::{Bench, Published, Ram};

fn statuses(published: &[Published]) -> Vec<Status> {
    published
        .iter()
        .filter_map(|frame| {
            let envelope = Envelope::decode(&frame.frame).unwrap();
            match Body::decode(&envelope.head, envelope.body) {
                Ok(Body::Status(status)) => Some(status),
                _ => None,
            }
        })
        .collect()
}

fn online() -> (Bench<Ram>, Vec<Status>) {
    let settings = Settings {
        firmware: [1, 2, 3],
        reset_reason: ResetReason::WATCHDOG,
        ..Settings::body_worn(Mode::Test)
    };
    let mut bench = Bench::new(settings);
    let first = bench.connect(false);
    let published = bench.settle(first);
    (bench, statuses(&published))
}

#[test]
fn a_start_says_why_and_with_what() {
    let (_, statuses) = online();
    assert_eq!(statuses.len(), 1);
    let status = statuses[0];
    assert_eq!((status.reset_reason, status.firmware), (ResetReason::WATCHDOG, [1, 2, 3]));
    assert_eq!(
        (status.battery_pct, status.satellites, status.temperature_degc),
        (255, 255, -128),
        "not known"
    );
}

#[test]
fn a_change_of_duty_or_power_is_said_at_once_and_once() {
    let (mut bench, _) = online();
    bench.device.on_duty(bench.now_ms, Duty::EN_ROUTE);
    bench.device.on_duty(bench.now_ms, Duty::EN_ROUTE);
    assert_eq!(
        statuses(&bench.drain()).iter().map(|status| status.duty).collect::<Vec<_>>(),
        [Duty::EN_ROUTE]
    );
    bench.device.on_battery(bench.now_ms, 40, Power::CHARGING);
    bench.device.on_battery(bench.now_ms, 41, Power::CHARGING);
    assert_eq!(statuses(&bench.drain()).len(), 1);
}

#[test]
fn a_low_battery_is_said_once() {
    let (mut bench, _) = online();
    let mut said = Vec::new();
    for battery_pct in (5..=30).rev() {
        bench.device.on_battery(bench.now_ms, battery_pct, Power::BATTERY);
        said.extend(statuses(&bench.drain()));
    }
    assert_eq!(said.iter().map(|status| status.battery_pct).collect::<Vec<_>>(), [15]);
}

#[test]
fn what_was_measured_is_in_the_next_status() {
    let (mut bench, _) = online();
    bench.device.on_signal(-97);
    bench.device.on_temperature(31);
    bench.walk(1);
    bench.device.on_duty(bench.now_ms, Duty::AVAILABLE);
    let status = statuses(&bench.drain())[0];
    assert_eq!((status.signal_dbm, status.temperature_degc, status.satellites), (-97, 31, 9));
    assert_eq!((status.uptime_s, status.outbox_owed), (1, 0));
}
