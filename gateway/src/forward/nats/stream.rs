//! The stream: created if it is missing, checked for what custody needs.

use async_nats::Client;
use async_nats::jetstream::context::{GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, ErrorCode};

use super::super::{RetryReason, SinkError};
use super::{DUPLICATE_WINDOW, NatsSettings};

/// Makes sure that the stream is there and acknowledges.
pub(super) async fn ensure(client: &Client, settings: &NatsSettings) -> Result<(), SinkError> {
    let context = jetstream::new(client.clone());
    let config = match context.get_stream(&settings.stream).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) if is_missing(&error) => {
            tracing::info!(stream = settings.stream, "creating the JetStream stream");
            let created = context.create_stream(wanted(settings)).await;
            created.map_err(|error| failed(settings, &error))?.cached_info().config.clone()
        }
        Err(error) => return Err(failed(settings, &error)),
    };
    if config.no_ack {
        let detail = format!("stream {} acknowledges nothing (no_ack): set it to false", settings.stream);
        return Err(SinkError::retry(RetryReason::Misconfigured, detail));
    }
    if config.storage != StorageType::File {
        tracing::warn!(stream = settings.stream, "the stream keeps its messages in memory only");
    }
    Ok(())
}

fn wanted(settings: &NatsSettings) -> Config {
    Config {
        name: settings.stream.clone(),
        subjects: vec![format!("{}.>", settings.subject_prefix)],
        storage: StorageType::File,
        duplicate_window: DUPLICATE_WINDOW,
        description: Some("Fieldpost records as CloudEvents".to_owned()),
        ..Config::default()
    }
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

fn failed(settings: &NatsSettings, error: &dyn std::error::Error) -> SinkError {
    let detail = format!("stream {}: {error}", settings.stream);
    SinkError::retry(RetryReason::Misconfigured, detail)
}
