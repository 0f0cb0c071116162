//! What went wrong with a server, sorted by what helps.

use tokio_postgres::error::SqlState;

use crate::forward::RetryReason;

/// Why a server did not take or tell something. Its text never holds a value of a row, nor a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Time, an operator or the database's administrator may heal it.
    #[error("{detail}")]
    Again {
        /// Of which kind.
        reason: RetryReason,
        /// What happened and what to do.
        detail: String,
    },
    /// The server cannot store these values, whenever it is asked.
    #[error("{0}")]
    Content(String),
}

impl Fault {
    pub(crate) fn again(reason: RetryReason, detail: impl Into<String>) -> Self {
        Self::Again { reason, detail: detail.into() }
    }

    pub(crate) fn misconfigured(detail: impl Into<String>) -> Self {
        Self::again(RetryReason::Misconfigured, detail)
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(said) = error.as_db_error() else { return Self::of_library(&error) };
        let code = said.code();
        // Messages of these classes repeat the value.
        if matches!(&code.code()[..2], "22" | "23" | "54") {
            let detail = format!("the server refuses the row: SQLSTATE {}", code.code());
            return if *code == SqlState::CHECK_VIOLATION {
                // No table for that day: it was dropped since we looked.
                Self::again(RetryReason::Interrupted, detail)
            } else {
                Self::Content(detail)
            };
        }
        let help = if *code == SqlState::INSUFFICIENT_PRIVILEGE {
            "; give the gateway's role its schema: docs/sinks/postgres.md"
        } else {
            ""
        };
        Self::again(reason_of(code), format!("{} (SQLSTATE {}){help}", said.message(), code.code()))
    }
}

impl Fault {
    /// What the client library says by itself: the server said nothing, or asked for what we do not have.
    fn of_library(error: &tokio_postgres::Error) -> Self {
        let text = chain(error);
        // Of its kinds the library tells only the words. The claims in `tls_claims` see them.
        let (reason, help) = match text.split(':').next().unwrap_or_default() {
            _ if error.is_closed() => (RetryReason::Interrupted, ""),
            "authentication error" => (RetryReason::Credentials, ""),
            "invalid configuration" if text.ends_with("password missing") => {
                (RetryReason::Credentials, ": the server asks for one; set password_file")
            }
            "invalid configuration" | "invalid connection string" => (RetryReason::Misconfigured, ""),
            _ => (RetryReason::Unreachable, ""),
        };
        Self::again(reason, format!("{text}{help}"))
    }
}

fn reason_of(code: &SqlState) -> RetryReason {
    if *code == SqlState::INSUFFICIENT_PRIVILEGE {
        return RetryReason::Credentials;
    }
    if *code == SqlState::QUERY_CANCELED || *code == SqlState::LOCK_NOT_AVAILABLE {
        return RetryReason::Timeout;
    }
    match &code.code()[..2] {
        "08" | "57" => RetryReason::Unreachable,
        "28" => RetryReason::Credentials,
        "3D" | "3F" | "42" => RetryReason::Misconfigured,
        "40" => RetryReason::Interrupted,
        "53" => RetryReason::Overloaded,
        _ => RetryReason::Failing,
    }
}

/// An error and what it came from: the client library's own text names only the step.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
