//! What a device remembers across restarts beside its records: duty, the duty switch, check-ins, command ids.
//!
//! ```text
//! version u8 | duty u8 | switch u8: 0 off, 1 on, 2 unknown | check-in u16 little end first, s | command ids u32 little end first
//! ```
//!
//! **A command is remembered before it is carried out**: a power cut in between loses it, which the sender sees; carrying it
//! out twice nobody would. Written only when something changed, a few times a shift.

use fieldpost_protocol::Duty;

use super::Device;
use crate::storage::{NOTE_BYTES_MAX, Note, Storage};

/// Command ids remembered, so that a repeated one is carried out once.
pub(super) const COMMANDS_REMEMBERED: usize = 16;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 5;
const SWITCH_UNKNOWN: u8 = 2;

const _: () = assert!(HEAD_BYTES + 4 * COMMANDS_REMEMBERED <= NOTE_BYTES_MAX, "a note fits its storage");

/// What the note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) duty: Duty,
    /// Position of the duty switch when it was last seen.
    pub(super) switch: Option<bool>,
    pub(super) check_in_s: u16,
    /// Oldest first.
    pub(super) commands: heapless::Deque<u32, COMMANDS_REMEMBERED>,
}

impl Remembered {
    /// Nothing yet but a duty.
    pub(super) fn new(duty: Duty) -> Self {
        Self { duty, switch: None, check_in_s: 0, commands: heapless::Deque::new() }
    }

    /// Reads a note; one of another version or length says nothing.
    fn decode(note: &[u8]) -> Option<Self> {
        let (&[VERSION, duty, switch, low, high], ids) = note.split_first_chunk::<HEAD_BYTES>()? else {
            return None;
        };
        let (ids, []) = ids.as_chunks::<4>() else { return None };
        let mut commands = heapless::Deque::new();
        for id in ids {
            commands.push_back(u32::from_le_bytes(*id)).ok()?;
        }
        let switch = match switch {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        Some(Self { duty: Duty(duty), switch, check_in_s: u16::from_le_bytes([low, high]), commands })
    }

    fn encode(&self) -> Note {
        let switch = self.switch.map_or(SWITCH_UNKNOWN, u8::from);
        let [low, high] = self.check_in_s.to_le_bytes();
        let head = [VERSION, self.duty.0, switch, low, high];
        let ids = self.commands.iter().flat_map(|id| id.to_le_bytes());
        head.into_iter().chain(ids).collect()
    }
}

impl<S: Storage> Device<S> {
    /// Takes over what an earlier start remembered.
    pub(super) fn recall(&mut self) {
        let Some(remembered) = self.outbox.read_note().and_then(|note| Remembered::decode(&note)) else {
            return;
        };
        self.remembered = remembered;
        // A fresh set of rules runs nothing that duty or a new interval could end.
        let _ = self.rules.on_duty(0, self.remembered.duty);
        let _ = self.rules.expect_check_ins(0, self.check_in_interval_ms());
    }

    /// Changes what is remembered, and writes it if it changed.
    pub(super) fn remember(&mut self, change: impl FnOnce(&mut Remembered)) {
        let before = self.remembered.clone();
        change(&mut self.remembered);
        if self.remembered != before {
            self.outbox.write_note(&self.remembered.encode());
        }
    }

    pub(super) fn check_in_interval_ms(&self) -> Option<u64> {
        let seconds = self.remembered.check_in_s;
        (seconds != 0).then(|| u64::from(seconds) * 1000)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn a_full_note_is_read_back() {
        let mut commands = heapless::Deque::new();
        (0..16).for_each(|n| commands.push_back(n * 0x0101_0101).unwrap());
        let remembered =
            Remembered { switch: Some(true), check_in_s: 1800, commands, ..Remembered::new(Duty::PRISONER) };
        assert_eq!(Remembered::decode(&remembered.encode()), Some(remembered));
    }

    proptest! {
        #[test]
        fn whatever_the_storage_returns_is_a_note_or_none(bytes in prop::collection::vec(any::<u8>(), 0..NOTE_BYTES_MAX)) {
            if let Some(remembered) = Remembered::decode(&bytes) {
                assert_eq!(Remembered::decode(&remembered.encode()), Some(remembered));
            }
        }
    }
}
