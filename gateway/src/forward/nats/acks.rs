//! Reading a PubAck. Source: NATS JetStream API, `io.nats.jetstream.api.v1.pub_ack_response`.

use async_nats::{Message, StatusCode};

use super::super::{RefuseReason, RetryReason, SinkError};

/// The server's `JSStreamMessageExceedsMaximumErr`.
const MESSAGE_TOO_LARGE: u64 = 10_054;
/// `JSStreamStoreFailedF`: the stream's limits or its disk; `JSInsufficientResourcesErr`; `JSStorageResourcesExceededErr`.
const NO_ROOM: [u64; 3] = [10_077, 10_023, 10_047];

/// The answer to one message.
pub(super) struct Ack {
    /// Which event.
    pub(super) lsn: u64,
    answer: Answer,
}

enum Answer {
    Stored { stream: String },
    Refused(ApiError),
    NobodyListens,
}

#[derive(serde::Deserialize)]
struct Response {
    stream: Option<String>,
    error: Option<ApiError>,
}

#[derive(serde::Deserialize)]
struct ApiError {
    #[serde(default)]
    code: u64,
    #[serde(default)]
    err_code: u64,
    #[serde(default)]
    description: String,
}

impl Ack {
    /// Reads an answer; `None` if it is none of ours.
    pub(super) fn of(message: &Message) -> Option<Self> {
        let lsn = message.subject.as_str().rsplit('.').next()?.parse().ok()?;
        let answer = if message.status == Some(StatusCode::NO_RESPONDERS) {
            Answer::NobodyListens
        } else {
            match serde_json::from_slice::<Response>(&message.payload).ok()? {
                Response { error: Some(error), .. } => Answer::Refused(error),
                Response { stream, .. } => Answer::Stored { stream: stream? },
            }
        };
        Some(Self { lsn, answer })
    }

    /// What it means for the event, given that it belongs into `stream`.
    pub(super) fn verdict(self, stream: &str) -> Result<(), SinkError> {
        let (reason, detail) = match self.answer {
            Answer::Stored { stream: stored_in } if stored_in == stream => return Ok(()),
            Answer::Stored { stream: stored_in } => {
                (RetryReason::Misconfigured, format!("stream {stored_in} took it, not {stream}"))
            }
            Answer::NobodyListens => {
                (RetryReason::Misconfigured, format!("no stream takes the subject; does {stream} still?"))
            }
            Answer::Refused(error) if error.err_code == MESSAGE_TOO_LARGE => {
                return Err(SinkError::Refuse { reason: RefuseReason::TooLarge, detail: error.text() });
            }
            Answer::Refused(error) if NO_ROOM.contains(&error.err_code) || error.code == 429 => {
                (RetryReason::Overloaded, error.text())
            }
            Answer::Refused(error) => (RetryReason::Failing, error.text()),
        };
        Err(SinkError::retry(reason, detail))
    }
}

impl ApiError {
    fn text(&self) -> String {
        format!("{} ({})", self.description, self.err_code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(payload: &str, status: Option<StatusCode>) -> Option<Ack> {
        Ack::of(&Message {
            subject: "_INBOX.abc.42".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status,
            description: None,
            length: 0,
        })
    }

    #[test]
    fn only_the_configured_stream_can_accept() {
        let stored = ack(r#"{"stream":"FIELDPOST","seq":7,"duplicate":true}"#, None).unwrap();
        assert_eq!(stored.lsn, 42);
        assert_eq!(stored.verdict("FIELDPOST"), Ok(()));
        let other = ack(r#"{"stream":"OTHER","seq":7}"#, None).unwrap();
        assert!(matches!(
            other.verdict("FIELDPOST"),
            Err(SinkError::Retry { reason: RetryReason::Misconfigured, .. })
        ));
        assert!(ack("+OK", None).is_none());
    }

    #[test]
    fn a_full_stream_is_waited_for_and_a_huge_message_refused() {
        let full = r#"{"error":{"code":503,"err_code":10077,"description":"maximum bytes exceeded"}}"#;
        let full = ack(full, None).unwrap().verdict("S").unwrap_err();
        assert!(matches!(full, SinkError::Retry { reason: RetryReason::Overloaded, .. }), "{full}");
        let huge =
            r#"{"error":{"code":400,"err_code":10054,"description":"message size exceeds maximum allowed"}}"#;
        let huge = ack(huge, None).unwrap().verdict("S").unwrap_err();
        assert!(matches!(huge, SinkError::Refuse { reason: RefuseReason::TooLarge, .. }), "{huge}");
        let nobody = ack("", Some(StatusCode::NO_RESPONDERS)).unwrap().verdict("S").unwrap_err();
        assert!(matches!(nobody, SinkError::Retry { reason: RetryReason::Misconfigured, .. }), "{nobody}");
    }
}
