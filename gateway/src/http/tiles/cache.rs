//! Tiles that were asked for, so that ten consoles ask the force's server once.
//!
//! **Bounded twice**, in bytes and in entries; what was used longest ago goes first. An entry is fresh for
//! [`FRESH_FOR`]; older ones stay, for when the server cannot be asked.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use super::server::Tile;
use super::template::Place;

/// How long a tile is not asked for again. A street does not move within an hour.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(3_600);
/// "There is nothing there" costs no bytes of a tile, so entries have a bound of their own.
pub(super) const ENTRIES_MAX: usize = 8_192;

/// The cache.
#[derive(Debug)]
pub(super) struct Cache {
    bytes_max: usize,
    bytes: usize,
    entries: HashMap<Place, Entry>,
    /// Places by when they were last used.
    uses: BTreeMap<u64, Place>,
    uses_count: u64,
}

#[derive(Debug)]
struct Entry {
    /// `None`: there is nothing to draw there.
    tile: Option<Tile>,
    at: Instant,
    used: u64,
}

/// What is known of a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) tile: Option<Tile>,
    pub(super) is_fresh: bool,
}

impl Cache {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, entries: HashMap::new(), uses: BTreeMap::new(), uses_count: 0 }
    }

    pub(super) fn get(&mut self, place: Place, now: Instant) -> Option<Known> {
        let entry = self.entries.get_mut(&place)?;
        self.uses.remove(&entry.used);
        self.uses_count += 1;
        entry.used = self.uses_count;
        self.uses.insert(entry.used, place);
        let is_fresh = now.saturating_duration_since(entry.at) < FRESH_FOR;
        Some(Known { tile: entry.tile.clone(), is_fresh })
    }

    pub(super) fn put(&mut self, place: Place, tile: Option<Tile>, now: Instant) {
        self.remove(place);
        let bytes = bytes_of(tile.as_ref());
        if bytes > self.bytes_max {
            return;
        }
        while self.bytes + bytes > self.bytes_max || self.entries.len() >= ENTRIES_MAX {
            let (_, oldest) = self.uses.pop_first().expect("what is over a bound holds something");
            self.remove(oldest);
        }
        self.uses_count += 1;
        self.uses.insert(self.uses_count, place);
        self.entries.insert(place, Entry { tile, at: now, used: self.uses_count });
        self.bytes += bytes;
    }

    fn remove(&mut self, place: Place) {
        if let Some(entry) = self.entries.remove(&place) {
            self.uses.remove(&entry.used);
            self.bytes -= bytes_of(entry.tile.as_ref());
        }
    }
}

fn bytes_of(tile: Option<&Tile>) -> usize {
    tile.map_or(0, |tile| tile.bytes.len())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::archive::{Coding, Kind};
    use super::*;

    fn tile(bytes: usize) -> Tile {
        Tile { bytes: Bytes::from(vec![7; bytes]), kind: Kind::Vector, coding: Coding::Plain }
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let now = Instant::now();
        let mut cache = Cache::new(100);
        cache.put((1, 0, 0), Some(tile(40)), now);
        cache.put((1, 1, 0), Some(tile(40)), now);
        cache.get((1, 0, 0), now).unwrap();
        cache.put((1, 1, 1), Some(tile(40)), now);
        assert!(cache.get((1, 0, 0), now).is_some());
        assert_eq!(cache.get((1, 1, 0), now), None);
        cache.put((2, 0, 0), Some(tile(101)), now);
        assert_eq!(cache.get((2, 0, 0), now), None, "what is larger than all of it pushes nothing out");
        assert!(cache.get((1, 1, 1), now).is_some());
    }

    #[test]
    fn a_tile_is_fresh_for_an_hour_and_known_for_longer() {
        let now = Instant::now();
        let mut cache = Cache::new(100);
        cache.put((0, 0, 0), Some(tile(9)), now);
        assert_eq!(cache.get((0, 0, 0), now), Some(Known { tile: Some(tile(9)), is_fresh: true }));
        let later = cache.get((0, 0, 0), now + FRESH_FOR);
        assert_eq!(later, Some(Known { tile: Some(tile(9)), is_fresh: false }));
    }

    proptest! {
        #[test]
        fn it_never_holds_more_than_its_bounds_and_never_another_tile(
            steps in prop::collection::vec((0_u32..12, prop::option::of(0_usize..60)), 1..200),
        ) {
            let now = Instant::now();
            let mut cache = Cache::new(150);
            let mut newest = HashMap::new();
            for (column, bytes) in steps {
                let place = (5, column, 0);
                if let Some(bytes) = bytes {
                    let put = (bytes % 7 > 0).then(|| tile(bytes));
                    cache.put(place, put.clone(), now);
                    newest.insert(place, put);
                } else if let Some(known) = cache.get(place, now) {
                    prop_assert_eq!(&known.tile, &newest[&place]);
                }
                let held: usize = cache.entries.values().map(|entry| bytes_of(entry.tile.as_ref())).sum();
                prop_assert!(held == cache.bytes && held <= 150);
                prop_assert_eq!(cache.uses.len(), cache.entries.len());
            }
        }
    }
}
