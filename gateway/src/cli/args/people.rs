//! Arguments about people: accounts, shifts, links to log in with.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ConfigFile;
use crate::live::unit::UnitId;
use crate::people::{Forces, Role};

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    pub(crate) file: ConfigFile,
    /// Who is let in: the name on acknowledgements and in the access log
    #[arg(long, value_name = "NAME")]
    pub(crate) operator: String,
    /// Let them in with this role only (repeat) [default: their account's, else operator, supervisor and engineer]
    #[arg(long = "role", value_name = "ROLE")]
    pub(crate) roles: Vec<Role>,
    /// Show them these forces only: ids with commas between them, or * for all
    #[arg(long, value_name = "FORCES", requires = "roles", default_value = "*")]
    pub(crate) forces: Forces,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PeopleCommand {
    /// Make an account; prints a password that is shown once and has to be changed
    Add {
        #[command(flatten)]
        file: ConfigFile,
        /// What they log in with: the name in every record
        name: String,
        /// What colleagues call them
        #[arg(long, default_value = "")]
        full_name: String,
        /// operator, supervisor, engineer, auditor, data_protection, administrator (repeat)
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// Whose units they see: ids with commas between them, or * for all
        #[arg(long, value_name = "FORCES")]
        forces: Forces,
    },
    /// List every account
    List {
        #[command(flatten)]
        file: ConfigFile,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Give an account a new password, shown once, and end its sessions
    Passwd {
        #[command(flatten)]
        file: ConfigFile,
        /// Whose
        name: String,
    },
    /// Let an account in no more, and end its sessions
    Disable {
        #[command(flatten)]
        file: ConfigFile,
        /// Whose
        name: String,
        /// Let it in again
        #[arg(long)]
        undo: bool,
    },
    /// Say who wears which devices, from a shift list
    #[command(
        long_about = "Say who wears which devices, from a shift list: CSV with the columns force, device, officer, callsign, vehicle, role, from, until, or TOML with [[assignment]]. Times are RFC 3339 or Unix milliseconds. One mistake, and nothing is taken."
    )]
    Assign {
        #[command(flatten)]
        file: ConfigFile,
        /// The list: NAME.csv or NAME.toml
        list: PathBuf,
    },
    /// Print who wore a device
    Wearer {
        #[command(flatten)]
        file: ConfigFile,
        /// The device: FORCE/DEVICE
        unit: UnitId,
        /// When: RFC 3339 or Unix milliseconds [default: now]
        #[arg(long, value_name = "TIME")]
        at: Option<String>,
    },
    /// Give an account other roles and forces
    Roles {
        #[command(flatten)]
        file: ConfigFile,
        /// Whose
        name: String,
        /// operator, supervisor, engineer, auditor, data_protection, administrator (repeat)
        #[arg(long = "role", value_name = "ROLE", required = true)]
        roles: Vec<Role>,
        /// Whose units they see: ids with commas between them, or * for all
        #[arg(long, value_name = "FORCES")]
        forces: Forces,
    },
}
