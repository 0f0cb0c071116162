//! What a seed stands for: who is there, and what goes wrong when.
//!
//! **Each seed gets a few kinds of faults, not all of them** ("swarm testing", Groce et al. 2012): a run in which everything
//! breaks at once rarely gets far enough to show what one fault does.

use std::{collections::BTreeSet, ops::Range};

use crate::world::dice::Dice;

/// The stream of chance that the plan is drawn from.
const PLAN: u64 = 1;
/// What concerns retention has a stream of its own, so that it changes nothing else.
const RETENTION: u64 = 7;
/// So has the operator's absence.
const AWAY: u64 = 8;
/// And what has to do with a broker.
const BROKER: u64 = 9;

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Decides everything below, and every coin of the run.
    pub seed: u64,
    /// Devices.
    pub device_count: usize,
    /// Faults come in this time; then all is healed and must settle.
    pub trouble_ms: u64,
    /// Between two fixes of a device, on average.
    pub fix_ms: u64,
    /// Segments that the spool may have.
    pub segment_count: u64,
    /// Between two looks of the operator.
    pub look_ms: u64,
    /// Of so many fixes one comes with an alarm, one with a cancellation, one with a word about the battery.
    pub coin_sides: usize,
    /// What goes wrong, in order.
    pub faults: Vec<(u64, Fault)>,
    /// Legal holds; what is still held when all is healed is released then.
    pub holds: Vec<PlannedHold>,
    /// What the archive may take of the disk.
    pub archive_bytes_max: u64,
    /// Whether retention gets time in the end to remove what nobody keeps: most of a run that does.
    pub rests: bool,
    /// Between two looks of the auditor.
    pub audit_ms: u64,
    /// When nobody takes an alarm, virtual ms.
    pub away: Range<u64>,
    /// Devices whose connection is to a broker.
    pub behind_broker: BTreeSet<usize>,
}

/// Somebody holds records, and lets go of them later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedHold {
    /// Of this device, or of all.
    pub device: Option<usize>,
    /// From when.
    pub placed_ms: u64,
    /// Until when.
    pub released_ms: u64,
}

/// Something that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The gateway's process is killed; the page cache lives on.
    GatewayKilled,
    /// The gateway's host loses power: of what was not synced, each sector survives or not.
    GatewayPowerCut,
    /// A device loses power, at a write of its memory or between two.
    DevicePowerCut,
    /// A connection breaks; each side learns of it in its own time.
    ConnectionCut,
    /// A device is out of reach for a while.
    Partition {
        /// Not one device but all of them.
        everybody: bool,
        /// For so long.
        lasts_ms: u64,
    },
    /// An fdatasync fails.
    SyncFails {
        /// After so many more.
        after: u64,
    },
    /// Writes fail.
    WriteFails {
        /// After so many more.
        after: u64,
    },
    /// There is no space.
    DiskFull {
        /// For so long.
        lasts_ms: u64,
    },
    /// Every fdatasync takes up to two seconds.
    SlowDisk {
        /// For so long.
        lasts_ms: u64,
    },
    /// The force system does not answer, or takes a part and says no.
    SinkDown {
        /// For so long.
        lasts_ms: u64,
    },
    /// The gateway's wall clock jumps.
    GatewayClock {
        /// By so many seconds.
        jump_s: i64,
    },
    /// A device's satellites tell a wrong time for a while.
    DeviceClock {
        /// By so many seconds.
        jump_s: i64,
    },
    /// The broker dies, with everything that it has taken.
    BrokerKilled {
        /// For so long.
        lasts_ms: u64,
    },
    /// The broker loses, repeats and holds back.
    BrokerUnfaithful {
        /// For so long.
        lasts_ms: u64,
    },
    /// The gateway's connection to the broker breaks.
    BrokerCut,
}

impl Plan {
    /// What `seed` stands for.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut dice = Dice::new(seed, PLAN);
        let trouble_ms = 60_000 + dice.index(180_000) as u64;
        let kinds: Vec<usize> = (0..KINDS).filter(|_| dice.happens(0.4)).collect();
        let count = 2 + dice.index(12);
        let mut faults = faults(&mut dice, &kinds, count, trouble_ms);
        let fix_ms = [300, 1_000, 3_000, 10_000][dice.index(4)];
        let segment_count = [5, 8, 16, 64][dice.index(4)];
        let device_count = 1 + dice.index(4);
        let mut dice = Dice::new(seed, BROKER);
        let behind_broker = behind_broker(&mut dice, device_count);
        if !behind_broker.is_empty() {
            faults.extend(broker_faults(&mut dice, trouble_ms));
            faults.sort_by_key(|(at_ms, _)| *at_ms);
        }
        let mut dice = Dice::new(seed, RETENTION);
        let holds = holds(&mut dice, device_count, trouble_ms);
        let archive_bytes_max = match dice.index(3) {
            // What came while the clock was ahead is kept as much longer: with little room only a person could help.
            0 if !faults.iter().any(|(_, fault)| matches!(fault, Fault::GatewayClock { .. })) => 32 << 10,
            0 | 1 => 256 << 10,
            _ => 4 << 20,
        };
        Self {
            seed,
            device_count,
            trouble_ms,
            fix_ms,
            segment_count,
            look_ms: 500,
            coin_sides: 100,
            faults,
            holds,
            archive_bytes_max,
            rests: dice.happens(0.25),
            audit_ms: 20_000,
            away: away(&mut Dice::new(seed, AWAY), trouble_ms),
            behind_broker,
        }
    }

    /// A shift of `officer_count` officers on foot: a fix every 30 s, an alarm once in eight hours for every second one, and a
    /// fault of any kind five times an hour.
    #[must_use]
    pub fn shift(seed: u64, officer_count: usize, hours: u64) -> Self {
        let mut dice = Dice::new(seed, PLAN);
        let trouble_ms = hours * 3_600_000;
        let kinds: Vec<usize> = (0..KINDS).collect();
        let faults = faults(&mut dice, &kinds, hours as usize * 5, trouble_ms);
        Self {
            seed,
            device_count: officer_count,
            trouble_ms,
            fix_ms: 30_000,
            segment_count: 64,
            look_ms: 10_000,
            coin_sides: 2_000,
            faults,
            holds: holds(&mut Dice::new(seed, RETENTION), officer_count, trouble_ms),
            archive_bytes_max: 16 << 20,
            rests: true,
            audit_ms: 600_000,
            away: away(&mut Dice::new(seed, AWAY), trouble_ms),
            behind_broker: BTreeSet::new(),
        }
    }
}

/// Some of the devices in every fourth seed.
fn behind_broker(dice: &mut Dice, device_count: usize) -> BTreeSet<usize> {
    let share = if dice.happens(0.25) { 0.6 } else { 0.0 };
    (0..device_count).filter(|_| dice.happens(share)).collect()
}

fn broker_faults(dice: &mut Dice, trouble_ms: u64) -> Vec<(u64, Fault)> {
    let fault = |_| {
        let (at_ms, lasts_ms) = (dice.index(trouble_ms as usize) as u64, 500 + dice.index(30_000) as u64);
        let fault = match dice.index(3) {
            0 => Fault::BrokerKilled { lasts_ms },
            1 => Fault::BrokerUnfaithful { lasts_ms: 2 * lasts_ms },
            _ => Fault::BrokerCut,
        };
        (at_ms, fault)
    };
    (0..6).map(fault).collect()
}

/// Once for up to a minute, in every third seed; never when all is healed.
fn away(dice: &mut Dice, trouble_ms: u64) -> Range<u64> {
    if !dice.happens(0.33) {
        return 0..0;
    }
    let from_ms = dice.index(trouble_ms as usize) as u64;
    from_ms..(from_ms + 20_000 + dice.index(40_000) as u64).min(trouble_ms)
}

/// None in half of the seeds.
fn holds(dice: &mut Dice, device_count: usize, trouble_ms: u64) -> Vec<PlannedHold> {
    let count = if dice.happens(0.5) { 1 + dice.index(3) } else { 0 };
    let hold = |_| {
        let device = (!dice.happens(0.2)).then(|| dice.index(device_count));
        let placed_ms = dice.index(trouble_ms as usize) as u64;
        PlannedHold { device, placed_ms, released_ms: placed_ms + dice.index(trouble_ms as usize) as u64 }
    };
    (0..count).map(hold).collect()
}

fn faults(dice: &mut Dice, kinds: &[usize], count: usize, trouble_ms: u64) -> Vec<(u64, Fault)> {
    let mut faults: Vec<(u64, Fault)> = (0..count)
        .filter_map(|_| {
            let kind = *kinds.get(dice.index(kinds.len()))?;
            Some((dice.index(trouble_ms as usize) as u64, fault(kind, dice)))
        })
        .collect();
    faults.sort_by_key(|(at_ms, _)| *at_ms);
    faults
}

const KINDS: usize = 12;

fn fault(kind: usize, dice: &mut Dice) -> Fault {
    let lasts_ms = 500 + dice.index(45_000) as u64;
    let jumps_s = [-400_000_000, -86_400, -3_600, -30, 30, 3_600, 86_400, 400_000_000];
    let jump_s = jumps_s[dice.index(jumps_s.len())];
    match kind {
        0 => Fault::GatewayKilled,
        1 => Fault::GatewayPowerCut,
        2 => Fault::DevicePowerCut,
        3 => Fault::ConnectionCut,
        4 => Fault::Partition { everybody: dice.happens(0.3), lasts_ms },
        5 => Fault::SyncFails { after: dice.index(4) as u64 },
        6 => Fault::WriteFails { after: dice.index(4) as u64 },
        7 => Fault::DiskFull { lasts_ms },
        8 => Fault::SlowDisk { lasts_ms },
        9 => Fault::SinkDown { lasts_ms: 4 * lasts_ms },
        10 => Fault::GatewayClock { jump_s },
        _ => Fault::DeviceClock { jump_s },
    }
}
