//! `fieldpost hold`: legal holds, also while the gateway runs: it reads them before each look.

use super::args::{ConfigFile, HoldCommand, Reason};
use super::config::load;
use super::exit::{CliError, Exit};
use super::login::now_ms;
use super::output;
use crate::retention::{Hold, Holds, HoldsError, Note};

pub(super) fn dispatch(command: HoldCommand) -> Result<(), CliError> {
    match command {
        HoldCommand::Add { file, force, unit, from, until, reason } => {
            let hold = holds(&file)?.add((&force, unit.as_ref()), (from.0, until.0), note(reason))?;
            output::line(&line(&hold));
        }
        HoldCommand::List { file, json } => {
            let all = holds(&file)?.all()?;
            if json {
                output::json(&all);
            } else {
                all.iter().for_each(|hold| output::line(&line(hold)));
            }
        }
        HoldCommand::Release { file, id, reason } => {
            output::line(&line(&holds(&file)?.release(id, note(reason))?));
        }
    }
    Ok(())
}

fn holds(file: &ConfigFile) -> Result<Holds, CliError> {
    let config = load(file)?;
    if config.data_dir.is_dir() {
        return Ok(Holds::new(&config.data_dir));
    }
    let said = format!(
        "{} does not exist yet: start the gateway first (`fieldpost run`)",
        config.data_dir.display()
    );
    Err(CliError::new(Exit::Unavailable, said))
}

fn note(reason: Reason) -> Note {
    Note { by: reason.by, why: reason.why, at_ms: now_ms() }
}

fn line(hold: &Hold) -> String {
    let unit =
        hold.device.as_deref().map_or_else(|| "every device".to_owned(), |device| format!("device {device}"));
    let said = |note: &Note| format!("by {} on {}: {}", note.by, time(note.at_ms), note.why);
    let standing = match &hold.released {
        None => format!("held {}", said(&hold.added)),
        Some(released) => format!("held {}; released {}", said(&hold.added), said(released)),
    };
    let (id, force, from, until) = (hold.id, &hold.force, time(hold.from_ms), time(hold.until_ms));
    format!("{id}  force {force}, {unit}, {from} to {until}; {standing}")
}

fn time(at_ms: u64) -> String {
    let at = i64::try_from(at_ms).ok().and_then(|at_ms| jiff::Timestamp::from_millisecond(at_ms).ok());
    at.map_or_else(|| at_ms.to_string(), |at| at.to_string())
}

impl From<HoldsError> for CliError {
    fn from(error: HoldsError) -> Self {
        let exit = match error {
            HoldsError::Files { .. } => Exit::Io,
            HoldsError::Damaged { .. } => Exit::Data,
            HoldsError::Busy { .. } => Exit::Unavailable,
            HoldsError::Refused(_) => Exit::Usage,
        };
        Self::new(exit, error)
    }
}
