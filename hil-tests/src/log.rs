//! What the image says: defmt frames from UART0, decoded with the strings of its own ELF.
//!
//! ```text
//! UART0 socket -> reader thread -> decoder (table from the ELF) -> lines, in order -> wait_for(what, deadline)
//! ```
//!
//! **No line is lost between two waits**: all are kept, and a wait looks from where the caller stood. The lines that rigs read are
//! listed in the board's `say` module.

use std::{
    io::Read as _,
    os::unix::net::UnixStream,
    path::Path,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use defmt_decoder::{DecodeError, Table};

use crate::Failure;

/// Lines shown when an awaited one did not come.
const SHOWN_COUNT: usize = 25;

/// The image's format strings.
#[derive(Debug, Clone)]
pub struct Strings(Arc<Table>);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The board's own time, as its timestamp format prints it; empty if it has none.
    pub at: String,
    /// `info`, `warn`, ..; empty for `println`.
    pub level: String,
    /// The text.
    pub text: String,
}

/// The lines of one run of a board, from power-on to power cut.
#[derive(Debug, Clone)]
pub struct Log {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<Line>,
    /// The socket closed: no more lines come.
    ended: bool,
    /// Frames that did not decode; a power cut leaves at most one.
    malformed_count: usize,
}

impl Strings {
    /// Reads the strings of an image.
    ///
    /// # Errors
    /// [`Failure`] if it is not an ELF with defmt strings.
    pub fn of(elf: &Path) -> Result<Self, Failure> {
        let bytes = std::fs::read(elf).map_err(Failure::at("read the image", elf))?;
        let table = Table::parse(&bytes).map_err(|error| Failure::child("image", error))?;
        let table = table.ok_or_else(|| Failure::child("image", "holds no .defmt section"))?;
        Ok(Self(Arc::new(table)))
    }
}

impl Log {
    /// Reads UART0 until it closes.
    ///
    /// # Errors
    /// [`Failure`] if no thread can be started.
    pub fn follow(stream: UnixStream, strings: Strings) -> Result<Self, Failure> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        thread::Builder::new()
            .name("board log".to_owned())
            .spawn(move || writer.fill(stream, &strings))
            .map_err(Failure::io("cannot start the thread that reads the board's log"))?;
        Ok(Self { shared })
    }

    /// The first line from number `from` on that holds `what`: its number and itself.
    ///
    /// # Errors
    /// [`Failure::Late`], at once if the board has ended.
    pub fn wait_from(&self, from: usize, what: &str, wait: Duration) -> Result<(usize, Line), Failure> {
        self.wait_that(from, &format!("the log line `{what}`"), wait, |line| line.text.contains(what))
    }

    /// The first line from number `from` on that is right: its number and itself.
    ///
    /// # Errors
    /// [`Failure::Late`], at once if the board has ended.
    pub fn wait_that(
        &self,
        from: usize,
        awaited: &str,
        wait: Duration,
        is_right: impl Fn(&Line) -> bool,
    ) -> Result<(usize, Line), Failure> {
        let deadline = Instant::now() + wait;
        let mut state = self.shared.lock();
        let mut looked = from;
        loop {
            let found = state.lines.iter().enumerate().skip(looked).find(|(_, line)| is_right(line));
            if let Some((number, line)) = found {
                return Ok((number, line.clone()));
            }
            looked = state.lines.len().max(from);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || state.ended {
                return Err(Failure::Late { awaited: awaited.to_owned(), waited: wait, seen: state.tail() });
            }
            state = self.shared.wait(state, left);
        }
    }

    /// The first line ever that holds `what`.
    ///
    /// # Errors
    /// As [`Log::wait_from`].
    pub fn wait_for(&self, what: &str, wait: Duration) -> Result<Line, Failure> {
        self.wait_from(0, what, wait).map(|(_, line)| line)
    }

    /// Waits until the board has issued `issued` records and owes none: the gateway has STORED them all, and the board knows.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub fn wait_until_stored(&self, issued: u64, wait: Duration) -> Result<Line, Failure> {
        let awaited = format!("a ledger with {issued} records issued and none owed");
        let is_right =
            |line: &Line| line.owes_nothing() && line.number("issued").is_ok_and(|count| count >= issued);
        self.wait_that(0, &awaited, wait, is_right).map(|(_, line)| line)
    }

    /// Waits until the board has been connected, however often, and owes nothing.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub fn wait_until_settled(&self, wait: Duration) -> Result<Line, Failure> {
        let is_right =
            |line: &Line| line.owes_nothing() && line.number("connections").is_ok_and(|count| count > 0);
        self.wait_that(0, "a ledger with a connection and nothing owed", wait, is_right).map(|(_, line)| line)
    }

    /// Every line so far that holds `what`.
    #[must_use]
    pub fn all(&self, what: &str) -> Vec<Line> {
        self.shared.lock().lines.iter().filter(|line| line.text.contains(what)).cloned().collect()
    }

    /// How many lines there are: where the next one will stand.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.lock().lines.len()
    }

    /// Whether the board has said nothing yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Frames that could not be decoded. A power cut in the middle of a frame makes one.
    #[must_use]
    pub fn malformed_count(&self) -> usize {
        self.shared.lock().malformed_count
    }

    /// Waits until the board's end, so that every line it ever said is here.
    pub fn wait_for_end(&self) {
        let mut state = self.shared.lock();
        while !state.ended {
            state = self.shared.wait(state, Duration::from_secs(1));
        }
    }

    /// The last lines, for a report.
    #[must_use]
    pub fn tail(&self) -> String {
        self.shared.lock().tail()
    }
}

impl Line {
    /// Whether it is a ledger without a record owed.
    fn owes_nothing(&self) -> bool {
        self.text.starts_with("ledger ") && self.number("owed").is_ok_and(|count| count == 0)
    }

    /// The value of `name=value` in the text.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        self.text.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    }

    /// The board's own time in microseconds.
    ///
    /// # Errors
    /// [`Failure`] if the line has no such time.
    pub fn at_us(&self) -> Result<u64, Failure> {
        let (seconds, fraction) = self.at.split_once('.').unwrap_or((&self.at, "0"));
        let time = seconds.parse::<u64>().ok().zip(format!("{fraction:0<6}").parse::<u64>().ok());
        time.map(|(seconds, micros)| seconds * 1_000_000 + micros).ok_or_else(|| {
            Failure::child("board", format!("says `{}` at `{}`, which is no time", self.text, self.at))
        })
    }

    /// The number in `name=number`.
    ///
    /// # Errors
    /// [`Failure`] if the line has no such number.
    pub fn number(&self, name: &str) -> Result<u64, Failure> {
        let value = self.field(name).map(|value| value.trim_end_matches([',', ';']));
        value.and_then(|value| value.parse().ok()).ok_or_else(|| {
            Failure::child("board", format!("says `{}`, without the number {name}=", self.text))
        })
    }
}

impl State {
    fn tail(&self) -> String {
        // A line every two seconds that is the same but for its numbers: it would push out what matters.
        let telling: Vec<&Line> = self.lines.iter().filter(|line| !line.text.starts_with("usage ")).collect();
        let last = &telling[telling.len().saturating_sub(SHOWN_COUNT)..];
        let lines = last.iter().map(|line| format!("  {} {:5} {}", line.at, line.level, line.text));
        let ended = if self.ended { "\n  (the board has ended)" } else { "" };
        lines.collect::<Vec<_>>().join("\n") + ended
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves whole lines behind.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>, wait: Duration) -> MutexGuard<'a, State> {
        self.changed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0
    }

    fn fill(&self, mut stream: UnixStream, strings: &Strings) {
        let mut decoder = strings.0.new_stream_decoder();
        let mut chunk = [0; 4096];
        while let Ok(count) = stream.read(&mut chunk) {
            if count == 0 {
                break;
            }
            decoder.received(&chunk[..count]);
            loop {
                match decoder.decode() {
                    Ok(frame) => self.add(line_of(&frame)),
                    Err(DecodeError::Malformed) => self.lock().malformed_count += 1,
                    Err(DecodeError::UnexpectedEof) => break,
                }
            }
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    fn add(&self, line: Line) {
        self.lock().lines.push(line);
        self.changed.notify_all();
    }
}

fn line_of(frame: &defmt_decoder::Frame<'_>) -> Line {
    Line {
        at: frame.display_timestamp().map(|at| at.to_string()).unwrap_or_default(),
        level: frame.level().map(|level| level.as_str().to_owned()).unwrap_or_default(),
        text: frame.display_message().to_string(),
    }
}
