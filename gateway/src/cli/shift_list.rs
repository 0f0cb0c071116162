//! A shift list from a file: CSV, or TOML with `[[assignment]]`.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::exit::{CliError, Exit};
use crate::people::NewAssignment;

/// Largest list: the largest force's shift, 50,000 lines of 200 bytes.
const LIST_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// One line, with times as people write them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    force: String,
    device: String,
    #[serde(default)]
    officer: String,
    #[serde(default)]
    callsign: String,
    #[serde(default)]
    vehicle: String,
    #[serde(default)]
    role: String,
    from: String,
    until: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    assignment: Vec<Row>,
}

/// Reads a list by its file's ending.
pub(super) fn read(path: &Path) -> Result<Vec<NewAssignment>, CliError> {
    let wrong = |said: String| CliError::new(Exit::Data, format!("{}: {said}", path.display()));
    let bytes = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if bytes > LIST_BYTES_MAX {
        return Err(wrong(format!("{bytes} bytes; at most {LIST_BYTES_MAX} are read: split the list")));
    }
    let text = fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("csv") => csv(&text).map_err(wrong),
        Some("toml") => toml(&text).map_err(wrong),
        _ => Err(wrong("a list ends in .csv or .toml".to_owned())),
    }
}

/// RFC 3339 with an offset, or Unix milliseconds.
pub(super) fn time_ms(text: &str) -> Result<u64, String> {
    if let Ok(at_ms) = text.parse::<u64>() {
        return Ok(at_ms);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    let at_ms = time.ok().and_then(|time| u64::try_from(time.as_millisecond()).ok());
    at_ms.ok_or_else(|| format!("`{text}` is no time: write 2026-11-22T06:00:00Z or Unix milliseconds"))
}

fn csv(text: &str) -> Result<Vec<NewAssignment>, String> {
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let rows = reader.deserialize::<Row>();
    rows.map(|row| row.map_err(|error| error.to_string())?.assignment()).collect()
}

fn toml(text: &str) -> Result<Vec<NewAssignment>, String> {
    let document: Document = toml::from_str(text).map_err(|error| error.to_string())?;
    document.assignment.into_iter().map(Row::assignment).collect()
}

impl Row {
    fn assignment(self) -> Result<NewAssignment, String> {
        let (from_ms, until_ms) = (time_ms(&self.from)?, time_ms(&self.until)?);
        let Self { force, device, officer, callsign, vehicle, role, .. } = self;
        Ok(NewAssignment { force, device, officer, callsign, vehicle, role, from_ms, until_ms })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_the_same_as_csv_and_as_toml() {
        let from_csv = csv("force,device,officer,callsign,vehicle,role,from,until\n\
             met, pc-1,\"Smith, Anna\",MP1,,sergeant,2026-11-22T06:00:00Z,2026-11-22T14:00:00+00:00\n");
        let from_toml = toml(
            "[[assignment]]\nforce = \"met\"\ndevice = \"pc-1\"\nofficer = \"Smith, Anna\"\ncallsign = \"MP1\"\n\
             role = \"sergeant\"\nfrom = \"1795327200000\"\nuntil = \"2026-11-22T14:00:00Z\"\n",
        );
        assert_eq!(from_csv, from_toml);
        let one = &from_csv.unwrap()[0];
        assert_eq!((one.officer.as_str(), one.until_ms - one.from_ms), ("Smith, Anna", 8 * 3_600_000));
    }

    #[test]
    fn what_is_no_list_is_refused_with_its_line() {
        let head = "force,device,from,until\n";
        for (bad, said) in [
            (format!("{head}met,pc-1,tomorrow,1\n"), "`tomorrow` is no time"),
            (format!("{head}met,pc-1,1\n"), "line: 2"),
            ("force,device,from,until,salary\nmet,pc-1,1,2,9\n".to_owned(), "salary"),
            ("device,from,until\npc-1,1,2\n".to_owned(), "force"),
        ] {
            let error = csv(&bad).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        assert!(toml("assignment = 1").is_err());
    }
}
