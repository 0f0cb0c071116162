//! `roster.toml`: the names people know units by. Display only: a device without an entry is served all the same, under
//! its device id.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use fieldpost_protocol::{DeviceId, ForceId};

use super::problem::{Problems, Report};
use super::section::Section;
use super::tree;

/// Most units in a roster: the largest force registers 40,000 devices.
pub const UNITS_MAX: usize = 100_000;
/// Largest roster file: [`UNITS_MAX`] entries of 160 bytes.
pub const ROSTER_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Longest callsign in bytes.
pub const CALLSIGN_BYTES_MAX: usize = 64;

/// Names and kinds by device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roster {
    units: HashMap<(ForceId, DeviceId), RosterUnit>,
}

/// One `[[unit]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterUnit {
    /// What people call it on the radio.
    pub callsign: String,
    /// Which symbol it gets.
    pub kind: UnitKind,
}

/// Kind of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnitKind {
    /// A person with a body-worn device.
    Officer,
    /// A vehicle.
    Vehicle,
}

impl UnitKind {
    /// `officer` or `vehicle`, as in the file and the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Officer => "officer",
            Self::Vehicle => "vehicle",
        }
    }
}

impl Roster {
    /// The entry of a device, if it has one.
    #[must_use]
    pub fn unit(&self, force: &ForceId, device: &DeviceId) -> Option<&RosterUnit> {
        // Two short strings: cheaper than a map of maps, and only used when a unit appears.
        self.units.get(&(force.clone(), device.clone()))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.units.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Reads a roster file.
    ///
    /// # Errors
    /// Every mistake, with its line.
    pub fn load(path: &Path) -> Result<Self, Problems> {
        let report = Report::default();
        let text = match read_bounded(path) {
            Ok(text) => text,
            Err(error) => {
                report.mistake(
                    &super::Origin::Absent,
                    format!("cannot read the roster: {error}"),
                    "check `control_room.roster`",
                );
                return Err(report.into_problems(path, ""));
            }
        };
        Self::from_text(path, &text)
    }

    /// Checks `text` as the contents of `path`.
    ///
    /// # Errors
    /// Every mistake, with its line.
    pub fn from_text(path: &Path, text: &str) -> Result<Self, Problems> {
        let report = Report::default();
        let table = tree::parse(text, &report);
        let root = Section::root(&table, Path::new(""), &report);
        let mut units = HashMap::new();
        let entries = root.sections("unit");
        if entries.len() > UNITS_MAX {
            report.mistake(
                root.origin(),
                format!("{} units; at most {UNITS_MAX} are kept", entries.len()),
                "split the force over two gateways",
            );
        }
        for entry in entries.into_iter().take(UNITS_MAX) {
            if let Some((key, unit)) = read_unit(&entry) {
                if units.contains_key(&key) {
                    report.mistake(
                        entry.origin(),
                        format!("{}/{} is listed twice", key.0, key.1),
                        "remove one of the two",
                    );
                }
                units.insert(key, unit);
            }
            entry.finish();
        }
        root.finish();
        let problems = report.into_problems(path, text);
        if problems.has_mistakes() { Err(problems) } else { Ok(Self { units }) }
    }
}

fn read_unit(entry: &Section<'_>) -> Option<((ForceId, DeviceId), RosterUnit)> {
    let force =
        entry.required_text("force", "name the force, as in [[force]] of the gateway's configuration");
    let device = entry.required_text("device", "name the device id, as in its certificate");
    let callsign = entry.required_text("callsign", "write what people call the unit");
    let kind = entry.choice("kind", &[("officer", UnitKind::Officer), ("vehicle", UnitKind::Vehicle)]);
    let force = force.and_then(|force| entry.identity(&force, ForceId::try_new));
    let device = device.and_then(|device| entry.identity(&device, DeviceId::try_new));
    let callsign = callsign.filter(|callsign| {
        let fits = !callsign.value.trim().is_empty()
            && callsign.value.len() <= CALLSIGN_BYTES_MAX
            && !callsign.value.chars().any(char::is_control);
        if !fits {
            entry.report().mistake(
                &callsign.origin,
                format!("`{}` must be 1 to {CALLSIGN_BYTES_MAX} bytes of printable text", callsign.key),
                "shorten it",
            );
        }
        fits
    })?;
    Some(((force?, device?), RosterUnit { callsign: callsign.value, kind }))
}

fn read_bounded(path: &Path) -> std::io::Result<String> {
    let bytes = fs::metadata(path)?.len();
    if bytes > ROSTER_BYTES_MAX {
        return Err(std::io::Error::other(format!(
            "it has {bytes} bytes; at most {ROSTER_BYTES_MAX} are read"
        )));
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_by_force_and_device() {
        let text = "[[unit]]\nforce = 'sim'\ndevice = 'pc-1'\ncallsign = 'PC 1'\n[[unit]]\nforce='sim'\ndevice='v-1'\ncallsign='Van 1'\nkind='vehicle'\n";
        let roster = Roster::from_text(Path::new("roster.toml"), text).unwrap();
        let find = |device: &str| {
            roster.unit(&ForceId::try_new("sim").unwrap(), &DeviceId::try_new(device).unwrap()).cloned()
        };
        assert_eq!(find("pc-1").unwrap().kind, UnitKind::Officer);
        assert_eq!(find("v-1").unwrap(), RosterUnit { callsign: "Van 1".into(), kind: UnitKind::Vehicle });
        assert_eq!(find("v-2"), None);
    }

    #[test]
    fn every_mistake_of_a_roster_is_named_with_its_line() {
        let text = "[[unit]]\nforce = 'a b'\ndevice = 'd'\ncallsign = ''\n[[unit]]\nforce='sim'\ndevice='d'\ncalsign='x'\nkind='horse'\n";
        let problems = Roster::from_text(Path::new("roster.toml"), text).unwrap_err();
        let lines: Vec<_> = problems.lines().collect();
        assert_eq!(lines.len(), 5, "{lines:#?}");
        assert!(lines[0].starts_with("roster.toml:2: `unit[0].force`"), "{}", lines[0]);
        assert!(lines.iter().any(|line| line.contains("did you mean `callsign`")), "{lines:#?}");
    }
}
