//! A force system: it has what it has accepted, and is not always there.

use std::{
    collections::HashSet,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use fieldpost_gateway::{
    audit::{Journal, line::Note, runs::Run},
    forward::{Event, EventState, RetryReason, Sink, SinkError},
};

use crate::world::dice::Dice;

/// The force system. Clones share it; it outlives the gateway.
#[derive(Clone)]
pub(super) struct ForceSystem(Arc<Mutex<State>>);

struct State {
    dice: Dice,
    is_down: bool,
    arrived: Vec<String>,
    /// Keys that were on the disclosure log before they were sent: its disk never fails here.
    logged: HashSet<String>,
    unlogged: Vec<String>,
}

/// The disclosure log, which outlives the gateway.
pub(super) struct DisclosureLog(ForceSystem);

impl Journal for DisclosureLog {
    fn append(&mut self, notes: &[Note]) -> io::Result<u64> {
        let mut state = self.0.lock();
        let said = notes.iter().filter_map(|note| note.disclosure.as_ref());
        let keys = said.flat_map(|said| said.keys.iter()).flat_map(|run| Run::parse(run).keys());
        state.logged.extend(keys);
        Ok(1)
    }
}

impl ForceSystem {
    pub(super) fn new(dice: Dice) -> Self {
        Self(Arc::new(Mutex::new(State {
            dice,
            is_down: false,
            arrived: Vec::new(),
            logged: HashSet::new(),
            unlogged: Vec::new(),
        })))
    }

    pub(super) fn set_down(&self, is_down: bool) {
        self.lock().is_down = is_down;
    }

    /// The keys accepted since the last call, in order.
    pub(super) fn take_arrived(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().arrived)
    }

    /// A key that came without having been on the disclosure log, if one has.
    pub(super) fn take_unlogged(&self) -> Option<String> {
        self.lock().unlogged.pop()
    }

    /// The disclosure log of the gateway that sends here.
    pub(super) fn log(&self) -> DisclosureLog {
        DisclosureLog(self.clone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for ForceSystem {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let taken_by = self.lock().dice.index(200) as u64;
        tokio::time::sleep(std::time::Duration::from_millis(taken_by)).await;
        let mut state = self.lock();
        let keys = events.iter().filter(|event| event.state == EventState::Owed).map(|event| &event.key);
        let unlogged: Vec<String> = keys.filter(|key| !state.logged.contains(*key)).cloned().collect();
        state.unlogged.extend(unlogged);
        let is_down = state.is_down;
        for event in events.iter_mut().filter(|event| event.state == EventState::Owed) {
            // Down, it may still take some of a batch, with or without a word.
            if is_down && !state.dice.happens(0.2) {
                return Err(SinkError::retry(RetryReason::Interrupted, "it is down"));
            }
            state.arrived.push(event.key.clone());
            if !is_down || state.dice.happens(0.5) {
                event.state = EventState::Accepted;
            }
        }
        if is_down { Err(SinkError::retry(RetryReason::Unreachable, "it is down")) } else { Ok(()) }
    }
}
