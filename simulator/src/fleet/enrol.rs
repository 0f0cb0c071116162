//! Certificates for simulated devices. **Nothing here can name the mode `actual`**: a simulated device can never look
//! like real duty, because it is never enrolled for it.

use std::time::{SystemTime, UNIX_EPOCH};

use fieldpost_gateway::pki::{Authority, AuthorityError, DeviceRequest, Issued, Validity};
use fieldpost_protocol::{DeviceId, ForceId, IdError, Mode};

/// What simulated devices may be enrolled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolment {
    /// An exercise: shown to operators, marked as such.
    Exercise,
    /// A test.
    Test,
}

impl Enrolment {
    /// The mode in the certificate and in every frame.
    #[must_use]
    pub fn mode(self) -> Mode {
        match self {
            Self::Exercise => Mode::Exercise,
            Self::Test => Mode::Test,
        }
    }
}

/// Certificates live this long: a demo, or a test rig left over a weekend.
const VALID_DAYS: u32 = 7;

/// Why devices could not be enrolled.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// A device or force name is not an identity.
    #[error("\"{0}\" is not an identity: {1}")]
    Name(String, IdError),
    /// The authority refused.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Issues a certificate for every device, replacing those of an earlier run. Blocks: thousands of signatures take seconds.
///
/// # Errors
/// [`EnrolError`].
pub fn enrol(
    authority: &mut Authority,
    force: &str,
    devices: &[String],
    enrolment: Enrolment,
) -> Result<Vec<Issued>, EnrolError> {
    let force = ForceId::try_new(force).map_err(|error| EnrolError::Name(force.to_owned(), error))?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let validity = Validity::days_from(i64::try_from(now_s).unwrap_or(i64::MAX), VALID_DAYS);
    let requests: Result<Vec<DeviceRequest>, EnrolError> = devices
        .iter()
        .map(|device| {
            let device =
                DeviceId::try_new(device).map_err(|error| EnrolError::Name(device.clone(), error))?;
            Ok(DeviceRequest {
                force: force.clone(),
                device,
                mode: enrolment.mode(),
                validity,
                replace: true,
            })
        })
        .collect();
    Ok(authority.issue_devices(&requests?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_enrolment_is_ever_actual() {
        for enrolment in [Enrolment::Exercise, Enrolment::Test] {
            assert!(!enrolment.mode().permits(Mode::Actual));
        }
    }
}
