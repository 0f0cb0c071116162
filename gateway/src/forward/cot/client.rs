//! The task of one connection to a TAK server: connect, negotiate, write, tell alarms again, connect again.
//!
//! ```text
//! connect -> begin: newest of every unit, every alarm -> jobs, ticks, what the server says -> broken -> pause -> connect
//! ```
//!
//! Bounds: one job at a time; a write has [`WRITE_MS_MAX`]; a server that offers protobuf and then does not answer costs
//! [`ANSWER_MS_MAX`] once, and is spoken XML from the next connection on. (The protocol asks a client to wait a minute. An
//! alarm cannot.)

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::message::Cot;
use super::parse::{self, Heard, Refused};
use super::picture::{Picture, Said};
use super::settings::TakSettings;
use super::sink::Job;
use super::split::{Protocol, Splitter};
use super::xml;
use super::{proto, scope};
use crate::forward::{RetryReason, SinkError};
use crate::live::standing::{Situation, StandingAlarm};
use crate::spool::Clock;

/// How long TCP and TLS may take together.
const CONNECT_MS_MAX: u64 = 5_000;
/// How long one write may take: a server that takes nothing for so long is gone.
const WRITE_MS_MAX: u64 = 5_000;
/// How long a server that offered protobuf may take to answer.
const ANSWER_MS_MAX: u64 = 5_000;
/// In TLS 1.3 a server looks at our certificate only when the handshake is over for us. So nothing counts as written before it
/// had this long to refuse it: two round trips of a bad mobile network.
const GRACE_MS: u64 = 500;
/// Pause before the next attempt to connect.
const PAUSE_MS: u64 = 1_000;
/// How often alarms are looked at beside their own changes.
const TICK_MS: u64 = 500;
/// A ping keeps what is between us and the server from forgetting the connection.
const PING_MS: u64 = 20_000;
/// Stale time of an event of the connection itself.
const CONTROL_STALE_MS: u64 = 60_000;
/// Encoded bytes gathered before a write: a few hundred events.
const WRITE_BYTES: usize = 128 * 1024;
/// What is read at once.
const READ_BYTES: usize = 16 * 1024;

/// The task.
pub(super) struct Client {
    settings: TakSettings,
    tls: (Arc<ClientConfig>, ServerName<'static>),
    situation: Arc<dyn Situation>,
    clock: Clock,
    jobs: mpsc::Receiver<Job>,
    stop: CancellationToken,
    picture: Picture,
    changes: watch::Receiver<u64>,
    /// What is released of the alarms as they were when `changes` was looked at.
    alarms: Vec<StandingAlarm>,
    /// It offered protobuf and did not answer.
    is_mute: bool,
    /// What the last failure was, so that each is logged once.
    failure: Option<String>,
}

/// Why a connection is over.
enum Over {
    Stopped,
    Broken(SinkError),
}

impl From<SinkError> for Over {
    fn from(error: SinkError) -> Self {
        Self::Broken(error)
    }
}

impl Client {
    pub(super) fn new(
        settings: TakSettings,
        tls: (Arc<ClientConfig>, ServerName<'static>),
        situation: Arc<dyn Situation>,
        clock: Clock,
        jobs: mpsc::Receiver<Job>,
        stop: CancellationToken,
    ) -> Self {
        let mut changes = situation.changes();
        changes.mark_changed();
        let picture = Picture::new(settings.spans);
        Self {
            settings,
            tls,
            situation,
            clock,
            jobs,
            stop,
            picture,
            changes,
            alarms: Vec::new(),
            is_mute: false,
            failure: None,
        }
    }

    /// Runs until the sink is gone.
    pub(super) async fn run(mut self) {
        let stop = self.stop.clone();
        loop {
            let over = tokio::select! {
                biased;
                () = stop.cancelled() => return,
                connected = self.connect() => match connected {
                    Ok(stream) => self.talk(stream).await,
                    Err(error) => Over::Broken(error),
                },
            };
            let Over::Broken(error) = over else { return };
            self.note_failure(&error);
            if self.pause(&error).await.is_err() {
                return;
            }
        }
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, SinkError> {
        let unreachable =
            |detail: String| SinkError::Retry { reason: RetryReason::Unreachable, detail, after_ms: None };
        let connecting = async {
            let address = (self.settings.host.trim_matches(['[', ']']), self.settings.port);
            let tcp = TcpStream::connect(address).await.map_err(|error| unreachable(error.to_string()))?;
            // An alarm does not wait for a full segment.
            tcp.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
            let (config, name) = &self.tls;
            let connector = TlsConnector::from(Arc::clone(config));
            // Of a certificate that is wrong on either side: no time heals it, but a renewal does.
            connector
                .connect(name.clone(), tcp)
                .await
                .map_err(|error| SinkError::retry(RetryReason::Credentials, format!("TLS: {error}")))
        };
        let late = || unreachable(format!("not connected within {CONNECT_MS_MAX} ms"));
        timeout(Duration::from_millis(CONNECT_MS_MAX), connecting).await.unwrap_or_else(|_| Err(late()))
    }

    /// Jobs that come now learn at once that there is no connection: the forwarder has a backoff of its own.
    async fn pause(&mut self, error: &SinkError) -> Result<(), ()> {
        let until = sleep(Duration::from_millis(PAUSE_MS));
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(()),
                () = &mut until => return Ok(()),
                job = self.jobs.recv() => match job {
                    // Nobody waits any more if the forwarder was stopped in between.
                    Some(job) => drop(job.done.send(Err(error.clone()))),
                    None => return Err(()),
                },
            }
        }
    }

    fn note_failure(&mut self, error: &SinkError) {
        let text = error.to_string();
        if self.failure.as_ref() != Some(&text) {
            tracing::warn!(forwarder = self.settings.name, error = text, "no connection to the TAK server");
            self.failure = Some(text);
        }
    }

    /// Speaks with the server until the connection is over.
    async fn talk(&mut self, stream: TlsStream<TcpStream>) -> Over {
        tracing::info!(forwarder = self.settings.name, "connected to the TAK server");
        self.failure = None;
        let (reading, writing) = tokio::io::split(stream);
        // Control messages only; a server that sends more of them than are handled waits.
        let (told, heard) = mpsc::channel(16);
        let has_asked = Arc::new(AtomicBool::new(false));
        let reader = tokio::spawn(read(reading, told, Arc::clone(&has_asked)));
        let mut talk = Talk { writing, heard, protocol: Protocol::Xml, asked_at: None, has_asked };
        let over = self.talk_until_over(&mut talk).await;
        reader.abort();
        over.unwrap_or_else(|over| over)
    }

    async fn talk_until_over(&mut self, talk: &mut Talk) -> Result<Over, Over> {
        talk.say(&self.hello()).await?;
        if let Ok(heard) = timeout(Duration::from_millis(GRACE_MS), talk.heard.recv()).await {
            self.hear(talk, heard).await?;
        }
        let mut has_begun = false;
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pinged = Instant::now();
        loop {
            let is_asking = talk.asked_at.is_some();
            if !is_asking && !has_begun {
                has_begun = true;
                let everything = self.picture.begin(self.clock.now_ms());
                self.write_again(talk, &everything).await?;
                self.tell_alarms(talk).await?;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Over::Stopped),
                heard = talk.heard.recv() => self.hear(talk, heard).await?,
                _ = tick.tick() => {
                    self.give_up_asking(talk)?;
                    if !is_asking {
                        self.tell_alarms(talk).await?;
                        if pinged.elapsed() >= Duration::from_millis(PING_MS) {
                            pinged = Instant::now();
                            talk.ping(&self.own_uid(), self.clock.now_ms()).await?;
                        }
                    }
                }
                job = self.jobs.recv(), if !is_asking => match job {
                    Some(job) => self.work(talk, job).await?,
                    None => return Ok(Over::Stopped),
                },
                changed = self.changes.changed(), if !is_asking => match changed {
                    Ok(()) => {
                        // Waiting for it has marked it as seen.
                        self.changes.mark_changed();
                        self.tell_alarms(talk).await?;
                    }
                    Err(_) => return Ok(Over::Stopped),
                },
            }
        }
    }

    /// Writes a batch, and tells who waits.
    async fn work(&mut self, talk: &mut Talk, job: Job) -> Result<(), Over> {
        let now_ms = self.clock.now_ms();
        self.look_at_alarms();
        let cots = job.said.iter().flat_map(|said| self.say(said, now_ms)).collect::<Vec<_>>();
        // The batch is on the disclosure log; what the picture adds to it is not.
        let batch: BTreeSet<String> = job.said.iter().map(|said| said.key.clone()).collect();
        let written = match self.disclose(&cots, |key| !batch.contains(key)).await {
            Ok(()) => talk.write(&cots).await,
            refused => refused,
        };
        let told = written.as_ref().map_or_else(|error| Err(error.clone()), |()| Ok(()));
        drop(job.done.send(told));
        Ok(written?)
    }

    fn say(&mut self, said: &Said, now_ms: u64) -> Vec<Cot> {
        let unit = said.unit();
        let mut name = self.situation.name(&unit, now_ms);
        if !said.has_name {
            name.callsign = Arc::from(unit.device.as_str());
        }
        self.picture.take(said, &name, &self.alarms, now_ms)
    }

    /// Takes the book's alarms if they have changed: it can hold thousands.
    fn look_at_alarms(&mut self) {
        if self.changes.has_changed().unwrap_or(false) {
            self.changes.borrow_and_update();
            let release = &self.settings.release;
            let alarms = self.situation.alarms();
            self.alarms = alarms.iter().filter_map(|alarm| scope::alarm(release, alarm)).collect();
        }
    }

    async fn tell_alarms(&mut self, talk: &mut Talk) -> Result<(), SinkError> {
        self.look_at_alarms();
        let due = self.picture.due(&self.alarms, self.clock.now_ms());
        if due.is_empty() { Ok(()) } else { self.write_again(talk, &due).await }
    }

    /// Writes what no batch of the forwarder has: its disclosure is durable first.
    async fn write_again(&self, talk: &mut Talk, cots: &[Cot]) -> Result<(), SinkError> {
        self.disclose(cots, |_| true).await?;
        talk.write(cots).await
    }

    async fn disclose(&self, cots: &[Cot], is_owed: impl Fn(&str) -> bool) -> Result<(), SinkError> {
        let keys: BTreeSet<&str> =
            cots.iter().map(|cot| cot.key.as_str()).filter(|key| is_owed(key)).collect();
        let keys: Vec<&str> = keys.into_iter().collect();
        let logged = self.settings.recipient.disclose_keys(self.clock.now_ms(), &keys).await;
        logged.map_err(|error| SinkError::retry(RetryReason::Storage, error.to_string()))
    }

    async fn hear(&mut self, talk: &mut Talk, heard: Option<Result<Heard, SinkError>>) -> Result<(), Over> {
        let broken = || SinkError::retry(RetryReason::Interrupted, "the connection broke");
        let heard = heard.unwrap_or_else(|| Err(broken()))?;
        let now_ms = self.clock.now_ms();
        match heard.kind.as_str() {
            "t-x-takp-v" if heard.offers.is_some_and(|version| version >= 1) && self.may_ask(talk) => {
                let detail = "<TakControl><TakRequest version=\"1\"/></TakControl>";
                let stale_ms = now_ms.saturating_add(CONTROL_STALE_MS);
                talk.has_asked.store(true, Ordering::Release);
                talk.say(&xml::control(&heard.uid, "t-x-takp-q", now_ms, stale_ms, detail)).await?;
                talk.asked_at = Some(Instant::now());
            }
            "t-x-takp-r" if talk.asked_at.take().is_some() && heard.grants == Some(true) => {
                talk.protocol = Protocol::Protobuf;
                tracing::info!(forwarder = self.settings.name, "the TAK server takes protobuf");
            }
            _ => {}
        }
        Ok(())
    }

    fn may_ask(&self, talk: &Talk) -> bool {
        let is_first = talk.protocol == Protocol::Xml && talk.asked_at.is_none();
        self.settings.takes_protobuf && !self.is_mute && is_first
    }

    fn give_up_asking(&mut self, talk: &Talk) -> Result<(), SinkError> {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        if talk.asked_at.is_none_or(|asked| asked.elapsed() < limit) {
            return Ok(());
        }
        self.is_mute = true;
        let detail = "it offered protobuf and did not answer: XML from now on";
        Err(SinkError::retry(RetryReason::Failing, detail))
    }

    fn own_uid(&self) -> String {
        format!("fieldpost.gateway.{}", self.settings.name)
    }

    /// Who we are: some servers route nothing to or from a client that has not said so.
    fn hello(&self) -> String {
        let now_ms = self.clock.now_ms();
        let detail = "<contact callsign=\"Fieldpost gateway\"/><__group name=\"Cyan\" role=\"HQ\"/>";
        xml::control(&self.own_uid(), "a-f-G-U-C-I", now_ms, now_ms.saturating_add(CONTROL_STALE_MS), detail)
    }
}

/// One connection.
struct Talk {
    writing: WriteHalf<TlsStream<TcpStream>>,
    heard: mpsc::Receiver<Result<Heard, SinkError>>,
    protocol: Protocol,
    /// When protobuf was asked for; nothing may be sent until there is an answer.
    asked_at: Option<Instant>,
    /// Protobuf was asked for in this connection: only then can an answer to it be one.
    has_asked: Arc<AtomicBool>,
}

impl Talk {
    async fn write(&mut self, cots: &[Cot]) -> Result<(), SinkError> {
        let mut buffer = Vec::with_capacity(WRITE_BYTES);
        for cot in cots {
            match self.protocol {
                Protocol::Xml => {
                    let mut text = String::with_capacity(1024);
                    xml::write(&mut text, cot);
                    buffer.extend_from_slice(text.as_bytes());
                }
                Protocol::Protobuf => proto::write_frame(&mut buffer, cot),
            }
            if buffer.len() >= WRITE_BYTES {
                self.put(&buffer).await?;
                buffer.clear();
            }
        }
        self.put(&buffer).await
    }

    async fn say(&mut self, text: &str) -> Result<(), SinkError> {
        self.put(text.as_bytes()).await
    }

    /// In protobuf a list of the versions that we read says as much.
    async fn ping(&mut self, uid: &str, now_ms: u64) -> Result<(), SinkError> {
        match self.protocol {
            Protocol::Xml => {
                let stale_ms = now_ms.saturating_add(CONTROL_STALE_MS);
                self.say(&xml::control(&format!("{uid}-ping"), "t-x-c-t", now_ms, stale_ms, "")).await
            }
            Protocol::Protobuf => self.put(&proto::versions_frame()).await,
        }
    }

    /// Cancelled, part of the bytes may have been written: the connection must not be used again.
    async fn put(&mut self, bytes: &[u8]) -> Result<(), SinkError> {
        let writing = async {
            self.writing.write_all(bytes).await?;
            self.writing.flush().await
        };
        match timeout(Duration::from_millis(WRITE_MS_MAX), writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(SinkError::retry(RetryReason::Interrupted, error.to_string())),
            Err(_) => {
                let detail = format!("it took nothing for {WRITE_MS_MAX} ms");
                Err(SinkError::retry(RetryReason::Timeout, detail))
            }
        }
    }
}

/// Reads until the connection is over; passes on what concerns the connection itself.
async fn read(
    mut reading: ReadHalf<TlsStream<TcpStream>>,
    told: mpsc::Sender<Result<Heard, SinkError>>,
    has_asked: Arc<AtomicBool>,
) {
    let why = read_until_over(&mut reading, &told, &has_asked).await;
    // Nobody listens any more if the connection is over already.
    drop(told.send(Err(why)).await);
}

async fn read_until_over(
    reading: &mut ReadHalf<TlsStream<TcpStream>>,
    told: &mpsc::Sender<Result<Heard, SinkError>>,
    has_asked: &AtomicBool,
) -> SinkError {
    let interrupted = |detail: String| SinkError::retry(RetryReason::Interrupted, detail);
    let mut splitter = Splitter::default();
    let mut bytes = vec![0; READ_BYTES];
    loop {
        match reading.read(&mut bytes).await {
            Ok(0) => return interrupted("the server closed the connection".to_owned()),
            Ok(count) => splitter.push(&bytes[..count]),
            Err(error) => return interrupted(error.to_string()),
        }
        loop {
            match splitter.next() {
                Ok(Some(event)) => {
                    let Some(heard) = control(&mut splitter, &event, has_asked) else { continue };
                    if told.send(Ok(heard)).await.is_err() {
                        return interrupted("nobody listens".to_owned());
                    }
                }
                Ok(None) => break,
                // Where the next event begins is not known any more.
                Err(refused) => return interrupted(format!("what the server sends is not TAK: {refused}")),
            }
        }
    }
}

/// What concerns the connection itself; everything else, and what is refused, is let go.
fn control(splitter: &mut Splitter, event: &[u8], has_asked: &AtomicBool) -> Option<Heard> {
    let heard = match splitter.protocol {
        Protocol::Xml => parse::event(event).map(Some),
        Protocol::Protobuf => proto::message(event),
    };
    let heard = match heard {
        Ok(heard) => heard?,
        Err(refused) => return note_refused(refused),
    };
    let is_answer = heard.kind == "t-x-takp-r" && has_asked.load(Ordering::Acquire);
    if is_answer && heard.grants == Some(true) {
        // From the next byte on.
        splitter.protocol = Protocol::Protobuf;
    }
    heard.kind.starts_with("t-x-takp-").then_some(heard)
}

fn note_refused(refused: Refused) -> Option<Heard> {
    tracing::debug!(%refused, "an event of the TAK server was not read");
    None
}
