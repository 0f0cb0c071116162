//! Bytes to lines: finds sentences in whatever arrives, in a fixed buffer.
//!
//! **A sentence is complete at its line end and never before**; a `$` inside one means that its end was lost, so the
//! half is dropped and the new one begins.

use super::Reject;

/// Longest sentence, without its line end. The standard says 80; a Trimble RTK receiver sends 91, the longest known
/// receiver sentence is 100.
pub const LINE_BYTES_MAX: usize = 120;

/// What a byte did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The sentence goes on, or none has begun.
    More,
    /// A sentence is complete.
    Line,
    /// A sentence was dropped.
    Reject(Reject),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Waiting for `$`.
    Between,
    Inside,
    /// The sentence is complete and may be read until the next byte.
    Complete,
}

#[derive(Debug, Clone)]
pub(super) struct Assembler {
    state: State,
    line: heapless::Vec<u8, LINE_BYTES_MAX>,
}

impl Default for Assembler {
    fn default() -> Self {
        Self { state: State::Between, line: heapless::Vec::new() }
    }
}

impl Assembler {
    /// The complete sentence, `$` to checksum; empty unless the last step was [`Step::Line`].
    pub(super) fn line(&self) -> &[u8] {
        if self.state == State::Complete { &self.line } else { &[] }
    }

    pub(super) fn push(&mut self, byte: u8) -> Step {
        let inside = self.state == State::Inside;
        match byte {
            b'$' => {
                self.begin();
                if inside { Step::Reject(Reject::Broken) } else { Step::More }
            }
            b'\r' | b'\n' if inside => {
                self.state = State::Complete;
                Step::Line
            }
            0x20..=0x7e if inside => self.append(byte),
            _ if inside => self.drop_line(Reject::Broken),
            _ => {
                self.state = State::Between;
                Step::More
            }
        }
    }

    fn begin(&mut self) {
        self.line.clear();
        self.state = State::Inside;
        // The buffer holds more than one byte.
        let _ = self.line.push(b'$');
    }

    fn append(&mut self, byte: u8) -> Step {
        match self.line.push(byte) {
            Ok(()) => Step::More,
            Err(_) => self.drop_line(Reject::Overlong),
        }
    }

    fn drop_line(&mut self, reason: Reject) -> Step {
        self.state = State::Between;
        Step::Reject(reason)
    }
}
