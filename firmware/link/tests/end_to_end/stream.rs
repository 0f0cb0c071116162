//! The TLS stream on a bad transport: in pieces, waited for and dropped at every await, damaged at every place.

use std::io::ErrorKind;
use std::net::TcpStream;
use std::task::Poll;

use embassy_futures::{block_on, poll_once};
use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_link::tls::{Checks, StreamBuffers, TlsFailure, TlsStream};

use crate::gateway::BUILT_UNIX_S;
use crate::hostile::ENROLLED;
use crate::rogue;

/// What happens to the bytes of the gateway on their way, counted from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tamper {
    Nothing,
    /// A bit of this byte is turned.
    Turn(usize),
    /// The stream ends before this byte.
    Cut(usize),
    /// This byte comes twice.
    Repeat(usize),
}

/// A socket that never blocks, makes its caller wait every other time, and moves at most `piece` bytes.
struct Choppy {
    tcp: TcpStream,
    piece: usize,
    waits: bool,
    tamper: Tamper,
    received: usize,
}

impl Choppy {
    fn new(tcp: TcpStream, piece: usize, tamper: Tamper) -> Self {
        tcp.set_nonblocking(true).expect("a socket");
        Self { tcp, piece, waits: false, tamper, received: 0 }
    }

    /// Pends once in two calls, and while the socket would block.
    async fn moved(
        &mut self,
        mut io: impl FnMut(&mut TcpStream) -> std::io::Result<usize>,
    ) -> std::io::Result<usize> {
        std::future::poll_fn(|cx| {
            self.waits = !self.waits;
            cx.waker().wake_by_ref();
            if self.waits {
                return Poll::Pending;
            }
            match io(&mut self.tcp) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Poll::Pending,
                outcome => Poll::Ready(outcome),
            }
        })
        .await
    }
}

impl ErrorType for Choppy {
    type Error = std::io::Error;
}

impl Read for Choppy {
    async fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        // Up to the byte that something happens to, or from it one byte.
        let room = match self.tamper {
            Tamper::Cut(at) if self.received >= at => return Ok(0),
            Tamper::Turn(at) | Tamper::Repeat(at) | Tamper::Cut(at) if self.received < at => {
                at - self.received
            }
            Tamper::Turn(at) | Tamper::Repeat(at) if self.received == at => 1,
            _ => usize::MAX,
        };
        let room = room.min(self.piece).min(buf.len());
        let is_repeated = self.tamper == Tamper::Repeat(self.received) && buf.len() > 1;
        let is_turned = self.tamper == Tamper::Turn(self.received);
        let mut count = self.moved(|tcp| std::io::Read::read(tcp, &mut buf[..room])).await?;
        self.received += count;
        if is_turned && count > 0 {
            buf[0] ^= 0x10;
        }
        if is_repeated && count > 0 {
            buf[1] = buf[0];
            count += 1;
        }
        Ok(count)
    }
}

impl Write for Choppy {
    async fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        let piece = self.piece.min(buf.len());
        self.moved(|tcp| std::io::Write::write(tcp, &buf[..piece])).await
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A handshake with a good gateway over a bad transport.
fn handshake(tamper: Tamper) -> Result<(), TlsFailure> {
    let (address, server) = ENROLLED.server(rogue::shake_hands_and_end);
    let tls = ENROLLED.tls(Checks::ALL, BUILT_UNIX_S);
    let mut buffers = Box::new(StreamBuffers::new());
    let io = Choppy::new(TcpStream::connect(address).expect("it listens"), usize::MAX, tamper);
    let outcome = block_on(TlsStream::connect(&tls, io, &mut buffers)).map(drop);
    server.join().expect("the server does not panic");
    outcome
}

#[test]
fn a_handshake_with_a_byte_turned_repeated_or_missing_fails_wherever_it_is() {
    assert_eq!(handshake(Tamper::Nothing), Ok(()));
    // ServerHello is 123 bytes; the whole flight about 850. Each step is a whole handshake, so not every byte.
    for at in (0..160).step_by(7).chain((160..800).step_by(41)) {
        for tamper in [Tamper::Turn(at), Tamper::Repeat(at), Tamper::Cut(at)] {
            assert!(handshake(tamper).is_err(), "{tamper:?} went unnoticed");
        }
    }
}

/// Repeats what is asked for until it is done, dropping it at every await. Anything but cancel-safe loses bytes.
macro_rules! insist {
    ($asked:expr) => {
        loop {
            if let Poll::Ready(done) = poll_once($asked) {
                break done;
            }
        }
    };
}

#[test]
fn reads_writes_and_flushes_that_are_dropped_at_every_await_lose_and_repeat_nothing() {
    const COUNT: usize = 12_000;
    for piece in [1, 7, 700] {
        let (address, server) = ENROLLED.server(|tcp, forger| rogue::echo(tcp, forger, COUNT));
        let tls = ENROLLED.tls(Checks::ALL, BUILT_UNIX_S);
        let mut buffers = Box::new(StreamBuffers::new());
        let io = Choppy::new(TcpStream::connect(address).expect("it listens"), piece, Tamper::Nothing);
        let mut stream = block_on(TlsStream::connect(&tls, io, &mut buffers)).expect("a good gateway");
        let sent: Vec<u8> = (0..COUNT).map(|number| (number % 251) as u8).collect();
        let (mut written, mut echoed) = (0, Vec::new());
        let mut buffer = [0; 300];
        while echoed.len() < COUNT {
            if written < COUNT {
                written +=
                    insist!(stream.write(&sent[written..COUNT.min(written + 900)])).expect("it takes bytes");
                insist!(stream.flush()).expect("it sends");
            }
            let read = insist!(stream.read(&mut buffer)).expect("an echo");
            echoed.extend_from_slice(&buffer[..read]);
        }
        assert!(echoed == sent, "in pieces of {piece}");
        drop(stream);
        server.join().expect("the server does not panic").expect("it heard everything");
    }
}
