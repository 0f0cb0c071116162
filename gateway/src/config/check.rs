//! Checks that need more than one key, or the file system.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::material::{Authority, RevocationList, ServerIdentity};
use super::problem::Report;
use super::section::Located;

/// Two listeners must not want the same port of the same address.
pub(super) fn addresses_differ(report: &Report, listeners: &[Option<&Located<SocketAddr>>]) {
    let listeners: Vec<_> =
        listeners.iter().flatten().filter(|listener| listener.value.port() != 0).collect();
    for (index, one) in listeners.iter().enumerate() {
        for other in &listeners[index + 1..] {
            let overlap = one.value.ip() == other.value.ip()
                || one.value.ip().is_unspecified()
                || other.value.ip().is_unspecified();
            if one.value.port() == other.value.port() && overlap {
                report.mistake(
                    &other.origin,
                    format!("`{}` and `{}` want the same port {}", one.key, other.key, one.value.port()),
                    "give each listener a port of its own",
                );
            }
        }
    }
}

/// `data_dir` may be missing (it is made on the first start), but must not be a file.
pub(super) fn directory_or_missing(report: &Report, path: &Located<PathBuf>) {
    if path.value.exists() && !path.value.is_dir() {
        report.mistake(
            &path.origin,
            format!("`{}` is not a directory: {}", path.key, path.value.display()),
            "name a directory; it is made on the first start",
        );
    }
}

/// A file that must be there when the gateway starts.
pub(super) fn readable_file(report: &Report, path: &Located<PathBuf>) -> bool {
    let result = std::fs::File::open(&path.value).and_then(|file| file.metadata());
    let reason = match result {
        Ok(metadata) if metadata.is_file() => return true,
        Ok(_) => "it is not a file".to_owned(),
        Err(error) => error.to_string(),
    };
    report.mistake(
        &path.origin,
        format!("`{}`: cannot read {}: {reason}", path.key, path.value.display()),
        "check the path (a relative one counts from the directory of the configuration file) and its permissions",
    );
    false
}

/// The directory a file will be written into must exist.
pub(super) fn parent_directory(report: &Report, path: &Located<PathBuf>) {
    let parent = path.value.parent().filter(|parent| !parent.as_os_str().is_empty());
    if path.value.is_dir() || parent.is_some_and(|parent| !parent.is_dir()) {
        report.mistake(
            &path.origin,
            format!("`{}`: cannot write a file at {}", path.key, path.value.display()),
            "name a file in a directory that exists",
        );
    }
}

/// Dates and permissions of a server's certificate and key.
pub(super) fn identity(
    report: &Report,
    certificate: &Located<PathBuf>,
    key: &Located<PathBuf>,
    identity: &ServerIdentity,
    now_s: i64,
) {
    not_expired(report, certificate, identity.not_after_s, now_s);
    if identity.not_before_s > now_s {
        report.warning(
            &certificate.origin,
            format!("`{}` is not valid yet", certificate.key),
            "check this machine's clock, or wait",
        );
    }
    if !identity.is_for_servers || !identity.has_names {
        report.mistake(
            &certificate.origin,
            format!("`{}` is not a server's certificate: clients will refuse it", certificate.key),
            "it needs a DNS name or address and, if it limits its use, serverAuth: `fieldpost pki issue-server` makes one",
        );
    }
    if identity.key_readable_by_others {
        report.warning(
            &key.origin,
            format!("`{}`: others than its owner may read {}", key.key, key.value.display()),
            format!("chmod 600 {}", key.value.display()),
        );
    }
}

/// Expired material is a warning, not a mistake: the page and the forwarders must still start and say so.
pub(super) fn not_expired(report: &Report, path: &Located<PathBuf>, not_after_s: i64, now_s: i64) {
    if not_after_s < now_s {
        report.warning(
            &path.origin,
            format!("`{}` has expired: no device will connect", path.key),
            "issue a new one (`fieldpost pki issue-server`) and send SIGHUP",
        );
    }
}

/// A list must come from the authority, and every authority must have one: without, its devices are refused.
pub(super) fn revocation_list(
    report: &Report,
    path: &Located<PathBuf>,
    list: &RevocationList,
    authority: Option<&Authority>,
    now_s: i64,
) {
    if list.next_update_s < now_s {
        report.warning(
            &path.origin,
            format!("`{}` has expired: every device is refused until it is renewed", path.key),
            "run `fieldpost pki crl`; do it from a timer",
        );
    }
    let Some(authority) = authority else { return };
    if list.issuers.iter().any(|issuer| !authority.subjects.contains(issuer)) {
        report.mistake(
            &path.origin,
            format!("`{}` is from another authority than `front_door.device_authority`", path.key),
            "name the list made by the authority that issues the device certificates",
        );
    } else if authority.subjects.iter().any(|subject| !list.issuers.contains(subject)) {
        report.mistake(
            &path.origin,
            format!("`{}` has no list of one of the authorities in `front_door.device_authority`", path.key),
            "append that authority's list to the file: devices whose revocation is unknown are refused",
        );
    }
}
