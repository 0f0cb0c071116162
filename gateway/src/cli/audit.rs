//! `fieldpost audit`: the access record, read from the data directory, whether or not the gateway runs.
//!
//! Who may run this may read the files anyway: that they did is for the machine's own log of its administrators. Over the
//! network the record is read through the API, by role, and each reading is on record itself.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::PathBuf;

use super::args::{AboutArgs, AuditCommand, AuditDir, SpanArgs};
use super::config::load;
use super::exit::{CliError, Exit};
use super::output;
use crate::audit::Series;
use crate::audit::answer::{self, Place, Report, Seen, Span};
use crate::audit::disclosed::{Disclosures, Question, disclosed};
use crate::audit::export;
use crate::audit::files::{ACCESS_DIR, PURPOSE};
use crate::audit::pictures::PICTURES_DIR;
use crate::audit::rebuild::{RebuildError, rebuild};
use crate::audit::verify::{Verdict, verify};
use crate::people::{Assignments, Wearers};

struct Dirs {
    access: PathBuf,
    pictures: PathBuf,
}

pub(super) fn dispatch(command: &AuditCommand) -> Result<(), CliError> {
    match command {
        AuditCommand::Verify { dir, heads, json } => {
            let dirs = dirs(dir)?;
            let verdict = verify(&dirs.access, heads, &mut |_| Ok(())).map_err(|error| io(&error))?;
            if *json {
                output::json(&verdict);
            } else {
                print_verdict(&verdict);
            }
            judged(&verdict)
        }
        AuditCommand::Saw { dir, about, span, json } => {
            let (dirs, span) = (dirs(dir)?, span.span());
            let wearers = wearers(&dirs, about)?;
            let report = match (&about.unit, &about.officer) {
                (Some(unit), _) => answer::saw(dirs.place(), &wearers, unit, span),
                (None, officer) => {
                    let officer = officer.as_deref().unwrap_or_default();
                    let parts = wearers.worn_by(officer, (span.from_ms, span.until_ms), |_| true);
                    answer::saw_worn(dirs.place(), parts, span)
                }
            };
            let report = report.map_err(|error| io(&error))?;
            print_report(&report, *json);
            judged(&report.verification)
        }
        AuditCommand::Looks { dir, operator, span, json } => {
            let dirs = dirs(dir)?;
            let report = answer::looks(&dirs.access, operator, span.span()).map_err(|error| io(&error))?;
            print_report(&report, *json);
            judged(&report.verification)
        }
        AuditCommand::Disclosures { dir, config, sink, unit, span, json } => {
            let dir = match dir {
                Some(dir) => dir.clone(),
                None => load(config)?.data_dir.join(Series::Disclosures.name()),
            };
            if !dir.is_dir() {
                let message = format!("{} does not exist: nothing was sent to anybody yet", dir.display());
                return Err(CliError::new(Exit::Unavailable, message));
            }
            let question = Question { to: sink.clone(), unit: unit.clone(), key: None, span: span.span() };
            let answer = disclosed(&dir, &question).map_err(|error| io(&error))?;
            print_disclosures(&answer, *json);
            judged(&answer.verification)
        }
        AuditCommand::Rebuild { dir, stream, out } => rebuild_stream(&dirs(dir)?, *stream, out),
        AuditCommand::Export { dir, out, with_pictures } => {
            let exported = export::export(dirs(dir)?.place(), out, *with_pictures)
                .map_err(|error| CliError::new(Exit::CannotCreate, format!("{}: {error}", out.display())))?;
            output::line(&format!("{} files, {} bytes in {}", exported.files, exported.bytes, out.display()));
            output::line(&format!("manifest.sha256 {}", exported.manifest_sha256));
            print_verdict(&exported.verdict);
            judged(&exported.verdict)
        }
    }
}

fn rebuild_stream(dirs: &Dirs, stream: u64, out: &std::path::Path) -> Result<(), CliError> {
    let cannot = |error| CliError::new(Exit::CannotCreate, format!("{}: {error}", out.display()));
    let mut file = BufWriter::new(File::create_new(out).map_err(cannot)?);
    let rebuilt = rebuild(&dirs.access, &dirs.pictures, stream, &mut file).map_err(|error| match error {
        RebuildError::Io(error) => io(&error),
        error => CliError::new(Exit::Data, error),
    })?;
    file.flush().map_err(cannot)?;
    output::line(&format!("{} bytes in {}", rebuilt.bytes, out.display()));
    output::line(if rebuilt.is_exact {
        "these bytes were handed to the page's connection"
    } else {
        "the page was cut off, or is still open: it received a beginning of these bytes"
    });
    judged(&rebuilt.verdict)
}

impl Dirs {
    fn place(&self) -> Place<'_> {
        Place { access: &self.access, pictures: &self.pictures }
    }
}

impl SpanArgs {
    fn span(&self) -> Span {
        Span { from_ms: self.from.0, until_ms: self.to.0 }
    }
}

fn dirs(dir: &AuditDir) -> Result<Dirs, CliError> {
    let access = match &dir.access {
        Some(access) => access.clone(),
        None => load(&dir.config)?.data_dir.join(ACCESS_DIR),
    };
    if !access.is_dir() {
        let message = format!("{} does not exist: nobody has looked at anything yet", access.display());
        return Err(CliError::new(Exit::Unavailable, message));
    }
    // What lies beside `.` can be named only by its whole path.
    let access = access.canonicalize().map_err(|error| io(&error))?;
    let pictures = dir.pictures.clone().unwrap_or_else(|| access.with_file_name(PICTURES_DIR));
    Ok(Dirs { access, pictures })
}

/// Who wore what: beside the access record, in the data directory as in an export.
fn wearers(dirs: &Dirs, about: &AboutArgs) -> Result<Wearers, CliError> {
    let file = dirs.place().assignments();
    if about.officer.is_some() && !file.is_file() {
        let message = format!("{} is not there: nobody knows who wore what. Ask with --unit", file.display());
        return Err(CliError::new(Exit::Unavailable, message));
    }
    let assignments = Assignments::of(file);
    assignments.refresh()?;
    Ok(assignments.wearers().clone())
}

fn io(error: &std::io::Error) -> CliError {
    CliError::new(Exit::Io, format!("cannot read the access record: {error}"))
}

fn judged(verdict: &Verdict) -> Result<(), CliError> {
    match &verdict.broken {
        None => Ok(()),
        Some(broken) => {
            let message = format!(
                "the access record is broken at {} line {}: {}",
                broken.file, broken.line, broken.what
            );
            Err(CliError::new(Exit::Data, message))
        }
    }
}

fn print_verdict(verdict: &Verdict) {
    output::line(&format!(
        "{} lines in {} files, {} to {}, {} torn by a crash and ended",
        verdict.lines, verdict.files, verdict.first_n, verdict.last_n, verdict.torn
    ));
    if let Some(cut) = &verdict.cut {
        let by = match cut.said_by {
            Some(n) => format!("were removed by age, as line {n} says"),
            None => "are not here, and no line says that the gateway removed them".to_owned(),
        };
        output::line(&format!("lines up to {}:{} {by}", cut.n, cut.hash));
    }
    output::line(&format!("head {}:{}", verdict.last_n, verdict.last_hash));
    if verdict.broken.is_none() {
        output::line("the chain holds");
    }
}

fn print_report(report: &Report, json: bool) {
    if json {
        return output::json(report);
    }
    output::note(&format!("To be used for nothing but: {PURPOSE}."));
    for worn in report.worn.iter().flatten() {
        let who = worn.wearer.officer.as_deref().unwrap_or("nobody");
        let (from, until) = (time(worn.from_ms), time(worn.until_ms));
        output::note(&format!("{from} to {until}  {} was worn by {who}", worn.unit));
    }
    if report.worn_is_cut {
        output::note(
            "more was assigned in that time than is known here: ask for a shorter time, or see assignments.ndjson",
        );
    }
    report.looks.iter().for_each(print_seen);
    let cut = if report.is_cut { ", and more: ask for a shorter time" } else { "" };
    output::note(&format!("{} looks{cut}", report.looks.len()));
}

fn print_disclosures(answer: &Disclosures, json: bool) {
    if json {
        return output::json(answer);
    }
    output::note(&format!("To be used for nothing but: {PURPOSE}."));
    for one in &answer.disclosures {
        let what = &one.what;
        let again = if one.is_again { " again" } else { "" };
        output::line(&format!(
            "{}  {} records{again} to {} ({} {})  {} {}  {}",
            time(one.at_ms),
            what.count,
            what.to,
            what.kind,
            what.address,
            what.fields.join(","),
            if what.precision_m == 0 { "full".to_owned() } else { format!("{}m", what.precision_m) },
            what.keys.join(" "),
        ));
    }
    let cut = if answer.is_cut { ", and more lines: ask for a shorter time" } else { "" };
    let least = if answer.is_at_least { "at least " } else { "" };
    for (to, count) in &answer.records {
        output::note(&format!("{least}{count} different records to {to}{cut}"));
    }
}

fn print_seen(seen: &Seen) {
    let until = match seen.until_ms {
        Some(until_ms) if seen.is_cut_off => format!(" to {} (cut off)", time(until_ms)),
        Some(until_ms) => format!(" to {}", time(until_ms)),
        None if seen.what == "stream_opened" => " and is open".to_owned(),
        None => String::new(),
    };
    output::line(&format!(
        "{}{until}  {} from {} session {}  {}  {} of {}  {}{}{}{}",
        time(seen.at_ms),
        seen.operator,
        seen.from,
        seen.session,
        seen.what,
        seen.fields.join(","),
        seen.subjects.join(","),
        seen.precision,
        seen.of
            .map(|of| format!("  as of {} to {}", time(of.from_ms), time(of.until_ms)))
            .unwrap_or_default(),
        seen.account.as_ref().map(|of| format!("  account {}: {}", of.name, of.change)).unwrap_or_default(),
        seen.reason.as_ref().map(|reason| format!("  \"{reason}\"")).unwrap_or_default(),
    ));
    for shown in &seen.shown {
        let there = if shown.was_there { " (was on the screen)" } else { "" };
        output::line(&format!("    {}{there}  {}  {}", time(shown.at_ms), shown.event, shown.row));
    }
    if seen.shown_is_cut {
        output::line("    and more versions than are listed: ask for a shorter time");
    }
    if let Some(why) = &seen.not_known {
        output::line(&format!("    what exactly is not known: {why}"));
    }
}

fn time(at_ms: u64) -> String {
    let at_ms = i64::try_from(at_ms).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| at_ms.to_string(), |time| format!("{time:.3}"))
}
