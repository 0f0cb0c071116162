//! TAK clients that connect to us: `fieldpost_tak_*`. Which client it is about says the log: no client adds a time series.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// `fieldpost_tak_*`. Clones share it.
#[derive(Debug, Clone)]
pub struct TakMetrics {
    /// Clients connected now.
    pub connected: Gauge,
    /// Clients that were let in.
    pub accepted: Counter,
    /// Events of clients that were not read: not well-formed, or more than is taken.
    pub events_refused: Counter,
    acknowledged: Family<ResultLabel, Counter>,
    refused: Family<ReasonLabel, Counter>,
    ended: Family<ReasonLabel, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// What became of a client's acknowledgement. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakTaking {
    /// The alarm is the client's.
    Taken,
    /// Somebody else was first.
    Late,
    /// The client may not.
    NotAllowed,
    /// The alert was cancelled there a moment ago.
    TooSoon,
    /// It could not be stored, or the alarm is gone.
    Failed,
}

impl TakTaking {
    /// Every result.
    pub const ALL: [Self; 5] = [Self::Taken, Self::Late, Self::NotAllowed, Self::TooSoon, Self::Failed];

    /// The result as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Late => "late",
            Self::NotAllowed => "not-allowed",
            Self::TooSoon => "too-soon",
            Self::Failed => "failed",
        }
    }
}

/// Why somebody was not let in. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakRefusal {
    /// No TLS, or no certificate of the client authority that is good today.
    Tls,
    /// The certificate is good, and its common name is no client's.
    Stranger,
    /// The client's place is being taken by another connection of the same name.
    Busy,
}

/// Why a client is gone. Closed, so that it can be a metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakEnd {
    /// It closed the connection, or the connection broke.
    PeerGone,
    /// It took too little for too long.
    TooSlow,
    /// It sent what is not TAK.
    NotTak,
    /// It came again: the newer connection counts.
    CameAgain,
    /// Its certificate is not valid any more.
    Outdated,
    /// A renewed revocation list lets its certificate in no more.
    Revoked,
    /// The disclosure log cannot be written.
    NoLog,
    /// The gateway stops, or its outputs are started again.
    Stopping,
}

impl TakRefusal {
    /// Every reason.
    pub const ALL: [Self; 3] = [Self::Tls, Self::Stranger, Self::Busy];

    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::Stranger => "stranger",
            Self::Busy => "busy",
        }
    }
}

impl TakEnd {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::PeerGone,
        Self::TooSlow,
        Self::NotTak,
        Self::CameAgain,
        Self::Outdated,
        Self::Revoked,
        Self::NoLog,
        Self::Stopping,
    ];

    /// The reason as a metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PeerGone => "peer-gone",
            Self::TooSlow => "too-slow",
            Self::NotTak => "not-tak",
            Self::CameAgain => "came-again",
            Self::Outdated => "outdated",
            Self::Revoked => "revoked",
            Self::NoLog => "no-log",
            Self::Stopping => "stopping",
        }
    }
}

impl Default for TakMetrics {
    fn default() -> Self {
        let (refused, ended) = (Family::<ReasonLabel, Counter>::default(), Family::default());
        // So that a scrape names them from the first second.
        let label = |reason| ReasonLabel { reason };
        for refusal in TakRefusal::ALL {
            drop(refused.get_or_create_owned(&label(refusal.as_str())));
        }
        for end in TakEnd::ALL {
            drop(Family::<ReasonLabel, Counter>::get_or_create_owned(&ended, &label(end.as_str())));
        }
        let acknowledged = Family::default();
        for taking in TakTaking::ALL {
            let label = ResultLabel { result: taking.as_str() };
            drop(Family::<ResultLabel, Counter>::get_or_create_owned(&acknowledged, &label));
        }
        let (connected, accepted, events_refused) =
            (Gauge::default(), Counter::default(), Counter::default());
        Self { connected, accepted, events_refused, acknowledged, refused, ended }
    }
}

impl TakMetrics {
    /// A client has acknowledged an alarm, or tried to.
    pub fn acknowledged(&self, result: TakTaking) -> Counter {
        self.acknowledged.get_or_create_owned(&ResultLabel { result: result.as_str() })
    }

    /// Somebody was not let in.
    pub fn refused(&self, reason: TakRefusal) -> Counter {
        self.refused.get_or_create_owned(&ReasonLabel { reason: reason.as_str() })
    }

    /// A client is gone.
    pub fn ended(&self, reason: TakEnd) -> Counter {
        self.ended.get_or_create_owned(&ReasonLabel { reason: reason.as_str() })
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("connected", "TAK clients connected now", self.connected.clone());
        registry.register("accepted", "TAK clients that were let in", self.accepted.clone());
        registry.register("refused", "Connections not let in, by reason", self.refused.clone());
        registry.register("ended", "TAK clients that are gone, by reason", self.ended.clone());
        registry.register(
            "acknowledged",
            "Acknowledgements of TAK clients, by result",
            self.acknowledged.clone(),
        );
        registry.register(
            "events_refused",
            "Events of TAK clients that were not read",
            self.events_refused.clone(),
        );
    }
}
