//! TLS sessions that devices may take up again, for a while.
//!
//! **A session is taken up at most once, and within [`LIFE`].** Whether its device may still come in is asked anew each time
//! ([`super::FrontDoorTls::recheck`]); this module only keeps what rustls needs. Nothing is written to disk: after a
//! restart every handshake is a full one.
//!
//! Bounds: as many sessions as connections, [`SESSION_BYTES_MAX`] each (a device's certificate is most of it, about 700
//! bytes in all); the oldest goes first.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustls::server::StoresServerSessions;

/// Longer than a tunnel, a basement or a restart of the network; a device that was away for longer shakes hands in full.
pub(super) const LIFE: Duration = Duration::from_secs(60 * 60);

/// What is larger is not kept: a chain of several certificates.
const SESSION_BYTES_MAX: usize = 4096;

/// What rustls calls a session's key: 32 random bytes, which the device shows. Kept in place: two of them a connection.
type Id = [u8; 32];

/// The sessions of a front door.
#[derive(Debug)]
pub(super) struct Sessions {
    kept: Mutex<Kept>,
    count_max: usize,
}

#[derive(Debug, Default)]
struct Kept {
    by_id: HashMap<Id, Box<[u8]>>,
    /// Oldest first; also of sessions that were taken up meanwhile.
    begun: VecDeque<(Instant, Id)>,
}

impl Sessions {
    pub(super) fn new(count_max: usize) -> Self {
        Self { kept: Mutex::default(), count_max: count_max.max(1) }
    }

    fn put_at(&self, now: Instant, id: Id, session: &[u8]) -> bool {
        if session.len() > SESSION_BYTES_MAX {
            return false;
        }
        let mut kept = self.lock();
        kept.forget_before(now.checked_sub(LIFE));
        while kept.begun.len() >= self.count_max {
            kept.forget_oldest();
        }
        kept.begun.push_back((now, id));
        kept.by_id.insert(id, session.into());
        true
    }

    fn take_at(&self, now: Instant, id: &[u8]) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        kept.forget_before(now.checked_sub(LIFE));
        kept.by_id.remove(id).map(Vec::from)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // A panic here leaves at worst a session without its date: the next ones push it out.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn forget_before(&mut self, earliest: Option<Instant>) {
        while self.begun.front().zip(earliest).is_some_and(|((began, _), earliest)| *began < earliest) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.begun.pop_front() {
            self.by_id.remove(&id);
        }
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        // What another rustls may call by a longer name is not kept: its device shakes hands in full.
        Id::try_from(key).is_ok_and(|id| self.put_at(Instant::now(), id, &value))
    }

    /// Of TLS 1.2, which the front door does not speak.
    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.take_at(Instant::now(), key)
    }

    fn can_cache(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> Id {
        [number; 32]
    }

    #[test]
    fn a_session_is_taken_up_once() {
        let (sessions, now) = (Sessions::new(9), Instant::now());
        assert!(sessions.put_at(now, id(1), b"secret"));
        assert_eq!(sessions.take_at(now, &id(1)).as_deref(), Some(&b"secret"[..]));
        assert_eq!(sessions.take_at(now, &id(1)), None);
    }

    #[test]
    fn a_session_ends_with_its_life() {
        let (sessions, now) = (Sessions::new(9), Instant::now());
        sessions.put_at(now, id(1), b"secret");
        sessions.put_at(now + LIFE, id(2), b"secret");
        assert_eq!(sessions.take_at(now + LIFE + Duration::from_millis(1), &id(1)), None);
        assert!(sessions.take_at(now + LIFE, &id(2)).is_some());
    }

    #[test]
    fn however_many_come_so_many_are_kept() {
        let (sessions, now) = (Sessions::new(3), Instant::now());
        (0..200).for_each(|number| assert!(sessions.put_at(now, id(number), b"secret")));
        (0..200).step_by(2).for_each(|number| _ = sessions.take_at(now, &id(number)));
        (0..200).for_each(|number| assert!(sessions.put_at(now, id(number), b"secret")));
        let kept = sessions.lock();
        assert_eq!((kept.by_id.len(), kept.begun.len()), (3, 3));
        drop(kept);
        assert!(!sessions.put_at(now, id(1), &[0; SESSION_BYTES_MAX + 1]));
    }
}
