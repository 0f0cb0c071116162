//! What the gateway has for a device reaches it whichever envelope key it has.

use std::path::Path;

use fieldpost_protocol::{Action, Command, Mode};

use super::*;
use crate::init::{InitOptions, init};
use crate::pki::make_envelope_key;

/// A gateway's folder with one device, and its configuration behind a broker with `more` in it.
fn configured(dir: &Path, more: &str) -> Config {
    let path = dir.join("gateway.toml");
    let plain = std::fs::read_to_string(dir.join("plain.toml")).unwrap();
    let broker = format!(
        "\n[[broker]]\nurl = \"mqtt://127.0.0.1:1\"\nclient_id = \"gateway-1\"\ndevices = \"device.pem\"\n{more}"
    );
    std::fs::write(&path, plain + &broker).unwrap();
    Config::load(&path).unwrap()
}

#[test]
fn while_a_key_is_replaced_an_errand_goes_out_under_both_and_afterwards_under_the_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let mut authority = init(dir, &InitOptions::default()).unwrap().authority;
    let (force, device) = (ForceId::try_new("demo").unwrap(), DeviceId::try_new("anna").unwrap());
    let issued = authority.issue_device(&force, &device, Mode::Test, 30).unwrap();
    std::fs::write(dir.join("device.pem"), issued.certificate_pem).unwrap();
    for name in ["old", "new"] {
        make_envelope_key(&dir.join(name)).unwrap();
    }
    std::fs::rename(dir.join("gateway.toml"), dir.join("plain.toml")).unwrap();

    let former = |until: &str| {
        let text = "envelope_key = \"new\"\nformer_envelope_key = \"old\"\nformer_envelope_key_until = ";
        format!("{text}\"{until}\"\n")
    };
    let config = configured(dir, "envelope_key = \"old\"\n");
    let brokers = Brokers::new(&config, &FrontDoorTls::new(&config.front_door).unwrap());
    let mut waiting = brokers.posts[0].waiting.lock().unwrap().take().unwrap();
    let command = Command { id: 1, expires_at_ms: 1, action: Action::ReportNow };
    let mut sent = || {
        assert!(brokers.send(&force, &device, &Frame::Command(command.clone())));
        std::iter::from_fn(|| waiting.try_recv().ok())
            .map(|errand| errand.device.is_former())
            .collect::<Vec<_>>()
    };
    let steps: [(&str, Vec<bool>); 2] =
        [("9999-01-01T00:00:00Z", vec![false, true]), ("2026-01-01T00:00:00Z", vec![false])];
    assert_eq!(sent(), [false]);
    for (until, under) in steps {
        brokers.reload(&configured(dir, &former(until)));
        assert_eq!(sent(), under, "until {until}");
    }
}
