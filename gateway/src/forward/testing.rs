//! Fixtures for the tests of forwarders: records of every class, a source in memory, a sink with fault knobs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fieldpost_protocol::{
    Alarm, AlarmCause, BootId, Class, ClockQuality, DeviceId, Envelope, FixSource, ForceId, Head, Lane, Mode,
    Position, ReportReason, Seq,
};

use super::event::{Event, EventState, Gap};
use super::release::{Disclosures, Recipient, Release, Whom};
use super::source::{Lane as ForwardLane, Source, SourceError, Taken};
use super::{Sink, SinkError};
use crate::alarms::{Acceptance, AlarmId};
use crate::audit::line::Note;
use crate::audit::runs::Run;
use crate::audit::{Journal, What};
use crate::record::{Record, RecordKind};
use crate::spool::Lsn;

/// A disclosure log in memory.
#[derive(Clone, Default)]
pub(super) struct MemoryJournal {
    pub(super) notes: Arc<Mutex<Vec<Note>>>,
    /// The next writings that fail.
    pub(super) failures_left: Arc<Mutex<u32>>,
}

impl Journal for MemoryJournal {
    fn append(&mut self, notes: &[Note]) -> std::io::Result<u64> {
        let mut left = self.failures_left.lock().unwrap();
        if *left > 0 {
            *left -= 1;
            return Err(std::io::Error::other("no room"));
        }
        let mut held = self.notes.lock().unwrap();
        held.extend_from_slice(notes);
        Ok((held.len() - notes.len()) as u64 + 1)
    }
}

impl MemoryJournal {
    pub(super) fn recipient(&self) -> Recipient {
        let whom = Whom { name: "cad".into(), kind: "memory", address: "here".into() };
        Disclosures::inline(self.clone()).recipient(whom, &Release::everything())
    }

    /// The keys of new disclosures, and of repetitions.
    pub(super) fn keys(&self, what: What) -> Vec<String> {
        let notes = self.notes.lock().unwrap();
        let runs = notes.iter().filter(|note| note.what == what).flat_map(|note| note.disclosure.clone());
        runs.flat_map(|said| said.keys).flat_map(|run| Run::parse(&run).keys().collect::<Vec<_>>()).collect()
    }
}

/// A recipient whose log nobody reads.
pub(super) fn recipient() -> Recipient {
    MemoryJournal::default().recipient()
}

/// When the records were received.
pub(super) const RECEIVED_MS: u64 = 1_790_000_000_123;

pub(super) fn head(class: Class, seq: u32) -> Head {
    Head {
        version: 1,
        class,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(3),
        seq: Seq(seq),
        time_ms: RECEIVED_MS - 1_000,
    }
}

pub(super) fn record_of(lsn: u64, head: Head, body: &[u8]) -> Record {
    let mut frame = [0; 2048];
    let frame = Envelope { head, body, trailer: None }.encode(&mut frame).unwrap();
    Record {
        lsn: Lsn(lsn),
        received_at_ms: RECEIVED_MS,
        force: ForceId::try_new("sim").unwrap(),
        device: DeviceId::try_new("pc-0001").unwrap(),
        ceiling: Mode::Test,
        lane: if head.class.is_alarm_family() { Lane::Alarm } else { Lane::Live },
        kind: RecordKind::Envelope,
        payload: Bytes::copy_from_slice(frame),
    }
}

pub(super) fn position() -> Position {
    Position {
        latitude_udeg: 51_507_400,
        longitude_udeg: -127_758,
        speed_cmps: Some(134),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    }
}

/// The position record `sim.pc-0001.3.{lsn}`.
pub(super) fn position_record(lsn: u64) -> Record {
    let mut buffer = [0; 64];
    let seq = u32::try_from(lsn).unwrap();
    record_of(lsn, head(Class::POSITION, seq), position().encode(&mut buffer).unwrap())
}

pub(super) fn alarm_record(lsn: u64) -> Record {
    let mut buffer = [0; 64];
    let alarm = Alarm {
        cause: AlarmCause::OFFICER_DOWN,
        silent: true,
        position: Some(position()),
        position_age_s: 4,
    };
    record_of(lsn, head(Class::ALARM, u32::try_from(lsn).unwrap()), alarm.encode(&mut buffer).unwrap())
}

pub(super) fn entry(record: &Record) -> (Lsn, Bytes) {
    let mut bytes = BytesMut::new();
    record.encode(&mut bytes);
    (record.lsn, bytes.freeze())
}

/// Batches in memory; after the last one [`Source::wait`] waits for an alarm. The cursor is shared with the test.
#[derive(Default)]
pub(super) struct MemorySource {
    /// Of the live lane.
    pub(super) batches: VecDeque<Taken>,
    pub(super) alarms: Arc<Mutex<VecDeque<Taken>>>,
    pub(super) history: VecDeque<Taken>,
    /// Every place that a lane's cursor moved to.
    pub(super) cursor: Arc<Mutex<Vec<u64>>>,
    /// Alarms that the sink has, and whether there is room to note them.
    pub(super) confirmed: Arc<Mutex<Vec<String>>>,
    pub(super) is_full: bool,
    /// What the forwarder said of each call: events, whether the lane went on behind them, and how long it took.
    pub(super) took: Arc<Mutex<Vec<(usize, bool, Duration)>>>,
}

pub(super) fn taken(records: &[Record], through: u64) -> Taken {
    Taken {
        gaps: Vec::new(),
        entries: records.iter().map(entry).collect(),
        overtaken: vec![false; records.len()],
        through: Lsn(through),
        has_more: false,
    }
}

impl MemorySource {
    /// One batch of the position records of each range.
    pub(super) fn positions(ranges: &[std::ops::RangeInclusive<u64>]) -> Self {
        let batches = ranges
            .iter()
            .map(|range| taken(&range.clone().map(position_record).collect::<Vec<_>>(), *range.end()));
        Self { batches: batches.collect(), ..Self::default() }
    }

    pub(super) fn of(gaps: Vec<Gap>, records: &[Record], through: u64) -> Self {
        let taken = Taken { gaps, ..taken(records, through) };
        Self { batches: VecDeque::from([taken]), ..Self::default() }
    }
}

impl Source for MemorySource {
    async fn wait(&mut self) -> Result<(), SourceError> {
        let has_alarm = || !self.alarms.lock().unwrap().is_empty();
        while !has_alarm() && self.batches.is_empty() && self.history.is_empty() {
            // Of virtual time: the test may have an alarm more.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    async fn take(&mut self, lane: ForwardLane) -> Result<Option<Taken>, SourceError> {
        Ok(match lane {
            ForwardLane::Alarm => self.alarms.lock().unwrap().pop_front(),
            ForwardLane::Live => {
                self.batches.pop_front().map(|taken| Taken { has_more: !self.batches.is_empty(), ..taken })
            }
            ForwardLane::Backlog => self.history.pop_front(),
        })
    }

    fn overtake(&mut self) -> bool {
        false
    }

    async fn advance(&mut self, _lane: ForwardLane, through: Lsn) -> Result<(), SourceError> {
        self.cursor.lock().unwrap().push(through.0);
        Ok(())
    }

    fn pass(&mut self, _lane: ForwardLane, through: Lsn) {
        self.cursor.lock().unwrap().push(through.0);
    }

    async fn confirm(&mut self, _acceptance: &Acceptance, alarms: Vec<AlarmId>) -> Vec<AlarmId> {
        let taken = if self.is_full { 0 } else { alarms.len() };
        self.confirmed.lock().unwrap().extend(alarms[..taken].iter().map(ToString::to_string));
        alarms[taken..].to_vec()
    }

    fn took(&mut self, count: usize, is_full: bool, took: Duration) {
        self.took.lock().unwrap().push((count, is_full, took));
    }

    fn lag_records_count(&self) -> u64 {
        self.batches.len() as u64
    }
}

/// What the sink does with one call.
pub(super) type Answer = Box<dyn FnMut(&mut [Event]) -> Result<(), SinkError> + Send>;

/// Answers as the test says; keeps the keys it accepted, in order.
pub(super) struct MemorySink {
    pub(super) answer: Answer,
    pub(super) accepted: Arc<Mutex<Vec<String>>>,
    pub(super) calls_count: Arc<Mutex<usize>>,
}

impl MemorySink {
    pub(super) fn new(answer: impl FnMut(&mut [Event]) -> Result<(), SinkError> + Send + 'static) -> Self {
        Self { answer: Box::new(answer), accepted: Arc::default(), calls_count: Arc::default() }
    }
}

impl Sink for MemorySink {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        *self.calls_count.lock().unwrap() += 1;
        let before: Vec<_> = events.iter().map(|event| event.state).collect();
        let result = (self.answer)(events);
        for (event, before) in events.iter().zip(before) {
            let is_new =
                before == EventState::Owed && (result.is_ok() || event.state == EventState::Accepted);
            if is_new {
                self.accepted.lock().unwrap().push(event.key.clone());
            }
        }
        result
    }
}
