//! One device at work: the loop that `fieldpost_firmware::Device` asks of its caller, around a real connection.
//!
//! ```text
//!          source (1 s) --> device --Output--> connection --> gateway
//!   orders -->                ^                     |
//!                             '----Input------------'
//! ```

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use fieldpost_firmware::{FrameBuffer, Handle, Input, Notice, Output};
use fieldpost_protocol::{DeviceId, limits::FRAME_BYTES_MAX, topic};
use rustls::ClientConfig;
use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::{Instant, sleep_until},
};

use super::{
    Shared,
    connection::{Carrier, News, Sender, Ticket, begin},
    source::{SimDevice, Source, unix_ms},
};
use crate::{
    check::ledger::RecordId,
    world::{dice::Dice, unit::Order},
};

/// The longest the loop sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(60);

/// What an agent is told from outside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Instruction {
    /// Something happens in the story.
    Order(Order),
    /// No more readings: bring in what is owed.
    Drain,
    /// Hang up and end.
    Stop,
}

/// One device, ready to run.
pub(super) struct Agent {
    pub(super) number: usize,
    pub(super) id: DeviceId,
    pub(super) device: Box<SimDevice>,
    pub(super) source: Source,
    pub(super) tls: Arc<ClientConfig>,
    pub(super) dice: Dice,
    pub(super) starts_after: Duration,
}

/// Where the connection stands.
enum Link {
    /// None wanted, or the last one ended.
    Idle,
    /// The device asked for one; the network is not reached or it is not this device's turn yet.
    Wanted,
    /// Being made, or made.
    Open(Box<Open>),
}

struct Open {
    sender: Sender,
    /// Kept until the answer is there: bounds how many handshakes run at once.
    turn: Option<OwnedSemaphorePermit>,
    is_up: bool,
    sent: std::collections::HashMap<Ticket, (Handle, Vec<RecordId>)>,
}

struct Running {
    agent: Agent,
    shared: Shared,
    began: Instant,
    link: Link,
    carrier: Option<Box<Carrier>>,
    in_reach: bool,
    next_step: Option<Instant>,
    next_ticket: u64,
}

/// Runs until told to stop.
pub(super) async fn run(agent: Agent, shared: Shared, mut instructions: mpsc::Receiver<Instruction>) {
    tokio::time::sleep(agent.starts_after).await;
    let began = Instant::now();
    let mut running = Running {
        agent,
        shared,
        began,
        link: Link::Idle,
        carrier: None,
        in_reach: true,
        next_step: Some(began),
        next_ticket: 0,
    };
    loop {
        running.pump();
        running.report();
        match running.carrier.take() {
            None => {
                if !running.wait_idle(&mut instructions).await {
                    break;
                }
            }
            Some(carrier) => {
                if !running.carry(carrier, &mut instructions).await {
                    break;
                }
            }
        }
    }
    running.report();
    running.shared.progress.disconnected(running.agent.number);
}

impl Running {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Without a connection: until something is due or said. False to end.
    async fn wait_idle(&mut self, instructions: &mut mpsc::Receiver<Instruction>) -> bool {
        let due = self.due();
        let turns = Arc::clone(&self.shared.handshakes);
        let wants_turn = matches!(self.link, Link::Wanted) && self.in_reach;
        tokio::select! {
            instruction = instructions.recv() => self.obey(instruction),
            turn = turns.acquire_owned(), if wants_turn => {
                self.open(turn.ok());
                true
            }
            () = sleep_until(due) => {
                self.step_if_due();
                true
            }
        }
    }

    /// With a connection: until it ends. False to end the agent.
    async fn carry(
        &mut self,
        mut carrier: Box<Carrier>,
        instructions: &mut mpsc::Receiver<Instruction>,
    ) -> bool {
        loop {
            // One future until it is done: it is not cancel-safe.
            let news = {
                let next = carrier.next();
                tokio::pin!(next);
                loop {
                    let due = self.due();
                    tokio::select! {
                        news = &mut next => break news,
                        instruction = instructions.recv() => {
                            if !self.obey(instruction) {
                                return false;
                            }
                        }
                        () = sleep_until(due) => self.step_if_due(),
                    }
                    self.pump();
                    self.report();
                    if !matches!(self.link, Link::Open(_)) {
                        // Hung up or out of reach: the connection goes with its carrier.
                        return true;
                    }
                }
            };
            self.take(news);
            self.pump();
            self.report();
            if !matches!(self.link, Link::Open(_)) {
                return true;
            }
        }
    }

    fn due(&self) -> Instant {
        let poll_at = self.agent.device.poll_at().map(|at_ms| self.began + Duration::from_millis(at_ms));
        // A deadline that has passed has been polled already; waking for it again would spin.
        let poll_at = poll_at.map(|at| at.max(Instant::now() + Duration::from_millis(1)));
        [self.next_step, poll_at].into_iter().flatten().min().unwrap_or_else(|| Instant::now() + IDLE)
    }

    fn step_if_due(&mut self) {
        let now = Instant::now();
        let Some(next) = self.next_step.filter(|next| *next <= now) else { return };
        let now_ms = self.now_ms();
        let (after, in_reach) = self.agent.source.step(&mut self.agent.device, now_ms, unix_ms());
        self.next_step = after.map(|after| (next + after).max(now));
        if self.next_step.is_none() {
            self.shared.progress.source_ended(self.agent.number);
        }
        self.shared.progress.moved(self.agent.number, self.agent.source.place());
        if self.in_reach && !in_reach && !matches!(self.link, Link::Idle) {
            self.lose_connection();
        }
        self.in_reach = in_reach;
    }

    /// False if the agent is to end.
    fn obey(&mut self, instruction: Option<Instruction>) -> bool {
        match instruction {
            Some(Instruction::Order(order)) => self.agent.source.order(order),
            Some(Instruction::Drain) => {
                // One more second of the world with everybody in reach and on duty, then nothing new.
                self.agent.source.order(Order::AllInReach);
                let now_ms = self.now_ms();
                if self.next_step.take().is_some() && matches!(self.agent.source, Source::World { .. }) {
                    self.agent.source.step(&mut self.agent.device, now_ms, unix_ms());
                }
                self.in_reach = true;
                // What the last second issued is entered before anybody may believe that nothing is owed.
                self.report();
                self.shared.progress.draining(self.agent.number);
            }
            Some(Instruction::Stop) | None => {
                if let Link::Open(open) = &self.link {
                    // A refusal means that it is over already.
                    let _ = open.sender.hang_up();
                }
                return false;
            }
        }
        true
    }

    fn open(&mut self, turn: Option<OwnedSemaphorePermit>) {
        let (sender, carrier) =
            begin(self.agent.id.as_str(), &self.shared.front_door, Arc::clone(&self.agent.tls));
        let sent = std::collections::HashMap::new();
        self.link = Link::Open(Box::new(Open { sender, turn, is_up: false, sent }));
        self.carrier = Some(Box::new(carrier));
    }

    fn take(&mut self, news: News) {
        let now_ms = self.now_ms();
        let Link::Open(open) = &mut self.link else { return };
        match news {
            News::Up { session_present } => {
                open.turn = None;
                open.is_up = true;
                self.shared.progress.connected(self.agent.number);
                self.agent.device.handle(now_ms, Input::Connected { session_present });
            }
            News::Stored(ticket) => {
                if let Some((handle, records)) = open.sent.remove(&ticket) {
                    let now_us = self.shared.board.now_us();
                    self.shared.board.ledger().stored(&records, now_us);
                    self.agent.device.handle(now_ms, Input::Acknowledged(handle));
                }
            }
            News::Message(frame) => self.agent.device.handle(now_ms, Input::Downlink(&frame)),
            News::Down(reason) => {
                tracing::debug!(device = %self.agent.id, reason, "connection ended");
                self.shared.progress.noted_down(&reason);
                self.lose_connection();
            }
        }
    }

    fn lose_connection(&mut self) {
        let now_ms = self.now_ms();
        self.link = Link::Idle;
        self.shared.progress.disconnected(self.agent.number);
        self.agent.device.handle(now_ms, Input::Disconnected);
    }

    /// Carries out whatever the device asks for.
    fn pump(&mut self) {
        let mut frame: FrameBuffer = [0; FRAME_BYTES_MAX];
        loop {
            let now_ms = self.now_ms();
            let dice = &mut self.agent.dice;
            let mut random = || (dice.number() >> 32) as u32;
            let Some(output) = self.agent.device.poll(now_ms, &mut random, &mut frame) else { return };
            match output {
                Output::Connect => self.link = Link::Wanted,
                Output::HangUp(_) => {
                    self.link = Link::Idle;
                    self.shared.progress.disconnected(self.agent.number);
                }
                Output::Subscribe => {
                    if let Link::Open(open) = &self.link {
                        let refused = open.sender.subscribe(&topic::downlink(&self.agent.id)).is_err();
                        if refused {
                            self.lose_connection();
                        }
                    }
                }
                Output::Notice(notice) => self.note(&notice),
                Output::Publish { handle, lane, frame } => {
                    let ticket = Ticket(self.next_ticket);
                    self.next_ticket += 1;
                    let payload = Bytes::copy_from_slice(frame);
                    let now_us = self.shared.board.now_us();
                    let records =
                        self.shared.board.ledger().published(self.agent.number, lane, &payload, now_us);
                    let Link::Open(open) = &mut self.link else { return };
                    open.sent.insert(ticket, (handle, records));
                    let topic = topic::uplink(&self.agent.id, lane);
                    if open.sender.publish(ticket, &topic, payload).is_err() {
                        self.lose_connection();
                    }
                }
            }
        }
    }

    fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::AlarmRaised { alarm, cause, .. } => {
                self.shared.progress.alarm_raised(
                    self.agent.number,
                    *alarm,
                    *cause,
                    self.shared.board.now_us(),
                );
            }
            Notice::AlarmReceipt { alarm, receipt } => {
                self.shared.progress.alarm_receipt(
                    self.agent.number,
                    *alarm,
                    *receipt,
                    self.shared.board.now_us(),
                );
            }
            _ => {}
        }
    }

    /// Tells the ledger what the device has issued and still owes.
    fn report(&mut self) {
        let ledger = self.agent.device.ledger();
        let changed = self.shared.progress.outbox(self.agent.number, ledger.issued, ledger.owed);
        if changed {
            self.shared.board.ledger().issued(self.agent.number, ledger.boot.0, ledger.issued);
        }
    }
}
