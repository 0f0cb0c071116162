//! From the tree to a [`Config`]: one function a section. Every function reads all of its keys before it gives up, so
//! that one run names every mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use fieldpost_protocol::ForceId;
use tracing_subscriber::EnvFilter;

use super::broker;
use super::check;
use super::forward;
use super::map;
use super::material::{Authority, MaterialError, RevocationList, ServerIdentity};
use super::problem::{Origin, Problems, Report};
use super::roster::Roster;
use super::section::{Located, Section};
use super::tak;
use super::tree::Table;
use super::{
    AuditPolicy, Clock, Config, ControlRoom, FrontDoor, HistoryPolicy, Log, LogFormat, MetricsListener,
    RetentionPolicy, ServicePolicy, SpoolPolicy,
};
use crate::alarms::rules::Rules;
use crate::people::reasons::{Reason, Reasons};
use crate::spool::SpoolSettings;

/// MQTT 5 clients in the field break below this Receive Maximum.
const RECEIVE_MAX_FLOOR: u64 = 100;
const MIB: u64 = 1024 * 1024;
/// The longest frame of the protocol must fit.
const PACKET_BYTES: u64 = fieldpost_protocol::limits::MQTT_PACKET_BYTES_MAX as u64;
const NEW_CERTIFICATE: &str =
    "`fieldpost init DIR` makes a local authority and a server certificate to start with";

/// Reads every section. `None` only after reporting why.
pub(super) fn config(root: &Table, path: &Path, report: &Report) -> Option<Config> {
    let base = path.parent().unwrap_or(Path::new(""));
    let root = Section::root(root, base, report);
    let data_dir = root.path("data_dir");
    let front_door = front_door(&root);
    let brokers = broker::brokers(&root);
    let (forces, reasons) = forces(&root);
    let audit = audit(&root);
    let spool = spool(&root);
    let retention = retention(&root);
    let history = history(&root);
    let mut forwards = forward::forwards(&root, &forces);
    let tak = tak::tak(&root, &forces, &mut forwards);
    forward::few_enough(&root, &forwards);
    let control_room = control_room(&root);
    let map = map::ground(&root);
    let metrics = metrics(&root);
    let clock = clock(&root);
    let log = log(&root);
    let service = service(&root);
    root.finish();
    if let Some(data_dir) = &data_dir {
        check::directory_or_missing(report, data_dir);
    }
    check::addresses_differ(
        report,
        &[
            front_door.as_ref().map(|(_, listen)| listen),
            control_room.as_ref().map(|(_, listen)| listen),
            metrics.as_ref().map(|(_, listen)| listen),
            tak.iter().flatten().map(|(_, listen)| listen).next(),
        ],
    );
    Some(Config {
        path: path.to_owned(),
        data_dir: data_dir.map_or_else(|| base.join("data"), |data_dir| data_dir.value),
        front_door: front_door?.0,
        brokers,
        forces: Arc::new(forces),
        reasons,
        audit,
        spool,
        retention,
        history,
        forwards,
        tak: tak?.map(|(listener, _)| listener),
        control_room: control_room?.0,
        map: map?,
        metrics: metrics?.0,
        clock,
        log,
        service,
        warnings: Arc::new(Problems::default()),
    })
}

type Listening<T> = Option<(T, Located<std::net::SocketAddr>)>;

fn front_door(root: &Section<'_>) -> Listening<FrontDoor> {
    let section = root.section("front_door");
    let listen = section.address("listen", "0.0.0.0:8883");
    let identity = server_identity(&section, true);
    let authority = section.required_path("device_authority", NEW_CERTIFICATE).and_then(|path| {
        let authority = loaded(&section, &path, Authority::load(&path.value))?;
        check::not_expired(section.report(), &path, authority.not_after_s, now_s());
        Some(authority)
    });
    let revocation_list = section.path("revocation_list");
    let revocation_list = match revocation_list {
        None => Some(None),
        Some(path) => loaded(&section, &path, RevocationList::load(&path.value)).map(|list| {
            check::revocation_list(section.report(), &path, &list, authority.as_ref(), now_s());
            Some(Arc::new(list))
        }),
    };
    let connections_max = section.integer("connections_max", 16_384, 1..=1_000_000);
    let connect_deadline_ms = section.integer("connect_deadline_ms", 10_000, 100..=120_000);
    let keep_alive_s_max = section.integer("keep_alive_s_max", 300, 5..=65_535);
    let session_expiry_s_max = section.integer("session_expiry_s_max", 86_400, 0..=604_800);
    let packet_bytes_max = section.integer("packet_bytes_max", PACKET_BYTES, PACKET_BYTES..=MIB);
    let receive_max = section.integer("receive_max", 256, RECEIVE_MAX_FLOOR..=65_535);
    let topic_alias_max = section.integer("topic_alias_max", 8, 0..=64);
    section.finish();
    let listen = listen?;
    let front_door = FrontDoor {
        listen: listen.value,
        identity: Arc::new(identity??),
        device_authority: Arc::new(authority?),
        revocation_list: revocation_list?,
        connections_max: narrow(connections_max),
        connect_deadline_ms,
        keep_alive_s_max: narrow(keep_alive_s_max),
        session_expiry_s_max: narrow(session_expiry_s_max),
        packet_bytes_max: narrow(packet_bytes_max),
        receive_max: narrow(receive_max),
        topic_alias_max: narrow(topic_alias_max),
    };
    Some((front_door, listen))
}

fn forces(root: &Section<'_>) -> (BTreeMap<ForceId, String>, Reasons) {
    let (mut forces, mut reasons) = (BTreeMap::new(), Vec::new());
    let sections = root.sections("force");
    if sections.is_empty() {
        root.report().mistake(
            &Origin::Absent,
            "no [[force]]: every device would be refused",
            "add [[force]] with id = \"..\", the force its devices are enrolled with",
        );
    }
    for section in sections {
        let id = section.required_text("id", "write the force id that device certificates carry");
        let name = section.text("name").map(|name| name.value);
        let reason = section.choice("reason", &REASONS.map(|reason| (reason.as_str(), reason)));
        if let Some(id) = id.and_then(|located| section.identity(&located, ForceId::try_new)) {
            let name = name.unwrap_or_else(|| id.to_string());
            reasons.push((id.clone(), reason));
            if forces.insert(id.clone(), name).is_some() {
                section.report().mistake(
                    section.origin(),
                    format!("force `{id}` is listed twice"),
                    "remove one of the two",
                );
            }
        }
        section.finish();
    }
    (forces, reasons.into_iter().collect())
}

const REASONS: [Reason; 3] = [Reason::Off, Reason::Optional, Reason::Required];

fn audit(root: &Section<'_>) -> AuditPolicy {
    let section = root.section("audit");
    let policy = AuditPolicy {
        pictures_days: narrow(section.integer("pictures_days", 31, 1..=36_600)),
        pictures_bytes_max: section.integer(
            "pictures_bytes_max",
            16_384 * MIB,
            256 * MIB..=1024 * 1024 * 1024 * MIB,
        ),
        access_days: narrow(section.integer("access_days", 0, 0..=36_600)),
        disclosures_days: narrow(section.integer("disclosures_days", 0, 0..=36_600)),
    };
    if (1..policy.pictures_days).contains(&policy.access_days) {
        section.report().mistake(
            section.origin(),
            format!(
                "[audit]: `access_days` = {} ends before `pictures_days` = {}: nobody could say who was shown a picture",
                policy.access_days, policy.pictures_days
            ),
            "keep the access record as long as the pictures, or for ever with 0",
        );
    }
    section.finish();
    policy
}

fn spool(root: &Section<'_>) -> SpoolPolicy {
    let section = root.section("spool");
    let policy = SpoolPolicy {
        segment_bytes: section.integer("segment_bytes", 16 * MIB, 2 * MIB..=1024 * MIB),
        bytes_max: section.integer("bytes_max", 4_096 * MIB, 8 * MIB..=1024 * 1024 * 1024 * MIB),
        reserve_bytes: section.integer("reserve_bytes", 32 * MIB, MIB..=1024 * 1024 * MIB),
        retain_hours: narrow(section.integer("retain_hours", 24, 0..=87_600)),
    };
    // The spool's own rules, so that what passes here opens.
    if let Err(error) = SpoolSettings::from(&policy).check() {
        section.report().mistake(
            section.origin(),
            format!("[spool]: {error}"),
            "change segment_bytes, bytes_max or reserve_bytes; all three have defaults that fit",
        );
    }
    section.finish();
    policy
}

fn retention(root: &Section<'_>) -> RetentionPolicy {
    let section = root.section("retention");
    let hours = |key| narrow(section.integer(key, 0, 0..=876_000));
    let policy = RetentionPolicy {
        alarms_hours: hours("alarms_hours"),
        positions_hours: hours("positions_hours"),
        events_hours: hours("events_hours"),
        quarantine_hours: hours("quarantine_hours"),
        archive_bytes_max: section.integer("archive_bytes_max", 1_024 * MIB, MIB..=1024 * 1024 * 1024 * MIB),
    };
    section.finish();
    policy
}

fn history(root: &Section<'_>) -> HistoryPolicy {
    let section = root.section("history");
    let store = section.text("store");
    let postgres = match store.as_ref().map(|store| store.value.as_str()) {
        None | Some("files") => None,
        Some("postgres") => {
            let entry = section.section("postgres");
            let server = super::postgres::server(&entry, "fieldpost_history");
            entry.finish();
            server
        }
        Some(other) => {
            let store = store.as_ref().expect("matched just now");
            section.report().mistake(
                &store.origin,
                format!("`{}` is no store: \"{other}\"", store.key),
                "write \"files\" or \"postgres\"",
            );
            None
        }
    };
    let policy = HistoryPolicy {
        postgres,
        movement_days: narrow(section.integer("movement_days", 31, 1..=36_600)),
        alarms_days: narrow(section.integer("alarms_days", 366, 1..=36_600)),
        bytes_max: section.integer("bytes_max", 16_384 * MIB, 64 * MIB..=1024 * 1024 * 1024 * MIB),
    };
    section.finish();
    policy
}

fn control_room(root: &Section<'_>) -> Listening<ControlRoom> {
    let section = root.section("control_room");
    let listen = section.address("listen", "127.0.0.1:8088");
    let identity = server_identity(&section, false);
    if let (Some(listen), Some(None)) = (&listen, &identity)
        && !listen.value.ip().is_loopback()
    {
        section.report().mistake(
            &listen.origin,
            format!("`control_room.listen` {} is not loopback, so the page needs TLS", listen.value),
            "set control_room.certificate and control_room.key, or listen on 127.0.0.1 and come through a tunnel to this machine (ssh -L)",
        );
    }
    let rules_path = section.path("rules");
    let rules = match &rules_path {
        None => Some(Rules::built_in()),
        Some(path) => {
            super::rules::load(&path.value).map_err(|problems| section.report().attach(problems)).ok()
        }
    };
    let roster_path = section.path("roster");
    let roster = match &roster_path {
        None => Some(Roster::default()),
        Some(path) => match Roster::load(&path.value) {
            Ok(roster) => Some(roster),
            Err(problems) => {
                section.report().attach(problems);
                None
            }
        },
    };
    let streets = section.path("streets").filter(|path| check::readable_file(section.report(), path));
    section.finish();
    let listen = listen?;
    let control_room = ControlRoom {
        listen: listen.value,
        identity: identity?.map(Arc::new),
        roster: Arc::new(roster?),
        roster_path: roster_path.map(|path| path.value),
        rules: rules?,
        rules_path: rules_path.map(|path| path.value),
        streets: streets.map(|path| path.value),
    };
    Some((control_room, listen))
}

fn metrics(root: &Section<'_>) -> Listening<MetricsListener> {
    let section = root.section("metrics");
    let listen = section.address("listen", "127.0.0.1:9464");
    if let Some(listen) = &listen
        && !listen.value.ip().is_loopback()
    {
        section.report().mistake(
            &listen.origin,
            format!("`metrics.listen` {} is not loopback", listen.value),
            "metrics have no login: listen on 127.0.0.1 or [::1] and let an agent on this machine collect them",
        );
    }
    section.finish();
    let listen = listen?;
    Some((MetricsListener { listen: listen.value }, listen))
}

fn clock(root: &Section<'_>) -> Clock {
    let section = root.section("clock");
    let clock = Clock {
        future_s_max: narrow(section.integer("future_s_max", 120, 1..=86_400)),
        past_hours_max: narrow(section.integer("past_hours_max", 168, 1..=876_000)),
    };
    section.finish();
    clock
}

fn log(root: &Section<'_>) -> Log {
    let section = root.section("log");
    let format = section.choice("format", &[("text", LogFormat::Text), ("json", LogFormat::Json)]);
    let level = section.text("level").map_or_else(
        || "info".to_owned(),
        |level| {
            if let Err(error) = EnvFilter::try_new(&level.value) {
                section.report().mistake(
                    &level.origin,
                    format!("`log.level` is not a level or filter: {error}"),
                    "write error, warn, info, debug or trace, or a filter such as \"info,fieldpost_gateway::spool=debug\"",
                );
            }
            level.value
        },
    );
    section.finish();
    Log { format, level }
}

fn service(root: &Section<'_>) -> ServicePolicy {
    let section = root.section("service");
    let policy =
        ServicePolicy { drain_deadline_ms: section.integer("drain_deadline_ms", 20_000, 0..=600_000) };
    section.finish();
    policy
}

/// Reads `certificate` and `key`. Outer `None`: a mistake was reported; inner `None`: neither is given.
pub(super) fn server_identity(section: &Section<'_>, required: bool) -> Option<Option<ServerIdentity>> {
    let (certificate, key) = if required {
        let certificate = section.required_path("certificate", NEW_CERTIFICATE);
        (certificate, section.required_path("key", NEW_CERTIFICATE))
    } else {
        (section.path("certificate"), section.path("key"))
    };
    match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let identity = ServerIdentity::load(&certificate.value, &key.value);
            let culprit = if identity.as_ref().is_err_and(|error| error.path() == key.value) {
                &key
            } else {
                &certificate
            };
            let identity = loaded(section, culprit, identity)?;
            check::identity(section.report(), &certificate, &key, &identity, now_s());
            Some(Some(identity))
        }
        (None, None) if !required => Some(None),
        (Some(one), None) | (None, Some(one)) if !required => {
            section.report().mistake(
                &one.origin,
                format!("`{}` stands alone", one.key),
                format!("set both {0}.certificate and {0}.key, or neither", section.name()),
            );
            None
        }
        _ => None,
    }
}

/// Reports why a file could not be used, at the key that names it.
pub(super) fn loaded<T>(
    section: &Section<'_>,
    key: &Located<PathBuf>,
    result: Result<T, MaterialError>,
) -> Option<T> {
    result
        .map_err(|error| {
            section.report().mistake(&key.origin, format!("`{}`: {error}", key.key), error.help());
        })
        .ok()
}

pub(super) fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// The range of the key was checked against the narrower type.
pub(super) fn narrow<T: TryFrom<u64>>(value: u64) -> T {
    T::try_from(value).unwrap_or_else(|_| unreachable!("the key's range fits its type"))
}
