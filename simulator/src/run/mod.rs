//! # A run: gateway, sinks, page, fleet and story, from start to balance
//!
//! ```text
//! prepare -> gateway -> page, sinks -> fleet -> story ... -> drain -> balance -> everything gone
//! ```
//!
//! **A run ends by draining**: no new readings, everything owed is stored, everything stored is delivered, and only then is
//! the balance drawn. Whatever happens, the temporary directory goes.

mod orders;
mod outside;
mod readers;
mod story;

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use fieldpost_firmware::Settings;
use fieldpost_gateway::pki::Issued;
use tokio_util::sync::CancellationToken;

use self::{orders::Orders, readers::Readers, story::Story};
use crate::{
    check::{
        board::Board,
        http::HttpError,
        jetstream::{JetStream, JetStreamError},
        ledger::Ledger,
        webhook,
    },
    console,
    fleet::{
        DevicePlan, Fleet, FleetError, Instruction,
        connection::FrontDoor,
        enrol::Enrolment,
        source::{Pace, Source},
    },
    host::{Host, HostError, HostPlan, Prepared},
    summary::{Alarms, Summary},
    world::{
        Town,
        force::{self, FORCE},
        geojson,
        unit::{Identity, Unit, UnitKind},
    },
};

pub use self::outside::{Outside, OutsideError};

/// How long owed records may take to come in at the end. Longer than a backed-off device waits before it dials again.
const DRAIN_MAX: Duration = Duration::from_secs(45);
/// How long sinks may take after that.
const DELIVERY_MAX: Duration = Duration::from_secs(30);
/// How long an acknowledgement may take to be back on the device after the end of the story.
const LOOP_MAX: Duration = Duration::from_secs(10);
/// How often the living line and the end of a run are looked at.
const LOOK: Duration = Duration::from_millis(250);

/// What is to be run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Seed of the town and of everything in it.
    pub seed: u64,
    /// Officers and vehicles.
    pub units: usize,
    /// Receiver logs to replay, with the name of their device.
    pub recordings: Vec<Recording>,
    /// Seconds between positions of every unit, instead of the profiles' intervals.
    pub interval_s: Option<u16>,
    /// How long; without it until interrupted, or until all recordings are over if there are no units.
    pub lasts: Option<Duration>,
    /// Whether an officer falls.
    pub emergency: bool,
    /// Whether standard input says what happens to whom, and ends the run.
    pub obeys: bool,
    /// Whether the run itself acknowledges the alarm, as there is nobody in front of the page.
    pub acknowledge: bool,
    /// Whether to print a link for people and the living line.
    pub for_people: bool,
    /// Whether to open that link in the desktop's browser.
    pub opens_page: bool,
    /// A NATS server to forward to and to check.
    pub nats_url: Option<String>,
    /// A gateway elsewhere, instead of one in this process.
    pub outside: Option<Outside>,
    /// Believe device times this old.
    pub past_hours_max: Option<u32>,
}

impl Plan {
    /// What the devices are enrolled for, and what their records speak of: on somebody's gateway never more than a test.
    fn enrolment(&self) -> Enrolment {
        if self.outside.is_some() { Enrolment::Test } else { Enrolment::Exercise }
    }
}

/// A receiver's log.
#[derive(Debug, Clone)]
pub struct Recording {
    /// Name of the device.
    pub device: String,
    /// The log.
    pub log: Arc<[u8]>,
    /// How fast it is replayed.
    pub pace: Pace,
}

/// Why a run did not come to an end with a balance.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The gateway in this process.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The gateway elsewhere.
    #[error(transparent)]
    Outside(#[from] OutsideError),
    /// The page.
    #[error(transparent)]
    Page(#[from] HttpError),
    /// The NATS server.
    #[error(transparent)]
    JetStream(#[from] JetStreamError),
    /// The fleet.
    #[error(transparent)]
    Fleet(#[from] FleetError),
    /// The webhook receiver.
    #[error("cannot listen on loopback for the webhook: {0}")]
    Webhook(std::io::Error),
    /// A task of ours panicked.
    #[error("a part of the run panicked: {0}")]
    Panicked(#[from] tokio::task::JoinError),
}

/// The gateway, wherever it runs, with what the fleet needs of it.
struct Gateway {
    host: Option<Host>,
    front_door: FrontDoor,
    authority_pem: String,
    issued: Vec<Issued>,
    events: Option<PathBuf>,
    page_link: Option<String>,
    people_link: Option<String>,
}

/// Runs the plan until it is over or `interrupted`.
///
/// # Errors
/// [`RunError`] if it could not be carried out; a run that was carried out and went wrong is a summary with faults.
pub async fn run(mut plan: Plan, interrupted: CancellationToken) -> Result<Summary, RunError> {
    let began = Instant::now();
    let say = |what: &str| console::progress(&format!("[{:4.1} s] {what}", began.elapsed().as_secs_f64()));
    say(&format!("building the town and enrolling {} devices", plan.units + plan.recordings.len()));
    let (town, identities) = people(&plan).await?;
    let names: Vec<String> = identities.iter().map(|identity| identity.device.clone()).collect();
    let receiver = match plan.outside {
        None => Some(webhook::Receiver::bind().await.map_err(RunError::Webhook)?),
        Some(_) => None,
    };
    let jetstream = match &plan.nats_url {
        Some(url) => Some(JetStream::open(url).await?),
        None => None,
    };
    let webhook_url = receiver.as_ref().map(webhook::Receiver::url);
    let gateway = open_gateway(&plan, &town, &identities, webhook_url).await?;
    say(&format!("gateway ready: devices connect to {}", gateway.front_door.address));

    let mut sinks: Vec<&str> = Vec::new();
    sinks.extend(gateway.events.as_ref().map(|_| "file"));
    sinks.extend(receiver.as_ref().map(|_| "webhook"));
    sinks.extend(jetstream.as_ref().map(|_| "nats"));
    let board = Board::new(Ledger::new(FORCE, &names, &sinks));
    let mut readers = Readers::start(&gateway, receiver, jetstream, &board).await?;
    let plans = devices(&plan, &town, identities, gateway.issued);
    let fleet = Fleet::start(plans, &gateway.authority_pem, gateway.front_door.clone(), &board, plan.seed)?;
    say(&format!("{} devices are connecting over mutual TLS", names.len()));
    if plan.for_people {
        invite(gateway.people_link.as_deref(), &plan);
    }

    let mut story = Story::new(&plan, &town);
    let mut orders = plan.obeys.then(|| Orders::of_stdin(&names));
    let ends = plan.lasts.map(|lasts| Instant::now() + lasts);
    while !is_over(&plan, &fleet, ends) && !interrupted.is_cancelled() {
        story.tell(&fleet, &mut readers).await;
        if plan.for_people {
            console::live_line(&living_line(&fleet, &board, &readers));
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = interrupted.cancelled() => {}
            order = orders::next(&mut orders) => match order {
                Some((device, order)) => fleet.tell(device, Instruction::Order(order)).await,
                None => break,
            },
        }
    }
    say("ending: bringing in what the devices still owe");
    // Cut short, the story is not judged, and nobody waits for its end: a supervisor may not give us the time.
    plan.acknowledge &= !interrupted.is_cancelled();
    let mut faults = finish(&plan, &fleet, &board, &mut story, &mut readers).await;
    let counts = fleet.progress().counts();
    let raised = fleet.progress().alarms();
    let reasons = fleet.progress().down_reasons();
    fleet.stop().await;
    let (shown, acknowledged) = readers.alarms();
    // Somebody's gateway may have heard of devices of these names before.
    if plan.outside.is_none() {
        faults.extend(readers.ledger_faults(&board).await);
    }
    readers.stop().await;
    for (reason, count) in reasons {
        tracing::info!(count, reason, "connections ended");
    }
    let alarms = Alarms::count(&raised, shown, acknowledged);
    let summary = Summary::new(&board.ledger(), counts, names.len(), alarms, faults);
    if let Some(host) = gateway.host {
        host.stop().await?;
    }
    say("everything is stopped and removed");
    Ok(summary)
}

/// The town and who is in it; computed aside, as it takes a moment.
async fn people(plan: &Plan) -> Result<(Arc<Town>, Vec<Identity>), RunError> {
    let (seed, units) = (plan.seed, plan.units);
    let town = tokio::task::spawn_blocking(move || Arc::new(Town::build(seed))).await?;
    let mut identities = force::roster(units);
    identities.extend(plan.recordings.iter().map(|recording| Identity {
        device: recording.device.clone(),
        callsign: format!("RECEIVER {}", recording.device),
        kind: UnitKind::Vehicle,
    }));
    Ok((town, identities))
}

async fn open_gateway(
    plan: &Plan,
    town: &Arc<Town>,
    identities: &[Identity],
    webhook_url: Option<String>,
) -> Result<Gateway, RunError> {
    let names: Vec<String> = identities.iter().map(|identity| identity.device.clone()).collect();
    if let Some(outside) = plan.outside.clone() {
        return Ok(outside.open(names, plan.enrolment()).await?);
    }
    let host_plan = HostPlan {
        roster: identities.to_vec(),
        streets: (plan.units > 0).then(|| geojson::render(town)),
        webhook_url,
        nats_url: plan.nats_url.clone(),
        past_hours_max: plan.past_hours_max,
    };
    let enrolment = plan.enrolment();
    let prepare = move || {
        let mut prepared = Prepared::new(&host_plan)?;
        let issued = prepared.enrol(&names, enrolment)?;
        Ok::<_, HostError>((prepared, issued))
    };
    let (prepared, issued) = tokio::task::spawn_blocking(prepare).await??;
    let authority_pem = prepared.authority_pem();
    let events = prepared.events_path();
    let host = Box::pin(prepared.start()).await?;
    Ok(Gateway {
        front_door: front_door(host.front_door(), "127.0.0.1"),
        authority_pem,
        issued,
        events: Some(events),
        page_link: Some(host.login_link("fieldpost-sim")?),
        people_link: if plan.for_people { Some(host.login_link("demo")?) } else { None },
        host: Some(host),
    })
}

fn front_door(address: SocketAddr, server_name: &str) -> FrontDoor {
    FrontDoor { address, server_name: server_name.to_owned() }
}

fn devices(plan: &Plan, town: &Arc<Town>, identities: Vec<Identity>, issued: Vec<Issued>) -> Vec<DevicePlan> {
    let mode = plan.enrolment().mode();
    let mut plans = Vec::with_capacity(identities.len());
    for (number, (identity, issued)) in identities.into_iter().zip(issued).enumerate() {
        let device = identity.device.clone();
        let recording = number.checked_sub(plan.units).and_then(|number| plan.recordings.get(number));
        let (settings, source, interval_s) = match recording {
            Some(recording) => {
                (Settings::replay(mode), Source::recording(&recording.log, recording.pace), None)
            }
            None => {
                let settings = match identity.kind {
                    UnitKind::Officer => Settings::body_worn(mode),
                    UnitKind::Vehicle => Settings::vehicle(mode),
                };
                let unit = Unit::new(town, plan.seed, number, identity);
                (story::patient(settings), Source::world(Arc::clone(town), unit), plan.interval_s)
            }
        };
        plans.push(DevicePlan { device, issued, settings, source, interval_s });
    }
    plans
}

fn is_over(plan: &Plan, fleet: &Fleet, ends: Option<Instant>) -> bool {
    let recordings_over = plan.units == 0 && fleet.progress().counts().ended == plan.recordings.len();
    recordings_over || ends.is_some_and(|ends| Instant::now() >= ends)
}

/// Drains the fleet, then the sinks; says what did not come to its end.
async fn finish(
    plan: &Plan,
    fleet: &Fleet,
    board: &Board,
    story: &mut Story,
    readers: &mut Readers,
) -> Vec<String> {
    let mut faults = Vec::new();
    if plan.acknowledge {
        // The loop may still be closing: an alarm raised in the last second is an alarm too.
        let deadline = Instant::now() + LOOP_MAX;
        while !story.loop_is_closed(fleet) && Instant::now() < deadline {
            story.tell(fleet, readers).await;
            tokio::time::sleep(LOOK / 5).await;
        }
        if !story.loop_is_closed(fleet) {
            faults.push("an alarm did not come back to its wearer as SEEN".to_owned());
        }
    }
    // The gateway in this process has a file and a webhook as force systems.
    if plan.outside.is_none() && !told_of_delivery(fleet).await {
        faults.push("an alarm did not come back to its wearer as DELIVERED".to_owned());
    }
    if plan.emergency && fleet.progress().alarms().is_empty() && plan.acknowledge {
        faults.push("no alarm was raised".to_owned());
    }
    if !fleet.drain(DRAIN_MAX).await {
        faults.push(format!(
            "{} records were still owed after {} s",
            fleet.progress().counts().owed,
            DRAIN_MAX.as_secs()
        ));
    }
    let deadline = Instant::now() + DELIVERY_MAX;
    let raised = fleet.progress().alarms().len();
    let all_shown = || readers.page.is_none() || readers.alarms().0 >= raised;
    while !(board.ledger().all_delivered() && all_shown()) && Instant::now() < deadline {
        tokio::time::sleep(LOOK / 5).await;
    }
    if !all_shown() {
        faults.push(format!("{raised} alarms were raised and {} shown", readers.alarms().0));
    }
    if readers.page_is_lost() {
        faults.push("the page was lost and did not open again".to_owned());
    }
    faults
}

/// Whether every device that raised an alarm heard in time that a force system has it.
async fn told_of_delivery(fleet: &Fleet) -> bool {
    let all_told = |alarms: &[crate::fleet::progress::RaisedAlarm]| {
        alarms.iter().all(|alarm| alarm.delivered_us.is_some() || alarm.seen_us.is_some())
    };
    let told = fleet.progress().wait(|progress| all_told(&progress.alarms()));
    tokio::time::timeout(LOOP_MAX, told).await.is_ok()
}

fn invite(link: Option<&str>, plan: &Plan) {
    let Some(link) = link else { return };
    console::progress("");
    console::progress("  The control room is open. This link lets you in once, within five minutes:");
    console::progress(&format!("    {link}"));
    if plan.emergency {
        console::progress(
            "  An officer will go down within 30 seconds. Ctrl-C ends the demo and removes everything.",
        );
    }
    console::progress("");
    if plan.opens_page {
        let opened = tokio::process::Command::new("xdg-open").arg(link).kill_on_drop(false).spawn();
        if let Err(error) = opened {
            console::progress(&format!("  No browser could be opened ({error}): use the link."));
        }
    }
}

fn living_line(fleet: &Fleet, board: &Board, readers: &Readers) -> String {
    let counts = fleet.progress().counts();
    let (shown, acknowledged) = readers.alarms();
    let ledger = board.ledger();
    let page_p99 = ledger.page_latencies().percentiles().p99;
    let page = page_p99.map_or_else(String::new, |p99| format!(" | page p99 {p99:.0} ms"));
    let alarms = match (shown, acknowledged) {
        (0, _) => String::new(),
        (shown, acknowledged) if acknowledged < shown => {
            format!(" | ALARM: {} to acknowledge", shown - acknowledged)
        }
        (shown, _) => format!(" | {shown} alarm acknowledged"),
    };
    format!(
        "{} of {} connected | {} records issued, {} owed{page}{alarms}",
        counts.connected,
        fleet.len(),
        counts.issued,
        counts.owed
    )
}
