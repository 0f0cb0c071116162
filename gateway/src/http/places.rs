//! Who holds the places for connections, and who gives one up when all are taken.
//!
//! **Whoever has shown a session keeps their place before whoever has shown none, and the one who holds most gives up first.** So
//! a flood of silent connections ends its own oldest, and a console gets in at once, though every place is taken:
//!
//! ```text
//! accept -> all taken? -> of the peer with the most places on which no session was shown: its oldest connection ends
//!                         (no such peer: of the session or machine with the most places)
//! ```
//! A peer is an IPv4 address, or the 64 bits of IPv6 that one customer has; behind a proxy that is everybody. A connection that has
//! shown no session gives way whatever it is doing: in the middle of a login, too, if its address holds most.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

use crate::people::authenticator::network;

/// How often the log says that all places are taken.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// Whose a connection is, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// Nobody that we know: the network it comes from.
    Stranger(IpAddr),
    /// A session, by its label.
    Session(String),
    /// A machine, by its name.
    Machine(String),
}

/// The places.
pub(super) struct Places {
    free: Arc<Semaphore>,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    next: u64,
    /// By holder: their connections, the oldest first, and what ends each.
    held: HashMap<Holder, BTreeMap<u64, CancellationToken>>,
    told_at: Option<Instant>,
}

/// One connection's place; dropped, it is free.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    holder: Mutex<Holder>,
    /// Cancelled when the place must be given up.
    pub(super) end: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Places {
    pub(super) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(count)), table: Mutex::default() })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `peer`. If all are taken, another's is ended; waits until one is free.
    pub(super) async fn take(self: &Arc<Self>, peer: IpAddr) -> Arc<Place> {
        let permit = match Arc::clone(&self.free).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                self.table().end_one();
                Arc::clone(&self.free).acquire_owned().await.expect("nobody closes it")
            }
        };
        let (holder, end) = (Holder::Stranger(network(peer)), CancellationToken::new());
        let mut table = self.table();
        let number = table.next;
        table.next += 1;
        table.held.entry(holder.clone()).or_default().insert(number, end.clone());
        drop(table);
        Arc::new(Place { places: Arc::clone(self), number, holder: Mutex::new(holder), end, _permit: permit })
    }
}

impl Table {
    fn end_one(&mut self) {
        let most = self.held.iter().max_by_key(|(holder, held)| {
            let is_stranger = matches!(holder, Holder::Stranger(_));
            (is_stranger, held.len())
        });
        let Some((holder, count)) = most.map(|(holder, held)| (holder.clone(), held.len())) else { return };
        let oldest = self.held.get(&holder).and_then(|held| held.keys().next().copied());
        oldest.and_then(|number| self.take_out(&holder, number)).inspect(CancellationToken::cancel);
        if self.told_at.is_none_or(|at| at.elapsed() >= TOLD_EVERY) {
            self.told_at = Some(Instant::now());
            let most = match &holder {
                Holder::Stranger(network) => format!("{network}, without a session"),
                Holder::Session(label) => format!("session {label}"),
                Holder::Machine(name) => format!("machine {name}"),
            };
            tracing::warn!(most, count, "control room has no place left: whoever holds most gives one up");
        }
    }

    fn take_out(&mut self, holder: &Holder, number: u64) -> Option<CancellationToken> {
        let held = self.held.get_mut(holder)?;
        let end = held.remove(&number);
        if held.is_empty() {
            self.held.remove(holder);
        }
        end
    }
}

impl Place {
    /// From now on the connection is `holder`'s: it has shown so.
    pub(super) fn belongs_to(&self, holder: Holder) {
        let mut mine = self.holder.lock().unwrap_or_else(PoisonError::into_inner);
        if *mine == holder {
            return;
        }
        let mut table = self.places.table();
        // One that was ended stays so.
        if let Some(end) = table.take_out(&mine, self.number) {
            table.held.entry(holder.clone()).or_default().insert(self.number, end);
        }
        *mine = holder;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mine = self.holder.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.places.table().take_out(mine, self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    /// A place that is taken by ending `ends`.
    async fn taken_from(places: &Arc<Places>, peer: &str, ends: Arc<Place>) -> Arc<Place> {
        let take = places.take(from(peer));
        tokio::pin!(take);
        tokio::select! {
            biased;
            _ = &mut take => panic!("there was a place"),
            () = ends.end.cancelled() => {}
        }
        drop(ends);
        take.await
    }

    #[tokio::test]
    async fn the_peer_with_the_most_silent_connections_loses_its_oldest() {
        let places = Places::new(4);
        let quiet = places.take(from("10.0.0.1")).await;
        let mut flood = Vec::new();
        for number in 0..3 {
            flood.push(places.take(from(&format!("2001:db8::{number}"))).await);
        }
        for _ in 0..10 {
            let oldest = flood.remove(0);
            flood.push(taken_from(&places, "2001:db8::ffff", oldest).await);
        }
        assert!(!quiet.end.is_cancelled());
        let oldest = flood.remove(0);
        let _colleague = taken_from(&places, "10.0.0.2", oldest).await;
        assert!(!quiet.end.is_cancelled() && flood.iter().all(|place| !place.end.is_cancelled()));
    }

    #[tokio::test]
    async fn who_has_a_session_gives_way_last_and_then_whoever_has_most() {
        let places = Places::new(4);
        let anna = places.take(from("10.0.0.1")).await;
        anna.belongs_to(Holder::Session("anna".to_owned()));
        let mut machine = Vec::new();
        for _ in 0..2 {
            machine.push(places.take(from("10.0.0.1")).await);
            machine.last().unwrap().belongs_to(Holder::Machine("cad".to_owned()));
        }
        let stranger = places.take(from("10.0.0.2")).await;
        let ben = taken_from(&places, "10.0.0.2", stranger).await;
        ben.belongs_to(Holder::Session("ben".to_owned()));
        ben.belongs_to(Holder::Session("ben".to_owned()));
        let _last = taken_from(&places, "10.0.0.3", machine.remove(0)).await;
        assert!([&anna, &ben, &machine[0]].iter().all(|place| !place.end.is_cancelled()));
    }

    #[tokio::test]
    async fn a_place_that_is_dropped_leaves_nothing_behind() {
        let places = Places::new(1);
        for _ in 0..3 {
            let place = places.take(from("10.0.0.1")).await;
            place.belongs_to(Holder::Session("anna".to_owned()));
        }
        assert!(places.table().held.is_empty());
    }
}
