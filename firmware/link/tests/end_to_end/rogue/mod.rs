//! Gateways that are none: for host tests of the link, and for the bench rig against the image (it includes this folder
//! by path, so nothing here names the crate around it).
//!
//! A rogue stands where the gateway should be: it has the device's address book, but not the gateway's key. To show what
//! each check is worth, some attacks use certificates that the authority would have had to be tricked into signing.

mod forge;
mod mangle;
mod tls;

use std::net::TcpStream;

use rcgen::{ExtendedKeyUsagePurpose as Usage, KeyUsagePurpose, date_time_ymd};

pub(crate) use self::forge::{Forger, Shown};
use self::mangle::Mangler;
use self::tls::{Next, Server, answer_as_tls12, message};

/// What a rogue does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// Nothing: a good certificate and a well-behaved server. Shows that the rogue's own handshake works.
    None,
    /// No Certificate, no CertificateVerify.
    NoCertificate,
    /// A Certificate without a certificate.
    EmptyCertificate,
    /// CertificateVerify without Certificate.
    ProofAlone,
    /// The gateway's own certificate without CertificateVerify.
    NoProof,
    /// The gateway's own certificate, signed for with another key.
    WrongProof,
    /// A certificate for another host.
    WrongName,
    /// An authority of its own.
    UnknownAuthority,
    /// A gateway's certificate signed by a stolen device's key.
    SignedByDevice,
    /// Extended key usage clientAuth only.
    ClientOnly,
    /// No extended key usage.
    NoUsage,
    /// Key usage without signatures.
    NoSigning,
    /// The gateway's name and usage in a certificate that is a device's.
    DeviceAsGateway,
    /// Ended in 2025.
    Expired,
    /// Begins in 2039.
    NotYetValid,
    /// TLS 1.2.
    Tls12,
    /// A CertificateRequest of 2 KiB: 650 names of one byte.
    ManyNames,
    /// A CertificateRequest of 8 KiB.
    TooManyNames,
    /// A Certificate of 2 KiB: 330 certificates of one byte.
    ManyCertificates,
    /// EncryptedExtensions of 2 KiB: 480 extensions that nobody knows.
    ManyExtensions,
    /// A record of 16 KiB.
    HugeRecord,
    /// After the CONNECT: bytes that are no MQTT.
    Garbage,
    /// After the CONNECT: a CONNACK that is cut off.
    CutOff,
    /// A downlink message of 1 KiB, more than announced.
    OversizedDownlink,
    /// A packet that says it is 256 MiB long.
    LyingLength,
    /// A downlink message on another device's topic.
    ForeignTopic,
    /// PUBACK for what was never published.
    UnaskedPuback,
    /// A downlink message of quality 2.
    QualityTwo,
    /// CONNACK with a session that a clean start cannot have.
    ImpossibleSession,
    /// CONNACK twice.
    SecondConnack,
    /// A record with a bit turned.
    MutatedRecord,
    /// A record sent twice.
    DuplicatedRecord,
    /// Half a record and the end of the stream.
    TruncatedRecord,
}

impl Attack {
    /// Refused before the device says a word of MQTT.
    pub(crate) const HANDSHAKE: [Self; 20] = [
        Self::NoCertificate,
        Self::EmptyCertificate,
        Self::ProofAlone,
        Self::NoProof,
        Self::WrongProof,
        Self::WrongName,
        Self::UnknownAuthority,
        Self::SignedByDevice,
        Self::ClientOnly,
        Self::NoUsage,
        Self::NoSigning,
        Self::DeviceAsGateway,
        Self::Expired,
        Self::NotYetValid,
        Self::Tls12,
        Self::ManyNames,
        Self::TooManyNames,
        Self::ManyCertificates,
        Self::ManyExtensions,
        Self::HugeRecord,
    ];

    /// A verified gateway that misbehaves: the connection ends.
    pub(crate) const AFTER: [Self; 12] = [
        Self::Garbage,
        Self::CutOff,
        Self::OversizedDownlink,
        Self::LyingLength,
        Self::ForeignTopic,
        Self::UnaskedPuback,
        Self::QualityTwo,
        Self::ImpossibleSession,
        Self::SecondConnack,
        Self::MutatedRecord,
        Self::DuplicatedRecord,
        Self::TruncatedRecord,
    ];
}

/// What reached the rogue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Application bytes it could read. **Empty, or the device has leaked.**
    pub(crate) application: Vec<u8>,
    /// The device's alert (RFC 8446 section 6).
    pub(crate) alert: Option<u8>,
}

/// A gateway as it should be, whose flight ends the stream: nothing more comes after the handshake.
pub(crate) fn shake_hands_and_end(tcp: TcpStream, forger: &Forger) -> Option<()> {
    let mut server = Server::accept(tcp)?;
    shake_hands(&mut server, forger, Attack::None)?;
    server.end();
    server.drain(&mut Seen::default());
    Some(())
}

/// A gateway as it should be, that sends back every byte until `count` have come.
pub(crate) fn echo(tcp: TcpStream, forger: &Forger, count: usize) -> Option<()> {
    let mut server = Server::accept(tcp)?;
    shake_hands(&mut server, forger, Attack::None)?;
    let mut echoed = 0;
    while echoed < count {
        let Next::Application(bytes) = server.next() else { return None };
        echoed += bytes.len();
        let record = server.seal(&bytes);
        server.send(&record)?;
    }
    server.drain(&mut Seen::default());
    Some(())
}

/// A stranger that says anything in well-sealed records: its own flight, mangled by this seed.
pub(crate) fn babble(tcp: TcpStream, forger: &Forger, seed: u64) -> Seen {
    let mut seen = Seen::default();
    if let Some(mut server) = Server::accept(tcp) {
        server.mangle(Mangler::new(seed));
        // The device may hang up at any point: that is what it is for.
        _ = shake_hands(&mut server, forger, Attack::UnknownAuthority);
        server.end();
        server.drain(&mut seen);
    }
    seen
}

/// A verified gateway that says anything in well-sealed records.
pub(crate) fn babble_after_handshake(tcp: TcpStream, forger: &Forger, seed: u64) -> Option<()> {
    let mut server = Server::accept(tcp)?;
    shake_hands(&mut server, forger, Attack::None)?;
    let Next::Application(_) = server.next() else { return None };
    let mut mangler = Mangler::new(seed);
    for _ in 0..8 {
        server.say_anything(&mut mangler)?;
    }
    server.end();
    server.drain(&mut Seen::default());
    Some(())
}

/// A gateway that the device verifies: it says CONNACK and then these packets, and listens until the device ends it.
#[allow(dead_code, reason = "the bench rig's: it has an image's log to see what became of them")]
pub(crate) fn say_after_connack(tcp: TcpStream, forger: &Forger, packets: &[u8]) -> Option<()> {
    let mut server = Server::accept(tcp)?;
    shake_hands(&mut server, forger, Attack::None)?;
    let Next::Application(_) = server.next() else { return None };
    let record = server.seal(&[CONNACK, packets].concat());
    server.send(&record)?;
    server.drain(&mut Seen::default());
    Some(())
}

/// A gateway as it should be, but for session tickets of these lengths that nobody asked for; then it answers the CONNECT
/// and ends.
#[allow(dead_code, reason = "the host's: the bench rig has a broker that sends them")]
pub(crate) fn give_tickets(tcp: TcpStream, forger: &Forger, lengths: &[usize]) -> Option<()> {
    let mut server = Server::accept(tcp)?;
    shake_hands(&mut server, forger, Attack::None)?;
    for length in lengths {
        server.say_in_one_record(&ticket(*length, 0))?;
    }
    let Next::Application(_) = server.next() else { return None };
    let record = server.seal(CONNACK);
    server.send(&record)?;
    server.end();
    server.drain(&mut Seen::default());
    Some(())
}

/// A stranger whose first word is a session ticket, as long as fits and with as many extensions.
#[allow(dead_code, reason = "the host's: only there the heap is measured")]
pub(crate) fn give_a_ticket_first(tcp: TcpStream) -> Option<()> {
    let mut server = Server::accept(tcp)?;
    server.say_in_one_record(&ticket(2020, 480))?;
    server.drain(&mut Seen::default());
    Some(())
}

/// Serves one connection until the device ends it.
pub(crate) fn serve(tcp: TcpStream, forger: &Forger, attack: Attack) -> Seen {
    let mut seen = Seen::default();
    // The device may hang up at any point: that is what it is for.
    _ = if attack == Attack::Tls12 {
        answer_as_tls12(tcp, &mut seen)
    } else {
        Server::accept(tcp).and_then(|server| attack_with(server, forger, attack, &mut seen))
    };
    seen
}

fn attack_with(mut server: Server, forger: &Forger, attack: Attack, seen: &mut Seen) -> Option<()> {
    let said = shake_hands(&mut server, forger, attack);
    if said.is_none() {
        server.drain(seen);
        return None;
    }
    match server.next() {
        Next::Application(connect) => seen.application.extend(connect),
        Next::Alert(alert) => seen.alert = Some(alert),
        Next::End => return None,
    }
    if !seen.application.is_empty() {
        misbehave(&mut server, attack);
        if matches!(attack, Attack::TruncatedRecord | Attack::CutOff) {
            return None; // the end of the stream is part of it
        }
    }
    server.drain(seen);
    Some(())
}

fn shake_hands(server: &mut Server, forger: &Forger, attack: Attack) -> Option<()> {
    let shown = shown(forger, attack);
    let extensions = if attack == Attack::ManyExtensions { extensions(480) } else { Vec::new() };
    server.say(&[message(8, &with_length(2, &extensions))])?;
    let names = match attack {
        Attack::ManyNames => 650,
        Attack::TooManyNames => 2600,
        _ => 0,
    };
    server.say(&[certificate_request(names)])?;
    match attack {
        Attack::NoCertificate | Attack::ProofAlone => {}
        Attack::EmptyCertificate => server.say(&[certificate(&[])])?,
        Attack::ManyCertificates => server.say(&[certificate(&vec![vec![0x30]; 330])])?,
        Attack::HugeRecord => server.say_in_one_record(&certificate(&vec![vec![0x30; 100]; 150]))?,
        _ => server.say(&[certificate(&shown.chain)])?,
    }
    if !matches!(attack, Attack::NoCertificate | Attack::NoProof) {
        let proof = match attack {
            Attack::WrongProof => server.verification(&forger.signed(&forger.gateway()).key),
            _ => server.verification(&shown.key),
        };
        server.say(&[proof])?;
    }
    server.finish()
}

/// The certificate that an attack shows.
fn shown(forger: &Forger, attack: Attack) -> Shown {
    let mut params = forger.gateway();
    match attack {
        Attack::WrongName => params = forger.named("gateway.example"),
        Attack::UnknownAuthority => return forger.signed_by_stranger(&params),
        Attack::SignedByDevice => return forger.signed_by_device(&params),
        Attack::ClientOnly => params.extended_key_usages = vec![Usage::ClientAuth],
        Attack::NoUsage => params.extended_key_usages = Vec::new(),
        Attack::NoSigning => params.key_usages = vec![KeyUsagePurpose::KeyAgreement],
        Attack::DeviceAsGateway => {
            params.subject_alt_names.extend(forger.device().subject_alt_names);
            params.extended_key_usages = vec![Usage::ServerAuth, Usage::ClientAuth];
        }
        Attack::Expired => {
            params.not_before = date_time_ymd(2024, 1, 1);
            params.not_after = date_time_ymd(2025, 1, 1);
        }
        Attack::NotYetValid => params.not_before = date_time_ymd(2039, 1, 1),
        _ => {}
    }
    forger.signed(&params)
}

/// Success, no session, no properties.
const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

/// What a verified gateway says to the CONNECT.
fn misbehave(server: &mut Server, attack: Attack) {
    let publish = |flags: u8, topic: &str, payload: usize| {
        let mut body = with_length(2, topic.as_bytes());
        body.extend([0, 1, 0]);
        body.extend(vec![0x55; payload]);
        let mut packet = vec![0x30 | flags, (body.len() & 0x7F) as u8 | 0x80, (body.len() >> 7) as u8];
        packet.extend(body);
        [CONNACK, &packet].concat()
    };
    let said: Vec<u8> = match attack {
        Attack::Garbage => vec![0xFF; 64],
        Attack::CutOff => vec![0x20, 200, 1, 0],
        Attack::OversizedDownlink => publish(2, "fp1/unit-7/down", 1024),
        Attack::LyingLength => [CONNACK, &[0x32, 0xFF, 0xFF, 0xFF, 0x7F]].concat(),
        Attack::ForeignTopic => publish(2, "fp1/unit-8/down", 8),
        Attack::UnaskedPuback => [CONNACK, &[0x40, 2, 0, 9]].concat(),
        Attack::QualityTwo => publish(4, "fp1/unit-7/down", 8),
        Attack::ImpossibleSession => vec![0x20, 3, 1, 0, 0],
        Attack::SecondConnack => [CONNACK, CONNACK].concat(),
        _ => CONNACK.to_vec(),
    };
    let mut record = server.seal(&said);
    match attack {
        Attack::MutatedRecord => record[7] ^= 1,
        Attack::DuplicatedRecord => record = record.repeat(2),
        Attack::TruncatedRecord => record.truncate(record.len() - 4),
        _ => {}
    }
    // A device that has hung up already is what this is for.
    _ = server.send(&record);
}

fn certificate_request(names: usize) -> Vec<u8> {
    // signature_algorithms: ecdsa_secp256r1_sha256
    let mut extensions = vec![0, 13, 0, 4, 0, 2, 4, 3];
    if names > 0 {
        let list = with_length(2, &[0, 1, b'x'].repeat(names));
        extensions.extend([0, 47]);
        extensions.extend(with_length(2, &list));
    }
    message(13, &[vec![0], with_length(2, &extensions)].concat())
}

fn certificate(chain: &[Vec<u8>]) -> Vec<u8> {
    let entries: Vec<u8> =
        chain.iter().flat_map(|entry| [with_length(3, entry), vec![0, 0]].concat()).collect();
    message(11, &[vec![0], with_length(3, &entries)].concat())
}

/// A NewSessionTicket of so many bytes in all (RFC 8446 section 4.6.1).
fn ticket(length: usize, extension_count: u16) -> Vec<u8> {
    let extensions = with_length(2, &extensions(extension_count));
    // Type and length, lifetime, age, nonce, the ticket's own length.
    let start = [[0; 8].as_slice(), &[1, 7]].concat();
    let room = length - 4 - start.len() - 2 - extensions.len();
    message(4, &[start, with_length(2, &vec![0x55; room]), extensions].concat())
}

/// Extensions of numbers that nobody has assigned.
fn extensions(count: u16) -> Vec<u8> {
    (0..count).flat_map(|number| [(0x8000 + number).to_be_bytes(), [0, 0]].concat()).collect()
}

fn with_length(width: usize, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("short").to_be_bytes();
    [&length[4 - width..], bytes].concat()
}
