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
    /// The loss ledger counts every 50th record as one that it could not read.
    MissInLedger,
    /// A forwarder and the live page have one lane: everything waits in the order in which it came.
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
    /// A TAK party may take as long as it likes to take what it is sent.
    WaitForTak,
    /// What was sent to PostgreSQL counts as taken before its commit.
    AcceptBeforeCommit,
    /// A row that PostgreSQL was sent before is another row.
    InsertWithoutKey,
    /// Records go to a force system first and on the disclosure log behind it.
    SendBeforeLog,
    /// Each alarm is shown by a write of its own that takes a tenth of a second.
    SlowAlarmJournal,
    /// No page is sent anything while another has not read what it was sent.
    WaitForSlowest,
    /// An envelope that came through a broker counts whoever made it.
    SkipTag,
    /// Retention takes no notice of legal holds.
    EraseHeld,
    /// Retention never finds that a period is over.
    KeepExpired,
    /// What another gateway has said STORED of counts by its number, whatever it said.
    NameByNumber,
    /// Recovery spoils an entry in the middle of the last segment, and says that it found it so.
    DamageInRecovery,
    /// A gateway that starts owes no wearer a word.
    ForgetOwed,
    /// An alarm counts as delivered once it was sent, whatever became of it.
    DeliverUnasked,
    /// An alarm that has gone up leaves the page.
    TimeOutAlarm,
    /// No alarm goes up.
    NeverEscalate,
    /// What an envelope key has sealed is believed after the key's end.
    OutliveKey,
    /// A TAK server is told like any other, however it wants to be.
    IgnoreStyle,
    /// A commit whose fdatasync failed is synced again.
    RetryFailedSync,
}

/// Where a rig lets the process end as by kill -9.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// A batch is rendered; nothing of it is on the disclosure log.
    BeforeLog,
    /// Half of a line of a chain is written, nothing of it durable.
    HalfALine,
    /// The line is in the file and not yet durable.
    BeforeSync,
    /// The batch is on the log, and the sink has not been called.
    BetweenLogAndSend,
    /// The sink has answered.
    AfterSend,
    /// The sink has the batch; the cursor is about to move.
    BeforeCursor,
}

impl Sabotage {
    /// Every kind.
    pub const ALL: [Self; 34] = [
        Self::AckBeforeCommit,
        Self::ForgetLastRecord,
        Self::DropOnOverflow,
        Self::NewestByArrival,
        Self::ForgetInLedger,
        Self::MissInLedger,
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
        Self::WaitForTak,
        Self::AcceptBeforeCommit,
        Self::InsertWithoutKey,
        Self::SendBeforeLog,
        Self::SlowAlarmJournal,
        Self::WaitForSlowest,
        Self::SkipTag,
        Self::EraseHeld,
        Self::KeepExpired,
        Self::NameByNumber,
        Self::DamageInRecovery,
        Self::ForgetOwed,
        Self::DeliverUnasked,
        Self::TimeOutAlarm,
        Self::NeverEscalate,
        Self::OutliveKey,
        Self::IgnoreStyle,
        Self::RetryFailedSync,
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
            Self::MissInLedger => "miss-in-ledger",
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
            Self::WaitForTak => "wait-for-tak",
            Self::AcceptBeforeCommit => "accept-before-commit",
            Self::InsertWithoutKey => "insert-without-key",
            Self::SendBeforeLog => "send-before-log",
            Self::SlowAlarmJournal => "slow-alarm-journal",
            Self::WaitForSlowest => "wait-for-slowest",
            Self::SkipTag => "skip-tag",
            Self::EraseHeld => "erase-held",
            Self::KeepExpired => "keep-expired",
            Self::NameByNumber => "name-by-number",
            Self::DamageInRecovery => "damage-in-recovery",
            Self::ForgetOwed => "forget-owed",
            Self::DeliverUnasked => "deliver-unasked",
            Self::TimeOutAlarm => "time-out-alarm",
            Self::NeverEscalate => "never-escalate",
            Self::OutliveKey => "outlive-key",
            Self::IgnoreStyle => "ignore-style",
            Self::RetryFailedSync => "retry-failed-sync",
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

impl CrashPoint {
    /// Every point.
    pub const ALL: [Self; 6] = [
        Self::BeforeLog,
        Self::HalfALine,
        Self::BeforeSync,
        Self::BetweenLogAndSend,
        Self::AfterSend,
        Self::BeforeCursor,
    ];

    /// Its name in the environment.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeLog => "before-log",
            Self::HalfALine => "half-a-line",
            Self::BeforeSync => "before-sync",
            Self::BetweenLogAndSend => "between-log-and-send",
            Self::AfterSend => "after-send",
            Self::BeforeCursor => "before-cursor",
        }
    }
}

/// `FIELDPOST_CRASH_AT=POINT:N`: the process ends at the Nth passage of the point.
#[cfg(feature = "sabotage")]
static CRASH_AT: std::sync::LazyLock<Option<(CrashPoint, std::sync::atomic::AtomicU64)>> =
    std::sync::LazyLock::new(|| {
        let text = std::env::var("FIELDPOST_CRASH_AT").ok()?;
        let known = text.split_once(':').and_then(|(name, count)| {
            let point = CrashPoint::ALL.into_iter().find(|point| point.as_str() == name)?;
            Some((point, std::sync::atomic::AtomicU64::new(count.parse().ok().filter(|count| *count > 0)?)))
        });
        Some(known.unwrap_or_else(|| panic!("FIELDPOST_CRASH_AT={text} names no point")))
    });

/// Whether this is the passage at which the process is to end.
#[cfg(feature = "sabotage")]
pub(crate) fn ends_at(point: CrashPoint) -> bool {
    CRASH_AT.as_ref().is_some_and(|(wanted, left)| {
        *wanted == point && left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 1
    })
}

#[cfg(not(feature = "sabotage"))]
pub(crate) const fn ends_at(_: CrashPoint) -> bool {
    false
}

/// Ends the process if it is to end here: nothing is flushed, nothing runs on the way.
pub(crate) fn pass(point: CrashPoint) {
    if ends_at(point) {
        std::process::abort();
    }
}
