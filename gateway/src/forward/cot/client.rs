//! The task of one connection to a TAK server: connect, negotiate, write, tell alarms again, connect again.
//!
//! ```text
//! connect -> begin: newest of every unit, every alarm -> jobs, ticks, what the server says -> broken -> pause -> connect
//! ```
//!
//! Bounds: one job at a time; a server that offers protobuf and then does not answer costs
//! [`ANSWER_MS_MAX`] once, and is spoken XML from the next connection on. (The protocol asks a client to wait a minute. An
//! alarm cannot.)

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::parse::Heard;
use super::settings::TakSettings;
use super::sink::Job;
use super::split::Protocol;
use super::talk::{Due, End, Side, Talk};
use super::teller::Teller;
use super::{PING_MS, TICK_MS};
use crate::forward::{RetryReason, SinkError};

/// How long TCP and TLS may take together.
const CONNECT_MS_MAX: u64 = 5_000;
/// How long a server that offered protobuf may take to answer.
const ANSWER_MS_MAX: u64 = 5_000;
/// In TLS 1.3 a server looks at our certificate only when the handshake is over for us. So nothing counts as written before it
/// had this long to refuse it: two round trips of a bad mobile network.
const GRACE_MS: u64 = 500;
/// Pause before the next attempt to connect.
const PAUSE_MS: u64 = 1_000;

/// The task.
pub(super) struct Client {
    settings: TakSettings,
    tls: (Arc<ClientConfig>, ServerName<'static>),
    teller: Teller,
    jobs: mpsc::Receiver<Job>,
    stop: CancellationToken,
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

impl From<End> for Over {
    fn from(end: End) -> Self {
        Self::Broken(end.into())
    }
}

impl Client {
    pub(super) fn new(
        settings: TakSettings,
        tls: (Arc<ClientConfig>, ServerName<'static>),
        teller: Teller,
        jobs: mpsc::Receiver<Job>,
        stop: CancellationToken,
    ) -> Self {
        Self { settings, tls, teller, jobs, stop, is_mute: false, failure: None }
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
            tracing::warn!(forwarder = self.teller.name(), error = text, "no connection to the TAK server");
            self.failure = Some(text);
        }
    }

    /// Speaks with the server until the connection is over.
    async fn talk(&mut self, stream: TlsStream<TcpStream>) -> Over {
        tracing::info!(forwarder = self.teller.name(), "connected to the TAK server");
        self.failure = None;
        let mut talk = Talk::over(stream, Side::Server).in_style(self.settings.style);
        self.talk_until_over(&mut talk).await.unwrap_or_else(|over| over)
    }

    async fn talk_until_over(&mut self, talk: &mut Talk) -> Result<Over, Over> {
        let mut asked_at = None;
        self.say_hello(talk).await?;
        if let Ok(heard) = timeout(Duration::from_millis(GRACE_MS), talk.hear()).await {
            self.negotiate(talk, &heard?, &mut asked_at).await?;
        }
        let mut has_begun = false;
        let mut tick = interval(Duration::from_millis(TICK_MS));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ping = Due::every(PING_MS);
        loop {
            // Nothing may be sent until there is an answer.
            let is_asking = asked_at.is_some();
            if !is_asking && !has_begun {
                has_begun = true;
                self.teller.begin(talk).await?;
            }
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(Over::Stopped),
                heard = talk.hear() => self.negotiate(talk, &heard?, &mut asked_at).await?,
                _ = tick.tick() => {
                    self.give_up_asking(asked_at)?;
                    if !is_asking {
                        self.teller.tell_alarms(talk).await?;
                        if ping.is_now() {
                            talk.sign_of_life(&self.ping_uid(), "t-x-c-t", self.teller.now_ms()).await?;
                        }
                    }
                }
                job = self.jobs.recv(), if !is_asking => match job {
                    Some(job) => self.teller.work(talk, job).await?,
                    None => return Ok(Over::Stopped),
                },
                changed = self.teller.alarm_changed(), if !is_asking => match changed {
                    Some(()) => self.teller.tell_alarms(talk).await?,
                    None => return Ok(Over::Stopped),
                },
            }
        }
    }

    /// Asks for protobuf if it is offered, once; takes the answer.
    async fn negotiate(
        &self,
        talk: &mut Talk,
        heard: &Heard,
        asked_at: &mut Option<Instant>,
    ) -> Result<(), End> {
        let may_ask = self.settings.terms.takes_protobuf && !self.is_mute;
        let is_first = talk.protocol == Protocol::Xml && asked_at.is_none();
        match heard.kind.as_str() {
            "t-x-takp-v" if heard.offers.is_some_and(|version| version >= 1) && may_ask && is_first => {
                let detail = "<TakControl><TakRequest version=\"1\"/></TakControl>";
                talk.expects_answer();
                talk.say(&heard.uid, "t-x-takp-q", self.teller.now_ms(), detail).await?;
                *asked_at = Some(Instant::now());
            }
            "t-x-takp-r" if asked_at.take().is_some() && heard.grants == Some(true) => {
                talk.protocol = Protocol::Protobuf;
                tracing::info!(forwarder = self.teller.name(), "the TAK server takes protobuf");
            }
            _ => {}
        }
        Ok(())
    }

    fn give_up_asking(&mut self, asked_at: Option<Instant>) -> Result<(), End> {
        let limit = Duration::from_millis(ANSWER_MS_MAX);
        if asked_at.is_none_or(|asked| asked.elapsed() < limit) {
            return Ok(());
        }
        self.is_mute = true;
        Err(End::Mute)
    }

    /// Who we are: some servers route nothing to or from a client that has not said so.
    async fn say_hello(&self, talk: &mut Talk) -> Result<(), End> {
        let detail = "<contact callsign=\"Fieldpost gateway\"/><__group name=\"Cyan\" role=\"HQ\"/>";
        let uid = super::own_uid(self.teller.name());
        talk.say(&uid, "a-f-G-U-C-I", self.teller.now_ms(), detail).await
    }

    fn ping_uid(&self) -> String {
        super::own_uid(self.teller.name()) + "-ping"
    }
}
