//! Everything that the Commissioner, a court or an auditor needs, in one directory.
//!
//! ```text
//! OUT/access/...          the chain, its head, what came before it
//! OUT/pictures/...        the picture journal, if asked for: it holds positions
//! OUT/verification.json   what the verification found at the export
//! OUT/README.txt          what this is, what it may be used for, how to verify it without Fieldpost
//! OUT/manifest.sha256     SHA-256 of each file, as `sha256sum -c` reads it
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::answer::{Place, Span};
use super::files::{ACCESS_DIR, PURPOSE};
use super::hash;
use super::pictures::PICTURES_DIR;
use super::verify::{Verdict, verify};

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

struct Out {
    dir: PathBuf,
    manifest: String,
    files: usize,
    bytes: u64,
}

/// Copies the record into `out`, which must not exist.
///
/// # Errors
/// A file cannot be read, or `out` cannot be made.
pub fn export(place: Place<'_>, out: &Path, with_pictures: bool) -> io::Result<Exported> {
    make_dir(out)?;
    let mut copy = Out { dir: out.to_owned(), manifest: String::new(), files: 0, bytes: 0 };
    copy.dir(place.access, ACCESS_DIR)?;
    if with_pictures && place.pictures.is_dir() {
        copy.dir(place.pictures, PICTURES_DIR)?;
    }
    // The copy is judged, not the original: it may have grown since.
    let verdict = verify(&out.join(ACCESS_DIR), &[], &mut |_| Ok(()))?;
    let json = serde_json::to_vec_pretty(&verdict).map_err(io::Error::other)?;
    copy.file("verification.json", &json)?;
    copy.file("README.txt", readme().as_bytes())?;
    let manifest = std::mem::take(&mut copy.manifest);
    write_new(&out.join("manifest.sha256"), manifest.as_bytes())?;
    let manifest_sha256 = hash::of(manifest.as_bytes()).to_string();
    Ok(Exported { files: copy.files, bytes: copy.bytes, verdict, manifest_sha256 })
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

impl Out {
    fn dir(&mut self, from: &Path, name: &str) -> io::Result<()> {
        make_dir(&self.dir.join(name))?;
        let mut names = Vec::new();
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            if entry.file_type()?.is_file() && !entry.file_name().to_string_lossy().ends_with(".new") {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        // The head first: lines that are written meanwhile are behind it, never the other way round.
        names.sort_unstable_by_key(|name| (!name.starts_with("head"), name.clone()));
        for file in names {
            let text = fs::read(from.join(&file))?;
            self.file(&format!("{name}/{file}"), &text)?;
        }
        Ok(())
    }

    fn file(&mut self, name: &str, text: &[u8]) -> io::Result<()> {
        write_new(&self.dir.join(name), text)?;
        self.manifest.push_str(&format!("{}  {name}\n", hash::of(text)));
        self.files += 1;
        self.bytes += text.len() as u64;
        Ok(())
    }
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
pictures/               If present: what live pages were shown. It holds positions of people.
verification.json       What `fieldpost audit verify` found in this copy.
manifest.sha256         Verify with: sha256sum -c manifest.sha256

With Fieldpost:  fieldpost audit verify --dir access
                 fieldpost audit rebuild --dir access --pictures pictures --stream NUMBER --out FILE
"
    )
}
