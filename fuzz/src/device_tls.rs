//! The device's TLS stream against what stands between it and the gateway: records of a real handshake, changed, cut,
//! doubled, swapped, and handed over in pieces.
//!
//! The device's randomness is the same in every run, so the gateway's side of one handshake, recorded at the start, is
//! good in every run. The certificates are made anew by each process: an input means "this place of that record".
//!
//! ```text
//! input: piece u8 | steps: kind u8, record u8, place u16, byte u8 ...
//! ```

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_gateway::config::Config;
use fieldpost_gateway::config::template::TemplateValues;
use fieldpost_gateway::init::{InitOptions, init};
use fieldpost_gateway::pki::FrontDoorTls;
use fieldpost_link::tls::{StreamBuffers, TlsStream};
use fieldpost_link::{Entropy, EntropyFailed, Provider, Tls, TlsIdentity};
use fieldpost_protocol::{DeviceId, ForceId, Mode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::allocation;

/// What the gateway says after the handshake, in two records.
const SAID: [&[u8]; 2] = [b"\x20\x03\x00\x00\x00", b"\x30\x0a\x00\x01d\x00\x01\x03\x02\x01\x07\x00"];

/// 1 January 2026.
const BUILT_UNIX_S: u32 = 1_767_225_600;

/// All that a connection may allocate, freed bytes included: the link promises at most 32 KiB held at once.
const BYTES_ALLOCATED_MAX: usize = 256 << 10;

/// **A stream exists only if every byte of the handshake came as the gateway sent it**, and what it hands over is what
/// the gateway said, up to where the damage is. Whatever comes, connecting ends, in bounded memory.
pub fn check(input: &[u8]) {
    let recording = recording();
    let Some((piece, script)) = input.split_first() else { return };
    let records = changed(&recording.records, script);
    let (bytes, intact) = (records.concat(), recording.records.concat());
    let wire = Wire { bytes: &bytes, piece: usize::from(*piece).max(1) };
    let heard = allocation::at_most(BYTES_ALLOCATED_MAX, || listen(&recording.tls, wire));
    match heard {
        // What follows the handshake may come in the same read, so that damage there ends it too.
        None => assert!(bytes != intact, "an untouched connection was refused"),
        Some(heard) => {
            let said = SAID.concat();
            assert!(said.starts_with(&heard), "the device heard {heard:02x?}");
            let lengths = |records: &[Vec<u8>]| records.iter().map(Vec::len).collect::<Vec<_>>();
            assert!(
                handshake_is_whole(&records, recording),
                "a changed handshake was taken: records of {:?} bytes, {:?} were sent, {} of them for the handshake",
                lengths(&records),
                lengths(&recording.records),
                recording.handshake_records
            );
        }
    }
}

/// Every record that the gateway's key protects came whole and in order. Headers are not looked at: rustls decrypts a
/// record whatever type and version its header shows, and the ServerHello is under the transcript's hash anyway.
fn handshake_is_whole(records: &[Vec<u8>], recording: &Recording) -> bool {
    let is_protected = |record: &&Vec<u8>| record.first() == Some(&23);
    let mut sent = recording.records[..recording.handshake_records].iter().filter(is_protected);
    let mut came = records.iter();
    sent.all(|sent| came.any(|came| came.get(5..) == sent.get(5..)))
}

/// Connects, and reads to the end. `None` if there was no connection.
fn listen(tls: &Tls, wire: Wire<'_>) -> Option<Vec<u8>> {
    SEED.store(1, Ordering::Relaxed);
    // Static on a device; counted here, as a constant.
    let mut buffers = Box::new(StreamBuffers::new());
    ready(async {
        let mut stream = TlsStream::connect(tls, wire, &mut buffers).await.ok()?;
        let mut heard = Vec::new();
        let mut part = [0; 64];
        while let Ok(count) = stream.read(&mut part).await {
            if count == 0 {
                break;
            }
            heard.extend_from_slice(&part[..count]);
        }
        _ = stream.close().await;
        Some(heard)
    })
}

fn changed(records: &[Vec<u8>], script: &[u8]) -> Vec<Vec<u8>> {
    let mut records = records.to_vec();
    for step in script.chunks_exact(5).take(32) {
        let [kind, record, low, high, byte] = *step else { unreachable!("chunks of five") };
        let (count, at) = (records.len(), usize::from(record) % records.len());
        let place = usize::from(u16::from_le_bytes([low, high])) % records[at].len().max(1);
        match kind % 7 {
            0 => records[at].iter_mut().skip(place).take(1).for_each(|hit| *hit ^= 1 << (byte % 8)),
            1 => records[at].iter_mut().skip(place).take(1).for_each(|hit| *hit = byte),
            2 => records[at].truncate(place),
            3 => records.insert(at, records[at].clone()),
            4 => records.swap(at, usize::from(byte) % count),
            5 if count > 1 => _ = records.remove(at),
            _ => records.insert(at, forged(byte, usize::from(u16::from_le_bytes([low, high])))),
        }
    }
    records
}

/// A record of any type and length, filled with one byte.
fn forged(byte: u8, len: usize) -> Vec<u8> {
    let len = len % 4096;
    let mut record = vec![20 + byte % 8, 3, 3, (len >> 8) as u8, len as u8];
    record.resize(5 + len, byte);
    record
}

struct Recording {
    tls: Tls,
    /// The gateway's side, record by record.
    records: Vec<Vec<u8>>,
    handshake_records: usize,
}

fn recording() -> &'static Recording {
    static RECORDING: OnceLock<Recording> = OnceLock::new();
    RECORDING.get_or_init(record)
}

/// One handshake with the gateway's own TLS configuration.
fn record() -> Recording {
    let dir = tempfile::tempdir().expect("a temporary folder can be made");
    let force = ForceId::try_new("fuzz").expect("an identity");
    let values = TemplateValues {
        front_door_listen: "127.0.0.1:0".to_owned(),
        forces: vec![("fuzz".to_owned(), "Fuzz".to_owned())],
        ..TemplateValues::default()
    };
    let options = InitOptions { values, ..InitOptions::default() };
    let mut made = init(&dir.path().join("gateway"), &options).expect("init succeeds");
    let config = Config::load(&made.config).expect("a fresh configuration loads");
    let door = FrontDoorTls::new(&config.front_door).expect("its TLS can be set up");
    let device = DeviceId::try_new("unit-7").expect("an identity");
    let issued = made.authority.issue_device(&force, &device, Mode::Test, 30).expect("issued");
    let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate");
    let key = PrivatePkcs8KeyDer::from_pem_slice(issued.key_pem.as_bytes()).expect("a key");
    let identity = TlsIdentity {
        chain: &[&der(&issued.certificate_pem)],
        key_pkcs8: key.secret_pkcs8_der(),
        authorities: &[&der(made.authority.certificate_pem())],
        gateway_name: "localhost",
        built_unix_s: BUILT_UNIX_S,
    };
    let tls = Tls::new(&PROVIDER, &identity).expect("a good slot");
    let server = rustls::ServerConnection::new(door.server_config()).expect("a server");
    let mut gateway = Gateway { server, sent: Vec::new(), read: 0 };
    SEED.store(1, Ordering::Relaxed);
    let mut buffers = Box::new(StreamBuffers::new());
    let handshake_bytes = ready(async {
        let stream = TlsStream::connect(&tls, &mut gateway, &mut buffers).await;
        stream.map(drop).expect("the gateway's own handshake");
        gateway.sent.len()
    });
    for said in SAID {
        std::io::Write::write_all(&mut gateway.server.writer(), said).expect("memory takes it");
        gateway.turn();
    }
    gateway.server.send_close_notify();
    gateway.turn();
    let records = split_records(&gateway.sent);
    let handshake_records = split_records(&gateway.sent[..handshake_bytes]).len();
    Recording { tls, records, handshake_records }
}

fn split_records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while let [_, _, _, high, low, ..] = bytes {
        let (record, rest) = bytes.split_at(5 + usize::from(u16::from_be_bytes([*high, *low])));
        records.push(record.to_vec());
        bytes = rest;
    }
    records
}

/// The gateway's TLS in memory.
struct Gateway {
    server: rustls::ServerConnection,
    sent: Vec<u8>,
    read: usize,
}

impl Gateway {
    fn turn(&mut self) {
        while self.server.wants_write() {
            self.server.write_tls(&mut self.sent).expect("memory takes it");
        }
    }
}

impl ErrorType for Gateway {
    type Error = core::convert::Infallible;
}

impl Read for Gateway {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        self.turn();
        let count = buf.len().min(self.sent.len() - self.read);
        buf[..count].copy_from_slice(&self.sent[self.read..self.read + count]);
        self.read += count;
        Ok(count)
    }
}

impl Write for Gateway {
    async fn write(&mut self, mut buf: &[u8]) -> Result<usize, Self::Error> {
        let count = self.server.read_tls(&mut buf).expect("memory can be read");
        self.server.process_new_packets().expect("the device's handshake is good");
        self.turn();
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// What stands between: hands over its bytes in pieces, takes everything, never waits.
struct Wire<'b> {
    bytes: &'b [u8],
    piece: usize,
}

impl ErrorType for Wire<'_> {
    type Error = core::convert::Infallible;
}

impl Read for Wire<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let (now, later) = self.bytes.split_at(self.piece.min(buf.len()).min(self.bytes.len()));
        buf[..now.len()].copy_from_slice(now);
        self.bytes = later;
        Ok(now.len())
    }
}

impl Write for Wire<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The same numbers in every run: never outside this folder.
#[derive(Debug)]
struct Repeated;

static SEED: AtomicU64 = AtomicU64::new(1);
static PROVIDER: Provider = Provider::new(&Repeated);

impl Entropy for Repeated {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        for byte in out {
            let seed = SEED.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            SEED.store(seed, Ordering::Relaxed);
            *byte = (seed >> 56) as u8;
        }
        Ok(())
    }
}

/// Runs a future that never waits.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(done) => done,
        std::task::Poll::Pending => panic!("a wire that never waits was waited for"),
    }
}
