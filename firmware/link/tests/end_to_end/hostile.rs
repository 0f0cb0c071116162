//! A device and gateways that are none: refused for the right reason, nothing leaked, nothing panics.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::LazyLock;
use std::thread::JoinHandle;

use fieldpost_gateway::pki::Authority;
use fieldpost_link::mqtt::{Fault, Malformed};
use fieldpost_link::tls::{Checks, Refusal, TlsFailure};
use fieldpost_link::{End, Order, Tls, TlsIdentity};
use fieldpost_protocol::{ForceId, Mode};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer};

use crate::body::{Heard, Link, PROVIDER, TestClock};
use crate::delivery::device;
use crate::gateway::{BUILT_UNIX_S, FORCE, GATEWAY_NAME};
use crate::rogue::{self, Attack, Forger, Seen};

/// An authority, and a device of it.
pub(crate) struct Enrolled {
    authority_pem: String,
    authority_key_pem: String,
    certificate_pem: String,
    key_pem: String,
}

impl Enrolled {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let mut authority = Authority::create(dir.path()).expect("an authority");
        let force = ForceId::try_new(FORCE).expect("an identity");
        let issued = authority.issue_device(&force, &device(), Mode::Test, 30).expect("issued");
        Self {
            authority_pem: authority.certificate_pem().to_owned(),
            authority_key_pem: std::fs::read_to_string(dir.path().join("ca.key"))
                .expect("the authority's key"),
            certificate_pem: issued.certificate_pem.clone(),
            key_pem: issued.key_pem.clone(),
        }
    }

    pub(crate) fn forger(&self) -> Forger {
        Forger::new(&self.authority_pem, &self.authority_key_pem, GATEWAY_NAME)
    }

    pub(crate) fn tls(&self, checks: Checks, built_unix_s: u32) -> Tls {
        let certificate =
            CertificateDer::from_pem_slice(self.certificate_pem.as_bytes()).expect("a certificate");
        let key = PrivatePkcs8KeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("a key");
        let authority = CertificateDer::from_pem_slice(self.authority_pem.as_bytes()).expect("an authority");
        let identity = TlsIdentity {
            chain: &[&certificate],
            key_pkcs8: key.secret_pkcs8_der(),
            authorities: &[&authority],
            gateway_name: GATEWAY_NAME,
            built_unix_s,
        };
        Tls::with_checks(&PROVIDER, &identity, checks).expect("a good slot")
    }

    /// A rogue for one connection.
    pub(crate) fn rogue(&self, attack: Attack) -> (SocketAddr, JoinHandle<Seen>) {
        self.server(move |tcp, forger| rogue::serve(tcp, forger, attack))
    }

    /// A server for one connection, in a thread of its own.
    pub(crate) fn server<T: Send + 'static>(
        &self,
        serve: impl FnOnce(TcpStream, &Forger) -> T + Send + 'static,
    ) -> (SocketAddr, JoinHandle<T>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let forger = self.forger();
        let server = std::thread::spawn(move || {
            let (tcp, _) = listener.accept().expect("the device dials");
            serve(tcp, &forger)
        });
        (address, server)
    }
}

/// One for all tests: making it costs a second.
pub(crate) static ENROLLED: LazyLock<Enrolled> = LazyLock::new(Enrolled::new);

/// What a device with these checks makes of an attack, and what the attacker saw.
async fn meet(attack: Attack, checks: Checks, clock: TestClock) -> (Heard, Seen) {
    let (address, rogue) = ENROLLED.rogue(attack);
    let tls = ENROLLED.tls(checks, BUILT_UNIX_S);
    let mut link = Link::start(address, tls, &device(), clock);
    let mut heard = link.connect().await;
    if Attack::AFTER.contains(&attack) && matches!(heard, Heard::Connected { .. }) {
        heard = link.hear().await;
    }
    drop(link);
    let seen = tokio::task::spawn_blocking(|| rogue.join())
        .await
        .expect("joined")
        .expect("the rogue does not panic");
    (heard, seen)
}

async fn refusal(attack: Attack, clock: TestClock) -> TlsFailure {
    let (heard, seen) = meet(attack, Checks::ALL, clock).await;
    assert!(seen.application.is_empty(), "{attack:?} has seen MQTT");
    match heard {
        Heard::Disconnected(End::Tls(failure)) => failure,
        heard => panic!("{attack:?} was not refused: {heard:?}"),
    }
}

fn expected(attack: Attack) -> TlsFailure {
    match attack {
        Attack::NoCertificate | Attack::ProofAlone | Attack::NoProof => TlsFailure::Protocol,
        Attack::EmptyCertificate => TlsFailure::NoCertificate,
        Attack::WrongProof => TlsFailure::Refused(Refusal::Possession),
        Attack::WrongName => TlsFailure::Refused(Refusal::Name),
        Attack::UnknownAuthority | Attack::SignedByDevice => TlsFailure::Refused(Refusal::Chain),
        Attack::ClientOnly | Attack::NoUsage | Attack::NoSigning | Attack::DeviceAsGateway => {
            TlsFailure::Refused(Refusal::Role)
        }
        Attack::Expired | Attack::NotYetValid => TlsFailure::Refused(Refusal::Dates),
        Attack::Tls12 => TlsFailure::Version,
        _ => TlsFailure::TooLarge,
    }
}

#[tokio::test]
async fn a_rogue_that_does_nothing_wrong_is_taken_for_the_gateway_and_hears_the_connect() {
    let (heard, seen) = meet(Attack::None, Checks::ALL, TestClock::good()).await;
    assert_eq!(heard, Heard::Connected { session_present: false });
    assert_eq!(seen.application.first(), Some(&0x10), "CONNECT");
}

#[tokio::test]
async fn every_gateway_that_is_none_is_refused_for_its_reason_before_a_word_of_mqtt() {
    for attack in Attack::HANDSHAKE {
        assert_eq!(refusal(attack, TestClock::good()).await, expected(attack), "{attack:?}");
    }
}

#[tokio::test]
async fn a_verified_gateway_that_misbehaves_loses_the_connection_and_nothing_panics() {
    for attack in Attack::AFTER {
        let (heard, seen) = meet(attack, Checks::ALL, TestClock::good()).await;
        let expected = match attack {
            Attack::Garbage => End::Malformed(Malformed::Packet),
            Attack::CutOff | Attack::TruncatedRecord => End::Tls(TlsFailure::CutOff),
            Attack::OversizedDownlink | Attack::LyingLength => End::Malformed(Malformed::TooLong),
            Attack::QualityTwo => End::Malformed(Malformed::Packet),
            Attack::MutatedRecord | Attack::DuplicatedRecord => End::Tls(TlsFailure::Damaged),
            _ => End::Fault(Fault::OutOfPlace),
        };
        assert_eq!(heard, Heard::Disconnected(expected), "{attack:?}");
        assert_eq!(seen.application.first(), Some(&0x10), "{attack:?} comes after the CONNECT");
    }
}

#[tokio::test]
async fn session_tickets_that_nobody_asked_for_are_passed_over_as_long_as_they_fit() {
    // As OpenSSL and Java send them with the device's certificate inside, and one that no buffer takes.
    for (lengths, expected) in [
        (vec![713, 713], Heard::Connected { session_present: false }),
        (vec![1974], Heard::Connected { session_present: false }),
        (vec![2100], Heard::Disconnected(End::Tls(TlsFailure::TooLarge))),
    ] {
        let given = lengths.clone();
        let (address, server) = ENROLLED.server(move |tcp, forger| rogue::give_tickets(tcp, forger, &given));
        let tls = ENROLLED.tls(Checks::ALL, BUILT_UNIX_S);
        let mut link = Link::start(address, tls, &device(), TestClock::good());
        assert_eq!(link.connect().await, expected, "{lengths:?}");
        drop(link);
        let _ = tokio::task::spawn_blocking(|| server.join()).await.expect("joined");
    }
}

/// Every check of the verifier, and an attack that only it stops.
const WORTH: [(Refusal, Attack); 8] = [
    (Refusal::Role, Attack::ClientOnly),
    (Refusal::Role, Attack::NoUsage),
    (Refusal::Role, Attack::NoSigning),
    (Refusal::Role, Attack::DeviceAsGateway),
    (Refusal::Dates, Attack::Expired),
    (Refusal::Chain, Attack::SignedByDevice),
    (Refusal::Name, Attack::WrongName),
    (Refusal::Possession, Attack::WrongProof),
];

#[tokio::test]
async fn a_verifier_that_leaves_a_check_out_leaks_the_connect_to_the_attack_that_the_check_stops() {
    for (check, attack) in WORTH {
        let (heard, seen) = meet(attack, Checks::all_but(check), TestClock::good()).await;
        assert_eq!(heard, Heard::Connected { session_present: false }, "{attack:?} without {check:?}");
        assert_eq!(seen.application.first(), Some(&0x10), "{attack:?} without {check:?}");
    }
}

#[tokio::test]
async fn without_a_clock_a_certificate_that_ended_before_the_image_was_built_is_refused() {
    let failure = refusal(Attack::Expired, TestClock::at(0)).await;
    assert_eq!(failure, TlsFailure::Refused(Refusal::Dates));
}

#[tokio::test]
async fn a_device_that_hangs_up_says_so_in_mqtt_and_in_tls() {
    let (address, rogue) = ENROLLED.rogue(Attack::None);
    let mut link =
        Link::start(address, ENROLLED.tls(Checks::ALL, BUILT_UNIX_S), &device(), TestClock::good());
    assert_eq!(link.connect().await, Heard::Connected { session_present: false });
    link.order(Order::HangUp, &[]).await;
    let seen = tokio::task::spawn_blocking(|| rogue.join())
        .await
        .expect("joined")
        .expect("the rogue does not panic");
    assert_eq!(seen.application.last_chunk(), Some(&[0xE0, 0]), "DISCONNECT");
    assert_eq!(seen.alert, Some(0), "close_notify");
}
