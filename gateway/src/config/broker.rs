//! `[[broker]]`: an MQTT broker between devices and gateway.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::Uri;
use rustls_pki_types::CertificateDer;

use super::forward::{authority, client_files, readable};
use super::material::{self, EnvelopeSecret, MaterialError};
use super::parse::{loaded, narrow};
use super::section::{Located, Section};
use super::{ClientFiles, RetryPolicy};
use crate::https::is_loopback;

/// Each has a connection, a session at its broker and metrics in common.
const BROKERS_MAX: usize = 8;
const KEY_HELP: &str = "`fieldpost pki envelope-key` makes one";
const DEVICES_HELP: &str = "name a PEM file, or a folder of them, with the certificates of the devices";

/// `[[broker]]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct BrokerLink {
    /// `mqtts://host:port`; `mqtt://` only to loopback.
    pub url: String,
    /// Our name at the broker: one of its own for every gateway, kept for ever, or the broker's session is lost.
    pub client_id: String,
    /// The shared subscription's group: the same for all gateways that share the load.
    pub group: String,
    /// PEM of who issued the broker's certificate; the system's roots otherwise.
    pub authority: Option<PathBuf>,
    /// PEM of our client certificate and its key.
    pub client: Option<ClientFiles>,
    /// User name at the broker, with the file that holds the password on its first line.
    pub login: Option<(String, PathBuf)>,
    /// Where the devices' certificates were read from.
    pub devices_path: PathBuf,
    /// The devices whose envelopes are taken: nobody else's are.
    pub devices: Arc<Vec<CertificateDer<'static>>>,
    /// The private half of what devices agree their keys with; the same for all gateways of a group.
    pub secret: Arc<EnvelopeSecret>,
    /// The one that it replaces, while devices are told.
    pub former: Option<FormerKey>,
    /// Publishes that the broker may have unacknowledged under way to us.
    pub receive_max: u16,
    /// How long the broker keeps our session, and what is not acknowledged in it.
    pub session_expiry_s: u32,
    /// Keep-alive in seconds.
    pub keep_alive_s: u16,
    /// Delays between attempts to connect; `attempt_ms_max` bounds each.
    pub retry: RetryPolicy,
}

/// An envelope key that is being replaced.
#[derive(Debug, Clone)]
pub struct FormerKey {
    /// The private half.
    pub secret: Arc<EnvelopeSecret>,
    /// Unix ms from which nothing that is sealed with it is believed.
    pub until_ms: u64,
}

/// Reads every `[[broker]]`.
pub(super) fn brokers(root: &Section<'_>) -> Vec<BrokerLink> {
    let entries = root.sections("broker");
    if entries.len() > BROKERS_MAX {
        root.report().mistake(
            root.origin(),
            format!("{} brokers; at most {BROKERS_MAX}", entries.len()),
            "remove some; the nodes of one cluster are one [[broker]] behind one name",
        );
    }
    let mut brokers = Vec::new();
    for entry in entries {
        brokers.extend(broker(&entry));
        entry.finish();
    }
    brokers
}

fn broker(entry: &Section<'_>) -> Option<BrokerLink> {
    let url = entry
        .required_text("url", "for example url = \"mqtts://broker.force.example:8883\"")
        .filter(|url| is_broker_url(entry, url));
    let client_id =
        entry.required_text("client_id", "give every gateway a name of its own at the broker, and keep it");
    let client_id = client_id.filter(|id| is_level(entry, id));
    let group = match entry.text("group") {
        None => Some("fieldpost".to_owned()),
        Some(group) => is_level(entry, &group).then_some(group.value),
    };
    let authority = authority(entry);
    let client = client_files(entry);
    let login = login(entry);
    let devices = entry.required_path("devices", DEVICES_HELP);
    let certificates =
        devices.as_ref().and_then(|path| loaded(entry, path, device_certificates(&path.value)));
    let secret = entry
        .required_path("envelope_key", KEY_HELP)
        .and_then(|path| loaded(entry, &path, EnvelopeSecret::load(&path.value)));
    let secret = secret.map(Arc::new);
    let former = former_key(entry, secret.as_deref());
    let receive_max = narrow(entry.integer("receive_max", 256, 8..=4_096));
    let session_expiry_s = narrow(entry.integer("session_expiry_s", 86_400, 60..=2_592_000));
    let keep_alive_s = narrow(entry.integer("keep_alive_s", 30, 5..=600));
    let retry = RetryPolicy {
        delay_ms_min: entry.integer("retry_delay_ms_min", 200, 10..=60_000),
        delay_ms_max: entry.integer("retry_delay_ms_max", 15_000, 100..=3_600_000),
        attempt_ms_max: entry.integer("attempt_ms_max", 10_000, 100..=300_000),
    };
    Some(BrokerLink {
        url: url?.value,
        client_id: client_id?.value,
        group: group?,
        authority: authority?,
        client: client?,
        login: login?,
        devices_path: devices?.value,
        devices: Arc::new(certificates?),
        secret: secret?,
        former: former?,
        receive_max,
        session_expiry_s,
        keep_alive_s,
        retry,
    })
}

/// Positions never leave the machine in clear text, tagged or not.
fn is_broker_url(entry: &Section<'_>, url: &Located<String>) -> bool {
    let uri = url.value.parse::<Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let fits = uri.is_some_and(|uri| match uri.scheme_str() {
        Some("mqtts") => true,
        Some("mqtt") => is_loopback(&uri),
        _ => false,
    });
    if !fits {
        entry.report().mistake(
            &url.origin,
            format!("`{}` is not an address of a broker over TLS", url.key),
            "write mqtts://host:port; mqtt:// is for loopback only",
        );
    }
    fits
}

/// One level of a topic, and a client id that every broker takes.
fn is_level(entry: &Section<'_>, text: &Located<String>) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let fits = (1..=64).contains(&text.value.len()) && text.value.bytes().all(allowed);
    if !fits {
        entry.report().mistake(
            &text.origin,
            format!("`{}` must be 1 to 64 characters of A-Z a-z 0-9 . _ -", text.key),
            "change the characters that do not fit",
        );
    }
    fits
}

/// Outer `None`: reported.
fn former_key(entry: &Section<'_>, current: Option<&EnvelopeSecret>) -> Option<Option<FormerKey>> {
    let path = entry.path("former_envelope_key");
    let until = entry.text("former_envelope_key_until");
    let (path, until) = match (path, until) {
        (None, None) => return Some(None),
        (Some(path), Some(until)) => (path, until),
        _ => {
            let name = entry.name();
            entry.report().mistake(
                entry.origin(),
                format!(
                    "`{name}.former_envelope_key` and `{name}.former_envelope_key_until` belong together"
                ),
                "set both while devices are told the new key: a key that is replaced needs an end",
            );
            return None;
        }
    };
    let until_ms = instant(entry, &until);
    let secret = loaded(entry, &path, EnvelopeSecret::load(&path.value))?;
    if current.is_some_and(|current| current.is(&secret)) {
        entry.report().mistake(
            &path.origin,
            format!("`{}` is the same key as `envelope_key`", path.key),
            "name the key that devices were told before here, and the one they are told now there",
        );
        return None;
    }
    Some(Some(FormerKey { secret: Arc::new(secret), until_ms: until_ms? }))
}

/// Unix ms.
fn instant(entry: &Section<'_>, text: &Located<String>) -> Option<u64> {
    let parsed = text.value.parse::<jiff::Timestamp>();
    let unix_ms = parsed.ok().and_then(|instant| u64::try_from(instant.as_millisecond()).ok());
    if unix_ms.is_none() {
        entry.report().mistake(
            &text.origin,
            format!("`{}` is no instant", text.key),
            "write it with its offset, for example \"2027-01-31T00:00:00Z\"",
        );
    }
    unix_ms
}

/// Outer `None`: reported.
fn login(entry: &Section<'_>) -> Option<Option<(String, PathBuf)>> {
    let username = entry.text("username");
    let password_file = readable(entry, "password_file")?;
    match (username, password_file) {
        (None, None) => Some(None),
        (Some(name), Some(file)) => Some(Some((name.value, file))),
        _ => {
            entry.report().mistake(
                entry.origin(),
                format!("`{0}.username` and `{0}.password_file` belong together", entry.name()),
                "set both, or neither where a client certificate says who the gateway is",
            );
            None
        }
    }
}

/// Every certificate of a PEM file, or of every `.pem` file in a folder, in the order of their names.
fn device_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    if !path.is_dir() {
        return material::certificates(path);
    }
    let unreadable = |source| MaterialError::Unreadable { path: path.to_owned(), source };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        if file.extension().is_some_and(|extension| extension == "pem") {
            files.push(file);
        }
    }
    files.sort();
    let mut found = Vec::new();
    for file in files {
        found.extend(material::certificates(&file)?);
    }
    Ok(found)
}
