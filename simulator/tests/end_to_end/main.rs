//! A small fleet of real device logic against a real gateway in this process: mTLS, MQTT 5, fsynced spool, sinks, page.
//!
//! Nothing here waits for a time to pass; every wait is for a condition, bounded by [`WAIT_MAX`].

use std::{sync::Arc, time::Duration};

use fieldpost_firmware::Settings;
use fieldpost_gateway::{
    config::{
        Config, RELEASE_ALL,
        template::{TemplateValues, quoted},
    },
    init::{InitOptions, PKI_DIR, init},
    service,
};
use fieldpost_simulator::{
    check::{board::Board, file, ledger::Ledger, page::Page, webhook},
    fleet::{
        DevicePlan, Fleet, Instruction,
        connection::FrontDoor,
        enrol::Enrolment,
        source::{Pace, Source},
    },
    host::{Host, HostPlan, Prepared},
    run::{self, Outside, Plan},
    world::{
        Town,
        force::{self, FORCE},
        unit::{Identity, Order, Unit, UnitKind},
    },
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A loaded machine with two cores needs seconds; nothing needs this long.
const WAIT_MAX: Duration = Duration::from_secs(60);
const SEED: u64 = 11;

struct Rig {
    host: Host,
    fleet: Fleet,
    board: Board,
    stop: CancellationToken,
    readers: JoinSet<()>,
}

fn settings(kind: UnitKind) -> Settings {
    let mode = Enrolment::Test.mode();
    let mut settings = match kind {
        UnitKind::Officer => Settings::body_worn(mode),
        UnitKind::Vehicle => Settings::vehicle(mode),
    };
    (settings.rules.down_ms_min, settings.rules.pre_alarm_ms) = (200, 300);
    settings
}

/// The devices of a force, each with its source, and the gateway they report to.
async fn start(roster: Vec<Identity>, source: impl Fn(usize, &Identity) -> (Settings, Source)) -> Rig {
    let receiver = webhook::Receiver::bind().await.expect("loopback has a free port");
    let plan = HostPlan { roster: roster.clone(), webhook_url: Some(receiver.url()), ..HostPlan::default() };
    let mut prepared = Prepared::new(&plan).expect("a gateway can be prepared");
    let names: Vec<String> = roster.iter().map(|identity| identity.device.clone()).collect();
    let issued = prepared.enrol(&names, Enrolment::Test).expect("the authority issues");
    let (authority_pem, events) = (prepared.authority_pem(), prepared.events_path());
    let host = Box::pin(prepared.start()).await.expect("the gateway starts");
    let board = Board::new(Ledger::new(FORCE, &names, &["file", "webhook"]));
    let stop = CancellationToken::new();
    let mut readers = JoinSet::new();
    let serving = receiver.serve(board.clone(), 1, stop.clone());
    readers.spawn(async move { serving.await.expect("the receiver does not panic") });
    let (follower, follower_stop) = (board.clone(), stop.clone());
    readers.spawn(async move { file::follow(&events, &follower, 0, &follower_stop).await });
    let plans = roster.iter().zip(issued).enumerate().map(|(number, (identity, issued))| {
        let (settings, source) = source(number, identity);
        DevicePlan { device: identity.device.clone(), issued, settings, source, interval_s: Some(1) }
    });
    let front_door = FrontDoor { address: host.front_door(), server_name: "127.0.0.1".to_owned() };
    let fleet =
        Fleet::start(plans.collect(), &authority_pem, front_door, &board, SEED).expect("the fleet starts");
    Rig { host, fleet, board, stop, readers }
}

async fn start_town(count: usize) -> Rig {
    let town = Arc::new(Town::build(SEED));
    start(force::roster(count), |number, identity| {
        let unit = Unit::new(&town, SEED, number, identity.clone());
        (settings(identity.kind), Source::world(Arc::clone(&town), unit))
    })
    .await
}

impl Rig {
    async fn wait(&self, condition: impl Fn(&Self) -> bool) {
        let wait = self.fleet.progress().wait(|_| condition(self));
        tokio::time::timeout(WAIT_MAX, wait).await.expect("the condition is reached");
    }

    /// Everything owed comes in, everything stored is delivered, and nothing is left behind.
    async fn finish(mut self) -> Board {
        assert!(self.fleet.drain(WAIT_MAX).await, "nothing is owed at the end");
        let delivered = async {
            while !self.board.ledger().all_delivered() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(WAIT_MAX, delivered).await.expect("everything stored is delivered");
        self.fleet.stop().await;
        self.stop.cancel();
        while self.readers.join_next().await.is_some() {}
        Box::pin(self.host.stop()).await.expect("nothing is left behind");
        self.board
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_that_five_devices_send_arrives_once_and_in_order() {
    let rig = start_town(5).await;
    rig.wait(|rig| rig.fleet.progress().counts().issued >= 25).await;
    let board = rig.finish().await;
    let ledger = board.ledger();
    assert_eq!(ledger.faults(), Vec::<String>::new());
    assert!(ledger.balance().stored >= 25);
    assert_eq!(ledger.balance().stored, ledger.balance().issued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_officer_who_falls_is_seen_and_told_so() {
    let rig = start_town(2).await;
    let page = Page::open(&rig.host.login_link("tester").unwrap()).await.unwrap();
    let (operator, mut state) = (page.operator(), page.state());
    let (board, stop) = (rig.board.clone(), rig.stop.clone());
    let following = tokio::spawn(async move { page.follow(&board, &stop).await });
    rig.wait(|rig| rig.fleet.progress().counts().connected == 2).await;
    rig.fleet.tell(0, Instruction::Order(Order::Fall)).await;

    let shown = state.wait_for(|state| !state.alarms.is_empty());
    let shown = tokio::time::timeout(WAIT_MAX, shown).await.expect("the alarm is shown").unwrap().clone();
    let alarm = shown.alarms.values().next().unwrap();
    assert_eq!((alarm.cause.as_str(), alarm.state.as_str()), ("officer_down", "unacknowledged"));
    let acknowledged = operator.acknowledge(&alarm.id).await.unwrap();
    assert_eq!(acknowledged.state, "acknowledged");

    rig.wait(|rig| rig.fleet.progress().alarms().iter().any(|alarm| alarm.seen_us.is_some())).await;
    rig.finish().await;
    following.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receivers_log_arrives_whole_and_in_order() {
    let log = include_bytes!("../../testdata/gnss/bt451.log");
    let fixes = include_str!("../../testdata/gnss/expected.csv")
        .lines()
        .filter(|line| line.starts_with("bt451.log,"))
        .count();
    let receiver =
        Identity { device: "bt451".to_owned(), callsign: "RECEIVER".to_owned(), kind: UnitKind::Vehicle };
    let rig = start(vec![receiver], |_, _| {
        (Settings::replay(Enrolment::Test.mode()), Source::recording(log, Pace::Fast))
    })
    .await;
    rig.wait(|rig| rig.fleet.progress().counts().ended == 1).await;
    let board = rig.finish().await;
    assert_eq!(board.ledger().faults(), Vec::<String>::new());
    // Beside the fixes there is the status that every device begins with.
    assert_eq!(board.ledger().balance().stored, fixes as u64 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_elsewhere_takes_one_run_after_another() {
    let dir = tempfile::tempdir().unwrap();
    let free = "127.0.0.1:0".to_owned();
    let events = dir.path().join("events.ndjson");
    let values = TemplateValues {
        front_door_listen: free.clone(),
        control_room_listen: free.clone(),
        metrics_listen: free,
        forces: vec![(FORCE.to_owned(), "Simulated".to_owned())],
        appendix: format!(
            "[[forward.file]]\npath = {}\n{RELEASE_ALL}\n",
            quoted(&events.display().to_string())
        ),
    };
    let home = dir.path().join("gateway");
    let options = InitOptions { values, ..InitOptions::default() };
    let config = init(&home, &options).unwrap().config;
    let service = Box::pin(service::start(Config::load(&config).unwrap())).await.unwrap();
    for _ in 0..2 {
        let outside = Outside {
            gateway: service.front_door.to_string(),
            authority: home.join(PKI_DIR),
            link: None,
            events: None,
        };
        let plan = Plan {
            seed: SEED,
            units: 2,
            recordings: Vec::new(),
            interval_s: Some(1),
            lasts: Some(Duration::from_secs(2)),
            emergency: false,
            obeys: false,
            acknowledge: false,
            for_people: false,
            opens_page: false,
            nats_url: None,
            outside: Some(outside),
            past_hours_max: None,
        };
        let before = service.spool.committed().0;
        let summary = Box::pin(run::run(plan, CancellationToken::new())).await.unwrap();
        assert!(summary.ok && summary.stored > 0, "{summary:?}");
        assert_eq!(service.spool.committed().0 - before, summary.stored, "none is taken for an earlier one");
    }
    let records = service.spool.committed().0;
    let delivered = async {
        while (std::fs::read_to_string(&events).unwrap_or_default().lines().count() as u64) < records {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, delivered).await.expect("no record is above its device's ceiling");
    assert!(Box::pin(service.shutdown()).await);
}
