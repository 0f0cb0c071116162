//! The gateway broken on purpose, to see that simulation and rigs find it.
//!
//! Chosen by the thread that runs the gateway, or for a whole process by the environment variable `FIELDPOST_SABOTAGE`,
//! and only in a build with the feature `sabotage`; in any other build nothing here can be true, and the compiler takes the
//! broken branches out.

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
    /// The loss ledger forgets every 50th record.
    ForgetInLedger,
    /// A forwarder has one lane: everything waits in the order in which it came.
    OneLane,
    /// What a force system did not take counts as taken.
    DropFailedBatch,
    /// A record that was stored before is stored again.
    StoreTwice,
    /// Retention removes what no force system has.
    DeleteUndelivered,
    /// Every connection leaves 64 KiB behind.
    Leak,
    /// A picture is shown first and made durable with the next.
    ShowBeforeLog,
    /// Every seventh line of the access record does not follow from the one before.
    SkipChain,
    /// A live page ends without a word in the access record.
    DropClosing,
    /// Text goes into Cursor on Target as it is.
    SkipEscape,
    /// A TAK server is told of an alarm once.
    TellOnce,
    /// What was sent to PostgreSQL counts as taken before its commit.
    AcceptBeforeCommit,
    /// A row that PostgreSQL was sent before is another row.
    InsertWithoutKey,
}

impl Sabotage {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::AckBeforeCommit,
        Self::ForgetLastRecord,
        Self::DropOnOverflow,
        Self::NewestByArrival,
        Self::ForgetInLedger,
        Self::OneLane,
        Self::DropFailedBatch,
        Self::StoreTwice,
        Self::DeleteUndelivered,
        Self::Leak,
        Self::ShowBeforeLog,
        Self::SkipChain,
        Self::DropClosing,
        Self::SkipEscape,
        Self::TellOnce,
        Self::AcceptBeforeCommit,
        Self::InsertWithoutKey,
    ];

    /// Its name on a command line and in the environment.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AckBeforeCommit => "ack-before-commit",
            Self::ForgetLastRecord => "forget-last-record",
            Self::DropOnOverflow => "drop-on-overflow",
            Self::NewestByArrival => "newest-by-arrival",
            Self::ForgetInLedger => "forget-in-ledger",
            Self::OneLane => "one-lane",
            Self::DropFailedBatch => "drop-failed-batch",
            Self::StoreTwice => "store-twice",
            Self::DeleteUndelivered => "delete-undelivered",
            Self::Leak => "leak",
            Self::ShowBeforeLog => "show-before-log",
            Self::SkipChain => "skip-chain",
            Self::DropClosing => "drop-closing",
            Self::SkipEscape => "skip-escape",
            Self::TellOnce => "tell-once",
            Self::AcceptBeforeCommit => "accept-before-commit",
            Self::InsertWithoutKey => "insert-without-key",
        }
    }

    /// The kind with this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|sabotage| sabotage.as_str() == name)
    }
}

#[cfg(feature = "sabotage")]
thread_local! {
    static OF_THREAD: std::cell::Cell<Option<Sabotage>> = const { std::cell::Cell::new(None) };
}

#[cfg(feature = "sabotage")]
static OF_PROCESS: std::sync::LazyLock<Option<Sabotage>> = std::sync::LazyLock::new(|| {
    let name = std::env::var("FIELDPOST_SABOTAGE").ok()?;
    // A name that breaks nothing would let a rig that finds nothing look good.
    Some(Sabotage::named(&name).unwrap_or_else(|| panic!("FIELDPOST_SABOTAGE={name} names no sabotage")))
});

/// Called for every connection; keeps memory for good if it is to leak.
pub(crate) fn connection_opened() {
    static LEAKED: std::sync::Mutex<Vec<Vec<u8>>> = std::sync::Mutex::new(Vec::new());
    if is(Sabotage::Leak)
        && let Ok(mut leaked) = LEAKED.lock()
    {
        leaked.push(vec![1; 64 << 10]);
    }
}

/// Breaks every gateway of this thread from now on, or mends it.
#[cfg(feature = "sabotage")]
pub fn choose(sabotage: Option<Sabotage>) {
    OF_THREAD.set(sabotage);
}

#[cfg(feature = "sabotage")]
pub(crate) fn is(sabotage: Sabotage) -> bool {
    OF_THREAD.get().or(*OF_PROCESS) == Some(sabotage)
}

#[cfg(not(feature = "sabotage"))]
pub(crate) const fn is(_: Sabotage) -> bool {
    false
}
