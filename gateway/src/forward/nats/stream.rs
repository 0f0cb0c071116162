//! The stream: created if it is missing, checked for what custody needs.
//!
//! **A stream that is there is never changed.** It may be shared, and every change of it (fewer replicas, another window) can
//! lose what somebody else counts on. What does not fit is said with the command that mends it, and the records wait.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::{CreateStreamError, GetStreamError, GetStreamErrorKind};
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};

use super::super::{RetryReason, SinkError};
use super::{DUPLICATE_WINDOW, NatsSettings};

/// Makes sure that the stream is there and keeps what it acknowledges as the configuration asks.
pub(super) async fn ensure(client: &Client, settings: &NatsSettings) -> Result<(), SinkError> {
    let context = jetstream::new(client.clone());
    let config = match context.get_stream(&settings.stream).await {
        Ok(stream) => stream.cached_info().config.clone(),
        Err(error) if is_missing(&error) => {
            tracing::info!(stream = settings.stream, "creating the JetStream stream");
            let created = context.create_stream(wanted(settings)).await;
            created.map_err(|error| not_created(settings, &error))?.cached_info().config.clone()
        }
        Err(error) => return Err(not_told(settings, &error)),
    };
    if let Some(mismatch) = mismatch(&config, settings) {
        let detail = format!("stream {}: {mismatch}", settings.stream);
        return Err(SinkError::retry(RetryReason::Misconfigured, detail));
    }
    if config.storage != StorageType::File {
        tracing::warn!(stream = settings.stream, "the stream keeps its messages in memory only");
    }
    if config.retention != RetentionPolicy::Limits {
        tracing::warn!(stream = settings.stream, "the stream drops what its consumers have acknowledged");
    }
    Ok(())
}

fn wanted(settings: &NatsSettings) -> Config {
    Config {
        name: settings.stream.clone(),
        subjects: vec![format!("{}.>", settings.subject_prefix)],
        storage: StorageType::File,
        num_replicas: settings.replicas.map_or(1, usize::from),
        duplicate_window: settings.duplicate_window.unwrap_or(DUPLICATE_WINDOW),
        description: Some("Fieldpost records as CloudEvents".to_owned()),
        ..Config::default()
    }
}

/// Why the stream cannot be used, and what to do.
fn mismatch(config: &Config, settings: &NatsSettings) -> Option<String> {
    let (name, prefix) = (&settings.stream, &settings.subject_prefix);
    if config.no_ack {
        return Some("acknowledges nothing (no_ack): set it to false".to_owned());
    }
    if config.sealed {
        return Some("is sealed and takes nothing more: configure another".to_owned());
    }
    if !config.subjects.iter().any(|subject| covers(subject, prefix)) {
        let subjects = config.subjects.join(" ");
        return Some(format!(
            "takes [{subjects}], not {prefix}.>: add it with `nats stream edit {name} --subjects`, or set `subject_prefix`"
        ));
    }
    if let Some(replicas) = settings.replicas.map(usize::from)
        && config.num_replicas < replicas
    {
        return Some(format!(
            "has replicas = {}, the configuration asks for {replicas}: `nats stream edit {name} --replicas {replicas}`, or \
             set `replicas`",
            config.num_replicas
        ));
    }
    if let Some(window) = settings.duplicate_window
        && config.duplicate_window < window
    {
        let (has_s, asked_s) = (seconds(config.duplicate_window), seconds(window));
        return Some(format!(
            "drops a repeated id for {has_s} s, the configuration asks for {asked_s}: \
             `nats stream edit {name} --dupe-window {asked_s}s`, or set `duplicate_window_s`"
        ));
    }
    None
}

fn seconds(window: Duration) -> u64 {
    window.as_secs()
}

/// Whether a stream's subject takes all of `{prefix}.{force}.{class}.{device}`.
fn covers(subject: &str, prefix: &str) -> bool {
    let mut ours = prefix.split('.').map(Some).chain([None; 3]);
    for token in subject.split('.') {
        match (token, ours.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (token, Some(Some(fixed))) if token == fixed => {}
            _ => return false,
        }
    }
    ours.next().is_none()
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// In a cluster without a majority, or on a server cut off from it, JetStream says nothing, or that it is unavailable.
fn not_told(settings: &NatsSettings, error: &GetStreamError) -> SinkError {
    let reason = match error.kind() {
        GetStreamErrorKind::JetStream(error) if error.code() == 503 => RetryReason::Failing,
        GetStreamErrorKind::Request => RetryReason::Failing,
        _ => RetryReason::Misconfigured,
    };
    SinkError::retry(reason, format!("stream {}: {error}", settings.stream))
}

fn not_created(settings: &NatsSettings, error: &CreateStreamError) -> SinkError {
    let detail = format!("stream {} cannot be made: {error}", settings.stream);
    SinkError::retry(RetryReason::Misconfigured, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> NatsSettings {
        NatsSettings {
            url: "nats://127.0.0.1".into(),
            stream: "FIELDPOST".into(),
            subject_prefix: "fieldpost".into(),
            replicas: Some(3),
            duplicate_window: Some(Duration::from_mins(10)),
            credentials: None,
            authority: None,
            client: None,
        }
    }

    #[test]
    fn what_is_made_fits_and_what_keeps_less_is_said_with_what_to_do() {
        let settings = settings();
        let fits = wanted(&settings);
        assert_eq!((fits.num_replicas, mismatch(&fits, &settings)), (3, None));
        let more = Config { num_replicas: 5, duplicate_window: Duration::from_hours(2), ..fits.clone() };
        assert_eq!(mismatch(&more, &settings), None);
        let wrong = [
            (Config { no_ack: true, ..fits.clone() }, "no_ack"),
            (Config { sealed: true, ..fits.clone() }, "sealed"),
            (Config { num_replicas: 1, ..fits.clone() }, "--replicas 3"),
            (Config { duplicate_window: Duration::from_mins(2), ..fits.clone() }, "--dupe-window 600s"),
            (Config { subjects: vec!["fieldpost.met.>".into()], ..fits }, "not fieldpost.>"),
        ];
        for (config, said) in wrong {
            let mismatch = mismatch(&config, &settings).unwrap_or_default();
            assert!(mismatch.contains(said), "{mismatch}");
        }
    }

    #[test]
    fn a_subject_covers_ours_if_no_event_of_ours_falls_outside_it() {
        for covering in ["a.b.>", "a.>", ">", "a.*.>", "*.b.*.*.*", "a.b.*.*.*"] {
            assert!(covers(covering, "a.b"), "{covering}");
        }
        for not in ["a.b", "a.b.*", "a.b.*.*", "a.b.*.*.*.*", "a.c.>", "a.b.met.>", "b.>"] {
            assert!(!covers(not, "a.b"), "{not}");
        }
    }
}
