//! Force systems to drain a backlog into: one that is far away, and two that are real.

use std::{path::PathBuf, sync::Arc, time::Duration};

use fieldpost_gateway::{
    forward::{
        ClockBounds, Event, Sink, SinkError,
        nats::{NatsSettings, NatsSink},
        postgres::{PostgresSettings, PostgresSink, RetentionSettings},
    },
    postgres::Server,
    retention::Periods,
    spool::BatchLimits,
};

use super::{RigError, nats::Nats, postgres::Cluster};

/// Which force system comes back.
#[derive(Debug, Clone)]
pub enum System {
    /// Takes everything, after so long for each batch.
    FarAway(Duration),
    /// A PostgreSQL server with PostGIS.
    Postgres,
    /// A nats-server with JetStream: its binary.
    Nats(PathBuf),
}

impl System {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::FarAway(_) => "far-away",
            Self::Postgres => "postgres",
            Self::Nats(_) => "nats",
        }
    }

    /// The batches of a forwarder to it, as they are by default.
    pub(super) fn limits(&self) -> BatchLimits {
        match self {
            Self::Postgres => BatchLimits { count_max: 5_000, bytes_max: 1 << 20, age_ms_max: 50 },
            _ => BatchLimits { count_max: 500, bytes_max: 256 << 10, age_ms_max: 50 },
        }
    }
}

/// It takes its time.
pub(super) struct FarAway(pub(super) Duration);

impl Sink for FarAway {
    fn kind(&self) -> &'static str {
        "far away"
    }

    async fn deliver(&mut self, _: &mut [Event]) -> Result<(), SinkError> {
        tokio::time::sleep(self.0).await;
        Ok(())
    }
}

/// A PostgreSQL server that lives as long as this.
pub(super) struct Postgres(Cluster);

impl Postgres {
    pub(super) fn start() -> Result<Self, RigError> {
        Cluster::start(&[]).map(Self).map_err(RigError::io("start PostgreSQL"))
    }

    pub(super) fn sink(&self) -> PostgresSink {
        PostgresSink::new(PostgresSettings {
            server: Server {
                url: self.0.url("postgres", "postgres"),
                schema: "fieldpost".to_owned(),
                password_file: None,
                authority: None,
                client: None,
            },
            clock: ClockBounds::default(),
            retention: RetentionSettings {
                periods: Periods::default(),
                holds: Arc::new(Vec::new),
                now_ms: Arc::new(|| 0),
            },
        })
    }

    /// Rows, and different keys among them.
    pub(super) fn stored(&self) -> Result<(u64, u64), RigError> {
        let rows = ["positions", "alarms", "events"]
            .map(|table| format!("SELECT force, device, boot, seq FROM fieldpost.{table}"));
        let sql = format!("SELECT count(*), count(DISTINCT r) FROM ({}) r", rows.join(" UNION ALL "));
        let said = self.0.sql("postgres", &sql).map_err(RigError::io("ask PostgreSQL"))?;
        let pair =
            said.split_once('|').and_then(|(rows, keys)| Some((rows.parse().ok()?, keys.parse().ok()?)));
        pair.ok_or_else(|| RigError::cannot("read PostgreSQL's count")(said))
    }
}

/// The sink of a nats-server.
pub(super) fn nats_sink(nats: &Nats) -> NatsSink {
    NatsSink::new(NatsSettings {
        url: nats.url(),
        stream: "FIELDPOST".to_owned(),
        subject_prefix: "fieldpost".to_owned(),
        credentials: None,
        authority: None,
        client: None,
        replicas: None,
        duplicate_window: None,
    })
}

/// Messages in its stream, which drops repetitions itself: each has a key of its own.
pub(super) async fn stored_by(nats: &Nats) -> Result<(u64, u64), RigError> {
    let client = async_nats::connect(nats.url()).await.map_err(RigError::cannot("reach nats-server"))?;
    let jetstream = async_nats::jetstream::new(client);
    let stream = jetstream.get_stream("FIELDPOST").await.map_err(RigError::cannot("find the stream"))?;
    let count = stream.cached_info().state.messages;
    Ok((count, count))
}
