//! `fieldpost pki ...`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::init::{PKI_DIR, write_pair};
use crate::pki::{self, Authority, DeviceRequest, Revoke, Validity, replace_file};

use super::args::{Authority as AuthorityArgs, PkiCommand};
use super::exit::{CliError, Exit};
use super::login::now_ms;
use super::output;

pub(super) fn dispatch(command: PkiCommand) -> Result<(), CliError> {
    match command {
        PkiCommand::Issue { authority, force, device, mode, days, out, replace } => {
            let validity = Validity::days_from(now_s(), days);
            issue(&authority, DeviceRequest { force, device, mode: mode.into(), validity, replace }, &out)
        }
        PkiCommand::IssueServer { authority, names, days, out } => {
            issue_server(&authority, &names, days, out.as_deref())
        }
        PkiCommand::Revoke { authority, force, device, serial } => {
            let what = match (force, device, serial) {
                (Some(force), Some(device), _) => Revoke::Device(force, device),
                (_, _, Some(serial)) => Revoke::Serial(serial),
                _ => return Err(CliError::new(Exit::Usage, "name --force and --device, or --serial")),
            };
            revoke(&authority, &what)
        }
        PkiCommand::Crl { authority, days } => crl(&authority, days),
        PkiCommand::EnvelopeKey { out } => envelope_key(&out),
        PkiCommand::List { authority, json } => list(&authority, json),
    }
}

fn open(arguments: &AuthorityArgs) -> Result<Authority, CliError> {
    Ok(Authority::open(&directory(arguments))?)
}

fn directory(arguments: &AuthorityArgs) -> PathBuf {
    let beside = || arguments.config.path.parent().unwrap_or(Path::new("")).join(PKI_DIR);
    arguments.dir.clone().unwrap_or_else(beside)
}

fn issue(arguments: &AuthorityArgs, request: DeviceRequest, out: &Path) -> Result<(), CliError> {
    let name = request.device.to_string();
    let (force, mode, replace) = (request.force.clone(), request.mode, request.replace);
    prepare(out, &name, replace)?;
    let mut authority = open(arguments)?;
    if let Ok(config) = Config::load(&arguments.config.path)
        && !config.forces.contains_key(&force)
    {
        output::note(&format!(
            "Note: {} does not serve force {force} yet: add [[force]] id = \"{force}\" and send SIGHUP.",
            arguments.config.path.display()
        ));
    }
    let issued = authority.issue_devices(&[request])?.pop().expect("one request gives one certificate");
    let written = write_pair(out, &name, &issued)
        .and_then(|()| replace_file(&out.join("ca.pem"), issued.ca_pem.as_bytes(), false));
    written.map_err(|error| {
        CliError::new(
            Exit::CannotCreate,
            format!(
                "cannot write into {}: {error}; the certificate is lost: issue it again with --replace",
                out.display()
            ),
        )
    })?;
    output::line(&format!("issued {force}/{name}, mode {mode}, serial {}", issued.serial));
    for file in [format!("{name}.pem"), format!("{name}.key"), "ca.pem".to_owned()] {
        output::line(&format!("  {}", out.join(file).display()));
    }
    output::note(&format!(
        "The device connects with MQTT 5 over TLS 1.3, client id {name}, this certificate and key; it checks the gateway \
         against ca.pem and publishes fp1/{name}/live. Only the device should keep the key."
    ));
    Ok(())
}

/// Finds out before the authority acts that the files cannot be written.
fn prepare(out: &Path, name: &str, replace: bool) -> Result<(), CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::new(
            Exit::CannotCreate,
            format!("cannot write into {}: {error}; nothing was issued", out.display()),
        )
    };
    fs::create_dir_all(out).map_err(|error| failed(&error))?;
    let probe = out.join(format!(".{name}.probe"));
    replace_file(&probe, b"", true).and_then(|()| fs::remove_file(&probe)).map_err(|error| failed(&error))?;
    let existing =
        ["key", "pem"].map(|kind| out.join(format!("{name}.{kind}"))).into_iter().find(|path| path.exists());
    match existing {
        Some(path) if !replace => {
            Err(failed(&format!("{} exists (--replace overwrites it)", path.display())))
        }
        _ => Ok(()),
    }
}

fn issue_server(
    arguments: &AuthorityArgs,
    names: &[String],
    days: u32,
    out: Option<&Path>,
) -> Result<(), CliError> {
    let directory = directory(arguments);
    let out = out.unwrap_or(&directory);
    fs::create_dir_all(out).map_err(|error| {
        CliError::new(Exit::CannotCreate, format!("cannot make {}: {error}", out.display()))
    })?;
    let issued = open(arguments)?.issue_server(names, days)?;
    write_pair(out, "server", &issued).map_err(|error| {
        CliError::new(Exit::CannotCreate, format!("cannot write into {}: {error}", out.display()))
    })?;
    output::line(&format!(
        "issued {} for {}, serial {}",
        out.join("server.pem").display(),
        names.join(", "),
        issued.serial
    ));
    output::note("Send the running gateway SIGHUP to show it.");
    Ok(())
}

fn revoke(arguments: &AuthorityArgs, what: &Revoke) -> Result<(), CliError> {
    let mut authority = open(arguments)?;
    for serial in authority.revoke(what)? {
        output::line(&format!("revoked {serial}"));
    }
    output::note(&format!(
        "{} is renewed. A running gateway takes it within a minute (at once on SIGHUP), refuses the certificate and ends \
         its sessions.",
        authority.list_path().display()
    ));
    Ok(())
}

fn crl(arguments: &AuthorityArgs, days: u32) -> Result<(), CliError> {
    let mut authority = open(arguments)?;
    authority.crl(days)?;
    output::line(&format!("renewed {} for {days} days", authority.list_path().display()));
    output::note("A running gateway takes it within a minute, at once on SIGHUP.");
    Ok(())
}

fn envelope_key(out: &Path) -> Result<(), CliError> {
    let public = pki::make_envelope_key(out)
        .map_err(|error| CliError::new(Exit::Io, format!("cannot write {}: {error}", out.display())))?;
    output::line(&public);
    output::note(
        "This is the public key: every device behind the broker is told it at provisioning. The private key goes to every \
         gateway of the group, and to nobody else: who has it can speak for every device.",
    );
    Ok(())
}

fn list(arguments: &AuthorityArgs, json: bool) -> Result<(), CliError> {
    let authority = open(arguments)?;
    let now_s = now_s();
    if json {
        let rows: Vec<_> = authority
            .entries()
            .iter()
            .map(|entry| serde_json::json!({ "status": entry.status(now_s), "certificate": entry }))
            .collect();
        output::json(&rows);
        return Ok(());
    }
    for entry in authority.entries() {
        let status = format!("{:?}", entry.status(now_s)).to_lowercase();
        let subject = match (&entry.force, &entry.device, &entry.mode) {
            (Some(force), Some(device), Some(mode)) => format!("{force}/{device} {mode}"),
            _ => entry.names.join(","),
        };
        let until =
            jiff::Timestamp::from_second(entry.not_after_s).map(|at| at.to_string()).unwrap_or_default();
        output::line(&format!("{status:<8} {} until {until} {subject}", entry.serial));
    }
    Ok(())
}

fn now_s() -> i64 {
    i64::try_from(now_ms() / 1000).unwrap_or(i64::MAX)
}
