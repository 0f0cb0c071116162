//! What can be wrong with a tile server, and how often that is said.
//!
//! **Told once, and once more when it is over**: in the log at most once a minute, on the page as long as somebody meets it.

use std::time::Duration;

use hyper::StatusCode;
use tokio::time::Instant;

/// A server that comes and goes writes no more than this.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// Trouble that nobody met for so long is not told any more: the tile that had it is no longer looked at.
const TROUBLE_LASTS: Duration = Duration::from_secs(60);

/// Why there is no tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// No connection, or none that proves who answers.
    #[error("it cannot be reached: {0}")]
    Unreachable(String),
    /// The connection ended before the answer did.
    #[error("its answer broke off: {0}")]
    Broken(String),
    /// It took too long.
    #[error("it took too long to answer")]
    Slow,
    /// It refused, failed, or pointed elsewhere.
    #[error("it answered HTTP {0}; redirects are not followed, write where they lead to")]
    Status(StatusCode),
    /// What came is no tile of this map.
    #[error("it answered with {0:?}, which is not a tile of this kind: check `map.kind`")]
    MediaType(String),
    /// What came is packed otherwise than asked for.
    #[error("its tiles are packed in a way that was not asked for; gzip or none is read")]
    Coding,
    /// What came is too much for a tile.
    #[error("a tile is larger than 4 MiB")]
    TooLarge,
    /// Nothing but "not found" since the start.
    #[error("it has had no tile yet, only HTTP 404: check the address")]
    NoTileYet,
    /// It is in trouble and not asked for now.
    #[error("it is in trouble and is asked again soon")]
    Paused,
}

impl Fault {
    /// Whether another tile would fare no better.
    fn is_of_the_server(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Broken(_) | Self::Slow => true,
            // 401, 403, 407: it lets nobody in; 429: it is asked too much. Another 4xx is about the tile that was asked for.
            Self::Status(status) => {
                !status.is_client_error() || matches!(status.as_u16(), 401 | 403 | 407 | 429)
            }
            _ => false,
        }
    }

    fn sentence(&self) -> &'static str {
        match self {
            Self::NoTileYet => {
                "The map server has nothing at the configured address: the outline is shown instead."
            }
            Self::MediaType(_) | Self::Coding | Self::TooLarge => {
                "The map server sends what cannot be shown: the outline is shown instead."
            }
            _ => "The map server does not answer: what is missing of the map is shown as an outline.",
        }
    }
}

/// How the server is, and what was said of it.
#[derive(Debug)]
pub(super) struct Telling {
    pause: Duration,
    paused_until: Option<Instant>,
    trouble: Option<(&'static str, Instant)>,
    /// When the log was last told, while that trouble is not over.
    said_at: Option<Instant>,
    is_said: bool,
    has_had_a_tile: bool,
}

impl Telling {
    pub(super) fn new(pause: Duration) -> Self {
        Self {
            pause,
            paused_until: None,
            trouble: None,
            said_at: None,
            is_said: false,
            has_had_a_tile: false,
        }
    }

    pub(super) fn trouble(&self, now: Instant) -> Option<&'static str> {
        let (words, met_at) = self.trouble?;
        (now.saturating_duration_since(met_at) < TROUBLE_LASTS).then_some(words)
    }

    pub(super) fn has_had_a_tile(&self) -> bool {
        self.has_had_a_tile
    }

    pub(super) fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| now < until)
    }

    /// Takes note of how a request ended, and says in the log what is new.
    pub(super) fn tell<T>(&mut self, outcome: Result<&Option<T>, &Fault>, host: &str, now: Instant) {
        match outcome {
            Ok(tile) => {
                self.has_had_a_tile |= tile.is_some();
                self.trouble = None;
                self.paused_until = None;
                if std::mem::take(&mut self.is_said) {
                    tracing::info!(host, "the map server has tiles again");
                }
            }
            Err(fault) => {
                self.trouble = Some((fault.sentence(), now));
                if fault.is_of_the_server() {
                    self.paused_until = Some(now + self.pause);
                }
                let is_due = self.said_at.is_none_or(|at| now.saturating_duration_since(at) >= SAY_EVERY);
                if !self.is_said && is_due {
                    tracing::error!(host, "the map server has no tile: {fault}; see `map.tiles`");
                    (self.said_at, self.is_said) = (Some(now), true);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[test]
    fn a_server_in_trouble_is_left_alone_for_a_while_and_a_bad_tile_pauses_nothing() {
        let now = Instant::now();
        let mut telling = Telling::new(PAUSE);
        for fault in [Fault::TooLarge, Fault::NoTileYet, Fault::MediaType("text/html".into())] {
            telling.tell::<()>(Err(&fault), "h", now);
            assert!(telling.trouble(now).is_some() && !telling.is_paused(now), "{fault}");
        }
        telling.tell::<()>(Err(&Fault::Slow), "h", now);
        assert!(telling.is_paused(now) && !telling.is_paused(now + PAUSE));
        assert!(telling.trouble(now).is_some());
        assert_eq!(telling.trouble(now + TROUBLE_LASTS), None, "nobody met it for so long");
        telling.tell(Ok(&Some(())), "h", now);
        assert_eq!((telling.trouble(now), telling.is_paused(now)), (None, false));
    }

    #[test]
    fn only_a_status_that_another_tile_would_meet_too_pauses_the_map() {
        let now = Instant::now();
        let pauses = |status: &u16| {
            let mut telling = Telling::new(PAUSE);
            telling.tell::<()>(Err(&Fault::Status(StatusCode::from_u16(*status).unwrap())), "h", now);
            telling.is_paused(now)
        };
        for status in [301, 302, 307, 308, 401, 403, 407, 429, 500, 502, 503, 504] {
            assert!(pauses(&status), "{status}");
        }
        for status in [400, 404, 405, 406, 410, 414, 418, 422] {
            assert!(!pauses(&status), "{status}");
        }
    }

    #[test]
    fn a_server_that_comes_and_goes_is_said_once_a_minute() {
        let begin = Instant::now();
        let mut telling = Telling::new(PAUSE);
        let mut said_count = 0;
        for second in 0..180 {
            let now = begin + Duration::from_secs(second);
            let was_said = telling.is_said;
            telling.tell::<()>(Err(&Fault::Slow), "h", now);
            said_count += u32::from(telling.is_said && !was_said);
            telling.tell(Ok(&None::<()>), "h", now);
        }
        assert_eq!(said_count, 3);
    }
}
