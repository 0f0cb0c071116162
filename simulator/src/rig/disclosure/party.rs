//! Who is sent records, each in its own way: pushed over HTTP, as Cursor on Target or as NMEA, told as a TAK client that has
//! connected, fetched as a feed.

use std::{collections::HashMap, path::Path, time::Duration};

use super::{
    feed_client::FeedClient, location_server::LocationServer, received::Received, tak_client::TakClient,
    tak_server::TakServer,
};
use crate::rig::{
    RigError,
    gateway::Setup,
    sink::{HttpSink, Mood},
};

/// A way in which records leave the gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PartyKind {
    /// A force system over HTTP, which can refuse and hang.
    Webhook,
    /// A TAK server: what is passed over is not disclosed, so this output writes the log itself.
    Tak,
    /// A TAK client that connects to the gateway: told how things are, never what it missed. The output writes the log itself.
    TakClient,
    /// A location server over NMEA 0183: this output writes the log itself.
    Nmea,
    /// A machine that fetches the feed and keeps its own place.
    Feed,
}

/// One of them, running.
pub(super) enum Party {
    Webhook(HttpSink),
    Tak(TakServer),
    TakClient(TakClient),
    Nmea(LocationServer),
    Feed(FeedClient),
}

impl PartyKind {
    /// Its name on the disclosure log.
    pub(super) fn recipient(self) -> &'static str {
        match self {
            Self::Webhook => "cad",
            Self::Tak => "tak",
            Self::TakClient => "screen",
            Self::Nmea => "avl",
            Self::Feed => "machine.gis",
        }
    }
}

impl Party {
    /// Starts what must be there before the gateway's configuration is; `None`: a machine is made later, by
    /// [`Party::machine`].
    pub(super) async fn before_gateway(kind: PartyKind, dir: &Path) -> Result<Option<Self>, RigError> {
        Ok(match kind {
            PartyKind::Webhook => Some(Self::Webhook(HttpSink::start().await?)),
            PartyKind::Tak => Some(Self::Tak(TakServer::start(&dir.join("tak")).await?)),
            PartyKind::TakClient => Some(Self::TakClient(TakClient::start(&dir.join("screen"))?)),
            PartyKind::Nmea => Some(Self::Nmea(LocationServer::start().await?)),
            PartyKind::Feed => None,
        })
    }

    /// The gateway has made its folder: a machine can be added.
    pub(super) fn machine(binary: &Path, gateway: &Path, setup: &Setup) -> Result<Self, RigError> {
        let config = gateway.join("gateway.toml");
        FeedClient::start(binary, &config, "gis", &setup.control_room.to_string()).map(Self::Feed)
    }

    pub(super) fn kind(&self) -> PartyKind {
        match self {
            Self::Webhook(_) => PartyKind::Webhook,
            Self::Tak(_) => PartyKind::Tak,
            Self::TakClient(_) => PartyKind::TakClient,
            Self::Nmea(_) => PartyKind::Nmea,
            Self::Feed(_) => PartyKind::Feed,
        }
    }

    /// Its part of the gateway's configuration.
    pub(super) fn configuration(&self) -> String {
        let name = self.kind().recipient();
        match self {
            Self::Webhook(sink) => format!(
                "[[forward.webhook]]\nname = \"{name}\"\nurl = \"{}\"\nretry_delay_ms_min = 10\n\
                 retry_delay_ms_max = 100\n{}\n",
                sink.url(),
                fieldpost_gateway::config::RELEASE_ALL
            ),
            Self::Tak(server) => server.configuration(name),
            Self::TakClient(client) => client.configuration(name),
            Self::Nmea(server) => server.configuration(name),
            Self::Feed(_) => String::new(),
        }
    }

    /// Only what is asked over HTTP can answer in another mood.
    pub(super) fn be(&self, mood: Mood) {
        if let Self::Webhook(sink) = self {
            sink.be(mood);
        }
    }

    /// On how many connections it has been told something, if only that tells that it is there.
    pub(super) fn greeted_count(&self) -> Option<u64> {
        match self {
            Self::TakClient(client) => Some(client.greeted_count()),
            _ => None,
        }
    }

    /// Waits until it is there; `before` is what [`Party::greeted_count`] said before the gateway started.
    pub(super) async fn is_there(&self, before: Option<u64>, most: Duration) -> Result<(), RigError> {
        match (self, before) {
            (Self::TakClient(client), Some(before)) => client.is_greeted_again(before, most).await,
            _ => Ok(()),
        }
    }

    /// How often each record has come whole.
    pub(super) fn received(&self) -> HashMap<String, u32> {
        match self.counted() {
            Ok(received) => received.times(),
            Err(sink) => sink.received(),
        }
    }

    /// Waits until everything that was sent to it is counted.
    pub(super) async fn nobody_is_connected(&self, most: Duration) -> Result<(), RigError> {
        match self.counted() {
            Ok(received) => received.nobody_is_connected(most).await,
            Err(sink) => sink.nobody_is_connected(most).await,
        }
    }

    /// Waits until it has every one of `keys`; what is missing after `most` is the verdict's.
    pub(super) async fn has_all(&self, keys: &[String], most: Duration) {
        match self.counted() {
            Ok(received) => received.has_all(keys, most).await,
            Err(sink) => drop(sink.has_all(keys, most).await),
        }
    }

    /// What counts for it: HTTP has a sink of its own, which other rigs use too.
    fn counted(&self) -> Result<&Received, &HttpSink> {
        match self {
            Self::Webhook(sink) => Err(sink),
            Self::Tak(TakServer { received, .. })
            | Self::TakClient(TakClient { received, .. })
            | Self::Nmea(LocationServer { received, .. })
            | Self::Feed(FeedClient { received, .. }) => Ok(received),
        }
    }
}
