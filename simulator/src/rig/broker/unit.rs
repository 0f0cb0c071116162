//! A device behind the broker: the device logic, a real connection, and no idea what is on the other side.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fieldpost_firmware::{
    Device, Fix, FrameBuffer, Handle, Input, Notice, Output, RamStorage, Settings, UplinkSettings,
};
use fieldpost_protocol::{
    BootId, DeviceId, EnvelopeKey, FixSource, Mode, Position, Receipt, ReportReason, limits::FRAME_BYTES_MAX,
    topic,
};
use rustls::ClientConfig;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, sleep_until},
};

use crate::fleet::connection::{FrontDoor, News, Sender, Ticket, begin};
use crate::fleet::source::unix_ms;

/// Records it can owe: what comes while half of that waits is not issued, so none is ever evicted.
const OUTBOX_COUNT: usize = 512;
/// From fix to fix, at least and at most: in step, the broker's turns would bring each device to one gateway for ever.
const FIX_MS: std::ops::Range<u64> = 10..30;
/// An alarm comes with every so many fixes.
const ALARM_EVERY: u64 = 250;

const FIRST_ALARM: u64 = 30;

/// What the units are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Send.
    Load,
    /// Nothing new: bring in what is owed.
    Drain,
    /// End.
    Stop,
}

/// What a unit says of itself whenever that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Standing {
    pub(super) issued: u32,
    pub(super) owed: u32,
    pub(super) stored: u32,
    pub(super) lost: u32,
    /// Downlink frames it did not believe.
    pub(super) refused: u32,
    /// Alarms of which it was told DELIVERED.
    pub(super) delivered: u32,
    /// PUBACKs of the broker: what it was asked before, to hear the downlink, it has done.
    pub(super) taken: u32,
}

/// One device.
pub(super) struct Unit {
    pub(super) id: DeviceId,
    pub(super) key: EnvelopeKey,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) broker: FrontDoor,
    pub(super) phase: watch::Receiver<Phase>,
    pub(super) standing: watch::Sender<Standing>,
}

struct Open {
    sender: Sender,
    news: mpsc::Receiver<News>,
    carrier: JoinHandle<()>,
    sent: Vec<(Ticket, Handle)>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.carrier.abort();
    }
}

struct Running {
    unit: Unit,
    device: Box<Device<RamStorage<OUTBOX_COUNT>>>,
    began: Instant,
    link: Option<Open>,
    fixes: u64,
    next_fix: Instant,
    next_ticket: u64,
    taken: u32,
    delivered: u32,
    state: u64,
}

impl Unit {
    /// Works until told to stop.
    pub(super) async fn run(self) {
        let settings = Settings::replay(Mode::Test).behind_broker(self.key);
        // The rig's faults are seconds apart: the device logic's patience is cut to that scale.
        let uplink = UplinkSettings {
            answer_ms_max: 2_000,
            backoff_base_ms: 50,
            backoff_cap_ms: 500,
            ..settings.uplink
        };
        let storage = RamStorage::after_boot(BootId(0));
        let device = Device::start(Settings { uplink, ..settings }, storage);
        let device = Box::new(device.expect("512 entries are enough for an outbox"));
        let now = Instant::now();
        let mut running = Running {
            unit: self,
            device,
            began: now,
            link: None,
            fixes: 0,
            next_fix: now,
            next_ticket: 0,
            taken: 0,
            delivered: 0,
            state: 0,
        };
        running.state = running
            .unit
            .id
            .as_str()
            .bytes()
            .fold(unix_ms(), |state: u64, byte| state.wrapping_mul(31) + u64::from(byte));
        while *running.unit.phase.borrow() != Phase::Stop {
            running.pump();
            running.report();
            running.wait().await;
        }
    }
}

impl Running {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn wait(&mut self) {
        let due = self.device.poll_at().map(|at| self.began + Duration::from_millis(at));
        let due = due.map(|at| at.max(Instant::now() + Duration::from_millis(1)));
        let is_loaded = *self.unit.phase.borrow() == Phase::Load;
        let next_fix = is_loaded.then_some(self.next_fix);
        let until = [due, next_fix].into_iter().flatten().min();
        let until = until.unwrap_or_else(|| Instant::now() + Duration::from_secs(1));
        let news = async {
            match &mut self.link {
                Some(open) => open.news.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            news = news => self.take(news),
            () = sleep_until(until) => if is_loaded && self.next_fix <= Instant::now() { self.fix(); },
            _ = self.unit.phase.changed() => {}
        }
    }

    fn take(&mut self, news: Option<News>) {
        let now_ms = self.now_ms();
        match news {
            Some(News::Up { session_present }) => {
                self.device.handle(now_ms, Input::Connected { session_present });
            }
            Some(News::Stored(ticket)) => {
                self.taken += 1;
                let Some(open) = &mut self.link else { return };
                if let Some(at) = open.sent.iter().position(|(sent, _)| *sent == ticket) {
                    let (_, handle) = open.sent.swap_remove(at);
                    self.device.handle(now_ms, Input::Acknowledged(handle));
                }
            }
            Some(News::Message(frame)) => self.device.handle(now_ms, Input::Downlink(&frame)),
            Some(News::Down(_)) | None => {
                self.link = None;
                self.device.handle(now_ms, Input::Disconnected);
            }
        }
    }

    fn fix(&mut self) {
        let gap_ms = FIX_MS.start + u64::from(next(&mut self.state)) % (FIX_MS.end - FIX_MS.start);
        self.next_fix = Instant::now() + Duration::from_millis(gap_ms);
        let now_ms = self.now_ms();
        if self.device.ledger().owed > 200 {
            return;
        }
        self.fixes += 1;
        let north = i32::try_from(self.fixes % 100_000).unwrap_or(0);
        let position = Position {
            latitude_udeg: 53_000_000 + north * 10,
            longitude_udeg: -1_500_000,
            speed_cmps: Some(140),
            course_turn256: Some(0),
            accuracy_m: 5,
            source: FixSource::GNSS,
            reason: ReportReason::INTERVAL,
        };
        self.device.on_fix(now_ms, &Fix { unix_ms: unix_ms(), position, satellites: 9 });
        if self.fixes % ALARM_EVERY == FIRST_ALARM {
            self.device.on_button(now_ms, false);
        }
    }

    /// Carries out whatever the device asks for.
    fn pump(&mut self) {
        let mut frame: FrameBuffer = [0; FRAME_BYTES_MAX];
        loop {
            let now_ms = self.now_ms();
            let state = &mut self.state;
            let mut random = || next(state);
            let Some(output) = self.device.poll(now_ms, &mut random, &mut frame) else { return };
            let is_alive = match output {
                Output::Connect => {
                    self.link = Some(open(&self.unit));
                    true
                }
                Output::HangUp(_) => {
                    self.link = None;
                    true
                }
                Output::Subscribe => self
                    .link
                    .as_ref()
                    .is_none_or(|open| open.sender.subscribe(&topic::downlink(&self.unit.id)).is_ok()),
                Output::Publish { handle, lane, frame } => {
                    let ticket = Ticket(self.next_ticket);
                    self.next_ticket += 1;
                    let topic = topic::uplink(&self.unit.id, lane);
                    self.link.as_mut().is_none_or(|open| {
                        open.sent.push((ticket, handle));
                        open.sender.publish(ticket, &topic, Bytes::copy_from_slice(frame)).is_ok()
                    })
                }
                Output::Notice(notice) => {
                    let is_delivered =
                        matches!(notice, Notice::AlarmReceipt { receipt: Receipt::Delivered, .. });
                    self.delivered += u32::from(is_delivered);
                    true
                }
            };
            if !is_alive {
                self.link = None;
                self.device.handle(now_ms, Input::Disconnected);
            }
        }
    }

    fn report(&self) {
        let ledger = self.device.ledger();
        let standing = Standing {
            issued: ledger.issued,
            owed: ledger.owed,
            stored: ledger.stored,
            lost: ledger.lost,
            refused: self.device.counters().downlinks_malformed,
            delivered: self.delivered,
            taken: self.taken,
        };
        self.unit.standing.send_if_modified(|before| std::mem::replace(before, standing) != standing);
    }
}

fn next(state: &mut u64) -> u32 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 32) as u32
}

fn open(unit: &Unit) -> Open {
    let (sender, mut carrier) = begin(unit.id.as_str(), &unit.broker, Arc::clone(&unit.tls));
    // The window is eight, and receipts are few: the carrier never waits for long.
    let (told, news) = mpsc::channel(64);
    let carrier = tokio::spawn(async move {
        loop {
            let heard = carrier.next().await;
            let is_over = matches!(heard, News::Down(_));
            if told.send(heard).await.is_err() || is_over {
                return;
            }
        }
    });
    Open { sender, news, carrier, sent: Vec::new() }
}
