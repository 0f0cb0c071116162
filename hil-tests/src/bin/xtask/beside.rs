//! Steps that run beside the others, in a process of their own with a lower priority: what waits leaves them the processors.
//!
//! Only steps that build into another folder may: cargo puts the binaries of two builds in one place. What they say is kept in a
//! file and shown when all has ended.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Child, Stdio},
};

use crate::{
    budget::{Meter, Spent},
    host,
    step::{Failure, command, run, say, target_dir},
};

/// Running steps. Ended when dropped.
pub(crate) struct Beside {
    child: Child,
    log: PathBuf,
    meter: Meter,
}

impl Beside {
    /// Starts `cargo xtask test NAMES`.
    pub(crate) fn start(names: &[&str]) -> Result<Self, Failure> {
        say(&format!("\n== beside the steps that follow: {}", names.join(", ")));
        let log = target_dir().join("beside.log");
        let failed = |error| Failure::new(format!("cannot start {names:?} beside the others: {error}"));
        let output = File::create(&log).map_err(failed)?;
        let errors = output.try_clone().map_err(failed)?;
        let mut xtask = command("nice");
        xtask.args(["-n", "10"]).arg(host::binary("xtask")).arg("test").args(names);
        // A group of its own, so that all of it can be ended.
        xtask.process_group(0).stdin(Stdio::null()).stdout(output).stderr(errors);
        Ok(Self { child: xtask.spawn().map_err(failed)?, log, meter: Meter::start() })
    }

    /// A failure that is known already, without waiting for the end.
    pub(crate) fn has_failed(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(Some(status)) if !status.success())
    }

    /// Waits for the end and shows what was said.
    pub(crate) fn join(&mut self) -> Result<Spent, Failure> {
        let status = self.child.wait().map_err(|error| Failure::new(format!("lost a step: {error}")))?;
        say(&fs::read_to_string(&self.log).unwrap_or_default());
        if status.success() {
            return Ok(self.meter.read());
        }
        Err(Failure::new(format!("a step beside the others failed; what it said stands above ({status})")))
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // Another step has failed: nothing is left to report to.
            let _ = run("kill", &["-KILL", "--", &format!("-{}", self.child.id())]);
            let _ = self.child.wait();
        }
    }
}
