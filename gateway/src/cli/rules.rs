//! `fieldpost rules show|check|replay`.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use crate::alarms::rules::{BUILT_IN, Rules};
use crate::alarms::{AlarmRow, Book, RulesSaid};
use crate::config::{self, Problems};
use crate::live::fold::fold;
use crate::live::order::ClockBounds;
use crate::live::state::State;
use crate::record::Record;
use crate::spool::{self, Lsn};

use super::args::{ConfigFile, RulesCommand, SpoolDir};
use super::config::load;
use super::exit::{CliError, Exit};
use super::output;

/// Units that a replay keeps: those of the largest force. Alarms are kept by the bounds of the product.
const UNITS_MAX: usize = 50_000;

pub(super) fn dispatch(command: &RulesCommand) -> Result<(), CliError> {
    match command {
        RulesCommand::Show { config: None } => output::out(BUILT_IN),
        RulesCommand::Show { config: Some(path) } => {
            output::out(&load(&ConfigFile { path: path.clone() })?.control_room.rules.text);
        }
        RulesCommand::Check { file } => {
            let rules = read(file)?;
            output::line(&format!(
                "{} has no mistakes: {}, version {}, {} rules",
                file.display(),
                rules.name,
                rules.version,
                rules.rules.len()
            ));
        }
        RulesCommand::Replay { dir, rules, to } => return replay(dir, rules.as_deref(), Lsn(*to)),
    }
    Ok(())
}

fn read(file: &Path) -> Result<Arc<Rules>, CliError> {
    config::rules::load(file).map_err(|problems: Problems| {
        output::note(&problems.render(output::error_colour()));
        let count = problems.mistake_count();
        CliError::new(Exit::Data, format!("{count} mistakes in {}", file.display()))
    })
}

/// The alarms of a spool, as the gateway that wrote it judged them: those in the queue, then those closed last. They hold
/// positions: standard output is the caller's to guard.
fn replay(dir: &SpoolDir, rules: Option<&Path>, to: Lsn) -> Result<(), CliError> {
    let directory = super::spool::directory(dir)?;
    let mut book = Book::default();
    if let Some(file) = rules {
        book.adopt(&RulesSaid::new(&*read(file)?, 0));
    }
    let mut state = State::new(book, ClockBounds::default(), UNITS_MAX, Arc::default());
    let mut unreadable_count = 0_u64;
    let summary = spool::export(&directory, Lsn(1), to, &mut |entry| {
        match Record::decode(entry.lsn, &Bytes::copy_from_slice(entry.payload)) {
            Ok(record) => fold(&mut state, &record),
            Err(_) => unreadable_count += 1,
        }
        Ok(())
    })?;
    let alarms = state.alarms.iter().chain(state.alarms.waiting()).chain(state.alarms.closed());
    for alarm in alarms {
        let row = serde_json::to_string(&AlarmRow::from(alarm)).expect("strings and numbers are JSON");
        output::line(&row);
    }
    output::note(&format!(
        "{} records judged, {unreadable_count} of them not readable, {} alarms open",
        summary.entries_count,
        state.alarms.unacknowledged_count()
    ));
    for gap in &summary.damaged {
        output::note(&format!("DAMAGED: records {} to {} are lost", gap.from, gap.to));
    }
    if summary.damaged.is_empty() { Ok(()) } else { Err(CliError::silent(Exit::Data)) }
}
