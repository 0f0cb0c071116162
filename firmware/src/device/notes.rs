//! What a device remembers across restarts beside its records: duty, the duty switch, check-ins, command ids, and the alarms
//! that the wearer has not taken back.
//!
//! ```text
//! version u8 | duty u8 | switch u8: 0 off, 1 on, 2 unknown | check-in u16, s | count u8 | command ids u32
//! | alarms: boot u32, sequence u32, cause u8, flags u8: 1 silent, 2 prints known; two prints u32
//!                                                                                   (numbers little end first)
//! ```
//! Version 1 had no prints and is still read.
//!
//! **A command is remembered before it is carried out**: a power cut in between loses it, which the sender sees; carrying it
//! out twice nobody would. **An emergency outlives a restart**, and so does its silence: a device that restarts in a scuffle
//! must not light up. Its prints outlive the restart with it: by its number alone a receipt of another life of a wiped device
//! would tell the wearer that this alarm was seen. Written only when something changed, a few times a shift.

use fieldpost_protocol::{AlarmCause, BootId, Duty, Print, Seq};

use super::Device;
use crate::{
    rules::{ACTIVE_COUNT_MAX, Active, ActiveAlarms, AlarmId, is_emergency},
    storage::{NOTE_BYTES_MAX, Note, Storage},
};

/// Command ids remembered, so that a repeated one is carried out once.
pub(super) const COMMANDS_REMEMBERED: usize = 16;

const VERSION: u8 = 2;
const VERSION_WITHOUT_PRINTS: u8 = 1;
const HEAD_BYTES: usize = 6;
const NAME_BYTES: usize = 10;
const PRINTS_BYTES: usize = 8;
const ALARM_BYTES: usize = NAME_BYTES + PRINTS_BYTES;
const SWITCH_UNKNOWN: u8 = 2;
const SILENT: u8 = 1;
const PRINTS_KNOWN: u8 = 2;

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
        let (&[version, duty, switch, low, high, count], rest) = note.split_first_chunk::<HEAD_BYTES>()?;
        let alarm_bytes = match version {
            VERSION => ALARM_BYTES,
            VERSION_WITHOUT_PRINTS => NAME_BYTES,
            _ => return None,
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
        let mut alarms = alarms.chunks_exact(alarm_bytes);
        for alarm in &mut alarms {
            remembered.active.push(decode_alarm(alarm)?).ok()?;
        }
        alarms.remainder().is_empty().then_some(remembered)
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
    let flags =
        if active.silent { SILENT } else { 0 } | if active.prints.is_some() { PRINTS_KNOWN } else { 0 };
    let [first, second] = active.prints.unwrap_or([Print(0); 2]);
    let mut alarm = [0; ALARM_BYTES];
    alarm[..4].copy_from_slice(&active.id.boot.0.to_le_bytes());
    alarm[4..8].copy_from_slice(&active.id.seq.0.to_le_bytes());
    alarm[8..NAME_BYTES].copy_from_slice(&[active.cause.0, flags]);
    alarm[NAME_BYTES..][..4].copy_from_slice(&first.0.to_le_bytes());
    alarm[NAME_BYTES + 4..].copy_from_slice(&second.0.to_le_bytes());
    alarm
}

/// With its prints or without.
fn decode_alarm(alarm: &[u8]) -> Option<Active> {
    let (name, prints) = alarm.split_first_chunk::<NAME_BYTES>()?;
    let ([boot, seq], [cause, flags]) = (words(name)?, [name[8], name[9]]);
    let prints = words(prints).filter(|_| flags & PRINTS_KNOWN != 0);
    Some(Active {
        id: AlarmId { boot: BootId(boot), seq: Seq(seq) },
        cause: AlarmCause(cause),
        silent: flags & SILENT != 0,
        prints: prints.map(|prints| prints.map(Print)),
        raised_ms: None,
    })
}

/// The first two numbers.
fn words(bytes: &[u8]) -> Option<[u32; 2]> {
    let (words, _) = bytes.as_chunks::<4>();
    Some([u32::from_le_bytes(*words.first()?), u32::from_le_bytes(*words.get(1)?)])
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
            let owed = self.outbox.alarm_prints(active.id.boot, active.id.seq);
            self.heard.follow(active.id, owed.or(active.prints));
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
        let active =
            |n: u8| decode_alarm(&[[n; 9].as_slice(), &[SILENT | PRINTS_KNOWN], &[n; 8]].concat()).unwrap();
        let remembered = Remembered {
            switch: Some(true),
            check_in_s: 1800,
            commands,
            active: [1, 2, 3, 4].map(active).into_iter().collect(),
            ..Remembered::new(Duty::PRISONER)
        };
        assert_eq!(remembered.encode().len(), 142);
        assert_eq!(Remembered::decode(&remembered.encode()), Some(remembered));
    }

    #[test]
    fn a_note_of_firmware_that_kept_no_prints_is_read_without_them() {
        let note = [1, 1, 2, 0, 0, 0, 7, 0, 0, 0, 9, 0, 0, 0, 1, 1];
        let remembered = Remembered::decode(&note).unwrap();
        let [active] = remembered.active[..] else { panic!("one alarm: {:?}", remembered.active) };
        assert_eq!((active.id, active.silent), (AlarmId { boot: BootId(7), seq: Seq(9) }, true));
        assert_eq!(active.prints, None);
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
