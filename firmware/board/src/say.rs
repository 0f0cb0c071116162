//! **Every log line that a rig reads, and no other place writes one.** A line is stable: rigs match its beginning.
//!
//! No line holds a position, a key, or what a peer sent.

use embassy_time::Duration;
use fieldpost_firmware::{
    HangUp, Ledger, Notice, StartError, StorageError, UplinkCounters,
    slot::{Provision, SlotError, SlotName, SlotsError},
    storage::FlashReport,
};
use fieldpost_link::{ConfigError, End};

use crate::{
    board::{Ending, HEAP_BYTES, NoController, Usage, stack_bytes},
    guard::Watched,
};

/// The first line of every life.
pub(crate) fn start(ending: &Ending) {
    defmt::info!(
        "start version={=str} cause={} place={=u32} file={=u32:08x} entropy=emulated",
        env!("CARGO_PKG_VERSION"),
        ending.cause,
        ending.place,
        ending.file
    );
}

/// What this body made of a script, and whether it is what every body makes of it.
#[cfg(feature = "trace")]
pub(crate) fn trace(which: usize, outcome: Result<fieldpost_firmware::trace::Outcome, StartError>) {
    match outcome {
        Ok(outcome) => defmt::info!(
            "trace which={=usize} hash={=u64:016x} frames={=u32} as_expected={=bool}",
            which,
            outcome.hash,
            outcome.frame_count,
            outcome == fieldpost_firmware::trace::EXPECTED[which]
        ),
        Err(error) => no_device(&error),
    }
}

/// The device has its storage and its boot id.
pub(crate) fn boot(ledger: &Ledger) {
    defmt::info!("boot id={=u32} owed={=u32}", ledger.boot.0, ledger.owed_at_start);
}

/// What the start found in flash, one line in every life; `flash: ..` lines before it say what a person should know.
pub(crate) fn flash(report: &FlashReport) {
    defmt::info!("flash {}", report);
}

/// The flash cannot be read at all; a reset follows.
pub(crate) fn no_storage(error: StorageError) {
    defmt::error!("no device: flash: {}", error);
}

/// Without storage there is no device; a reset follows.
pub(crate) fn no_device(error: &StartError) {
    defmt::error!("no device: {}", defmt::Debug2Format(error));
}

/// Without a controller there is no network; sensing and storing go on.
pub(crate) fn no_controller(_: NoController) {
    defmt::error!("no network: the Ethernet controller does not answer");
}

/// The cable.
pub(crate) fn cable(is_up: bool) {
    if is_up {
        defmt::info!("cable up");
    } else {
        defmt::warn!("cable down");
    }
}

/// An address from DHCP.
pub(crate) fn address(octets: [u8; 4]) {
    defmt::info!("address {=u8}.{=u8}.{=u8}.{=u8}", octets[0], octets[1], octets[2], octets[3]);
}

/// No address any more, or none yet; asking goes on, records are kept.
pub(crate) fn no_address() {
    defmt::warn!("no address: asking goes on, records are kept");
}

/// The device dials.
pub(crate) fn dial(attempt: u32) {
    defmt::info!("dial attempt={=u32}", attempt);
}

/// The gateway is verified and has taken the device in.
pub(crate) fn link_up(attempt: u32, session_present: bool) {
    defmt::info!("link up attempt={=u32} session={=bool}", attempt, session_present);
}

/// The attempt failed or the connection ended. The text is ours, never the peer's.
pub(crate) fn link_down(attempt: u32, end: End) {
    defmt::warn!("link down attempt={=u32}: {=str} ({})", attempt, end.as_str(), end);
}

/// The slot in force.
pub(crate) fn slot(name: SlotName, provision: &Provision<'_>, other: Option<SlotError>) {
    defmt::info!("slot {}: {}", name, provision);
    if let Some(error) = other {
        defmt::warn!("slot {} refused: {}", name.other(), error);
    }
}

/// No slot can be used: the device has no name, records nothing and does not connect.
pub(crate) fn no_slot(error: &SlotsError) {
    defmt::error!("no slot: A {}, B {}: provision the device", error.a, error.b);
}

/// The slot is whole, but no connection can be made with what is in it; records are kept.
pub(crate) fn unusable_identity(error: ConfigError) {
    defmt::error!("identity refused: {=str}", error.as_str());
}

/// The device hangs up.
pub(crate) fn hang_up(reason: HangUp) {
    defmt::warn!("hang up: {}", reason);
}

/// Something to tell the wearer.
pub(crate) fn notice(notice: &Notice) {
    match notice {
        // The text is the control room's: it is shown, not logged.
        Notice::Show(text) => defmt::info!("notice Show bytes={=usize}", text.len()),
        other => defmt::info!("notice {}", other),
    }
}

/// Where the records are, at every change, at most once a second.
pub(crate) fn ledger(ledger: &Ledger, uplink: &UplinkCounters) {
    defmt::info!(
        "ledger issued={=u32} stored={=u32} lost={=u32} owed={=u32} connections={=u32} resumed={=u32}",
        ledger.issued,
        ledger.stored,
        ledger.lost,
        ledger.owed,
        uplink.connections,
        uplink.sessions_resumed
    );
}

/// The costs so far, for the table of sizes.
pub(crate) fn usage(usage: Usage, asleep: Duration, sense_late: Duration, gnss_dropped_bytes: u32) {
    defmt::info!(
        "usage heap={=usize} heap_peak={=usize} heap_size={=usize} stack_peak={=usize} stack_size={=usize} sense_late_us_max={=u64} gnss_dropped={=u32} idle_us={=u64}",
        usage.heap_bytes,
        usage.heap_peak_bytes,
        HEAP_BYTES,
        usage.stack_peak_bytes,
        stack_bytes(),
        sense_late.as_micros(),
        gnss_dropped_bytes,
        asleep.as_micros(),
    );
}

/// A task has not reported: the watchdog is no longer fed.
pub(crate) fn silent(watched: Watched) {
    defmt::error!("silent task={}: waiting for the watchdog", watched);
}
