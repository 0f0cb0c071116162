//! One account.

use serde::{Deserialize, Serialize};

use super::password::Hashed;
use super::{Forces, Grant, Role, Roles};
use crate::login::Operator;

/// Longest full name in characters.
pub const FULL_NAME_CHARS_MAX: usize = 80;

/// A person who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What they log in with; the name in every record.
    pub name: Operator,
    /// What colleagues call them. Any text.
    pub full_name: String,
    /// What they may, and for whom.
    pub grant: Grant,
    /// `None`: they log in by another [`super::Authenticator`] only.
    pub password: Option<Hashed>,
    /// The password was made for them: they have to choose their own before they may do anything.
    pub must_change: bool,
    /// They may not log in any more. An account is never taken away: records name it.
    pub disabled: bool,
    /// Counts changes of the password, and of whether they may log in; a session of an older one has ended.
    pub credential: u64,
    /// When it was changed last, Unix ms.
    pub changed_at_ms: u64,
    /// By whom: a name, or `cli:UID`.
    pub changed_by: String,
}

/// What a session gets of its operator's account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What they may: nothing while they have to choose a password.
    pub grant: Grant,
    /// What colleagues call them.
    pub full_name: String,
    /// [`Account::credential`]; `None` if they came by a link and have no account.
    pub credential: Option<u64>,
    /// [`Account::must_change`], and they came by their password.
    pub must_change: bool,
    /// They came by a link: a password that waits to be chosen is no obstacle.
    pub by_link: bool,
}

/// An account as the API and the command line list it: without its password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AccountView {
    name: String,
    full_name: String,
    roles: Vec<Role>,
    forces: Forces,
    disabled: bool,
    must_change: bool,
    changed_at_ms: u64,
    changed_by: String,
}

/// As in the file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Row {
    name: String,
    full_name: String,
    roles: Vec<Role>,
    forces: String,
    password: Option<String>,
    must_change: bool,
    disabled: bool,
    credential: u64,
    changed_at_ms: u64,
    changed_by: String,
}

impl Account {
    /// Their place in a session; `None` if they may not have one.
    #[must_use]
    pub fn standing(&self, by_link: bool) -> Option<Standing> {
        let must_change = self.must_change && !by_link;
        let standing = Standing {
            grant: if must_change { Grant::none() } else { self.grant.clone() },
            full_name: self.full_name.clone(),
            credential: Some(self.credential),
            must_change,
            by_link,
        };
        (!self.disabled).then_some(standing)
    }

    /// For a list.
    #[must_use]
    pub fn view(&self) -> AccountView {
        AccountView {
            name: self.name.to_string(),
            full_name: self.full_name.clone(),
            roles: self.grant.roles.iter().collect(),
            forces: self.grant.forces.clone(),
            disabled: self.disabled,
            must_change: self.must_change,
            changed_at_ms: self.changed_at_ms,
            changed_by: self.changed_by.clone(),
        }
    }

    /// Whether they can make accounts for every force: there is always one who can.
    #[must_use]
    pub fn is_chief(&self) -> bool {
        !self.disabled && self.grant.roles.has(Role::Administrator) && self.grant.forces == Forces::All
    }

    pub(super) fn row(&self) -> Row {
        Row {
            name: self.name.to_string(),
            full_name: self.full_name.clone(),
            roles: self.grant.roles.iter().collect(),
            forces: self.grant.forces.to_string(),
            password: self.password.as_ref().map(|hash| hash.as_str().to_owned()),
            must_change: self.must_change,
            disabled: self.disabled,
            credential: self.credential,
            changed_at_ms: self.changed_at_ms,
            changed_by: self.changed_by.clone(),
        }
    }
}

impl Standing {
    /// Who came by a link that gives `grant`.
    #[must_use]
    pub fn of_link(grant: Grant) -> Self {
        Self { grant, full_name: String::new(), credential: None, must_change: false, by_link: true }
    }
}

impl AccountView {
    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// One line of `fieldpost people list`.
    #[must_use]
    pub fn line(&self) -> String {
        let roles: Vec<&str> = self.roles.iter().map(|role| role.as_str()).collect();
        let state = match (self.disabled, self.must_change) {
            (true, _) => "disabled",
            (false, true) => "has to choose a password",
            (false, false) => "active",
        };
        format!("{}\t{}\t{}\t{state}\t{}", self.name, roles.join(","), self.forces, self.full_name)
    }
}

impl TryFrom<Row> for Account {
    type Error = &'static str;

    fn try_from(row: Row) -> Result<Self, &'static str> {
        let password = row.password.as_deref().map(Hashed::parse).transpose();
        Ok(Self {
            name: Operator::try_new(&row.name).map_err(|_| "a name is not one")?,
            full_name: row.full_name,
            grant: Grant {
                roles: Roles::from_iter(row.roles),
                forces: row.forces.parse().map_err(|_| "the forces of an account are not a list")?,
            },
            password: password.map_err(|_| "a password hash is not Argon2id with our parameters")?,
            must_change: row.must_change,
            disabled: row.disabled,
            credential: row.credential,
            changed_at_ms: row.changed_at_ms,
            changed_by: row.changed_by,
        })
    }
}
