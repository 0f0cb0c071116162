//! A device on the bench: virtual time, a gateway that answers when told to, every frame kept.

use std::{collections::BTreeMap, vec::Vec};

use fieldpost_firmware::{
    Device, FrameBuffer, Handle, Input, Notice, Output, RamStorage, Settings, storage::Storage,
};
use fieldpost_protocol::{Body, Class, Envelope, Head, Lane, Position, limits::FRAME_BYTES_MAX};

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
        Self {
            device: Device::start(settings, storage).unwrap(),
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
            // Knuth's MMIX generator: any will do here.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 32) as u32
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
