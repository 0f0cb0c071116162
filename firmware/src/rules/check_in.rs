//! R8: the wearer says regularly that all is well. Begun and ended by command; going off duty ends it.

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CheckIn {
    interval_ms: Option<u64>,
    /// `None`: not expected, or missed and not said since.
    due_at_ms: Option<u64>,
}

impl CheckIn {
    pub(super) fn expect(&mut self, now_ms: u64, interval_ms: Option<u64>) {
        self.interval_ms = interval_ms;
        self.answer(now_ms);
    }

    /// The wearer gave a sign of life: the time begins anew.
    pub(super) fn answer(&mut self, now_ms: u64) {
        self.due_at_ms = self.interval_ms.map(|interval_ms| now_ms + interval_ms);
    }

    /// Whether the time has run out; then it waits for the next sign of life.
    pub(super) fn take_due(&mut self, now_ms: u64) -> bool {
        let is_due = self.due_at_ms.is_some_and(|at_ms| now_ms >= at_ms);
        if is_due {
            self.due_at_ms = None;
        }
        is_due
    }

    pub(super) fn due_at(&self) -> Option<u64> {
        self.due_at_ms
    }
}
