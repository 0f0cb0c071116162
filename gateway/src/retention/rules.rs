//! The rules as the spool asks them: class, period, hold.

use std::any::Any;
use std::path::Path;
use std::sync::PoisonError;

use bytes::Bytes;
use fieldpost_protocol::ForceId;
use serde_json::json;

use super::papers::{Files, Papers, Pinned};
use super::{Hold, Holds, Periods, RetentionClass, RetentionMetrics};
use crate::history;
use crate::live::unit::UnitId;
use crate::record::Record;
use crate::sabotage::{self, Sabotage};
use crate::spool::{ExportedEntry, Keep, Pass, Verdict};

/// Says what is kept. See the module.
#[derive(Debug)]
pub struct Rules {
    papers: Box<dyn Papers>,
    periods: Periods,
    metrics: RetentionMetrics,
    /// Planted: as if nothing were held.
    #[cfg(test)]
    pub(crate) forgets_holds: bool,
}

impl Rules {
    /// Rules with the holds and the purge log in `data_dir`.
    #[must_use]
    pub fn new(data_dir: &Path, periods: Periods, metrics: RetentionMetrics) -> Self {
        Self::on(Files::new(data_dir), periods, metrics)
    }

    /// Rules with holds and a record of erasures elsewhere.
    #[must_use]
    pub fn on(papers: impl Papers + 'static, periods: Periods, metrics: RetentionMetrics) -> Self {
        Self {
            papers: Box::new(papers),
            periods,
            metrics,
            #[cfg(test)]
            forgets_holds: false,
        }
    }

    /// Whether a period was promised for `class`; without one its records elsewhere than in the spool have no end but room.
    #[must_use]
    pub fn promises(&self, class: RetentionClass) -> bool {
        self.periods.own(class).is_some()
    }

    /// True only where a test shows what comes of it.
    fn forgets_holds(&self) -> bool {
        #[cfg(test)]
        if self.forgets_holds {
            return true;
        }
        sabotage::is(Sabotage::EraseHeld)
    }
}

impl Keep for Rules {
    fn shortest_ms(&self) -> u64 {
        self.periods.shortest_ms()
    }

    fn version(&self) -> Result<u64, String> {
        self.papers.version()
    }

    fn begin(&self, now_ms: u64, is_pressed: bool) -> Result<Box<dyn Pass + '_>, String> {
        let Pinned { mut holds, pin } = self.papers.pin()?;
        holds.retain(|hold| hold.is_active() && !self.forgets_holds());
        Ok(Box::new(Look {
            rules: self,
            holds,
            now_ms,
            is_pressed,
            erased: [0; 4],
            kept: [0; 4],
            unknown_count: 0,
            _pin: pin,
        }))
    }

    fn tell(&self, trouble: Option<&str>) {
        let mut told = self.metrics.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        *told = trouble.map(|why| format!("nothing is erased: {why}"));
    }
}

/// One look of the spool at one file.
struct Look<'a> {
    rules: &'a Rules,
    holds: Vec<Hold>,
    now_ms: u64,
    is_pressed: bool,
    erased: [u64; 4],
    kept: [u64; 4],
    unknown_count: u64,
    _pin: Box<dyn Any>,
}

impl Look<'_> {
    fn until_ms(&self, class: RetentionClass, received_at_ms: u64) -> u64 {
        let periods = &self.rules.periods;
        let period_ms = match periods.own(class) {
            Some(own_ms) => own_ms,
            // Not promised: space goes first.
            None if self.is_pressed => return 0,
            None => periods.spool_ms,
        };
        received_at_ms.saturating_add(period_ms)
    }

    /// A record that only a later version can read: held by any hold, and kept by the longest period.
    fn judge_unknown(&mut self, entry: ExportedEntry<'_>) -> Verdict {
        let received_at_ms =
            entry.payload.get(4..12).and_then(|bytes| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        let until_ms = received_at_ms.unwrap_or(0).saturating_add(self.rules.periods.longest_ms());
        if !self.holds.is_empty() {
            Verdict::Keep { until_ms: u64::MAX }
        } else if until_ms > self.now_ms && until_ms - self.now_ms <= self.rules.periods.longest_ms() {
            Verdict::Keep { until_ms }
        } else {
            self.unknown_count += 1;
            Verdict::Erase
        }
    }
}

impl Pass for Look<'_> {
    fn judge(&mut self, entry: ExportedEntry<'_>) -> Verdict {
        let Ok(record) = Record::decode(entry.lsn, &Bytes::copy_from_slice(entry.payload)) else {
            return self.judge_unknown(entry);
        };
        let class = RetentionClass::of(&record);
        let verdict = if self.holds.iter().any(|hold| hold.covers(&record)) {
            Verdict::Keep { until_ms: u64::MAX }
        } else {
            match self.until_ms(class, record.received_at_ms) {
                until_ms if sabotage::is(Sabotage::KeepExpired) => Verdict::Keep { until_ms },
                until_ms if until_ms > self.now_ms => Verdict::Keep { until_ms },
                _ => Verdict::Erase,
            }
        };
        let counts = if verdict == Verdict::Erase { &mut self.erased } else { &mut self.kept };
        counts[class as usize] += 1;
        verdict
    }

    fn erasing(&mut self, file: &str, damaged_count: u64) -> Result<(), String> {
        let unreadable_count = self.unknown_count + damaged_count;
        if self.erased == [0; 4] && unreadable_count == 0 {
            return Ok(());
        }
        let by_class = |counts: [u64; 4]| {
            RetentionClass::ALL
                .into_iter()
                .map(|class| (class.as_str().to_owned(), counts[class as usize].into()))
                .collect::<serde_json::Map<_, _>>()
        };
        let at_ms = i64::try_from(self.now_ms).unwrap_or(i64::MAX);
        let at =
            jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |at| at.to_string());
        let line = json!({
            "at": at,
            "file": file,
            "erased": by_class(self.erased),
            "kept": by_class(self.kept),
            "unreadable": unreadable_count,
            "holds": self.holds.iter().map(|hold| hold.id).collect::<Vec<_>>(),
        });
        self.rules.papers.note(&line)?;
        let [alarms, positions, events, quarantine] = self.erased;
        tracing::info!(file, alarms, positions, events, quarantine, unreadable = unreadable_count, "erased");
        for (counter, count) in self.rules.metrics.erased.iter().zip(self.erased) {
            counter.inc_by(count);
        }
        self.rules.metrics.unreadable.inc_by(unreadable_count);
        Ok(())
    }
}

/// The holds in `data_dir` as the history asks for them. While they cannot be read, everything of `forces` is held.
#[must_use]
pub fn for_history(data_dir: &Path, forces: Vec<ForceId>) -> history::Holds {
    let holds = Holds::new(data_dir);
    std::sync::Arc::new(move || match holds.all() {
        Ok(holds) => holds.iter().filter(|hold| hold.is_active()).filter_map(in_history).collect(),
        Err(error) => {
            tracing::warn!(%error, "the history keeps everything");
            let all = |force: &ForceId| history::Hold {
                force: force.clone(),
                unit: None,
                from_ms: 0,
                until_ms: u64::MAX,
            };
            forces.iter().map(all).collect()
        }
    })
}

fn in_history(hold: &Hold) -> Option<history::Hold> {
    let force = ForceId::try_new(&hold.force).ok()?;
    let unit = match &hold.device {
        None => None,
        Some(device) => {
            let device = fieldpost_protocol::DeviceId::try_new(device).ok()?;
            Some(UnitId { force: force.clone(), device })
        }
    };
    Some(history::Hold { force, unit, from_ms: hold.from_ms, until_ms: hold.until_ms })
}
