//! The gateway broken on purpose, to see that the simulation finds it.
//!
//! Chosen by the thread that runs the gateway, and only in a build with the feature `sabotage`; in any other build nothing
//! here can be true, and the compiler takes the broken branches out.

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// PUBACK before the commit.
    AckBeforeCommit,
    /// Recovery takes the last record for a torn one.
    ForgetLastRecord,
    /// What the spool has no room for is acknowledged and dropped.
    DropOnOverflow,
    /// The record that arrived last is the newest, whatever its sequence.
    NewestByArrival,
}

impl Sabotage {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::AckBeforeCommit, Self::ForgetLastRecord, Self::DropOnOverflow, Self::NewestByArrival];

    /// Its name on a command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
            Self::ForgetLastRecord => "forget-last-record",
            Self::DropOnOverflow => "drop-on-overflow",
            Self::NewestByArrival => "newest-by-arrival",
        }
    }
}

#[cfg(feature = "sabotage")]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

/// Breaks every gateway of this thread from now on, or mends it.
#[cfg(feature = "sabotage")]
pub fn choose(sabotage: Option<Sabotage>) {
    CHOSEN.set(sabotage);
}

#[cfg(feature = "sabotage")]
pub(crate) fn is(sabotage: Sabotage) -> bool {
    CHOSEN.get() == Some(sabotage)
}

#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is(_: Sabotage) -> bool {
    false
}
