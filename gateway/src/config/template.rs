//! The commented configuration that `fieldpost init` writes. Every key stands in it with its unit and its default; a
//! test takes the comment signs away and finds the defaults unchanged, so the template cannot drift from the code.

use std::fmt::Write as _;

/// What differs from one new gateway to the next.
#[derive(Debug, Clone)]
pub struct TemplateValues {
    /// Address and port for devices.
    pub front_door_listen: String,
    /// Address and port for operators; loopback, because the page starts without TLS.
    pub control_room_listen: String,
    /// Loopback address and port for metrics.
    pub metrics_listen: String,
    /// Forces to serve: (id, name).
    pub forces: Vec<(String, String)>,
    /// More TOML for the end of the file: sinks.
    pub appendix: String,
}

impl Default for TemplateValues {
    fn default() -> Self {
        Self {
            front_door_listen: "0.0.0.0:8883".to_owned(),
            control_room_listen: "127.0.0.1:8088".to_owned(),
            metrics_listen: "127.0.0.1:9464".to_owned(),
            forces: vec![("demo".to_owned(), "Demonstration force".to_owned())],
            appendix: String::new(),
        }
    }
}

/// The text of a new `gateway.toml`.
#[must_use]
pub fn render(values: &TemplateValues) -> String {
    let mut forces = String::new();
    for (id, name) in &values.forces {
        let (id, name) = (quoted(id), quoted(name));
        write!(forces, "[[force]]\nid = {id}\n# Shown to people. Default: the id.\nname = {name}\n\n")
            .expect("writing into a String cannot fail");
    }
    TEMPLATE
        .replace("@FRONT_DOOR@", &quoted(&values.front_door_listen))
        .replace("@CONTROL_ROOM@", &quoted(&values.control_room_listen))
        .replace("@METRICS@", &quoted(&values.metrics_listen))
        .replace("@FORCES@", forces.trim_end())
        .replace("@FIRST_FORCE@", &quoted(values.forces.first().map_or("demo", |(id, _)| id)))
        .replace("@APPENDIX@", &values.appendix)
        .trim_end()
        .to_owned()
        + "\n"
}

/// A TOML string.
#[must_use]
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

const TEMPLATE: &str = r##"# Fieldpost gateway.
#
# Check it with `fieldpost validate -c gateway.toml`; see what is in force with
# `fieldpost config show -c gateway.toml --effective`. Lines that start with "#key =" show the default.
# Relative paths count from the directory of this file. Every key may be overridden by the environment:
# FIELDPOST__FRONT_DOOR__LISTEN=0.0.0.0:8883 (sections and keys in capitals, separated by two underscores).
#
# SIGHUP reads this file again. Certificates, the revocation list, forces, the roster, the alarm rules and the log level change at once;
# whatever else differs is named in the log and needs a restart. A file with mistakes changes nothing.

# Directory for the spool, the cursors and the login secret; made on the first start. Put it on a local disk.
#data_dir = "data"

# ---- Devices -------------------------------------------------------------------------------------------------------
# MQTT 5 and 3.1.1 over TLS 1.3 with client certificates. There is no clear-text listener.
[front_door]
# Address and port.
listen = @FRONT_DOOR@
# Certificate chain and key shown to devices (PEM). Devices check the name or address they connect to against it.
certificate = "pki/server.pem"
key = "pki/server.key"
# Who issues device certificates (PEM).
device_authority = "pki/ca.pem"
# Which of them are revoked (PEM). Once its date of the next update has passed, every device is refused: renew it from
# a timer with `fieldpost pki crl`. The gateway takes a renewed list within a minute, or at once on SIGHUP.
revocation_list = "pki/crl.pem"
# Connections open at once (count); more are closed before the TLS handshake. Needs as many file descriptors.
#connections_max = 16384
# From accept to a complete CONNECT, TLS handshake included (milliseconds).
#connect_deadline_ms = 10000
# Longest keep-alive a device may ask for (seconds); longer ones are shortened.
#keep_alive_s_max = 300
# Longest session expiry a device may ask for (seconds).
#session_expiry_s_max = 86400
# Largest MQTT packet accepted (bytes, at least 2048).
#packet_bytes_max = 2048
# QoS 1 messages a device may have in flight (count, at least 100).
#receive_max = 256
# Topic aliases a device may use (count).
#topic_alias_max = 8

# The forces whose devices are served. A device of another force is refused.
# id: 1 to 64 characters of A-Z a-z 0-9 . _ - as in the device certificates.
@FORCES@

# ---- Store ---------------------------------------------------------------------------------------------------------
# A device's message is acknowledged only after it is on this disk.
[spool]
# Size of one segment file (bytes).
#segment_bytes = 16777216
# Disk the spool may use in all (bytes). When it is full, devices keep their messages until there is room.
#bytes_max = 4294967296
# Part of bytes_max kept free for alarms (bytes).
#reserve_bytes = 33554432
# How long records are kept after every sink has them (hours).
#retain_hours = 24

# How long each class of records is kept in the store (hours); 0: as long as spool.retain_hours, or until its space is needed.
# A period is a promise both ways: kept at least so long, and erased after it. A legal hold (`fieldpost hold`) wins.
[retention]
# Alarms, cancellations, and what people and force systems did with them.
#alarms_hours = 0
#positions_hours = 0
# Status, sensors, losses: everything else from devices.
#events_hours = 0
# What could not be read.
#quarantine_hours = 0
# Disk for what is kept longer than its segment (bytes), beside spool.bytes_max. When it is full, segments stay.
#archive_bytes_max = 1073741824

# Where every unit was and what became of every alarm: what the page replays.
[history]
# How long positions and statuses are kept (whole days).
#movement_days = 31
# How long alarms and what became of them are kept (whole days).
#alarms_days = 366
# Disk the history may use in all (bytes). When it is used up the oldest positions go first, and the page says so.
#bytes_max = 17179869184
# Who keeps it: "files" of the gateway's own, the default, or "postgres", a database of the force's. Its keys are those of
# forward.postgres, in a schema that is the history's alone.
#store = "postgres"
#[history.postgres]
#url = "postgresql://fieldpost@db.force.example:5432/history"
#schema = "fieldpost_history"
#authority = "postgres-ca.pem"

# What pages were shown, to the byte. Beside it is the access record, who looked at whom and why.
# Whether who looks has to say why is a key of each [[force]]: reason = "off", "optional" or "required".
[audit]
# How long pictures of what was shown are kept (whole days).
#pictures_days = 31
# Disk they may use in all (bytes). The oldest go first; the access record says which.
#pictures_bytes_max = 17179869184
# How long lines of the access record and of the disclosure log are kept (whole days); 0, the default, is for ever. The chain that is
# left says what was removed; nothing is while a legal hold stands. The access record is kept at least as long as the pictures.
#access_days = 0
#disclosures_days = 0

# ---- Force systems -------------------------------------------------------------------------------------------------
# Any number of sinks of each kind. Every sink has these keys:
#   name               names its cursor and its metrics: a-z 0-9 _ -; default: the kind
#   batch_count_max    a batch goes out at this many records (count), default 500; postgres 5000, or as many as take 250 ms
#   batch_bytes_max    or this size (bytes), default 262144; postgres 1048576
#   batch_age_ms_max   or when its oldest record has waited this long (milliseconds), default 50
#   retry_delay_ms_min, retry_delay_ms_max   backoff between attempts (milliseconds), default 200 to 15000
#   attempt_ms_max     how long one attempt may take (milliseconds), default 10000
# Attempts never end: the spool holds the records until the sink takes them.
#
# And every sink must say what it may be sent; nothing is released that is not named. "*" is everything.
#   release.forces       whose records: forces of this gateway
#   release.classes      position, status, sensor-event, alarm, alarm-cancel, unknown-alarm, loss
#   release.fields       position, movement, duty, device, sensor, alarm, callsign
#   release.marking      the highest marking it may hold: official or official-sensitive. Where somebody is and what they do
#                        is official-sensitive, the state of a device official. What is above it is withheld and counted.
#   release.precision_m  positions in squares of so many metres; default 0: as the device gave them
# A table of its own, [forward.nats.release], goes after all other keys of its sink.
#
# NATS JetStream.
#[[forward.nats]]
#name = "nats"
#url = "nats://127.0.0.1:4222"
#stream = "FIELDPOST"
#subject_prefix = "fieldpost"
# How many servers must keep each message (1 to 5) and for how long the stream must drop a repeated id (seconds). A stream
# that is missing is made so; one that is there and has less is refused, never changed. Default: 1 and 600 for one that is
# made, one that is there is taken as it is.
#replicas = 3
#duplicate_window_s = 600
# A NATS .creds file; who issued the server's certificate; our client certificate and key (all files; default: none).
#credentials = "nats.creds"
#authority = "nats-ca.pem"
#certificate = "nats-client.pem"
#key = "nats-client.key"
#release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }
#
# Tables of a PostgreSQL database with PostGIS, in a schema of its own (docs/sinks/postgres.md).
#[[forward.postgres]]
#name = "postgres"
# User, host, port and database. Without `authority` the server must be on this machine.
#url = "postgresql://fieldpost@db.force.example:5432/events"
#schema = "fieldpost"
# A file with the password; who issued the server's certificate; our client certificate and key (default: none).
#password_file = "postgres.password"
#authority = "postgres-ca.pem"
#certificate = "postgres-client.pem"
#key = "postgres-client.key"
#release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }
#
# CloudEvents over HTTP, batched. http:// is for loopback only.
#[[forward.webhook]]
#name = "webhook"
#url = "https://cad.force.example/events"
# Who issued the server's certificate (default: the system's roots); a file with the bearer token (default: none).
#authority = "cad-ca.pem"
#bearer_token_file = "cad.token"
# Keys that requests are signed with (Standard Webhooks, HMAC-SHA256): one or two lines "whsec_" and base64, mode 0600.
#signing_keys_file = "cad.keys"
#release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }
#
# One JSON event a line.
#[[forward.file]]
#name = "file"
#path = "events.ndjson"
#release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }
#
# Positions as NMEA 0183 to a location server (docs/sinks/nmea.md). tcp:// is for loopback only; over tls:// attempt_ms_max is 1000
# at least: for half a second the server may refuse our certificate.
#[[forward.nmea]]
#name = "avl"
#url = "tls://avl.force.example:5017"
# Who issued the server's certificate (default: the system's roots); our certificate and key, if it asks for one.
#authority = "avl-ca.pem"
#certificate = "avl-client.pem"
#key = "avl-client.key"
# "newest": positions that newer ones of their unit have replaced are passed over; "every": they are sent too.
#positions = "newest"
# "actual": positions of exercises and tests are passed over, for no sentence says so; "every": they are sent too.
#modes = "actual"
# One force: no sentence says whose a unit is.
#release = { forces = [@FIRST_FORCE@], classes = ["position"], fields = ["position", "movement"], marking = "official-sensitive" }
#
# Cursor on Target to a TAK server, both ends with a certificate (docs/sinks/tak.md).
#[[forward.tak]]
#name = "tak"
#url = "tls://tak.force.example:8089"
# The name in the server's certificate (default: the host); who issued it; our client certificate and key.
#server_name = "tak.force.example"
#authority = "tak-ca.pem"
#certificate = "tak-client.pem"
#key = "tak-client.key"
# Whether an XML declaration stands before every event, as the protocol has it, and how many events are written in a second at
# most (0: as they come). FreeTAKServer 2.2.1 wants false and 50.
#declaration = true
#events_per_s_max = 0
# "auto": protobuf where the server offers it; "xml": never.
#protocol = "auto"
# "newest": positions that newer ones have replaced are passed over; "every": they are sent too, stale from the first.
#positions = "newest"
# How long a position stands (seconds); how often a standing alarm is told again, and how long it stands if it is not.
#position_stale_s = 90
#alarm_repeat_s = 30
#alarm_stale_s = 300
#release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }

# TAK clients that connect to the gateway by themselves, both ends with a certificate (docs/sinks/tak.md). Nobody else gets in.
#[tak]
#listen = "0.0.0.0:8089"
# Certificate chain and key shown to clients.
#certificate = "tak-server.pem"
#key = "tak-server.key"
# Who issues the clients' certificates: keep it apart from the devices' authority. Which of them are revoked (default: none).
#client_authority = "tak-clients-ca.pem"
#revocation_list = "tak-clients-crl.pem"
# One entry a client: an output like those above, with the same keys as forward.tak from `protocol` on.
#[[tak.client]]
#name = "control-room-1"
# The common name in its certificate (default: the name).
#common_name = "control-room-1"
# Whether cancelling an alert there acknowledges the alarm here, as NAME@tak (default: false).
#acknowledge = true
#release = { forces = ["*"], classes = ["*"], fields = ["*"], marking = "official-sensitive" }

# ---- People --------------------------------------------------------------------------------------------------------
# The live page. Get in with `fieldpost login -c gateway.toml --operator NAME`.
[control_room]
# Address and port. Anything but loopback needs certificate and key.
listen = @CONTROL_ROOM@
# Certificate chain and key for the page (PEM). Default: none, clear text on loopback.
#certificate = "pki/server.pem"
#key = "pki/server.key"
# Callsigns: a TOML file of [[unit]] force, device, callsign, kind = "officer" | "vehicle". Default: none.
#roster = "roster.toml"
# Rules of the alarm engine: grades, who hears of an alarm that nobody answers (see docs/ALARMS.md). Default: the built-in
# ones, which `fieldpost rules show` prints.
rules = "rules.toml"
# Streets to draw under the units: a GeoJSON FeatureCollection of LineStrings. Default: none.
#streets = "streets.json"

# The ground of the page's map. Default: the coast, from Natural Earth, and the streets.
[map]
# Either a PMTiles archive (version 3) of vector tiles or pictures; one that cannot be read costs the map, not the page:
#   pmtiles = "region.pmtiles"
# or a tile server of the force, asked by this gateway and by no browser: Web Mercator, vector tiles, PNG, JPEG or WebP.
#tiles = "https://tiles.force.example/county/{z}/{x}/{y}.pbf"
# Who issued its certificate (PEM). Default: the authorities of this system.
#authority = "tiles-ca.pem"
# "vector" or "raster"; "auto" goes by the ending of the address.
#kind = "auto"
# Zooms that it has tiles for.
#minzoom = 0
#maxzoom = 14
# Layers of vector tiles to draw. Default: those of OS Open Zoomstack and of OpenMapTiles.
#layers = ["sea", "woodland", "roads", "names"]
# Whom the map names as its source.
#attribution = "Contains OS data (c) Crown copyright and database right 2026"

# Prometheus metrics, and /healthz and /readyz. No login, so loopback only.
[metrics]
listen = @METRICS@

# ---- The rest ------------------------------------------------------------------------------------------------------
# Device times outside these bounds are kept and marked, never believed.
[clock]
# Ahead of the gateway's clock (seconds).
#future_s_max = 120
# Behind the gateway's clock (hours): devices bring old records after an outage.
#past_hours_max = 168

# Logs on standard error.
[log]
# "text" or "json".
#format = "text"
# error, warn, info, debug, trace, or a filter such as "info,fieldpost_gateway::spool=debug".
#level = "info"

[service]
# After SIGTERM, how long sessions and sinks may take to finish (milliseconds).
#drain_deadline_ms = 20000

@APPENDIX@
"##;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn template_is_toml_and_quotes_what_it_is_given() {
        let values = TemplateValues {
            forces: vec![("a".into(), "Force \"A\"\n[x]".into())],
            appendix: "[[forward.file]]\npath = \"x\"".into(),
            ..TemplateValues::default()
        };
        let table: toml::Table = render(&values).parse().unwrap();
        assert_eq!(table["force"][0]["name"].as_str(), Some("Force \"A\"\n[x]"));
        assert_eq!(table["forward"]["file"][0]["path"].as_str(), Some("x"));
    }
}
