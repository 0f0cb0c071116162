//! The heap while strangers talk: bounded, whatever they say before they are verified.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_link::tls::{Checks, StreamBuffers, TlsFailure, TlsStream};

use crate::gateway::BUILT_UNIX_S;
use crate::hostile::ENROLLED;
use crate::rogue::Attack;

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

/// The heap's peak over one handshake, in bytes, and how that ended.
fn peak(attack: Attack) -> (u64, Result<(), TlsFailure>) {
    let (address, rogue) = ENROLLED.rogue(attack);
    let tls = ENROLLED.tls(Checks::ALL, BUILT_UNIX_S);
    let mut buffers = Box::new(StreamBuffers::new());
    let mut outcome = Ok(());
    let tcp = TcpStream::connect(address).expect("the rogue listens");
    let info = allocation_counter::measure(|| {
        let connecting = TlsStream::connect(&tls, Blocking(tcp), &mut buffers);
        outcome = embassy_futures::block_on(connecting).map(drop);
    });
    rogue.join().expect("the rogue does not panic");
    (info.bytes_max, outcome)
}

#[test]
fn no_handshake_takes_more_heap_than_half_of_what_a_device_has() {
    for attack in Attack::HANDSHAKE {
        let (bytes, _) = peak(attack);
        assert!(bytes <= HEAP_BYTES_MAX / 2, "{attack:?} takes {bytes} bytes");
    }
}

#[test]
fn a_good_handshake_takes_what_the_documents_say() {
    let (bytes, outcome) = peak(Attack::None);
    assert_eq!(outcome, Ok(()));
    assert!((4096..=8192).contains(&bytes), "{bytes} bytes; docs/FIRMWARE.md says 8 KiB");
}
