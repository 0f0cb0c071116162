//! The file of shift assignments: [`ASSIGNMENTS_FILE`] in the data directory.
//!
//! **Nothing in it is ever changed: each line says who wears a device from when until when, who said so, and when.** A
//! line is fsynced before anybody hears of it. The gateway and `fieldpost people assign` append under one lock; the gateway
//! reads every second what was added. A line torn by a crash was never acknowledged: it is ended and left out.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock, fsync};
use serde::{Deserialize, Serialize};

use super::By;
use super::wearers::{Assignment, Wearer, Wearers};
use crate::live::unit::UnitId;

/// File name in the data directory.
pub const ASSIGNMENTS_FILE: &str = "assignments.ndjson";
/// Longest text of an assignment, in characters.
pub const TEXT_CHARS_MAX: usize = 64;
/// Longest assignment: a vehicle's for a year.
pub const LASTS_MS_MAX: u64 = 400 * 86_400_000;
/// Most at once: the largest force's shift.
pub const AT_ONCE_MAX: usize = 50_000;
/// Read at once.
const CHUNK_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// The assignments. Clones share them.
#[derive(Debug, Clone)]
pub struct Assignments {
    path: PathBuf,
    wearers: Wearers,
    read: Arc<Mutex<ReadTo>>,
}

#[derive(Debug, Default)]
struct ReadTo {
    bytes: u64,
    lines: u64,
    damaged: u64,
}

/// What somebody wants to be so.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAssignment {
    /// The force of the device.
    pub force: String,
    /// The device.
    pub device: String,
    /// Name or number of who wears it; empty: nobody.
    #[serde(default)]
    pub officer: String,
    /// What they are called on the radio.
    #[serde(default)]
    pub callsign: String,
    /// Which vehicle.
    #[serde(default)]
    pub vehicle: String,
    /// What they do.
    #[serde(default)]
    pub role: String,
    /// From, Unix ms.
    pub from_ms: u64,
    /// Until, Unix ms.
    pub until_ms: u64,
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    at_ms: u64,
    by: String,
    #[serde(flatten)]
    said: Said,
}

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    unit: String,
    officer: Option<Box<str>>,
    callsign: Option<Box<str>>,
    vehicle: Option<Box<str>>,
    role: Option<Box<str>>,
    from_ms: u64,
    until_ms: u64,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// Some are wrong; none was written.
    #[error("nothing was assigned: {}", .0.join("; "))]
    Wrong(Vec<String>),
    /// The operating system said no.
    #[error("cannot use the assignments {path}: {source}")]
    Files {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

/// Mistakes that are told at once.
const MISTAKES_MAX: usize = 20;

impl Assignments {
    /// The assignments in `data_dir`; the file need not be there yet.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self::of(data_dir.join(ASSIGNMENTS_FILE))
    }

    /// The assignments of a file or of a copy of it.
    #[must_use]
    pub fn of(path: PathBuf) -> Self {
        Self { path, wearers: Wearers::default(), read: Arc::default() }
    }

    /// What is known of who wears what, as of the last [`Assignments::refresh`].
    #[must_use]
    pub fn wearers(&self) -> &Wearers {
        &self.wearers
    }

    /// Reads what was added. Blocking. Lines that are none are counted and left out.
    ///
    /// # Errors
    /// [`AssignmentError::Files`].
    pub fn refresh(&self) -> Result<(), AssignmentError> {
        self.read_on().map_err(|source| self.failed(source))
    }

    /// How many lines were not readable.
    #[must_use]
    pub fn damaged_count(&self) -> u64 {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).damaged
    }

    /// Writes all of `new`, or nothing. Durable when it returns. Blocking.
    ///
    /// # Errors
    /// [`AssignmentError`].
    pub fn assign(&self, new: &[NewAssignment], by: &By) -> Result<(), AssignmentError> {
        let mistakes = new
            .iter()
            .enumerate()
            .filter_map(|(at, one)| one.said().err().map(|wrong| format!("assignment {}: {wrong}", at + 1)));
        let mut mistakes: Vec<String> = mistakes.take(MISTAKES_MAX).collect();
        if new.len() > AT_ONCE_MAX {
            mistakes.push(format!("at most {AT_ONCE_MAX} at once"));
        }
        if !mistakes.is_empty() {
            return Err(AssignmentError::Wrong(mistakes));
        }
        let mut text = Vec::new();
        for said in new.iter().filter_map(|one| one.said().ok()) {
            let line = Line { at_ms: by.at_ms, by: by.who.clone(), said };
            serde_json::to_writer(&mut text, &line).expect("strings and numbers are JSON");
            text.push(b'\n');
        }
        self.append(&text).map_err(|source| self.failed(source))?;
        self.refresh()
    }

    fn append(&self, text: &[u8]) -> io::Result<()> {
        let is_new = !self.path.exists();
        let mut options = OpenOptions::new();
        let mut file = options.read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        if ends_torn(&mut file)? {
            file.write_all(b"\n")?;
        }
        file.write_all(text)?;
        fsync(&file)?;
        if is_new && let Some(dir) = self.path.parent() {
            fsync(File::open(dir)?)?;
        }
        Ok(())
    }

    fn read_on(&self) -> io::Result<()> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        loop {
            file.seek(SeekFrom::Start(read.bytes))?;
            let mut text = Vec::new();
            Read::by_ref(&mut file).take(CHUNK_BYTES_MAX).read_to_end(&mut text)?;
            // Whole lines only: what follows the last one is being written.
            let Some(end) = text.iter().rposition(|byte| *byte == b'\n') else { return Ok(()) };
            let mut written = Vec::new();
            for line in text[..end].split(|byte| *byte == b'\n') {
                read.lines += 1;
                match parse(read.lines, line) {
                    Some(one) => written.push(one),
                    None => read.damaged += 1,
                }
            }
            read.bytes += end as u64 + 1;
            self.wearers.take(written);
        }
    }

    fn failed(&self, source: io::Error) -> AssignmentError {
        AssignmentError::Files { path: self.path.clone(), source }
    }
}

impl NewAssignment {
    /// Whose device.
    ///
    /// # Errors
    /// What is wrong with its name.
    pub fn unit(&self) -> Result<UnitId, String> {
        format!("{}/{}", self.force, self.device)
            .parse()
            .map_err(|_| "force and device are 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned())
    }

    fn said(&self) -> Result<Said, String> {
        let unit = self.unit()?.to_string();
        let text = |name: &str, text: &str| {
            let text = text.trim();
            if text.chars().count() > TEXT_CHARS_MAX || text.chars().any(char::is_control) {
                return Err(format!(
                    "`{name}` has at most {TEXT_CHARS_MAX} characters and no control characters"
                ));
            }
            Ok((!text.is_empty()).then(|| Box::from(text)))
        };
        if self.until_ms <= self.from_ms {
            return Err("it ends before it begins".to_owned());
        }
        if self.until_ms - self.from_ms > LASTS_MS_MAX {
            return Err("it lasts longer than 400 days: times are Unix milliseconds".to_owned());
        }
        Ok(Said {
            unit,
            officer: text("officer", &self.officer)?,
            callsign: text("callsign", &self.callsign)?,
            vehicle: text("vehicle", &self.vehicle)?,
            role: text("role", &self.role)?,
            from_ms: self.from_ms,
            until_ms: self.until_ms,
        })
    }
}

fn parse(n: u64, line: &[u8]) -> Option<Assignment> {
    let Line { at_ms, by, said } = serde_json::from_slice(line).ok()?;
    let wearer =
        Wearer { officer: said.officer, callsign: said.callsign, vehicle: said.vehicle, role: said.role };
    let (from_ms, until_ms) = (said.from_ms, said.until_ms);
    Some(Assignment { n, unit: said.unit.parse().ok()?, wearer, from_ms, until_ms, by, at_ms })
}

fn ends_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn new(device: &str, officer: &str, from_ms: u64, until_ms: u64) -> NewAssignment {
        NewAssignment {
            force: "met".to_owned(),
            device: device.to_owned(),
            officer: officer.to_owned(),
            callsign: "<b>MP1</b>".to_owned(),
            vehicle: String::new(),
            role: "sergeant".to_owned(),
            from_ms,
            until_ms,
        }
    }

    fn by() -> By {
        By { who: "eve".to_owned(), at_ms: 7 }
    }

    fn officer(assignments: &Assignments, at_ms: u64) -> Option<String> {
        let unit = "met/pc-1".parse().unwrap();
        assignments.wearers().at(&unit, at_ms)?.officer.map(|officer| officer.to_string())
    }

    #[test]
    fn what_is_assigned_is_durable_private_and_says_who_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let (gateway, command) = (Assignments::new(dir.path()), Assignments::new(dir.path()));
        gateway.refresh().unwrap();
        command.assign(&[new("pc-1", "anna", 100, 200)], &by()).unwrap();
        assert_eq!(officer(&gateway, 150), None, "not read yet");
        gateway.refresh().unwrap();
        assert_eq!(officer(&gateway, 150).as_deref(), Some("anna"));
        gateway.assign(&[new("pc-1", "ben", 150, 160)], &by()).unwrap();
        let path = dir.path().join(ASSIGNMENTS_FILE);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() == 2 && text.contains(r#""by":"eve""#) && text.contains("anna"));
        let reopened = Assignments::new(dir.path());
        reopened.refresh().unwrap();
        assert_eq!(officer(&reopened, 155).as_deref(), Some("ben"));
        assert_eq!(reopened.wearers().of_unit(&"met/pc-1".parse().unwrap(), 9)[0].n, 2);
    }

    #[test]
    fn one_mistake_and_nothing_is_written_and_all_mistakes_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let assignments = Assignments::new(dir.path());
        let bad = [
            new("pc-1", "anna", 1, 2),
            new("pc/1", "anna", 1, 2),
            new("pc-1", "anna", 2, 2),
            new("pc-1", &"x".repeat(65), 1, 2),
            new("pc-1", "anna", 1, u64::MAX),
        ];
        let said = assignments.assign(&bad, &by()).unwrap_err().to_string();
        for number in 2..=5 {
            assert!(said.contains(&format!("assignment {number}:")), "{said}");
        }
        assert!(!dir.path().join(ASSIGNMENTS_FILE).exists());
    }

    #[test]
    fn a_torn_line_is_left_out_and_does_not_swallow_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let assignments = Assignments::new(dir.path());
        assignments.assign(&[new("pc-1", "anna", 100, 200)], &by()).unwrap();
        let path = dir.path().join(ASSIGNMENTS_FILE);
        let mut text = fs::read(&path).unwrap();
        text.extend_from_slice(b"{\"at_ms\":7,\"by\":\"ev");
        fs::write(&path, &text).unwrap();
        let again = Assignments::new(dir.path());
        again.refresh().unwrap();
        assert_eq!((officer(&again, 150).as_deref(), again.damaged_count()), (Some("anna"), 0));
        again.assign(&[new("pc-1", "ben", 100, 200)], &by()).unwrap();
        assert_eq!((officer(&again, 150).as_deref(), again.damaged_count()), (Some("ben"), 1));
    }
}
