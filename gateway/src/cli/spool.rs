//! `fieldpost spool ls|verify|export`: looks at the store from outside, whether or not the gateway runs.

use std::path::PathBuf;

use bytes::Bytes;
use serde_json::json;

use crate::record::{Record, RecordKind};
use crate::service::storage::SPOOL_DIR;
use crate::spool::{self, ArchiveVerdict, ExportedEntry, Lsn, RealDisk, SpoolError};

use super::args::{SpoolCommand, SpoolDir};
use super::config::load;
use super::exit::{CliError, Exit};
use super::output;

pub(super) fn dispatch(command: &SpoolCommand) -> Result<(), CliError> {
    match command {
        SpoolCommand::Ls { dir, json } => ls(dir, *json),
        SpoolCommand::Verify { dir, json } => verify(dir, *json),
        SpoolCommand::Export { dir, from, to } => export(dir, Lsn(*from), Lsn(*to)),
    }
}

pub(super) fn directory(dir: &SpoolDir) -> Result<PathBuf, CliError> {
    let path = match &dir.dir {
        Some(path) => path.clone(),
        None => load(&dir.config)?.data_dir.join(SPOOL_DIR),
    };
    if path.is_dir() {
        Ok(path)
    } else {
        Err(CliError::new(
            Exit::Unavailable,
            format!("{} does not exist: the gateway has not run yet", path.display()),
        ))
    }
}

fn ls(dir: &SpoolDir, as_json: bool) -> Result<(), CliError> {
    let listing = spool::ls(&directory(dir)?)?;
    if as_json {
        output::json(&listing);
        return Ok(());
    }
    for segment in &listing.segments {
        let last = segment.last.map_or_else(|| "...".to_owned(), |last| last.to_string());
        output::line(&format!("{}  {} to {last}  {} bytes", segment.file, segment.first, segment.bytes));
    }
    if listing.archive_files_count > 0 {
        let (files, bytes) = (listing.archive_files_count, listing.archive_bytes);
        output::line(&format!("archive: {files} files, {bytes} bytes, kept of segments that went"));
    }
    for cursor in &listing.cursors {
        output::line(&format!("cursor {} at {}", cursor.name, cursor.position));
    }
    output::line(&format!("{} spare files, {} bytes in all", listing.spares_count, listing.bytes));
    Ok(())
}

fn verify(dir: &SpoolDir, as_json: bool) -> Result<(), CliError> {
    let found = spool::verify(&directory(dir)?)?;
    if as_json {
        output::json(&found);
    } else {
        output::line(&format!("{} records intact, {} to {}", found.entries_count, found.first, found.last));
        for gap in &found.damaged {
            output::line(&format!("DAMAGED: records {} to {} are lost", gap.from, gap.to));
        }
        print_archive(&found.archive);
        for cursor in &found.cursors_damaged {
            output::line(&format!("DAMAGED: cursor {cursor}; its sink starts again at the earliest record"));
        }
        if let Some(torn) = &found.torn {
            output::line(&format!(
                "{} bytes of an unfinished write at the end: never acknowledged",
                torn.bytes
            ));
        }
    }
    if found.is_sound { Ok(()) } else { Err(CliError::silent(Exit::Data)) }
}

fn print_archive(archive: &[ArchiveVerdict]) {
    if archive.is_empty() {
        return;
    }
    let entries_count: u64 = archive.iter().map(|file| file.entries_count).sum();
    output::line(&format!("archive: {entries_count} records intact in {} files", archive.len()));
    for file in archive {
        if !file.header_is_readable {
            output::line(&format!("DAMAGED: archive/{}: all of it is lost", file.file));
        } else if file.damaged_count > 0 {
            output::line(&format!("DAMAGED: archive/{}: {} records are lost", file.file, file.damaged_count));
        }
    }
}

/// One JSON object a line. What is kept of segments that went comes first. Holds positions: standard output is the caller's to guard.
fn export(dir: &SpoolDir, from: Lsn, to: Lsn) -> Result<(), CliError> {
    let dir = directory(dir)?;
    let first = spool::ls(&dir)?.segments.first().map_or(Lsn(u64::MAX), |segment| segment.first);
    let (mut archived_count, mut damage) = (0, Vec::new());
    let each = &mut |entry: ExportedEntry<'_>| {
        // What is in a segment still comes from there.
        if (from..=to).contains(&entry.lsn) && entry.lsn < first {
            output::line(&line(&entry).to_string());
            archived_count += 1;
        }
    };
    spool::walk_archive(&RealDisk, &dir, each, &mut |verdict| {
        if verdict.damaged_count > 0 || !verdict.header_is_readable {
            damage.push(verdict);
        }
    })?;
    let summary = spool::export(&dir, from, to, &mut |entry| {
        output::line(&line(&entry).to_string());
        Ok(())
    })?;
    output::note(&format!(
        "{} records exported, {archived_count} of them from the archive",
        summary.entries_count + archived_count
    ));
    for file in &damage {
        output::note(&format!(
            "DAMAGED: archive/{}: at least {} records are lost",
            file.file, file.damaged_count
        ));
    }
    for gap in &summary.damaged {
        output::note(&format!("DAMAGED: records {} to {} are lost", gap.from, gap.to));
    }
    if summary.damaged.is_empty() && damage.is_empty() { Ok(()) } else { Err(CliError::silent(Exit::Data)) }
}

fn line(entry: &ExportedEntry<'_>) -> serde_json::Value {
    let payload = Bytes::copy_from_slice(entry.payload);
    let Ok(record) = Record::decode(entry.lsn, &payload) else {
        return json!({ "lsn": entry.lsn, "entry_class": entry.class, "unreadable": hex(entry.payload) });
    };
    let (kind, reason) = match record.kind {
        RecordKind::Envelope => ("envelope", None),
        RecordKind::Repeated => ("envelope", Some("repeated-identity")),
        RecordKind::Quarantine(reason) => ("quarantine", Some(reason.as_str())),
        RecordKind::Acknowledged => ("acknowledged", None),
        RecordKind::Delivered => ("delivered", None),
        RecordKind::AlarmAction => ("alarm-action", None),
        RecordKind::Confirmed => ("confirmed", None),
        RecordKind::Clock => ("clock", None),
        RecordKind::Rules => ("rules", None),
        RecordKind::Verdict => ("verdict", None),
    };
    json!({
        "lsn": entry.lsn,
        "entry_class": entry.class,
        "key": record.key(),
        "force": record.force.as_str(),
        "device": record.device.as_str(),
        "ceiling": record.ceiling.as_str(),
        "lane": record.lane.as_str(),
        "received_at_ms": record.received_at_ms,
        "kind": kind,
        "reason": reason,
        "payload": hex(&record.payload),
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<SpoolError> for CliError {
    fn from(error: SpoolError) -> Self {
        let exit = match error {
            SpoolError::Locked { .. } => Exit::Unavailable,
            SpoolError::Settings { .. } | SpoolError::CursorName { .. } => Exit::Config,
            _ => Exit::Io,
        };
        Self::new(exit, error)
    }
}
