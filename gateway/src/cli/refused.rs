//! `fieldpost refused`: what force systems refused, and what a person decides about it.
//!
//! **The command writes down what is wanted; the forwarder does it**, so that nothing is sent but as it is released, on the
//! disclosure log, under the same key.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::args::{RefusedCommand, RefusedWish};
use super::config::load;
use super::exit::{CliError, Exit};
use super::login::now_ms;
use super::output;
use crate::config::Config;
use crate::forward::again::{Asked, Refused, RefusedFiles, Wish};
use crate::forward::refusals::refusals_of;

pub(super) fn dispatch(command: &RefusedCommand) -> Result<(), CliError> {
    match command {
        RefusedCommand::List { file, output, json } => list(&load(file)?, output.as_deref(), *json),
        RefusedCommand::Retry(wish) => ask(wish, Wish::Retry),
        RefusedCommand::Drop(wish) => ask(wish, Wish::Drop),
    }
}

fn list(config: &Config, of: Option<&str>, json: bool) -> Result<(), CliError> {
    if let Some(name) = of {
        files(config, name)?;
    }
    let mut all = serde_json::Map::new();
    let names = config.forwards.iter().map(|forward| forward.name.as_str());
    for name in names.filter(|name| of.is_none_or(|of| of == *name)) {
        let refused = files(config, name)?.list().map_err(|error| unreadable(&error))?;
        if json {
            let refused = refused.iter().map(|one| serde_json::json!(one)).collect();
            all.insert(name.to_owned(), refused);
        } else {
            refused.iter().for_each(|one| output::line(&line(name, one)));
            output::note(&format!("{} events refused by {name}", refused.len()));
        }
    }
    if json {
        output::json(&all);
    }
    Ok(())
}

fn line(name: &str, one: &Refused) -> String {
    let Refused { id, kind, refused_at, reason, detail, can_be_sent } = one;
    let kept =
        if *can_be_sent { "" } else { "; cannot be sent again: an older version kept it without its record" };
    format!("{refused_at}  {name}  {id}  {kind}  {reason}: {detail}{kept}")
}

fn ask(wish: &RefusedWish, what: Wish) -> Result<(), CliError> {
    let config = load(&wish.file)?;
    let files = files(&config, &wish.output)?;
    let refused = files.list().map_err(|error| unreadable(&error))?;
    let is_meant = |one: &&Refused| wish.all || wish.ids.contains(&one.id);
    let count = refused.iter().filter(is_meant).filter(|one| what == Wish::Drop || one.can_be_sent).count();
    if let Some(id) = wish.ids.iter().find(|id| refused.iter().all(|one| one.id != **id)) {
        let said = format!("{} refused no event {id}; `fieldpost refused list` names them", wish.output);
        return Err(CliError::new(Exit::Unavailable, said));
    }
    if count == 0 {
        output::line(&format!("nothing to do: no such event of {} waits", wish.output));
        return Ok(());
    }
    owned(&config.data_dir, rustix::process::geteuid().as_raw())?;
    let (by, why) = (wish.reason.by.clone(), wish.reason.why.clone());
    let ids = wish.ids.iter().cloned().collect();
    files.ask(&Asked { at_ms: now_ms(), by, why, wish: what, ids }).map_err(|error| {
        CliError::new(Exit::CannotCreate, format!("the request cannot be written: {error}"))
    })?;
    output::line(&format!(
        "asked for {count} events: a running gateway does it now, another one at its start"
    ));
    Ok(())
}

/// The forwarder could not read a request of another user: it would never be done.
fn owned(data_dir: &Path, uid: u32) -> Result<(), CliError> {
    let owner = std::fs::metadata(data_dir).map_err(|error| unreadable(&error))?.uid();
    if owner == uid {
        return Ok(());
    }
    let said = format!(
        "{} belongs to user {owner}, and this is user {uid}: run the command as that user, who runs the gateway \
         (sudo -u '#{owner}' fieldpost refused ...)",
        data_dir.display()
    );
    Err(CliError::new(Exit::CannotCreate, said))
}

fn files(config: &Config, output: &str) -> Result<RefusedFiles, CliError> {
    if config.forwards.iter().any(|forward| forward.name == output) {
        return Ok(RefusedFiles::new(refusals_of(&config.data_dir, output)));
    }
    let names: Vec<_> = config.forwards.iter().map(|forward| forward.name.as_str()).collect();
    let said = format!("no output is called {output}; there are: {}", names.join(", "));
    Err(CliError::new(Exit::Unavailable, said))
}

fn unreadable(error: &std::io::Error) -> CliError {
    CliError::new(Exit::Io, format!("cannot read the refusals: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_owns_the_data_directory_may_ask() {
        let dir = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(dir.path()).unwrap().uid();
        assert!(owned(dir.path(), owner).is_ok());
        assert!(owned(dir.path(), owner + 1).is_err());
    }
}
