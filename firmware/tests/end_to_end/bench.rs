//! A device on the bench: virtual time, a gateway that answers when told to, every frame kept.

use std::{collections::BTreeMap, vec::Vec};

use fieldpost_firmware::{
    ClockPolicy, Device, Fix, FrameBuffer, Handle, Input, Notice, Output, RamStorage, Settings, Storage,
};
use fieldpost_protocol::{
    Body, Class, Envelope, EventCode, FixSource, Head, Lane, Mode, Position, ReportReason, SensorEvent,
    limits::FRAME_BYTES_MAX,
};

pub(crate) type Ram = RamStorage<256>;

/// A frame as the gateway received it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Published {
    pub(crate) handle: Handle,
    pub(crate) lane: Lane,
    pub(crate) frame: Vec<u8>,
}

impl Published {
    pub(crate) fn head(&self) -> Head {
        Envelope::decode(&self.frame).unwrap().head
    }

    /// The records in the frame: sequence, device time, position if it has one.
    pub(crate) fn records(&self) -> Vec<(u32, u64, Option<Position>)> {
        let envelope = Envelope::decode(&self.frame).unwrap();
        let Head { seq, time_ms, .. } = envelope.head;
        match Body::decode(&envelope.head, envelope.body).unwrap() {
            Body::Position(position) => vec![(seq.0, time_ms, Some(position))],
            Body::Alarm(alarm) => vec![(seq.0, time_ms, alarm.position)],
            Body::PositionBatch(batch) => batch
                .map(|item| item.unwrap())
                .map(|item| (item.seq.0, item.time_ms, Some(item.position)))
                .collect(),
            _ => vec![(seq.0, time_ms, None)],
        }
    }

    pub(crate) fn class(&self) -> Class {
        self.head().class
    }
}

/// A device and what it did.
pub(crate) struct Bench<S> {
    pub(crate) device: Device<S>,
    pub(crate) now_ms: u64,
    pub(crate) random: u64,
    pub(crate) published: Vec<Published>,
    pub(crate) others: Vec<Output<'static>>,
    pub(crate) notices: Vec<Notice>,
    /// Every record the gateway STORED, by boot and sequence.
    pub(crate) stored: BTreeMap<(u32, u32), Class>,
}

impl Bench<Ram> {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_storage(settings, RamStorage::new())
    }
}

impl<S: Storage> Bench<S> {
    pub(crate) fn with_storage(settings: Settings, storage: S) -> Self {
        Self::of(Device::start(settings, storage).unwrap())
    }

    pub(crate) fn of(device: Device<S>) -> Self {
        Self {
            device,
            now_ms: 0,
            random: 1,
            published: Vec::new(),
            others: Vec::new(),
            notices: Vec::new(),
            stored: BTreeMap::new(),
        }
    }

    /// Polls until there is nothing to do, and returns what was published meanwhile.
    pub(crate) fn drain(&mut self) -> Vec<Published> {
        let from = self.published.len();
        let mut buffer: FrameBuffer = [0; FRAME_BYTES_MAX];
        let mut state = self.random;
        let mut random = || {
            // SplitMix64: neighbouring seeds give unrelated numbers.
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            (mixed >> 32) as u32
        };
        while let Some(output) = self.device.poll(self.now_ms, &mut random, &mut buffer) {
            match output {
                Output::Publish { handle, lane, frame } => {
                    self.published.push(Published { handle, lane, frame: frame.to_vec() });
                }
                Output::Notice(notice) => self.notices.push(notice),
                Output::Connect => self.others.push(Output::Connect),
                Output::Subscribe => self.others.push(Output::Subscribe),
                Output::HangUp(reason) => self.others.push(Output::HangUp(reason)),
            }
        }
        self.random = state;
        assert!(self.device.ledger().balances(), "{:?}", self.device.ledger());
        self.published[from..].to_vec()
    }

    /// Moves on to the next connection attempt and lets it succeed.
    pub(crate) fn connect(&mut self, session_present: bool) -> Vec<Published> {
        self.others.clear();
        let mut published = self.drain();
        while !self.others.contains(&Output::Connect) {
            self.now_ms = self.device.poll_at().unwrap().max(self.now_ms + 1);
            published.extend(self.drain());
        }
        self.device.handle(self.now_ms, Input::Connected { session_present });
        published.extend(self.drain());
        published
    }

    pub(crate) fn disconnect(&mut self) {
        self.device.handle(self.now_ms, Input::Disconnected);
    }

    /// The gateway STORED this frame.
    pub(crate) fn acknowledge(&mut self, published: &Published) {
        let head = published.head();
        for (seq, _, position) in published.records() {
            let class = if head.class == Class::POSITION_BATCH { Class::POSITION } else { head.class };
            assert!(class != Class::POSITION || position.is_some());
            self.stored.insert((head.boot.0, seq), class);
        }
        self.device.handle(self.now_ms, Input::Acknowledged(published.handle));
    }

    /// Answers everything until nothing is owed or nothing more comes; returns it in order.
    pub(crate) fn settle(&mut self, first: Vec<Published>) -> Vec<Published> {
        let mut all = Vec::new();
        let mut next = first;
        next.extend(self.drain());
        while !next.is_empty() {
            for published in &next {
                self.acknowledge(published);
            }
            all.append(&mut next);
            next = self.drain();
        }
        all
    }
}

/// 2026-06-01 12:00 UTC, when every bench starts.
pub(crate) const NOON_MS: u64 = 1_780_315_200_000;

/// A fix at the bench's time, `north_udeg` along a meridian.
pub(crate) fn fix(now_ms: u64, north_udeg: i32) -> Fix {
    let position = Position {
        latitude_udeg: 53_000_000 + north_udeg,
        longitude_udeg: -1_500_000,
        speed_cmps: Some(140),
        course_turn256: Some(0),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    Fix { unix_ms: NOON_MS + now_ms, position, satellites: 9 }
}

/// On duty, every fix reported.
pub(crate) fn every_fix() -> Settings {
    Settings { clock: ClockPolicy::DEVICE, ..Settings::replay(Mode::Test) }
}

impl<S: Storage> Bench<S> {
    /// A second passes and a fix arrives.
    pub(crate) fn walk(&mut self, seconds: u32) {
        for _ in 0..seconds {
            self.now_ms += 1000;
            let north_udeg = i32::try_from(self.now_ms / 1000).unwrap() * 13;
            self.device.on_fix(self.now_ms, &fix(self.now_ms, north_udeg));
        }
    }

    /// Lets time pass, polling whenever the device asks for it.
    pub(crate) fn wait(&mut self, ms: u64) -> Vec<Published> {
        let until_ms = self.now_ms + ms;
        let mut published = self.drain();
        while let Some(at_ms) = self.device.poll_at().filter(|at_ms| *at_ms <= until_ms) {
            assert!(at_ms > self.now_ms, "a drained device asks for time that has not come");
            self.now_ms = at_ms;
            published.extend(self.drain());
        }
        self.now_ms = until_ms;
        published
    }

    /// Lets time pass with a gateway that answers everything.
    pub(crate) fn stay(&mut self, ms: u64) -> Vec<Published> {
        let until_ms = self.now_ms + ms;
        let mut published = Vec::new();
        while self.now_ms < until_ms {
            let first = self.wait((until_ms - self.now_ms).min(10_000));
            published.extend(self.settle(first));
        }
        published
    }

    pub(crate) fn event(&mut self, code: EventCode) {
        self.device.on_event(self.now_ms, SensorEvent { code, index: 0, value: 0 });
    }

    /// A power cut: the storage is all that is left.
    pub(crate) fn restart(self, settings: Settings) -> Self {
        let stored = self.stored;
        let mut bench = Self::with_storage(settings, self.device.into_storage());
        bench.stored = stored;
        bench
    }
}

/// Sequences in the order of the frames.
pub(crate) fn seqs(published: &[Published]) -> Vec<u32> {
    published.iter().flat_map(|frame| frame.records().into_iter().map(|record| record.0)).collect()
}

/// Code and value of every sensor event.
pub(crate) fn events(published: &[Published]) -> Vec<(EventCode, i32)> {
    published
        .iter()
        .filter_map(|frame| {
            let envelope = Envelope::decode(&frame.frame).unwrap();
            match Body::decode(&envelope.head, envelope.body) {
                Ok(Body::SensorEvent(event)) => Some((event.code, event.value)),
                _ => None,
            }
        })
        .collect()
}
