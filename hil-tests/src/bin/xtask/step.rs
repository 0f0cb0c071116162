//! Running a command with a title, a time and a clear end.

use std::{
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

/// Why `xtask` stops.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One line to the person who waits.
#[expect(clippy::print_stderr, reason = "xtask talks to the person or the CI log that started it")]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// The top folder of the repository.
pub(crate) fn root() -> PathBuf {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_dir.parent().expect("hil-tests stands in the repository's top folder").to_path_buf()
}

/// Where tools that no system package holds are kept.
pub(crate) fn tools_dir() -> PathBuf {
    root().join(".tools")
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A command in the repository's top folder that sees the tools.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let tools = tools_dir().join("venv/bin");
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(tools.clone()).chain(std::env::split_paths(&inherited));
    let path = std::env::join_paths(path).expect("no tool folder has a colon in its name");
    let mut command = Command::new(program);
    command.current_dir(root()).env("PATH", path).env("FIELDPOST_NATS_SERVER", tools.join("nats-server"));
    command
}

/// Runs a command to its end; its output goes to ours.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    run_command(command(program).args(arguments))
}

/// Runs a prepared command to its end and says what it was and how long it took.
pub(crate) fn run_command(command: &mut Command) -> Result<(), Failure> {
    let shown = shown(command);
    say(&format!("  $ {shown}"));
    let start = Instant::now();
    let status =
        command.status().map_err(|error| Failure::new(format!("cannot start `{shown}`: {error}")))?;
    if status.success() {
        say(&format!("    {:.1} s", start.elapsed().as_secs_f32()));
        Ok(())
    } else {
        Err(Failure::new(format!("`{shown}` ended with {status}")))
    }
}

fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}
