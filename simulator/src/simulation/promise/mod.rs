//! The promises, one checker each.
//!
//! **A checker sees only what a device, a force system or an auditor of the disk could see**, never what the gateway thinks
//! of itself.

mod alarm_loop;
mod balance;
mod bounds;
mod crash;
mod custody;
mod ledger;
mod never_back;
mod once;
mod overtaking;
mod receipts;
mod retention;
mod standing;

use std::{collections::BTreeSet, ops::RangeInclusive};

use fieldpost_protocol::{Class, Envelope, Lane, Receipt};

pub use super::audit::Kept;
use super::page::Page;
use crate::check::{account::AccountsPage, ledger::RecordId};

/// What is on the disk, in segments and archive.
#[derive(Debug)]
pub struct Audit<'a> {
    /// Every record that can be read.
    pub kept: &'a [Kept],
    /// The latest time that the gateway's clock has shown so far, Unix ms.
    pub latest_ms: u64,
}

/// Something that can be known from outside.
#[derive(Debug)]
pub enum Fact<'a> {
    /// A device has issued so many sequences of a boot.
    Issued {
        /// Which device.
        device: usize,
        /// Its boot.
        boot: u32,
        /// So many.
        count: u32,
        /// Whether it knows where each is.
        balances: bool,
    },
    /// A device has an alarm in its memory.
    Raised(RecordId),
    /// A wearer has heard that a person has the alarm.
    Seen(RecordId),
    /// A person at the page takes an alarm.
    Taken(RecordId),
    /// A device was told how far one of its alarms has come, whether or not that is news to its wearer.
    Told {
        /// Which step.
        receipt: Receipt,
        /// Of which alarm.
        alarm: RecordId,
    },
    /// What the page shows.
    Page(&'a Page),
    /// What the gateway uses, in bytes.
    Used {
        /// Of the disk.
        disk_bytes: u64,
        /// It may.
        disk_bytes_max: u64,
        /// Of the archive beside it.
        archive_bytes: u64,
        /// It may, and one file more while that is rewritten.
        archive_bytes_max: u64,
        /// For entries that wait for the writer.
        pending_bytes: u64,
        /// It may.
        pending_bytes_max: u64,
    },
    /// A device handed a frame to its connection.
    Published {
        /// Which device.
        device: usize,
        /// In which lane.
        lane: Lane,
        /// What.
        frame: &'a [u8],
    },
    /// A device has heard that these are STORED.
    Stored(&'a [RecordId]),
    /// The gateway has started, or the run is over: these can be read from its spool.
    Found(&'a BTreeSet<RecordId>),
    /// The force system accepted an event of this key.
    Delivered(&'a str),
    /// The gateway's disk has begun to be full, or to fail.
    DiskFails,
    /// The gateway has ended without a goodbye. Its metrics have said last that these entries were committed and kept.
    Crashed {
        /// By number.
        committed: RangeInclusive<u64>,
    },
    /// It has started, and its log says that it found these entries damaged.
    Recovered {
        /// By number.
        damaged: &'a [RangeInclusive<u64>],
    },
    /// The gateway's loss ledger says this.
    Accounts(&'a AccountsPage),
    /// Somebody holds what a device, or all, send.
    Held {
        /// Which hold.
        hold: usize,
        /// Of one device.
        device: Option<usize>,
    },
    /// Somebody has let go of it.
    Released {
        /// Which hold.
        hold: usize,
    },
    /// An auditor has read the disk.
    Audited(&'a Audit<'a>),
    /// Everything is healed and has settled.
    Settled {
        /// Records that devices still owe.
        owed: u64,
    },
    /// It has been quiet since, the clock never jumped, nobody holds anything: this is left on the disk.
    Rested {
        /// All of it.
        audit: &'a Audit<'a>,
        /// How long what has no period of its own is kept, ms.
        spool_ms: u64,
        /// And how long after its time it may still be there.
        within_ms: u64,
    },
}

/// A promise that was broken: which, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breach {
    /// The promise.
    pub promise: &'static str,
    /// What was seen.
    pub words: String,
}

/// One checker of each promise.
#[must_use]
pub fn all() -> Vec<Box<dyn Checker>> {
    vec![
        Box::<custody::Custody>::default(),
        Box::<crash::Crash>::default(),
        Box::<balance::Balance>::default(),
        Box::<never_back::NeverBack>::default(),
        Box::<alarm_loop::AlarmLoop>::default(),
        Box::<standing::Standing>::default(),
        Box::<receipts::Receipts>::default(),
        Box::<overtaking::Overtaking>::default(),
        Box::<bounds::Bounds>::default(),
        Box::<once::OnceByKey>::default(),
        Box::<ledger::LossLedger>::default(),
        Box::<retention::Retention>::default(),
    ]
}

/// Whether a frame is for the gateway alone: health, and a device's answer to a receipt.
fn stays_here(frame: &[u8]) -> bool {
    Envelope::decode(frame).is_ok_and(|envelope| [Class::HEALTH, Class::HEARD].contains(&envelope.head.class))
}

/// Watches one promise.
pub trait Checker: Send {
    /// The promise in a word.
    fn name(&self) -> &'static str;
    /// Something has become known.
    ///
    /// # Errors
    /// In words, how this breaks the promise.
    fn see(&mut self, fact: &Fact<'_>) -> Result<(), String>;
    /// Whether nothing that it knows of is still to come.
    fn is_done(&self) -> bool {
        true
    }
}
