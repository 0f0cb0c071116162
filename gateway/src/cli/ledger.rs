//! `fieldpost ledger`: what became of every sequence that a device issued, read from the data directory, whether or not
//! the gateway runs.
//!
//! The last snapshot and what the spool has after it: the same fold as the gateway's, so the same answer.

use bytes::Bytes;
use fieldpost_protocol::{DeviceId, ForceId};

use super::args::LedgerArgs;
use super::config::load;
use super::exit::{CliError, Exit};
use super::output;
use crate::config::Config;
use crate::ledger::view::{AccountView, BootView, LedgerView};
use crate::ledger::{Bounds, Ledger, snapshot};
use crate::live::unit::UnitId;
use crate::record::Record;
use crate::sealed::SealedError;
use crate::service::storage::SPOOL_DIR;
use crate::spool::{self, Lsn, RealDisk};

pub(super) fn ledger(arguments: &LedgerArgs) -> Result<(), CliError> {
    let config = load(&arguments.file)?;
    let ledger = read(&config)?;
    let unit = unit(&arguments.device, arguments.force.as_ref(), &ledger)?;
    let view = LedgerView::of(&ledger, &unit);
    if arguments.json {
        output::json(&view);
    } else {
        view.accounts.iter().for_each(print);
        if view.missed > 0 {
            output::note(&format!(
                "{} entries of the spool were gone or damaged before they were accounted for: of any device",
                view.missed
            ));
        }
    }
    Ok(())
}

/// The snapshot, and every record after it.
pub(super) fn read(config: &Config) -> Result<Ledger, CliError> {
    let dir = config.data_dir.join(SPOOL_DIR);
    if !dir.is_dir() {
        let message = format!("{} does not exist: the gateway has not run yet", dir.display());
        return Err(CliError::new(Exit::Unavailable, message));
    }
    let mut ledger = snapshot::read(&RealDisk, &config.data_dir, Bounds::default())
        .map_err(|error| {
            let exit = match error {
                SealedError::Unreadable { .. } => Exit::Io,
                SealedError::Damaged { .. } => Exit::Data,
            };
            CliError::new(exit, error)
        })?
        .unwrap_or_else(|| Ledger::new(Bounds::default()));
    let first = ledger.folded().next();
    spool::export(&dir, first, Lsn(u64::MAX), &mut |entry| {
        // What is damaged, or retired while we read, is a step in the numbers.
        let due = ledger.folded().next();
        ledger.miss(entry.lsn.0 - due.0, Lsn(entry.lsn.0 - 1));
        match Record::decode(entry.lsn, &Bytes::copy_from_slice(entry.payload)) {
            Ok(record) => ledger.fold(&record),
            Err(_) => ledger.miss(1, entry.lsn),
        }
        Ok(())
    })?;
    Ok(ledger)
}

/// The one device that is meant.
pub(super) fn unit(device: &DeviceId, force: Option<&ForceId>, ledger: &Ledger) -> Result<UnitId, CliError> {
    let known: Vec<&UnitId> = ledger
        .accounts(None)
        .map(|(unit, _)| unit)
        .filter(|unit| unit.device == *device)
        .filter(|unit| force.is_none_or(|force| unit.force == *force))
        .collect();
    match known.as_slice() {
        [unit] => Ok((*unit).clone()),
        [] => {
            let message =
                format!("nothing was ever heard of {device}: see `fieldpost pki list` for its name");
            Err(CliError::new(Exit::Data, message))
        }
        several => {
            let forces: Vec<_> = several.iter().map(|unit| unit.force.as_str()).collect();
            let message = format!("{device} is a device of {}: name one with --force", forces.join(" and "));
            Err(CliError::new(Exit::Usage, message))
        }
    }
}

fn print(account: &AccountView) {
    output::line(&format!("{}  {}", account.unit, words(account.counts.iter())));
    account.boots.iter().for_each(print_boot);
    if let Some(earlier) = &account.earlier {
        output::line(&format!("  {} earlier boots  {}", earlier.boots, words(earlier.counts.iter())));
    }
    if account.unnumbered > 0 {
        output::line(&format!("  {} payloads in quarantine have no sequence", account.unnumbered));
    }
}

fn print_boot(boot: &BootView) {
    let newest = boot.newest.map_or_else(|| "nothing".to_owned(), |newest| format!("0 to {newest}"));
    output::line(&format!("  boot {}: {newest}  {}", boot.boot, words(boot.counts.iter())));
    if boot.repeated > 0 {
        output::line(&format!(
            "    {} records under a sequence that was used before: the device was wiped, or its key is copied",
            boot.repeated
        ));
    }
    if boot.settled > 0 {
        output::line(&format!("    0 to {}  known in number only", boot.settled - 1));
    }
    for range in boot.ranges.iter().filter(|range| range.fate.as_str() != "stored") {
        output::line(&format!("    {} to {}  {}", range.first, range.last, range.fate.as_str()));
    }
}

fn words<'a>(counts: impl Iterator<Item = (&'a &'static str, &'a u64)>) -> String {
    counts.map(|(fate, count)| format!("{count} {fate}")).collect::<Vec<_>>().join(", ")
}
