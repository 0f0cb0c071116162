//! Everything that the Commissioner, a court or an auditor needs, in one directory.
//!
//! ```text
//! OUT/access/...          the chain, its head, what came before it
//! OUT/assignments.ndjson  who wore which device: the chain names devices
//! OUT/pictures/...        the picture journal, if asked for: it holds positions
//! OUT/verification.json   what the verification found at the export
//! OUT/README.txt          what this is, what it may be used for, how to verify it without Fieldpost
//! OUT/manifest.sha256     SHA-256 of each file, as `sha256sum -c` reads it
//! ```
//! **A gateway at work never makes it fail, nor makes a hole in it**: what is written meanwhile is behind the head that was copied first;
//! of what is removed by age meanwhile, oldest first, all before it is left out too, and the line that says so is in the copy.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::answer::{Place, Span};
use super::files::{ACCESS_DIR, HEAD_FILE, PURPOSE};
use super::hash::{self, Hash};
use super::pictures::PICTURES_DIR;
use super::verify::{Verdict, verify};
use crate::people::assignments::ASSIGNMENTS_FILE;

/// Longest answer over the network: above a day of a large room. The command line has no such bound.
const LINES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// Files, the manifest not counted.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// What the record is worth.
    pub verdict: Verdict,
    /// SHA-256 of the manifest: say it where the export is handed over.
    pub manifest_sha256: String,
}

/// Reads a whole file; a test has one that is overtaken by the gateway.
type Read<'a> = &'a mut dyn FnMut(&Path) -> io::Result<Vec<u8>>;

struct Out<'a> {
    dir: PathBuf,
    read: Read<'a>,
    copied: Vec<Copied>,
}

struct Copied {
    /// As the manifest has it.
    name: String,
    sha256: Hash,
    bytes: u64,
}

/// Copies the record into `out`, which must not exist.
///
/// # Errors
/// A file cannot be read, or `out` cannot be made.
pub fn export(place: Place<'_>, out: &Path, with_pictures: bool) -> io::Result<Exported> {
    export_by(place, out, with_pictures, &mut |path| fs::read(path))
}

fn export_by(place: Place<'_>, out: &Path, with_pictures: bool, read: Read<'_>) -> io::Result<Exported> {
    make_dir(out)?;
    let mut copy = Out { dir: out.to_owned(), read, copied: Vec::new() };
    copy.dir(place.access, ACCESS_DIR)?;
    copy.file_if_there(&place.assignments(), ASSIGNMENTS_FILE)?;
    if with_pictures && place.pictures.is_dir() {
        copy.dir(place.pictures, PICTURES_DIR)?;
    }
    // The copy is judged, not the original: it may have grown since.
    let verdict = verify(&out.join(ACCESS_DIR), &[], &mut |_| Ok(()))?;
    let json = serde_json::to_vec_pretty(&verdict).map_err(io::Error::other)?;
    copy.file("verification.json", &json)?;
    copy.file("README.txt", readme().as_bytes())?;
    let lines = copy.copied.iter().map(|file| format!("{}  {}\n", file.sha256, file.name));
    let manifest: String = lines.collect();
    write_new(&out.join("manifest.sha256"), manifest.as_bytes())?;
    let manifest_sha256 = hash::of(manifest.as_bytes()).to_string();
    let bytes = copy.copied.iter().map(|file| file.bytes).sum();
    Ok(Exported { files: copy.copied.len(), bytes, verdict, manifest_sha256 })
}

/// The lines of a time as a JSON document, with the verdict over the whole record.
///
/// # Errors
/// A file cannot be read, or the answer is longer than [`LINES_BYTES_MAX`].
pub fn lines(access: &Path, span: Span) -> io::Result<Vec<u8>> {
    let mut out = format!("{{\"purpose\":\"{PURPOSE}\",\"lines\":[").into_bytes();
    let mut is_first = true;
    let verdict = verify(access, &[], &mut |line| {
        if (span.from_ms..=span.until_ms).contains(&line.at_ms) {
            if !std::mem::take(&mut is_first) {
                out.push(b',');
            }
            serde_json::to_writer(&mut out, line)?;
        }
        if out.len() > LINES_BYTES_MAX { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
    })?;
    out.extend_from_slice(b"],\"verification\":");
    serde_json::to_writer(&mut out, &verdict)?;
    out.push(b'}');
    Ok(out)
}

impl Out<'_> {
    fn dir(&mut self, from: &Path, name: &str) -> io::Result<()> {
        make_dir(&self.dir.join(name))?;
        // The head first: lines that are written meanwhile are behind it, never the other way round.
        self.file_if_there(&from.join(HEAD_FILE), &format!("{name}/{HEAD_FILE}"))?;
        let mut seen = BTreeSet::from([HEAD_FILE.to_owned()]);
        loop {
            let new: BTreeSet<String> = names_in(from)?.difference(&seen).cloned().collect();
            if new.is_empty() {
                return Ok(());
            }
            for file in &new {
                let copied = format!("{name}/{file}");
                if !self.file_if_there(&from.join(file), &copied)? {
                    self.drop_before(&copied)?;
                }
            }
            // A file may have begun meanwhile, whose first line says what was removed.
            seen.extend(new);
        }
    }

    /// Whether the file was still there.
    fn file_if_there(&mut self, from: &Path, name: &str) -> io::Result<bool> {
        match (self.read)(from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            text => self.file(name, &text?).map(|()| true),
        }
    }

    fn file(&mut self, name: &str, text: &[u8]) -> io::Result<()> {
        write_new(&self.dir.join(name), text)?;
        self.copied.push(Copied { name: name.to_owned(), sha256: hash::of(text), bytes: text.len() as u64 });
        Ok(())
    }

    /// A numbered file was removed before it could be copied: those before it were so, or will be.
    fn drop_before(&mut self, gone: &str) -> io::Result<()> {
        let series = gone.rsplit_once('-').map(|(series, _)| series);
        let is_before = |file: &mut Copied| {
            file.name.rsplit_once('-').map(|(series, _)| series) == series && file.name.as_str() < gone
        };
        let dropped: Vec<Copied> = self.copied.extract_if(.., is_before).collect();
        dropped
            .iter()
            .filter(|_| series.is_some())
            .try_for_each(|file| fs::remove_file(self.dir.join(&file.name)))
    }
}

/// Files that are finished or grow: none that is being made.
fn names_in(dir: &Path) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // A file that has gone meanwhile is none, and a link may lead anywhere.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file && !name.ends_with(".new") {
            names.insert(name);
        }
    }
    Ok(names)
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(dir)
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text)
}

fn readme() -> String {
    format!(
        "The access record of a Fieldpost gateway: who was shown whose position, when, and what exactly.

It may be used for nothing but: {PURPOSE}.

access/access-*.ndjson  One JSON object a line, one chain across the files in order of their names.
                        hash = SHA-256(hash of the line before, as 32 bytes, then this line up to ,\"hash\":\").
                        The first line of each file names the hash before it (file.previous).
access/head.json        The newest line when this was exported.
access/before-chain.ndjson  If present: the record of a version before the chain, named with its SHA-256 in the chain.
assignments.ndjson      If present: who wore which device from when until when, who said so and when. The later line holds.
pictures/               If present: what live pages were shown. It holds positions of people.
verification.json       What `fieldpost audit verify` found in this copy.
manifest.sha256         Verify with: sha256sum -c manifest.sha256

With Fieldpost, which finds the rest beside the directory access:
                 fieldpost audit verify --dir access
                 fieldpost audit saw --dir access --officer NAME --from TIME --to TIME
                 fieldpost audit rebuild --dir access --stream NUMBER --out FILE
"
    )
}

#[cfg(test)]
mod tests {
    use super::super::files::{AccessFiles, Journal as _, KeepLines, file_name, indices};
    use super::super::line::Note;
    use super::super::look::What;
    use super::*;
    use crate::retention::Holds;

    const DAY_MS: u64 = 86_400_000;

    /// A chain of a file a day.
    fn record(data_dir: &Path, days: u64) -> AccessFiles {
        let keep = KeepLines::days(9, Holds::new(data_dir));
        let mut files = AccessFiles::new(data_dir).kept(keep);
        (0..days).for_each(|day| _ = files.append(&[Note::own(day * DAY_MS, What::GatewayStarted)]).unwrap());
        files
    }

    #[test]
    fn a_file_that_is_removed_by_age_meanwhile_leaves_no_hole_and_the_copy_says_by_whom() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = record(dir.path(), 6);
        let (access, out) = (dir.path().join(ACCESS_DIR), dir.path().join("out"));
        assert_eq!(indices(&access).unwrap(), [1, 2, 3, 4, 5, 6]);
        let third = access.join(file_name(3));
        let mut read = |path: &Path| {
            if path == third {
                // The first three are due, one each time somebody looks.
                for look in 0..3 {
                    files.append(&[Note::own(12 * DAY_MS + look * 10_000, What::GatewayStarted)]).unwrap();
                }
            }
            fs::read(path)
        };
        let place = Place { access: &access, pictures: &dir.path().join("no pictures") };
        let exported = export_by(place, &out, true, &mut read).unwrap();
        assert_eq!(indices(&out.join(ACCESS_DIR)).unwrap(), [4, 5, 6, 7], "with the file that says it");
        assert_eq!(exported.verdict.broken, None);
        let cut = exported.verdict.cut.unwrap();
        assert_eq!((cut.n, cut.said_by.is_some()), (6, true), "two lines a day, of three days");
        let manifest = fs::read_to_string(out.join("manifest.sha256")).unwrap();
        assert!(
            manifest.contains("access/access-000004") && !manifest.contains("access-000002"),
            "{manifest}"
        );
        assert_eq!(exported.files, manifest.lines().count());
    }
}
