//! The folder of the rig: one authority, a broker's certificate, two gateways that share everything but their spools.
//!
//! Their envelope key is being replaced: every second device has not been told the new one yet.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use fieldpost_gateway::{
    config::{RELEASE_ALL, material::EnvelopeSecret, template::TemplateValues},
    init,
    pki::{Authority, DeviceRequest, Issued, Validity, make_envelope_key},
};
use fieldpost_protocol::{DeviceId, EnvelopeKey, ForceId, Mode};
use rustls::ClientConfig;

use super::RigError;
use crate::{bench::free_port, fleet::tls::DeviceTls, raw::write_peer_files, rig::gateway::Setup};

/// The force of every device here.
const FORCE: &str = "bench";

/// While the former key is good, and when it is no more.
const FORMER_UNTIL: [&str; 2] = ["9999-01-01T00:00:00Z", "2000-01-01T00:00:00Z"];

/// The gateways' folders.
const GATEWAYS: [&str; 2] = ["a", "b"];

/// A device's name, keys and TLS.
pub(super) struct Enrolled {
    pub(super) id: DeviceId,
    /// What it seals with.
    pub(super) key: EnvelopeKey,
    /// What it seals with once it was told the gateways' new key; another one if it was not yet.
    pub(super) new_key: EnvelopeKey,
    pub(super) tls: Arc<ClientConfig>,
}

/// Everything but the processes.
pub(super) struct House {
    pub(super) broker_dir: PathBuf,
    pub(super) devices: Vec<Enrolled>,
    /// Of a client that may do everything at the broker.
    pub(super) evil: Arc<ClientConfig>,
    dir: PathBuf,
}

impl House {
    pub(super) fn new(dir: &Path, device_count: usize) -> Result<Self, RigError> {
        let broker_dir = dir.join("broker");
        std::fs::create_dir_all(&broker_dir).map_err(RigError::io("make the broker's folder"))?;
        let options = init::InitOptions { values: values(0, 0, 0, ""), ..init::InitOptions::default() };
        let mut made =
            init::init(&dir.join("a"), &options).map_err(RigError::cannot("make the gateway's folder"))?;
        let authority = &mut made.authority;
        write_peer_files(authority, &broker_dir)?;
        let public = |name| make_envelope_key(&dir.join(name)).map_err(RigError::io("make a key"));
        let publics = [public("envelope.key")?, public("former.key")?];
        let tls =
            DeviceTls::new(authority.certificate_pem()).map_err(RigError::cannot("read the authority"))?;
        let names: Vec<String> = (0..device_count).map(|n| format!("dev-{n:03}")).collect();
        let issued = issue(authority, &names)?;
        let all: String = issued.iter().map(|one| one.certificate_pem.as_str()).collect();
        std::fs::write(dir.join("devices.pem"), all).map_err(RigError::io("write the certificates"))?;
        let told = names.iter().zip(&issued).zip(publics.iter().cycle());
        let devices = told.map(|((name, one), told)| enrolled(dir, name, one, [&publics[0], told], &tls));
        let devices = devices.collect::<Result<Vec<_>, _>>()?;
        // Clients of the broker and of nobody else: their certificates are not among the devices'.
        let clients = ["gateway-a", "gateway-b", "evil"].map(str::to_owned);
        let issued = issue(authority, &clients)?;
        for (name, one) in clients.iter().zip(&issued) {
            for (end, text) in [("pem", &one.certificate_pem), ("key", &one.key_pem)] {
                std::fs::write(dir.join(format!("{name}.{end}")), text)
                    .map_err(RigError::io("write a key"))?;
            }
        }
        let evil = tls.config(&issued[2]).map_err(RigError::cannot("set up TLS"))?;
        drop(made);
        let [a, b] = GATEWAYS.map(|name| dir.join(name));
        copy(&a, &b)?;
        Ok(Self { broker_dir, devices, evil, dir: dir.to_path_buf() })
    }

    /// The gateway in folder `name`, behind the broker on `port`. With where its metrics are.
    pub(super) fn gateway(&self, name: &str, port: u16) -> Result<(Setup, SocketAddr), RigError> {
        let free = || free_port().map_err(RigError::io("find a free port"));
        let ports = [free()?, free()?, free()?];
        let at = |file: &str| self.dir.join(file).display().to_string();
        let appendix = format!(
            "[[broker]]\nurl = \"mqtts://127.0.0.1:{port}\"\nclient_id = \"gateway-{name}\"\ngroup = \"rig\"\n\
             authority = '{}'\ncertificate = '{}'\nkey = '{}'\ndevices = '{}'\nenvelope_key = '{}'\n\
             former_envelope_key = '{}'\nformer_envelope_key_until = \"{}\"\nretry_delay_ms_min = 20\nretry_delay_ms_max = 200\n\
             [[forward.file]]\npath = '{}'\n{RELEASE_ALL}\n",
            at("broker/ca.pem"),
            at(&format!("gateway-{name}.pem")),
            at(&format!("gateway-{name}.key")),
            at("devices.pem"),
            at("envelope.key"),
            at("former.key"),
            FORMER_UNTIL[0],
            at(&format!("{name}.ndjson")),
        );
        let text =
            fieldpost_gateway::config::template::render(&values(ports[0], ports[1], ports[2], &appendix));
        let dir = self.dir.join(name);
        std::fs::write(dir.join("gateway.toml"), text).map_err(RigError::io("write a configuration"))?;
        let [door, page, metrics] = ports.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        Ok((Setup::at(&dir, door, page), metrics))
    }

    /// Writes into the gateways' configurations that the former key has ended. They have to read them again.
    pub(super) fn end_former_key(&self) -> Result<(), RigError> {
        for name in GATEWAYS {
            let path = self.dir.join(name).join("gateway.toml");
            let text = std::fs::read_to_string(&path).map_err(RigError::io("read a configuration"))?;
            std::fs::write(&path, text.replace(FORMER_UNTIL[0], FORMER_UNTIL[1]))
                .map_err(RigError::io("write a configuration"))?;
        }
        Ok(())
    }

    /// Every device is told the gateways' new key.
    pub(super) fn tell_new_key(&mut self) {
        self.devices.iter_mut().for_each(|device| device.key = device.new_key);
    }

    /// The spool of the gateway in folder `name`.
    pub(super) fn spool(&self, name: &str) -> PathBuf {
        self.dir.join(name).join("data/spool")
    }
}

fn values(door: u16, page: u16, metrics: u16, appendix: &str) -> TemplateValues {
    TemplateValues {
        front_door_listen: format!("127.0.0.1:{door}"),
        control_room_listen: format!("127.0.0.1:{page}"),
        metrics_listen: format!("127.0.0.1:{metrics}"),
        forces: vec![(FORCE.to_owned(), "Rig".to_owned())],
        appendix: appendix.to_owned(),
    }
}

fn issue(authority: &mut Authority, names: &[String]) -> Result<Vec<Issued>, RigError> {
    let now = crate::fleet::source::unix_ms() / 1000;
    let validity = Validity::days_from(i64::try_from(now).unwrap_or(i64::MAX), 1);
    let force = ForceId::try_new(FORCE).expect("five letters are an identity");
    let request = |name: &String| DeviceRequest {
        force: force.clone(),
        device: DeviceId::try_new(name).expect("letters, digits and hyphens are an identity"),
        mode: Mode::Test,
        validity,
        replace: false,
    };
    let requests: Vec<_> = names.iter().map(request).collect();
    authority.issue_devices(&requests).map_err(RigError::cannot("enrol"))
}

/// The device's half of the agreement: its own private key, and the gateways' public ones, the new one and the one it was told.
fn enrolled(
    dir: &Path,
    name: &str,
    issued: &Issued,
    publics: [&str; 2],
    tls: &DeviceTls,
) -> Result<Enrolled, RigError> {
    let path = dir.join("device.key");
    std::fs::write(&path, &issued.key_pem).map_err(RigError::io("write a key"))?;
    let secret = EnvelopeSecret::load(&path).map_err(RigError::cannot("read a device's key"))?;
    let id = DeviceId::try_new(name).expect("letters, digits and hyphens are an identity");
    let force = ForceId::try_new(FORCE).expect("five letters are an identity");
    let agreed = |public: &str| {
        let point: Result<Vec<u8>, _> =
            (0..public.len()).step_by(2).map(|at| u8::from_str_radix(&public[at..at + 2], 16)).collect();
        let point = point.map_err(RigError::cannot("read the gateways' key"))?;
        let key = secret.agree(&point, |agreed| EnvelopeKey::derive(agreed, &force, &id));
        key.ok_or_else(|| RigError::cannot("agree on a key")("not a point of the curve"))
    };
    let (new_key, key) = (agreed(publics[0])?, agreed(publics[1])?);
    let tls = tls.config(issued).map_err(RigError::cannot("set up TLS"))?;
    Ok(Enrolled { id, key, new_key, tls })
}

fn copy(from: &Path, to: &Path) -> Result<(), RigError> {
    let copied = (|| -> std::io::Result<()> {
        std::fs::create_dir_all(to)?;
        for entry in std::fs::read_dir(from)? {
            let entry = entry?;
            let target = to.join(entry.file_name());
            if entry.file_type()?.is_dir() {
                copy(&entry.path(), &target).map_err(std::io::Error::other)?;
            } else {
                std::fs::copy(entry.path(), target)?;
            }
        }
        Ok(())
    })();
    copied.map_err(RigError::io("copy the gateway's folder"))
}
