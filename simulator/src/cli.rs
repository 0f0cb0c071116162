//! The command line of `fieldpost-sim`.

use std::{ffi::OsString, io::IsTerminal as _, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::{Args, Parser, Subcommand};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

use crate::{
    bench::BenchCommand,
    console,
    fleet::source::Pace,
    rig::RigArguments,
    run::{self, Outside, Plan, Recording},
    simulation::CheckCommand,
    slot::SlotArguments,
    summary::Summary,
    world::{Town, geojson},
};

/// Real output of a body-worn modem, for the device that the demo replays.
const DEMO_RECORDING: &[u8] = include_bytes!("../testdata/gnss/telit-he910.log");
/// The demo's units report this often, in seconds: one sees them move.
const DEMO_INTERVAL_S: u16 = 2;
/// Recordings may be as old as satellite navigation.
const RECORDING_HOURS_MAX: u32 = 400_000;
/// A headless demo lasts this long unless told otherwise.
const HEADLESS: Duration = Duration::from_secs(30);

/// What is logged by default. The MQTT client's warnings hold whole payloads, and positions are never logged.
const LOGGED: &str = "warn,rumqttc=off";

/// Virtual officers and vehicles that run the real device logic over real mTLS, and check every promise.
///
/// Exit code: 0 if nothing was lost, 1 if a promise was broken, 2 if it could not run.
#[derive(Debug, Parser)]
#[command(name = "fieldpost-sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A force alive in one command: gateway, page, 60 units, an officer down. Nothing is left behind.
    Demo(Demo),
    /// A fleet against a gateway, with the balance at the end.
    Run(RunFleet),
    /// Real receivers' logs through the device logic and a gateway.
    ReplayNmea(Replay),
    /// Prints the town of a seed as GeoJSON.
    Streets(Streets),
    /// Writes a device's provisioning slot from the files of `fieldpost pki issue`.
    Slot(SlotArguments),
    /// Devices, network, disk and gateway under virtual time, with faults from a seed.
    Check(CheckCommand),
    /// Breaks real servers and counts what was lost.
    Rig(RigArguments),
    /// Measures the gateway next to another server, in one run.
    Bench(BenchCommand),
}

#[derive(Debug, Args)]
struct Demo {
    /// No page to look at: acknowledge the alarm, end by itself, judge.
    #[arg(long)]
    headless: bool,
    /// How long, for example 30s or 5m. Default: until Ctrl-C; headless: 30s.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    lasts: Option<Duration>,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
    /// Officers and vehicles.
    #[arg(long, default_value_t = 60)]
    units: usize,
    /// Same seed, same town and same people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Open the page in the desktop's browser.
    #[arg(long)]
    open: bool,
}

#[derive(Debug, Args)]
struct RunFleet {
    /// Devices, a quarter of them vehicles.
    #[arg(long, default_value_t = 100)]
    devices: usize,
    /// How long, for example 60s.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "60s")]
    lasts: Duration,
    /// Same seed, same town and same people.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Seconds between positions of every device. Default: as the firmware decides.
    #[arg(long, value_name = "SECONDS")]
    interval: Option<u16>,
    /// Do what standard input says, a line each: press, fall, rise, hide, rattle or stay, and the device. Its end ends the run.
    #[arg(long)]
    obey: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Replay {
    /// NMEA 0183 logs; each becomes a device named after its file.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// How many times faster than it was recorded.
    #[arg(long, default_value_t = 1.0, conflicts_with = "fast")]
    speed: f64,
    /// As fast as the device can pass it on.
    #[arg(long)]
    fast: bool,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, Args)]
struct Target {
    /// Also forward to this NATS server with JetStream, and check it.
    #[arg(long, value_name = "URL")]
    nats: Option<String>,
    /// A gateway elsewhere instead of one in this process; it must serve the force `sim`.
    #[arg(long, value_name = "HOST:PORT", requires = "authority")]
    gateway: Option<String>,
    /// Directory of that gateway's authority, to enrol the devices with.
    #[arg(long, value_name = "DIR", requires = "gateway")]
    authority: Option<PathBuf>,
    /// One-time link to that gateway's page, from `fieldpost login`, to measure it.
    #[arg(long, value_name = "URL", requires = "gateway")]
    link: Option<String>,
    /// That gateway's NDJSON file, empty at the start, to check it.
    #[arg(long, value_name = "FILE", requires = "gateway")]
    events: Option<PathBuf>,
    /// Print the summary as one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct Streets {
    /// Same seed, same town.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the program with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let command = Cli::parse_from(without_separator(std::env::args_os())).command;
    // What a gateway says of simulated faults is thousands of lines that nobody has asked for.
    let logged = if matches!(command, Command::Check(_)) { "off" } else { LOGGED };
    let filter = EnvFilter::try_from_env("FIELDPOST_SIM_LOG").unwrap_or_else(|_| EnvFilter::new(logged));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(std::io::stderr().is_terminal());
    log.with_writer(std::io::stderr).init();
    match command {
        Command::Streets(Streets { seed }) => {
            console::result(geojson::render(&Town::build(seed)).trim_end());
            ExitCode::SUCCESS
        }
        Command::Slot(slot) => match slot.write() {
            Ok(said) => {
                console::result(&said);
                ExitCode::SUCCESS
            }
            Err(problem) => {
                console::progress(&format!("error: {problem}"));
                ExitCode::from(2)
            }
        },
        Command::Check(check) => {
            if check.run() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Command::Rig(rig) => block_on(break_something(rig)),
        Command::Bench(bench) => block_on(measure(bench)),
        Command::Demo(demo) => execute(demo.plan(), demo.json),
        Command::Run(fleet) => {
            let json = fleet.target.json;
            execute(fleet.plan(), json)
        }
        Command::ReplayNmea(replay) => match replay.plan() {
            Ok(plan) => execute(plan, replay.target.json),
            Err(problem) => {
                console::progress(&format!("error: {problem}"));
                ExitCode::from(2)
            }
        },
    }
}

fn execute(plan: Plan, json: bool) -> ExitCode {
    block_on(async {
        let interrupted = CancellationToken::new();
        tokio::spawn(interrupt(interrupted.clone()));
        let summary = Box::pin(run::run(plan, interrupted)).await?;
        show(&summary, json);
        Ok(summary.ok)
    })
}

/// Runs a part that says whether its promise held.
fn block_on(part: impl Future<Output = Result<bool, Box<dyn std::error::Error>>>) -> ExitCode {
    let outcome = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(part));
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            console::progress(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

async fn break_something(rig: RigArguments) -> Result<bool, Box<dyn std::error::Error>> {
    let verdict = Box::pin(rig.run()).await?;
    console::result(&verdict.report.to_string());
    Ok(verdict.held)
}

async fn measure(bench: BenchCommand) -> Result<bool, Box<dyn std::error::Error>> {
    console::result(Box::pin(bench.run()).await?.trim_end());
    Ok(true)
}

fn show(summary: &Summary, json: bool) {
    if json {
        console::result(&summary.json());
    } else {
        console::progress(summary.text().trim_end());
    }
}

/// Cancels at SIGINT or SIGTERM.
async fn interrupt(interrupted: CancellationToken) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    interrupted.cancel();
}

impl Demo {
    fn plan(&self) -> Plan {
        Plan {
            seed: self.seed,
            units: self.units,
            recordings: vec![Recording {
                device: "telit-he910".to_owned(),
                log: Arc::from(DEMO_RECORDING),
                pace: Pace::Speed(1.0),
            }],
            interval_s: Some(DEMO_INTERVAL_S),
            lasts: self.lasts.or(self.headless.then_some(HEADLESS)),
            emergency: true,
            obeys: false,
            acknowledge: self.headless,
            for_people: !self.headless,
            opens_page: self.open,
            nats_url: None,
            outside: None,
            past_hours_max: None,
        }
    }
}

impl RunFleet {
    fn plan(&self) -> Plan {
        Plan {
            seed: self.seed,
            units: self.devices,
            recordings: Vec::new(),
            interval_s: self.interval,
            lasts: Some(self.lasts),
            emergency: false,
            obeys: self.obey,
            acknowledge: false,
            for_people: false,
            opens_page: false,
            nats_url: self.target.nats.clone(),
            outside: self.target.outside(),
            past_hours_max: None,
        }
    }
}

impl Replay {
    fn plan(&self) -> Result<Plan, String> {
        let pace = if self.fast { Pace::Fast } else { Pace::Speed(self.speed) };
        let recordings: Result<Vec<Recording>, String> = self
            .files
            .iter()
            .map(|file| {
                let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
                fieldpost_protocol::DeviceId::try_new(stem)
                    .map_err(|error| format!("{}: {error}; rename the file", file.display()))?;
                let log = std::fs::read(file)
                    .map_err(|error| format!("cannot read {}: {error}", file.display()))?;
                Ok(Recording { device: stem.to_owned(), log: Arc::from(log), pace })
            })
            .collect();
        Ok(Plan {
            seed: 1,
            units: 0,
            recordings: recordings?,
            interval_s: None,
            lasts: None,
            emergency: false,
            obeys: false,
            acknowledge: false,
            for_people: false,
            opens_page: false,
            nats_url: self.target.nats.clone(),
            outside: self.target.outside(),
            past_hours_max: Some(RECORDING_HOURS_MAX),
        })
    }
}

impl Target {
    fn outside(&self) -> Option<Outside> {
        Some(Outside {
            gateway: self.gateway.clone()?,
            authority: self.authority.clone()?,
            link: self.link.clone(),
            events: self.events.clone(),
        })
    }
}

/// `500ms`, `30s`, `5m` or `2h`.
fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    let parsed = units.into_iter().find_map(|(unit, millis)| {
        let count: u64 = text.strip_suffix(unit)?.parse().ok()?;
        count.checked_mul(millis).map(Duration::from_millis)
    });
    parsed.ok_or_else(|| format!("\"{text}\" is not a time such as 30s or 5m"))
}

/// `cargo demo -- --headless` arrives as `demo -- --headless`: the alias has a separator of its own. Without this the
/// options would count as arguments.
fn without_separator(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = arguments.collect();
    if arguments.get(2).is_some_and(|argument| argument == "--") {
        arguments.remove(2);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn times_are_read_with_their_unit() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        assert!(duration("30").is_err() && duration("s").is_err() && duration("-1s").is_err());
    }

    #[test]
    fn the_demo_takes_its_options_with_and_without_a_separator() {
        for line in [
            "fieldpost-sim demo -- --headless --for 30s --json",
            "fieldpost-sim demo --headless --for 30s --json",
        ] {
            let arguments = without_separator(line.split(' ').map(OsString::from));
            let Command::Demo(demo) = Cli::try_parse_from(arguments).unwrap().command else {
                panic!("not the demo: {line}");
            };
            assert!(demo.headless && demo.json, "{line}");
        }
    }
}
