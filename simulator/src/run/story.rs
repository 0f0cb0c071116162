//! What happens in the town: an officer falls, vehicles come to help, somebody acknowledges.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use fieldpost_firmware::Settings;

use super::{Plan, Readers};
use crate::{
    console,
    fleet::{Fleet, Instruction},
    world::{
        Town,
        force::{self},
        plane::Point,
        unit::{Order, UnitKind},
    },
};

/// The officer falls this long after the first moment. With [`patient`] the alarm comes 8 s later.
const FALL_AFTER: Duration = Duration::from_secs(7);
/// The officer is helped up this long after the acknowledgement came back.
const HELP_AFTER: Duration = Duration::from_secs(40);
/// Vehicles that come to help.
const HELPERS: usize = 3;
const DOWN_MS_MIN: u32 = 3_000;
const PRE_ALARM_MS: u32 = 5_000;

/// A demo cannot wait 35 s: the shortest times that today's radios allow (pre-alert 5 s).
#[must_use]
pub(super) fn patient(mut settings: Settings) -> Settings {
    settings.rules.down_ms_min = DOWN_MS_MIN;
    settings.rules.pre_alarm_ms = PRE_ALARM_MS;
    settings
}

/// How far the story is.
pub(super) struct Story {
    began: Instant,
    faller: Option<usize>,
    vehicles: Vec<usize>,
    callsigns: Vec<String>,
    town: Arc<Town>,
    acknowledges: bool,
    fell: bool,
    helped: bool,
    told_alarms: usize,
    acknowledged: BTreeSet<String>,
    seen_at: Option<Instant>,
}

impl Story {
    pub(super) fn new(plan: &Plan, town: &Arc<Town>) -> Self {
        let roster = force::roster(plan.units);
        let of_kind =
            |kind| roster.iter().enumerate().filter(move |(_, unit)| unit.kind == kind).map(|(n, _)| n);
        let units = force::units(town, plan.seed, plan.units);
        // Whoever is nearest the market place: in the middle of the map.
        let distance = |number: &usize| units[*number].place(town).distance_m(Point::default());
        let nearest = of_kind(UnitKind::Officer).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        Self {
            began: Instant::now(),
            faller: nearest.filter(|_| plan.emergency),
            vehicles: of_kind(UnitKind::Vehicle).collect(),
            callsigns: roster.iter().map(|unit| unit.callsign.clone()).collect(),
            town: Arc::clone(town),
            acknowledges: plan.acknowledge,
            fell: false,
            helped: false,
            told_alarms: 0,
            acknowledged: BTreeSet::new(),
            seen_at: None,
        }
    }

    /// Goes on with the story, if it is time.
    pub(super) async fn tell(&mut self, fleet: &Fleet, readers: &mut Readers) {
        let Some(faller) = self.faller else { return };
        if !self.fell && self.began.elapsed() >= FALL_AFTER {
            self.fell = true;
            fleet.tell(faller, Instruction::Order(Order::Fall)).await;
        }
        let alarms = fleet.progress().alarms();
        if alarms.len() > self.told_alarms {
            self.told_alarms = alarms.len();
            let callsign = &self.callsigns[faller];
            console::progress(&format!("  ALARM: {callsign} is down. Three vehicles are on their way."));
            self.send_help(fleet, faller).await;
        }
        if self.acknowledges {
            self.acknowledge(readers).await;
        }
        if self.seen_at.is_none() && alarms.iter().any(|alarm| alarm.seen_us.is_some()) {
            self.seen_at = Some(Instant::now());
            console::progress("  SEEN: the acknowledgement is back on the wearer's device.");
        }
        if !self.helped && self.seen_at.is_some_and(|at| at.elapsed() >= HELP_AFTER) {
            self.helped = true;
            fleet.tell(faller, Instruction::Order(Order::GetUp)).await;
        }
    }

    /// Whether every alarm raised has come back as SEEN.
    pub(super) fn loop_is_closed(&self, fleet: &Fleet) -> bool {
        let alarms = fleet.progress().alarms();
        self.faller.is_none() || (!alarms.is_empty() && alarms.iter().all(|alarm| alarm.seen_us.is_some()))
    }

    async fn send_help(&self, fleet: &Fleet, faller: usize) {
        let places = fleet.progress().places();
        let Some(scene) = places.get(faller).copied().flatten() else { return };
        let mut near: Vec<(usize, f64)> = self
            .vehicles
            .iter()
            .filter_map(|vehicle| {
                Some((*vehicle, places.get(*vehicle).copied().flatten()?.distance_m(scene)))
            })
            .collect();
        near.sort_by(|a, b| a.1.total_cmp(&b.1));
        debug_assert!(self.town.streets().junctions().len() > HELPERS);
        for (vehicle, _) in near.into_iter().take(HELPERS) {
            fleet.tell(vehicle, Instruction::Order(Order::Respond(scene))).await;
        }
    }

    /// Acknowledges what the page shows, as an operator would.
    async fn acknowledge(&mut self, readers: &Readers) {
        let (Some(page), Some(operator)) = (&readers.page, &readers.operator) else { return };
        let open: Vec<String> = page
            .borrow()
            .alarms
            .values()
            .filter(|alarm| alarm.state == "unacknowledged" && !self.acknowledged.contains(&alarm.id))
            .map(|alarm| alarm.id.clone())
            .collect();
        for id in open {
            match operator.acknowledge(&id).await {
                Ok(_) => {
                    self.acknowledged.insert(id);
                }
                Err(error) => tracing::error!(%error, "the alarm could not be acknowledged"),
            }
        }
    }
}
