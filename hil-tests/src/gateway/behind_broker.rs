//! The gateway as a client of a broker: its key pair, its certificate there, the device it hears.

use std::{fmt::Write as _, path::Path};

use fieldpost_firmware::slot::ENVELOPE_KEY_BYTES;

use super::{GATEWAY_NAME, Gateway};
use crate::{
    Failure,
    broker::{Broker, GATEWAY_CLIENT},
};

/// A point.
type EnvelopeKey = [u8; ENVELOPE_KEY_BYTES];

impl Gateway {
    /// Starts a broker for the enrolled device `device`, and this gateway again as its client. Returns the broker, and the
    /// gateways' public envelope key.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn go_behind_broker(&mut self, device: &str) -> Result<(Broker, EnvelopeKey), Failure> {
        let dir = self.dir.join("broker");
        let (config, folder) = (self.config().display().to_string(), dir.display().to_string());
        let key = dir.join("envelope.key").display().to_string();
        let issue = ["pki", "issue-server", "-c", &config, "--out", &folder];
        self.command(&[issue.as_slice(), &["--name", GATEWAY_NAME, "--name", "127.0.0.1"]].concat())?;
        self.command(&["pki", "envelope-key", "--out", &key])?;
        self.enrol(GATEWAY_CLIENT, "test")?;
        let authority = self.dir.join("enrolled/ca.pem");
        std::fs::copy(&authority, dir.join("ca.pem")).map_err(Failure::at("copy", &authority))?;
        let broker = Broker::start(&dir)?;
        self.kill()?;
        self.configure(broker.port, device)?;
        self.run()?;
        Ok((broker, public_key(&dir.join("envelope.key.pub"))?))
    }

    fn configure(&self, port: u16, device: &str) -> Result<(), Failure> {
        let at = |name: &str| self.dir.join(name).display().to_string();
        let path = self.config();
        let mut text = std::fs::read_to_string(&path).map_err(Failure::at("read", &path))?;
        write!(
            text,
            "\n[[broker]]\nurl = \"mqtts://127.0.0.1:{port}\"\nclient_id = \"{GATEWAY_CLIENT}\"\n\
             authority = '{}'\ncertificate = '{}'\nkey = '{}'\ndevices = '{}'\nenvelope_key = '{}'\n",
            at("broker/ca.pem"),
            at(&format!("enrolled/{GATEWAY_CLIENT}.pem")),
            at(&format!("enrolled/{GATEWAY_CLIENT}.key")),
            at(&format!("enrolled/{device}.pem")),
            at("broker/envelope.key"),
        )
        .expect("text takes text");
        std::fs::write(&path, text).map_err(Failure::at("write", &path))
    }
}

fn public_key(path: &Path) -> Result<EnvelopeKey, Failure> {
    let text = std::fs::read_to_string(path).map_err(Failure::at("read", path))?;
    let byte = |at: usize| text.get(2 * at..2 * at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..ENVELOPE_KEY_BYTES).map(byte).collect();
    let point = bytes.and_then(|bytes| bytes.try_into().ok());
    point.ok_or_else(|| Failure::child("gateway", "wrote an envelope key that does not read"))
}
