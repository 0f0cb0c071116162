//! What the gateway says: receipts, commands that expire, time. **A frame that cannot be read, or behind a
//! broker is not sealed by the gateway, changes nothing but a counter.**

use fieldpost_protocol::{Action, ClockQuality, Command, Downlink, Duty, Receipt, Receipts, Seq};

use super::{Device, Notice};
use crate::{clock::TimeSource, rules::AlarmId, settings::Peer, storage::Storage};

/// Alarms whose progress is remembered.
const ALARMS_REMEMBERED: usize = 8;
/// Longest interval a command may ask for.
const INTERVAL_S_MAX: u16 = 3600;

/// Alarms that receipts may speak of.
#[derive(Debug, Clone, Default)]
pub(super) struct Heard {
    alarms: heapless::Deque<(AlarmId, Option<Receipt>), ALARMS_REMEMBERED>,
}

impl Heard {
    /// Follows an alarm from now on.
    pub(super) fn follow(&mut self, alarm: AlarmId) {
        if self.alarms.iter().any(|(followed, _)| *followed == alarm) {
            return;
        }
        if self.alarms.is_full() {
            self.alarms.pop_front();
        }
        self.alarms.push_back((alarm, None)).expect("has room: the oldest gave way");
    }

    /// Whether the receipt is news about a followed alarm.
    fn advances(&mut self, alarm: AlarmId, receipt: Receipt) -> bool {
        let Some((_, progress)) = self.alarms.iter_mut().find(|(followed, _)| *followed == alarm) else {
            return false;
        };
        let news = progress.is_none_or(|before| before < receipt);
        if news {
            *progress = Some(receipt);
        }
        news
    }

    fn followed(&self, receipts: &Receipts) -> heapless::Vec<AlarmId, ALARMS_REMEMBERED> {
        let named = |seq: Seq| {
            receipts
                .ranges
                .iter()
                .any(|range| range.first <= seq && range.last().is_some_and(|last| seq <= last))
        };
        let alarms = self.alarms.iter().map(|(alarm, _)| *alarm);
        alarms.filter(|alarm| alarm.boot == receipts.boot && named(alarm.seq)).collect()
    }
}

impl<S: Storage> Device<S> {
    pub(super) fn on_downlink(&mut self, now_ms: u64, frame: &[u8]) {
        self.uplink.on_heard();
        let message = match &self.settings.peer {
            Peer::Gateway => Downlink::decode(frame).ok(),
            // A broker could hold a time back until it is wrong.
            Peer::Broker(key) => {
                key.open_down(frame).ok().filter(|message| !matches!(message, Downlink::Time { .. }))
            }
        };
        match message {
            Some(Downlink::Receipts(receipts)) => self.on_receipts(&receipts),
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

    /// SEEN is only ever said of alarms: one raised before a restart is followed from here on. A person acknowledges one
    /// alarm at a time, so a longer range is somebody's mistake and names no alarm that is not followed already.
    fn follow_seen(&mut self, receipts: &Receipts) {
        for range in receipts.ranges.iter().filter(|range| range.more == 0) {
            self.heard.follow(AlarmId { boot: receipts.boot, seq: range.first });
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
