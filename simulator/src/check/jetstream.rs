//! A force system that reads NATS JetStream: everything in the stream from the start of the run.

use std::time::Duration;

use async_nats::jetstream::{
    self,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use futures_util::StreamExt;
use tokio_util::sync::CancellationToken;

use super::{
    board::{Board, Delivery},
    file::not_an_event,
};

/// Name of the stream that simulated records go to.
pub const STREAM: &str = "FIELDPOST_SIM";

/// First token of every subject, apart from that of a real gateway.
pub const SUBJECT_PREFIX: &str = "fieldpost-sim";
/// How often a stream that the gateway has not made yet is looked for.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// The server cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot use NATS JetStream at {url}: {detail}; start nats-server with -js, or leave --nats out")]
pub struct JetStreamError {
    url: String,
    detail: String,
}

/// A connection to the server, before there is a stream.
pub struct JetStream {
    context: jetstream::Context,
}

impl JetStream {
    /// Connects and removes what an earlier run left in the simulator's own stream.
    ///
    /// # Errors
    /// [`JetStreamError`] if the server is not there or has no JetStream.
    pub async fn open(url: &str) -> Result<Self, JetStreamError> {
        let failed = |detail: String| JetStreamError { url: url.to_owned(), detail };
        let client = async_nats::connect(url).await.map_err(|error| failed(error.to_string()))?;
        let context = jetstream::new(client);
        context.query_account().await.map_err(|error| failed(error.to_string()))?;
        if context.get_stream(STREAM).await.is_ok() {
            context.delete_stream(STREAM).await.map_err(|error| failed(error.to_string()))?;
        }
        Ok(Self { context })
    }

    /// Waits until the gateway has made the stream, then enters every message into the board until `stop`.
    pub async fn follow(self, board: &Board, sink: usize, stop: &CancellationToken) {
        let Some(mut messages) = self.consume(stop).await else { return };
        loop {
            let message = tokio::select! {
                message = messages.next() => message,
                () = stop.cancelled() => return,
            };
            match message {
                Some(Ok(message)) => board.arrived(sink, &[delivery(&message)]),
                Some(Err(error)) => tracing::warn!(%error, "JetStream consumer interrupted"),
                None => return,
            }
        }
    }

    async fn consume(&self, stop: &CancellationToken) -> Option<jetstream::consumer::pull::Ordered> {
        loop {
            if let Ok(stream) = self.context.get_stream(STREAM).await {
                let config = OrderedConfig { deliver_policy: DeliverPolicy::All, ..OrderedConfig::default() };
                match stream.create_consumer(config).await {
                    Ok(consumer) => return consumer.messages().await.ok(),
                    Err(error) => tracing::warn!(%error, "cannot read the stream yet"),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = stop.cancelled() => return None,
            }
        }
    }
}

fn delivery(message: &jetstream::Message) -> Delivery {
    let event = serde_json::from_slice(&message.payload).ok();
    let mut delivery = event.as_ref().and_then(Delivery::parse).unwrap_or_else(not_an_event);
    // The key that JetStream itself deduplicates by is the one that counts here.
    let header = message.headers.as_ref().and_then(|headers| headers.get("Nats-Msg-Id"));
    delivery.key = header.map_or_else(|| "(no Nats-Msg-Id)".to_owned(), |key| key.as_str().to_owned());
    delivery
}
