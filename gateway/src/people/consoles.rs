//! Who is watching: every live page that is open, and whether somebody sits before it.
//!
//! **A locked console is nobody watching.** [`Consoles::watching`] answers for one force, or for all; whoever waits for a
//! change subscribes to [`Consoles::changes`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldpost_protocol::ForceId;
use serde::Serialize;
use tokio::sync::watch;

use super::Forces;

/// The consoles. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Consoles {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    open: HashMap<u64, Console>,
}

/// One live page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Console {
    /// Whose session: its name in the access record.
    pub session: Arc<str>,
    /// Who.
    pub operator: String,
    /// Whose alarms it shows.
    pub forces: Forces,
    /// Whether its viewer may take an alarm; one that only looks on does not count as watching.
    pub answers: bool,
    /// Whether it is locked.
    pub locked: bool,
}

/// How many watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Watching {
    /// Live pages open whose viewers may take alarms.
    pub consoles: usize,
    /// Of these, not locked.
    pub unlocked: usize,
    /// There is none that is not locked.
    pub nobody: bool,
}

/// A live page that is open; dropped, it is closed.
#[derive(Debug)]
pub struct OpenConsole {
    consoles: Consoles,
    number: u64,
}

impl Consoles {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.shared.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.shared.changes.send_modify(|count| *count += 1);
    }

    /// A page opens. `console` is asked while no console is locked or unlocked: what it says of the lock stays so.
    #[must_use]
    pub fn open(&self, console: impl FnOnce() -> Console) -> OpenConsole {
        let mut table = self.table();
        let console = console();
        let number = table.next;
        table.next += 1;
        table.open.insert(number, console);
        drop(table);
        self.changed();
        OpenConsole { consoles: self.clone(), number }
    }

    /// Locks or unlocks every page of a session, and the session by `also`, while no page opens.
    pub fn set_locked(&self, session: &str, locked: bool, also: impl FnOnce()) {
        let mut table = self.table();
        also();
        let of_session = table.open.values_mut().filter(|console| &*console.session == session);
        of_session.for_each(|console| console.locked = locked);
        drop(table);
        self.changed();
    }

    /// How many watch `force`; every force together if `None`.
    #[must_use]
    pub fn watching(&self, force: Option<&ForceId>) -> Watching {
        let table = self.table();
        let sees =
            |console: &&Console| console.answers && force.is_none_or(|force| console.forces.sees(force));
        let consoles = table.open.values().filter(sees).count();
        let unlocked = table.open.values().filter(sees).filter(|console| !console.locked).count();
        Watching { consoles, unlocked, nobody: unlocked == 0 }
    }

    /// Counts every change, from now on.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }
}

impl Drop for OpenConsole {
    fn drop(&mut self) {
        self.consoles.table().open.remove(&self.number);
        self.consoles.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(session: &str, forces: &str, answers: bool) -> Console {
        let (session, operator) = (session.into(), session.to_owned());
        Console { session, operator, forces: forces.parse().unwrap(), answers, locked: false }
    }

    #[test]
    fn nobody_watches_behind_a_lock_or_for_another_force() {
        let consoles = Consoles::default();
        let met = ForceId::try_new("met").unwrap();
        let mut changes = consoles.changes();
        assert!(consoles.watching(None).nobody);
        let page = consoles.open(|| console("a", "city", true));
        assert!(changes.has_changed().unwrap());
        assert!(!consoles.watching(None).nobody && consoles.watching(Some(&met)).nobody);
        let both = consoles.open(|| console("b", "*", true));
        assert_eq!(consoles.watching(Some(&met)), Watching { consoles: 1, unlocked: 1, nobody: false });
        changes.mark_unchanged();
        consoles.set_locked("b", true, || {});
        assert!(changes.has_changed().unwrap());
        assert_eq!(consoles.watching(Some(&met)), Watching { consoles: 1, unlocked: 0, nobody: true });
        consoles.set_locked("b", false, || {});
        assert!(!consoles.watching(Some(&met)).nobody);
        drop((page, both));
        assert!(consoles.watching(None).nobody);
    }

    #[test]
    fn who_cannot_take_an_alarm_does_not_count_as_watching() {
        let consoles = Consoles::default();
        let _page = consoles.open(|| console("c", "*", false));
        assert_eq!(consoles.watching(None), Watching { consoles: 0, unlocked: 0, nobody: true });
    }
}
