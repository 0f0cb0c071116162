//! When a chain is valid.

use crate::tls::gateway_certificate::{CertificateFacts, Malformed};

/// The period in which a chain is valid, in Unix seconds, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dates {
    /// The latest beginning.
    pub from_unix_s: u64,
    /// The earliest end.
    pub to_unix_s: u64,
}

impl Dates {
    /// Whether the chain is valid now.
    #[must_use]
    pub fn contain(self, unix_s: u64) -> bool {
        (self.from_unix_s..=self.to_unix_s).contains(&unix_s)
    }

    /// The period that all certificates of a chain share.
    pub(super) fn of(
        mut chain: impl Iterator<Item = Result<CertificateFacts, Malformed>>,
    ) -> Result<Self, Malformed> {
        let forever = Self { from_unix_s: 0, to_unix_s: u64::MAX };
        chain.try_fold(forever, |dates, facts| {
            let facts = facts?;
            Ok(Self {
                from_unix_s: dates.from_unix_s.max(facts.not_before_unix_s),
                to_unix_s: dates.to_unix_s.min(facts.not_after_unix_s),
            })
        })
    }
}
