//! Whose a message is, and what stays known when the certificates are read again.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use fieldpost_protocol::limits::{DOWNLINK_BYTES_MAX, FRAME_BYTES_MAX};
use fieldpost_protocol::{
    BootId, Class, ClockQuality, DeviceId, Downlink, Envelope, EnvelopeKey, ForceId, Head, Mode, NamedRecord,
    Print, Proven, Receipt, Seq,
};
use rustls_pki_types::pem::PemObject as _;

use super::*;
use crate::config::{Config, FormerKey, RetryPolicy};
use crate::init::{InitOptions, init};
use crate::pki::{Authority, DeviceRequest, Identity, Validity, make_envelope_key, read_envelope_key};

struct House {
    dir: tempfile::TempDir,
    authority: Authority,
    clock_ms: Arc<AtomicU64>,
}

/// A device with its half of the agreement.
struct Unit {
    certificate: CertificateDer<'static>,
    identity: Identity,
    secret: EnvelopeSecret,
}

impl House {
    /// With the gateways' keys `old` and `new`.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = init(dir.path(), &InitOptions::default()).unwrap().authority;
        for name in ["old", "new"] {
            make_envelope_key(&dir.path().join(name)).unwrap();
        }
        let clock_ms = Arc::new(AtomicU64::new(Clock::system().now_ms()));
        Self { dir, authority, clock_ms }
    }

    fn unit(&mut self, name: &str) -> Unit {
        let (force, device) = (ForceId::try_new("demo").unwrap(), DeviceId::try_new(name).unwrap());
        let now_s = i64::try_from(self.clock_ms.load(Ordering::Relaxed) / 1000).unwrap();
        let validity = Validity::days_from(now_s, 30);
        let request = DeviceRequest { force, device, mode: Mode::Test, validity, replace: true };
        let issued = self.authority.issue_devices(&[request]).unwrap().remove(0);
        let path = self.dir.path().join("device.key");
        std::fs::write(&path, &issued.key_pem).unwrap();
        let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
        let identity = device_identity(&certificate).unwrap();
        Unit { certificate, identity, secret: EnvelopeSecret::load(&path).unwrap() }
    }

    /// What the device has that was told the gateways' key `name`.
    fn key(&self, unit: &Unit, name: &str) -> EnvelopeKey {
        let public = read_envelope_key(&self.dir.path().join(format!("{name}.pub"))).unwrap();
        let Identity { force, device, .. } = &unit.identity;
        unit.secret.agree(&public, |agreed| EnvelopeKey::derive(agreed, force, device)).unwrap()
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
            secret: self.secret("old"),
            former: None,
            receive_max: 8,
            session_expiry_s: 60,
            keep_alive_s: 30,
            retry: RetryPolicy { delay_ms_min: 1, delay_ms_max: 2, attempt_ms_max: 1000 },
        }
    }

    /// While `old` is replaced by `new`, for so long from now on.
    fn replacing(&self, units: &[&Unit], for_ms: u64) -> BrokerLink {
        let until_ms = self.clock_ms.load(Ordering::Relaxed) + for_ms;
        let former = Some(FormerKey { secret: self.secret("old"), until_ms });
        BrokerLink { secret: self.secret("new"), former, ..self.link(units) }
    }

    fn secret(&self, name: &str) -> Arc<EnvelopeSecret> {
        Arc::new(EnvelopeSecret::load(&self.dir.path().join(name)).unwrap())
    }

    fn register(&self, link: &BrokerLink) -> Register {
        let config = Config::load(&self.dir.path().join("gateway.toml")).unwrap();
        let clock_ms = Arc::clone(&self.clock_ms);
        let clock = Clock::new(move || clock_ms.load(Ordering::Relaxed));
        Register::new(link, FrontDoorTls::new(&config.front_door).unwrap(), clock)
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
    let register = house.register(&house.link(&[&anna]));
    let [anna, ben] = [anna, ben].map(|unit| house.key(&unit, "old"));
    let frame = sealed(&anna);
    let (enrolled, lane) = register.admit(b"fp1/anna/live", &frame).unwrap();
    assert_eq!((enrolled.identity.device.as_str(), lane), ("anna", Lane::Live));
    let refused = |topic: &[u8], frame: &[u8]| register.admit(topic, frame).unwrap_err();
    assert_eq!(refused(b"fp1/anna/alarm", &frame), Refusal::Tag, "another lane");
    assert_eq!(refused(b"fp1/anna/live", &sealed(&ben)), Refusal::Tag, "another's key");
    assert_eq!(refused(b"fp1/ben/live", &sealed(&ben)), Refusal::DeviceUnknown, "not among the devices");
    assert_eq!(refused(b"fp1/anna/down", &frame), Refusal::Topic);
    assert_eq!(refused(b"fp1/anna/live", b"no envelope"), Refusal::Malformed);
}

#[test]
fn what_is_known_of_a_device_stays_with_its_certificate_and_goes_with_it() {
    let mut house = House::new();
    let (anna, ben) = (house.unit("anna"), house.unit("ben"));
    let register = house.register(&house.link(&[&anna, &ben]));
    let before = register.named("anna");
    register.renew(&house.link(&[&anna]));
    assert!(Arc::ptr_eq(&before[0], &register.named("anna")[0]), "with what others have stored of it");
    assert!(register.named("ben").is_empty() && register.good("ben").is_empty());
    let frame = sealed(&house.key(&ben, "old"));
    assert_eq!(register.admit(b"fp1/ben/live", &frame).unwrap_err(), Refusal::DeviceUnknown);
}

fn receipt() -> Downlink {
    let record = NamedRecord { seq: Seq(2), print: Print(4) };
    Downlink::Proven(Proven {
        receipt: Receipt::Stored,
        boot: BootId(1),
        records: [record].into_iter().collect(),
    })
}

#[test]
fn while_a_key_is_replaced_a_device_is_heard_and_answered_under_the_one_it_has() {
    let mut house = House::new();
    let anna = house.unit("anna");
    let register = house.register(&house.replacing(&[&anna], 1000));
    for (mine, other, is_former) in [("old", "new", true), ("new", "old", false)] {
        let [mine, other] = [mine, other].map(|name| house.key(&anna, name));
        let (enrolled, _) = register.admit(b"fp1/anna/live", &sealed(&mine)).unwrap();
        assert_eq!(enrolled.is_former(), is_former);
        let mut buffer = [0; DOWNLINK_BYTES_MAX];
        let answer = enrolled.key().unwrap().seal_down(&receipt(), &mut buffer).unwrap();
        assert_eq!(mine.open_down(answer), Ok(receipt()));
        assert!(other.open_down(answer).is_err());
    }
}

#[test]
fn from_its_end_on_nothing_is_believed_that_the_former_key_made() {
    let mut house = House::new();
    let (anna, ben) = (house.unit("anna"), house.unit("ben"));
    let register = house.register(&house.replacing(&[&anna], 1000));
    let [old, new] = ["old", "new"].map(|name| sealed(&house.key(&anna, name)));
    let admit = |frame: &[u8]| register.admit(b"fp1/anna/live", frame).map(drop);
    let pass = |ms: u64| house.clock_ms.fetch_add(ms, Ordering::Relaxed);
    pass(999);
    assert_eq!((admit(&old), admit(&new), register.good("anna").len()), (Ok(()), Ok(()), 2));
    pass(1);
    assert_eq!(admit(&old), Err(Refusal::KeyEnded), "known as its own, and too late");
    assert_eq!(admit(&new), Ok(()));
    let spoken_to = register.good("anna");
    assert!(spoken_to.len() == 1 && !spoken_to[0].is_former(), "neither spoken to nor believed under it");
    assert_eq!(
        admit(&sealed(&house.key(&ben, "old"))),
        Err(Refusal::Tag),
        "another's key says nothing of ends"
    );
}

#[test]
fn a_reload_that_begins_a_replacement_keeps_what_is_known_under_both_keys() {
    let mut house = House::new();
    let anna = house.unit("anna");
    let register = house.register(&house.link(&[&anna]));
    let before = register.named("anna").remove(0);
    let Downlink::Proven(told) = receipt() else { unreachable!("made above") };
    before.elsewhere().learn(&told);
    register.renew(&house.replacing(&[&anna], 1000));
    let [new, old] = register.named("anna").try_into().unwrap();
    assert!(Arc::ptr_eq(&before, &old) && old.is_former() && !new.is_former());
    assert!(new.elsewhere().has(told.boot, told.records[0]), "a record sealed anew is no other record");
    register.renew(&BrokerLink { former: None, ..house.replacing(&[&anna], 0) });
    let frame = sealed(&house.key(&anna, "old"));
    assert_eq!(
        register.admit(b"fp1/anna/live", &frame).unwrap_err(),
        Refusal::Tag,
        "a key that nobody names"
    );
}

#[test]
fn a_replaced_certificate_is_refused_by_name_and_what_it_sealed_is_taken_once_it_is_sealed_anew() {
    let mut house = House::new();
    let former = house.unit("anna");
    let renewed = house.unit("anna");
    let register = house.register(&house.link(&[&former, &renewed]));
    let [former, renewed] = [former, renewed].map(|unit| sealed(&house.key(&unit, "old")));
    assert_eq!(register.admit(b"fp1/anna/live", &former).unwrap_err(), Refusal::Certificate);
    assert!(register.admit(b"fp1/anna/live", &renewed).is_ok());
}

#[test]
fn a_key_with_an_end_names_each_device_once_and_only_when_the_log_has_room() {
    let mut house = House::new();
    let anna = house.unit("anna");
    let register = house.register(&house.replacing(&[&anna], 1000));
    let [_, old] = register.named("anna").try_into().unwrap();
    let asked = [false, true, true].map(|has_room| old.is_to_be_named(|| has_room));
    assert_eq!(asked, [false, true, false]);
}
