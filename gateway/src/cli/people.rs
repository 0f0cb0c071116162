//! `fieldpost people`: accounts of the control room, also while the gateway runs: it takes them within a second.

use std::path::{Path, PathBuf};

use crate::live::unit::UnitId;
use crate::login::Operator;
use crate::people::account::AccountView;
use crate::people::{Account, Accounts, Assignments, By, Forces, Grant, NewAccount, Password, Role};

use super::args::{ConfigFile, PeopleCommand};
use super::config::load;
use super::exit::{CliError, Exit};
use super::login::now_ms;
use super::{output, shift_list};

pub(super) fn dispatch(command: PeopleCommand) -> Result<(), CliError> {
    match command {
        PeopleCommand::Add { file, name, full_name, roles, forces } => {
            let new = NewAccount { name: Operator::try_new(&name)?, full_name, grant: grant(&roles, forces) };
            show(&name, &accounts(&file)?.add(new, &by())?);
        }
        PeopleCommand::List { file, json } => list(&accounts(&file)?, json)?,
        PeopleCommand::Passwd { file, name } => {
            show(&name, &accounts(&file)?.reset(&name, &Forces::All, &by())?);
        }
        PeopleCommand::Disable { file, name, undo } => {
            accounts(&file)?.set_disabled(&name, &Forces::All, !undo, &by())?;
            output::line(&format!("{name} {}", if undo { "may log in again" } else { "is disabled" }));
        }
        PeopleCommand::Assign { file, list } => assign(&file, &list)?,
        PeopleCommand::Wearer { file, unit, at } => wearer(&file, &unit, at.as_deref())?,
        PeopleCommand::Roles { file, name, roles, forces } => {
            accounts(&file)?.set_grant(&name, &Forces::All, grant(&roles, forces), &by())?;
            output::line(&format!("{name} has other roles"));
        }
    }
    Ok(())
}

fn list(accounts: &Accounts, json: bool) -> Result<(), CliError> {
    let all = accounts.all()?;
    let views: Vec<AccountView> = all.values().map(Account::view).collect();
    if json {
        output::json(&views);
    } else {
        views.iter().for_each(|view| output::line(&view.line()));
    }
    Ok(())
}

fn assign(file: &ConfigFile, list: &Path) -> Result<(), CliError> {
    let new = shift_list::read(list)?;
    Assignments::new(&data_dir(file)?).assign(&new, &by())?;
    output::line(&format!("{} assignments taken", new.len()));
    Ok(())
}

fn wearer(file: &ConfigFile, unit: &UnitId, at: Option<&str>) -> Result<(), CliError> {
    let wrong = |said| CliError::new(Exit::Usage, said);
    let at_ms = at.map(shift_list::time_ms).transpose().map_err(wrong)?.unwrap_or_else(now_ms);
    let assignments = Assignments::new(&data_dir(file)?);
    assignments.refresh()?;
    match assignments.wearers().assignment_at(unit, at_ms) {
        Some(assignment) => output::json(&assignment),
        None => return Err(CliError::new(Exit::Data, format!("nobody is known to have worn {unit} then"))),
    }
    Ok(())
}

fn accounts(file: &ConfigFile) -> Result<Accounts, CliError> {
    data_dir(file).map(|data_dir| Accounts::new(&data_dir))
}

fn data_dir(file: &ConfigFile) -> Result<PathBuf, CliError> {
    let config = load(file)?;
    if !config.data_dir.is_dir() {
        let said = format!(
            "{} does not exist yet: start the gateway first (`fieldpost run`)",
            config.data_dir.display()
        );
        return Err(CliError::new(Exit::Unavailable, said));
    }
    Ok(config.data_dir)
}

fn grant(roles: &[Role], forces: Forces) -> Grant {
    Grant { roles: roles.iter().copied().collect(), forces }
}

fn by() -> By {
    By { who: format!("cli:{}", rustix::process::getuid().as_raw()), at_ms: now_ms() }
}

fn show(name: &str, password: &Password) {
    output::line(&format!("{name} {}", password.reveal()));
    output::note("The password is shown this once. Whoever logs in with it has to choose another.");
}
