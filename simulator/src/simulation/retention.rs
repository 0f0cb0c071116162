//! Legal holds, and the record of erasures, of a simulated gateway: they outlive it, and never fail.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldpost_gateway::retention::{Hold, Note, Papers, Periods, Pinned};

use super::gateway::FORCE;

/// Short, so that a run of minutes sees them end. By class: alarms, positions, events, quarantine.
pub(super) const PERIODS: Periods =
    Periods { own_ms: [Some(120_000), Some(30_000), None, Some(60_000)], spool_ms: 20_000 };

/// Who holds records, and who is told what went. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Desk(Arc<Mutex<Vec<Hold>>>);

impl Desk {
    /// Places the hold `index` of the plan: whatever the device, or all, send and have sent.
    pub(super) fn place(&self, index: usize, device: Option<usize>) {
        self.lock().push(Hold {
            id: index as u32,
            force: FORCE.to_owned(),
            device: device.map(|number| format!("pc-{number:04}")),
            from_ms: 0,
            until_ms: u64::MAX,
            added: note(),
            released: None,
        });
    }

    /// Ends it. False if it has ended or was never placed.
    pub(super) fn release(&self, index: usize) -> bool {
        let mut holds = self.lock();
        let held = holds.iter_mut().find(|hold| hold.id == index as u32 && hold.is_active());
        held.map(|hold| hold.released = Some(note())).is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note() -> Note {
    Note { by: "simulated".to_owned(), why: "simulated".to_owned(), at_ms: 0 }
}

impl Papers for Desk {
    fn version(&self) -> Result<u64, String> {
        let holds = self.lock();
        Ok((holds.len() + holds.iter().filter(|hold| !hold.is_active()).count()) as u64)
    }

    fn pin(&self) -> Result<Pinned, String> {
        // A look and a change are in one thread: neither begins while the other lasts.
        Ok(Pinned { holds: self.lock().clone(), pin: Box::new(()) })
    }

    fn note(&self, _erased: &serde_json::Value) -> Result<(), String> {
        Ok(())
    }
}
