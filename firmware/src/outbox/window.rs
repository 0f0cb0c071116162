//! What is on the air: published and not yet STORED.

use fieldpost_protocol::{Lane, limits::BATCH_ITEMS_MAX};

use crate::storage::Key;

/// Most publishes in flight. The gateway announces a receive maximum of 100 or more; eight batches of thirty cover a
/// second of round trip at 240 positions.
pub const WINDOW_COUNT_MAX: usize = 8;

/// Names one publish until it is answered or the connection ends. Not used twice within one start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Handle(pub u32);

/// Keys of the records in one frame.
pub(super) type FrameKeys = heapless::Vec<Key, BATCH_ITEMS_MAX>;

#[derive(Debug, Clone)]
pub(super) struct InFlight {
    pub(super) handle: Handle,
    pub(super) lane: Lane,
    pub(super) sent_ms: u64,
    pub(super) keys: FrameKeys,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Window {
    frames: heapless::Vec<InFlight, WINDOW_COUNT_MAX>,
    next_handle: u32,
}

impl Window {
    pub(super) fn count(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn count_of(&self, lane: Lane) -> usize {
        self.frames.iter().filter(|frame| frame.lane == lane).count()
    }

    pub(super) fn holds(&self, key: Key) -> bool {
        self.frames.iter().any(|frame| frame.keys.contains(&key))
    }

    pub(super) fn oldest_sent_ms(&self) -> Option<u64> {
        self.frames.iter().map(|frame| frame.sent_ms).min()
    }

    /// Notes a frame as sent. The caller has checked that there is room.
    pub(super) fn add(&mut self, lane: Lane, sent_ms: u64, keys: FrameKeys) -> Handle {
        let handle = Handle(self.next_handle);
        self.next_handle = self.next_handle.wrapping_add(1);
        self.frames
            .push(InFlight { handle, lane, sent_ms, keys })
            .expect("the window has room: the lane's limit is below WINDOW_COUNT_MAX");
        handle
    }

    pub(super) fn take(&mut self, handle: Handle) -> Option<InFlight> {
        let place = self.frames.iter().position(|frame| frame.handle == handle)?;
        Some(self.frames.remove(place))
    }

    /// A record is STORED: its frame is answered once all of its records are.
    pub(super) fn settle(&mut self, key: Key) {
        for frame in &mut self.frames {
            frame.keys.retain(|held| *held != key);
        }
        self.frames.retain(|frame| !frame.keys.is_empty());
    }

    /// Lane and key of everything in flight, in the order in which it was sent, and `None` behind the last.
    pub(super) fn nth(&self, place: usize) -> Option<(Lane, Key)> {
        let all = self.frames.iter().flat_map(|frame| frame.keys.iter().map(|key| (frame.lane, *key)));
        all.into_iter().nth(place)
    }

    /// The newest frame, removed.
    pub(super) fn take_newest(&mut self) -> Option<InFlight> {
        self.frames.pop()
    }
}
