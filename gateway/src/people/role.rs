//! Roles, permissions, and the one table between them.
//!
//! **A permission that the table does not give a role is denied.** Duties are apart on purpose: who reads the access record
//! does not look at positions, and who makes accounts does neither.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a person is here for. One person may have several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Watches the live page and answers alarms.
    Operator,
    /// Leads a shift: lowers grades, assigns devices, sees how alarms are answered.
    Supervisor,
    /// Keeps devices and gateway working: the loss ledger, no position.
    Engineer,
    /// Reads the access record.
    Auditor,
    /// Data-protection officer: reads and exports the access record, looks into history.
    DataProtection,
    /// Makes and ends accounts.
    Administrator,
}

/// One thing that a request may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Permission {
    /// See units, positions and alarms, live.
    Look,
    /// Take an alarm, write a note on it.
    Acknowledge,
    /// Put an alarm aside for a while.
    Shelve,
    /// End an alarm with its outcome.
    Close,
    /// Give an alarm a lower grade.
    Lower,
    /// See how alarms are answered, operator by operator.
    Performance,
    /// Look into history: tracks, replay, past alarms.
    History,
    /// Read the loss ledger.
    Ledger,
    /// See who wears which device.
    Assignments,
    /// Say who wears which device.
    Assign,
    /// Make, change and disable accounts.
    People,
    /// Read and verify the access record.
    AuditRead,
    /// Export the access record.
    AuditExport,
}

use Permission as P;
use Role::{Administrator, Auditor, DataProtection, Engineer, Operator, Supervisor};

/// Who may what. The documentation's table and the tests are held against this one.
pub const TABLE: [(Permission, &[Role]); 13] = [
    (P::Look, &[Operator, Supervisor]),
    (P::Acknowledge, &[Operator, Supervisor]),
    (P::Shelve, &[Operator, Supervisor]),
    (P::Close, &[Operator, Supervisor]),
    (P::Lower, &[Supervisor]),
    (P::Performance, &[Supervisor]),
    (P::History, &[Operator, Supervisor, DataProtection]),
    (P::Ledger, &[Operator, Supervisor, Engineer]),
    (P::Assignments, &[Operator, Supervisor, DataProtection, Administrator]),
    (P::Assign, &[Supervisor, Administrator]),
    (P::People, &[Administrator]),
    (P::AuditRead, &[Auditor, DataProtection]),
    (P::AuditExport, &[DataProtection]),
];

/// A set of roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Roles(u8);

/// The text names no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is one of operator, supervisor, engineer, auditor, data_protection, administrator")]
pub struct RoleError;

impl Role {
    /// Every role.
    pub const ALL: [Self; 6] = [Operator, Supervisor, Engineer, Auditor, DataProtection, Administrator];

    /// As in files, on the command line and in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Operator => "operator",
            Supervisor => "supervisor",
            Engineer => "engineer",
            Auditor => "auditor",
            DataProtection => "data_protection",
            Administrator => "administrator",
        }
    }

    fn bit(self) -> u8 {
        1 << (self as u8)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(RoleError)
    }
}

impl Permission {
    /// As in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            P::Look => "look",
            P::Acknowledge => "acknowledge",
            P::Shelve => "shelve",
            P::Close => "close",
            P::Lower => "lower",
            P::Performance => "performance",
            P::History => "history",
            P::Ledger => "ledger",
            P::Assignments => "assignments",
            P::Assign => "assign",
            P::People => "people",
            P::AuditRead => "audit_read",
            P::AuditExport => "audit_export",
        }
    }

    /// The roles that have it.
    pub fn roles(self) -> impl Iterator<Item = Role> {
        let given = TABLE.into_iter().filter(move |(permission, _)| *permission == self);
        given.flat_map(|(_, roles)| roles.iter().copied())
    }
}

impl Roles {
    /// Nobody's.
    pub const NONE: Self = Self(0);

    /// Whether any of the roles has the permission.
    #[must_use]
    pub fn may(self, permission: Permission) -> bool {
        permission.roles().any(|role| self.has(role))
    }

    /// Whether the role is among them.
    #[must_use]
    pub fn has(self, role: Role) -> bool {
        self.0 & role.bit() != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The roles, in the order of [`Role::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Role> {
        Role::ALL.into_iter().filter(move |role| self.has(*role))
    }

    /// What they may, in the order of [`TABLE`].
    pub fn permissions(self) -> impl Iterator<Item = Permission> {
        TABLE.into_iter().map(|(permission, _)| permission).filter(move |permission| self.may(*permission))
    }

    /// One byte, for a link.
    pub(crate) fn to_bits(self) -> u8 {
        self.0
    }

    /// The roles of [`Roles::to_bits`]; bits of no role are left out.
    pub(crate) fn from_bits(bits: u8) -> Self {
        Role::ALL.into_iter().filter(|role| bits & role.bit() != 0).collect()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<I: IntoIterator<Item = Role>>(roles: I) -> Self {
        Self(roles.into_iter().fold(0, |bits, role| bits | role.bit()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_stands_in_the_table_once_and_without_a_role_there_is_none() {
        for (permission, roles) in TABLE {
            assert_eq!(TABLE.iter().filter(|(other, _)| *other == permission).count(), 1, "{permission:?}");
            assert!(!roles.is_empty(), "{permission:?} would be nobody's");
            assert!(!Roles::NONE.may(permission));
        }
    }

    #[test]
    fn who_reads_the_access_record_and_who_makes_accounts_sees_no_live_position() {
        for role in [Auditor, DataProtection, Administrator, Engineer] {
            assert!(!Roles::from_iter([role]).may(Permission::Look), "{role}");
        }
        assert!(!Roles::from_iter([Operator, Supervisor, Engineer]).may(Permission::AuditRead));
        assert!(!Roles::from_iter([Administrator]).may(Permission::AuditRead));
    }

    #[test]
    fn names_and_bits_go_there_and_back() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
            assert_eq!(serde_json::to_string(&role).unwrap(), format!("\"{role}\""));
            assert_eq!(
                Roles::from_bits(Roles::from_iter([role]).to_bits()).iter().collect::<Vec<_>>(),
                [role]
            );
        }
        for (permission, _) in TABLE {
            assert_eq!(serde_json::to_string(&permission).unwrap(), format!("\"{}\"", permission.as_str()));
        }
        assert_eq!("root".parse::<Role>(), Err(RoleError));
        assert!(Roles::from_bits(0b1100_0000).is_empty());
    }
}
