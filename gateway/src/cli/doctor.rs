//! `fieldpost doctor`: everything around the gateway that makes it fail later, checked now, without changing anything.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::Uri;
use rustix::process::{Resource, getrlimit};
use serde::Serialize;

use crate::config::{Config, Forward, Sink};
use crate::service::storage::SPOOL_DIR;
use crate::spool;

use super::args::DoctorArgs;
use super::exit::{CliError, Exit};
use super::output;

/// Syncs measured; the slowest of them counts.
const SYNCS_COUNT: u32 = 16;
/// A commit, and so an acknowledgement, takes at least one of these: slower than 20 ms is felt, than 200 ms is broken.
const SYNC_MS_WARN: u128 = 20;
const SYNC_MS_FAIL: u128 = 200;
const SINK_MS_MAX: Duration = Duration::from_secs(3);
const DESCRIPTORS_SPARE: u64 = 512;
const DAY_S: i64 = 86_400;
/// 2026-01-01: a clock before it was never set.
const CLOCK_S_MIN: i64 = 1_767_225_600;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One check.
#[derive(Debug, Serialize)]
struct Finding {
    verdict: Verdict,
    name: String,
    detail: String,
}

pub(super) fn doctor(arguments: &DoctorArgs) -> Result<(), CliError> {
    let config = Config::load(&arguments.file.path)?;
    let mut findings = Vec::new();
    for warning in config.warnings.lines() {
        findings.push(finding(Verdict::Warn, "configuration", warning));
    }
    if findings.is_empty() {
        findings.push(finding(Verdict::Ok, "configuration", arguments.file.path.display().to_string()));
    }
    findings.extend(dates(&config));
    findings.push(clock());
    findings.push(descriptors(&config));
    findings.extend(disk(&config));
    findings.push(store(&config));
    findings.extend(ports(&config));
    findings.extend(config.forwards.iter().map(sink));
    report(&findings, arguments.json)
}

fn report(findings: &[Finding], json: bool) -> Result<(), CliError> {
    if json {
        output::json(&findings);
    } else {
        let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
        for Finding { verdict, name, detail } in findings {
            let mark = match verdict {
                Verdict::Ok => "\u{2713} ok  ",
                Verdict::Warn => "! warn",
                Verdict::Fail => "\u{2717} FAIL",
            };
            output::line(&format!("{mark}  {name:<width$}  {detail}"));
        }
    }
    let failed = findings.iter().filter(|finding| finding.verdict == Verdict::Fail).count();
    if failed == 0 {
        return Ok(());
    }
    Err(CliError::new(
        Exit::Unavailable,
        format!("{failed} check(s) failed: the gateway will not work as it should"),
    ))
}

fn finding(verdict: Verdict, name: impl Into<String>, detail: impl Into<String>) -> Finding {
    Finding { verdict, name: name.into(), detail: detail.into() }
}

fn dates(config: &Config) -> Vec<Finding> {
    let now_s = jiff::Timestamp::now().as_second();
    let front_door = &config.front_door;
    let mut dates = vec![
        ("server certificate", front_door.identity.not_after_s, 14),
        ("device authority", front_door.device_authority.not_after_s, 90),
    ];
    if let Some(identity) = &config.control_room.identity {
        dates.push(("page certificate", identity.not_after_s, 14));
    }
    if let Some(list) = &front_door.revocation_list {
        dates.push(("revocation list", list.next_update_s, 3));
    }
    let judge = |(name, at_s, warn_days): (&str, i64, i64)| {
        let days = (at_s - now_s).div_euclid(DAY_S);
        match days {
            ..0 => {
                finding(Verdict::Fail, name, format!("expired {} days ago: no device will connect", -days))
            }
            _ if days < warn_days => {
                finding(Verdict::Warn, name, format!("expires in {days} days: renew it"))
            }
            _ => finding(Verdict::Ok, name, format!("valid for {days} days")),
        }
    };
    let mut findings: Vec<_> = dates.into_iter().map(judge).collect();
    if front_door.revocation_list.is_none() {
        let detail = "none configured: a lost device cannot be shut out; set front_door.revocation_list";
        findings.push(finding(Verdict::Warn, "revocation list", detail));
    }
    findings
}

fn clock() -> Finding {
    let now = jiff::Timestamp::now();
    if now.as_second() < CLOCK_S_MIN {
        return finding(Verdict::Fail, "clock", format!("says {now}: set it, certificates depend on it"));
    }
    // Written by systemd-timesyncd; other time services leave no common trace.
    let timesync = Path::new("/run/systemd/timesync");
    if timesync.is_dir() && !timesync.join("synchronized").exists() {
        return finding(Verdict::Warn, "clock", "not synchronised yet: check `timedatectl`");
    }
    finding(Verdict::Ok, "clock", format!("{now:.0}"))
}

fn descriptors(config: &Config) -> Finding {
    let needed = u64::from(config.front_door.connections_max) + DESCRIPTORS_SPARE;
    match getrlimit(Resource::Nofile).maximum {
        Some(hard) if hard < needed => finding(
            Verdict::Warn,
            "file descriptors",
            format!(
                "{hard} allowed, {needed} needed for front_door.connections_max: raise LimitNOFILE or lower it"
            ),
        ),
        hard => finding(
            Verdict::Ok,
            "file descriptors",
            hard.map_or("no limit".to_owned(), |hard| format!("{hard} allowed")),
        ),
    }
}

fn disk(config: &Config) -> Vec<Finding> {
    let dir = existing_ancestor(&config.data_dir);
    vec![space(config, &dir), sync_latency(&dir)]
}

fn space(config: &Config, dir: &Path) -> Finding {
    let name = "disk space";
    match rustix::fs::statvfs(dir) {
        Err(error) => finding(Verdict::Fail, name, format!("{}: {error}", dir.display())),
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let used = spool::ls(&config.data_dir.join(SPOOL_DIR)).map_or(0, |listing| listing.bytes);
            let (free_mib, wanted_mib) = (free >> 20, config.spool.bytes_max >> 20);
            if free.saturating_add(used) < config.spool.bytes_max {
                let detail = format!(
                    "{free_mib} MiB free, spool.bytes_max is {wanted_mib} MiB: the disk fills first; lower it or make room"
                );
                return finding(Verdict::Warn, name, detail);
            }
            finding(Verdict::Ok, name, format!("{free_mib} MiB free for a spool of at most {wanted_mib} MiB"))
        }
    }
}

fn sync_latency(dir: &Path) -> Finding {
    let name = "disk sync";
    match measure_syncs(dir) {
        Err(error) => finding(Verdict::Fail, name, format!("cannot write into {}: {error}", dir.display())),
        Ok(slowest) => {
            let ms = slowest.as_millis();
            let detail = format!("slowest of {SYNCS_COUNT}: {}.{:03} ms", ms, slowest.as_micros() % 1000);
            let verdict = match ms {
                SYNC_MS_FAIL.. => Verdict::Fail,
                SYNC_MS_WARN.. => Verdict::Warn,
                _ => Verdict::Ok,
            };
            finding(verdict, name, detail)
        }
    }
}

/// Writes like the spool does: over preallocated bytes, then fdatasync.
fn measure_syncs(dir: &Path) -> io::Result<Duration> {
    use std::io::Seek as _;
    let path = dir.join(format!(".fieldpost-doctor-{}", std::process::id()));
    let measured = (|| {
        let mut file = File::create_new(&path)?;
        let page = [0_u8; 4096];
        file.write_all(&page)?;
        rustix::fs::fsync(&file)?;
        let mut slowest = Duration::ZERO;
        for _ in 0..SYNCS_COUNT {
            file.rewind()?;
            file.write_all(&page)?;
            let started = Instant::now();
            rustix::fs::fdatasync(&file)?;
            slowest = slowest.max(started.elapsed());
        }
        Ok(slowest)
    })();
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => measured,
    }
}

fn store(config: &Config) -> Finding {
    let dir = config.data_dir.join(SPOOL_DIR);
    if !dir.is_dir() {
        return finding(Verdict::Ok, "spool", "none yet: it is made on the first start");
    }
    match spool::ls(&dir) {
        Ok(listing) if listing.cursors_damaged.is_empty() => finding(
            Verdict::Ok,
            "spool",
            format!("{} segments, {} cursors", listing.segments.len(), listing.cursors.len()),
        ),
        Ok(listing) => finding(
            Verdict::Warn,
            "spool",
            format!("damaged cursors: {}", listing.cursors_damaged.join(", ")),
        ),
        Err(error) => finding(Verdict::Fail, "spool", error.to_string()),
    }
}

fn ports(config: &Config) -> Vec<Finding> {
    let listeners: [(&str, SocketAddr); 3] = [
        ("front_door.listen", config.front_door.listen),
        ("control_room.listen", config.control_room.listen),
        ("metrics.listen", config.metrics.listen),
    ];
    let check = |(key, address): (&str, SocketAddr)| match TcpListener::bind(address) {
        Ok(_) => finding(Verdict::Ok, key, format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => finding(
            Verdict::Warn,
            key,
            format!("{address} is taken: by the running gateway, or by somebody else (`ss -ltnp`)"),
        ),
        Err(error) => finding(Verdict::Fail, key, format!("{address}: {error}")),
    };
    let tak = config.tak.iter().map(|listener| ("tak.listen", listener.listen));
    listeners.into_iter().chain(tak).map(check).collect()
}

fn sink(forward: &Forward) -> Finding {
    let name = format!("sink {}", forward.name);
    let reached = match &forward.sink {
        Sink::Nats(nats) => reach_any(nats.url.split(','), 4222),
        Sink::Postgres(server) => reach_postgres(&server.url),
        Sink::Webhook(webhook) => reach_any(std::iter::once(webhook.url.as_str()), 443),
        Sink::File(file) => writable(&file.path),
        Sink::TakClient(client) => Ok(format!("comes by itself, as {}", client.common_name)),
        Sink::Nmea(nmea) => reach_any(std::iter::once(nmea.url.as_str()), 0),
        Sink::Tak(tak) => reach_any(std::iter::once(tak.url.as_str()), 8089),
    };
    match reached {
        Ok(detail) => finding(Verdict::Ok, name, detail),
        // The spool holds the records meanwhile: bad, but the gateway does its work.
        Err(detail) => {
            finding(Verdict::Warn, name, format!("{detail}; records wait in the spool until it answers"))
        }
    }
}

/// All that a connection alone tells.
const REACHED: &str = "is reached; whether it lets us in was not tried";

fn reach_any<'u>(urls: impl Iterator<Item = &'u str>, default_port: u16) -> Result<String, String> {
    let mut last = "no address".to_owned();
    for url in urls {
        match reach(url.trim(), default_port) {
            Ok(address) => return Ok(format!("{address} {REACHED}")),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Any of its hosts: PostgreSQL takes several, and directories of sockets.
fn reach_postgres(url: &str) -> Result<String, String> {
    let config: tokio_postgres::Config = url.parse().map_err(|_| "not a URL".to_owned())?;
    let mut urls = Vec::new();
    for (place, host) in config.get_hosts().iter().enumerate() {
        let ports = config.get_ports();
        let port = ports.get(place).or(ports.first()).copied().unwrap_or(5432);
        match host {
            tokio_postgres::config::Host::Tcp(name) => urls.push(format!("postgresql://{name}:{port}")),
            tokio_postgres::config::Host::Unix(dir) => {
                let socket = dir.join(format!(".s.PGSQL.{port}"));
                return match std::os::unix::net::UnixStream::connect(&socket) {
                    Ok(_) => Ok(format!("{} {REACHED}", socket.display())),
                    Err(error) => Err(format!("{}: {error}", socket.display())),
                };
            }
        }
    }
    reach_any(urls.iter().map(String::as_str), 5432)
}

/// Opens a connection and closes it; says nothing, so the URL's secrets stay here.
fn reach(url: &str, default_port: u16) -> Result<SocketAddr, String> {
    let uri: Uri = url.parse().map_err(|_| "not a URL".to_owned())?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let plain = uri.scheme_str() == Some("http");
    let port = uri.port_u16().unwrap_or(if plain { 80 } else { default_port });
    let addresses = (host, port).to_socket_addrs().map_err(|error| format!("{host}: {error}"))?;
    let mut last = format!("{host} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, SINK_MS_MAX) {
            Ok(_) => return Ok(address),
            Err(error) => last = format!("{address}: {error}"),
        }
    }
    Err(last)
}

fn writable(path: &Path) -> Result<String, String> {
    let dir = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    rustix::fs::access(dir, rustix::fs::Access::WRITE_OK)
        .map(|()| format!("{} may be written to", dir.display()))
        .map_err(|error| format!("{}: {error}", dir.display()))
}

fn existing_ancestor(path: &Path) -> PathBuf {
    let existing = path.ancestors().find(|ancestor| ancestor.is_dir());
    existing.unwrap_or(Path::new(".")).to_owned()
}
