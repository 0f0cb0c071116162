//! `fieldpost people`: accounts of the control room, also while the gateway runs: it takes them within a second.

use crate::login::Operator;
use crate::people::account::AccountView;
use crate::people::{Account, Accounts, By, Forces, Grant, NewAccount, Password, Role};

use super::args::{ConfigFile, PeopleCommand};
use super::config::load;
use super::exit::{CliError, Exit};
use super::login::now_ms;
use super::output;

pub(super) fn dispatch(command: PeopleCommand) -> Result<(), CliError> {
    match command {
        PeopleCommand::Add { file, name, full_name, roles, forces } => {
            let new = NewAccount { name: Operator::try_new(&name)?, full_name, grant: grant(&roles, forces) };
            show(&name, &accounts(&file)?.add(new, &by())?);
        }
        PeopleCommand::List { file, json } => list(&accounts(&file)?, json)?,
        PeopleCommand::Passwd { file, name } => show(&name, &accounts(&file)?.reset(&name, &by())?),
        PeopleCommand::Disable { file, name, undo } => {
            accounts(&file)?.set_disabled(&name, !undo, &by())?;
            output::line(&format!("{name} {}", if undo { "may log in again" } else { "is disabled" }));
        }
        PeopleCommand::Roles { file, name, roles, forces } => {
            accounts(&file)?.set_grant(&name, grant(&roles, forces), &by())?;
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

fn accounts(file: &ConfigFile) -> Result<Accounts, CliError> {
    let config = load(file)?;
    if !config.data_dir.is_dir() {
        let said = format!(
            "{} does not exist yet: start the gateway first (`fieldpost run`)",
            config.data_dir.display()
        );
        return Err(CliError::new(Exit::Unavailable, said));
    }
    Ok(Accounts::new(&config.data_dir))
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
