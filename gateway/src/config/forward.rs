//! `[[forward.nats]]`, `[[forward.postgres]]`, `[[forward.webhook]]`, `[[forward.file]]`, `[[forward.tak]]`, `[[forward.nmea]]`.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;

use fieldpost_protocol::ForceId;
use hyper::Uri;

use super::check;
use super::material::{self, ServerIdentity};
use super::parse::{loaded, narrow};
use super::postgres::server;
use super::release::release;
use super::section::{Located, Section};
use super::{
    BatchPolicy, ClientFiles, FileSink, Forward, NatsSink, NmeaSink, RetryPolicy, Sink, TakManner, TakSink,
    WebhookSink,
};
use crate::forward::nmea;
use crate::forward::release::Forces;
use crate::forward::webhook::SigningKeys;
use crate::https::is_loopback;

/// Names become file names of cursors and metric labels.
const NAME_BYTES_MAX: usize = 32;
/// Each forwarder has a task, a cursor file and metrics of its own.
const FORWARDS_MAX: usize = 32;

/// Reads the keys of one kind of sink.
type ReadSink = fn(&Section<'_>) -> Option<Sink>;

/// Reads every sink in the order nats, postgres, webhook, file, tak, nmea.
pub(super) fn forwards(root: &Section<'_>, served: &BTreeMap<ForceId, String>) -> Vec<Forward> {
    let section = root.section("forward");
    let mut forwards: Vec<Forward> = Vec::new();
    let kinds: [(&'static str, ReadSink); 6] = [
        ("nats", nats),
        ("postgres", postgres),
        ("webhook", webhook),
        ("file", file),
        ("tak", tak),
        ("nmea", nmea_server),
    ];
    for (kind, read_sink) in kinds {
        for entry in section.sections(kind) {
            if let Some(forward) = forward(&entry, kind, read_sink, served) {
                add(&entry, &mut forwards, forward);
            }
            entry.finish();
        }
    }
    section.finish();
    forwards
}

/// Names are unique.
pub(super) fn add(entry: &Section<'_>, forwards: &mut Vec<Forward>, forward: Forward) {
    if forwards.iter().any(|known| known.name == forward.name) {
        entry.report().mistake(
            entry.origin(),
            format!("`{}.name`: another sink is called \"{}\"", entry.name(), forward.name),
            "give every sink a name of its own: it names the sink's cursor",
        );
    }
    forwards.push(forward);
}

pub(super) fn few_enough(root: &Section<'_>, forwards: &[Forward]) {
    if forwards.len() > FORWARDS_MAX {
        root.report().mistake(
            root.origin(),
            format!("{} sinks; at most {FORWARDS_MAX}", forwards.len()),
            "remove some",
        );
    }
}

/// Records and bytes of the largest batch. A transaction of PostgreSQL costs as much as hundreds of rows.
fn batch_of(kind: &str) -> (u64, u64) {
    if kind == "postgres" { (5_000, 1 << 20) } else { (500, 256 << 10) }
}

pub(super) fn forward(
    entry: &Section<'_>,
    kind: &str,
    read_sink: ReadSink,
    served: &BTreeMap<ForceId, String>,
) -> Option<Forward> {
    let name = entry.text("name");
    let sink = read_sink(entry);
    let release = release(entry, served);
    if let (Some(Sink::Nmea(_)), Some(release)) = (&sink, &release) {
        one_force(entry, &release.forces);
    }
    let (count_max, bytes_max) = batch_of(kind);
    let batch = BatchPolicy {
        count_max: narrow(entry.integer("batch_count_max", count_max, 1..=10_000)),
        bytes_max: narrow(entry.integer("batch_bytes_max", bytes_max, 1_024..=16_777_216)),
        age_ms_max: entry.integer("batch_age_ms_max", 50, 0..=60_000),
    };
    let retry = RetryPolicy {
        delay_ms_min: entry.integer("retry_delay_ms_min", 200, 10..=60_000),
        delay_ms_max: entry.integer("retry_delay_ms_max", 15_000, 100..=3_600_000),
        attempt_ms_max: entry.integer("attempt_ms_max", 10_000, 100..=300_000),
    };
    if matches!(&sink, Some(Sink::Nmea(nmea)) if nmea.url.trim().starts_with("tls:"))
        && retry.attempt_ms_max < nmea::ATTEMPT_MS_MIN
    {
        entry.report().mistake(
            entry.origin(),
            format!("`{}.attempt_ms_max` is below {}: it would never connect", entry.name(), nmea::ATTEMPT_MS_MIN),
            "over TLS an attempt holds the half second in which the server may refuse the certificate; remove it to use the default",
        );
    }
    if retry.delay_ms_min > retry.delay_ms_max {
        entry.report().mistake(
            entry.origin(),
            format!("`{0}.retry_delay_ms_min` is above `{0}.retry_delay_ms_max`", entry.name()),
            "swap them, or remove one to use its default",
        );
    }
    let name = match name {
        None => kind.to_owned(),
        Some(name)
            if [
                crate::live::CURSOR_NAME,
                crate::ledger::task::CURSOR_NAME,
                crate::history::task::CURSOR_NAME,
            ]
            .contains(&name.value.as_str()) =>
        {
            entry.report().mistake(
                &name.origin,
                format!("`{}`: \"{}\" is the gateway's own cursor", name.key, name.value),
                "choose another name",
            );
            return None;
        }
        Some(name) if is_name(&name.value) => name.value,
        Some(name) => {
            entry.report().mistake(
                &name.origin,
                format!("`{}` must be 1 to {NAME_BYTES_MAX} characters of a-z 0-9 _ -", name.key),
                "it names the cursor's file and the metrics' label",
            );
            return None;
        }
    };
    Some(Forward { name, batch, retry, release: release?, sink: sink? })
}

fn nats(entry: &Section<'_>) -> Option<Sink> {
    let url = entry
        .required_text("url", "for example url = \"nats://127.0.0.1:4222\"")
        .filter(|url| url.value.split(',').all(|one| is_url(entry, url, one, &["nats", "tls"])));
    let stream =
        plain_or(entry, "stream", "FIELDPOST", |text| !text.contains(['.', '*', '>', ' ', '/', '\\']));
    let subject_prefix = plain_or(entry, "subject_prefix", "fieldpost", |text| {
        text.split('.').all(|token| !token.is_empty() && !token.contains(['*', '>', ' ']))
    });
    // 0: a stream that is there is taken as it is.
    let replicas = narrow(entry.integer("replicas", 0, 0..=5));
    let duplicate_window_s = narrow(entry.integer("duplicate_window_s", 0, 0..=604_800));
    let credentials = readable(entry, "credentials");
    let authority = authority(entry);
    let client = client_files(entry);
    // With either of them the client insists on TLS.
    if let (Some(url), Some(None), Some(None)) = (&url, &authority, &client)
        && url.value.split(',').any(|one| may_be_clear_text(one.trim()))
    {
        entry.report().warning(
            &url.origin,
            format!("`{}` sends positions in clear text unless the server asks for TLS", url.key),
            "write tls://host:port",
        );
    }
    Some(Sink::Nats(NatsSink {
        url: url?.value,
        stream: stream?,
        subject_prefix: subject_prefix?,
        replicas: (replicas > 0).then_some(replicas),
        duplicate_window_s: (duplicate_window_s > 0).then_some(duplicate_window_s),
        credentials: credentials?,
        authority: authority?,
        client: client?,
    }))
}

fn postgres(entry: &Section<'_>) -> Option<Sink> {
    Some(Sink::Postgres(server(entry, "fieldpost")?))
}

fn webhook(entry: &Section<'_>) -> Option<Sink> {
    let url = entry
        .required_text("url", "for example url = \"https://cad.force.example/events\"")
        .filter(|url| is_url(entry, url, &url.value, &["https", "http"]) && is_private(entry, url));
    let authority = authority(entry);
    let bearer_token_file = readable(entry, "bearer_token_file");
    let signing_keys_file = signing_keys(entry);
    Some(Sink::Webhook(WebhookSink {
        url: url?.value,
        authority: authority?,
        bearer_token_file: bearer_token_file?,
        signing_keys_file: signing_keys_file?,
    }))
}

fn file(entry: &Section<'_>) -> Option<Sink> {
    let path = entry.required_path("path", "for example path = \"events.ndjson\"")?;
    check::parent_directory(entry.report(), &path);
    Some(Sink::File(FileSink { path: path.value }))
}

fn tak(entry: &Section<'_>) -> Option<Sink> {
    let url = entry
        .required_text("url", "for example url = \"tls://tak.force.example:8089\"")
        .filter(|url| is_url(entry, url, &url.value, &["tls"]) && has_port(entry, url));
    let server_name = entry.text("server_name").map(|name| name.value);
    let authority = authority(entry);
    let client = client_files(entry);
    if let (Some(None), _) | (_, Some(None)) = (&authority, &client) {
        entry.report().mistake(
            entry.origin(),
            format!("`{}` needs authority, certificate and key", entry.name()),
            "TAK shows positions to whoever connects: both ends have to prove who they are",
        );
    }
    let sends_declaration = entry.boolean("declaration", true);
    let events_per_s_max = NonZeroU32::new(narrow(entry.integer("events_per_s_max", 0, 0..=100_000)));
    let manner = tak_manner(entry);
    Some(Sink::Tak(TakSink {
        url: url?.value,
        server_name,
        authority: authority??,
        client: client??,
        sends_declaration,
        events_per_s_max,
        manner,
    }))
}

fn nmea_server(entry: &Section<'_>) -> Option<Sink> {
    let url = entry
        .required_text("url", "for example url = \"tls://avl.force.example:5017\"")
        .filter(|url| is_url(entry, url, &url.value, &["tls", "tcp"]) && has_port(entry, url))
        .filter(|url| is_tls_or_here(entry, url));
    let authority = authority(entry);
    let client = client_files(entry);
    if let (Some(None), Some(Some(_))) = (&authority, &client) {
        entry.report().mistake(
            entry.origin(),
            format!("`{}` has a certificate and no authority", entry.name()),
            "say whom to show it to: set authority to who issued the server's certificate",
        );
    }
    let sends_every_position = entry.choice("positions", &[("newest", false), ("every", true)]);
    let sends_every_mode = entry.choice("modes", &[("actual", false), ("every", true)]);
    Some(Sink::Nmea(NmeaSink {
        url: url?.value,
        authority: authority?,
        client: client?,
        sends_every_position,
        sends_every_mode,
    }))
}

/// A sentence names a unit by its device alone, and two forces may have one of the same name.
fn one_force(entry: &Section<'_>, forces: &Forces) {
    if !matches!(forces, Forces::Only(forces) if forces.len() <= 1) {
        entry.report().mistake(
            entry.origin(),
            format!(
                "`{}.release.forces` has more than one force, and NMEA cannot say whose a unit is",
                entry.name()
            ),
            "name one force; give every other an output of its own",
        );
    }
}

/// Positions never leave the machine in clear text.
fn is_tls_or_here(entry: &Section<'_>, url: &Located<String>) -> bool {
    let Ok(uri) = url.value.parse::<Uri>() else { return false };
    let private = uri.scheme_str() == Some("tls") || is_loopback(&uri);
    if !private {
        entry.report().mistake(
            &url.origin,
            format!("`{}` would send positions in clear text", url.key),
            "use tls://; where the server cannot, tcp:// to a tunnel on this machine (stunnel, WireGuard)",
        );
    }
    private
}

pub(super) fn tak_manner(entry: &Section<'_>) -> TakManner {
    let manner = TakManner {
        takes_protobuf: entry.choice("protocol", &[("auto", true), ("xml", false)]),
        sends_every_position: entry.choice("positions", &[("newest", false), ("every", true)]),
        position_stale_s: entry.integer("position_stale_s", 90, 1..=86_400),
        alarm_repeat_s: entry.integer("alarm_repeat_s", 30, 1..=3_600),
        alarm_stale_s: entry.integer("alarm_stale_s", 300, 1..=86_400),
    };
    // Two tellings may be lost before an alert goes.
    if manner.alarm_stale_s < 3 * manner.alarm_repeat_s {
        entry.report().mistake(
            entry.origin(),
            format!("`{0}.alarm_stale_s` is below three times `{0}.alarm_repeat_s`", entry.name()),
            "an alert must not go stale while the alarm stands: repeat it more often, or let it stand longer",
        );
    }
    manner
}

fn has_port(entry: &Section<'_>, url: &Located<String>) -> bool {
    let has_port = url.value.trim().parse::<Uri>().is_ok_and(|uri| uri.port_u16().is_some());
    if !has_port {
        entry.report().mistake(
            &url.origin,
            format!("`{}` has no port", url.key),
            "write scheme://host:port; TAK servers listen on 8089",
        );
    }
    has_port
}

/// Positions never leave the machine in clear text.
fn is_private(entry: &Section<'_>, url: &Located<String>) -> bool {
    let Ok(uri) = url.value.parse::<Uri>() else { return false };
    let private = uri.scheme_str() == Some("https") || is_loopback(&uri);
    if !private {
        entry.report().mistake(
            &url.origin,
            format!("`{}` would send positions in clear text", url.key),
            "use https://; http:// is for loopback only",
        );
    }
    private
}

fn may_be_clear_text(url: &str) -> bool {
    url.parse::<Uri>().is_ok_and(|uri| uri.scheme_str() == Some("nats") && !is_loopback(&uri))
}

fn is_url(entry: &Section<'_>, key: &Located<String>, url: &str, schemes: &[&str]) -> bool {
    let uri = url.trim().parse::<Uri>().ok();
    let fits = uri.is_some_and(|uri| {
        uri.host().is_some_and(|host| !host.is_empty())
            && uri.scheme_str().is_some_and(|scheme| schemes.contains(&scheme))
    });
    if !fits {
        // The value may hold a password: it is shown in the file's own line, not repeated here.
        entry.report().mistake(
            &key.origin,
            format!("`{}` is not a URL of this sink", key.key),
            format!("write {}://host:port", schemes.join(":// or ")),
        );
    }
    fits
}

fn plain_or(entry: &Section<'_>, key: &'static str, default: &str, fits: fn(&str) -> bool) -> Option<String> {
    let Some(text) = entry.text(key) else { return Some(default.to_owned()) };
    if !text.value.is_empty() && text.value.bytes().all(|byte| byte.is_ascii_graphic()) && fits(&text.value) {
        return Some(text.value);
    }
    entry.report().mistake(
        &text.origin,
        format!("`{}` holds a character NATS gives another meaning", text.key),
        format!("use letters, digits, _ and -; the default is \"{default}\""),
    );
    None
}

/// Outer `None`: reported.
pub(super) fn readable(entry: &Section<'_>, key: &'static str) -> Option<Option<PathBuf>> {
    match entry.path(key) {
        None => Some(None),
        Some(path) => check::readable_file(entry.report(), &path).then_some(Some(path.value)),
    }
}

/// Outer `None`: reported. The report never repeats what is in the file.
fn signing_keys(entry: &Section<'_>) -> Option<Option<PathBuf>> {
    let Some(path) = entry.path("signing_keys_file") else { return Some(None) };
    if !check::readable_file(entry.report(), &path) {
        return None;
    }
    match SigningKeys::load(&path.value) {
        Ok(_) => Some(Some(path.value)),
        Err(error) => {
            entry.report().mistake(
                &path.origin,
                format!("`{}`: {}: {error}", path.key, path.value.display()),
                "make a key with: echo \"whsec_$(head -c 32 /dev/urandom | base64)\"",
            );
            None
        }
    }
}

pub(super) fn authority(entry: &Section<'_>) -> Option<Option<PathBuf>> {
    match entry.path("authority") {
        None => Some(None),
        Some(path) => {
            loaded(entry, &path, material::Authority::load(&path.value))?;
            Some(Some(path.value))
        }
    }
}

pub(super) fn client_files(entry: &Section<'_>) -> Option<Option<ClientFiles>> {
    match (entry.path("certificate"), entry.path("key")) {
        (None, None) => Some(None),
        (Some(certificate), Some(key)) => {
            loaded(entry, &certificate, ServerIdentity::load(&certificate.value, &key.value))?;
            Some(Some(ClientFiles { certificate: certificate.value, key: key.value }))
        }
        (Some(one), None) | (None, Some(one)) => {
            entry.report().mistake(
                &one.origin,
                format!("`{}` stands alone", one.key),
                format!("set both {0}.certificate and {0}.key, or neither", entry.name()),
            );
            None
        }
    }
}

fn is_name(name: &str) -> bool {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
    !name.is_empty() && name.len() <= NAME_BYTES_MAX && name.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_nats_on_this_machine_may_go_without_tls_unsaid() {
        for said in ["nats://10.0.0.5:4222", "nats://u:p@nats.example:4222"] {
            assert!(may_be_clear_text(said), "{said}");
        }
        for unsaid in
            ["nats://127.0.0.1:4222", "nats://localhost:4222", "nats://[::1]:4222", "tls://nats.example"]
        {
            assert!(!may_be_clear_text(unsaid), "{unsaid}");
        }
    }
}
