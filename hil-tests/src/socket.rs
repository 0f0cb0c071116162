//! Unix sockets that QEMU connects to, and lines from them, each wait with a deadline.

use std::{
    io::{self, Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    time::{Duration, Instant},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Failure;

/// A listening socket in a file. The rig listens and QEMU connects, so nobody has to try again.
#[derive(Debug)]
pub struct Door {
    listener: UnixListener,
    name: &'static str,
}

impl Door {
    /// Listens on `path`, taking the place of an earlier socket there.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn open(path: &Path, name: &'static str) -> Result<Self, Failure> {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Failure::at("remove", path)(error));
            }
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(Failure::at("listen on", path))?;
        Ok(Self { listener, name })
    }

    /// The connection, or `None` if nobody connected within `wait`.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn accept(&self, wait: Duration) -> Result<Option<UnixStream>, Failure> {
        let what = format!("cannot accept on the {} socket", self.name);
        let mut polled = [PollFd::new(&self.listener, PollFlags::IN)];
        let timeout = Timespec::try_from(wait).expect("waits here are seconds, not centuries");
        let ready =
            poll(&mut polled, Some(&timeout)).map_err(|error| Failure::io(what.clone())(error.into()))?;
        if ready == 0 {
            return Ok(None);
        }
        self.listener.accept().map(|(stream, _)| Some(stream)).map_err(Failure::io(what))
    }
}

/// Text lines over a stream.
#[derive(Debug)]
pub struct Lines {
    stream: UnixStream,
    buffer: Vec<u8>,
}

impl Lines {
    /// Takes over a stream.
    #[must_use]
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    /// Writes one line.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn write(&mut self, line: &str) -> io::Result<()> {
        self.stream.write_all(format!("{line}\n").as_bytes())
    }

    /// The next line, or `None` at the deadline.
    ///
    /// # Errors
    /// What the operating system said; [`io::ErrorKind::UnexpectedEof`] if the other side is gone.
    pub fn read(&mut self, deadline: Instant) -> io::Result<Option<String>> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(count) => self.buffer.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
