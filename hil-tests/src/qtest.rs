//! QEMU's test protocol beside a running guest: pins in, pins out, memory.
//!
//! Source: QEMU 7.2, `softmmu/qtest.c`. One command a line, answered by `OK ..` or `FAIL ..`; `IRQ raise N` and `IRQ lower N`
//! come at any time for the device whose outputs are watched.

use std::{
    os::unix::net::UnixStream,
    time::{Duration, Instant},
};

use crate::{Failure, socket::Lines};

const ANSWER_WAIT_MAX: Duration = Duration::from_secs(20);
/// Pins of the widest watched device, the max7310.
const PIN_COUNT: usize = 8;

/// A connection that speaks qtest.
#[derive(Debug)]
pub struct Qtest {
    lines: Lines,
    /// Newest level of each watched output; `None` until it first changes.
    outputs: [Option<bool>; PIN_COUNT],
}

impl Qtest {
    /// Takes over QEMU's qtest socket.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { lines: Lines::new(stream), outputs: [None; PIN_COUNT] }
    }

    /// Drives an input pin of a device made with `-device ..,id=ID`.
    ///
    /// # Errors
    /// [`Failure`] if there is no such pin.
    pub fn drive(&mut self, id: &str, pin: u8, level: bool) -> Result<(), Failure> {
        let level = u8::from(level);
        self.command(&format!("set_irq_in /machine/peripheral/{id} unnamed-gpio-in {pin} {level}")).map(drop)
    }

    /// Watches the output pins of one device from now on. QEMU allows one device.
    ///
    /// # Errors
    /// [`Failure`] if there is no such device.
    pub fn watch(&mut self, id: &str) -> Result<(), Failure> {
        self.command(&format!("irq_intercept_out /machine/peripheral/{id}")).map(drop)
    }

    /// Waits until a watched output has this level.
    ///
    /// # Errors
    /// [`Failure::Late`].
    pub fn wait_for_output(&mut self, pin: u8, level: bool, wait: Duration) -> Result<(), Failure> {
        let deadline = Instant::now() + wait;
        while self.outputs[usize::from(pin)] != Some(level) {
            match self.lines.read(deadline).map_err(Failure::io("qemu's qtest socket"))? {
                Some(line) => self.take_event(&line),
                None => {
                    return Err(Failure::Late {
                        awaited: format!("output {pin} at {level}"),
                        waited: wait,
                        seen: format!("{:?}", self.outputs),
                    });
                }
            }
        }
        Ok(())
    }

    /// Fills memory with one byte value.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn fill(&mut self, address: u32, length: u32, value: u8) -> Result<(), Failure> {
        self.command(&format!("memset {address:#x} {length:#x} {value:#x}")).map(drop)
    }

    /// Reads memory.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn read(&mut self, address: u32, length: u32) -> Result<Vec<u8>, Failure> {
        let answer = self.command(&format!("read {address:#x} {length:#x}"))?;
        let digits = answer.strip_prefix("0x").unwrap_or(&answer).as_bytes();
        let byte = |pair: &[u8]| {
            let text = std::str::from_utf8(pair).ok()?;
            u8::from_str_radix(text, 16).ok()
        };
        let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
        bytes.ok_or_else(|| Failure::child("qemu", "answered a read with something that is not hexadecimal"))
    }

    /// Writes a 32-bit word.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn write_word(&mut self, address: u32, value: u32) -> Result<(), Failure> {
        self.command(&format!("writel {address:#x} {value:#x}")).map(drop)
    }

    /// Reads a 32-bit word.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn read_word(&mut self, address: u32) -> Result<u32, Failure> {
        let answer = self.command(&format!("readl {address:#x}"))?;
        let value = u64::from_str_radix(answer.trim_start_matches("0x"), 16).ok();
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| Failure::child("qemu", format!("answered a read with {answer}")))
    }

    fn command(&mut self, line: &str) -> Result<String, Failure> {
        self.lines.write(line).map_err(Failure::io("cannot write to qemu's qtest socket"))?;
        let deadline = Instant::now() + ANSWER_WAIT_MAX;
        loop {
            let answer = self.lines.read(deadline).map_err(Failure::io("qemu's qtest socket"))?;
            let answer = answer.ok_or_else(|| Failure::child("qemu", format!("does not answer `{line}`")))?;
            if let Some(rest) = answer.strip_prefix("OK") {
                return Ok(rest.trim().to_owned());
            }
            if answer.starts_with("FAIL") || answer.starts_with("ERR") {
                return Err(Failure::child("qemu", format!("refused `{line}`: {answer}")));
            }
            self.take_event(&answer);
        }
    }

    fn take_event(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["IRQ", direction, pin] = words[..] else { return };
        if let Some(output) = pin.parse().ok().and_then(|pin: usize| self.outputs.get_mut(pin)) {
            *output = Some(direction == "raise");
        }
    }
}
