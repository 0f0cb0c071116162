//! What wearers are still to be told of their alarms, and which force system has them.
//!
//! **An alarm that leaves the queue leaves its receipts behind**, [`OWED_MAX`] in all, until its device has confirmed them.

use std::collections::BTreeSet;

use fieldpost_protocol::Receipt;

use super::super::OWED_MAX;
use super::super::action::Confirmed;
use super::super::alarm::{Acceptance, Alarm, Owed};
use super::super::id::AlarmId;
use super::Book;

impl Book {
    pub(super) fn owe(&mut self, receipts: impl Iterator<Item = Owed>) {
        self.owed.extend(receipts);
        while self.owed.len() > OWED_MAX {
            self.owed.pop_first();
        }
    }

    /// A force system has the alarm. The first one stays.
    pub fn accept(&mut self, id: &AlarmId, acceptance: Acceptance) {
        let Some(alarm) = self.alarms.get_mut(id).or_else(|| self.waiting.get_mut(id)) else { return };
        if alarm.accept(acceptance) {
            self.note_change(id);
        }
    }

    /// Every receipt that a device has not confirmed: DELIVERED before SEEN.
    pub fn receipts_owed(&self) -> impl Iterator<Item = Owed> {
        let of_queue = self.owing.iter().filter_map(|id| self.queued(id)).flat_map(Alarm::receipts_owed);
        of_queue.chain(self.owed.iter().cloned())
    }

    /// SEEN has been handed to its device's connection. The only thing here that no record says: a mark until the device
    /// confirms, whose record then says both.
    pub fn told(&mut self, owed: &Owed, at_ms: u64) {
        let (id, receipt) = owed;
        let Some(alarm) = self.find_mut(id).filter(|_| *receipt == Receipt::Seen) else { return };
        if alarm.tell_wearer(at_ms) {
            self.note_change(id);
        }
    }

    /// Whether the device owes an answer to a receipt for this alarm.
    #[must_use]
    pub fn awaits(&self, id: &AlarmId, receipt: Receipt) -> bool {
        self.owed.contains(&(id.clone(), receipt))
            || self.find(id).is_some_and(|alarm| alarm.receipts_owed().any(|(_, owed)| owed == receipt))
    }

    /// The device has confirmed a receipt.
    pub fn confirm(&mut self, confirmed: &Confirmed) {
        let id = &confirmed.alarm;
        if self.owed.remove(&(id.clone(), confirmed.receipt)) {
            self.revision += 1;
        }
        if self.find_mut(id).is_some_and(|alarm| confirmed.apply(alarm)) {
            self.note_change(id);
        }
    }

    /// Receipts owed for alarms that have left the queue.
    #[must_use]
    pub fn owed(&self) -> &BTreeSet<Owed> {
        &self.owed
    }
}
