//! What the newest records of a device said: a number and a fingerprint for each, in pages of 32 records.
//!
//! **What is said to be known was added.** What is forgotten is neither the same nor another.
//!
//! ```text
//! page = boot, lowest number -> 32 records: how far above the lowest, fingerprint     176 bytes
//! pages: the one added to last at the end; beyond 32 the first goes                   5.5 KiB a device at most
//! ```
//!
//! So of a device that counts on, the newest 992 records that came are known. Holes take no room: behind a broker, where each of two
//! gateways has its part, these are twice as many numbers. Whoever leaps by 256 numbers each time has 32 records known.

use fieldpost_protocol::{BootId, Seq};

use crate::fingerprint::Fingerprint;

/// Records in a page.
const RECORDS: usize = 32;

/// Pages of a device. With [`RECORDS`]: 1,024 records. A vehicle that reports every two seconds makes 900 in the half hour by
/// which a mosquitto with its own settings falls back when it crashes.
const PAGES_MAX: usize = 32;

/// How far below its first record a page begins: what comes a little late still finds room in it.
const BELOW: u32 = 32;

/// The fingerprints of a device's newest records.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    /// Added to longest ago first.
    pages: Vec<Page>,
}

#[derive(Debug)]
struct Page {
    boot: BootId,
    /// The lowest number that it has room for.
    lowest: u32,
    /// Records in it.
    count: u8,
    /// Of each, its number above the lowest. A number that was used twice stands here twice.
    above: [u8; RECORDS],
    prints: [Fingerprint; RECORDS],
}

impl Contents {
    /// Adds what a record said, which is not known yet.
    pub(crate) fn add(&mut self, boot: BootId, seq: Seq, print: Fingerprint) {
        // From the end: a device mostly sends its newest.
        let room = self.pages.iter().rposition(|page| !page.is_full() && page.above(boot, seq).is_some());
        match room {
            Some(at) => self.pages[at..].rotate_left(1),
            None => self.turn_over(boot, seq),
        }
        let page = self.pages.last_mut().expect("rotated to the end or turned over");
        let above = page.above(boot, seq).expect("found by it, or begun for it");
        let at = usize::from(page.count);
        (page.above[at], page.prints[at]) = (above, print);
        page.count += 1;
    }

    /// Puts an empty page at the end, with room for `seq`.
    fn turn_over(&mut self, boot: BootId, seq: Seq) {
        let (above, prints) = ([0; RECORDS], [Fingerprint(0); RECORDS]);
        let empty = Page { boot, lowest: seq.0.saturating_sub(BELOW), count: 0, above, prints };
        if self.pages.len() < PAGES_MAX {
            // A page at a time: most devices of a force send little between two starts.
            self.pages.reserve_exact(1);
            self.pages.push(empty);
        } else {
            self.pages.rotate_left(1);
            *self.pages.last_mut().expect("full, so not empty") = empty;
        }
    }

    /// Whether this is one of the contents known under the identity; `None` if none is.
    pub(crate) fn find(&self, boot: BootId, seq: Seq, print: Fingerprint) -> Option<bool> {
        let known = self.pages.iter().rev().flat_map(|page| page.of(boot, seq));
        known.map(|known| known == print).reduce(|any, same| any || same)
    }
}

impl Page {
    fn is_full(&self) -> bool {
        usize::from(self.count) >= RECORDS
    }

    /// Where the number stands, if the page may have it.
    fn above(&self, boot: BootId, seq: Seq) -> Option<u8> {
        let above = seq.0.checked_sub(self.lowest).filter(|_| self.boot == boot);
        above.and_then(|above| u8::try_from(above).ok())
    }

    /// What was said under the identity.
    fn of(&self, boot: BootId, seq: Seq) -> impl Iterator<Item = Fingerprint> {
        let wanted = self.above(boot, seq);
        let known = self.above.iter().zip(&self.prints).take(usize::from(self.count));
        known.filter(move |(above, _)| Some(**above) == wanted).map(|(_, print)| *print)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    const BOOT: BootId = BootId(1);

    /// Records that are known for certain: the page of the newest may have just begun.
    const KNOWN: usize = (PAGES_MAX - 1) * RECORDS;

    fn said(seq: u32, life: u32) -> Fingerprint {
        Fingerprint(seq.wrapping_mul(2_654_435_761) ^ life)
    }

    #[test]
    fn a_page_has_the_size_that_is_stated() {
        assert!(size_of::<Page>() <= 176, "{}", size_of::<Page>());
        let mut contents = Contents::default();
        (0..100_000).for_each(|seq| contents.add(BOOT, Seq(seq), said(seq, 0)));
        assert_eq!(contents.pages.len(), PAGES_MAX);
    }

    proptest! {
        /// Beside a plain set: what is found was added, and nothing is forgotten while there is room.
        #[test]
        fn it_agrees_with_a_plain_set_until_it_is_full(added in proptest::collection::vec(
            (0u32..2, prop_oneof![0u32..80, any::<u32>()], 0u32..3), 0..200))
        {
            let mut contents = Contents::default();
            let mut model = BTreeSet::new();
            for (boot, seq, print) in added {
                contents.add(BootId(boot), Seq(seq), Fingerprint(print));
                model.insert((boot, seq, print));
                let is_whole = contents.pages.len() < PAGES_MAX;
                for probe in 0..4 {
                    let others = model.range((boot, seq, 0)..=(boot, seq, u32::MAX)).count();
                    let truth = (others > 0).then(|| model.contains(&(boot, seq, probe)));
                    let found = contents.find(BootId(boot), Seq(seq), Fingerprint(probe));
                    prop_assert!(found == truth || (!is_whole && found != Some(true)), "{found:?} {truth:?}");
                }
                prop_assert_eq!(contents.find(BootId(boot), Seq(seq), Fingerprint(print)), Some(true));
                prop_assert_eq!(contents.find(BootId(7), Seq(seq), Fingerprint(print)), None);
            }
            if contents.pages.len() < PAGES_MAX {
                for (boot, seq, print) in model {
                    prop_assert_eq!(contents.find(BootId(boot), Seq(seq), Fingerprint(print)), Some(true));
                }
            }
        }

        /// A gateway of a group gets some of a device's numbers, one here and one there.
        #[test]
        fn the_newest_records_are_known_whichever_of_them_came_here(
            steps in proptest::collection::vec(1u32..6, 1..1_500), first in any::<u16>())
        {
            let mut contents = Contents::default();
            let mut came = Vec::new();
            let mut seq = u32::from(first);
            for step in steps {
                contents.add(BOOT, Seq(seq), said(seq, 0));
                came.push(seq);
                seq += step;
            }
            for seq in came.iter().rev().take(KNOWN).copied() {
                prop_assert_eq!(contents.find(BOOT, Seq(seq), said(seq, 0)), Some(true), "{}", seq);
                prop_assert_eq!(contents.find(BOOT, Seq(seq), said(seq, 1)), Some(false), "{}", seq);
                prop_assert_eq!(contents.find(BOOT, Seq(seq + 1), said(seq, 0)).is_some(), came.contains(&(seq + 1)));
            }
        }
    }

    #[test]
    fn both_lives_of_a_wiped_device_are_known_half_as_far() {
        const HALF: u32 = (KNOWN / 2) as u32;
        let mut contents = Contents::default();
        for life in 0..2 {
            (0..HALF).for_each(|seq| contents.add(BOOT, Seq(seq), said(seq, life)));
        }
        for seq in 0..HALF {
            for life in 0..2 {
                let found = contents.find(BOOT, Seq(seq), said(seq, life));
                assert_eq!(found, Some(true), "{seq} of life {life}");
            }
            assert_eq!(contents.find(BOOT, Seq(seq), said(seq, 2)), Some(false));
        }
    }

    #[test]
    fn live_records_and_a_backlog_that_come_in_turn_are_known_alike() {
        const HALF: u32 = (KNOWN / 2) as u32 - RECORDS as u32;
        let mut contents = Contents::default();
        for n in 0..HALF {
            contents.add(BOOT, Seq(100_000 + n), said(100_000 + n, 0));
            contents.add(BOOT, Seq(n), said(n, 0));
        }
        for seq in (0..HALF).flat_map(|n| [n, 100_000 + n]) {
            assert_eq!(contents.find(BOOT, Seq(seq), said(seq, 0)), Some(true), "{seq}");
        }
    }
}
