//! Whose a message is, and what stays known when the certificates are read again.

use std::path::PathBuf;

use fieldpost_protocol::limits::FRAME_BYTES_MAX;
use fieldpost_protocol::{BootId, Class, ClockQuality, DeviceId, Envelope, ForceId, Head, Mode, Seq};
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::config::{Config, RetryPolicy};
use crate::init::{InitOptions, init};
use crate::pki::{Authority, make_envelope_key};

struct House {
    dir: tempfile::TempDir,
    authority: Authority,
    /// The gateways' public key, an uncompressed point.
    public: Vec<u8>,
}

/// A device with its half of the agreement.
struct Unit {
    certificate: CertificateDer<'static>,
    key: EnvelopeKey,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = init(dir.path(), &InitOptions::default()).unwrap().authority;
        let public = make_envelope_key(&dir.path().join("envelope.key")).unwrap();
        let public = (0..65).map(|at| u8::from_str_radix(&public[2 * at..2 * at + 2], 16).unwrap()).collect();
        Self { dir, authority, public }
    }

    fn unit(&mut self, name: &str) -> Unit {
        let (force, device) = (ForceId::try_new("demo").unwrap(), DeviceId::try_new(name).unwrap());
        let issued = self.authority.issue_device(&force, &device, Mode::Test, 30).unwrap();
        let path = self.dir.path().join("device.key");
        std::fs::write(&path, &issued.key_pem).unwrap();
        let secret = EnvelopeSecret::load(&path).unwrap();
        let key = secret.agree(&self.public, |agreed| EnvelopeKey::derive(agreed, &force, &device)).unwrap();
        Unit { certificate: CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap(), key }
    }

    fn link(&self, units: &[&Unit]) -> BrokerLink {
        BrokerLink {
            url: "mqtt://127.0.0.1:1".to_owned(),
            client_id: "gateway-1".to_owned(),
            group: "g".to_owned(),
            authority: None,
            client: None,
            login: None,
            devices_path: PathBuf::new(),
            devices: Arc::new(units.iter().map(|unit| unit.certificate.clone()).collect()),
            secret: Arc::new(EnvelopeSecret::load(&self.dir.path().join("envelope.key")).unwrap()),
            receive_max: 8,
            session_expiry_s: 60,
            keep_alive_s: 30,
            retry: RetryPolicy { delay_ms_min: 1, delay_ms_max: 2, attempt_ms_max: 1000 },
        }
    }

    fn register(&self, units: &[&Unit]) -> Register {
        let config = Config::load(&self.dir.path().join("gateway.toml")).unwrap();
        Register::new(&self.link(units), FrontDoorTls::new(&config.front_door).unwrap())
    }
}

fn sealed(key: &EnvelopeKey) -> Vec<u8> {
    let head = Head {
        version: 1,
        class: Class::STATUS,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        boot: BootId(1),
        seq: Seq(2),
        time_ms: 3,
    };
    let mut frame = [0; FRAME_BYTES_MAX];
    let len = Envelope { head, body: b"body", trailer: None }.encode(&mut frame).unwrap().len();
    let len = key.seal(Lane::Live, &mut frame, len).unwrap();
    frame[..len].to_vec()
}

#[test]
fn a_message_is_the_devices_that_the_topic_names_and_whose_key_made_the_tag() {
    let mut house = House::new();
    let (anna, ben) = (house.unit("anna"), house.unit("ben"));
    let register = house.register(&[&anna]);
    let frame = sealed(&anna.key);
    let (enrolled, lane) = register.admit(b"fp1/anna/live", &frame).unwrap();
    assert_eq!((enrolled.identity.device.as_str(), lane), ("anna", Lane::Live));
    let refused = |topic: &[u8], frame: &[u8]| register.admit(topic, frame).unwrap_err();
    assert_eq!(refused(b"fp1/anna/alarm", &frame), Refusal::Tag, "another lane");
    assert_eq!(refused(b"fp1/anna/live", &sealed(&ben.key)), Refusal::Tag, "another's key");
    assert_eq!(refused(b"fp1/ben/live", &sealed(&ben.key)), Refusal::DeviceUnknown, "not among the devices");
    assert_eq!(refused(b"fp1/anna/down", &frame), Refusal::Topic);
    assert_eq!(refused(b"fp1/anna/live", b"no envelope"), Refusal::Malformed);
}

#[test]
fn what_is_known_of_a_device_stays_with_its_certificate_and_goes_with_it() {
    let mut house = House::new();
    let (anna, ben) = (house.unit("anna"), house.unit("ben"));
    let register = house.register(&[&anna, &ben]);
    let before = register.named("anna");
    register.renew(&house.link(&[&anna]));
    assert!(Arc::ptr_eq(&before[0], &register.named("anna")[0]), "with what others have stored of it");
    assert!(register.named("ben").is_empty() && register.good("ben").is_empty());
    assert_eq!(register.admit(b"fp1/ben/live", &sealed(&ben.key)).unwrap_err(), Refusal::DeviceUnknown);
}
