//! Who is sent records, each in its own way: pushed over HTTP, pushed as Cursor on Target, fetched as a feed.

use std::{collections::HashMap, path::Path, time::Duration};

use super::{feed_client::FeedClient, tak_server::TakServer};
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
    /// A machine that fetches the feed and keeps its own place.
    Feed,
}

/// One of them, running.
pub(super) enum Party {
    Webhook(HttpSink),
    Tak(TakServer),
    Feed(FeedClient),
}

impl PartyKind {
    /// Its name on the disclosure log.
    pub(super) fn recipient(self) -> &'static str {
        match self {
            Self::Webhook => "cad",
            Self::Tak => "tak",
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
            Self::Feed(_) => String::new(),
        }
    }

    /// Only what is asked over HTTP can answer in another mood.
    pub(super) fn be(&self, mood: Mood) {
        if let Self::Webhook(sink) = self {
            sink.be(mood);
        }
    }

    /// How often each record has come whole.
    pub(super) fn received(&self) -> HashMap<String, u32> {
        match self {
            Self::Webhook(sink) => sink.received(),
            Self::Tak(TakServer { received, .. }) | Self::Feed(FeedClient { received, .. }) => {
                received.times()
            }
        }
    }

    /// Waits until everything that was sent to it is counted.
    pub(super) async fn nobody_is_connected(&self, most: Duration) -> Result<(), RigError> {
        match self {
            Self::Webhook(sink) => sink.nobody_is_connected(most).await,
            Self::Tak(TakServer { received, .. }) | Self::Feed(FeedClient { received, .. }) => {
                received.nobody_is_connected(most).await
            }
        }
    }

    /// Waits until it has every one of `keys`; what is missing after `most` is the verdict's.
    pub(super) async fn has_all(&self, keys: &[String], most: Duration) {
        match self {
            Self::Webhook(sink) => drop(sink.has_all(keys, most).await),
            Self::Tak(TakServer { received, .. }) | Self::Feed(FeedClient { received, .. }) => {
                received.has_all(keys, most).await;
            }
        }
    }
}
