//! Alarm, two operators, one wearer: **every interleaving of a small case**, on the product's own queue.
//!
//! A state of the world is the records that are committed, what the wearer's device knows, what is under way to it, and what the
//! last snapshot held. From each state every step that is possible is taken, until no new state comes; in each the promises of
//! [`World::promises`] hold, and from each the world heals. The steps of the gateway are the product's: the fold, the list of what is
//! owed, the snapshot on its disk format, the row that the page gets.
//!
//! ```text
//! press, cancel --> records --> Book --> row: what the screen says
//! operator A, B -- acknowledge (from an old screen, too), shelve, close --> records
//! Book -- owed --> under way --> device has heard --> its answer --> Confirmed record
//! disconnect: what is under way is lost, the answer too.  kill: all but records and snapshot is lost.
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use fieldpost_protocol::AlarmCause;

use super::engine::Tape;
use super::*;
use crate::live::state::State;

const AT_MS: u64 = 1_795_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Step {
    Press,
    Cancel,
    /// An operator, 0 or 1, presses "acknowledge" on a screen that shows the alarm as unacknowledged.
    Ask(usize),
    /// Their acknowledgement is committed.
    Acknowledge(usize),
    Shelve,
    Unshelve,
    Close,
    Connect,
    /// SEEN is handed to the connection.
    Send,
    /// The device has it.
    Hear,
    /// The device's answer is committed.
    Confirm,
    Disconnect,
    Snapshot,
    /// `kill -9` and a start.
    Restart,
}

/// What is broken on purpose, to see that the promises would find it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Broken {
    Nothing,
    /// An acknowledgement counts as the wearer's confirmation.
    ToldByAcknowledging,
    /// The second operator takes the alarm from the first.
    LastOwnerWins,
    /// The wearer's cancel takes the alarm away.
    CancelCloses,
    /// A closed alarm's receipt is forgotten.
    CloseForgets,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
struct World {
    /// The committed records, by the step that made each.
    records: Vec<Step>,
    asked: [bool; 2],
    is_connected: bool,
    is_under_way: bool,
    is_answered: bool,
    /// SEEN has been handed to a connection, as far as this run of the gateway knows.
    is_told: bool,
    /// The wearer has heard that somebody has the alarm.
    has_heard: bool,
    /// What the last snapshot holds: so many records, and whether SEEN had been sent.
    kept: (usize, bool),
    disconnects: u8,
    restarts: u8,
}

fn alarm_id() -> AlarmId {
    "sim/pc-1/1/0".parse().unwrap()
}

impl World {
    fn has(&self, step: Step) -> bool {
        self.records.contains(&step)
    }

    /// The records as they are in the spool.
    fn tape(&self, count: usize) -> Tape {
        let mut tape = Tape::default();
        let id = alarm_id();
        for step in &self.records[..count] {
            match step {
                Step::Press => _ = tape.alarm("pc-1", AT_MS, AlarmCause::OFFICER_DOWN, None),
                Step::Cancel => tape.cancel("pc-1", AT_MS, 0),
                Step::Acknowledge(who) => tape.acknowledge_as(&id, ["anna", "ben"][*who], AT_MS),
                Step::Shelve => tape.act(&id, AT_MS, shelve(10)),
                Step::Unshelve => tape.act(&id, AT_MS, Action::Unshelve),
                Step::Close => tape.act(&id, AT_MS, close()),
                Step::Confirm => {
                    let said =
                        Confirmed { alarm: id.clone(), receipt: Receipt::Seen, told_ms: AT_MS, at_ms: AT_MS };
                    tape.own(said.record());
                }
                _ => unreachable!("no record"),
            }
        }
        tape
    }

    /// The gateway as it is: restored from the snapshot, with the records behind it folded.
    fn gateway(&self, broken: Broken) -> State {
        let (count, was_told) = self.kept;
        let mut before = self.tape(count).fold();
        if was_told {
            before.alarms.told(&(alarm_id(), Receipt::Seen), AT_MS);
        }
        let text = snapshot::render(&before.alarms);
        let book = snapshot::parse(&text).expect("what was written is read");
        let mut state = self.tape(self.records.len()).fold_over(book);
        if self.is_told {
            state.alarms.told(&(alarm_id(), Receipt::Seen), AT_MS);
        }
        self.break_it(&mut state, broken);
        state
    }

    fn break_it(&self, state: &mut State, broken: Broken) {
        let last = self.records.iter().rev().find_map(|step| match step {
            Step::Acknowledge(who) => Some(["anna", "ben"][*who]),
            _ => None,
        });
        match broken {
            Broken::CancelCloses if self.has(Step::Cancel) => {
                state.alarms.acknowledge(&alarm_id(), owner("nobody"));
                state.alarms.act(&said_of(close()));
            }
            _ => {}
        }
        let Some(alarm) = state.alarms.shown_mut(&alarm_id()) else { return };
        match broken {
            Broken::ToldByAcknowledging if alarm.owner.is_some() => alarm.receipt = ReceiptState::Delivered,
            Broken::LastOwnerWins => {
                if let (Some(owner), Some(last)) = (&mut alarm.owner, last) {
                    owner.operator = last.to_owned();
                }
            }
            _ => {}
        }
    }

    fn owes_seen(&self, state: &State, broken: Broken) -> bool {
        let forgets = broken == Broken::CloseForgets && state.alarms.get(&alarm_id()).is_none();
        !forgets && state.alarms.receipts_owed().any(|owed| owed == (alarm_id(), Receipt::Seen))
    }

    /// Every step that can be taken now.
    fn steps(&self, state: &State, broken: Broken) -> Vec<Step> {
        let alarm = state.alarms.get(&alarm_id());
        let once = |step: Step, can: bool| (can && !self.has(step)).then_some(step);
        let ask = |who: usize| {
            (alarm.is_some_and(|alarm| alarm.owner.is_none()) && !self.asked[who]).then_some(Step::Ask(who))
        };
        let commit = |who: usize| once(Step::Acknowledge(who), self.asked[who]);
        let act = |step: Step, action: Action| {
            once(step, alarm.is_some_and(|alarm| action.refused_by(alarm).is_none()))
        };
        let may = |step: Step, can: bool| can.then_some(step);
        [
            once(Step::Press, true),
            once(Step::Cancel, self.has(Step::Press)),
            ask(0),
            ask(1),
            commit(0),
            commit(1),
            act(Step::Shelve, shelve(10)),
            act(Step::Unshelve, Action::Unshelve),
            act(Step::Close, close()),
            may(Step::Connect, !self.is_connected),
            may(
                Step::Send,
                self.is_connected && !self.is_under_way && !self.is_answered && self.owes_seen(state, broken),
            ),
            may(Step::Hear, self.is_under_way),
            may(Step::Confirm, self.is_answered),
            may(Step::Disconnect, self.is_connected && self.disconnects < 1),
            may(Step::Snapshot, self.kept != (self.records.len(), self.is_told)),
            may(Step::Restart, self.restarts < 1),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn take(&self, step: Step) -> Self {
        let mut next = self.clone();
        match step {
            Step::Ask(who) => next.asked[who] = true,
            Step::Connect => next.is_connected = true,
            Step::Send => (next.is_under_way, next.is_told) = (true, true),
            Step::Hear => (next.is_under_way, next.is_answered, next.has_heard) = (false, true, true),
            Step::Confirm => {
                next.is_answered = false;
                next.records.push(step);
            }
            Step::Disconnect => {
                (next.is_connected, next.is_under_way, next.is_answered) = (false, false, false);
                next.disconnects += 1;
            }
            Step::Snapshot => next.kept = (next.records.len(), next.is_told),
            Step::Restart => {
                (next.is_connected, next.is_under_way, next.is_answered) = (false, false, false);
                // A request that was not committed is lost with its connection, and its operator sees the alarm open.
                for who in 0..2 {
                    next.asked[who] &= next.has(Step::Acknowledge(who));
                }
                next.is_told = next.kept.1;
                next.restarts += 1;
            }
            record => next.records.push(record),
        }
        next
    }

    /// What holds in every state.
    fn promises(&self, Gateway { state, row }: &Gateway) -> Result<(), String> {
        let shown = state.alarms.get(&alarm_id());
        let held = |is_so: bool, promise: &str| if is_so { Ok(()) } else { Err(promise.to_owned()) };
        let is_raised = self.has(Step::Press);
        held(
            !is_raised || shown.is_some() || self.has(Step::Close),
            "an alarm is shown until a person closes it",
        )?;
        let is_listed = |owed| state.alarms.receipts_owed().any(|listed| listed == owed);
        held(
            shown.is_none_or(|alarm| alarm.receipts_owed().all(is_listed)),
            "the list of what is owed has every receipt of a shown alarm",
        )?;
        let Some(alarm) = state.alarms.find(&alarm_id()) else { return held(!is_raised, "it is known") };
        let says = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
        let wearer = row["wearer"]["state"].as_str().unwrap().to_owned();
        let first = self.records.iter().find_map(|step| match step {
            Step::Acknowledge(who) => Some(["anna", "ben"][*who]),
            _ => None,
        });
        held(row["acknowledged_by"].as_str() == first, "the first committed acknowledgement owns the alarm")?;
        held(
            first.is_some() || !matches!(says("state").as_str(), "acknowledged" | "cleared" | "closed"),
            "the screen says acknowledged only if somebody has it",
        )?;
        held(
            first.is_some() || !self.has_heard,
            "the wearer hears only of an acknowledgement that is committed",
        )?;
        held(
            wearer != "confirmed" || self.has_heard,
            "the screen says confirmed only if the wearer has heard",
        )?;
        held(
            first.is_none() || self.has_heard || matches!(wearer.as_str(), "not_told" | "told"),
            "no screen says acknowledged while the wearer was told nothing, unless it shows that",
        )?;
        held(
            wearer != "told" || self.is_told || self.has(Step::Confirm),
            "the screen says told only if it was sent",
        )?;
        held(
            !self.has(Step::Cancel) || !row["cancelled_at_ms"].is_null() || alarm.standing.closed.is_some(),
            "what the wearer takes back is marked",
        )
    }

    /// With a connection and time, whoever was acknowledged hears it, and the screen says so.
    fn heals(&self, gateways: &mut Gateways) -> Result<(), String> {
        let broken = gateways.broken;
        let is_taken = self.has(Step::Acknowledge(0)) || self.has(Step::Acknowledge(1));
        if !is_taken || self.has(Step::Confirm) {
            return Ok(());
        }
        let mut world = self.clone();
        for _ in 0..8 {
            let steps = world.steps(&gateways.of(&world).state, broken);
            let useful = [Step::Confirm, Step::Hear, Step::Send, Step::Connect];
            let Some(step) = useful.into_iter().find(|step| steps.contains(step)) else { break };
            world = world.take(step);
        }
        let gateway = gateways.of(&world);
        let Some(alarm) = gateway.state.alarms.find(&alarm_id()) else { return Ok(()) };
        let is_told = alarm.owner.is_none() || (world.has_heard && alarm.receipt == ReceiptState::Delivered);
        if is_told { Ok(()) } else { Err("the wearer never hears that somebody has the alarm".to_owned()) }
    }
}

/// Records, what the snapshot kept of them, whether SEEN was sent.
type MadeOf = (Vec<Step>, (usize, bool), bool);

/// Gateways by what they are made of: many worlds differ only in what is outside.
struct Gateways {
    broken: Broken,
    known: BTreeMap<MadeOf, Rc<Gateway>>,
}

/// The product's queue, and what the page gets of it.
struct Gateway {
    state: State,
    row: serde_json::Value,
}

impl Gateways {
    fn of(&mut self, world: &World) -> Rc<Gateway> {
        let made_of = (world.records.clone(), world.kept, world.is_told);
        let broken = self.broken;
        let made = self.known.entry(made_of).or_insert_with(|| {
            let state = world.gateway(broken);
            let row = state.alarms.find(&alarm_id()).map(AlarmRow::from);
            Rc::new(Gateway { row: serde_json::to_value(row).unwrap(), state })
        });
        Rc::clone(made)
    }
}

fn said_of(action: Action) -> Said {
    Said { alarm: alarm_id(), operator: "nobody".to_owned(), at_ms: AT_MS, seen_as: None, action }
}

/// Every state that can be reached, or the first that breaks a promise, with the way to it.
fn explore(broken: Broken) -> Result<usize, String> {
    let mut gateways = Gateways { broken, known: BTreeMap::new() };
    let mut known = BTreeSet::from([World::default()]);
    let mut ahead = vec![(World::default(), Vec::new())];
    while let Some((world, way)) = ahead.pop() {
        let gateway = gateways.of(&world);
        let said = |promise: String| format!("{promise}: {way:?}");
        world.promises(&gateway).map_err(said)?;
        world.heals(&mut gateways).map_err(said)?;
        for step in world.steps(&gateway.state, broken) {
            let next = world.take(step);
            if known.insert(next.clone()) {
                let mut way = way.clone();
                way.push(step);
                ahead.push((next, way));
            }
        }
    }
    Ok(known.len())
}

#[test]
fn no_interleaving_of_press_cancel_race_loss_and_restart_lets_the_screen_say_more_than_is_so() {
    let count = explore(Broken::Nothing).unwrap();
    assert!(count > 10_000, "{count} states: the case has become too small to say anything");
}

#[test]
fn each_broken_transition_is_found() {
    for (broken, promise) in [
        (Broken::ToldByAcknowledging, "the screen says confirmed only if the wearer has heard"),
        (Broken::LastOwnerWins, "the first committed acknowledgement owns the alarm"),
        (Broken::CancelCloses, "an alarm is shown until a person closes it"),
        (Broken::CloseForgets, "the wearer never hears"),
    ] {
        let found = explore(broken).unwrap_err();
        assert!(found.starts_with(promise), "{broken:?}: {found}");
    }
}
