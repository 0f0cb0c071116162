//! One queue for each open page, bounded in bytes.
//!
//! **A slow page harms nobody but itself.** Publishing never waits: a frame that does not fit empties the page's queue of
//! unit updates and leaves one `lagged` in their place, upon which the page reads everything again. Alarms are few,
//! travel first, and are given up only if they alone fill the queue. Frames are shared: a queue holds references.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// Bytes one page may leave unread: ten seconds of a large force's updates.
pub const QUEUE_BYTES_MAX: usize = 1024 * 1024;

const LAGGED: Bytes = Bytes::from_static(b"event: lagged\ndata: {}\n\n");

/// Which frames overtake which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Alarms.
    First,
    /// Unit updates, the gateway's state.
    Normal,
}

#[derive(Debug, Default)]
struct Waiting {
    first: VecDeque<Bytes>,
    normal: VecDeque<Bytes>,
    bytes: usize,
    lagged: bool,
    closed: bool,
}

impl Waiting {
    fn lag(&mut self) {
        self.lagged = true;
        self.normal.clear();
        self.bytes = self.first.iter().map(Bytes::len).sum();
    }
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
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame in. Returns whether the page has now been told that it lags.
    pub(super) fn push(&self, urgency: Urgency, frame: Bytes) -> bool {
        let mut waiting = self.lock();
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
            waiting.first.push_back(frame);
        } else if !waiting.lagged {
            waiting.bytes += frame.len();
            waiting.normal.push_back(frame);
        }
        drop(waiting);
        self.ready.notify_one();
        lags
    }

    /// Makes the page read everything again: what waits for it is left out, but for alarms.
    pub(super) fn lag(&self) {
        let mut waiting = self.lock();
        waiting.lag();
        drop(waiting);
        self.ready.notify_one();
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }
}

impl Subscription {
    pub(super) fn new(queue: Arc<Queue>) -> Self {
        Self { queue }
    }

    /// The next frame; `None` once the gateway has closed the stream. Cancel-safe.
    pub async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.take() {
                Some(frame) => return Some(frame),
                None if self.queue.is_closed() => return None,
                None => self.queue.ready.notified().await,
            }
        }
    }

    /// The next frame, if one waits: alarms first, then word of lagging, then the rest.
    #[must_use]
    pub fn take(&mut self) -> Option<Bytes> {
        let mut waiting = self.queue.lock();
        if let Some(frame) = waiting.first.pop_front() {
            waiting.bytes -= frame.len();
            return Some(frame);
        }
        if std::mem::take(&mut waiting.lagged) {
            return Some(LAGGED);
        }
        let frame = waiting.normal.pop_front()?;
        waiting.bytes -= frame.len();
        Some(frame)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.queue.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    #[test]
    fn a_page_that_does_not_read_is_told_once_and_holds_bounded_bytes() {
        let queue = Queue::new();
        let told = (0..10_000).filter(|_| queue.push(Urgency::Normal, frame(64 * 1024))).count();
        assert_eq!(told, 1);
        assert!(queue.lock().bytes <= QUEUE_BYTES_MAX);
        let mut page = Subscription::new(Arc::clone(&queue));
        assert_eq!(page.take(), Some(LAGGED));
        assert_eq!(page.take(), None, "what it missed is not sent late");
        assert!(!queue.push(Urgency::Normal, frame(10)));
        assert_eq!(page.take(), Some(frame(10)), "after the word of lagging the stream goes on");
    }

    #[test]
    fn an_alarm_overtakes_updates_and_outlives_lagging() {
        let queue = Queue::new();
        queue.push(Urgency::Normal, frame(1024));
        let alarm = Bytes::from_static(b"event: alarm\n\n");
        queue.push(Urgency::First, alarm.clone());
        for _ in 0..32 {
            queue.push(Urgency::Normal, frame(128 * 1024));
        }
        let mut page = Subscription::new(queue);
        assert_eq!(page.take(), Some(alarm));
        assert_eq!(page.take(), Some(LAGGED));
    }

    #[test]
    fn alarms_alone_cannot_fill_memory() {
        let queue = Queue::new();
        for _ in 0..10_000 {
            queue.push(Urgency::First, frame(1024));
        }
        assert!(queue.lock().bytes <= QUEUE_BYTES_MAX);
        assert!(queue.lock().lagged, "it is told to read everything again");
    }

    #[tokio::test]
    async fn a_closed_queue_ends_after_what_it_held() {
        let queue = Queue::new();
        let mut page = Subscription::new(Arc::clone(&queue));
        queue.push(Urgency::Normal, frame(1));
        queue.close();
        assert_eq!(page.next().await, Some(frame(1)));
        assert_eq!(page.next().await, None);
    }
}
