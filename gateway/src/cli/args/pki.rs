//! Arguments about certificates.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use fieldpost_protocol::{DeviceId, ForceId, Mode};

use super::ConfigFile;

#[derive(Debug, Args)]
pub(crate) struct Authority {
    /// Directory of the authority [default: `pki` beside the configuration]
    #[arg(long = "authority", visible_alias = "pki", value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) config: ConfigFile,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PkiCommand {
    /// Issue a certificate for one device
    Issue {
        #[command(flatten)]
        authority: Authority,
        /// The force it is enrolled with
        #[arg(long)]
        force: ForceId,
        /// Its device id: also its MQTT client id
        #[arg(long)]
        device: DeviceId,
        /// The most real mode it may ever speak in
        #[arg(long, value_enum, default_value_t = ModeArg::Actual)]
        mode: ModeArg,
        /// Days it is valid
        #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Directory to write DEVICE.pem, DEVICE.key and ca.pem into
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Revoke the device's active certificate, if it has one, and overwrite its files
        #[arg(long)]
        replace: bool,
    },
    /// Issue a new certificate for the gateway itself
    IssueServer {
        #[command(flatten)]
        authority: Authority,
        /// DNS name or IP address (repeat)
        #[arg(long = "name", value_name = "NAME", required = true)]
        names: Vec<String>,
        /// Days it is valid
        #[arg(long, default_value_t = crate::init::SERVER_DAYS, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
        /// Directory to write server.pem and server.key into [default: the authority's own]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
    /// Revoke a device's certificates, or one certificate, and renew the revocation list
    Revoke {
        #[command(flatten)]
        authority: Authority,
        /// The force of the device
        #[arg(long, requires = "device")]
        force: Option<ForceId>,
        /// The device
        #[arg(long, requires = "force", conflicts_with = "serial")]
        device: Option<DeviceId>,
        /// The serial number of one certificate
        #[arg(long, required_unless_present = "device")]
        serial: Option<String>,
    },
    /// Renew the revocation list; run it from a timer
    Crl {
        #[command(flatten)]
        authority: Authority,
        /// Days until the next one must be there
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=365))]
        days: u32,
    },
    /// Make the key pair that devices behind a broker agree their envelope keys with
    EnvelopeKey {
        /// File to write the private key into, PKCS#8 PEM; it must not exist yet. The public key goes to FILE.pub
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// List every certificate issued
    List {
        #[command(flatten)]
        authority: Authority,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Real duty; may also speak as exercise or test
    Actual,
    /// Exercises; may also speak as test
    Exercise,
    /// Tests and simulations only
    Test,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Actual => Self::Actual,
            ModeArg::Exercise => Self::Exercise,
            ModeArg::Test => Self::Test,
        }
    }
}
