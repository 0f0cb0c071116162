//! What a device remembers across restarts beside its records: duty, the duty switch, check-ins, command ids, and the alarms
//! that the wearer has not taken back.
//!
//! ```text
//! version u8 | duty u8 | switch u8: 0 off, 1 on, 2 unknown | check-in u16, s | count u8 | command ids u32
//! | alarms: boot u32, sequence u32, cause u8, silent u8                              (numbers little end first)
//! ```
//!
//! **A command is remembered before it is carried out**: a power cut in between loses it, which the sender sees; carrying it
//! out twice nobody would. **An emergency outlives a restart**, and so does its silence: a device that restarts in a scuffle
//! must not light up. Written only when something changed, a few times a shift.

use fieldpost_protocol::{AlarmCause, BootId, Duty, Seq};

use super::Device;
use crate::{
    rules::{ACTIVE_COUNT_MAX, Active, ActiveAlarms, AlarmId, is_emergency},
    storage::{NOTE_BYTES_MAX, Note, Storage},
};

/// Command ids remembered, so that a repeated one is carried out once.
pub(super) const COMMANDS_REMEMBERED: usize = 16;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 6;
const ALARM_BYTES: usize = 10;
const SWITCH_UNKNOWN: u8 = 2;

const _: () = assert!(
    HEAD_BYTES + 4 * COMMANDS_REMEMBERED + ALARM_BYTES * ACTIVE_COUNT_MAX <= NOTE_BYTES_MAX,
    "a note fits its storage"
);

/// What the note says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remembered {
    pub(super) duty: Duty,
    /// Position of the duty switch when it was last seen.
    pub(super) switch: Option<bool>,
    pub(super) check_in_s: u16,
    /// Oldest first.
    pub(super) commands: heapless::Deque<u32, COMMANDS_REMEMBERED>,
    /// As the rules have them; when they were raised is not kept.
    pub(super) active: ActiveAlarms,
}

impl Remembered {
    /// Nothing yet but a duty.
    pub(super) fn new(duty: Duty) -> Self {
        Self {
            duty,
            switch: None,
            check_in_s: 0,
            commands: heapless::Deque::new(),
            active: ActiveAlarms::new(),
        }
    }

    /// Reads a note; one of another version or shape says nothing.
    fn decode(note: &[u8]) -> Option<Self> {
        let (&[VERSION, duty, switch, low, high, count], rest) = note.split_first_chunk::<HEAD_BYTES>()?
        else {
            return None;
        };
        let (ids, alarms) = rest.split_at_checked(4 * usize::from(count))?;
        let mut remembered = Self {
            switch: (switch < SWITCH_UNKNOWN).then_some(switch == 1),
            check_in_s: u16::from_le_bytes([low, high]),
            ..Self::new(Duty(duty))
        };
        for id in ids.as_chunks::<4>().0 {
            remembered.commands.push_back(u32::from_le_bytes(*id)).ok()?;
        }
        let (alarms, []) = alarms.as_chunks::<ALARM_BYTES>() else { return None };
        for alarm in alarms {
            remembered.active.push(decode_alarm(*alarm)).ok()?;
        }
        Some(remembered)
    }

    fn encode(&self) -> Note {
        let switch = self.switch.map_or(SWITCH_UNKNOWN, u8::from);
        let [low, high] = self.check_in_s.to_le_bytes();
        // At most 16.
        let count = self.commands.len() as u8;
        let head = [VERSION, self.duty.0, switch, low, high, count];
        let ids = self.commands.iter().flat_map(|id| id.to_le_bytes());
        let alarms = self.active.iter().flat_map(encode_alarm);
        head.into_iter().chain(ids).chain(alarms).collect()
    }
}

fn encode_alarm(active: &Active) -> [u8; ALARM_BYTES] {
    let [b0, b1, b2, b3] = active.id.boot.0.to_le_bytes();
    let [s0, s1, s2, s3] = active.id.seq.0.to_le_bytes();
    [b0, b1, b2, b3, s0, s1, s2, s3, active.cause.0, active.silent.into()]
}

fn decode_alarm([b0, b1, b2, b3, s0, s1, s2, s3, cause, silent]: [u8; ALARM_BYTES]) -> Active {
    let boot = BootId(u32::from_le_bytes([b0, b1, b2, b3]));
    let seq = Seq(u32::from_le_bytes([s0, s1, s2, s3]));
    let id = AlarmId { boot, seq };
    Active { id, cause: AlarmCause(cause), silent: silent != 0, raised_ms: None }
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
        for active in &self.remembered.active {
            self.rules.note_raised(*active);
            let prints = self.outbox.alarm_prints(active.id.boot, active.id.seq);
            self.heard.follow(active.id, prints);
            if is_emergency(active.cause) {
                self.sampler.begin_emergency(0);
            }
        }
    }

    /// Changes what is remembered, and writes it if it changed.
    pub(super) fn remember(&mut self, change: impl FnOnce(&mut Remembered)) {
        let before = self.remembered.encode();
        change(&mut self.remembered);
        let after = self.remembered.encode();
        if after != before {
            self.outbox.write_note(&after);
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
        let active = |n| decode_alarm([n, n, n, n, n, n, n, n, n, 1]);
        let remembered = Remembered {
            switch: Some(true),
            check_in_s: 1800,
            commands,
            active: [1, 2, 3, 4].map(active).into_iter().collect(),
            ..Remembered::new(Duty::PRISONER)
        };
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
