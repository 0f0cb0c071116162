//! Turns at a desk: **who brings much waits until everybody has been heard.**
//!
//! Reading what a device has sent and opening it costs little; judging and storing it is most of the work. So a connection that
//! brings more than [`AT_ONCE_BYTES`], and no alarm, waits here with its bytes. [`TURNS_AT_ONCE`] turns are given between two
//! looks at the sockets, in the order in which they were asked for: an alarm, or a lone report, waits for so many connections and
//! not for everybody who is back with a backlog.
//!
//! Bound: [`WAITING_BYTES_MAX`] for a desk, [`TURN_BYTES_MAX`] and one read for a connection, which is read no further
//! then. Who finds no room has its turn at once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use tokio::sync::Notify;

/// What is shorter never waits: ten lone reports, or two batches of 30 positions.
pub(super) const AT_ONCE_BYTES: usize = 1024;

/// A connection that waits with so much is not read further.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// Of all connections of a desk that wait: 1,400 full windows of 32 reports.
const WAITING_BYTES_MAX: usize = 4 << 20;

/// A tenth of a millisecond of full windows: worth the look at the sockets that follows.
const TURNS_AT_ONCE: usize = 8;

/// Who waits at a desk.
#[derive(Debug, Default)]
pub(super) struct Turns {
    queue: Mutex<Queue>,
    /// Somebody waits, where nobody did.
    asked: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    /// In order. Who has left is still in it, and is called in vain.
    waiting: VecDeque<Waker>,
    given_count: u64,
    bytes: usize,
}

/// A connection's turn to come. Dropped, it gives back the room of its bytes.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Arc<Turns>,
    /// How many turns are given once this one is.
    number: u64,
    bytes: usize,
    /// Bytes that were looked through for an alarm.
    pub(super) looked: usize,
}

impl Turns {
    /// A turn for a connection that waits with `bytes`, of whose coming `waker` is told. `None` if there is no room.
    pub(super) fn ask(self: &Arc<Self>, bytes: usize, waker: &Waker) -> Option<Turn> {
        let mut queue = self.lock();
        if queue.bytes + bytes > WAITING_BYTES_MAX {
            return None;
        }
        queue.bytes += bytes;
        queue.waiting.push_back(waker.clone());
        let number = queue.given_count + queue.waiting.len() as u64;
        if queue.waiting.len() == 1 {
            self.asked.notify_one();
        }
        Some(Turn { turns: Arc::clone(self), number, bytes, looked: 0 })
    }

    /// Gives turns, for ever: some, then whoever else is ready at this desk, then some more.
    pub(super) async fn give(&self) {
        loop {
            self.asked.notified().await;
            while self.give_some() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Gives the next turns; true if somebody still waits.
    fn give_some(&self) -> bool {
        let mut queue = self.lock();
        let due_count = queue.waiting.len().min(TURNS_AT_ONCE);
        let due: Vec<Waker> = queue.waiting.drain(..due_count).collect();
        queue.given_count += due_count as u64;
        let somebody_waits = !queue.waiting.is_empty();
        drop(queue);
        due.into_iter().for_each(Waker::wake);
        somebody_waits
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Whether it is this connection's turn.
    pub(super) fn has_come(&self) -> bool {
        self.number <= self.turns.lock().given_count
    }

    /// Whether there is room for the connection to wait with `bytes` in all.
    pub(super) fn has_room_for(&mut self, bytes: usize) -> bool {
        let mut queue = self.turns.lock();
        let others = queue.bytes - self.bytes;
        let has_room = others + bytes <= WAITING_BYTES_MAX;
        if has_room {
            (queue.bytes, self.bytes) = (others + bytes, bytes);
        }
        has_room
    }

    /// Whether the connection waits with as much as it may.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= TURN_BYTES_MAX
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.turns.lock().bytes -= self.bytes;
    }
}

#[cfg(test)]
#[path = "turns_claims.rs"]
mod claims;

#[cfg(test)]
mod tests {
    use super::*;

    fn turns_of(count: usize) -> (Arc<Turns>, Vec<Turn>) {
        let turns = Arc::new(Turns::default());
        let asked = (0..count).map(|_| turns.ask(10, Waker::noop()).unwrap()).collect();
        (turns, asked)
    }

    #[test]
    fn turns_come_a_few_at_a_time_in_the_order_in_which_they_were_asked_for() {
        let (turns, asked) = turns_of(TURNS_AT_ONCE + 1);
        assert!(asked.iter().all(|turn| !turn.has_come()));
        assert!(turns.give_some(), "one still waits");
        let come = asked.iter().take_while(|turn| turn.has_come()).count();
        assert_eq!(come, TURNS_AT_ONCE);
        assert!(!asked[TURNS_AT_ONCE].has_come());
        assert!(!turns.give_some() && asked[TURNS_AT_ONCE].has_come());
    }

    #[test]
    fn who_leaves_holds_nobody_up_and_gives_its_room_back() {
        let (turns, mut asked) = turns_of(3);
        drop(asked.remove(0));
        assert_eq!(turns.lock().bytes, 20);
        assert!(!turns.give_some() && asked.iter().all(Turn::has_come));
        drop(asked);
        assert_eq!(turns.lock().bytes, 0);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (turns, mut asked) = turns_of(1);
        assert!(asked[0].has_room_for(WAITING_BYTES_MAX) && asked[0].is_full());
        assert!(!asked[0].has_room_for(WAITING_BYTES_MAX + 1), "and what it had, it keeps");
        assert!(turns.ask(1, Waker::noop()).is_none());
        drop(asked);
        assert!(turns.ask(1, Waker::noop()).is_some());
    }
}
