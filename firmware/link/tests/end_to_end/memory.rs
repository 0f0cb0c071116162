//! The heap while strangers talk: bounded, whatever they say before they are verified.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_link::Clock as _;
use fieldpost_link::tls::{Checks, Refusal, StreamBuffers, TlsFailure, TlsStream};

use crate::body::TestClock;
use crate::gateway::BUILT_UNIX_S;
use crate::hostile::ENROLLED;
use crate::rogue::{self, Attack, Forger};

/// A device's heap. On the device pointers are half as long, so what fits here fits there.
const HEAP_BYTES_MAX: u64 = 32 * 1024;

/// A socket that blocks, so that the measured thread does nothing else.
struct Blocking(TcpStream);

impl ErrorType for Blocking {
    type Error = std::io::Error;
}

impl Read for Blocking {
    async fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Blocking {
    async fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }

    async fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// The heap's peak over one handshake and what is read after it, in bytes, and how the handshake ended.
fn peak<T: Send + 'static>(
    serve: impl FnOnce(TcpStream, &Forger) -> T + Send + 'static,
) -> (u64, Result<(), TlsFailure>, T) {
    let (address, server) = ENROLLED.server(serve);
    let tls = ENROLLED.tls(Checks::ALL, BUILT_UNIX_S);
    tls.set_clock(TestClock::good().unix_s());
    let mut buffers = Box::new(StreamBuffers::new());
    let mut outcome = Ok(());
    let tcp = TcpStream::connect(address).expect("the server listens");
    let info = allocation_counter::measure(|| {
        outcome = embassy_futures::block_on(async {
            let mut stream = TlsStream::connect(&tls, Blocking(tcp), &mut buffers).await?;
            let mut byte = [0];
            // Tells a server that it has been believed.
            stream.write_all(b"x").await?;
            stream.flush().await?;
            while stream.read(&mut byte).await.is_ok_and(|count| count > 0) {}
            // Dead, and says so as often as it is asked.
            for _ in 0..3 {
                _ = stream.read(&mut byte).await;
            }
            Ok(())
        });
    });
    (info.bytes_max, outcome, server.join().expect("the server does not panic"))
}

fn attack(attack: Attack) -> (u64, Result<(), TlsFailure>) {
    let (bytes, outcome, _) = peak(move |tcp, forger| rogue::serve(tcp, forger, attack));
    (bytes, outcome)
}

#[test]
fn no_handshake_takes_more_heap_than_half_of_what_a_device_has() {
    for kind in Attack::HANDSHAKE {
        let (bytes, outcome) = attack(kind);
        assert!(outcome.is_err(), "{kind:?} was taken for the gateway");
        assert!(bytes <= HEAP_BYTES_MAX / 2, "{kind:?} takes {bytes} bytes");
    }
}

#[test]
fn a_good_handshake_takes_what_the_documents_say() {
    let (bytes, outcome, _) = peak(rogue::shake_hands_and_end);
    assert_eq!(outcome, Ok(()));
    assert!((4096..=8192).contains(&bytes), "{bytes} bytes; docs/FIRMWARE.md says 8 KiB");
}

#[test]
fn session_tickets_of_a_gateway_cost_no_more_than_its_handshake_and_those_of_a_stranger_little() {
    let (bytes, outcome, _) = peak(|tcp, forger| rogue::give_tickets(tcp, forger, &[713, 713, 1974, 1974]));
    assert_eq!(outcome, Ok(()));
    assert!(bytes <= 8192, "{bytes} bytes; docs/FIRMWARE.md says 8 KiB");
    let (bytes, outcome, _) = peak(|tcp, _| rogue::give_a_ticket_first(tcp));
    assert_eq!(outcome, Err(TlsFailure::Protocol));
    assert!(bytes <= HEAP_BYTES_MAX / 2, "{bytes} bytes");
}

#[test]
fn no_babble_of_a_stranger_is_believed_panics_or_fills_the_heap() {
    let mut failures = Vec::new();
    for seed in 0..150 {
        let (bytes, outcome, seen) = peak(move |tcp, forger| rogue::babble(tcp, forger, seed));
        failures.push(outcome.expect_err(&format!("seed {seed} is not the gateway")));
        assert!(seen.application.is_empty(), "seed {seed} has heard something");
        assert!(bytes <= HEAP_BYTES_MAX / 2, "seed {seed} takes {bytes} bytes");
    }
    for depth in
        [TlsFailure::TooLarge, TlsFailure::Protocol, TlsFailure::CutOff, TlsFailure::Refused(Refusal::Chain)]
    {
        assert!(failures.contains(&depth), "no seed got as far as {depth:?}");
    }
}

#[test]
fn no_babble_of_a_gateway_panics_or_fills_the_heap() {
    for seed in 0..100 {
        let (bytes, outcome, _) = peak(move |tcp, forger| rogue::babble_after_handshake(tcp, forger, seed));
        assert_eq!(outcome, Ok(()), "the handshake of seed {seed} is good");
        assert!(bytes <= HEAP_BYTES_MAX / 2, "seed {seed} takes {bytes} bytes");
    }
}
