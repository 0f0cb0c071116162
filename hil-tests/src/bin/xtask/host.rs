//! What is built for this machine. **All of it is built with one set of features**, so that nothing is built twice.
//!
//! Cargo unifies the features of dependencies over the packages that it is asked for: `-p fieldpost-gateway` after
//! `--workspace` builds another sixty crates. So every step names the whole workspace, and starts the binaries itself.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::step::{Failure, command, run, target_dir};

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

/// Both binaries, broken on purpose in the way that [`SABOTAGE`] names when they run.
pub(crate) struct Sabotaged {
    /// The gateway.
    pub(crate) gateway: PathBuf,
    simulator: PathBuf,
}

impl Sabotaged {
    /// The simulator, with a gateway of the same kind in it.
    pub(crate) fn simulator(&self) -> Command {
        command(&self.simulator)
    }
}

/// Builds the broken binaries beside the honest ones. [`build`] must follow: cargo left the broken ones in their place.
pub(crate) fn build_sabotaged() -> Result<Sabotaged, Failure> {
    run(
        "cargo",
        &[
            ["build", "--quiet", "--bins", "--features", "fieldpost-simulator/sabotage"].as_slice(),
            &EVERYTHING,
        ]
        .concat(),
    )?;
    let [gateway, simulator] =
        BINARIES.map(|name| keep(&binary(name), &binary(&format!("{name}-sabotaged"))));
    Ok(Sabotaged { gateway: gateway?, simulator: simulator? })
}

fn keep(built: &Path, kept: &Path) -> Result<PathBuf, Failure> {
    let failed = |error| Failure::new(format!("cannot copy {built:?}: {error}"));
    // Onto a running program nothing can be written; a removed one runs on.
    if kept.exists() {
        fs::remove_file(kept).map_err(failed)?;
    }
    fs::copy(built, kept).map_err(failed)?;
    Ok(kept.to_path_buf())
}
