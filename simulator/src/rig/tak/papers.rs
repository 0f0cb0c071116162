//! Certificates, callsigns, and what each unit must have arrived as.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use fieldpost_gateway::config::RELEASE_ALL;
use fieldpost_gateway::pki::{Authority, DeviceRequest, Validity};
use fieldpost_protocol::{DeviceId, ForceId, Mode};

use super::super::{RigError, gateway::Setup};
use crate::raw::{Credentials, Window, write_peer_files};

/// A TAK client that connects to the gateway.
pub(super) const GUEST: &str = "guest";
/// One that takes nothing of what it is sent.
pub(super) const SLOW: &str = "slow";
/// One that sends what no parser should take.
pub(super) const HOSTILE_GUEST: &str = "hostile";

/// Files of a TAK server and of the gateway as its client, from one authority.
pub(in crate::rig) struct Papers {
    pub(super) dir: PathBuf,
}

impl Papers {
    pub(in crate::rig) fn make(dir: &Path) -> Result<Self, RigError> {
        let failed = RigError::cannot("make certificates");
        let dir = dir.join("papers");
        let mut authority = Authority::create(&dir).map_err(failed)?;
        write_peer_files(&mut authority, &dir)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let request = |name: &str| DeviceRequest {
            force: ForceId::try_new("bench").expect("five letters are an identity"),
            device: DeviceId::try_new(name).expect("letters are an identity"),
            mode: Mode::Test,
            validity: Validity::days_from(i64::try_from(now.as_secs()).unwrap_or(i64::MAX), 1),
            replace: false,
        };
        let names = ["client", GUEST, SLOW, HOSTILE_GUEST];
        let issued =
            authority.issue_devices(&names.map(request)).map_err(RigError::cannot("make certificates"))?;
        for (name, issued) in names.iter().zip(issued) {
            for (end, text) in [("pem", &issued.certificate_pem), ("key", &issued.key_pem)] {
                let path = dir.join(format!("{name}.{end}"));
                std::fs::write(path, text).map_err(RigError::io("write a certificate"))?;
            }
        }
        let list = authority.crl(1).map_err(RigError::cannot("make certificates"))?;
        std::fs::write(dir.join("crl.pem"), list).map_err(RigError::io("write a revocation list"))?;
        Ok(Self { dir })
    }

    /// The gateway's configuration for a TAK server.
    pub(in crate::rig) fn sink(&self, name: &str, port: u16) -> String {
        let [authority, certificate, key] =
            ["ca.pem", "client.pem", "client.key"].map(|name| self.file(name));
        format!(
            "[[forward.tak]]\nname = \"{name}\"\nurl = \"tls://127.0.0.1:{port}\"\nauthority = {authority:?}\n\
             certificate = {certificate:?}\nkey = {key:?}\nretry_delay_ms_max = 500\n{RELEASE_ALL}\n"
        )
    }

    /// The gateway's configuration for TAK clients that connect to it; `telling` says how they are told alarms.
    pub(super) fn listener(&self, port: u16, telling: &str) -> String {
        let [authority, certificate, key] =
            ["ca.pem", "server.pem", "server.key"].map(|name| self.file(name));
        let clients = [GUEST, SLOW, HOSTILE_GUEST].map(|name| {
            format!("[[tak.client]]\nname = \"{name}\"\npositions = \"every\"\n{telling}{RELEASE_ALL}\n")
        });
        format!(
            "[tak]\nlisten = \"127.0.0.1:{port}\"\nclient_authority = {authority:?}\ncertificate = {certificate:?}\n\
             key = {key:?}\n{}",
            clients.concat()
        )
    }

    /// Puts them where FreeTAKServer looks for its own. It wants the revocation list behind the authority.
    pub(super) fn give(&self, certs: &Path) -> Result<(), RigError> {
        let failed = || RigError::io("give FreeTAKServer its certificates");
        let read = |name: &str| std::fs::read_to_string(self.file(name)).map_err(failed());
        let list = read("crl.pem")?;
        let authority = read("ca.pem")? + &list;
        let files = [
            ("ca.pem", authority),
            ("FTS_CRL.json", list),
            ("ca.key", read("ca.key")?),
            ("server.pem", read("server.pem")?),
            ("server.key", read("server.key")?),
            ("server.key.unencrypted", read("server.key")?),
            ("Client.pem", read("client.pem")?),
            ("Client.key", read("client.key")?),
        ];
        files.iter().try_for_each(|(name, text)| std::fs::write(certs.join(name), text).map_err(failed()))
    }

    pub(in crate::rig) fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// What people are called who test programs: all that a roster takes, which is no control characters.
const HOSTILE: [&str; 8] = [
    "</event><event uid='x' type='b-a-o-can'>",
    "\\\"/><emergency cancel=\\\"true\\\"/>",
    "]]><![CDATA[&xxe;<!DOCTYPE a [<!ENTITY b 'c'>]>",
    "\\uFFFE\\uFFFF\\uFDD0\\u2028\\u2029",
    "\\u202E\\u200B\\uFEFF\\u2028 DO12",
    "<?xml version='1.0'?>--><!--",
    "O'Brien & Søn \\U0001F693 警察",
    "&amp;lt; &#0; %s {0} ${jndi:x}",
];

/// Writes a roster that calls the units of `setup` so; returns its path.
pub(super) fn roster(setup: &Setup, path: &Path) -> Result<PathBuf, RigError> {
    let mut text = String::new();
    for (number, device) in setup.devices.iter().enumerate() {
        let kind = if number % 2 == 0 { "officer" } else { "vehicle" };
        let (device, callsign) = (&device.device, HOSTILE[number % HOSTILE.len()]);
        write!(
            text,
            "[[unit]]\nforce = \"bench\"\ndevice = \"{device}\"\ncallsign = \"{callsign}\"\nkind = \"{kind}\"\n"
        )
        .expect("writing into a growing string cannot fail");
    }
    std::fs::write(path, text).map_err(RigError::io("write the roster"))?;
    Ok(path.to_path_buf())
}

/// The uid of a device's unit. Every record of a bare device is of mode `test`.
pub(super) fn uid(device: &Credentials) -> String {
    format!("fieldpost.test.bench.{}", device.device.as_str().replace('.', "%2E"))
}

/// How many positions of each unit were acknowledged.
pub(super) type Wanted = Vec<(String, usize)>;

pub(super) fn wanted(setup: &Setup, windows: &[Window]) -> Wanted {
    let counts = setup.devices.iter().zip(windows);
    counts
        .map(|(device, window)| (uid(device), window.acknowledged.len()))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect()
}
