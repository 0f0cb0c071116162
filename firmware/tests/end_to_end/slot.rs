//! The provisioning slot: what goes in comes out, and every way to be wrong has its own name.

use std::vec::Vec;

use fieldpost_firmware::{
    GatePolicy, Profile, RuleSettings,
    slot::{
        self, ENVELOPE_KEY_BYTES, GatewayAddress, HEADER_BYTES, IMAGE_BYTES_MAX, PrivateKey, Provision,
        SlotError, SlotName,
    },
};
use fieldpost_protocol::{DeviceId, Mode};
use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

/// The shape of a certificate that the slot looks at: the identity, and the public point.
const CERTIFICATE: &[u8] = b"\x30\x82..urn:fieldpost:device:demo:pc-0001:test..\xA1PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP..";
/// The shape of a PKCS#8 key: its secret, then the point of the certificate above.
const KEY: &[u8] =
    b"\x30\x81..hunter2hunter2..\xA1\x44\x03\x42\x00\x04PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP";

fn provision() -> Provision<'static> {
    Provision {
        generation: 1,
        device: DeviceId::try_new("pc-0001").unwrap(),
        profile: Profile::Vehicle,
        mode: Mode::Test,
        gate: GatePolicy::Closed,
        gateway_name: "gateway.force.example",
        gateway_address: GatewayAddress::Ipv4([10, 0, 2, 2]),
        gateway_port: 8883,
        chain: [CERTIFICATE].into_iter().collect(),
        private_key: PrivateKey::from_pkcs8_der(KEY),
        authorities: [&b"authority"[..]].into_iter().collect(),
        rules: RuleSettings { down_ms_min: 30_000, ..RuleSettings::DEFAULT },
        envelope_key: None,
    }
}

/// The shape of an uncompressed point.
const ENVELOPE_KEY: [u8; ENVELOPE_KEY_BYTES] = [4; ENVELOPE_KEY_BYTES];

fn behind_a_broker() -> Provision<'static> {
    Provision { envelope_key: Some(&ENVELOPE_KEY), ..provision() }
}

fn image(provision: &Provision<'_>) -> Vec<u8> {
    let mut buffer = [0; IMAGE_BYTES_MAX];
    slot::encode(provision, &mut buffer).unwrap().to_vec()
}

/// An image with the header's own CRC set right again.
fn sealed(mut image: Vec<u8>) -> Vec<u8> {
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC);
    let sum = crc.checksum(&image[4..8].iter().chain(&image[HEADER_BYTES..]).copied().collect::<Vec<_>>());
    image[8..12].copy_from_slice(&sum.to_le_bytes());
    image
}

#[test]
fn a_slot_says_what_was_put_into_it() {
    let provision = provision();
    let mut image = image(&provision);
    // The rest of a slot is erased flash.
    image.resize(IMAGE_BYTES_MAX, 0xFF);
    let read = slot::decode(&image).unwrap();
    assert_eq!(read, provision);
    let settings = read.settings();
    assert_eq!((settings.profile, settings.mode), (Profile::Vehicle, Mode::Test));
    assert_eq!(settings.rules.down_ms_min, 30_000);
}

/// A slot as version 1 wrote it. A change that this test sees breaks devices in the field.
const OF_VERSION_1: &[u8] = b"FPSL\x01\x00\x08\x01b)\tE\x01\x07pc-0001\x02\x03\x00\x15gateway.force.example\x00\n\x00\x02\x02\xb3E\x01o0\x82..urn:fieldpost:device:demo:pc-0001:test..\xa1PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP..Z0\x81..hunter2hunter2..\xa1D\x03B\x00\x04PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP\x01\tauthority\x02\x01\xb0\xea\x01\x02\x98u";

#[test]
fn a_slot_of_version_1_is_read_for_ever_and_written_where_there_is_no_broker() {
    assert_eq!(slot::decode(OF_VERSION_1).unwrap(), provision());
    assert_eq!(image(&provision())[4..6], OF_VERSION_1[4..6]);
}

#[test]
fn a_slot_behind_a_broker_has_a_version_of_its_own_and_says_so() {
    let mut image = image(&behind_a_broker());
    assert_eq!(image[4..6], slot::VERSION_BROKER.to_le_bytes());
    image.resize(IMAGE_BYTES_MAX, 0xFF);
    let read = slot::decode(&image).unwrap();
    assert_eq!(read, behind_a_broker());
    assert_eq!(read.force().unwrap().as_str(), "demo");
}

#[test]
fn an_envelope_key_of_another_kind_is_refused_with_what_to_do() {
    const COMPRESSED: [u8; ENVELOPE_KEY_BYTES] = [2; ENVELOPE_KEY_BYTES];
    let other = Provision { envelope_key: Some(&COMPRESSED), ..provision() };
    assert_eq!(slot::encode(&other, &mut [0; 1024]), Err(SlotError::EnvelopeKey));
    let good = image(&behind_a_broker());
    let mut short = good.clone();
    let length_at = good.len() - ENVELOPE_KEY_BYTES - 1;
    short[length_at] -= 1;
    assert_eq!(slot::decode(&sealed(short)), Err(SlotError::EnvelopeKey));
    let mut long = good.clone();
    long[length_at] += 1;
    assert_eq!(slot::decode(&sealed(long)), Err(SlotError::Malformed));
    let mut of_another_kind = good;
    of_another_kind[length_at + 1] = 2;
    assert_eq!(slot::decode(&sealed(of_another_kind)), Err(SlotError::EnvelopeKey));
    assert!(SlotError::EnvelopeKey.to_string().contains("fieldpost pki envelope-key"));
    // Version 2 without its key.
    let mut bare = image(&provision());
    bare[4] = 2;
    assert_eq!(slot::decode(&sealed(bare)), Err(SlotError::Malformed));
    let nameless: &[u8] = b"urn:fieldpost:device::pc-0001:test..PPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPP";
    let mut nowhere = behind_a_broker();
    nowhere.chain = [nameless].into_iter().collect();
    assert_eq!(slot::encode(&nowhere, &mut [0; 1024]), Err(SlotError::NoForce));
}

#[test]
fn a_private_key_is_never_printed() {
    let shown = format!("{:?} {:#?}", provision(), provision().private_key);
    let as_numbers = format!("{:?}", b"hunter2");
    assert!(!shown.contains("hunter2") && !shown.contains(&as_numbers[1..as_numbers.len() - 1]));
    assert!(shown.contains("not shown"));
}

#[test]
fn every_flipped_bit_is_found() {
    for image in [image(&provision()), image(&behind_a_broker())] {
        for bit in 0..image.len() * 8 {
            let mut image = image.clone();
            image[bit / 8] ^= 1 << (bit % 8);
            assert!(slot::decode(&image).is_err(), "bit {bit} was believed");
        }
    }
}

#[test]
fn every_changed_byte_is_found() {
    for image in [image(&provision()), image(&behind_a_broker())] {
        for (at, byte) in image.iter().enumerate() {
            for other in [!byte, byte.wrapping_add(1), 0, 0xFF] {
                let mut image = image.clone();
                image[at] = other;
                assert!(other == *byte || slot::decode(&image).is_err(), "byte {at} was believed as {other}");
            }
        }
    }
}

#[test]
fn a_slot_cut_off_anywhere_is_refused() {
    for whole in [image(&provision()), image(&behind_a_broker())] {
        for written in 0..whole.len() {
            let mut image = vec![0xFF; IMAGE_BYTES_MAX];
            image[..written].copy_from_slice(&whole[..written]);
            assert!(slot::decode(&image).is_err(), "{written} bytes were enough");
        }
    }
}

#[test]
fn each_fault_has_its_own_error() {
    let refuse = |change: fn(&mut Provision<'static>)| {
        let mut provision = provision();
        change(&mut provision);
        slot::encode(&provision, &mut [0; IMAGE_BYTES_MAX]).unwrap_err()
    };
    assert_eq!(refuse(|slot| slot.chain.clear()), SlotError::NoCertificate);
    assert_eq!(refuse(|slot| slot.authorities.clear()), SlotError::NoAuthority);
    assert_eq!(refuse(|slot| slot.private_key = PrivateKey::from_pkcs8_der(&[])), SlotError::NoKey);
    assert_eq!(
        refuse(|slot| slot.device = DeviceId::try_new("pc-0002").unwrap()),
        SlotError::ForeignCertificate
    );
    assert_eq!(
        // An identity that only begins like the certificate's is another one.
        refuse(|slot| slot.device = DeviceId::try_new("pc-000").unwrap()),
        SlotError::ForeignCertificate
    );
    let other_key: &[u8] =
        b"\xA1\x44\x03\x42\x00\x04QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ";
    let mut with_other_key = provision();
    with_other_key.private_key = PrivateKey::from_pkcs8_der(other_key);
    assert_eq!(slot::encode(&with_other_key, &mut [0; 1024]), Err(SlotError::ForeignKey));
    assert_eq!(refuse(|slot| slot.gateway_port = 0), SlotError::Gateway);
    assert_eq!(refuse(|slot| slot.gateway_name = ""), SlotError::Gateway);
    let replay = |slot: &mut Provision<'static>| (slot.profile, slot.mode) = (Profile::Every, Mode::Actual);
    assert_eq!(refuse(replay), SlotError::ActualReplay);
    assert!(matches!(slot::encode(&provision(), &mut [0; 64]), Err(SlotError::TooLong { .. })));

    assert_eq!(slot::decode(&[0xFF; IMAGE_BYTES_MAX]), Err(SlotError::Empty));
    assert_eq!(slot::decode(&[0; IMAGE_BYTES_MAX]), Err(SlotError::NotASlot));
    let good = image(&provision());
    let changed = |at: usize, byte: u8| {
        let mut image = good.clone();
        image[at] = byte;
        slot::decode(&sealed(image)).unwrap_err()
    };
    assert_eq!(changed(4, 3), SlotError::Version(3));
    assert_eq!(changed(14, b'/'), SlotError::Device);
    assert_eq!(changed(21, 9), SlotError::Profile(9));
    assert_eq!(changed(22, 0), SlotError::Mode(0));
    assert_eq!(changed(23, 2), SlotError::Gate(2));
    assert_eq!(changed(13, 0xFF), SlotError::Malformed);
}

#[test]
fn the_newest_valid_slot_is_in_force() {
    let old = image(&provision());
    let new = image(&Provision { generation: 2, gateway_port: 8884, ..provision() });
    let empty = vec![0xFF; 64];
    let mut torn = new.clone();
    torn[40..].fill(0xFF);
    let chosen = |a, b| slot::newest(a, b).map(|(name, slot, fault)| (name, slot.generation, fault));
    assert_eq!(chosen(&old, &empty), Ok((SlotName::A, 1, None)));
    assert_eq!(chosen(&old, &new), Ok((SlotName::B, 2, None)));
    assert_eq!(chosen(&new, &old), Ok((SlotName::A, 2, None)));
    assert_eq!(chosen(&old, &torn), Ok((SlotName::A, 1, Some(SlotError::Corrupt))));
    assert_eq!(chosen(&torn, &old), Ok((SlotName::B, 1, Some(SlotError::Corrupt))));
    let error = slot::newest(&empty, &torn).unwrap_err();
    assert_eq!((error.a, error.b), (SlotError::Empty, SlotError::Corrupt));
    assert!(error.to_string().contains("enrol the device"), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_stop_the_reader(mut bytes in prop::collection::vec(any::<u8>(), 0..600), is_behind: bool) {
        let _ = slot::decode(&bytes);
        // Past the header's checks as well.
        if bytes.len() > HEADER_BYTES {
            let length = u16::try_from(bytes.len() - HEADER_BYTES).unwrap();
            let version = if is_behind { slot::VERSION_BROKER } else { slot::VERSION };
            bytes[..4].copy_from_slice(b"FPSL");
            bytes[4..6].copy_from_slice(&version.to_le_bytes());
            bytes[6..8].copy_from_slice(&length.to_le_bytes());
            let error = slot::decode(&sealed(bytes)).unwrap_err();
            prop_assert!(!matches!(error, SlotError::Corrupt | SlotError::NotASlot));
        }
    }

    #[test]
    fn any_settings_come_back(generation: u32, port in 1u16.., a: [u8; 4], pre_alarm_ms: u32, is_behind: bool) {
        let envelope_key = is_behind.then_some(&ENVELOPE_KEY);
        let written = Provision {
            generation,
            gateway_port: port,
            gateway_address: GatewayAddress::Ipv4(a),
            rules: RuleSettings { pre_alarm_ms, ..RuleSettings::DEFAULT },
            envelope_key,
            ..provision()
        };
        let image = image(&written);
        prop_assert_eq!(slot::decode(&image).unwrap(), written);
    }
}
