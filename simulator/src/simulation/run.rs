//! The run of one plan: its state, its loop, and what becomes known.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use fieldpost_gateway::spool::{Wait, faulty::FaultyDisk};
use tokio::time::sleep_until;

use super::{
    body::Body,
    broker::Broker,
    event::{Event, Events},
    gateway::{CURSOR_NAME, EPOCH_MS, Gateway, Surroundings, WallClock},
    net::{ConnId, Touched},
    network::Conn,
    plan::Plan,
    promise::{self, Breach, Checker},
    retention::Desk,
    sink::ForceSystem,
    tasks::Tasks,
    trace::Trace,
};
use crate::world::dice::Dice;

/// After the faults everything must settle within this; the longest wait of the product is a device's answer deadline.
const SETTLES_MS_MAX: u64 = 900_000;

/// Everything must stay settled for so long: SEEN is sent anew every five seconds. Less than the 15 s after which the gateway
/// commits a record of its own while it counts a unit's silence: that one, on its way to the force system, is no debt.
const STAYS_MS: u64 = 12_000;

/// The longest period whose end every run is to see: that of a position.
const PERIOD_MS: u64 = 40_000;

/// Streams of chance; the plan's is 1.
pub(super) const NETWORK: u64 = 2;
const DISK: u64 = 3;
const SINK: u64 = 4;
const JITTER: u64 = 5;
pub(super) const TROUBLE: u64 = 6;
const BROKER: u64 = 10;
const BODIES: u64 = 100;

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// The first promise that was broken, if one was.
    pub breach: Option<Breach>,
    /// When, or when all had settled: virtual ms.
    pub ended_ms: u64,
    /// What happened.
    pub trace: Trace,
    /// Records that devices have heard to be STORED.
    pub stored: u64,
    /// Crashes of the gateway.
    pub crashes: u64,
}

/// Runs a plan to its end or to the first broken promise.
///
/// # Panics
/// If tokio cannot make a runtime: no memory.
#[must_use]
pub fn simulate(plan: &Plan, trace: Trace) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without threads and sockets");
    // Made inside: elsewhere tokio's time is that of the machine.
    runtime.block_on(async { Run::new(plan, trace).finish().await })
}

/// Everything there is.
pub(super) struct Run<'p> {
    pub(super) plan: &'p Plan,
    pub(super) now_ms: u64,
    began: tokio::time::Instant,
    /// The start of the spool's monotonic time.
    spool_began: Instant,
    pub(super) events: Events,
    pub(super) tasks: Tasks,
    pub(super) trace: Trace,
    pub(super) bodies: Vec<Body>,
    pub(super) conns: BTreeMap<ConnId, Conn>,
    pub(super) next_conn: ConnId,
    pub(super) touched: Touched,
    pub(super) network: Dice,
    pub(super) trouble: Dice,
    disk_dice: Dice,
    pub(super) disk: FaultyDisk,
    pub(super) disk_is_slow: bool,
    pub(super) everybody_is_cut_off: bool,
    pub(super) is_healed: bool,
    pub(super) wall: WallClock,
    pub(super) wall_off_s: i64,
    pub(super) sink: ForceSystem,
    pub(super) broker: Broker,
    pub(super) gateway: Option<Gateway>,
    /// Counts starts and crashes of the gateway.
    pub(super) gateway_life: u32,
    write_is_arranged: bool,
    pub(super) crashes: u64,
    pub(super) checkers: Vec<Box<dyn Checker>>,
    pub(super) breach: Option<Breach>,
    pub(super) stored: u64,
    settled_at_ms: Option<u64>,
    /// The latest time that the gateway's clock has shown.
    pub(super) wall_ms_max: u64,
    pub(super) desk: Desk,
    rest: Option<Rest>,
}

/// The quiet after everything has settled, in which retention removes what nobody keeps.
#[derive(Debug, Clone, Copy)]
struct Rest {
    until_ms: u64,
    /// It may take so long.
    within_ms: u64,
}

impl<'p> Run<'p> {
    fn new(plan: &'p Plan, trace: Trace) -> Self {
        let body = |number| {
            let dice = Dice::new(plan.seed, BODIES + number as u64);
            Body::new(number, plan.behind_broker.contains(&number), dice)
        };
        let bodies = (0..plan.device_count).map(body).collect();
        Self {
            plan,
            now_ms: 0,
            began: tokio::time::Instant::now(),
            spool_began: Instant::now(),
            events: Events::default(),
            tasks: Tasks::default(),
            trace,
            bodies,
            conns: BTreeMap::new(),
            next_conn: 1,
            touched: Arc::default(),
            network: Dice::new(plan.seed, NETWORK),
            trouble: Dice::new(plan.seed, TROUBLE),
            disk_dice: Dice::new(plan.seed, DISK),
            disk: FaultyDisk::new(),
            disk_is_slow: false,
            everybody_is_cut_off: false,
            is_healed: false,
            wall: WallClock::default(),
            wall_off_s: 0,
            sink: ForceSystem::new(Dice::new(plan.seed, SINK)),
            broker: Broker::new(Dice::new(plan.seed, BROKER)),
            gateway: None,
            gateway_life: 0,
            write_is_arranged: false,
            crashes: 0,
            checkers: promise::all(),
            settled_at_ms: None,
            breach: None,
            stored: 0,
            wall_ms_max: 0,
            desk: Desk::default(),
            rest: None,
        }
    }

    async fn finish(mut self) -> Outcome {
        self.arrange();
        let limit_ms = self.plan.trouble_ms + SETTLES_MS_MAX;
        while self.breach.is_none() {
            self.settle();
            if let Some(event) = self.events.due(self.now_ms) {
                self.handle(event).await;
                continue;
            }
            if self.is_healed && self.rest.is_none() && self.has_stayed_settled() {
                self.judge().await;
                if !self.plan.rests {
                    break;
                }
                let within_ms = self.gone_within_ms();
                self.rest = Some(Rest { until_ms: self.now_ms + within_ms + PERIOD_MS, within_ms });
            }
            if let Some(rest) = self.rest.filter(|rest| self.now_ms > rest.until_ms) {
                self.judge_rest(rest.within_ms).await;
                break;
            }
            if self.rest.is_none() && self.now_ms > limit_ms {
                let words = format!(
                    "devices still owe {} records {SETTLES_MS_MAX} ms after the last fault",
                    self.owed()
                );
                self.break_promise("liveness", words);
                break;
            }
            self.wait().await;
        }
        if let Some(gateway) = self.gateway.take() {
            gateway.kill(&mut self.tasks);
        }
        Outcome {
            breach: self.breach,
            ended_ms: self.now_ms,
            trace: self.trace,
            stored: self.stored,
            crashes: self.crashes,
        }
    }

    fn arrange(&mut self) {
        self.events.add(0, Event::GatewayStarts { life: 0 });
        for device in 0..self.bodies.len() {
            self.events.add(1 + 100 * device as u64, Event::PowerOn { device });
        }
        for (index, (at_ms, _)) in self.plan.faults.iter().enumerate() {
            self.events.add(*at_ms, Event::Fault(super::event::FaultAt(index)));
        }
        for (index, hold) in self.plan.holds.iter().enumerate() {
            self.events.add(hold.placed_ms, Event::Hold(index));
            self.events.add(hold.released_ms.min(self.plan.trouble_ms), Event::Release(index));
        }
        self.events.add(self.plan.audit_ms, Event::Audit);
        self.events.add(self.plan.trouble_ms, Event::Heal);
    }

    /// Lets the gateway do everything it can do now, and carries away what it wrote.
    fn settle(&mut self) {
        loop {
            self.tasks.run();
            let carried = self.carry_away();
            self.hear_sink();
            self.hear_station();
            if !self.write_on() && !carried {
                return;
            }
        }
    }

    /// Until something is due, here or in the gateway.
    async fn wait(&mut self) {
        let next_at = self.events.next_at().unwrap_or(self.now_ms + 1_000).max(self.now_ms);
        tokio::select! {
            biased;
            () = self.tasks.woken() => {}
            () = sleep_until(self.began + Duration::from_millis(next_at)) => {}
        }
        self.now_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let wall_ms = (EPOCH_MS + self.now_ms).saturating_add_signed(self.wall_off_s * 1000);
        self.wall_ms_max = self.wall_ms_max.max(wall_ms);
        self.wall.set(wall_ms);
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Sense { device, life } => self.sense(device, life),
            Event::Poll { device, life } => self.poll_due(device, life),
            Event::PowerOn { device } => self.power_on(device),
            Event::Arrive { conn } => self.arrive(conn),
            Event::Open { conn } => self.open(conn),
            Event::Up { conn, bytes } => self.up(conn, &bytes),
            Event::UpEnd { conn, is_lost } => self.up_end(conn, is_lost),
            Event::Down { conn, bytes } => self.down(conn, &bytes),
            Event::DownEnd { conn } => self.down_end(conn),
            Event::Ping { conn } => self.ping(conn),
            Event::Write { life } if life == self.gateway_life => self.write_is_arranged = false,
            Event::Tend { life } if life == self.gateway_life => {
                if let Some(gateway) = &mut self.gateway {
                    gateway.crew.tend();
                }
                self.events.add(self.now_ms + 1_000, Event::Tend { life });
            }
            Event::Look { life } if life == self.gateway_life && self.rest.is_none() => {
                self.look();
                self.events.add(self.now_ms + self.plan.look_ms, Event::Look { life });
            }
            Event::Write { .. } | Event::Tend { .. } | Event::Look { .. } => {}
            Event::Hold(index) => self.place_hold(index),
            Event::Release(index) => self.release_hold(index).await,
            Event::Audit => {
                self.audit().await;
                self.events.add(self.now_ms + self.plan.audit_ms, Event::Audit);
            }
            Event::GatewayStarts { life } => self.start_gateway(life).await,
            Event::Fault(at) => self.strike(at.0),
            Event::Over(over) => self.end_of(over),
            Event::Connect { life } => self.connect_to_broker(life),
            Event::Carry { carrier, packet_id, message } => self.carry(carrier, packet_id, message),
            Event::Ask { carrier, asked } => self.ask(carrier, asked),
            Event::Requeue(message) => self.requeue(message),
            Event::Heal => self.heal(),
        }
    }

    /// One step of the spool's writer, unless it has to wait. True if something was done.
    fn write_on(&mut self) -> bool {
        let Some(gateway) = &mut self.gateway else { return false };
        if self.write_is_arranged {
            return false;
        }
        let again_in_ms = match gateway.step(self.spool_began, self.now_ms) {
            Some(Wait::Nothing) => self.system_call_ms(),
            Some(Wait::Company(left) | Wait::Space(left)) => 1 + left.as_millis() as u64,
            Some(Wait::Work) | None => return false,
            // The product's process ends here; whoever watches it starts it anew.
            Some(Wait::Closing) => {
                self.crash_gateway(fieldpost_gateway::spool::faulty::Unsynced::Kept, "storage failed");
                return true;
            }
        };
        self.write_is_arranged = true;
        self.events.add(self.now_ms + again_in_ms, Event::Write { life: self.gateway_life });
        true
    }

    fn system_call_ms(&mut self) -> u64 {
        if self.disk_is_slow { self.disk_dice.index(2_000) as u64 } else { self.disk_dice.index(12) as u64 }
    }

    async fn start_gateway(&mut self, life: u32) {
        if life != self.gateway_life || self.gateway.is_some() {
            return;
        }
        let jitter = Dice::new(self.plan.seed, JITTER + (u64::from(life) << 32));
        let surroundings = Surroundings {
            disk: Arc::new(self.disk.clone()),
            segment_count: self.plan.segment_count,
            archive_bytes_max: self.plan.archive_bytes_max,
            clock: self.wall.clock(),
            desk: self.desk.clone(),
            sink: self.sink.clone(),
            behind_broker: self
                .bodies
                .iter()
                .filter_map(|body| Some((body.identity.clone(), body.key?)))
                .collect(),
        };
        let started = Gateway::start(surroundings, &jitter, &mut self.tasks).await;
        self.trace.note(
            self.now_ms,
            b'G',
            &[u8::from(started.is_ok())],
            format_args!(
                "gateway starts: {}",
                match &started {
                    Ok(gateway) => format!("{} committed", gateway.spool.committed()),
                    Err(error) => error.to_string(),
                }
            ),
        );
        match started {
            Ok(gateway) => {
                self.gateway = Some(gateway);
                self.hear_recovery();
                self.write_is_arranged = false;
                self.events.add(self.now_ms + 1_000, Event::Tend { life });
                self.events.add(self.now_ms + self.plan.look_ms, Event::Look { life });
                self.events.add(self.now_ms + 50, Event::Connect { life });
                self.look_into_spool().await;
            }
            // As its supervisor would.
            Err(_) => self.events.add(self.now_ms + 2_000, Event::GatewayStarts { life }),
        }
    }

    /// Records in the devices' memories.
    pub(super) fn owed(&self) -> u64 {
        self.bodies
            .iter()
            .map(|body| body.device.as_ref().map_or(1, |device| u64::from(device.ledger().owed)))
            .sum()
    }

    fn has_settled(&self) -> bool {
        let lag = |gateway: &Gateway| {
            let stats = gateway.spool.stats();
            stats.pending_bytes > 0
                || gateway.ledger.lock().folded() < stats.committed
                || stats.cursors.iter().any(|c| c.name == CURSOR_NAME && c.position < stats.committed)
        };
        // Behind a broker a receipt that was lost is said again after a minute.
        let is_told =
            || self.plan.behind_broker.is_empty() || self.checkers.iter().all(|checker| checker.is_done());
        self.owed() == 0 && self.gateway.as_ref().is_some_and(|gateway| !lag(gateway)) && is_told()
    }

    /// The page is drawn four times a second, and the operator looks once: what they do next is part of the picture.
    fn has_stayed_settled(&mut self) -> bool {
        if !self.has_settled() {
            self.settled_at_ms = None;
            return false;
        }
        let since_ms = *self.settled_at_ms.get_or_insert(self.now_ms);
        self.now_ms - since_ms > STAYS_MS
    }

    /// Connections whose gateway end wrote or closed since the last call, each once.
    pub(super) fn take_touched(&self) -> BTreeSet<ConnId> {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *touched).into_iter().collect()
    }
}
