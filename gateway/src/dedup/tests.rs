use std::collections::{BTreeMap, BTreeSet};

use fieldpost_protocol::{Class, Mode};
use proptest::prelude::{Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

const T0_MS: u64 = 1_790_000_000_000;

fn seen(boots_max: usize, ranges_max: usize) -> Seen {
    Seen::new(DedupBounds { devices_max: 1, boots_max, ranges_max })
}

/// A live record with a believed clock.
fn head(boot: u32, seq: u32, time_ms: u64) -> Head {
    Head {
        version: 1,
        class: Class::STATUS,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(boot),
        seq: Seq(seq),
        time_ms,
    }
}

fn alarm(boot: u32, seq: u32, time_ms: u64) -> Head {
    Head { class: Class::ALARM, ..head(boot, seq, time_ms) }
}

fn print(head: &Head) -> Fingerprint {
    Fingerprint::of(head, b"")
}

impl Seen {
    fn judges(&self, head: &Head) -> Verdict {
        self.judge(head, print(head))
    }

    /// As the front door does it.
    fn takes(&mut self, head: &Head) -> Verdict {
        let verdict = self.judges(head);
        if verdict != Verdict::Again {
            let lsn = self.newest().next();
            self.remember(head, print(head), lsn, verdict == Verdict::Repeats);
        }
        verdict
    }
}

#[test]
fn a_record_is_new_once_and_a_redelivery_after_that() {
    let mut seen = seen(2, 8);
    assert_eq!(seen.takes(&head(1, 0, T0_MS)), Verdict::New);
    assert_eq!(seen.takes(&head(1, 0, T0_MS)), Verdict::Again);
    assert_eq!(
        (seen.takes(&head(1, 1, T0_MS)), seen.takes(&head(2, 0, T0_MS))),
        (Verdict::New, Verdict::New)
    );
    assert_eq!(seen.newest(), Lsn(3));
}

#[test]
fn another_record_under_a_used_identity_is_never_a_redelivery() {
    let mut seen = seen(2, 8);
    seen.takes(&head(1, 0, T0_MS));
    let other = head(1, 0, T0_MS + 60_000);
    assert_eq!(seen.takes(&other), Verdict::Repeats);
    assert_eq!(seen.takes(&other), Verdict::Again, "its own redelivery is one");
    assert_eq!(seen.takes(&head(1, 0, T0_MS)), Verdict::Again, "and so is the first one's");
}

#[test]
fn a_wiped_device_loses_nothing_however_long_ago_its_first_life_was() {
    let mut seen = seen(2, 64);
    for seq in 0..5_000 {
        seen.takes(&head(1, seq, T0_MS + u64::from(seq)));
    }
    for seq in 0..5_000 {
        assert_eq!(seen.takes(&head(1, seq, T0_MS + 1_000_000 + u64::from(seq))), Verdict::Repeats, "{seq}");
    }
    assert_eq!(seen.takes(&head(1, 5_000, T0_MS + 2_000_000)), Verdict::New);
}

#[test]
fn an_alarm_is_dropped_only_if_that_very_alarm_is_remembered() {
    let mut seen = seen(2, 64);
    seen.takes(&alarm(1, 0, T0_MS));
    (1..2_000).for_each(|seq| _ = seen.takes(&head(1, seq, T0_MS + 10)));
    assert_eq!(seen.judges(&alarm(1, 0, T0_MS)), Verdict::Again, "positions do not push it out");
    // Of a wiped device whose clock has not been set either: nothing but the content tells the two apart.
    assert_eq!(seen.judges(&alarm(1, 0, T0_MS - 5)), Verdict::Repeats);
    assert_eq!(seen.judges(&alarm(1, 700, T0_MS)), Verdict::Repeats, "an identity that a position used");
    for seq in 0..ALARMS_MAX as u32 {
        seen.takes(&alarm(2, seq, T0_MS));
    }
    assert_eq!(seen.judges(&alarm(1, 0, T0_MS)), Verdict::Repeats, "forgotten: better twice than not at all");
}

#[test]
fn alarms_that_are_sent_again_together_are_known_however_many_they_are() {
    let mut seen = seen(2, 64);
    let alarms: Vec<_> = (0..10 * ALARMS_MAX as u32).map(|seq| alarm(1, seq, T0_MS)).collect();
    assert!(alarms.iter().all(|alarm| seen.takes(alarm) == Verdict::New));
    assert!(alarms.iter().all(|alarm| seen.takes(alarm) == Verdict::Again));
}

#[test]
fn an_alarm_that_ledger_and_spool_both_tell_of_takes_one_place() {
    let mut alarms = Alarms::default();
    for seq in (0..ALARMS_MAX as u32).chain(0..ALARMS_MAX as u32 / 2) {
        alarms.add(BootId(1), Seq(seq), Fingerprint(seq));
    }
    for seq in 0..ALARMS_MAX as u32 {
        assert_eq!(alarms.find(BootId(1), Seq(seq), Fingerprint(seq)), Some(true), "{seq}");
    }
}

#[test]
fn a_redelivery_whose_content_is_forgotten_is_stored_again_under_the_same_key() {
    let mut seen = seen(2, 64);
    for seq in 0..2_048 {
        seen.takes(&head(1, seq, T0_MS + u64::from(seq)));
    }
    assert_eq!(seen.judges(&head(1, 0, T0_MS)), Verdict::New);
    let unset = Head { clock: ClockQuality::Unset, ..head(1, 0, 5_000) };
    assert_eq!(seen.judges(&unset), Verdict::Repeats, "its time says nothing");
}

#[test]
fn a_boot_id_that_comes_back_after_a_later_one_is_noticed_even_if_its_records_are_forgotten() {
    let mut seen = seen(2, 8);
    for boot in 1..=3 {
        seen.takes(&head(boot, 0, T0_MS + u64::from(boot) * 3_600_000));
    }
    assert!(!seen.contains(BootId(1), Seq(0)));
    assert_eq!(seen.judges(&head(1, 7, T0_MS + 3_600_500)), Verdict::New, "its backlog may still come");
    assert_eq!(seen.judges(&head(1, 7, T0_MS + 86_400_000)), Verdict::Repeats);
    let holdover = Head { clock: ClockQuality::Holdover, ..head(1, 7, T0_MS + 86_400_000) };
    assert_eq!(seen.judges(&holdover), Verdict::New, "such a clock proves nothing");
}

#[test]
fn the_boot_heard_of_longest_ago_is_forgotten_first() {
    let mut seen = seen(2, 8);
    for boot in 1..=3 {
        seen.takes(&head(boot, 0, T0_MS));
    }
    assert!(!seen.contains(BootId(1), Seq(0)));
    assert!(seen.contains(BootId(2), Seq(0)) && seen.contains(BootId(3), Seq(0)));
}

#[test]
fn a_boot_that_is_heard_of_again_is_not_the_next_to_go() {
    let mut seen = seen(2, 8);
    for boot in [1, 2, 1, 3] {
        seen.takes(&head(boot, boot, T0_MS + u64::from(boot)));
    }
    assert!(!seen.contains(BootId(2), Seq(2)) || !seen.contains(BootId(1), Seq(1)));
}

#[test]
fn too_many_holes_forget_the_lowest_and_never_claim_a_hole() {
    let mut seen = seen(1, 3);
    for seq in [0, 10, 20, 30] {
        seen.takes(&head(1, seq, T0_MS));
    }
    assert!(!seen.contains(BootId(1), Seq(0)));
    for seq in [9, 11, 19, 21, 29, 31] {
        assert!(!seen.contains(BootId(1), Seq(seq)), "{seq}");
    }
}

#[test]
fn a_connected_device_is_never_forgotten() {
    let dedup = Dedup::new(DedupBounds { devices_max: SHARDS, ..DedupBounds::default() });
    let force = ForceId::try_new("f").unwrap();
    let held: Vec<_> =
        (0..100).map(|n| dedup.device(&force, &DeviceId::try_new(&format!("d{n}")).unwrap())).collect();
    for (n, seen) in held.iter().enumerate() {
        let again = dedup.device(&force, &DeviceId::try_new(&format!("d{n}")).unwrap());
        assert!(Arc::ptr_eq(seen, &again));
    }
}

/// Seen behind a real broker: a redelivery 190 records later was stored again, and every content was remembered.
#[test]
fn a_redelivery_is_known_however_many_holes_came_after_it() {
    let mut seen = seen(2, 64);
    let every_second = || (0..900).step_by(2).map(|seq| head(1, seq, T0_MS + u64::from(seq)));
    assert!(every_second().all(|head| seen.takes(&head) == Verdict::New));
    assert!(!seen.contains(BootId(1), Seq(0)), "the ranges tell no more");
    assert!(every_second().all(|head| seen.takes(&head) == Verdict::Again));
    assert_eq!(seen.takes(&head(1, 0, T0_MS + 5_000)), Verdict::Repeats, "of another life");
}

proptest! {
    /// A gateway of a group behind a broker gets some of a device's numbers, and the broker says any of them again as long as it
    /// likes: up to 990 records later none is stored a second time.
    #[test]
    fn what_a_broker_says_again_is_stored_once(
        turns in proptest::collection::vec((1u32..5, 0usize..990, any::<bool>()), 1..1_200))
    {
        let mut seen = seen(2, 64);
        let of = |seq: u32, is_alarm| {
            let time_ms = T0_MS + u64::from(seq);
            if is_alarm { alarm(1, seq, time_ms) } else { head(1, seq, time_ms) }
        };
        let mut came = Vec::new();
        let mut newest = 0;
        for (step, ago, is_alarm) in turns {
            newest += step;
            prop_assert_eq!(seen.takes(&of(newest, is_alarm)), Verdict::New);
            came.push(of(newest, is_alarm));
            let again = &came[came.len().saturating_sub(1 + ago)];
            prop_assert_eq!(seen.takes(again), Verdict::Again, "{} at {}", again.seq.0, newest);
        }
    }
}

/// A delivery: of which life of the device, its sequence, and whether it is an alarm.
fn deliveries() -> impl Strategy<Value = Vec<(u64, u32, bool)>> {
    let one = (0u64..3, 0u32..12, any::<bool>());
    proptest::collection::vec(one, 1..120)
}

proptest! {
    #[test]
    fn ranges_agree_with_a_plain_set(ranges in proptest::collection::vec(
        (prop_oneof![0u32..40, any::<u32>()], 0u32..4), 0..200)) {
        let mut boot = BootSeen { boot: BootId(1), ranges: Vec::new(), times: BootTimes::default() };
        let mut model = BTreeSet::new();
        for (first, more) in ranges {
            let last = first.saturating_add(more);
            boot.insert(first, last, 1_000);
            model.extend(first..=last);
            for probe in [first.wrapping_sub(1), first, last, last.wrapping_add(1)] {
                prop_assert_eq!(boot.contains(probe), model.contains(&probe));
            }
        }
        for probe in (0..45).chain([u32::MAX - 1, u32::MAX]) {
            prop_assert_eq!(boot.contains(probe), model.contains(&probe));
        }
        for pair in boot.ranges.windows(2) {
            prop_assert!(pair[0].1 < pair[1].0 - 1, "holes between ranges");
        }
    }

    /// Three lives of one device, each from boot 1 and sequence 0, as a wiped device has them; any of their records comes any
    /// number of times. Whatever was ever delivered is stored, and no key stands for two records.
    #[test]
    fn every_record_of_every_life_is_stored_under_a_key_of_its_own(deliveries in deliveries()) {
        let mut seen = seen(2, 8);
        let mut stored: BTreeMap<String, Fingerprint> = BTreeMap::new();
        let mut life_now = 0;
        for (life, seq, is_alarm) in deliveries {
            // A device has one life at a time.
            life_now = life_now.max(life);
            let time_ms = T0_MS + life_now * 10_000_000 + u64::from(seq);
            let head = if is_alarm { alarm(1, seq, time_ms) } else { head(1, seq, time_ms) };
            let key = match seen.takes(&head) {
                Verdict::Again => {
                    prop_assert!(stored.values().any(|known| *known == print(&head)), "dropped, and nowhere else");
                    continue;
                }
                Verdict::New => format!("1.{seq}"),
                Verdict::Repeats => format!("1.{seq}~{}", print(&head)),
            };
            let before = stored.insert(key, print(&head));
            prop_assert!(before.is_none_or(|before| before == print(&head)), "one key, two records");
        }
    }
}

#[test]
fn what_an_alarm_said_is_known_unless_another_may_be_meant() {
    let mut seen = seen(2, 8);
    let (first, second) = (alarm(1, 5, T0_MS), alarm(1, 5, T0_MS + 9));
    assert_eq!(seen.alarm_print(BootId(1), Seq(5), None), None, "not heard of");
    seen.takes(&first);
    assert_eq!(seen.alarm_print(BootId(1), Seq(5), None), Some(print(&first)));
    // The device was wiped: the number comes again, and the key of the second says which it is.
    assert_eq!(seen.takes(&second), Verdict::Repeats);
    assert_eq!(seen.alarm_print(BootId(1), Seq(5), None), Some(print(&first)));
    let repeat = Some(print(&second));
    assert_eq!(seen.alarm_print(BootId(1), Seq(5), repeat), repeat);
    for seq in 10..26 {
        seen.takes(&alarm(1, seq, T0_MS));
    }
    assert_eq!(seen.alarm_print(BootId(1), Seq(5), None), None);
}
