//! What nobody has looked at yet, and the only way to look.
//!
//! **A position that is not on record cannot be sent, because it cannot be had**: whatever holds positions leaves the
//! live half, the history and the ledger as [`Unseen`], which can neither be read, copied nor serialised, and prints nothing of itself. A
//! [`Logged`] opens it, and a [`Logged`] is made in one place: behind the fsync of the access record.
//!
//! ```text
//! Live, History --Unseen<T>--> handler --asks--> AccessLog --fsync--> Logged --opens--> T --> browser
//! ```
//!
//! Nothing makes a [`Logged`] but the log:
//! ```compile_fail,E0451
//! let logged = fieldpost_gateway::audit::Logged { holds: todo!(), n: 1 };
//! ```
//! Nothing reads an [`Unseen`] without one, clones it or sends it:
//! ```compile_fail,E0616
//! fn body(unseen: fieldpost_gateway::audit::Unseen<bytes::Bytes>) -> bytes::Bytes { unseen.value }
//! ```
//! ```compile_fail,E0599
//! fn copy(unseen: &fieldpost_gateway::audit::Unseen<u8>) -> fieldpost_gateway::audit::Unseen<u8> { unseen.clone() }
//! ```
//! ```compile_fail,E0277
//! fn answer(unseen: fieldpost_gateway::audit::Unseen<bytes::Bytes>) -> impl axum::response::IntoResponse { unseen }
//! ```

use bytes::Bytes;
use serde::Serialize;

use super::look::Holds;

/// A value with something of somebody in it that nobody has seen.
#[must_use = "what nobody looks at need not be made"]
pub struct Unseen<T> {
    value: T,
    holds: Holds,
    picture: Option<u64>,
}

/// Proof that a look is on record, durably. It opens what the record accounts for, nothing else, and cannot be copied.
#[derive(Debug)]
pub struct Logged {
    holds: Holds,
    n: u64,
}

/// A record was made of one thing and another was to be shown under it: a mistake in our own code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the access record does not account for this answer: nothing is shown; report it")]
pub struct NotCovered;

/// What exactly was handed out: enough to tell it among copies, nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnswerDigest {
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
}

impl<T> Unseen<T> {
    /// Something that holds `holds`.
    pub fn new(value: T, holds: Holds) -> Self {
        Self { value, holds, picture: None }
    }

    /// The same, as the picture number `n` shows it.
    pub fn of_picture(self, n: u64) -> Self {
        Self { picture: Some(n), ..self }
    }

    /// Which picture shows it.
    #[must_use]
    pub fn picture(&self) -> Option<u64> {
        self.picture
    }

    /// What is in it.
    #[must_use]
    pub fn holds(&self) -> &Holds {
        &self.holds
    }

    /// The same in another form, still unseen.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Unseen<U> {
        Unseen { value: form(self.value), holds: self.holds, picture: self.picture }
    }

    /// Looks, now that it is on record.
    ///
    /// # Errors
    /// [`NotCovered`]: the record says less than what is in here.
    pub fn open(self, logged: &Logged) -> Result<T, NotCovered> {
        if logged.holds.cover(&self.holds) { Ok(self.value) } else { Err(NotCovered) }
    }
}

impl<T: Serialize> Unseen<T> {
    /// As JSON, still unseen.
    pub fn json(self) -> Unseen<Bytes> {
        self.map(|value| Bytes::from(serde_json::to_vec(&value).expect("strings and numbers are JSON")))
    }
}

impl Unseen<Bytes> {
    /// Which bytes these are.
    #[must_use]
    pub fn digest(&self) -> AnswerDigest {
        AnswerDigest { bytes: self.value.len() as u64, sha256: super::hash::of(&self.value).to_string() }
    }
}

impl Logged {
    /// For the log alone, behind its fsync.
    pub(super) fn new(holds: Holds, n: u64) -> Self {
        Self { holds, n }
    }

    /// The number of the record.
    #[must_use]
    pub fn n(&self) -> u64 {
        self.n
    }
}

/// Says what is in it, and shows nothing of it.
impl<T> std::fmt::Debug for Unseen<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unseen").field("holds", &self.holds).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::super::look::Subjects;
    use super::*;

    #[test]
    fn a_record_opens_what_it_accounts_for_and_nothing_else() {
        let of = |unit: &str| Holds::live(Subjects::unit(&unit.parse().unwrap()));
        let logged = Logged::new(of("sim/pc-1"), 1);
        assert_eq!(Unseen::new(7, of("sim/pc-1")).open(&logged), Ok(7));
        assert_eq!(Unseen::new(7, of("sim/pc-2")).open(&logged), Err(NotCovered));
        assert_eq!(Unseen::new(7, Holds::live(Subjects::everyone())).open(&logged), Err(NotCovered));
    }

    #[test]
    fn what_is_unseen_prints_nothing_of_itself() {
        let unseen = Unseen::new("51.5", Holds::live(Subjects::everyone()));
        assert!(!format!("{unseen:?}").contains("51.5"));
    }
}
