//! `fieldpost machine`: systems that fetch events themselves, also while the gateway runs: it takes them within a second.

use super::args::{ConfigFile, MachineCommand};
use super::config::load;
use super::exit::{CliError, Exit};
use super::login::now_ms;
use super::output;
use crate::config::Config;
use crate::forward::release::{Forces, Release};
use crate::machines::{Change, Machine, Machines, MachinesError, NewMachine, ReleaseError, Token};

pub(super) fn dispatch(command: MachineCommand) -> Result<(), CliError> {
    match command {
        MachineCommand::Add { file, name, forces, classes, fields, marking, precision_m, life } => {
            let release = Release::from_words(&forces, &classes, &fields, precision_m, &marking)?;
            let (config, machines) = machines(&file)?;
            served(&config, &release)?;
            let new = NewMachine { name: name.clone(), release, days: life.days };
            show(&name, &machines.add(new, change())?);
        }
        MachineCommand::List { file, json } => list(&machines(&file)?.1, json)?,
        MachineCommand::Renew { file, name, life } => {
            show(&name, &machines(&file)?.1.renew(&name, life.days, change())?);
        }
        MachineCommand::Revoke { file, name } => {
            machines(&file)?.1.revoke(&name, change())?;
            output::line(&format!("{name} is revoked"));
        }
    }
    Ok(())
}

fn list(machines: &Machines, json: bool) -> Result<(), CliError> {
    let all = machines.all()?;
    if json {
        output::json(&all.values().map(Machine::view).collect::<Vec<_>>());
    } else {
        all.values().for_each(|machine| output::line(&machine.view().line(now_ms())));
    }
    Ok(())
}

/// A force that is misspelt would release nothing, and nobody would know why.
fn served(config: &Config, release: &Release) -> Result<(), CliError> {
    let Forces::Only(forces) = &release.forces else { return Ok(()) };
    match forces.iter().find(|force| !config.forces.contains_key(*force)) {
        None => Ok(()),
        Some(force) => Err(CliError::new(Exit::Usage, format!("force \"{force}\" is not served here"))),
    }
}

fn machines(file: &ConfigFile) -> Result<(Config, Machines), CliError> {
    let config = load(file)?;
    if !config.data_dir.is_dir() {
        let said = format!(
            "{} does not exist yet: start the gateway first (`fieldpost run`)",
            config.data_dir.display()
        );
        return Err(CliError::new(Exit::Unavailable, said));
    }
    let machines = Machines::new(&config.data_dir);
    Ok((config, machines))
}

fn change() -> Change {
    Change { by: format!("cli:{}", rustix::process::getuid().as_raw()), at_ms: now_ms() }
}

fn show(name: &str, token: &Token) {
    output::line(token.reveal());
    output::note(&format!(
        "The token of {name} is shown this once. It opens GET /api/v1/feed and nothing else."
    ));
}

impl From<MachinesError> for CliError {
    fn from(error: MachinesError) -> Self {
        let exit = match error {
            MachinesError::Files { .. } | MachinesError::NoRandom => Exit::Io,
            MachinesError::Damaged { .. } => Exit::Data,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<ReleaseError> for CliError {
    fn from(error: ReleaseError) -> Self {
        Self::new(Exit::Usage, error)
    }
}
