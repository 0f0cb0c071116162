//! A force system that reads NATS JetStream: everything in the stream from the start of the run.

use async_nats::jetstream::{self, consumer::DeliverPolicy};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Delivery},
    file::not_an_event,
};

/// Name of the stream that simulated records go to.
pub const STREAM: &str = "FIELDPOST_SIM";

/// The stream cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot use NATS JetStream at {url}: {detail}; start nats-server with -js, or leave --nats out")]
pub struct JetStreamError {
    url: String,
    detail: String,
}

/// An ordered consumer over the whole stream, ready before the first record is published.
pub struct Consumer {
    messages: jetstream::consumer::pull::Ordered,
}

impl Consumer {
    /// Connects, empties the simulator's own stream of earlier runs and starts to read.
    ///
    /// # Errors
    /// [`JetStreamError`] if the server is not there or has no JetStream.
    pub async fn open(url: &str, subject_prefix: &str) -> Result<Self, JetStreamError> {
        let failed = |detail: String| JetStreamError { url: url.to_owned(), detail };
        let client = async_nats::connect(url).await.map_err(|error| failed(error.to_string()))?;
        let context = jetstream::new(client);
        let config = jetstream::stream::Config {
            name: STREAM.to_owned(),
            subjects: vec![format!("{subject_prefix}.>")],
            ..jetstream::stream::Config::default()
        };
        let stream = context.get_or_create_stream(config).await.map_err(|error| failed(error.to_string()))?;
        stream.purge().await.map_err(|error| failed(error.to_string()))?;
        let config = jetstream::consumer::pull::OrderedConfig {
            deliver_policy: DeliverPolicy::All,
            ..jetstream::consumer::pull::OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(|error| failed(error.to_string()))?;
        let messages = consumer.messages().await.map_err(|error| failed(error.to_string()))?;
        Ok(Self { messages })
    }

    /// Enters every message into the board until `stop`.
    pub async fn follow(mut self, board: &Board, sink: usize, stop: &CancellationToken) {
        loop {
            let message = tokio::select! {
                message = self.messages.next() => message,
                () = stop.cancelled() => return,
            };
            match message {
                Some(Ok(message)) => {
                    let event = serde_json::from_slice(&message.payload).ok();
                    let mut delivery = event.as_ref().and_then(Delivery::parse).unwrap_or_else(not_an_event);
                    // The key that JetStream itself deduplicates by is the one that counts here.
                    let header = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
                    delivery.key =
                        header.map_or_else(|| "(no Nats-Msg-Id)".to_owned(), |key| key.as_str().to_owned());
                    board.arrived(sink, &[delivery]);
                }
                Some(Err(error)) => tracing::warn!(%error, "JetStream consumer interrupted"),
                None => return,
            }
        }
    }
}
