//! Sessions of operators.
//!
//! **A cookie is 256 random bits and nothing else**, and new at every login; who it stands for is known here only, in
//! memory, so a restart ends every session. A session follows its account: within a second of a change it has the new
//! roles, or has ended. Kept under its SHA-256: the table holds nothing that could be replayed, and a look-up tells a guesser
//! nothing by its time.
//!
//! Bounds: [`SESSIONS_MAX`] sessions, [`SESSIONS_OF_ONE_MAX`] of one person, each with [`PAGES_OF_SESSION_MAX`] live pages, and each
//! ending after [`IDLE_MS_MAX`] without a request or open page, and in any case after [`AGE_MS_MAX`]. **Nobody's logins end the
//! sessions of others while these are fewer**: of one person too many end that person's idlest.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use aws_lc_rs::{digest, rand};
use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tokio::sync::Semaphore;

use super::viewer::Viewer;
use crate::login::Operator;
use crate::people::Standing;

/// Most sessions at once; the longest idle one gives way.
pub const SESSIONS_MAX: usize = 256;
/// Most sessions of one person: a duty desk that logs in by one name; their idlest gives way.
pub const SESSIONS_OF_ONE_MAX: usize = 16;
/// Most live pages of one session: more tabs than anybody looks at.
pub const PAGES_OF_SESSION_MAX: usize = 8;
/// A page that is open counts as use; this is for a browser that was closed.
pub const IDLE_MS_MAX: u64 = 30 * 60_000;
/// A shift.
pub const AGE_MS_MAX: u64 = 12 * 3_600_000;

const TOKEN_BYTES: usize = 32;
/// Cookies of our name looked at in one request: more than one means somebody else set one.
const COOKIES_MAX: usize = 4;

type Key = [u8; 32];

/// The table of sessions.
#[derive(Default)]
pub(super) struct Sessions {
    table: Mutex<HashMap<Key, Entry>>,
}

struct Entry {
    operator: Operator,
    standing: Standing,
    locked: bool,
    reason: Option<Arc<str>>,
    pages: Arc<Semaphore>,
    made_at_ms: u64,
    used_at_ms: u64,
}

/// A session that holds.
#[derive(Debug, Clone)]
pub(super) struct Session {
    key: Key,
    /// Whose it is.
    pub(super) operator: Operator,
    /// What their account, or their link, gives them.
    pub(super) standing: Standing,
    /// Nobody sits before it.
    pub(super) locked: bool,
    /// Why it looks, as it said for all its calls.
    pub(super) reason: Option<Arc<str>>,
    /// Places for its live pages.
    pub(super) pages: Arc<Semaphore>,
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub(super) struct NoRandom;

impl Session {
    /// A name for the session in the access record, from which the cookie cannot be found.
    pub(super) fn label(&self) -> String {
        self.key[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The person, as handlers know them.
    pub(super) fn viewer(&self) -> Viewer {
        Viewer {
            operator: self.operator.clone(),
            session: self.label().into(),
            roles: self.standing.grant.roles,
            forces: self.standing.grant.forces.clone(),
            reason: self.reason.clone(),
            owes_reason: false,
        }
    }
}

impl Sessions {
    fn table(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // A poisoned lock only means another request panicked; the table is whole.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a session and returns it with its token.
    pub(super) fn open(
        &self,
        operator: Operator,
        standing: Standing,
        now_ms: u64,
    ) -> Result<(Session, String), NoRandom> {
        let mut token = [0_u8; TOKEN_BYTES];
        rand::fill(&mut token).map_err(|_| NoRandom)?;
        let key = key_of(&token);
        let mut table = self.table();
        table.retain(|_, entry| entry.holds(now_ms));
        if table.values().filter(|entry| entry.operator == operator).count() >= SESSIONS_OF_ONE_MAX {
            end_idlest(&mut table, |entry| entry.operator == operator);
        }
        if table.len() >= SESSIONS_MAX {
            end_idlest(&mut table, |_| true);
        }
        let pages = Arc::new(Semaphore::new(PAGES_OF_SESSION_MAX));
        let entry = Entry {
            operator,
            standing,
            locked: false,
            reason: None,
            pages,
            made_at_ms: now_ms,
            used_at_ms: now_ms,
        };
        let session = entry.session(key);
        table.insert(key, entry);
        Ok((session, URL_SAFE_NO_PAD.encode(token)))
    }

    /// The session that a request's cookie stands for, now used.
    pub(super) fn of_request(&self, headers: &HeaderMap, is_tls: bool, now_ms: u64) -> Option<Session> {
        let tokens = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.trim().strip_prefix(cookie_name(is_tls))?.strip_prefix('='));
        tokens.take(COOKIES_MAX).find_map(|token| self.of_token(token, now_ms))
    }

    fn of_token(&self, token: &str, now_ms: u64) -> Option<Session> {
        let token: [u8; TOKEN_BYTES] = URL_SAFE_NO_PAD.decode(token).ok()?.try_into().ok()?;
        let key = key_of(&token);
        self.use_key(&key, now_ms)
    }

    /// Ends a session.
    pub(super) fn end(&self, session: &Session) {
        self.table().remove(&session.key);
    }

    /// Whether a session is locked, or has ended.
    pub(super) fn is_locked(&self, session: &Session) -> bool {
        self.table().get(&session.key).is_none_or(|entry| entry.locked)
    }

    /// Locks or unlocks a session.
    pub(super) fn set_locked(&self, session: &Session, locked: bool) {
        if let Some(entry) = self.table().get_mut(&session.key) {
            entry.locked = locked;
        }
    }

    /// Keeps why a session looks.
    pub(super) fn set_reason(&self, session: &Session, reason: Option<Arc<str>>) {
        if let Some(entry) = self.table().get_mut(&session.key) {
            entry.reason = reason;
        }
    }

    /// Gives every session of an account what `standing` says now of its operator, who came by a link or not, and ends those that it gives nothing, or
    /// that were opened with an older password.
    pub(super) fn follow(&self, standing: impl Fn(&Operator, bool) -> Option<Standing>) {
        self.table().retain(|_, entry| {
            let Some(credential) = entry.standing.credential else { return true };
            match standing(&entry.operator, entry.standing.by_link) {
                Some(now) if now.credential == Some(credential) => {
                    entry.standing = now;
                    true
                }
                _ => false,
            }
        });
    }

    /// Marks a session used; false if it has ended, or gives other roles or forces now. What an open page does.
    pub(super) fn keeps(&self, session: &Session, now_ms: u64) -> bool {
        self.use_key(&session.key, now_ms).is_some_and(|now| now.standing.grant == session.standing.grant)
    }

    fn use_key(&self, key: &Key, now_ms: u64) -> Option<Session> {
        let mut table = self.table();
        let entry = table.get_mut(key)?;
        if !entry.holds(now_ms) {
            table.remove(key);
            return None;
        }
        entry.used_at_ms = entry.used_at_ms.max(now_ms);
        Some(entry.session(*key))
    }

    /// How many sessions hold.
    pub(super) fn count(&self, now_ms: u64) -> usize {
        self.table().values().filter(|entry| entry.holds(now_ms)).count()
    }
}

fn end_idlest(table: &mut HashMap<Key, Entry>, is_meant: impl Fn(&Entry) -> bool) {
    let meant = table.iter().filter(|(_, entry)| is_meant(entry));
    let idlest = meant.min_by_key(|(_, entry)| entry.used_at_ms).map(|(key, _)| *key);
    idlest.map(|key| table.remove(&key));
}

impl Entry {
    fn session(&self, key: Key) -> Session {
        Session {
            key,
            operator: self.operator.clone(),
            standing: self.standing.clone(),
            locked: self.locked,
            reason: self.reason.clone(),
            pages: Arc::clone(&self.pages),
        }
    }

    fn holds(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.used_at_ms) <= IDLE_MS_MAX
            && now_ms.saturating_sub(self.made_at_ms) <= AGE_MS_MAX
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sessions").field("count", &self.table().len()).finish()
    }
}

/// `__Host-`: a browser takes it only with Secure, for this host and every path (RFC 6265bis, 4.1.3.2).
fn cookie_name(is_tls: bool) -> &'static str {
    if is_tls { "__Host-fieldpost" } else { "fieldpost" }
}

/// The `Set-Cookie` that takes a session's cookie away.
pub(super) fn clear_cookie(is_tls: bool) -> HeaderValue {
    let secure = if is_tls { "; Secure" } else { "" };
    let cookie = format!("{}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0{secure}", cookie_name(is_tls));
    HeaderValue::try_from(cookie).expect("constants are header text")
}

/// The `Set-Cookie` of a session.
pub(super) fn set_cookie(token: &str, is_tls: bool) -> HeaderValue {
    let secure = if is_tls { "; Secure" } else { "" };
    let name = cookie_name(is_tls);
    let age_s = AGE_MS_MAX / 1000;
    let cookie = format!("{name}={token}; Path=/; HttpOnly; SameSite=Strict; Max-Age={age_s}{secure}");
    HeaderValue::try_from(cookie).expect("base64url and constants are header text")
}

fn key_of(token: &[u8]) -> Key {
    digest::digest(&digest::SHA256, token).as_ref().try_into().expect("SHA-256 is 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::{Grant, Role, Roles};

    const NOW_MS: u64 = 1_795_000_000_000;

    fn anna() -> Operator {
        Operator::try_new("anna").unwrap()
    }

    fn with_cookie(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, HeaderValue::try_from(cookie).unwrap())])
    }

    #[test]
    fn a_cookie_stands_for_its_operator_and_a_forged_one_for_nobody() {
        let sessions = Sessions::default();
        let (_, token) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS).unwrap();
        let good = with_cookie(&format!("theme=dark; fieldpost={token}"));
        assert_eq!(sessions.of_request(&good, false, NOW_MS).unwrap().operator, anna());
        for forged in [
            String::new(),
            "fieldpost=".into(),
            format!("fieldpost={}", &token[..42]),
            format!("fieldpost={}", URL_SAFE_NO_PAD.encode([0; 32])),
            format!("fieldpost={}", "A".repeat(100_000)),
            format!("__Host-fieldpost={token}"),
            format!("xfieldpost={token}"),
        ] {
            assert!(sessions.of_request(&with_cookie(&forged), false, NOW_MS).is_none());
        }
    }

    #[test]
    fn a_session_follows_its_account_and_one_by_link_does_not() {
        let sessions = Sessions::default();
        let of = |role, credential| Standing {
            grant: Grant { roles: Roles::from_iter([role]), forces: "met".parse().unwrap() },
            credential: Some(credential),
            ..Standing::of_link(Grant::none())
        };
        let (by_account, _) = sessions.open(anna(), of(Role::Operator, 1), NOW_MS).unwrap();
        let (by_link, _) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS).unwrap();
        sessions.follow(|_, _| Some(of(Role::Auditor, 1)));
        let now = sessions.use_key(&by_account.key, NOW_MS).unwrap();
        assert!(now.viewer().roles.has(Role::Auditor) && !now.viewer().roles.has(Role::Operator));
        sessions.follow(|_, _| Some(of(Role::Auditor, 2)));
        assert!(!sessions.keeps(&by_account, NOW_MS), "the password was changed");
        let (by_account, _) = sessions.open(anna(), of(Role::Operator, 2), NOW_MS).unwrap();
        sessions.follow(|_, _| None);
        assert!(!sessions.keeps(&by_account, NOW_MS), "the account was disabled");
        assert!(sessions.keeps(&by_link, NOW_MS));
        sessions.end(&by_link);
        assert!(!sessions.keeps(&by_link, NOW_MS));
    }

    #[test]
    fn a_session_ends_idle_and_ends_old() {
        let sessions = Sessions::default();
        let (idle, _) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS).unwrap();
        assert!(!sessions.keeps(&idle, NOW_MS + IDLE_MS_MAX + 1));
        let (busy, _) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS).unwrap();
        let mut now_ms = NOW_MS;
        while now_ms + IDLE_MS_MAX <= NOW_MS + AGE_MS_MAX {
            now_ms += IDLE_MS_MAX;
            assert!(sessions.keeps(&busy, now_ms));
        }
        assert!(!sessions.keeps(&busy, NOW_MS + AGE_MS_MAX + 1));
        assert_eq!(sessions.count(now_ms), 0);
    }

    #[test]
    fn the_table_is_bounded_and_the_idlest_gives_way() {
        let sessions = Sessions::default();
        let (first, _) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS).unwrap();
        let (second, _) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS + 1).unwrap();
        for number in 2..=SESSIONS_MAX {
            let other = Operator::try_new(&format!("o{number}")).unwrap();
            sessions.open(other, Standing::of_link(Grant::of_link()), NOW_MS + 2).unwrap();
        }
        assert_eq!(sessions.count(NOW_MS + 2), SESSIONS_MAX);
        assert!(!sessions.keeps(&first, NOW_MS + 3));
        assert!(sessions.keeps(&second, NOW_MS + 3));
    }

    #[test]
    fn logins_of_one_person_end_their_own_sessions_and_nobody_elses() {
        let sessions = Sessions::default();
        let ben = Operator::try_new("ben").unwrap();
        let (bens, _) = sessions.open(ben, Standing::of_link(Grant::of_link()), NOW_MS).unwrap();
        let (first, _) = sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS + 1).unwrap();
        for _ in 0..SESSIONS_MAX {
            sessions.open(anna(), Standing::of_link(Grant::of_link()), NOW_MS + 2).unwrap();
        }
        assert_eq!(sessions.count(NOW_MS + 2), SESSIONS_OF_ONE_MAX + 1);
        assert!(sessions.keeps(&bens, NOW_MS + 3) && !sessions.keeps(&first, NOW_MS + 3));
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_other_sites_and_clear_text() {
        assert_eq!(
            set_cookie("T", true),
            "__Host-fieldpost=T; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure"
        );
        assert_eq!(set_cookie("T", false), "fieldpost=T; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200");
    }
}
