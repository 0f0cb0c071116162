//! A new gateway's directory: a commented configuration, a local authority and a server certificate.
//!
//! Promise: **a directory that holds anything is not touched, and what is written passes `fieldpost validate`.** The
//! configuration is written last, so a directory with `gateway.toml` in it is complete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::template::{self, TemplateValues};
use crate::pki::{Authority, AuthorityError, Issued, replace_file};

/// Name of the configuration in its directory.
pub const CONFIG_FILE: &str = "gateway.toml";
/// Name of the alarm rules beside it.
pub const RULES_FILE: &str = "rules.toml";
/// Name of the authority's directory beside it.
pub const PKI_DIR: &str = "pki";
/// Server certificates last a year and a month: renew them on the anniversary.
pub const SERVER_DAYS: u32 = 397;

/// What a new gateway is made with.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// DNS names and IP addresses devices and browsers will use; at least one.
    pub server_names: Vec<String>,
    /// What goes into the configuration.
    pub values: TemplateValues,
}

/// What was made.
#[derive(Debug)]
pub struct Initialised {
    /// The configuration.
    pub config: PathBuf,
    /// The authority, open: more certificates can be issued before it is closed.
    pub authority: Authority,
}

/// Why nothing usable was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The directory holds something.
    #[error("{0} is not empty: name a new directory, or move what is in it away; nothing was changed")]
    NotEmpty(PathBuf),
    /// A file could not be written.
    #[error("cannot write {path}: {source}")]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The authority could not be made.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl Default for InitOptions {
    fn default() -> Self {
        let names = ["localhost", "127.0.0.1", "::1"];
        Self { server_names: names.map(str::to_owned).to_vec(), values: TemplateValues::default() }
    }
}

/// Makes a new gateway in `dir`, which is made if needed and must be empty.
///
/// # Errors
/// [`InitError`].
pub fn init(dir: &Path, options: &InitOptions) -> Result<Initialised, InitError> {
    let failed_at = |path: &Path| {
        let path = path.to_owned();
        move |source| InitError::Files { path, source }
    };
    fs::create_dir_all(dir).map_err(failed_at(dir))?;
    if fs::read_dir(dir).map_err(failed_at(dir))?.next().is_some() {
        return Err(InitError::NotEmpty(dir.to_owned()));
    }
    let pki = dir.join(PKI_DIR);
    let mut authority = Authority::create(&pki)?;
    let server = authority.issue_server(&options.server_names, SERVER_DAYS)?;
    write_pair(&pki, "server", &server).map_err(failed_at(&pki))?;
    let rules = dir.join(RULES_FILE);
    replace_file(&rules, crate::alarms::rules::BUILT_IN.as_bytes(), false).map_err(failed_at(&rules))?;
    let config = dir.join(CONFIG_FILE);
    replace_file(&config, template::render(&options.values).as_bytes(), false).map_err(failed_at(&config))?;
    Ok(Initialised { config, authority })
}

/// Writes `NAME.key` (0600) and `NAME.pem` into `dir`; the certificate, signed by the authority, comes last.
///
/// # Errors
/// What the operating system said.
pub fn write_pair(dir: &Path, name: &str, issued: &Issued) -> io::Result<()> {
    replace_file(&dir.join(format!("{name}.key")), issued.key_pem.as_bytes(), true)?;
    replace_file(&dir.join(format!("{name}.pem")), issued.certificate_pem.as_bytes(), false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sink};

    fn uncommented(text: &str) -> String {
        let strip = |line: &str| match line.strip_prefix('#') {
            Some(rest) if rest.starts_with(|first: char| first.is_ascii_lowercase() || first == '[') => {
                rest.to_owned()
            }
            _ => line.to_owned(),
        };
        text.lines().map(strip).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn new_gateway_is_valid_without_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        let made = init(dir.path(), &InitOptions::default()).unwrap();
        let config = Config::load(&made.config).unwrap();
        assert_eq!(config.warnings.list().count(), 0, "{}", config.warnings);
        assert_eq!(config.forces.len(), 1);
    }

    #[test]
    fn directory_that_holds_anything_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("note"), "mine").unwrap();
        assert!(matches!(init(dir.path(), &InitOptions::default()), Err(InitError::NotEmpty(_))));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    /// The template documents the defaults: taking the comment signs away must change nothing but what has no default.
    #[test]
    fn commented_lines_of_the_template_are_the_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let made = init(dir.path(), &InitOptions::default()).unwrap();
        for (name, contents) in [
            ("roster.toml", ""),
            ("streets.json", "{}"),
            ("nats.creds", ""),
            ("cad.token", "t"),
            ("postgres.password", "p"),
        ] {
            fs::write(dir.path().join(name), contents).unwrap();
        }
        let signing_key = format!("whsec_{}=\n", "A".repeat(43));
        crate::pki::write_new_private(&dir.path().join("cad.keys"), signing_key.as_bytes()).unwrap();
        for (from, to) in [
            ("ca.pem", "nats-ca.pem"),
            ("ca.pem", "postgres-ca.pem"),
            ("server.pem", "postgres-client.pem"),
            ("server.key", "postgres-client.key"),
            ("ca.pem", "cad-ca.pem"),
            ("server.pem", "nats-client.pem"),
            ("server.key", "nats-client.key"),
            ("ca.pem", "avl-ca.pem"),
            ("server.pem", "avl-client.pem"),
            ("server.key", "avl-client.key"),
            ("ca.pem", "tiles-ca.pem"),
            ("server.pem", "tak-server.pem"),
            ("server.key", "tak-server.key"),
            ("ca.pem", "tak-clients-ca.pem"),
            ("crl.pem", "tak-clients-crl.pem"),
            ("ca.pem", "tak-ca.pem"),
            ("server.pem", "tak-client.pem"),
            ("server.key", "tak-client.key"),
        ] {
            fs::copy(dir.path().join(PKI_DIR).join(from), dir.path().join(to)).unwrap();
        }
        let template = fs::read_to_string(&made.config).unwrap();
        let written = Config::from_text(&made.config, &uncommented(&template), &[]).unwrap();
        let defaults = Config::from_text(&made.config, &template, &[]).unwrap();
        assert_eq!(written.forwards.len(), 7);
        assert!(written.history.postgres.is_some() && defaults.history.postgres.is_none());
        assert_eq!(defaults.forwards.len(), 0);
        let numbers = |config: &Config| {
            let front_door = &config.front_door;
            (
                (front_door.connections_max, front_door.connect_deadline_ms, front_door.keep_alive_s_max),
                (front_door.session_expiry_s_max, front_door.packet_bytes_max, front_door.receive_max),
                (front_door.topic_alias_max, format!("{:?}", config.spool), config.clock, config.log.clone()),
                (config.service, config.data_dir.clone(), config.metrics.listen, config.control_room.listen),
            )
        };
        assert_eq!(numbers(&written), numbers(&defaults));
        // PostgreSQL has larger batches than the others, which all have the same.
        let (postgres, others): (Vec<_>, Vec<_>) =
            written.forwards.iter().partition(|forward| matches!(forward.sink, Sink::Postgres(_)));
        assert!(others.windows(2).all(|pair| pair[0].batch == pair[1].batch));
        assert!(postgres.iter().all(|forward| forward.batch.count_max == 5_000));
        assert!(written.forwards.windows(2).all(|pair| pair[0].retry == pair[1].retry));
    }
}
