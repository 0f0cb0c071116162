//! `fieldpost-sim slot`: writes a provisioning slot image from the files that `fieldpost pki issue` wrote.
//!
//! **The certificate decides who the device is and how real it may look**: device id and mode come from it, and `--mode` can
//! only make a device less real. The image holds the private key: it is written with mode 0600.

use std::{
    fmt,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use fieldpost_firmware::{
    GatePolicy, Profile, RuleSettings,
    slot::{
        self, AUTHORITY_COUNT_MAX, CHAIN_COUNT_MAX, GatewayAddress, IMAGE_BYTES_MAX, PrivateKey, Provision,
        SlotError,
    },
};
use fieldpost_gateway::pki::{IdentityError, device_identity, read_envelope_key, replace_file};
use fieldpost_protocol::Mode;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};

/// Files and settings of one slot.
#[derive(Debug, Args)]
pub struct SlotArguments {
    /// The device's certificate, or its chain with the device first: PEM or DER.
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// Its private key, PKCS#8: PEM or DER.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// An authority that may sign the gateway's certificate; repeat it while one is replaced.
    #[arg(long = "authority", value_name = "FILE", required = true)]
    authorities: Vec<PathBuf>,
    /// Where the gateway is dialled: IPv4 address or host, and port.
    #[arg(long, value_name = "HOST:PORT", value_parser = gateway)]
    gateway: (String, u16),
    /// The name that the gateway's certificate must carry.
    #[arg(long, value_name = "NAME")]
    gateway_name: String,
    /// What the device is worn by.
    #[arg(long, value_enum, default_value_t = Worn::Body)]
    profile: Worn,
    /// Less real than the certificate allows: exercise or test. Default: as the certificate says.
    #[arg(long, value_parser = mode)]
    mode: Option<Mode>,
    /// An emergency opens the duty gate. A force decides this.
    #[arg(long)]
    emergency_opens_gate: bool,
    /// Counts renewals: the higher of two valid slots is in force.
    #[arg(long, default_value_t = 1)]
    generation: u32,
    /// What is dialled is a broker, and this is the gateways' public envelope key: the `.pub` file of `fieldpost pki
    /// envelope-key`. The device then seals what it sends and believes what is sealed.
    #[arg(long, value_name = "FILE")]
    envelope_key: Option<PathBuf>,
    /// Where to write the image.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Worn {
    #[value(name = "body-worn")]
    Body,
    Vehicle,
    /// A recording with its own times, every fix reported; never `actual`.
    Replay,
}

/// Why no image was written. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum SlotArgumentsError {
    /// A file cannot be read or written.
    #[error("cannot use {0}: {1}")]
    File(PathBuf, std::io::Error),
    /// A file does not hold what it should.
    #[error("{0} holds no {1}: {2}")]
    Content(PathBuf, &'static str, String),
    /// The certificate is not a device's.
    #[error("{0}: {1}; take a certificate from `fieldpost pki issue`")]
    Identity(PathBuf, IdentityError),
    /// More real than the certificate.
    #[error("the certificate is enrolled for {0}: a slot cannot make it {1}")]
    MoreReal(Mode, Mode),
    /// Too many certificates.
    #[error("{0} holds too many certificates: a slot takes {1}")]
    TooMany(PathBuf, usize),
    /// The slot itself is at fault.
    #[error(transparent)]
    Slot(#[from] SlotError),
}

impl SlotArguments {
    /// Writes the image and says what is in it.
    ///
    /// # Errors
    /// [`SlotArgumentsError`]; nothing was written.
    pub fn write(&self) -> Result<String, SlotArgumentsError> {
        let chain = certificates(&self.certificate)?;
        let own = chain.first().ok_or_else(|| no_certificate(&self.certificate, &"the file is empty"))?;
        let identity = device_identity(own)
            .map_err(|error| SlotArgumentsError::Identity(self.certificate.clone(), error))?;
        let mode = self.mode.unwrap_or(identity.ceiling);
        if !identity.ceiling.permits(mode) {
            return Err(SlotArgumentsError::MoreReal(identity.ceiling, mode));
        }
        let key = private_key(&self.key)?;
        let authorities: Vec<_> =
            self.authorities.iter().map(|path| certificates(path)).collect::<Result<_, _>>()?;
        check_count(&self.certificate, chain.len(), CHAIN_COUNT_MAX)?;
        check_count(&self.authorities[0], authorities.iter().flatten().count(), AUTHORITY_COUNT_MAX)?;
        let envelope_key = self.envelope_key.as_deref().map(read_envelope_key).transpose();
        let envelope_key = envelope_key.map_err(|error| {
            let path = self.envelope_key.clone().unwrap_or_default();
            SlotArgumentsError::File(path, error)
        })?;
        let (host, port) = &self.gateway;
        let provision = Provision {
            generation: self.generation,
            device: identity.device,
            profile: match self.profile {
                Worn::Body => Profile::BodyWorn,
                Worn::Vehicle => Profile::Vehicle,
                Worn::Replay => Profile::Every,
            },
            mode,
            gate: if self.emergency_opens_gate { GatePolicy::EmergencyOpens } else { GatePolicy::Closed },
            gateway_name: &self.gateway_name,
            gateway_address: host
                .parse::<Ipv4Addr>()
                .map_or(GatewayAddress::Host(host), |address| GatewayAddress::Ipv4(address.octets())),
            gateway_port: *port,
            chain: chain.iter().map(AsRef::as_ref).collect(),
            private_key: PrivateKey::from_pkcs8_der(key.secret_pkcs8_der()),
            authorities: authorities.iter().flatten().map(AsRef::as_ref).collect(),
            rules: RuleSettings::DEFAULT,
            envelope_key: envelope_key.as_ref(),
        };
        let mut buffer = vec![0; IMAGE_BYTES_MAX];
        let image = slot::encode(&provision, &mut buffer)?;
        replace_file(&self.out, image, true)
            .map_err(|error| SlotArgumentsError::File(self.out.clone(), error))?;
        Ok(format!(
            "{}: {} bytes, {}, mode {}, generation {}, {} {} at {host}:{port}",
            self.out.display(),
            image.len(),
            provision.device,
            provision.mode,
            provision.generation,
            if envelope_key.is_some() { "broker" } else { "gateway" },
            provision.gateway_name,
        ))
    }
}

fn check_count(path: &Path, count: usize, count_max: usize) -> Result<(), SlotArgumentsError> {
    if count > count_max {
        return Err(SlotArgumentsError::TooMany(path.to_owned(), count_max));
    }
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, SlotArgumentsError> {
    let bytes = read(path)?;
    if !is_pem(&bytes) {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| no_certificate(path, &error))
}

fn private_key(path: &Path) -> Result<PrivatePkcs8KeyDer<'static>, SlotArgumentsError> {
    let content = |detail: String| SlotArgumentsError::Content(path.to_owned(), "PKCS#8 private key", detail);
    let bytes = read(path)?;
    let key = if is_pem(&bytes) {
        PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| content(error.to_string()))?
    } else {
        PrivateKeyDer::from(PrivatePkcs8KeyDer::from(bytes))
    };
    match key {
        PrivateKeyDer::Pkcs8(key) => Ok(key),
        _ => Err(content("it is of another format; `openssl pkcs8 -topk8 -nocrypt` converts it".to_owned())),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, SlotArgumentsError> {
    std::fs::read(path).map_err(|error| SlotArgumentsError::File(path.to_owned(), error))
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.windows(11).any(|window| window == b"-----BEGIN ")
}

fn no_certificate(path: &Path, detail: &dyn fmt::Display) -> SlotArgumentsError {
    SlotArgumentsError::Content(path.to_owned(), "certificate", detail.to_string())
}

fn gateway(text: &str) -> Result<(String, u16), String> {
    let (host, port) = text.rsplit_once(':').ok_or("needs HOST:PORT")?;
    let port = port.parse().map_err(|_| format!("\"{port}\" is no port"))?;
    Ok((host.to_owned(), port))
}

fn mode(text: &str) -> Result<Mode, String> {
    text.parse().map_err(|_| "actual, exercise or test".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use fieldpost_gateway::pki::{Authority, make_envelope_key};
    use fieldpost_protocol::{DeviceId, ForceId};

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        slot: SlotArguments,
    }

    /// A directory as `fieldpost pki issue` leaves it, for two devices.
    fn enrolled() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let mut authority = Authority::create(&dir.path().join("pki")).unwrap();
        let force = ForceId::try_new("demo").unwrap();
        for name in ["pc-0001", "pc-0002"] {
            let device = DeviceId::try_new(name).unwrap();
            let issued = authority.issue_device(&force, &device, Mode::Exercise, 7).unwrap();
            std::fs::write(dir.path().join(format!("{name}.pem")), issued.certificate_pem).unwrap();
            std::fs::write(dir.path().join(format!("{name}.key")), issued.key_pem).unwrap();
            std::fs::write(dir.path().join("ca.pem"), issued.ca_pem).unwrap();
        }
        dir
    }

    fn write(dir: &Path, key: &str, more: &[&str]) -> Result<String, SlotArgumentsError> {
        let path = |name: &str| dir.join(name).display().to_string();
        let (certificate, key, ca, out) = (path("pc-0001.pem"), path(key), path("ca.pem"), path("slot.bin"));
        let mut line = vec!["slot", "--certificate", &certificate, "--key", &key, "--authority", &ca];
        line.extend(["--gateway", "10.0.2.2:8883", "--gateway-name", "localhost", "--out", &out]);
        line.extend(more);
        Line::parse_from(line).slot.write()
    }

    #[test]
    fn a_slot_of_enrolled_files_is_read_by_the_firmware() {
        let dir = enrolled();
        let said = write(dir.path(), "pc-0001.key", &["--profile", "vehicle", "--generation", "3"]).unwrap();
        let image = std::fs::read(dir.path().join("slot.bin")).unwrap();
        let provision = slot::decode(&image).unwrap();
        assert_eq!((provision.device.as_str(), provision.mode), ("pc-0001", Mode::Exercise));
        assert_eq!((provision.generation, provision.profile), (3, Profile::Vehicle));
        assert_eq!(provision.gateway_address, GatewayAddress::Ipv4([10, 0, 2, 2]));
        assert!(said.contains("pc-0001") && image.len() < 2048, "{said}");
    }

    #[test]
    fn with_the_gateways_envelope_key_the_slot_is_behind_a_broker_and_what_is_no_key_is_refused() {
        let dir = enrolled();
        let path = dir.path().join("envelope.key");
        make_envelope_key(&path).unwrap();
        let public = format!("{}.pub", path.display());
        let said = write(dir.path(), "pc-0001.key", &["--envelope-key", &public]).unwrap();
        let image = std::fs::read(dir.path().join("slot.bin")).unwrap();
        let provision = slot::decode(&image).unwrap();
        assert_eq!(provision.envelope_key, Some(&read_envelope_key(Path::new(&public)).unwrap()));
        assert_eq!(provision.force().unwrap().as_str(), "demo");
        assert!(said.contains("broker localhost"), "{said}");
        // The private half, and a point that is on no curve.
        std::fs::write(dir.path().join("off.pub"), "04".repeat(65)).unwrap();
        for wrong in [path.display().to_string(), dir.path().join("off.pub").display().to_string()] {
            let error = write(dir.path(), "pc-0001.key", &["--envelope-key", &wrong]).unwrap_err();
            assert!(error.to_string().contains("130 hexadecimal digits"), "{error}");
        }
    }

    #[test]
    fn another_devices_key_is_refused_with_what_to_do() {
        let dir = enrolled();
        let error = write(dir.path(), "pc-0002.key", &[]).unwrap_err();
        assert!(matches!(error, SlotArgumentsError::Slot(SlotError::ForeignKey)), "{error}");
        assert!(!dir.path().join("slot.bin").exists());
    }

    #[test]
    fn a_slot_can_make_a_device_less_real_and_never_more() {
        let dir = enrolled();
        assert!(write(dir.path(), "pc-0001.key", &["--mode", "test"]).is_ok());
        let error = write(dir.path(), "pc-0001.key", &["--mode", "actual"]).unwrap_err();
        assert!(matches!(error, SlotArgumentsError::MoreReal(Mode::Exercise, _)), "{error}");
    }
}
