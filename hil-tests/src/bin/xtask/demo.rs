//! The demo as a newcomer runs it: once for a machine, once for a browser.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, ChildStderr, Stdio},
};

use crate::{
    host,
    step::{Failure, command, run, run_command, say, target_dir},
    tools,
};

/// `cargo demo` for a machine: its exit code is 0 only if nothing was lost and the alarm was shown and seen.
pub(crate) fn headless() -> Result<(), Failure> {
    host::build()?;
    run_command(host::simulator().args(["demo", "--headless", "--for", "30s", "--json"]))
}

/// A browser against the running demo. Its pictures stay in `target/browser/`.
pub(crate) fn browser() -> Result<(), Failure> {
    tools::node_packages("hil-tests/browser")?;
    let pictures = target_dir().join("browser");
    fs::create_dir_all(&pictures)
        .map_err(|error| Failure::new(format!("cannot make {pictures:?}: {error}")))?;
    // A small fleet: software GL draws slowly.
    let mut demo = Demo::start(&["--units", "24"])?;
    let link = demo.login_link()?;
    let mut script = command("node");
    script.arg("hil-tests/browser/control_room.mjs").args(["--login", &link, "--screenshots"]).arg(&pictures);
    let seen = run_command(&mut script);
    let ended = demo.interrupt();
    seen.and(ended)?;
    shift(&pictures)
}

/// A part of the shift, a way to break the page, and the claim that must then be false.
const SABOTAGES: [(&str, &str, &str); 6] = [
    ("keyboard", "deaf", "a_never_answers_what_was_not_chosen"),
    ("themes", "faint", "accessible_calm_light"),
    ("replay", "leak", "no_policy_violation"),
    ("hostile", "markup", "hostile_names_stay_text"),
    ("gaps", "bridged", "what_a_device_lost_is_drawn_as_a_gap"),
    ("blind", "soothing", "a_force_system_that_refuses_is_said_in_words"),
];

/// A shift at the page, against a real gateway and its stand-in, whole and broken on purpose.
fn shift(pictures: &Path) -> Result<(), Failure> {
    let script = |arguments: &[&str], pictures: &Path| {
        let mut script = command("node");
        script.arg("hil-tests/browser/shift.mjs").args(arguments).arg("--screenshots").arg(pictures);
        script.arg("--binaries").arg(target_dir().join("debug"));
        script
    };
    run_command(&mut script(&[], pictures))?;
    for (part, sabotage, claim) in SABOTAGES {
        // A broken page is waited for in vain: 20 seconds are more than any step of a whole one takes.
        let arguments = ["--only", part, "--sabotage", sabotage, "--timeout-s", "20"];
        let output = script(&arguments, &pictures.join(sabotage))
            .stderr(Stdio::inherit())
            .output()
            .map_err(|error| Failure::new(format!("cannot start node: {error}")))?;
        let seen = String::from_utf8_lossy(&output.stdout);
        if output.status.code() != Some(1) || !seen.contains(&format!("\"{claim}\": false")) {
            return Err(Failure::new(format!(
                "the page was broken ({sabotage}) and {claim} is not false, {}:\n{seen}",
                output.status
            )));
        }
        say(&format!("    sabotage {sabotage} turns {claim} red"));
    }
    Ok(())
}

/// A demo that is interrupted, or killed when the step fails.
pub(crate) struct Demo {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStderr>>,
}

impl Demo {
    pub(crate) fn start(arguments: &[&str]) -> Result<Self, Failure> {
        host::build()?;
        // The binary itself, not `cargo demo`: an interrupt must reach it.
        let mut program = host::simulator();
        program.arg("demo").args(arguments).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child =
            program.spawn().map_err(|error| Failure::new(format!("cannot start the demo: {error}")))?;
        let stderr = child.stderr.take().expect("stderr was piped just above");
        Ok(Self { child, lines: BufReader::new(stderr).lines() })
    }

    /// Reads what the demo says until it prints the one-time link.
    pub(crate) fn login_link(&mut self) -> Result<String, Failure> {
        for line in self.lines.by_ref().map_while(Result::ok) {
            say(&format!("    {line}"));
            let link = line.split_whitespace().find(|word| word.contains("/login?token="));
            if let Some(link) = link {
                return Ok(link.to_owned());
            }
        }
        Err(Failure::new("the demo ended without printing a login link"))
    }

    /// Interrupts the demo as Ctrl-C does and expects a clean end.
    pub(crate) fn interrupt(&mut self) -> Result<(), Failure> {
        run("kill", &["-INT", &self.child.id().to_string()])?;
        for line in self.lines.by_ref().map_while(Result::ok) {
            say(&format!("    {line}"));
        }
        let status = self.child.wait().map_err(|error| Failure::new(format!("lost the demo: {error}")))?;
        if status.success() { Ok(()) } else { Err(Failure::new(format!("the demo ended with {status}"))) }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A failed step: nothing is left to report to.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
