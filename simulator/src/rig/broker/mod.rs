//! Two gateways behind a real mosquitto: **nothing that a device was told STORED of is lost, nothing is stored twice by one
//! gateway, and nothing is believed that no device has tagged.**
//!
//! ```text
//! device logic --TLS--> mosquitto --$share--> gateway a   kill -9 each of the three in turn, again and again;
//!   (own keys)             ^     '-$share--> gateway b   then read both spools: issued - stored = lost
//!                          '-- evil: forges, changes, repeats, speaks as others, answers as the gateway
//! ```
//!
//! Every device has two lives, with half of the kills in each: it is wiped, keeps its key, and counts boots and sequences from the
//! beginning again while `evil` says again what gateways answered to its first life. **What a gateway stored of one life lets go of
//! nothing of the other.**
//!
//! In the first life the gateways' envelope key is being replaced, and half of the devices seal with the former one. Between the
//! two it ends: **what it sealed is refused from then on, with that reason**.
//!
//! **By key.** Two gateways own two memories of duplicates. What one has said STORED of the other hears, and does not store;
//! what a kill cuts off between the two can stand in both spools, under one key, and a force system takes it once. Such
//! records are counted (`in_both_count`), and are no fault.

mod account;
mod evil;
mod house;
mod keys;
mod mosquitto;
mod unit;
mod units;

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    time::Duration,
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tokio::{
    task::block_in_place,
    time::{sleep, timeout},
};

pub use self::{evil::Attacks, keys::Ended};
use self::{evil::Evil, house::House, mosquitto::Mosquitto, units::Units};
use super::{
    RigError, error,
    gateway::{Gateway, Launch, Setup},
};
use crate::{console, fleet::connection::FrontDoor};

/// What must happen does so far sooner, even on a busy machine.
const HANG: Duration = Duration::from_secs(90);

/// Records of a life, before anything is killed: more than a device owes while no gateway answers, which travel together.
const LIFE_COUNT: u32 = 200;

/// What to do.
#[derive(Debug, Clone)]
pub struct BrokerPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// How often a gateway, and then mosquitto, is killed.
    pub kill_count: usize,
    /// Devices, each with 50 records a second.
    pub device_count: usize,
    /// Decides the instants.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct BrokerReport {
    /// Kills of a gateway, and as many of mosquitto.
    pub killed_count: usize,
    /// Devices, each with two lives.
    pub device_count: u64,
    /// Records that devices made.
    pub issued_count: u64,
    /// Of these, how many a device erased because a receipt said STORED.
    pub stored_count: u64,
    /// Of these, in neither spool. Must be 0.
    pub lost_count: u64,
    /// More than once in one spool. Must be 0.
    pub duplicate_count: u64,
    /// The first of these, each with how far apart it stands.
    pub twice: Vec<String>,
    /// In both spools, under one key: taken once by whoever takes it by key.
    pub in_both_count: u64,
    /// In a spool, of no device, or under a key that no device made. Must be 0.
    pub believed_count: u64,
    /// Answers of devices that were told DELIVERED. Must be one a device at least.
    pub answered_count: u64,
    /// What was attacked with.
    pub attacks: Attacks,
    /// Of the attacks up: refused, by reason as the gateways count it. Must be all.
    pub refused: HashMap<String, u64>,
    /// Of the repeated ones: known as duplicates, or as stored by the other gateway. Must be all.
    pub known_count: u64,
    /// Records stored while nothing but attacks came. Must be 0.
    pub stored_under_attack_count: u64,
    /// Frames that devices heard and did not believe. Must be all that were forged.
    pub unbelieved_count: u64,
    /// Of the gateways' former envelope key, after its end.
    pub former_key: Ended,
}

impl BrokerReport {
    /// Whether every promise was kept, and there was something to keep.
    #[must_use]
    pub fn held(&self) -> bool {
        let refused = |reason: &str| self.refused.get(reason).copied().unwrap_or(0);
        let is_refused = refused("tag-missing") == self.attacks.untagged_count
            && refused("algorithm") == self.attacks.algorithm_count
            && refused("tag") == self.attacks.forged_count
            && refused("device-unknown") == self.attacks.unknown_count;
        self.stored_count > 0
            && self.answered_count >= self.device_count
            && self.stored_count == self.issued_count
            && self.lost_count == 0
            && self.duplicate_count == 0
            && self.believed_count == 0
            && self.attacks.forged_count > 0
            && is_refused
            && self.known_count == self.attacks.replayed_count
            && self.stored_under_attack_count == 0
            && self.unbelieved_count == self.attacks.receipts_count
            && self.former_key.held()
    }
}

/// What is killed.
struct Faults {
    dice: StdRng,
    mosquitto: Mosquitto,
    pair: Pair,
    /// Kills of a gateway so far, and as many of mosquitto.
    done: usize,
}

/// Both gateways.
struct Pair {
    setups: Vec<(Setup, SocketAddr)>,
    running: Vec<Gateway>,
    launch: Launch,
}

/// Runs the plan in the empty folder `dir`.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn behind_broker(plan: &BrokerPlan, dir: &Path) -> Result<BrokerReport, RigError> {
    let mut house = block_in_place(|| House::new(dir, plan.device_count.max(2)))?;
    let mosquitto = block_in_place(|| Mosquitto::start(&house.broker_dir))?;
    let broker = FrontDoor {
        address: SocketAddr::from((Ipv4Addr::LOCALHOST, mosquitto.port)),
        server_name: "127.0.0.1".to_owned(),
    };
    let pair = block_in_place(|| Pair::start(&house, mosquitto.port, &plan.binary))?;
    let mut faults = Faults { dice: StdRng::seed_from_u64(plan.seed), mosquitto, pair, done: 0 };
    let evil = Evil::connect(&broker, house.evil.clone());
    let units = Units::start(&house, &broker);
    let tape = Box::pin(evil.catch(6 * plan.device_count)).await?;
    units.everyone_has_stored(LIFE_COUNT).await?;
    units.all_stored().await?;
    let mut report = Box::pin(under_attack(&house, &broker, &tape.up, &units, &faults.pair)).await?;
    units.go_on();
    faults.kill(plan.kill_count.div_ceil(2), &units).await?;
    units.all_stored().await?;
    let mut lives = vec![units.end().await];
    report.former_key = Box::pin(keys::end_former(&mut house, &broker, &tape.up, &faults.pair)).await?;
    let units = Box::pin(wiped(&house, &broker, &tape, &faults.pair)).await?;
    units.everyone_has_stored(LIFE_COUNT).await?;
    faults.kill(plan.kill_count, &units).await?;
    units.everyone_is_told().await?;
    units.all_stored().await?;
    lives.push(units.end().await);
    report.killed_count = faults.done;
    block_in_place(|| faults.pair.end())?;
    report.device_count = house.devices.len() as u64;
    let spools = [account::read(&house.spool("a")).await?, account::read(&house.spool("b")).await?];
    account::account(&house, &lives, &spools, &mut report);
    Ok(report)
}

impl Faults {
    /// Kills a gateway, and then mosquitto, until that was done so often in all.
    async fn kill(&mut self, count: usize, units: &Units) -> Result<(), RigError> {
        while self.done < count {
            units.everyone_hears().await?;
            // The instants of the faults, not waits for something to be ready.
            sleep(Duration::from_millis(self.dice.random_range(0..400))).await;
            block_in_place(|| self.pair.kill_and_restart(self.done % 2))?;
            units.everyone_hears().await?;
            sleep(Duration::from_millis(self.dice.random_range(0..400))).await;
            block_in_place(|| self.mosquitto.kill().and_then(|()| self.mosquitto.restart()))?;
            self.done += 1;
            console::progress(&format!("killed {} times", self.done));
        }
        Ok(())
    }
}

/// The second life of every device begins while no gateway can answer, and `evil` answers instead.
async fn wiped(house: &House, broker: &FrontDoor, tape: &evil::Tape, pair: &Pair) -> Result<Units, RigError> {
    pair.signal("STOP")?;
    let units = Units::start(house, broker);
    units.everyone_is_taken().await?;
    Evil::connect(broker, house.evil.clone()).answer_again(tape).await?;
    pair.signal("CONT")?;
    Ok(units)
}

/// Everything is stored; now only attacks come. What became of them, by the gateways' own count.
async fn under_attack(
    house: &House,
    broker: &FrontDoor,
    caught: &[evil::Caught],
    units: &Units,
    pair: &Pair,
) -> Result<BrokerReport, RigError> {
    let ids: Vec<_> = house.devices.iter().map(|device| device.id.clone()).collect();
    let before = pair.counts()?;
    let unbelieved: u64 = units.standings.iter().map(|standing| u64::from(standing.borrow().refused)).sum();
    let attacks = Evil::connect(broker, house.evil.clone()).attack(caught, &ids).await?;
    let sent =
        attacks.untagged_count + attacks.algorithm_count + attacks.forged_count + attacks.unknown_count;
    let sent = sent + attacks.replayed_count;
    let moved = |now: &HashMap<String, u64>, name: &str| {
        now.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0)
    };
    let is_judged = |now: &HashMap<String, u64>| {
        let heard: u32 = units.standings.iter().map(|standing| standing.borrow().refused).sum();
        let devices_heard = u64::from(heard) - unbelieved >= attacks.receipts_count;
        moved(now, "fieldpost_broker_messages_total") >= sent && devices_heard
    };
    let now = pair.counts_when(is_judged).await?;
    let reasons = ["tag-missing", "algorithm", "tag", "device-unknown", "malformed", "topic"];
    let refused = reasons.map(|reason| {
        (reason.to_owned(), moved(&now, &format!("fieldpost_broker_refused_total{{reason=\"{reason}\"}}")))
    });
    let heard: u32 = units.standings.iter().map(|standing| standing.borrow().refused).sum();
    Ok(BrokerReport {
        attacks,
        refused: refused.into(),
        known_count: moved(&now, "fieldpost_broker_duplicates_total")
            + moved(&now, "fieldpost_broker_stored_elsewhere_total"),
        stored_under_attack_count: moved(&now, "fieldpost_ingest_records_total"),
        unbelieved_count: u64::from(heard) - unbelieved,
        ..BrokerReport::default()
    })
}

impl Pair {
    fn start(house: &House, port: u16, binary: &Path) -> Result<Self, RigError> {
        let setups = vec![house.gateway("a", port)?, house.gateway("b", port)?];
        let launch = Launch::of(binary);
        let running = setups.iter().map(|(setup, _)| setup.start(&launch)).collect::<Result<_, _>>()?;
        Ok(Self { setups, running, launch })
    }

    fn kill_and_restart(&mut self, which: usize) -> Result<(), RigError> {
        self.running[which].kill()?;
        self.running[which] = self.setups[which].0.start(&self.launch)?;
        Ok(())
    }

    /// `STOP` or `CONT`.
    fn signal(&self, name: &str) -> Result<(), RigError> {
        self.running.iter().try_for_each(|gateway| error::signal(gateway.id(), name))
    }

    fn end(&mut self) -> Result<(), RigError> {
        self.running.iter_mut().try_for_each(|gateway| gateway.terminate().map(drop))
    }

    /// The counters as soon as they are so.
    async fn counts_when(
        &self,
        is_so: impl Fn(&HashMap<String, u64>) -> bool,
    ) -> Result<HashMap<String, u64>, RigError> {
        let counted = async {
            loop {
                let now = block_in_place(|| self.counts())?;
                if is_so(&now) {
                    return Ok(now);
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(HANG, counted).await.map_err(|_| RigError::Hang(HANG))?
    }

    /// Every counter, of both gateways together.
    fn counts(&self) -> Result<HashMap<String, u64>, RigError> {
        let mut sums = HashMap::new();
        for (_, metrics) in &self.setups {
            let text = scrape(*metrics).map_err(RigError::io("read the metrics"))?;
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                if let Some((name, value)) = line.rsplit_once(' ')
                    && let Ok(value) = value.parse::<u64>()
                {
                    *sums.entry(name.to_owned()).or_insert(0) += value;
                }
            }
        }
        Ok(sums)
    }
}

/// The metrics of a gateway.
pub(super) fn scrape(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
