//! `fieldpost init`, `decode`, `completions`, `man`.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use crate::config::template::TemplateValues;
use crate::init::{self, InitOptions};

use super::args::{DecodeArgs, InitArgs};
use super::exit::{CliError, Exit};
use super::{decode, definition, output};

/// Most bytes read from standard input for `decode -`: a frame has at most a few kilobytes.
const STDIN_BYTES_MAX: u64 = 1024 * 1024;

pub(super) fn init(arguments: &InitArgs) -> Result<(), CliError> {
    let mut options = InitOptions::default();
    for name in &arguments.names {
        if !options.server_names.contains(name) {
            options.server_names.push(name.clone());
        }
    }
    options.values = TemplateValues {
        front_door_listen: arguments.listen.to_string(),
        forces: arguments.forces.iter().map(|force| (force.to_string(), force.to_string())).collect(),
        ..TemplateValues::default()
    };
    let made = init::init(&arguments.dir, &options)?;
    let config = made.config.display();
    let force = arguments.forces.first().map_or_else(String::new, ToString::to_string);
    output::line(&format!(
        "Made a new gateway in {dir}:\n  {config}   the configuration, every key explained\n  {dir}/pki/   the local \
         authority; back it up, and keep ca.key away from everybody\n\nNext:\n  fieldpost pki issue -c {config} --force \
         {force} --device MY-DEVICE --out DIR\n  fieldpost run -c {config}\n  fieldpost login -c {config} --operator NAME\n\nDevices \
         reach it as: {names}",
        dir = arguments.dir.display(),
        names = options.server_names.join(", "),
    ));
    Ok(())
}

pub(super) fn decode(arguments: &DecodeArgs) -> Result<(), CliError> {
    let text = if arguments.hex == ["-"] { standard_input()? } else { arguments.hex.concat() };
    let frame = decode::from_hex(&text).map_err(|reason| CliError::new(Exit::Data, reason))?;
    let decoded = if arguments.downlink { decode::downlink(&frame) } else { decode::uplink(&frame) };
    if arguments.json {
        output::json(&decoded);
    } else {
        output::out(&decode::table(&decoded));
    }
    if decoded.error.is_some() { Err(CliError::silent(Exit::Data)) } else { Ok(()) }
}

fn standard_input() -> Result<String, CliError> {
    let mut text = String::new();
    std::io::stdin().take(STDIN_BYTES_MAX).read_to_string(&mut text).map_err(|error| {
        CliError::new(Exit::Data, format!("cannot read hexadecimal from standard input: {error}"))
    })?;
    Ok(text)
}

pub(super) fn completions(shell: clap_complete::Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut definition(), "fieldpost", &mut script);
    output::out(&String::from_utf8_lossy(&script));
}

pub(super) fn man(out: Option<&Path>) -> Result<(), CliError> {
    let failed = |error: std::io::Error| {
        CliError::new(Exit::CannotCreate, format!("cannot write the manual: {error}"))
    };
    match out {
        Some(dir) => {
            fs::create_dir_all(dir).map_err(failed)?;
            clap_mangen::generate_to(definition(), dir).map_err(failed)
        }
        None => {
            let mut page = Vec::new();
            clap_mangen::Man::new(definition()).render(&mut page).map_err(failed)?;
            output::out(&String::from_utf8_lossy(&page));
            Ok(())
        }
    }
}
