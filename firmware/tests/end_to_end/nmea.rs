//! Sentences, good and bad, byte by byte.

use std::{format, string::String, vec::Vec};

use fieldpost_firmware::{Fix, Reject, sensor::nmea::Receiver};
use fieldpost_protocol::FixSource;
use proptest::prelude::{any, prop, prop_assert_eq, proptest};

/// A sentence with its checksum and line end.
fn sentence(body: &str) -> String {
    let checksum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{checksum:02X}\r\n")
}

fn rmc(time: &str, latitude: &str, longitude: &str) -> String {
    sentence(&format!("GNRMC,{time},A,{latitude},N,{longitude},W,1.000,90.00,180320,,,A"))
}

fn good() -> String {
    rmc("132820.60", "4134.49821229", "09345.03351845")
}

fn feed(bytes: &[u8]) -> (Vec<Fix>, Receiver) {
    let mut receiver = Receiver::new();
    let fixes = bytes.iter().filter_map(|byte| receiver.push(*byte)).collect();
    (fixes, receiver)
}

fn one(text: &str) -> Fix {
    let (fixes, receiver) = feed(text.as_bytes());
    assert_eq!(fixes.len(), 1, "{text:?} {:?}", receiver.counters());
    fixes[0]
}

fn rejected(text: &str, reason: Reject) {
    let (fixes, receiver) = feed(text.as_bytes());
    assert_eq!(fixes.len(), 0, "{text:?}");
    assert_eq!(receiver.counters().rejected(reason), 1, "{text:?} {:?}", receiver.counters());
}

#[test]
fn a_good_sentence_is_a_fix_to_the_last_digit() {
    let fix = one(&good());
    // 41 + 34.49821229 / 60 = 41.574970204..., 93 + 45.03351845 / 60 = 93.750558640...
    assert_eq!(fix.position.latitude_udeg, 41_574_970);
    assert_eq!(fix.position.longitude_udeg, -93_750_559);
    assert_eq!(fix.unix_ms, 1_584_538_100_600);
    assert_eq!(fix.position.speed_cmps, Some(51));
    assert_eq!(fix.position.course_turn256, Some(64));
}

proptest! {
    #[test]
    fn coordinates_are_the_exact_rounding(
        degrees in 0u32..90,
        minutes in 0u32..60,
        fraction in "[0-9]{1,12}",
    ) {
        let text = format!("{degrees:02}{minutes:02}.{fraction}");
        let fix = one(&rmc("132820.60", &text, "09345.0"));
        // The same in rationals: (degrees * 60 + minutes + f / 10^n) * 10^6 / 60, half up.
        let scale = 10u128.pow(u32::try_from(fraction.len()).unwrap());
        let minutes_scaled =
            u128::from(degrees * 60 + minutes) * scale + fraction.parse::<u128>().unwrap();
        let exact = (minutes_scaled * 2_000_000 + 60 * scale) / (120 * scale);
        prop_assert_eq!(u128::from(fix.position.latitude_udeg.unsigned_abs()), exact);
    }

    #[test]
    fn a_second_parser_reads_the_same(
        degrees in 0u32..180,
        minutes in 0u32..60,
        fraction in 0u32..100_000,
        centi_knots in 0u32..30_000,
        second_ms in 0u32..86_400_000,
    ) {
        let (hours, rest) = (second_ms / 3_600_000, second_ms % 3_600_000);
        let time = format!("{hours:02}{:02}{:02}.{:03}", rest / 60_000, rest / 1000 % 60, rest % 1000);
        let (knots, hundredths) = (centi_knots / 100, centi_knots % 100);
        let body = format!(
            "GPRMC,{time},A,4134.5,S,{degrees:03}{minutes:02}.{fraction:05},E,{knots}.{hundredths:02},,180320,,,A"
        );
        let text = sentence(&body);
        let fix = one(&text);
        let parsed = nmea::parse_str(text.trim_end()).unwrap();
        let nmea::ParseResult::RMC(other) = parsed else { panic!("not RMC") };
        let longitude_off = f64::from(fix.position.longitude_udeg) / 1e6 - other.lon.unwrap();
        assert!(longitude_off.abs() <= 0.501e-6, "{longitude_off}");
        let moment = other.fix_date.unwrap().and_time(other.fix_time.unwrap()).and_utc();
        // It carries seconds as floating point: a millisecond may come out short.
        assert!((moment.timestamp_millis() - fix.unix_ms.cast_signed()).abs() <= 1);
        let cmps = f64::from(other.speed_over_ground.unwrap()) * 185_200.0 / 3600.0;
        match fix.position.speed_cmps {
            Some(ours) => assert!((f64::from(ours) - cmps).abs() <= 0.51, "{ours} {cmps}"),
            None => assert!(cmps > 16_383.4, "only what the wire cannot say is left out: {cmps}"),
        }
    }

    #[test]
    fn chunks_make_no_difference(
        garbage in prop::collection::vec(any::<u8>(), 0..60),
        cuts in prop::collection::vec(1usize..40, 1..40),
    ) {
        let mut bytes = garbage.clone();
        bytes.extend(b"\r\n");
        bytes.extend(good().bytes());
        bytes.extend(&garbage);
        bytes.extend(b"\n");
        bytes.extend(rmc("132820.70", "4134.5", "09345.0").bytes());
        let (whole, _) = feed(&bytes);
        let mut device = crate::bench::Bench::new(
            fieldpost_firmware::Settings::replay(fieldpost_protocol::Mode::Test),
        );
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (chunk, after) = rest.split_at((*cut).min(rest.len()));
            device.device.on_nmea(0, chunk);
            rest = after;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(device.device.nmea_counters().fixes() as usize, whole.len());
        prop_assert_eq!(whole.len(), 2, "garbage hides no sentence");
    }

    #[test]
    fn one_changed_byte_never_gives_another_fix(place in 0usize..80, byte in any::<u8>()) {
        let mut bytes = good().into_bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        let (fixes, _) = feed(&bytes);
        for fix in fixes {
            prop_assert_eq!(fix, one(&good()));
        }
    }

    #[test]
    fn nothing_a_receiver_says_can_hurt(fields in prop::collection::vec("[ -)+-~]{0,14}", 0..20), gga in any::<bool>()) {
        let kind = if gga { "GPGGA" } else { "GPRMC" };
        let text = sentence(&format!("{kind},{}", fields.join(",")));
        let (fixes, _) = feed((text + &good()).as_bytes());
        for fix in fixes {
            assert!(fieldpost_protocol::Position::try_new(fix.position).is_ok());
        }
    }
}

#[test]
fn every_line_end_in_use_ends_a_line() {
    let body = good();
    let body = body.trim_end();
    for end in ["\n", "\r", "\r\n", "\n\r", "\r\r\n", "  \r\n"] {
        one(&format!("{body}{end}"));
    }
    let (fixes, _) = feed(body.as_bytes());
    assert_eq!(fixes.len(), 0, "without its end a sentence is not complete");
}

#[test]
fn a_half_sentence_costs_itself_only() {
    let text = format!("$GNRMC,132820.60,A,41{}", good());
    let (fixes, receiver) = feed(text.as_bytes());
    assert_eq!(fixes.len(), 1);
    assert_eq!(receiver.counters().rejected(Reject::Broken), 1);
}

#[test]
fn an_endless_line_costs_itself_only() {
    let text = format!("${}{}{}", "A".repeat(5000), "\r\n", good());
    let (fixes, receiver) = feed(text.as_bytes());
    assert_eq!(fixes.len(), 1);
    assert_eq!(receiver.counters().rejected(Reject::Overlong), 1);
}

#[test]
fn what_is_wrong_with_a_sentence_is_counted_by_reason() {
    rejected("$GPRMC,132820.60,A,4134.49,N,09345.03,W,1.0,90.0,180320,,,A\r\n", Reject::ChecksumMissing);
    rejected("$GPRMC,132820.60,A,4134.49,N,09345.03,W,1.0,90.0,180320,,,A*\r\n", Reject::ChecksumMissing);
    rejected("$GPRMC,132820.60,A,4134.49,N,09345.03,W,1.0,90.0,180320,,,A*0\r\n", Reject::ChecksumMissing);
    rejected("$GPRMC,132820.60,A,4134.49,N,09345.03,W,1.0,90.0,180320,,,A*FF\r\n", Reject::ChecksumBad);
    rejected("$GPRMC,132820\u{1},A*00\r\n", Reject::Broken);
    rejected(&sentence("IIRMC,132820,A,4134.5,N,09345.0,W,1,2,180320,,,A"), Reject::ForeignTalker);
    rejected(&sentence("GPGSV,1,1,00"), Reject::Unused);
    rejected(&sentence("PUBX,00"), Reject::Unused);
    rejected(&sentence(""), Reject::Unused);
    rejected(&sentence("GPRMC"), Reject::Malformed);
    rejected(&sentence("GPRMC,,V,,,,,,,,,,N"), Reject::NoFix);
    rejected(&sentence("GPRMC,132820,A,4134.5,N,09345.0,W,1,2,180320,,,N"), Reject::NoFix);
    rejected(&sentence("GPRMC,132820,A,4134.5,N,09345.0,W,1,2,180320,,,S"), Reject::NoFix);
    rejected(&sentence("GPRMC,132820,X,4134.5,N,09345.0,W,1,2,180320,,,A"), Reject::Malformed);
}

#[test]
fn a_field_outside_the_standard_is_malformed() {
    for body in [
        "GPRMC,132820,A,4160.0,N,09345.0,W,1,2,180320,,,A", // 60 minutes
        "GPRMC,132820,A,9000.1,N,09345.0,W,1,2,180320,,,A", // beyond the pole
        "GPRMC,132820,A,4134.5,N,18000.1,W,1,2,180320,,,A", // beyond the date line
        "GPRMC,132820,A,4134.5,E,09345.0,W,1,2,180320,,,A", // hemisphere
        "GPRMC,132820,A,4134.5,NN,09345.0,W,1,2,180320,,,A", // hemisphere
        "GPRMC,132820,A,4134.5,,09345.0,W,1,2,180320,,,A",  // hemisphere
        "GPRMC,132820,A,-4134.5,N,09345.0,W,1,2,180320,,,A", // sign
        "GPRMC,132820,A,41e2,N,09345.0,W,1,2,180320,,,A",   // exponent
        "GPRMC,132820,A,nan,N,09345.0,W,1,2,180320,,,A",    // not a number
        "GPRMC,132820,A,34,N,09345.0,W,1,2,180320,,,A",     // no degrees
        "GPRMC,132820,A,,N,,W,1,2,180320,,,A",              // empty
        "GPRMC,242820,A,4134.5,N,09345.0,W,1,2,180320,,,A", // hour
        "GPRMC,136020,A,4134.5,N,09345.0,W,1,2,180320,,,A", // minute
        "GPRMC,132860,A,4134.5,N,09345.0,W,1,2,180320,,,A", // second, not before an hour
        "GPRMC,13282,A,4134.5,N,09345.0,W,1,2,180320,,,A",  // short
        "GPRMC,,A,4134.5,N,09345.0,W,1,2,180320,,,A",       // no time
        "GPRMC,132820,A,4134.5,N,09345.0,W,1,2,,,,A",       // no date
        "GPRMC,132820,A,4134.5,N,09345.0,W,1,2,290223,,,A", // no such day
        "GPRMC,132820,A,4134.5,N,09345.0,W,1,2,001320,,,A", // no such month
        "GPRMC,132820,A,4134.5,N,09345.0,W,-1,2,180320,,,A", // speed
        "GPRMC,132820,A,4134.5,N,09345.0,W,1,361,180320,,,A", // course
        "GPRMC,132820,A,4134.5,N,09345.0,W,9999999999,2,180320,,,A", // ten digits
    ] {
        rejected(&sentence(body), Reject::Malformed);
    }
}

#[test]
fn times_at_the_edges_are_right() {
    let at = |time: &str, date: &str| {
        one(&sentence(&format!("GPRMC,{time},A,4134.5,N,09345.0,W,,,{date},,,A"))).unix_ms
    };
    assert_eq!(at("000000", "010100"), 946_684_800_000, "2000-01-01");
    assert_eq!(at("235959.999", "290224"), 1_709_251_199_999, "a leap day");
    assert_eq!(at("000000", "060180"), 315_964_800_000, "GPS time begins in 1980");
    assert_eq!(at("000000", "010179"), 3_439_756_800_000, "the pivot: 79 is 2079");
    assert_eq!(
        at("235960", "311216"),
        1_483_228_800_000,
        "a leap second is the next midnight, as in Unix time"
    );
    assert_eq!(at("120000.1239", "010100") % 1000, 123, "cut off, never rounded up into the next second");
}

#[test]
fn an_epoch_gives_one_fix_whoever_speaks_first() {
    let gga = |time: &str, quality: u8| {
        sentence(&format!("GNGGA,{time},4134.5,N,09345.0,W,{quality},09,1.2,278,M,-31,M,,"))
    };
    let gga_first = one(&(gga("132820.60", 1) + &good()));
    assert_eq!((gga_first.satellites, gga_first.position.accuracy_m), (9, 6), "1.2 x 5 m");

    let text = gga("132819.60", 1) + &good() + &gga("132820.60", 1);
    assert_eq!(one(&text), gga_first, "a receiver that speaks RMC first: the GGA before it");

    let stale = one(&(gga("132818.50", 1) + &good()));
    assert_eq!((stale.satellites, stale.position.accuracy_m), (255, 0), "2.1 s is too old");

    let none = one(&(gga("132820.60", 0) + &good()));
    assert_eq!((none.satellites, none.position.accuracy_m), (255, 0), "a GGA without a fix describes none");

    let augmented = one(&(gga("132820.60", 4) + &good()));
    assert_eq!(augmented.position.source, FixSource::GNSS_AUGMENTED);

    let (fixes, receiver) = feed((good() + &good() + &good()).as_bytes());
    assert_eq!((fixes.len(), receiver.counters().rejected(Reject::EpochRepeated)), (1, 2));
}

#[test]
fn a_gga_before_midnight_describes_the_fix_after_it() {
    let gga = sentence("GNGGA,235959.50,4134.5,N,09345.0,W,1,07,2.0,278,M,-31,M,,");
    let fix = one(&(gga + &sentence("GNRMC,000000.50,A,4134.5,N,09345.0,W,1.0,90.0,190320,,,A")));
    assert_eq!(fix.satellites, 7);
}

#[test]
fn a_speed_the_wire_cannot_say_is_left_out() {
    let fix = one(&sentence("GPRMC,132820,A,4134.5,N,09345.0,W,318.46,2,180320,,,A"));
    assert_eq!(fix.position.speed_cmps, Some(16_383));
    let fix = one(&sentence("GPRMC,132820,A,4134.5,N,09345.0,W,318.5,2,180320,,,A"));
    assert_eq!(fix.position.speed_cmps, None);
}

#[test]
fn the_sentence_of_every_tutorial_reads_as_it_should() {
    // The sentence found in most tutorials, of 1994: before the pivot.
    let fix = one(&sentence("GPRMC,123519,A,4807.038,N,01131.000,E,022.4,084.4,230394,003.1,W"));
    assert_eq!((fix.position.latitude_udeg, fix.position.longitude_udeg), (48_117_300, 11_516_667));
    assert_eq!(fix.unix_ms, 764_426_119_000);
}
