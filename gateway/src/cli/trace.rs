//! `fieldpost trace`: where is my message, read from the data directory, whether or not the gateway runs.

use fieldpost_protocol::{BootId, Seq};

use super::args::TraceArgs;
use super::config::load;
use super::exit::{CliError, Exit};
use super::{ledger, output};
use crate::live::system_now_ms;
use crate::trace::{self, Disclosures, Question, TraceError};

pub(super) fn trace(arguments: &TraceArgs) -> Result<(), CliError> {
    let config = load(&arguments.file)?;
    let ledger = ledger::read(&config)?;
    let unit = ledger::unit(&arguments.device, arguments.force.as_ref(), &ledger)?;
    let seq = Seq(arguments.seq);
    let questions = Question::all(&ledger, &unit, arguments.boot.map(BootId), seq);
    if questions.is_empty() {
        let message = format!("no boot of {unit} has got to sequence {}: see `fieldpost ledger`", seq.0);
        return Err(CliError::new(Exit::Data, message));
    }
    let (data_dir, forwards) = (&config.data_dir, &config.forwards);
    let traces = trace::trace(data_dir, forwards, &questions, Disclosures::Asked, system_now_ms())?;
    if arguments.json {
        output::json(&traces);
    } else {
        traces.iter().for_each(|trace| output::out(&trace.to_string()));
    }
    Ok(())
}

impl From<TraceError> for CliError {
    fn from(error: TraceError) -> Self {
        match error {
            TraceError::Spool(error) => error.into(),
            TraceError::Machines(error) => error.into(),
            TraceError::Refusals { .. } | TraceError::Disclosures(_) => Self::new(Exit::Io, error),
        }
    }
}
