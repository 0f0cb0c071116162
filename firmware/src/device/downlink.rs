//! What the gateway says: receipts, commands that expire, time. **A frame that cannot be read, or behind a
//! broker is not sealed by the gateway, changes nothing but a counter.**
//!
//! Behind a broker a receipt must name what its records said. A broker keeps old receipts as long as it likes, and a device
//! that was wiped gives the same identities again: by number alone an old receipt would erase a new record.

use fieldpost_protocol::{
    Action, Class, ClockQuality, Command, Downlink, Duty, Heard as HeardBody, NamedRecord, Print, Proven,
    Receipt, Receipts, Seq,
};

use super::{Device, Notice};
use crate::{clock::TimeSource, rules::AlarmId, settings::Peer, storage::Storage};

/// Alarms whose progress is remembered.
const ALARMS_REMEMBERED: usize = 8;
/// The gateway says a receipt again after a minute.
const ANSWER_S_MIN: u32 = 30;
/// Longest interval a command may ask for.
const INTERVAL_S_MAX: u16 = 3600;

/// Alarms that receipts may speak of.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    alarms: heapless::Deque<Followed, ALARMS_REMEMBERED>,
}

#[derive(Debug, Clone, Copy)]
struct Followed {
    alarm: AlarmId,
    /// What it may have been sent as; `None` if nobody remembers, and then no proven receipt is its.
    prints: Option<[Print; 2]>,
    progress: Option<Receipt>,
    /// When DELIVERED and SEEN were last answered for, behind a broker, in seconds since the start and one; 0 never.
    answered_s: [u32; 2],
}

impl Heard {
    /// Follows an alarm from now on.
    pub(super) fn follow(&mut self, alarm: AlarmId, prints: Option<[Print; 2]>) {
        if self.alarms.iter().any(|followed| followed.alarm == alarm) {
            return;
        }
        if self.alarms.is_full() {
            self.alarms.pop_front();
        }
        let followed = Followed { alarm, prints, progress: None, answered_s: [0; 2] };
        self.alarms.push_back(followed).expect("has room: the oldest gave way");
    }

    /// Whether the receipt is news about a followed alarm.
    fn advances(&mut self, alarm: AlarmId, receipt: Receipt) -> bool {
        let Some(followed) = self.alarms.iter_mut().find(|followed| followed.alarm == alarm) else {
            return false;
        };
        let news = followed.progress.is_none_or(|before| before < receipt);
        if news {
            followed.progress = Some(receipt);
        }
        news
    }

    /// Whether a receipt is to be answered now. The gateway says it again until it has the answer; what a broker repeats
    /// costs no more than that.
    fn owes_answer(&mut self, now_ms: u64, alarm: AlarmId, receipt: Receipt) -> bool {
        let place = match receipt {
            Receipt::Stored => return false,
            Receipt::Delivered => 0,
            Receipt::Seen => 1,
        };
        let Some(followed) = self.alarms.iter_mut().find(|followed| followed.alarm == alarm) else {
            return false;
        };
        let answered = &mut followed.answered_s[place];
        let now_s = u32::try_from(now_ms / 1000).unwrap_or(u32::MAX).saturating_add(1);
        let is_due = *answered == 0 || now_s.saturating_sub(*answered) >= ANSWER_S_MIN;
        if is_due {
            *answered = now_s;
        }
        is_due
    }

    /// Whether a proven receipt may be one for this alarm.
    fn may_have_said(&self, alarm: AlarmId, print: Print) -> bool {
        let followed = self.alarms.iter().find(|followed| followed.alarm == alarm);
        followed.and_then(|followed| followed.prints).is_some_and(|prints| prints.contains(&print))
    }

    fn followed(&self, receipts: &Receipts) -> heapless::Vec<AlarmId, ALARMS_REMEMBERED> {
        let named = |seq: Seq| {
            receipts
                .ranges
                .iter()
                .any(|range| range.first <= seq && range.last().is_some_and(|last| seq <= last))
        };
        let alarms = self.alarms.iter().map(|followed| followed.alarm);
        alarms.filter(|alarm| alarm.boot == receipts.boot && named(alarm.seq)).collect()
    }
}

impl<S: Storage> Device<S> {
    pub(super) fn on_downlink(&mut self, now_ms: u64, frame: &[u8]) {
        self.uplink.on_heard();
        let message = match &self.settings.peer {
            Peer::Gateway => Downlink::decode(frame).ok(),
            // A broker could hold a time back until it is wrong, and a receipt until its numbers are given again.
            Peer::Broker(key) => {
                let is_lasting =
                    |message: &Downlink| !matches!(message, Downlink::Time { .. } | Downlink::Receipts(_));
                key.open_down(frame).ok().filter(is_lasting)
            }
        };
        match message {
            Some(Downlink::Receipts(receipts)) => self.on_receipts(&receipts),
            Some(Downlink::Proven(proven)) => self.on_proven(now_ms, &proven),
            Some(Downlink::Command(command)) => self.on_command(now_ms, command),
            Some(Downlink::Time { unix_ms }) => {
                let judgement = self.clock.offer_network(now_ms, unix_ms);
                self.note_judgement(TimeSource::Network, judgement);
            }
            Some(Downlink::Unknown(_)) => {
                self.counters.downlinks_unknown = self.counters.downlinks_unknown.wrapping_add(1);
            }
            None => {
                self.counters.downlinks_malformed = self.counters.downlinks_malformed.wrapping_add(1);
                self.notices.add_minor(Notice::DownlinkMalformed);
            }
        }
    }

    /// Says an alarm's new state once.
    pub(super) fn on_alarm_receipt(&mut self, alarm: AlarmId, receipt: Receipt) {
        if self.heard.advances(alarm, receipt) {
            self.notices.add(Notice::AlarmReceipt { alarm, receipt });
        }
    }

    fn on_receipts(&mut self, receipts: &Receipts) {
        if receipts.receipt == Receipt::Seen {
            self.follow_seen(receipts);
        }
        for alarm in self.heard.followed(receipts) {
            self.on_alarm_receipt(alarm, receipts.receipt);
        }
        if receipts.receipt == Receipt::Stored {
            self.outbox.acknowledge_ranges(receipts.boot, &receipts.ranges);
        }
    }

    fn on_proven(&mut self, now_ms: u64, proven: &Proven) {
        for NamedRecord { seq, print } in &proven.records {
            let alarm = AlarmId { boot: proven.boot, seq: *seq };
            // SEEN of an alarm from before a restart that the wearer has taken back, while it is still owed.
            if proven.receipt == Receipt::Seen && proven.boot != self.outbox.boot() {
                let owed = self.outbox.alarm_prints(alarm.boot, alarm.seq);
                owed.into_iter().for_each(|prints| self.heard.follow(alarm, Some(prints)));
            }
            if self.heard.may_have_said(alarm, *print) {
                self.on_alarm_receipt(alarm, proven.receipt);
                self.answer(now_ms, alarm, proven.receipt, *print);
            }
        }
        if proven.receipt == Receipt::Stored {
            self.outbox.acknowledge_records(proven.boot, &proven.records);
        }
    }

    /// Behind a broker nobody else can say that the receipt is here: over the gateway's own connection its PUBACK does.
    fn answer(&mut self, now_ms: u64, alarm: AlarmId, receipt: Receipt, print: Print) {
        if matches!(self.settings.peer, Peer::Broker(_)) && self.heard.owes_answer(now_ms, alarm, receipt) {
            let heard = HeardBody { receipt, boot: alarm.boot, seq: alarm.seq, print };
            self.issue_body(now_ms, Class::HEARD, |buffer| heard.encode(buffer).ok());
        }
    }

    /// SEEN is only ever said of alarms: one raised before a restart is followed from here on. A person acknowledges one
    /// alarm at a time, so a longer range is somebody's mistake and names no alarm that is not followed already.
    fn follow_seen(&mut self, receipts: &Receipts) {
        for range in receipts.ranges.iter().filter(|range| range.more == 0) {
            self.heard.follow(AlarmId { boot: receipts.boot, seq: range.first }, None);
        }
    }

    fn on_command(&mut self, now_ms: u64, command: Command) {
        if self.remembered.commands.iter().any(|heard| *heard == command.id) {
            self.counters.commands_repeated = self.counters.commands_repeated.wrapping_add(1);
            self.notices.add_minor(Notice::CommandRepeated { id: command.id });
            return;
        }
        self.remember(|remembered| {
            if remembered.commands.is_full() {
                remembered.commands.pop_front();
            }
            remembered.commands.push_back(command.id).expect("has room: the oldest gave way");
        });
        let stamp = self.clock.stamp(now_ms);
        // Without a clock nobody can say whether it is too late: then it is.
        if stamp.quality == ClockQuality::Unset || stamp.time_ms >= command.expires_at_ms {
            self.counters.commands_expired = self.counters.commands_expired.wrapping_add(1);
            self.notices.add(Notice::CommandExpired { id: command.id });
            return;
        }
        match command.action {
            Action::ReportNow => {
                self.sampler.request_report();
                self.report_last_fix(now_ms);
                self.report_status(now_ms);
            }
            Action::Interval { seconds } => {
                let seconds = seconds.min(INTERVAL_S_MAX);
                self.sampler.set_interval((seconds != 0).then(|| u64::from(seconds) * 1000));
            }
            Action::Duty(duty) => {
                self.on_duty(now_ms, duty);
                self.notices.add(Notice::DutyChanged(duty));
            }
            Action::Show(text) => self.notices.add(Notice::Show(text)),
            Action::CheckIn { seconds } => {
                // Off duty nobody is expected to say anything.
                let seconds = if self.duty() == Duty::OFF_DUTY { 0 } else { seconds };
                self.remember(|remembered| remembered.check_in_s = seconds);
                let demand = self.rules.expect_check_ins(now_ms, self.check_in_interval_ms());
                self.obey(now_ms, demand, false);
            }
        }
    }
}
