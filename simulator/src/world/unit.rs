//! One officer or vehicle: where it is, what it does, and what its device's sensors would say, second by second.

/// What carries the device: as on the gateway's roster.
pub use fieldpost_gateway::config::roster::UnitKind;
use fieldpost_protocol::{Duty, EventCode, Power, SensorEvent};

use super::{
    Town,
    dice::Dice,
    gnss::{Receiver, WorldFix},
    motion::Mover,
    plane::Point,
    radio::Radio,
    route::Travel,
};

/// Who a unit is on the roster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Device id, as in its certificate.
    pub device: String,
    /// What the control room calls it. Invented.
    pub callsign: String,
    /// What carries the device.
    pub kind: UnitKind,
}

/// What the story asks of a unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Order {
    /// Falls and lies still.
    Fall,
    /// Gets up and carries on.
    GetUp,
    /// Holds the emergency button.
    Press,
    /// Goes to help, with blue lights if it has them.
    Respond(Point),
    /// Back on duty and in radio reach for good: the end of a run, when everything owed has to come in.
    AllInReach,
    /// Out of radio reach, until it is back in reach for good.
    OutOfReach,
    /// The switch of its camera bounces, [`RATTLES`] times in a second: more records than its store has room for.
    Rattle,
}

/// Everything that happened to a unit within one second.
#[derive(Debug, Clone, PartialEq)]
pub struct Moment {
    /// Where it really is.
    pub place: Point,
    /// What its receiver says; `None` where the sky is not seen.
    pub fix: Option<WorldFix>,
    /// What the officer is doing.
    pub duty: Duty,
    /// Battery charge in percent.
    pub battery_pct: u8,
    /// How the device is powered.
    pub power: Power,
    /// Whether the mobile network is there.
    pub in_reach: bool,
    /// How well it is heard, in dBm.
    pub signal_dbm: i8,
    /// What sensors saw change.
    pub events: Vec<SensorEvent>,
    /// Lies still after a fall.
    pub is_down: bool,
    /// Held the emergency button.
    pub presses: bool,
}

/// One unit. Its chance is its own: what one unit does changes nothing for another.
#[derive(Debug, Clone)]
pub struct Unit {
    identity: Identity,
    dice: Dice,
    mover: Mover,
    receiver: Receiver,
    radio: Radio,
    second: u64,
    battery_pct: f64,
    break_at_s: u64,
    takes_breaks: bool,
    is_down: bool,
    presses: bool,
    rattles: bool,
    responding: bool,
    holster_open_left_s: u32,
    recording_left_s: u32,
}

/// An officer draws a weapon once in twenty-five shifts of eight hours: more often than on a real shift, and seldom enough that the
/// queue is not filled with it.
const DRAWS_PER_S: f64 = 1.0 / (25.0 * 8.0 * 3_600.0);

/// A break comes this often, in seconds, and lasts [`BREAK_S`].
const BREAK_EVERY_S: u64 = 1_800;
const BREAK_S: u64 = 110;

/// As many as the whole store of a simulated device has room for ([`crate::fleet::source::OUTBOX_COUNT`]).
const RATTLES: usize = 256;

impl Unit {
    /// Unit number `number` of the force of a seed. `town` must be the town of the same seed.
    #[must_use]
    pub fn new(town: &Town, seed: u64, number: usize, identity: Identity) -> Self {
        let mut dice = Dice::new(seed, 1_000 + number as u64);
        let travel = match identity.kind {
            UnitKind::Officer => Travel::OnFoot,
            UnitKind::Vehicle => Travel::Driving,
        };
        Self {
            mover: Mover::new(town, travel, &mut dice),
            receiver: Receiver::new(&mut dice),
            radio: Radio::new(&mut dice),
            second: 0,
            battery_pct: dice.between(34.0, 100.0),
            break_at_s: dice.number() % BREAK_EVERY_S,
            takes_breaks: true,
            is_down: false,
            presses: false,
            rattles: false,
            responding: false,
            holster_open_left_s: 0,
            recording_left_s: 0,
            identity,
            dice,
        }
    }

    /// Who it is.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Where it really is.
    #[must_use]
    pub fn place(&self, town: &Town) -> Point {
        self.mover.place(town)
    }

    /// The receiver it wears.
    #[must_use]
    pub fn receiver(&self) -> &Receiver {
        &self.receiver
    }

    /// Something happens in the story.
    pub fn order(&mut self, town: &Town, order: Order) {
        match order {
            Order::Fall => {
                self.is_down = true;
                self.mover.halt(true);
            }
            Order::GetUp => {
                self.is_down = false;
                self.mover.halt(false);
            }
            Order::Press => self.presses = true,
            Order::Respond(place) => {
                self.responding = true;
                self.mover.hurry_to(town, place);
            }
            Order::AllInReach => {
                self.radio.hold(true);
                self.takes_breaks = false;
            }
            Order::OutOfReach => self.radio.hold(false),
            Order::Rattle => self.rattles = true,
        }
    }

    /// One second passes.
    pub fn step(&mut self, town: &Town) -> Moment {
        self.second += 1;
        let on_break = self.is_on_break();
        self.mover.halt(self.is_down || on_break);
        self.mover.step(town, &mut self.dice);
        let place = self.mover.place(town);
        let fix = self.receiver.fix(place, self.mover.speed_mps(), self.mover.course_deg(), &mut self.dice);
        let events = self.sensor_events();
        self.use_battery();
        Moment {
            place,
            fix: town.sees_sky(place).then_some(fix),
            duty: self.duty(on_break),
            battery_pct: self.battery_pct(),
            power: self.power(),
            in_reach: self.radio.step(town.has_signal(place), &mut self.dice),
            signal_dbm: town.signal_dbm(place),
            events,
            is_down: self.is_down,
            presses: std::mem::take(&mut self.presses),
        }
    }

    fn is_on_break(&self) -> bool {
        let into_cycle_s = (self.second + self.break_at_s) % BREAK_EVERY_S;
        self.takes_breaks && into_cycle_s < BREAK_S && !self.is_down && !self.responding
    }

    fn duty(&self, on_break: bool) -> Duty {
        if on_break {
            Duty::REFRESHMENTS
        } else if self.responding {
            if self.mover.is_hurrying() { Duty::EN_ROUTE } else { Duty::AT_SCENE }
        } else {
            Duty::AVAILABLE
        }
    }

    fn power(&self) -> Power {
        match self.identity.kind {
            UnitKind::Vehicle => Power::VEHICLE,
            UnitKind::Officer if self.battery_pct < 12.0 => Power::CHARGING,
            UnitKind::Officer => Power::BATTERY,
        }
    }

    /// About twelve hours from full to empty on foot; a nearly empty one is charged in the car.
    fn use_battery(&mut self) {
        self.battery_pct = match self.power() {
            Power::BATTERY => self.battery_pct - 100.0 / 43_200.0,
            _ => self.battery_pct + 100.0 / 5_400.0,
        }
        .clamp(0.0, 100.0);
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
    fn battery_pct(&self) -> u8 {
        self.battery_pct.clamp(0.0, 100.0).round() as u8
    }

    fn sensor_events(&mut self) -> Vec<SensorEvent> {
        let mut events = Vec::new();
        if std::mem::take(&mut self.rattles) {
            let bounce = SensorEvent { code: EventCode::CAMERA_BUFFERING, index: 0, value: 0 };
            events.resize(RATTLES, bounce);
        }
        let mut event = |code| events.push(SensorEvent { code, index: 0, value: 0 });
        match self.identity.kind {
            UnitKind::Officer => {
                if tick(&mut self.holster_open_left_s) {
                    event(EventCode::HOLSTERED);
                }
                if tick(&mut self.recording_left_s) {
                    event(EventCode::CAMERA_BUFFERING);
                }
                if self.holster_open_left_s == 0 && self.dice.happens(DRAWS_PER_S) {
                    self.holster_open_left_s = 12;
                    event(EventCode::UNHOLSTERED);
                }
                if self.recording_left_s == 0 && self.dice.happens(1.0 / 400.0) {
                    self.recording_left_s = 60;
                    event(EventCode::CAMERA_RECORDING);
                }
            }
            UnitKind::Vehicle => {
                let lights = self.responding && self.mover.is_hurrying();
                if lights != (self.recording_left_s > 0) {
                    self.recording_left_s = u32::from(lights);
                    for code in [EventCode::BLUE_LIGHTS, EventCode::SIREN] {
                        events.push(SensorEvent { code, index: 0, value: i32::from(lights) });
                    }
                }
            }
        }
        events
    }
}

/// Counts down; true in the second it reaches nothing.
fn tick(left_s: &mut u32) -> bool {
    let was = *left_s;
    *left_s = was.saturating_sub(1);
    was == 1
}
