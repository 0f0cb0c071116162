//! A machine's connection as a sink.

use std::future::pending;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::sync::mpsc;

use super::geojson;
use crate::forward::event::{Event, EventState};
use crate::forward::{Sink, SinkError};
use crate::live::standing::Situation;

/// Writes events to the connection, as fast as it takes them.
pub(super) struct FeedSink {
    messages: mpsc::Sender<Bytes>,
    situation: Arc<dyn Situation>,
}

impl FeedSink {
    pub(super) fn new(messages: mpsc::Sender<Bytes>, situation: Arc<dyn Situation>) -> Self {
        Self { messages, situation }
    }
}

impl Sink for FeedSink {
    fn kind(&self) -> &'static str {
        "feed"
    }

    /// Waits for room, then hands over all events at once. A connection that is gone takes nothing and refuses nothing: whoever
    /// dropped it stops the forwarder.
    async fn deliver(&mut self, events: &mut [Event]) -> Result<(), SinkError> {
        let Ok(room) = self.messages.reserve().await else { pending().await };
        let mut message = BytesMut::new();
        for event in events.iter().filter(|event| event.state == EventState::Owed) {
            geojson::write(&mut message, event, &*self.situation);
        }
        room.send(message.freeze());
        Ok(())
    }
}
