//! What is built for this machine. **All of it is built with one set of features**, so that nothing of others is built twice.
//!
//! Cargo unifies the features of dependencies over the packages that it is asked for: `-p fieldpost-gateway` after
//! `--workspace` builds another sixty crates. So every step names the whole workspace, and starts the binaries itself. Our own
//! crates are compiled twice: for the tests, and optimised for what runs long ([`build_optimised`]).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{Failure, command, run, run_command, target_dir};

/// The workspace as it ships.
pub(crate) const EVERYTHING: [&str; 1] = ["--workspace"];

/// The workspace with the bench rig of the emulated board, to look at and not to run: the rig's log decoder changes how
/// `serde_json` holds numbers, in everything that is built with it.
pub(crate) const WITH_BENCH_RIG: [&str; 3] =
    ["--workspace", "--features", "fieldpost-hil-tests/emulated-board"];

/// Says which promise a sabotaged binary breaks; none if it is not set.
pub(crate) const SABOTAGE: &str = "FIELDPOST_SABOTAGE";

const BINARIES: [&str; 2] = ["fieldpost", "fieldpost-sim"];

/// Builds every binary of the workspace.
pub(crate) fn build() -> Result<(), Failure> {
    run("cargo", &[["build", "--quiet", "--bins"].as_slice(), &EVERYTHING].concat())
}

/// A binary of [`build`].
pub(crate) fn binary(name: &str) -> PathBuf {
    target_dir().join("debug").join(name)
}

/// The simulator of [`build`].
pub(crate) fn simulator() -> Command {
    command(binary("fieldpost-sim"))
}

/// Both binaries with our crates optimised, as rigs and simulation run them. They hold every promise unless [`SABOTAGE`] names one
/// when they run: what is broken on purpose and what is not are the same binary.
pub(crate) struct Optimised {
    folder: PathBuf,
}

impl Optimised {
    /// The gateway.
    pub(crate) fn gateway(&self) -> PathBuf {
        self.folder.join("fieldpost")
    }

    /// The simulator, with the same gateway beside it and in it.
    pub(crate) fn simulator(&self) -> Command {
        command(self.folder.join("fieldpost-sim"))
    }
}

/// Builds them into a folder of their own. Cargo leaves them in the place of the others too, until the next [`build`].
pub(crate) fn build_optimised() -> Result<Optimised, Failure> {
    let words = ["build", "--quiet", "--bins", "--features", "fieldpost-simulator/sabotage"];
    let mut cargo = command("cargo");
    cargo.args(words).args(EVERYTHING).args(["--config", "hil-tests/optimised.toml"]);
    // Nobody changes and builds them again: whole crates are faster than pieces that could be kept.
    run_command(cargo.env("CARGO_INCREMENTAL", "0"))?;
    let folder = target_dir().join("optimised");
    fs::create_dir_all(&folder).map_err(|error| Failure::new(format!("cannot make {folder:?}: {error}")))?;
    for name in BINARIES {
        keep(&binary(name), &folder.join(name))?;
    }
    Ok(Optimised { folder })
}

fn keep(built: &Path, kept: &Path) -> Result<(), Failure> {
    let failed = |error| Failure::new(format!("cannot copy {built:?}: {error}"));
    // Onto a running program nothing can be written; a removed one runs on.
    if kept.exists() {
        fs::remove_file(kept).map_err(failed)?;
    }
    fs::copy(built, kept).map_err(failed)?;
    Ok(())
}
