//! The connection: when to dial, when to give up, when to hang up. What travels on it is [`crate::outbox`]'s choice.
//!
//! ```text
//!  Waiting --due--> Connecting --Connected--> Online
//!     ^                 | deadline, Disconnected  | Disconnected, no answer for too long
//!     '-----------------'<------------------------'      (full-jitter backoff; an alarm cuts it short once)
//! ```
//!
//! **An attempt is never counted as good before it has held for a minute**, or a gateway that hangs up on everybody at once
//! would be dialled by everybody at once.

mod backoff;

use backoff::Backoff;
pub use backoff::Random;

/// Windows, deadlines and backoff. Times in ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UplinkSettings {
    /// From [`Output::Connect`](crate::Output::Connect) to the answer; TCP, TLS and MQTT together.
    pub connect_ms_max: u32,
    /// Ceiling of the first delay.
    pub backoff_base_ms: u32,
    /// Ceiling of every delay.
    pub backoff_cap_ms: u32,
    /// A connection that held this long resets the backoff.
    pub stable_ms_min: u32,
    /// Longest wait for the oldest answer. Generous: a gateway whose disk is full answers nothing on purpose, and
    /// hanging up does not help it.
    pub answer_ms_max: u32,
    /// Most positions in a batch, 1 to 32.
    pub batch_count_max: u8,
}

impl UplinkSettings {
    /// 20 s to connect, backoff 1 s to 60 s, stable after 60 s, 5 min for an answer, batches of 30.
    pub const DEFAULT: Self = Self {
        connect_ms_max: 20_000,
        backoff_base_ms: 1000,
        backoff_cap_ms: 60_000,
        stable_ms_min: 60_000,
        answer_ms_max: 300_000,
        batch_count_max: 30,
    };
}

/// Why the device hangs up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum HangUp {
    /// No connection within the deadline.
    ConnectDeadline,
    /// The oldest publish has no answer for too long.
    AnswerDeadline,
}

/// What the connection needs from the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Connect,
    Subscribe,
    HangUp(HangUp),
}

/// Counters wrap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct UplinkCounters {
    /// Attempts to connect.
    pub attempts: u32,
    /// Attempts that succeeded.
    pub connections: u32,
    /// Of those, how many found their session again.
    pub sessions_resumed: u32,
    /// Connections or attempts given up by the device.
    pub hang_ups: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `until_ms` is drawn at the next poll, where the random numbers are.
    Waiting {
        from_ms: u64,
        until_ms: Option<u64>,
    },
    Connecting {
        deadline_ms: u64,
    },
    Online {
        since_ms: u64,
        must_subscribe: bool,
    },
}

/// The connection's state.
#[derive(Debug, Clone)]
pub(crate) struct Uplink {
    settings: UplinkSettings,
    state: State,
    backoff: Backoff,
    /// The session has delivered something, so its subscription stands. A session alone proves nothing: the connection
    /// that made it may have ended before the SUBSCRIBE arrived, or an earlier start of this device made it.
    is_heard: bool,
    counters: UplinkCounters,
}

impl Uplink {
    /// Dials at once.
    pub(crate) fn new(settings: UplinkSettings) -> Self {
        let backoff = Backoff::new(settings.backoff_base_ms, settings.backoff_cap_ms);
        let state = State::Waiting { from_ms: 0, until_ms: Some(0) };
        Self { settings, state, backoff, is_heard: false, counters: UplinkCounters::default() }
    }

    pub(crate) fn counters(&self) -> &UplinkCounters {
        &self.counters
    }

    pub(crate) fn is_online(&self) -> bool {
        matches!(self.state, State::Online { .. })
    }

    pub(crate) fn batch_count_max(&self) -> usize {
        usize::from(self.settings.batch_count_max)
    }

    /// The caller has a connection. Ignored if none was asked for.
    pub(crate) fn on_connected(&mut self, now_ms: u64, session_present: bool) {
        if !matches!(self.state, State::Connecting { .. }) {
            return;
        }
        self.counters.connections = self.counters.connections.wrapping_add(1);
        if session_present {
            self.counters.sessions_resumed = self.counters.sessions_resumed.wrapping_add(1);
        }
        self.is_heard &= session_present;
        self.state = State::Online { since_ms: now_ms, must_subscribe: !self.is_heard };
    }

    /// A message came down.
    pub(crate) fn on_heard(&mut self) {
        self.is_heard |= self.is_online();
    }

    /// The connection or the attempt ended.
    pub(crate) fn on_disconnected(&mut self, now_ms: u64) {
        if let State::Online { since_ms, .. } = self.state
            && now_ms.saturating_sub(since_ms) >= u64::from(self.settings.stable_ms_min)
        {
            self.backoff.reset();
        }
        if !matches!(self.state, State::Waiting { .. }) {
            self.state = State::Waiting { from_ms: now_ms, until_ms: None };
        }
    }

    /// An alarm waits: dial now instead of later.
    pub(crate) fn hurry(&mut self, now_ms: u64) {
        if let State::Waiting { from_ms, .. } = self.state {
            self.state = State::Waiting { from_ms, until_ms: Some(now_ms) };
        }
    }

    /// What is due. `oldest_sent_ms` is when the oldest unanswered publish went.
    pub(crate) fn step(
        &mut self,
        now_ms: u64,
        oldest_sent_ms: Option<u64>,
        random: &mut dyn Random,
    ) -> Option<Step> {
        match self.state {
            State::Waiting { from_ms, until_ms } => {
                let until_ms = until_ms.unwrap_or_else(|| from_ms + self.backoff.draw_ms(random));
                self.state = State::Waiting { from_ms, until_ms: Some(until_ms) };
                if now_ms < until_ms {
                    return None;
                }
                self.counters.attempts = self.counters.attempts.wrapping_add(1);
                let deadline_ms = now_ms + u64::from(self.settings.connect_ms_max);
                self.state = State::Connecting { deadline_ms };
                Some(Step::Connect)
            }
            State::Connecting { deadline_ms } if now_ms >= deadline_ms => {
                Some(self.hang_up(now_ms, HangUp::ConnectDeadline))
            }
            State::Connecting { .. } => None,
            State::Online { since_ms, must_subscribe: true } => {
                self.state = State::Online { since_ms, must_subscribe: false };
                Some(Step::Subscribe)
            }
            State::Online { .. } => {
                let deadline_ms = oldest_sent_ms? + u64::from(self.settings.answer_ms_max);
                (now_ms >= deadline_ms).then(|| self.hang_up(now_ms, HangUp::AnswerDeadline))
            }
        }
    }

    /// When [`Uplink::step`] has something to do, if nothing else happens before.
    pub(crate) fn step_at(&self, oldest_sent_ms: Option<u64>) -> Option<u64> {
        match self.state {
            State::Waiting { from_ms, until_ms } => Some(until_ms.unwrap_or(from_ms)),
            State::Connecting { deadline_ms } => Some(deadline_ms),
            State::Online { since_ms, must_subscribe: true } => Some(since_ms),
            State::Online { .. } => {
                oldest_sent_ms.map(|sent_ms| sent_ms + u64::from(self.settings.answer_ms_max))
            }
        }
    }

    fn hang_up(&mut self, now_ms: u64, reason: HangUp) -> Step {
        self.counters.hang_ups = self.counters.hang_ups.wrapping_add(1);
        self.on_disconnected(now_ms);
        Step::HangUp(reason)
    }
}
