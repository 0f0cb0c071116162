//! One-time login links for the control-room page.
//!
//! Promise: **a link lets one named operator in, once, within five minutes, and only into the run of the gateway it was
//! made for.** `fieldpost login` and the running service share nothing but a secret file in the data directory
//! (mode 0600): whoever can read it can already read the spool, so the link needs no second channel.
//!
//! ```text
//! fieldpost login --operator NAME            the running service
//!   secret --HMAC--> token  ==> browser ==>  redeem: authentic? fresh? issued in this run? first use?
//! ```
//!
//! Bounds: a token is at most [`TOKEN_BYTES_MAX`] characters; at most [`REDEEMED_MAX`] redeemed tokens are remembered,
//! each only until it would have expired anyway. When that memory is full a link is refused, never accepted unchecked.
//! The time comes from the caller (unix milliseconds). Tokens and the secret are never logged.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::people::{Grant, Roles};
use crate::pki::write_new_private;

/// How long a link may wait before it is used: long enough to walk to another desk, short enough to be worthless in a
/// shell history.
pub const LINK_AGE_MS_MAX: u64 = 5 * 60 * 1000;
/// A link from slightly ahead of the service's clock is accepted: both processes read the same clock, which may step.
pub const LINK_AHEAD_MS_MAX: u64 = 5_000;
/// Redeemed links remembered at once: far above what people do in five minutes, 24 KiB of memory.
pub const REDEEMED_MAX: usize = 1024;
/// Longest operator name in bytes.
pub const OPERATOR_BYTES_MAX: usize = 64;
/// Longest text of the forces that a link may be limited to: seven of the longest names.
pub const FORCES_BYTES_MAX: usize = 512;
/// Longest token in characters: version 1 + time 8 + nonce 16 + roles 1 + operator 64 + space 1 + forces 512 + tag 32 = 635
/// bytes in base64.
pub const TOKEN_BYTES_MAX: usize = 847;

const SECRET_FILE: &str = "login.key";
const SECRET_BYTES: usize = 32;
/// 2: roles and forces.
const TOKEN_VERSION: u8 = 2;
const NONCE_BYTES: usize = 16;
const TAG_BYTES: usize = 32;
const HEADER_BYTES: usize = 1 + 8 + NONCE_BYTES;

/// The person a session belongs to; goes into acknowledgements and access records.
/// 1 to 64 characters of `[A-Za-z0-9._@-]`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Operator(String);

/// Who a link lets in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Who.
    pub operator: Operator,
    /// As what, if the link says so; else the operator's account decides.
    pub grant: Option<Grant>,
}

/// Issues and redeems one-time login links. Cheap to share behind an `Arc`; every method takes `&self`.
pub struct LoginLinks {
    key: hmac::Key,
    started_at_ms: u64,
    redeemed: Mutex<HashMap<[u8; NONCE_BYTES], u64>>,
}

/// Why a login link could not be made or was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The name of the operator is empty, too long or holds a character outside `[A-Za-z0-9._@-]`.
    #[error("operator name must be 1 to {OPERATOR_BYTES_MAX} characters of A-Z a-z 0-9 . _ @ -")]
    OperatorName,
    /// The names of the link's forces are too long.
    #[error(
        "a link can be limited to forces whose names have {FORCES_BYTES_MAX} characters in all: name fewer"
    )]
    ForcesTooLong,
    /// Not one of our tokens, or altered, or made with another data directory's secret.
    #[error("this link was not made by this gateway: make a new one with `fieldpost login`")]
    NotAuthentic,
    /// Older than five minutes.
    #[error("this link has expired: make a new one with `fieldpost login` and use it within 5 minutes")]
    Expired,
    /// Dated in the future: the clock was set back after it was made.
    #[error(
        "this link is dated in the future: check this machine's clock, then make a new one with `fieldpost login`"
    )]
    NotYetValid,
    /// Made before this run of the service started, so a first use could not be told from a second.
    #[error("this link was made before the gateway last started: make a new one with `fieldpost login`")]
    BeforeStart,
    /// Already used.
    #[error("this link has already been used: make a new one with `fieldpost login`")]
    AlreadyUsed,
    /// Too many links were used in the last five minutes.
    #[error("too many links were used in the last 5 minutes: wait a minute and make a new one")]
    TooMany,
    /// The secret file could not be read or written.
    #[error("cannot use the login secret {path}: {source}")]
    Secret {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The secret file exists but is not 32 bytes.
    #[error("the login secret {path} is damaged: remove it and restart the gateway to make a new one")]
    DamagedSecret {
        /// The file.
        path: PathBuf,
    },
    /// The operating system's random source failed.
    #[error("the operating system gave no random bytes")]
    Random,
}

impl Operator {
    /// Checks a name.
    ///
    /// # Errors
    /// [`LoginError::OperatorName`].
    pub fn try_new(name: &str) -> Result<Self, LoginError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._@-".contains(&byte);
        if name.is_empty() || name.len() > OPERATOR_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(LoginError::OperatorName);
        }
        Ok(Self(name.to_owned()))
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for LoginLinks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("LoginLinks")
            .field("started_at_ms", &self.started_at_ms)
            .finish_non_exhaustive()
    }
}

impl LoginLinks {
    /// Opens the secret in `data_dir`, making it (and nothing else) if it is missing. `now_ms` is the start of this run:
    /// links issued earlier are refused.
    ///
    /// # Errors
    /// [`LoginError::Secret`] with the file's path, [`LoginError::DamagedSecret`], [`LoginError::Random`].
    pub fn open(data_dir: &Path, now_ms: u64) -> Result<Self, LoginError> {
        let path = data_dir.join(SECRET_FILE);
        let secret = read_or_create_secret(&path)?;
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            started_at_ms: now_ms,
            redeemed: Mutex::new(HashMap::new()),
        })
    }

    /// Makes a token for `operator`, valid once within [`LINK_AGE_MS_MAX`] of `now_ms`. As what they come in, their
    /// account says, or [`Grant::of_link`].
    ///
    /// # Errors
    /// [`LoginError::Random`].
    pub fn issue(&self, operator: &Operator, now_ms: u64) -> Result<String, LoginError> {
        self.sign(operator, None, now_ms)
    }

    /// [`LoginLinks::issue`] for exactly the roles and forces of `grant`.
    ///
    /// # Errors
    /// [`LoginError::Random`], [`LoginError::ForcesTooLong`].
    pub fn issue_as(&self, operator: &Operator, grant: &Grant, now_ms: u64) -> Result<String, LoginError> {
        self.sign(operator, Some(grant), now_ms)
    }

    fn sign(&self, operator: &Operator, grant: Option<&Grant>, now_ms: u64) -> Result<String, LoginError> {
        let forces = grant.map(|grant| grant.forces.to_string()).unwrap_or_default();
        if forces.len() > FORCES_BYTES_MAX {
            return Err(LoginError::ForcesTooLong);
        }
        let mut token = Vec::with_capacity(HEADER_BYTES + 2 + operator.0.len() + forces.len() + TAG_BYTES);
        token.push(TOKEN_VERSION);
        token.extend_from_slice(&now_ms.to_be_bytes());
        let mut nonce = [0_u8; NONCE_BYTES];
        rand::fill(&mut nonce).map_err(|_| LoginError::Random)?;
        token.extend_from_slice(&nonce);
        // No role at all: the account decides.
        token.push(grant.map_or(0, |grant| grant.roles.to_bits()));
        token.extend_from_slice(operator.0.as_bytes());
        token.push(b' ');
        token.extend_from_slice(forces.as_bytes());
        let tag = hmac::sign(&self.key, &token);
        token.extend_from_slice(tag.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(token))
    }

    /// Accepts `token` if it is authentic, fresh, from this run and not yet used, and remembers its use.
    ///
    /// The tag is compared in constant time and before anything else is looked at.
    ///
    /// # Errors
    /// Every refusal has its own [`LoginError`] whose text may be shown to the person.
    pub fn redeem(&self, token: &str, now_ms: u64) -> Result<Invitation, LoginError> {
        let claims = self.authenticate(token)?;
        if claims.issued_at_ms > now_ms.saturating_add(LINK_AHEAD_MS_MAX) {
            return Err(LoginError::NotYetValid);
        }
        if now_ms.saturating_sub(claims.issued_at_ms) > LINK_AGE_MS_MAX {
            return Err(LoginError::Expired);
        }
        if claims.issued_at_ms < self.started_at_ms {
            return Err(LoginError::BeforeStart);
        }
        self.remember(claims.nonce, claims.issued_at_ms, now_ms)?;
        Ok(claims.invitation)
    }

    fn authenticate(&self, token: &str) -> Result<Claims, LoginError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(LoginError::NotAuthentic);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| LoginError::NotAuthentic)?;
        let (body, tag) = bytes.split_last_chunk::<TAG_BYTES>().ok_or(LoginError::NotAuthentic)?;
        hmac::verify(&self.key, body, tag).map_err(|_| LoginError::NotAuthentic)?;
        Claims::parse(body).ok_or(LoginError::NotAuthentic)
    }

    fn remember(&self, nonce: [u8; NONCE_BYTES], issued_at_ms: u64, now_ms: u64) -> Result<(), LoginError> {
        // A poisoned lock only means another redeem panicked; the map itself is still whole.
        let mut redeemed = self.redeemed.lock().unwrap_or_else(PoisonError::into_inner);
        redeemed.retain(|_, issued_at_ms| now_ms.saturating_sub(*issued_at_ms) <= LINK_AGE_MS_MAX);
        if redeemed.contains_key(&nonce) {
            return Err(LoginError::AlreadyUsed);
        }
        if redeemed.len() >= REDEEMED_MAX {
            return Err(LoginError::TooMany);
        }
        redeemed.insert(nonce, issued_at_ms);
        Ok(())
    }
}

/// What an authentic token says.
struct Claims {
    issued_at_ms: u64,
    nonce: [u8; NONCE_BYTES],
    invitation: Invitation,
}

impl Claims {
    fn parse(body: &[u8]) -> Option<Self> {
        let (&version, rest) = body.split_first()?;
        let (issued_at, rest) = rest.split_first_chunk::<8>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_BYTES>()?;
        let (&roles, rest) = rest.split_first()?;
        if version != TOKEN_VERSION {
            return None;
        }
        let (operator, forces) = std::str::from_utf8(rest).ok()?.split_once(' ')?;
        let operator = Operator::try_new(operator).ok()?;
        let roles = Roles::from_bits(roles);
        let grant = match roles.is_empty() {
            true => None,
            false => Some(Grant { roles, forces: forces.parse().ok()? }),
        };
        let invitation = Invitation { operator, grant };
        Some(Self { issued_at_ms: u64::from_be_bytes(*issued_at), nonce: *nonce, invitation })
    }
}

fn read_or_create_secret(path: &Path) -> Result<[u8; SECRET_BYTES], LoginError> {
    let failed = |source| LoginError::Secret { path: path.to_owned(), source };
    match fs::read(path) {
        Ok(bytes) => {
            // Somebody's backup may have widened the mode; narrow it again before the secret is used.
            fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
            bytes.try_into().map_err(|_| LoginError::DamagedSecret { path: path.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_secret(path)?;
            // Read back: if two processes raced, both must use the one that won.
            let bytes = fs::read(path).map_err(failed)?;
            bytes.try_into().map_err(|_| LoginError::DamagedSecret { path: path.to_owned() })
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes a new secret under a private name and links it into place: whoever links first wins, and nobody ever sees
/// half a secret.
fn create_secret(path: &Path) -> Result<(), LoginError> {
    let failed = |source| LoginError::Secret { path: path.to_owned(), source };
    let mut secret = [0_u8; SECRET_BYTES];
    let mut suffix = [0_u8; 8];
    rand::fill(&mut secret).map_err(|_| LoginError::Random)?;
    rand::fill(&mut suffix).map_err(|_| LoginError::Random)?;
    let draft = path.with_extension(format!("{:016x}.new", u64::from_be_bytes(suffix)));
    // Synced before it gets its name: a power cut must not leave an empty secret that the next start refuses.
    let written = write_new_private(&draft, &secret);
    let linked = written.and_then(|()| match fs::hard_link(&draft, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    });
    let removed = fs::remove_file(&draft);
    linked.and(removed).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_795_000_000_000;

    fn links() -> (tempfile::TempDir, LoginLinks) {
        let dir = tempfile::tempdir().unwrap();
        let links = LoginLinks::open(dir.path(), NOW_MS).unwrap();
        (dir, links)
    }

    fn demo() -> Operator {
        Operator::try_new("demo").unwrap()
    }

    #[test]
    fn link_lets_its_operator_in_once() {
        let (_dir, links) = links();
        let token = links.issue(&demo(), NOW_MS).unwrap();
        let invited = links.redeem(&token, NOW_MS + 1).unwrap();
        assert_eq!(invited, Invitation { operator: demo(), grant: None });
        assert!(matches!(links.redeem(&token, NOW_MS + 2), Err(LoginError::AlreadyUsed)));
    }

    #[test]
    fn a_link_that_names_roles_and_forces_gives_exactly_these() {
        let (_dir, links) = links();
        let roles = Roles::from_iter([crate::people::Role::Auditor]);
        for forces in ["*", "met", "city,met"] {
            let grant = Grant { roles, forces: forces.parse().unwrap() };
            let token = links.issue_as(&demo(), &grant, NOW_MS).unwrap();
            assert_eq!(links.redeem(&token, NOW_MS).unwrap().grant, Some(grant));
        }
        let many: Vec<String> = (10..60).map(|n| format!("force-{n}-of-many")).collect();
        let grant = Grant { roles, forces: many.join(",").parse().unwrap() };
        assert!(matches!(links.issue_as(&demo(), &grant, NOW_MS), Err(LoginError::ForcesTooLong)));
    }

    #[test]
    fn link_from_another_process_with_the_same_data_directory_is_accepted() {
        let (dir, service) = links();
        let command = LoginLinks::open(dir.path(), NOW_MS + 500).unwrap();
        let token = command.issue(&demo(), NOW_MS + 500).unwrap();
        assert!(service.redeem(&token, NOW_MS + 600).is_ok());
    }

    #[test]
    fn link_from_another_data_directory_is_refused() {
        let (_dir, links_here) = links();
        let (_other_dir, links_there) = links();
        let token = links_there.issue(&demo(), NOW_MS).unwrap();
        assert!(matches!(links_here.redeem(&token, NOW_MS), Err(LoginError::NotAuthentic)));
    }

    #[test]
    fn link_expires_after_five_minutes() {
        let (_dir, links) = links();
        let token = links.issue(&demo(), NOW_MS).unwrap();
        assert!(matches!(links.redeem(&token, NOW_MS + LINK_AGE_MS_MAX + 1), Err(LoginError::Expired)));
        assert!(links.redeem(&token, NOW_MS + LINK_AGE_MS_MAX).is_ok());
    }

    #[test]
    fn link_from_the_future_or_from_before_the_start_is_refused() {
        let (_dir, links) = links();
        let early = links.issue(&demo(), NOW_MS - 1).unwrap();
        let late = links.issue(&demo(), NOW_MS + 60_000).unwrap();
        assert!(matches!(links.redeem(&early, NOW_MS), Err(LoginError::BeforeStart)));
        assert!(matches!(links.redeem(&late, NOW_MS), Err(LoginError::NotYetValid)));
    }

    #[test]
    fn any_altered_character_is_refused() {
        let (_dir, links) = links();
        let token = links.issue(&demo(), NOW_MS).unwrap();
        for index in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[index] = if altered[index] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(matches!(links.redeem(&altered, NOW_MS), Err(LoginError::NotAuthentic)), "at {index}");
        }
        assert!(matches!(links.redeem("", NOW_MS), Err(LoginError::NotAuthentic)));
        assert!(matches!(links.redeem(&"A".repeat(100_000), NOW_MS), Err(LoginError::NotAuthentic)));
    }

    #[test]
    fn memory_of_redeemed_links_is_bounded_and_refuses_when_full() {
        let (_dir, links) = links();
        for _ in 0..REDEEMED_MAX {
            let token = links.issue(&demo(), NOW_MS).unwrap();
            links.redeem(&token, NOW_MS).unwrap();
        }
        let one_more = links.issue(&demo(), NOW_MS).unwrap();
        assert!(matches!(links.redeem(&one_more, NOW_MS), Err(LoginError::TooMany)));
        let later_ms = NOW_MS + LINK_AGE_MS_MAX + 1;
        let token = links.issue(&demo(), later_ms).unwrap();
        assert!(links.redeem(&token, later_ms).is_ok());
    }

    #[test]
    fn secret_is_private_and_survives_reopening() {
        let (dir, first) = links();
        let path = dir.path().join(SECRET_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let again = LoginLinks::open(dir.path(), NOW_MS).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let token = first.issue(&demo(), NOW_MS).unwrap();
        assert!(again.redeem(&token, NOW_MS).is_ok());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no draft is left behind");
    }

    #[test]
    fn operator_names_are_checked() {
        assert!(Operator::try_new("pc1234@force.example").is_ok());
        for bad in ["", "a b", "a/b", "caf\u{e9}", &"x".repeat(65)] {
            assert!(matches!(Operator::try_new(bad), Err(LoginError::OperatorName)), "{bad:?}");
        }
        let longest = Operator::try_new(&"x".repeat(OPERATOR_BYTES_MAX)).unwrap();
        let (_dir, links) = links();
        let forces = ["x".repeat(64), "y".repeat(64), "z".repeat(64)].join(",");
        let grant = Grant { roles: Roles::from_bits(1), forces: forces.parse().unwrap() };
        let token = links.issue_as(&longest, &grant, NOW_MS).unwrap();
        assert!(token.len() <= TOKEN_BYTES_MAX && links.redeem(&token, NOW_MS).is_ok());
    }
}
