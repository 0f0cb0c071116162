//! A GNSS receiver that says nothing, rubbish, or where nobody can be.

use fieldpost_firmware::{
    Fix, Judgement, Notice, Settings, TimeSource,
    sensor::gnss::{GnssNews, Silence},
};
use fieldpost_protocol::{ClockQuality, Duty, EventCode, Mode};

use crate::bench::{Bench, NOON_MS, Published, Ram, events, fix};

fn on_duty(settings: Settings) -> Bench<Ram> {
    let mut bench = Bench::new(Settings { duty: Duty::ON_DUTY, ..settings });
    let first = bench.connect(false);
    bench.settle(first);
    bench
}

fn driven() -> Bench<Ram> {
    on_duty(Settings::vehicle(Mode::Test))
}

fn latitudes(published: &[Published]) -> Vec<i32> {
    let positions = published.iter().flat_map(Published::records).filter_map(|record| record.2);
    positions.map(|position| position.latitude_udeg - 53_000_000).collect()
}

impl Bench<Ram> {
    /// A fix a second, this far north, and what was published.
    fn fixes_at(&mut self, north_udeg: i32, count: u32) -> Vec<Published> {
        let mut published = Vec::new();
        for _ in 0..count {
            self.now_ms += 1000;
            self.device.on_fix(self.now_ms, &fix(self.now_ms, north_udeg));
            let drained = self.drain();
            published.extend(self.settle(drained));
        }
        published
    }

    /// Bytes every second for two minutes; the notices about the receiver.
    fn hear(&mut self, bytes: &[u8]) -> Vec<GnssNews> {
        self.notices.clear();
        for _ in 0..120 {
            self.now_ms += 1000;
            self.device.on_nmea(self.now_ms, bytes);
            self.drain();
        }
        let news = |notice: &Notice| match notice {
            Notice::Gnss(news) => Some(*news),
            _ => None,
        };
        self.notices.iter().filter_map(news).collect()
    }
}

/// 10 km in micro-degrees of latitude.
const FAR_UDEG: i32 = 90_000;

#[test]
fn a_silent_receiver_is_said_once_with_the_reason() {
    let no_fix = b"$GPRMC,120000.00,V,,,,,,,010626,,,N*7D\r\n";
    let bad_checksum = b"$GPRMC,120000.00,A,5300.0,N,00130.0,W,2.0,90.0,010626,,,A*00\r\n";
    let half = b"$GPRMC,120000.00,A,5300.0,N,001";
    let noise: Vec<u8> = (0..200u8).map(|n| n.wrapping_mul(151) | 0x80).collect();
    for (bytes, silence) in [
        (&b""[..], Silence::NoBytes),
        (&noise[..], Silence::Garbage),
        (&half[..], Silence::Garbage),
        (&bad_checksum[..], Silence::Garbage),
        (&no_fix[..], Silence::NoFix),
    ] {
        let mut bench = driven();
        assert_eq!(bench.hear(bytes), [GnssNews::Silent(silence)]);
        let counters = bench.device.nmea_counters();
        assert_eq!(counters.fixes(), 0);
    }
}

#[test]
fn fixes_that_come_back_are_said_and_reported() {
    let mut bench = driven();
    bench.fixes_at(0, 3);
    let published = bench.wait(100_000);
    assert_eq!(events(&published), [(EventCode::GNSS_SILENT, Silence::NoBytes as i32)]);
    let published = bench.fixes_at(0, 1);
    assert_eq!(events(&published), [(EventCode::GNSS_BACK, 0)]);
    assert_eq!(latitudes(&published), [0]);
}

#[test]
fn off_duty_a_receiver_may_sleep() {
    let mut bench = driven();
    bench.device.on_duty(bench.now_ms, Duty::REFRESHMENTS);
    bench.stay(1000);
    assert_eq!(events(&bench.stay(600_000)), []);
    bench.device.on_duty(bench.now_ms, Duty::ON_DUTY);
    assert_eq!(events(&bench.stay(59_000)), [], "it has a minute to wake up");
    assert_eq!(events(&bench.stay(2000)).len(), 1);
}

#[test]
fn a_lone_wild_fix_is_held_back_and_said() {
    let mut bench = driven();
    bench.fixes_at(0, 10);
    let published = bench.fixes_at(FAR_UDEG, 1);
    assert_eq!(latitudes(&published), []);
    let [(EventCode::GNSS_JUMP, distance_m)] = events(&published)[..] else { panic!("said once") };
    assert!((9_900..10_100).contains(&distance_m));
    let published = bench.fixes_at(10, 10);
    assert!(latitudes(&published).iter().all(|north_udeg| *north_udeg == 10));
    assert!(!latitudes(&published).is_empty(), "as if nothing had been");
    assert_eq!(bench.device.counters().fixes_implausible, 1);
}

#[test]
fn a_receiver_that_jumps_to_and_fro_is_not_a_flood_of_events() {
    let mut bench = driven();
    bench.fixes_at(0, 10);
    let mut said = 0;
    for n in 0..299 {
        let published = bench.fixes_at(if n % 2 == 0 { FAR_UDEG * (2 + n % 7) } else { 0 }, 1);
        said += events(&published).len();
        assert!(latitudes(&published).iter().all(|north_udeg| *north_udeg == 0));
    }
    assert_eq!(said, 1, "at most every five minutes");
}

#[test]
fn who_stays_where_the_receiver_jumped_to_is_believed_after_five_fixes() {
    let mut bench = driven();
    bench.fixes_at(0, 10);
    assert_eq!(latitudes(&bench.fixes_at(FAR_UDEG, 4)), []);
    assert_eq!(latitudes(&bench.fixes_at(FAR_UDEG, 3))[..1], [FAR_UDEG]);
}

#[test]
fn a_receiver_that_is_somewhere_else_each_time_is_never_believed() {
    let mut bench = driven();
    bench.fixes_at(0, 10);
    for n in 1..60 {
        assert_eq!(latitudes(&bench.fixes_at(FAR_UDEG * (1 + n % 3), 1)), []);
    }
}

#[test]
fn a_first_fix_that_was_wrong_is_outvoted() {
    let mut bench = driven();
    bench.fixes_at(FAR_UDEG * 100, 1);
    let published = bench.fixes_at(0, 10);
    assert!(!latitudes(&published).is_empty());
    assert!(latitudes(&published).iter().all(|north_udeg| *north_udeg == 0));
}

#[test]
fn a_fast_car_and_a_long_tunnel_are_no_jumps() {
    let mut bench = driven();
    // 250 km/h: 69 m a second, 625 micro-degrees.
    for second in 1..120 {
        bench.fixes_at(second * 625, 1);
    }
    bench.now_ms += 300_000;
    bench.fixes_at(120 * 625 + 200_000, 1);
    assert_eq!(bench.device.counters().fixes_implausible, 0);
}

#[test]
fn an_alarm_carries_the_last_place_that_was_believed() {
    let mut bench = driven();
    bench.fixes_at(0, 10);
    bench.fixes_at(FAR_UDEG, 2);
    bench.device.on_button(bench.now_ms, false);
    let published = bench.drain();
    assert_eq!(latitudes(&published)[0], 0);
}

#[test]
fn a_time_from_the_future_changes_no_stamp_and_is_said_once() {
    let mut bench = driven();
    bench.fixes_at(0, 10);
    bench.notices.clear();
    let ten_years_ms = 315_360_000_000;
    for second in 0..60 {
        bench.now_ms += 1000;
        // The same insane second again and again: it never agrees with itself.
        let wild = Fix { unix_ms: NOON_MS + ten_years_ms + second % 2, ..fix(bench.now_ms, 0) };
        bench.device.on_fix(bench.now_ms, &wild);
        for frame in bench.drain() {
            assert!(frame.head().time_ms < NOON_MS + 600_000);
        }
    }
    let suspect = Notice::Time { source: TimeSource::Gnss, judgement: Judgement::Suspect };
    assert_eq!(bench.notices, [suspect]);
    assert_eq!(bench.device.stamp(bench.now_ms).quality, ClockQuality::Gnss);
}

#[test]
fn a_time_that_cannot_be_is_refused_and_the_place_still_reported() {
    let mut bench = driven();
    bench.notices.clear();
    let wild = Fix { unix_ms: 1_000_000_000_000, ..fix(0, 0) };
    bench.now_ms += 1000;
    bench.device.on_fix(bench.now_ms, &wild);
    let published = bench.drain();
    assert_eq!(latitudes(&published), [0]);
    assert_eq!(published[0].head().clock, ClockQuality::Unset);
    assert_eq!(bench.notices, [Notice::Time { source: TimeSource::Gnss, judgement: Judgement::Refused }]);
}
