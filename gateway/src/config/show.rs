//! The configuration in force, as TOML: defaults, file and environment together.

use std::num::NonZeroU32;

use toml::{Table, Value};

use super::{BrokerLink, Config, Forward, LogFormat, Sink, TakListener, TakManner};
use crate::forward::release::{Field, Fields, Forces, Kind, Kinds, Release};
use crate::http::tiles::Ground;
use crate::postgres::Server;

/// Renders `config` as TOML that, read again, gives the same configuration. `redact` hides passwords in URLs and
/// shortens nothing else: files that hold secrets are named, never read.
#[must_use]
pub fn effective(config: &Config, redact: bool) -> String {
    let mut root = Table::new();
    set(&mut root, "data_dir", path(&config.data_dir));
    root.insert("front_door".into(), Value::Table(front_door(config)));
    if !config.brokers.is_empty() {
        let brokers = config.brokers.iter().map(|broker| Value::Table(self::broker(broker)));
        root.insert("broker".into(), Value::Array(brokers.collect()));
    }
    let force = |(id, name): (&fieldpost_protocol::ForceId, &String)| {
        let reason = config.reasons.of_force(id).as_str();
        table([("id", id.as_str().into()), ("name", name.as_str().into()), ("reason", reason.into())])
    };
    root.insert("force".into(), Value::Array(config.forces.iter().map(force).collect()));
    let spool = &config.spool;
    root.insert(
        "spool".into(),
        table([
            ("segment_bytes", number(spool.segment_bytes)),
            ("bytes_max", number(spool.bytes_max)),
            ("reserve_bytes", number(spool.reserve_bytes)),
            ("retain_hours", number(spool.retain_hours)),
        ]),
    );
    let retention = &config.retention;
    root.insert(
        "retention".into(),
        table([
            ("alarms_hours", number(retention.alarms_hours)),
            ("positions_hours", number(retention.positions_hours)),
            ("events_hours", number(retention.events_hours)),
            ("quarantine_hours", number(retention.quarantine_hours)),
            ("archive_bytes_max", number(retention.archive_bytes_max)),
        ]),
    );
    let history = &config.history;
    let mut of_history = Table::new();
    set(&mut of_history, "store", "files");
    if let Some(server) = &history.postgres {
        let mut entry = Table::new();
        postgres(&mut entry, server);
        set(&mut of_history, "store", "postgres");
        of_history.insert("postgres".into(), Value::Table(entry));
    }
    set(&mut of_history, "movement_days", number(history.movement_days));
    set(&mut of_history, "alarms_days", number(history.alarms_days));
    set(&mut of_history, "bytes_max", number(history.bytes_max));
    root.insert("history".into(), Value::Table(of_history));
    let audit = &config.audit;
    root.insert(
        "audit".into(),
        table([
            ("pictures_days", number(audit.pictures_days)),
            ("pictures_bytes_max", number(audit.pictures_bytes_max)),
            ("access_days", number(audit.access_days)),
            ("disclosures_days", number(audit.disclosures_days)),
        ]),
    );
    root.insert("forward".into(), Value::Table(forwards(&config.forwards, redact)));
    if let Some(listener) = &config.tak {
        root.insert("tak".into(), Value::Table(tak(config, listener, redact)));
    }
    root.insert("control_room".into(), Value::Table(control_room(config)));
    root.insert("map".into(), Value::Table(map(&config.map, redact)));
    root.insert("metrics".into(), table([("listen", config.metrics.listen.to_string().into())]));
    root.insert(
        "clock".into(),
        table([
            ("future_s_max", number(config.clock.future_s_max)),
            ("past_hours_max", number(config.clock.past_hours_max)),
        ]),
    );
    let format = match config.log.format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    };
    root.insert(
        "log".into(),
        table([("format", format.into()), ("level", config.log.level.as_str().into())]),
    );
    root.insert("service".into(), table([("drain_deadline_ms", number(config.service.drain_deadline_ms))]));
    root.to_string()
}

fn front_door(config: &Config) -> Table {
    let front_door = &config.front_door;
    let mut section = Table::new();
    set(&mut section, "listen", front_door.listen.to_string());
    set(&mut section, "certificate", path(&front_door.identity.certificate_path));
    set(&mut section, "key", path(&front_door.identity.key_path));
    set(&mut section, "device_authority", path(&front_door.device_authority.path));
    if let Some(list) = &front_door.revocation_list {
        set(&mut section, "revocation_list", path(&list.path));
    }
    set(&mut section, "connections_max", number(front_door.connections_max));
    set(&mut section, "connect_deadline_ms", number(front_door.connect_deadline_ms));
    set(&mut section, "keep_alive_s_max", number(front_door.keep_alive_s_max));
    set(&mut section, "session_expiry_s_max", number(front_door.session_expiry_s_max));
    set(&mut section, "packet_bytes_max", number(front_door.packet_bytes_max));
    set(&mut section, "receive_max", number(front_door.receive_max));
    set(&mut section, "topic_alias_max", number(front_door.topic_alias_max));
    section
}

fn broker(broker: &BrokerLink) -> Table {
    let mut section = Table::new();
    set(&mut section, "url", broker.url.as_str());
    set(&mut section, "client_id", broker.client_id.as_str());
    set(&mut section, "group", broker.group.as_str());
    set_path(&mut section, "authority", broker.authority.as_deref());
    if let Some(client) = &broker.client {
        set_path(&mut section, "certificate", Some(&client.certificate));
        set_path(&mut section, "key", Some(&client.key));
    }
    if let Some((name, file)) = &broker.login {
        set(&mut section, "username", name.as_str());
        set_path(&mut section, "password_file", Some(file));
    }
    set_path(&mut section, "devices", Some(&broker.devices_path));
    set_path(&mut section, "envelope_key", Some(&broker.secret.path));
    if let Some(former) = &broker.former {
        set_path(&mut section, "former_envelope_key", Some(&former.secret.path));
        let until_ms = i64::try_from(former.until_ms).unwrap_or(i64::MAX);
        let until = jiff::Timestamp::from_millisecond(until_ms).unwrap_or(jiff::Timestamp::MAX);
        set(&mut section, "former_envelope_key_until", until.to_string());
    }
    set(&mut section, "receive_max", number(broker.receive_max));
    set(&mut section, "session_expiry_s", number(broker.session_expiry_s));
    set(&mut section, "keep_alive_s", number(broker.keep_alive_s));
    set(&mut section, "retry_delay_ms_min", number(broker.retry.delay_ms_min));
    set(&mut section, "retry_delay_ms_max", number(broker.retry.delay_ms_max));
    set(&mut section, "attempt_ms_max", number(broker.retry.attempt_ms_max));
    section
}

fn control_room(config: &Config) -> Table {
    let control_room = &config.control_room;
    let mut section = Table::new();
    set(&mut section, "listen", control_room.listen.to_string());
    if let Some(identity) = &control_room.identity {
        set(&mut section, "certificate", path(&identity.certificate_path));
        set(&mut section, "key", path(&identity.key_path));
    }
    if let Some(roster) = &control_room.roster_path {
        set(&mut section, "roster", path(roster));
    }
    if let Some(rules) = &control_room.rules_path {
        set(&mut section, "rules", path(rules));
    }
    if let Some(streets) = &control_room.streets {
        set(&mut section, "streets", path(streets));
    }
    section
}

fn map(ground: &Ground, redact: bool) -> Table {
    let mut section = Table::new();
    match ground {
        Ground::Outline => {}
        Ground::File(pmtiles) => set(&mut section, "pmtiles", path(pmtiles)),
        Ground::Server(server) => {
            let url = server.template.as_str();
            set(&mut section, "tiles", if redact { redacted_urls(url) } else { url.to_owned() });
            set_path(&mut section, "authority", server.authority.as_deref());
            set(&mut section, "kind", if server.is_raster { "raster" } else { "vector" });
            set(&mut section, "minzoom", number(server.zooms.0));
            set(&mut section, "maxzoom", number(server.zooms.1));
            set(&mut section, "layers", server.layers.clone());
            set(&mut section, "attribution", server.attribution.as_str());
        }
    }
    section
}

fn forwards(forwards: &[Forward], redact: bool) -> Table {
    let mut kinds = Table::new();
    for forward in forwards.iter().filter(|forward| !is_tak_client(forward)) {
        let (kind, entry) = sink(forward, redact);
        let list = kinds.entry(kind).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(list) = list {
            list.push(Value::Table(entry));
        }
    }
    kinds
}

fn is_tak_client(forward: &Forward) -> bool {
    matches!(forward.sink, Sink::TakClient(_))
}

fn tak(config: &Config, listener: &TakListener, redact: bool) -> Table {
    let mut section = Table::new();
    set(&mut section, "listen", listener.listen.to_string());
    set(&mut section, "certificate", path(&listener.identity.certificate_path));
    set(&mut section, "key", path(&listener.identity.key_path));
    set(&mut section, "client_authority", path(&listener.client_authority.path));
    set_path(&mut section, "revocation_list", listener.revocation_list.as_ref().map(|list| &*list.path));
    let clients = config.forwards.iter().filter(|forward| is_tak_client(forward));
    let clients = clients.map(|forward| Value::Table(sink(forward, redact).1));
    section.insert("client".into(), Value::Array(clients.collect()));
    section
}

/// A URL with a password in it is refused when it is read: there is nothing to hide.
fn postgres(entry: &mut Table, server: &Server) {
    set(entry, "url", server.url.as_str());
    set(entry, "schema", server.schema.as_str());
    set_path(entry, "password_file", server.password_file.as_deref());
    set_path(entry, "authority", server.authority.as_deref());
    set_path(entry, "certificate", server.client.as_ref().map(|(certificate, _)| certificate.as_path()));
    set_path(entry, "key", server.client.as_ref().map(|(_, key)| key.as_path()));
}

fn tak_manner(entry: &mut Table, manner: TakManner) {
    set(entry, "protocol", if manner.takes_protobuf { "auto" } else { "xml" });
    set(entry, "positions", if manner.sends_every_position { "every" } else { "newest" });
    set(entry, "position_stale_s", number(manner.position_stale_s));
    set(entry, "alarm_repeat_s", number(manner.alarm_repeat_s));
    set(entry, "alarm_stale_s", number(manner.alarm_stale_s));
}

fn sink(forward: &Forward, redact: bool) -> (&'static str, Table) {
    let mut entry = Table::new();
    set(&mut entry, "name", forward.name.as_str());
    let url = |url: &str| if redact { redacted_urls(url) } else { url.to_owned() };
    let kind = match &forward.sink {
        Sink::Nats(nats) => {
            set(&mut entry, "url", url(&nats.url));
            set(&mut entry, "stream", nats.stream.as_str());
            set(&mut entry, "subject_prefix", nats.subject_prefix.as_str());
            if let Some(replicas) = nats.replicas {
                set(&mut entry, "replicas", number(replicas));
            }
            if let Some(window_s) = nats.duplicate_window_s {
                set(&mut entry, "duplicate_window_s", number(window_s));
            }
            set_path(&mut entry, "credentials", nats.credentials.as_deref());
            set_path(&mut entry, "authority", nats.authority.as_deref());
            set_path(
                &mut entry,
                "certificate",
                nats.client.as_ref().map(|client| client.certificate.as_path()),
            );
            set_path(&mut entry, "key", nats.client.as_ref().map(|client| client.key.as_path()));
            "nats"
        }
        Sink::Postgres(server) => {
            postgres(&mut entry, server);
            "postgres"
        }
        Sink::Webhook(webhook) => {
            set(&mut entry, "url", url(&webhook.url));
            set_path(&mut entry, "authority", webhook.authority.as_deref());
            set_path(&mut entry, "bearer_token_file", webhook.bearer_token_file.as_deref());
            set_path(&mut entry, "signing_keys_file", webhook.signing_keys_file.as_deref());
            "webhook"
        }
        Sink::File(file) => {
            set(&mut entry, "path", path(&file.path));
            "file"
        }
        Sink::Nmea(nmea) => {
            set(&mut entry, "url", url(&nmea.url));
            set_path(&mut entry, "authority", nmea.authority.as_deref());
            set_path(&mut entry, "certificate", nmea.client.as_ref().map(|client| &*client.certificate));
            set_path(&mut entry, "key", nmea.client.as_ref().map(|client| &*client.key));
            set(&mut entry, "positions", if nmea.sends_every_position { "every" } else { "newest" });
            set(&mut entry, "modes", if nmea.sends_every_mode { "every" } else { "actual" });
            "nmea"
        }
        Sink::Tak(tak) => {
            set(&mut entry, "url", url(&tak.url));
            if let Some(name) = &tak.server_name {
                set(&mut entry, "server_name", name.as_str());
            }
            set_path(&mut entry, "authority", Some(&tak.authority));
            set_path(&mut entry, "certificate", Some(&tak.client.certificate));
            set_path(&mut entry, "key", Some(&tak.client.key));
            set(&mut entry, "declaration", tak.sends_declaration);
            set(&mut entry, "events_per_s_max", number(tak.events_per_s_max.map_or(0, NonZeroU32::get)));
            tak_manner(&mut entry, tak.manner);
            "tak"
        }
        Sink::TakClient(client) => {
            set(&mut entry, "common_name", client.common_name.as_str());
            set(&mut entry, "acknowledge", client.acknowledges_as.is_some());
            tak_manner(&mut entry, client.manner);
            "client"
        }
    };
    entry.insert("release".into(), release(&forward.release));
    set(&mut entry, "batch_count_max", number(forward.batch.count_max));
    set(&mut entry, "batch_bytes_max", number(forward.batch.bytes_max));
    set(&mut entry, "batch_age_ms_max", number(forward.batch.age_ms_max));
    set(&mut entry, "retry_delay_ms_min", number(forward.retry.delay_ms_min));
    set(&mut entry, "retry_delay_ms_max", number(forward.retry.delay_ms_max));
    set(&mut entry, "attempt_ms_max", number(forward.retry.attempt_ms_max));
    (kind, entry)
}

fn release(release: &Release) -> Value {
    let names = |names: &mut dyn Iterator<Item = &str>| Value::Array(names.map(Into::into).collect());
    let all = || names(&mut ["*"].into_iter());
    table([
        (
            "forces",
            match &release.forces {
                Forces::All => all(),
                Forces::Only(forces) => names(&mut forces.iter().map(fieldpost_protocol::ForceId::as_str)),
            },
        ),
        (
            "classes",
            if release.classes == Kinds::ALL {
                all()
            } else {
                names(&mut release.classes.iter().map(Kind::as_str))
            },
        ),
        (
            "fields",
            if release.fields == Fields::ALL {
                all()
            } else {
                names(&mut release.fields.iter().map(Field::as_str))
            },
        ),
        ("precision_m", number(release.precision_m)),
        ("marking", release.marking.as_str().into()),
    ])
}

/// Kind and address of a sink, without passwords: for the disclosure log.
#[must_use]
pub fn destination(sink: &Sink) -> (&'static str, String) {
    match sink {
        Sink::Nats(nats) => ("nats", redacted_urls(&nats.url)),
        Sink::Webhook(webhook) => ("webhook", redacted_urls(&webhook.url)),
        Sink::File(file) => ("file", path(&file.path)),
        Sink::Nmea(nmea) => ("nmea", redacted_urls(&nmea.url)),
        Sink::Tak(tak) => ("tak", redacted_urls(&tak.url)),
        Sink::TakClient(client) => ("tak-client", format!("certificate {}", client.common_name)),
        Sink::Postgres(server) => ("postgres", redacted_urls(&server.url)),
    }
}

/// Hides what stands before `@` and after `?` in each URL of a list: both may be secrets.
#[must_use]
pub fn redacted_urls(urls: &str) -> String {
    let one = |url: &str| {
        let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
        let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
        let end = rest.find('/').unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
        format!("{scheme}://{host}{tail}{query}")
    };
    urls.split(',').map(|url| one(url.trim())).collect::<Vec<_>>().join(",")
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn set(table: &mut Table, key: &str, value: impl Into<Value>) {
    table.insert(key.to_owned(), value.into());
}

fn set_path(table: &mut Table, key: &str, value: Option<&std::path::Path>) {
    if let Some(value) = value {
        set(table, key, path(value));
    }
}

fn path(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// Every range ends below the largest TOML integer.
fn number(value: impl Into<u64>) -> Value {
    Value::Integer(i64::try_from(value.into()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::{InitOptions, init};

    #[test]
    fn what_is_shown_reads_back_as_the_same_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = InitOptions::default();
        let some = "release = { forces = ['demo'], classes = ['alarm', 'position'], fields = ['position', 'alarm'], \
                    marking = 'official-sensitive', precision_m = 500 }";
        options.values.appendix = format!(
            "[[forward.nats]]\nurl = 'nats://u:p@h:4222'\n{}\n[[forward.file]]\npath = 'x'\n{some}",
            super::super::RELEASE_ALL
        );
        let made = init(dir.path(), &options).unwrap();
        let config = Config::load(&made.config).unwrap();
        let shown = effective(&config, false);
        let again = Config::from_text(&made.config, &shown, &[]).unwrap();
        assert_eq!(effective(&again, false), shown);
        assert!(shown.contains("u:p@h"));
        assert!(!effective(&config, true).contains("u:p@h"));
    }

    #[test]
    fn passwords_and_queries_are_hidden_in_every_url() {
        assert_eq!(redacted_urls("nats://u:p@a:4222, tls://b:4222"), "nats://***@a:4222,tls://b:4222");
        assert_eq!(redacted_urls("https://h/p@th?token=x"), "https://h/p@th?***");
    }
}
