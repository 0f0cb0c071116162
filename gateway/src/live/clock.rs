//! Puts the time into the spool when alarms wait for it, who watches when that changes, and new rules.
//!
//! **Alarms know the time only by records**, so that a replay does what was done then. In busy hours every record brings it;
//! in quiet ones this commits a clock record when a ladder, a shelf or a silence is due, and none otherwise.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Hub;
use crate::alarms::{ClockSaid, RulesSaid, Watch};
use crate::record::Record;

/// How late a step may be taken in a quiet hour.
const LOOK_MS: u64 = 250;
/// A clock this far behind what was recorded was put back.
const BACK_MS: u64 = 2_000;

/// Until shutdown.
pub(super) async fn keep(hub: Arc<Hub>, shutdown: CancellationToken) {
    let mut looks = interval(Duration::from_millis(LOOK_MS));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = looks.tick() => {}
        }
        let Some(record) = hub.record_due() else { continue };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            // Without room it waits as every record does; the page says that the spool is full.
            stored = hub.commit_and_fold(&record) => if let Err(error) = stored {
                tracing::warn!(%error, "the time could not be stored: alarms do not escalate until it is");
            },
        }
    }
}

impl Hub {
    fn record_due(&self) -> Option<Record> {
        // Until then the book is behind what was recorded.
        if self.is_rebuilding.load(Ordering::Acquire) {
            return None;
        }
        let now_ms = self.now_ms();
        let watch = self.watch();
        let wanted = Arc::clone(&self.rules.borrow());
        let state = self.state();
        let book = &state.alarms;
        if book.rules().text != wanted.text {
            return Some(RulesSaid::new(&wanted, now_ms).record());
        }
        let time = book.time();
        let is_news = match time.watch {
            Some(ref known) => *known != watch,
            // Nobody has to say that nobody watches while there is nothing to see.
            None => watch.consoles > 0 || book.unacknowledged_count() > 0,
        };
        let is_due = time.due_ms.is_some_and(|due_ms| due_ms <= now_ms);
        let went_back = time.due_ms.is_some() && now_ms + BACK_MS < time.now_ms;
        let said = ClockSaid { at_ms: now_ms, watch: is_news.then_some(watch) };
        (is_news || is_due || went_back).then(|| said.record())
    }

    /// Who watches now.
    pub(super) fn watch(&self) -> Watch {
        let Some(watching) = &self.settings.watching else {
            let consoles = u32::try_from(self.board().pages_count()).unwrap_or(u32::MAX);
            return Watch { consoles, unlocked: consoles, ..Watch::default() };
        };
        let mut watch = watching(None);
        if watch.unlocked > 0 {
            // A page that shows another force's alarms does not watch this one's.
            let forces = self.state().alarms.open_forces();
            let unwatched = forces.iter().filter(|force| watching(Some(*force)).unlocked == 0);
            watch.unwatched = unwatched.map(ToString::to_string).collect();
        }
        watch
    }
}
