//! `fieldpost validate` and `fieldpost config show`.

use std::fs;

use crate::config::{Config, show};

use super::args::{ConfigCommand, ConfigFile};
use super::exit::{CliError, Exit};
use super::output;

/// Loads the configuration; warnings go to standard error.
pub(super) fn load(file: &ConfigFile) -> Result<Config, CliError> {
    let config = Config::load(&file.path)?;
    if config.warnings.list().next().is_some() {
        output::note(&config.warnings.render(output::error_colour()));
    }
    Ok(config)
}

pub(super) fn validate(file: &ConfigFile) -> Result<(), CliError> {
    let config = load(file)?;
    let (forces, sinks, units) =
        (config.forces.len(), config.forwards.len(), config.control_room.roster.len());
    output::line(&format!(
        "{} is valid: {forces} force(s), {sinks} sink(s), {units} unit(s) in the roster",
        file.path.display()
    ));
    Ok(())
}

pub(super) fn dispatch(command: ConfigCommand) -> Result<(), CliError> {
    let ConfigCommand::Show { file, effective, redact } = command;
    if effective {
        output::out(&show::effective(&load(&file)?, redact));
        return Ok(());
    }
    let text = fs::read_to_string(&file.path).map_err(|error| {
        CliError::new(Exit::Config, format!("cannot read {}: {error}", file.path.display()))
    })?;
    output::out(&text);
    Ok(())
}
