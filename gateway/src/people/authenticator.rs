//! Who somebody is: the seam where OpenID Connect joins.
//!
//! ```text
//! name + password --LocalPasswords--.
//! code of a provider --(later)-------+--> Operator --Accounts::standing--> grant --> session
//! one-time link --LoginLinks--------'
//! ```
//! **Who somebody is, and what they may, are two questions.** An authenticator answers the first only; the second is the
//! accounts file's, whatever the way in. So a provider's groups can never give more than the force has granted here, and
//! an account without a password belongs to somebody who comes by a provider only.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use super::accounts::{Accounts, AccountsError};
use super::hashing::{Busy, Hashing};
use super::password::{Hashed, Password};
use super::throttle::{Limit, Throttle};
use crate::login::Operator;

/// Tries of one name: 10 at once, then one in 10 s. Whoever shoots at a colleague's name keeps them from logging in by
/// password, not by a link, and ends no session.
pub const NAME_LIMIT: Limit = Limit { burst: 10, refill_ms: 10_000 };
/// Tries from one address, all names together: 30 at once (a control room behind one proxy at the change of shift), then
/// one in 2 s.
pub const ADDRESS_LIMIT: Limit = Limit { burst: 30, refill_ms: 2_000 };
/// Tries within one session: as of a name.
pub const SESSION_LIMIT: Limit = NAME_LIMIT;
/// Longest name that is looked at.
const NAME_BYTES_MAX: usize = crate::login::OPERATOR_BYTES_MAX;

/// What somebody shows of themselves.
#[derive(Debug, Clone)]
pub struct Proof {
    /// The name, as typed.
    pub name: String,
    /// The password, as typed.
    pub password: Password,
    /// From where.
    pub from: IpAddr,
    /// The session that says who it is once more: to unlock, or to change the password. Strangers who try the name then
    /// do not count.
    pub session: Option<Arc<str>>,
    /// When, Unix ms.
    pub at_ms: u64,
}

/// Who somebody is, and by which of their passwords.
///
/// **Whatever a proof opens or changes is for an account whose credential is still this one**: a hash takes long enough for an
/// administrator to reset the password meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Who it is.
    pub operator: Operator,
    /// [`super::Account::credential`] of the account that the proof was judged by.
    pub credential: u64,
}

/// Why somebody is nobody.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The name, or the password, or both; or the account is disabled. One text for all.
    #[error("name or password is wrong, or the account is disabled")]
    Wrong,
    /// Too many tries.
    #[error("too many tries: wait {} s", after_ms.div_ceil(1000))]
    TooMany {
        /// Until the next try.
        after_ms: u64,
    },
    /// Too many people at once.
    #[error(transparent)]
    Busy(#[from] Busy),
    /// The accounts cannot be read.
    #[error("the gateway cannot read its accounts: an administrator finds the reason in its log")]
    Accounts(#[from] AccountsError),
}

/// Finds out who somebody is.
pub trait Authenticator: Send + Sync + 'static {
    /// The operator behind `proof`. Cancel-safe.
    ///
    /// # Errors
    /// [`Refused`]: its text may be shown to anybody.
    fn authenticate(
        &self,
        proof: Proof,
    ) -> Pin<Box<dyn Future<Output = Result<Proven, Refused>> + Send + '_>>;
}

/// Names and passwords of the accounts file.
#[derive(Debug)]
pub struct LocalPasswords {
    accounts: Accounts,
    hashing: Hashing,
    names: Throttle<String>,
    addresses: Throttle<IpAddr>,
    sessions: Throttle<Arc<str>>,
}

impl LocalPasswords {
    /// Over `accounts`, hashing in `hashing`.
    #[must_use]
    pub fn new(accounts: Accounts, hashing: Hashing) -> Self {
        let (names, addresses) = (Throttle::new(NAME_LIMIT), Throttle::new(ADDRESS_LIMIT));
        Self { accounts, hashing, names, addresses, sessions: Throttle::new(SESSION_LIMIT) }
    }

    async fn check(&self, proof: Proof) -> Result<Proven, Refused> {
        // Before anything is known of the name: nobody learns from this answer whether somebody has it.
        let too_many = |after_ms| Refused::TooMany { after_ms };
        let name: String = proof.name.chars().take(NAME_BYTES_MAX + 1).collect();
        if let Some(session) = &proof.session {
            self.sessions.take(session, proof.at_ms).map_err(too_many)?;
        } else {
            self.addresses.take(&network(proof.from), proof.at_ms).map_err(too_many)?;
            self.names.take(&name, proof.at_ms).map_err(too_many)?;
        }
        let accounts = self.accounts.clone();
        let found =
            tokio::task::spawn_blocking(move || accounts.get(&proof.name)).await.map_err(|_| Busy)??;
        let account = found.filter(|account| !account.disabled);
        let hashed: Option<Hashed> = account.as_ref().and_then(|account| account.password.clone());
        let is_right = self.hashing.check(hashed, proof.password).await?;
        match account {
            Some(account) if is_right => {
                match &proof.session {
                    Some(session) => self.sessions.clear(session),
                    None => self.names.clear(&name),
                }
                Ok(Proven { operator: account.name, credential: account.credential })
            }
            _ => Err(Refused::Wrong),
        }
    }
}

/// Who is behind an address: of IPv6 the 64 bits that one customer has (RFC 6177), since they may change the rest at will.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
        address @ IpAddr::V4(_) => address,
    }
}

impl Authenticator for LocalPasswords {
    fn authenticate(
        &self,
        proof: Proof,
    ) -> Pin<Box<dyn Future<Output = Result<Proven, Refused>> + Send + '_>> {
        Box::pin(self.check(proof))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::people::accounts::{By, NewAccount};
    use crate::people::{Forces, Grant, Role, Roles};

    const NOW_MS: u64 = 1_795_000_000_000;

    struct House {
        _dir: tempfile::TempDir,
        accounts: Accounts,
        hashing: Hashing,
        door: LocalPasswords,
        annas: Password,
    }

    fn house() -> House {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::new(dir.path());
        let grant = Grant { roles: Roles::from_iter([Role::Operator]), forces: "met".parse().unwrap() };
        let name = Operator::try_new("anna").unwrap();
        let annas = accounts.add(NewAccount { name, full_name: String::new(), grant }, &by()).unwrap();
        let hashing = Hashing::new().unwrap();
        let door = LocalPasswords::new(accounts.clone(), hashing.clone());
        House { _dir: dir, accounts, hashing, door, annas }
    }

    fn by() -> By {
        By { who: "test".to_owned(), at_ms: NOW_MS }
    }

    fn proof(name: &str, password: &str, from: &str) -> Proof {
        let password = Password::typed(password.to_owned()).unwrap();
        Proof { name: name.to_owned(), password, from: from.parse().unwrap(), session: None, at_ms: NOW_MS }
    }

    #[tokio::test]
    async fn a_wrong_name_a_wrong_password_and_a_disabled_account_cost_and_say_the_same() {
        let house = house();
        let right = house.annas.reveal().to_owned();
        let known = house.door.check(proof("anna", &right, "10.0.0.1")).await;
        assert_eq!(known.unwrap().operator.as_str(), "anna");
        let mut answers = Vec::new();
        let mut ask = async |name: &str, password: &str| {
            let before = house.hashing.done_count();
            let refused = house.door.check(proof(name, password, "10.0.0.1")).await.unwrap_err();
            assert!(matches!(refused, Refused::Wrong));
            answers.push((refused.to_string(), house.hashing.done_count() - before));
        };
        ask("anna", "wrong").await;
        ask("nobody", &right).await;
        ask("not a name \u{0}", "wrong").await;
        house.accounts.set_disabled("anna", &Forces::All, true, &by()).unwrap();
        ask("anna", &right).await;
        assert!(answers.iter().all(|answer| *answer == answers[0] && answer.1 == 1), "{answers:?}");
    }

    #[tokio::test]
    async fn strangers_who_try_a_name_do_not_keep_its_session_locked() {
        let house = house();
        for n in 0..NAME_LIMIT.burst {
            _ = house.door.check(proof("anna", "wrong", &format!("10.0.0.{n}"))).await;
        }
        let again = Proof { session: Some("1f2e".into()), ..proof("anna", house.annas.reveal(), "10.0.0.1") };
        assert!(matches!(
            house.door.check(proof("anna", "wrong", "10.1.0.1")).await,
            Err(Refused::TooMany { .. })
        ));
        assert!(house.door.check(again).await.is_ok());
        let wrong = || Proof { session: Some("1f2e".into()), ..proof("anna", "wrong", "10.0.0.1") };
        for _ in 0..SESSION_LIMIT.burst {
            assert!(matches!(house.door.check(wrong()).await, Err(Refused::Wrong)));
        }
        assert!(matches!(house.door.check(wrong()).await, Err(Refused::TooMany { .. })));
    }

    #[test]
    fn an_address_counts_as_its_network() {
        let network = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(network("2001:db8:1:2:aaaa::1"), network("2001:db8:1:2:bbbb::2"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:10.0.0.1"), "10.0.0.1");
        assert_ne!(network("10.0.0.1"), network("10.0.0.2"));
    }

    #[tokio::test]
    async fn tries_are_limited_by_name_and_by_address_whether_or_not_the_name_exists() {
        let house = house();
        for name in ["anna", "nobody"] {
            for n in 0..NAME_LIMIT.burst {
                let from = format!("10.0.{}.{n}", name.len());
                assert!(matches!(house.door.check(proof(name, "wrong", &from)).await, Err(Refused::Wrong)));
            }
            let before = house.hashing.done_count();
            let refused = house.door.check(proof(name, "wrong", "10.1.0.1")).await;
            assert!(matches!(refused, Err(Refused::TooMany { after_ms: 10_000 })), "{name}: {refused:?}");
            assert_eq!(house.hashing.done_count(), before, "and costs no hash");
        }
        for n in 0..ADDRESS_LIMIT.burst {
            _ = house.door.check(proof(&format!("n{n}"), "wrong", "10.9.9.9")).await;
        }
        let refused = house.door.check(proof("fresh", "wrong", "10.9.9.9")).await;
        assert!(matches!(refused, Err(Refused::TooMany { after_ms: 2_000 })), "{refused:?}");
    }
}
