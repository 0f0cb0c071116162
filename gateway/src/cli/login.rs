//! `fieldpost login`: a one-time link for the running service, made from the secret in its data directory.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::Config;
use crate::login::{LoginLinks, Operator};
use crate::people::Grant;

use super::args::LoginArgs;
use super::config::load;
use super::exit::{CliError, Exit};
use super::output;

pub(super) fn login(arguments: &LoginArgs) -> Result<(), CliError> {
    let operator = Operator::try_new(&arguments.operator)?;
    let config = load(&arguments.file)?;
    if !config.data_dir.is_dir() {
        return Err(CliError::new(
            Exit::Unavailable,
            format!(
                "{} does not exist yet: start the gateway first (`fieldpost run`)",
                config.data_dir.display()
            ),
        ));
    }
    let now_ms = now_ms();
    let links = LoginLinks::open(&config.data_dir, now_ms)?;
    let token = if arguments.roles.is_empty() {
        links.issue(&operator, now_ms)?
    } else {
        let grant =
            Grant { roles: arguments.roles.iter().copied().collect(), forces: arguments.forces.clone() };
        links.issue_as(&operator, &grant, now_ms)?
    };
    output::line(&link(&config, config.control_room.listen, &token));
    output::note("Use it once, within 5 minutes. Whoever opens it is let in as this operator.");
    Ok(())
}

/// The address a browser on this machine uses, with the token.
pub(crate) fn link(config: &Config, listen: std::net::SocketAddr, token: &str) -> String {
    let scheme = if config.control_room.identity.is_some() { "https" } else { "http" };
    let host = if listen.ip().is_unspecified() || listen.ip().is_loopback() {
        "localhost".to_owned()
    } else if listen.is_ipv6() {
        format!("[{}]", listen.ip())
    } else {
        listen.ip().to_string()
    };
    format!("{scheme}://{host}:{}/login?token={token}", listen.port())
}

pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
