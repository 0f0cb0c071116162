//! The connection to the server, and what is known of its state.

use std::fmt::Display;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{
    Client, ConnectErrorKind, ConnectOptions, Event as LinkEvent, ReconnectToServer, Server, ServerError,
    Subscriber,
};
use tokio::sync::watch;

use super::super::{RetryReason, SinkError};
use super::{NatsSettings, stream};

/// How long one attempt to connect may take, greeting and TLS included.
const CONNECT_MS_MAX: u64 = 5_000;
/// The client notices a server that is gone without a word after two of these.
const PING_MS: u64 = 10_000;
/// How long a batch waits for the connection before the forwarder counts a failure and backs off.
const READY_MS_MAX: u64 = 2_000;

/// One client for the life of the sink; it reconnects by itself.
pub(super) struct Link {
    pub(super) client: Client,
    /// Acknowledgements come to `{inbox}.{lsn}`.
    pub(super) inbox: String,
    pub(super) acks: Subscriber,
    pub(super) broken: Broken,
    /// The stream was seen since the last doubt.
    pub(super) stream_is_checked: bool,
}

impl Link {
    /// `turn` counts through the servers, over every link.
    pub(super) async fn open(settings: &NatsSettings, turn: Arc<AtomicUsize>) -> Result<Self, SinkError> {
        let news = News::default();
        let broken = Broken { is_connected: news.is_connected.subscribe(), news: news.clone() };
        let client =
            options(settings, news, turn).await?.connect(servers(&settings.url)?).await.map_err(|error| {
                let reason = match error.kind() {
                    ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
                        RetryReason::Credentials
                    }
                    ConnectErrorKind::ServerParse | ConnectErrorKind::Tls => RetryReason::Misconfigured,
                    _ => RetryReason::Unreachable,
                };
                SinkError::retry(reason, error.to_string())
            })?;
        let inbox = client.new_inbox();
        let acks = client
            .subscribe(format!("{inbox}.*"))
            .await
            .map_err(|error| SinkError::retry(RetryReason::Failing, error.to_string()))?;
        Ok(Self { client, inbox, acks, broken, stream_is_checked: false })
    }

    /// Waits until the server is connected and the stream there.
    pub(super) async fn ready(&mut self, settings: &NatsSettings) -> Result<(), SinkError> {
        let limit = Duration::from_millis(READY_MS_MAX);
        let is_late = tokio::time::timeout(limit, self.broken.is_connected.wait_for(|is| *is)).await.is_err();
        if is_late || self.client.connection_state() != State::Connected {
            return Err(self.broken.error());
        }
        if !self.stream_is_checked {
            stream::ensure(&self.client, settings).await?;
            self.stream_is_checked = true;
        }
        Ok(())
    }

    /// Gives the connection up and begins a new one: what waits in the old one would come late and twice.
    pub(super) async fn reconnect(&self) {
        if self.client.force_reconnect().await.is_err() {
            tracing::debug!("the client is closed already");
        }
    }
}

/// Tells when the connection is lost, and why as far as the server said.
pub(super) struct Broken {
    is_connected: watch::Receiver<bool>,
    news: News,
}

impl Broken {
    /// Returns once the connection is lost. Cancel-safe.
    pub(super) async fn wait(&mut self) -> String {
        let _state_or_closed = self.is_connected.wait_for(|is| !*is).await;
        self.news.last("connection lost")
    }

    fn error(&self) -> SinkError {
        let detail = self.news.last("not connected");
        let reason = if detail.to_lowercase().contains("authorization") {
            RetryReason::Credentials
        } else {
            RetryReason::Unreachable
        };
        SinkError::retry(reason, detail)
    }
}

/// What the client library reports; logged when it changes, never per message or per try.
#[derive(Clone, Default)]
struct News {
    is_connected: watch::Sender<bool>,
    last: Arc<Mutex<Option<String>>>,
}

impl News {
    fn take(&self, event: &LinkEvent) {
        match event {
            LinkEvent::Connected => self.change(true, "connected to NATS"),
            LinkEvent::Disconnected | LinkEvent::Closed => self.change(false, "connection to NATS lost"),
            LinkEvent::ServerError(ServerError::AuthorizationViolation) => {
                self.error("authorization violation");
            }
            LinkEvent::ServerError(error) => self.error(error),
            LinkEvent::ClientError(error) => self.error(error),
            LinkEvent::LameDuckMode => tracing::info!("the NATS server is about to shut down"),
            LinkEvent::Draining | LinkEvent::SlowConsumer(_) => {}
        }
    }

    fn change(&self, is_connected: bool, text: &'static str) {
        if self.is_connected.send_replace(is_connected) != is_connected {
            tracing::info!("{text}");
        }
        if is_connected {
            *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    fn error(&self, error: impl Display) {
        let text = error.to_string();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref() != Some(&text) {
            tracing::warn!(error = text, "NATS");
            *last = Some(text);
        }
    }

    fn last(&self, otherwise: &str) -> String {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.clone().unwrap_or_else(|| otherwise.to_owned())
    }
}

async fn options(
    settings: &NatsSettings,
    news: News,
    turn: Arc<AtomicUsize>,
) -> Result<ConnectOptions, SinkError> {
    let options = match &settings.credentials {
        None => ConnectOptions::new(),
        Some(path) => ConnectOptions::with_credentials_file(path).await.map_err(|error| {
            let detail = format!("credentials file {}: {error}", path.display());
            SinkError::retry(RetryReason::Credentials, detail)
        })?,
    };
    let mut options = options
        .name("fieldpost")
        .connection_timeout(Duration::from_millis(CONNECT_MS_MAX))
        .request_timeout(Some(Duration::from_millis(CONNECT_MS_MAX)))
        .ping_interval(Duration::from_millis(PING_MS))
        .reconnect_to_server_callback(move |servers, _| std::future::ready(in_turn(&servers, &turn)))
        .event_callback(move |event| {
            news.take(&event);
            std::future::ready(())
        });
    if let Some(authority) = &settings.authority {
        options = options.add_root_certificates(authority.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &settings.client {
        options = options.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    Ok(options)
}

/// The servers of a cluster one after the other. By itself the library prefers whichever refused it least often, and so goes back
/// for ever to one that takes connections and is cut off from the rest of its cluster.
fn in_turn(servers: &[Server], turn: &AtomicUsize) -> Option<ReconnectToServer> {
    let place = turn.fetch_add(1, Ordering::Relaxed).checked_rem(servers.len())?;
    Some(ReconnectToServer { addr: servers[place].addr.clone(), delay: None })
}

fn servers(url: &str) -> Result<Vec<async_nats::ServerAddr>, SinkError> {
    url.split(',')
        .map(|server| server.trim().parse())
        .collect::<Result<_, _>>()
        .map_err(|error: std::io::Error| SinkError::retry(RetryReason::Misconfigured, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_of_a_cluster_has_its_turn_however_often_it_refused() {
        let server = |(name, failed_attempts): (&str, usize)| Server {
            addr: name.parse().unwrap(),
            failed_attempts,
            did_connect: true,
            is_discovered: false,
            last_error: None,
        };
        let servers = [("nats://a", 0), ("nats://b", 9), ("nats://c", 5)].map(server);
        let turn = AtomicUsize::new(0);
        let next = || in_turn(&servers, &turn).unwrap().addr.host().to_owned();
        assert_eq!([next(), next(), next(), next()], ["a", "b", "c", "a"]);
        assert!(in_turn(&[], &turn).is_none());
    }
}
