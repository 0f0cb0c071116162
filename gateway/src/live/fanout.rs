//! One queue for each open page, bounded in bytes.
//!
//! **A slow page harms nobody but itself.** Publishing never waits: a frame that does not fit empties the page's queue of
//! unit updates and leaves one `lagged` in their place, upon which the page reads everything again. Alarms are few,
//! travel first, and are given up only if they alone fill the queue. Frames are shared: a queue holds references.
//!
//! **What is sent is on record, and in which order.** The order is that of the changes' numbers; where a page is sent
//! anything else (an alarm that overtakes, frames left out because it lagged) it comes as [`Taken::OutOfOrder`], which
//! cannot be opened before that is on record. Only what comes in order has its number as the event's `id`: it says that
//! nothing before it is missing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;

use super::frames::{LAGGED, unnumbered};
use crate::audit::line::StreamNote;
use crate::audit::{Holds, Unseen};

/// Bytes one page may leave unread: ten seconds of a large force's updates.
pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Which frames overtake which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Alarms.
    First,
    /// Unit updates, the gateway's state.
    Normal,
}

/// A frame and the number of its change.
type Numbered = (u64, Bytes);

#[derive(Debug, Default)]
struct Waiting {
    first: VecDeque<Numbered>,
    normal: VecDeque<Numbered>,
    bytes: usize,
    lagged: bool,
    closed: bool,
    /// The newest change that was offered.
    offered_to: u64,
    /// The newest change that was taken in order.
    sent_to: u64,
}

impl Waiting {
    fn lag(&mut self) {
        self.lagged = true;
        self.normal.clear();
        self.bytes = self.first.iter().map(|(_, frame)| frame.len()).sum();
    }

    /// Whether the next alarm is not the next change: something before it waits, or was left out.
    fn is_out_of_order(&self) -> bool {
        let first = self.first.front().map(|(n, _)| *n);
        let normal = self.normal.front().map(|(n, _)| *n);
        self.lagged || first.zip(normal).is_some_and(|(first, normal)| first > normal)
    }
}

/// What a page is sent next.
#[derive(Debug)]
pub enum Taken {
    /// The next frame in the order of the changes.
    InOrder(Bytes),
    /// Alarms that overtake what waits, or the word of lagging behind them. Which is in the note.
    OutOfOrder(Box<StreamNote>, Unseen<Bytes>),
}

/// The publishing end's view of one page.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    ready: Notify,
}

/// A page's end of its queue. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    queue: Arc<Queue>,
    holds: Holds,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Of a page that has every change up to `n`.
    pub(super) fn after(n: u64) -> Arc<Self> {
        let queue = Self::new();
        queue.lock().sent_to = n;
        queue
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in. Returns whether the page has now been told that it lags.
    pub(super) fn push(&self, urgency: Urgency, n: u64, frame: Bytes) -> bool {
        let mut waiting = self.lock();
        waiting.offered_to = n;
        let mut lags = false;
        if waiting.bytes + frame.len() > QUEUE_BYTES_MAX {
            lags = !waiting.lagged;
            waiting.lag();
            if waiting.bytes + frame.len() > QUEUE_BYTES_MAX {
                waiting.first.clear();
                waiting.bytes = 0;
            }
        }
        // A page that was told to read everything again needs no unit update until it has heard so.
        if urgency == Urgency::First && frame.len() <= QUEUE_BYTES_MAX {
            waiting.bytes += frame.len();
            waiting.first.push_back((n, frame));
        } else if !waiting.lagged {
            waiting.bytes += frame.len();
            waiting.normal.push_back((n, frame));
        }
        drop(waiting);
        self.ready.notify_one();
        lags
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    pub(super) fn waiting_bytes(&self) -> usize {
        self.lock().bytes
    }
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>, holds: Holds) -> Self {
        Self { queue, holds }
    }

    /// What comes next; `None` once the gateway has closed the stream. Cancel-safe.
    pub async fn next(&mut self) -> Option<Taken> {
        loop {
            match self.take() {
                Some(taken) => return Some(taken),
                None if self.queue.is_closed() => return None,
                None => self.queue.ready.notified().await,
            }
        }
    }

    /// What comes next, if anything waits: alarms first, then word of lagging, then the rest.
    #[must_use]
    pub fn take(&mut self) -> Option<Taken> {
        let mut waiting = self.queue.lock();
        if waiting.is_out_of_order() {
            let (note, frames) = take_out_of_order(&mut waiting);
            drop(waiting);
            return Some(Taken::OutOfOrder(Box::new(note), Unseen::new(frames, self.holds.clone())));
        }
        let (n, frame) = match waiting.first.pop_front() {
            Some(frame) => frame,
            None => waiting.normal.pop_front()?,
        };
        waiting.bytes -= frame.len();
        waiting.sent_to = n;
        Some(Taken::InOrder(frame))
    }
}

/// Every alarm that waits and, if the page lagged, the word of it: one note for all.
fn take_out_of_order(waiting: &mut Waiting) -> (StreamNote, Bytes) {
    let mut note = StreamNote { sent_to: Some(waiting.sent_to), ..StreamNote::default() };
    let mut frames = BytesMut::new();
    for (n, frame) in waiting.first.drain(..) {
        note.overtook.push(n);
        frames.extend_from_slice(unnumbered(&frame));
    }
    if std::mem::take(&mut waiting.lagged) {
        note.lagged_to = Some(waiting.offered_to);
        frames.extend_from_slice(&LAGGED);
        waiting.sent_to = waiting.offered_to;
    }
    waiting.bytes = waiting.normal.iter().map(|(_, frame)| frame.len()).sum();
    (note, frames.freeze())
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::hash;

    fn frame(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    fn page(queue: &Arc<Queue>) -> Subscription {
        Subscription::new(Arc::clone(queue), Holds::nothing())
    }

    /// What is taken in order, or the note of what is not and the hash of its bytes.
    fn taken(page: &mut Subscription) -> Option<Result<Bytes, (StreamNote, String)>> {
        Some(match page.take()? {
            Taken::InOrder(frame) => Ok(frame),
            Taken::OutOfOrder(note, frames) => Err((*note, frames.digest().sha256)),
        })
    }

    fn order(sent_to: u64, overtook: &[u64], lagged_to: Option<u64>) -> StreamNote {
        StreamNote { sent_to: Some(sent_to), overtook: overtook.to_vec(), lagged_to, ..StreamNote::default() }
    }

    fn sha256(parts: &[Bytes]) -> String {
        hash::of(&parts.concat()).to_string()
    }

    #[test]
    fn a_page_that_does_not_read_is_told_once_and_holds_bounded_bytes() {
        let queue = Queue::new();
        let told = (1..=10_000).filter(|n| queue.push(Urgency::Normal, *n, frame(64 * 1024))).count();
        assert_eq!(told, 1);
        assert!(queue.lock().bytes <= QUEUE_BYTES_MAX);
        let mut page = page(&queue);
        let lagged = (order(0, &[], Some(10_000)), sha256(&[LAGGED]));
        assert_eq!(taken(&mut page), Some(Err(lagged)));
        assert_eq!(taken(&mut page), None, "what it missed is not sent late");
        assert!(!queue.push(Urgency::Normal, 10_001, frame(10)));
        assert_eq!(taken(&mut page), Some(Ok(frame(10))), "after the word of lagging the stream goes on");
    }

    #[test]
    fn an_alarm_that_overtakes_is_on_record_and_outlives_lagging() {
        let queue = Queue::new();
        let alarm = Bytes::from_static(b"event: alarm\n\n");
        let mut page = page(&queue);
        queue.push(Urgency::First, 1, alarm.clone());
        assert_eq!(taken(&mut page), Some(Ok(alarm.clone())), "nothing waits before it");
        queue.push(Urgency::Normal, 2, frame(1024));
        queue.push(Urgency::First, 3, alarm.clone());
        assert_eq!(taken(&mut page), Some(Err((order(1, &[3], None), sha256(std::slice::from_ref(&alarm))))));
        assert_eq!(taken(&mut page), Some(Ok(frame(1024))));
        queue.push(Urgency::First, 4, alarm.clone());
        (5..40).for_each(|n| _ = queue.push(Urgency::Normal, n, frame(128 * 1024)));
        let lagged = (order(2, &[4], Some(39)), sha256(&[alarm, LAGGED]));
        assert_eq!(taken(&mut page), Some(Err(lagged)));
        assert_eq!(taken(&mut page), None);
    }

    #[test]
    fn alarms_alone_cannot_fill_memory() {
        let queue = Queue::new();
        (1..=10_000).for_each(|n| _ = queue.push(Urgency::First, n, frame(1024)));
        assert!(queue.lock().bytes <= QUEUE_BYTES_MAX);
        assert!(queue.lock().lagged, "it is told to read everything again");
    }

    #[tokio::test]
    async fn a_closed_queue_ends_after_what_it_held() {
        let queue = Queue::new();
        let mut page = page(&queue);
        queue.push(Urgency::Normal, 1, frame(1));
        queue.close();
        assert!(matches!(page.next().await, Some(Taken::InOrder(_))));
        assert!(page.next().await.is_none());
    }
}
