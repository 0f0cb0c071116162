//! A PostgreSQL server: the keys of `[[forward.postgres]]` and `[history.postgres]`.
//!
//! **Positions leave this machine by TLS only, to a server whose certificate is verified**; a password stands in a file.

use tokio_postgres::config::Host;

use super::forward::{authority, client_files, readable};
use super::section::{Located, Section};
use crate::postgres::Server;

/// Longest name of a PostgreSQL object, bytes (NAMEDATALEN).
const NAME_BYTES_MAX: usize = 63;

/// Reads the keys; `schema` is the default.
pub(super) fn server(entry: &Section<'_>, schema: &str) -> Option<Server> {
    let url = entry
        .required_text("url", "for example url = \"postgresql://fieldpost@db.force.example/events\"")
        .filter(|url| is_url(entry, url));
    let schema = schema_or(entry, schema);
    let password_file = readable(entry, "password_file");
    let authority = authority(entry);
    let client = client_files(entry);
    if let (Some(url), Some(None)) = (&url, &authority)
        && !is_here(&url.value)
    {
        entry.report().mistake(
            &url.origin,
            format!("`{}` would send positions in clear text", url.key),
            format!("set {}.authority to the certificate of who issued the server's", entry.name()),
        );
    }
    if let (Some(None), Some(Some(_))) = (&authority, &client) {
        entry.report().mistake(
            entry.origin(),
            format!("`{}.certificate` is of no use without TLS", entry.name()),
            format!("set {}.authority too", entry.name()),
        );
    }
    Some(Server {
        url: url?.value,
        schema: schema?,
        password_file: password_file?,
        authority: authority?,
        client: client?.map(|files| (files.certificate, files.key)),
    })
}

fn is_url(entry: &Section<'_>, url: &Located<String>) -> bool {
    let is_url = url.value.starts_with("postgresql://") || url.value.starts_with("postgres://");
    let parsed = url.value.parse::<tokio_postgres::Config>().ok().filter(|_| is_url);
    let Some(config) = parsed.filter(|config| !config.get_hosts().is_empty()) else {
        // The value may hold a password: it is shown in the file's own line, not repeated here.
        entry.report().mistake(
            &url.origin,
            format!("`{}` is not a URL of PostgreSQL", url.key),
            "write postgresql://user@host:port/database",
        );
        return false;
    };
    if config.get_password().is_some() {
        entry.report().mistake(
            &url.origin,
            format!("`{}` holds a password", url.key),
            format!("put it into a file of its own and set {}.password_file", entry.name()),
        );
        return false;
    }
    true
}

/// A socket in a directory, or an address that never leaves the machine.
fn is_here(url: &str) -> bool {
    let Ok(config) = url.parse::<tokio_postgres::Config>() else { return false };
    // An address given beside the name is where it connects.
    let addresses = config.get_hostaddrs().iter().all(std::net::IpAddr::is_loopback);
    addresses
        && config.get_hosts().iter().all(|host| match host {
            Host::Tcp(name) => {
                name == "localhost" || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
            Host::Unix(_) => true,
        })
}

fn schema_or(entry: &Section<'_>, default: &str) -> Option<String> {
    let Some(text) = entry.text("schema") else { return Some(default.to_owned()) };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let name = &text.value;
    if !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(fits) && !name.starts_with("pg_")
    {
        return Some(text.value);
    }
    entry.report().mistake(
        &text.origin,
        format!(
            "`{}` must be 1 to {NAME_BYTES_MAX} characters of a-z 0-9 _, not beginning with pg_",
            text.key
        ),
        format!("the default is \"{default}\"; the schema must be the gateway's alone"),
    );
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_on_this_machine_may_go_without_tls() {
        for here in [
            "postgresql://f@localhost/d",
            "postgresql://f@127.0.0.1:5433/d",
            "postgresql://f@%2Frun%2Fpostgresql/d",
        ] {
            assert!(is_here(here), "{here}");
        }
        for away in [
            "postgresql://f@db.force.example/d",
            "postgresql://f@localhost,10.0.0.5/d",
            "postgresql://f@localhost/d?hostaddr=10.0.0.5",
        ] {
            assert!(!is_here(away), "{away}");
        }
    }
}
