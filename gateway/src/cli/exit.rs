//! Exit codes of `sysexits.h`, so that a supervisor or a script can tell whose fault it was.

use std::fmt;
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::init::InitError;
use crate::login::LoginError;
use crate::people::{AccountsError, AssignmentError};
use crate::pki::AuthorityError;

use super::output;

/// Why a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// The command line makes no sense (`EX_USAGE`).
    Usage = 64,
    /// The input makes no sense (`EX_DATAERR`).
    Data = 65,
    /// Something the command needs cannot be had: a port, a sink (`EX_UNAVAILABLE`).
    Unavailable = 69,
    /// A bug (`EX_SOFTWARE`).
    Software = 70,
    /// An output file cannot be made (`EX_CANTCREAT`).
    CannotCreate = 73,
    /// Reading or writing failed; for `run`, the spool failed and a restart recovers it (`EX_IOERR`).
    Io = 74,
    /// The configuration has mistakes (`EX_CONFIG`).
    Config = 78,
}

/// A failed command: a code for machines and a sentence that says what to do.
#[derive(Debug)]
pub(crate) struct CliError {
    pub(crate) exit: Exit,
    message: String,
}

impl CliError {
    pub(crate) fn new(exit: Exit, message: impl fmt::Display) -> Self {
        Self { exit, message: message.to_string() }
    }

    /// Already explained: only the code is left to give.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, message: String::new() }
    }

    pub(crate) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            output::note(&format!("fieldpost: {}", self.message));
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<ConfigError> for CliError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::Unreadable { .. } => Self::new(Exit::Config, error),
            ConfigError::Invalid(problems) => {
                output::note(&problems.render(output::error_colour()));
                let count = problems.mistake_count();
                let noun = if count == 1 { "mistake" } else { "mistakes" };
                Self::new(
                    Exit::Config,
                    format!("{count} {noun} in the configuration; nothing was started or changed"),
                )
            }
        }
    }
}

impl From<AuthorityError> for CliError {
    fn from(error: AuthorityError) -> Self {
        let exit = match error {
            AuthorityError::Files { .. } => Exit::Io,
            AuthorityError::DamagedIndex { .. } | AuthorityError::NothingToRevoke(_) => Exit::Data,
            AuthorityError::Exists(_)
            | AuthorityError::Missing(_)
            | AuthorityError::DeviceActive { .. }
            | AuthorityError::ServerName(_)
            | AuthorityError::Request(_) => Exit::Usage,
            AuthorityError::Certificate(_) | AuthorityError::Random => Exit::Software,
        };
        Self::new(exit, error)
    }
}

impl From<InitError> for CliError {
    fn from(error: InitError) -> Self {
        match error {
            InitError::NotEmpty(_) => Self::new(Exit::CannotCreate, error),
            InitError::Files { .. } => Self::new(Exit::CannotCreate, error),
            InitError::Authority(error) => error.into(),
        }
    }
}

impl From<AccountsError> for CliError {
    fn from(error: AccountsError) -> Self {
        let exit = match error {
            AccountsError::Files { .. } => Exit::Io,
            AccountsError::Damaged { .. } => Exit::Data,
            AccountsError::Password(_) => Exit::Software,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<AssignmentError> for CliError {
    fn from(error: AssignmentError) -> Self {
        let exit = match error {
            AssignmentError::Wrong(_) => Exit::Data,
            AssignmentError::Files { .. } => Exit::Io,
        };
        Self::new(exit, error)
    }
}

impl From<LoginError> for CliError {
    fn from(error: LoginError) -> Self {
        let exit = match error {
            LoginError::OperatorName | LoginError::ForcesTooLong => Exit::Usage,
            LoginError::Secret { .. } | LoginError::DamagedSecret { .. } => Exit::Io,
            _ => Exit::Software,
        };
        Self::new(exit, error)
    }
}
