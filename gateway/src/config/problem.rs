//! Mistakes in a configuration, gathered rather than thrown: **one run names them all**, each with its place, what is
//! wrong and what to do about it.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use miette::{GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteDiagnostic, NamedSource, Severity};

/// Where a value came from, so that a mistake can be shown in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A byte range of the file.
    File(Range<usize>),
    /// An environment variable.
    Environment(String),
    /// Nobody wrote it: a default, or something missing from the file as a whole.
    Absent,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// The configuration works but deserves a look (an expired revocation list).
    Warning,
    /// The configuration is refused.
    Mistake,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub weight: Weight,
    /// What is wrong, one sentence, naming the key.
    pub message: String,
    /// What to do about it.
    pub help: String,
    /// Where.
    pub origin: Origin,
}

/// Every mistake of a configuration, file by file (the configuration, then the roster), with the texts to show them in.
#[derive(Debug, Clone, Default)]
pub struct Problems {
    files: Vec<ProblemFile>,
}

#[derive(Debug, Clone)]
struct ProblemFile {
    name: String,
    text: String,
    list: Vec<Problem>,
}

/// Gathers problems while the configuration is read; shared by every section's reader.
#[derive(Debug, Default)]
pub(super) struct Report {
    list: RefCell<Vec<Problem>>,
    attached: RefCell<Vec<ProblemFile>>,
}

impl Report {
    /// Takes over the mistakes of another file.
    pub(super) fn attach(&self, problems: Problems) {
        self.attached.borrow_mut().extend(problems.files);
    }

    pub(super) fn mistake(&self, origin: &Origin, message: impl Into<String>, help: impl Into<String>) {
        self.push(Weight::Mistake, origin, message.into(), help.into());
    }

    pub(super) fn warning(&self, origin: &Origin, message: impl Into<String>, help: impl Into<String>) {
        self.push(Weight::Warning, origin, message.into(), help.into());
    }

    fn push(&self, weight: Weight, origin: &Origin, message: String, help: String) {
        let problem = Problem { weight, message, help, origin: origin.clone() };
        self.list.borrow_mut().push(problem);
    }

    /// Everything gathered, in the order of the file.
    pub(super) fn into_problems(self, path: &Path, text: &str) -> Problems {
        let mut list = self.list.into_inner();
        list.sort_by_key(|problem| match &problem.origin {
            Origin::File(span) => span.start,
            Origin::Environment(_) => usize::MAX - 1,
            Origin::Absent => usize::MAX,
        });
        list.dedup();
        let mut files = vec![ProblemFile { name: path.display().to_string(), text: text.to_owned(), list }];
        files.extend(self.attached.into_inner());
        Problems { files }
    }
}

impl Problems {
    /// The problems, in the order of the files.
    pub fn list(&self) -> impl Iterator<Item = &Problem> {
        self.files.iter().flat_map(|file| &file.list)
    }

    /// Whether any problem is a mistake rather than a warning.
    #[must_use]
    pub fn has_mistakes(&self) -> bool {
        self.mistake_count() > 0
    }

    /// How many problems refuse the configuration.
    #[must_use]
    pub fn mistake_count(&self) -> usize {
        self.list().filter(|problem| problem.weight == Weight::Mistake).count()
    }

    /// One line a problem, `file:line: what is wrong (what to do)`, for logs and machines.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.files.iter().flat_map(|file| {
            let line = |problem: &Problem| {
                format!("{}: {} ({})", file.place(&problem.origin), problem.message, problem.help)
            };
            file.list.iter().map(line)
        })
    }

    /// For people: every problem in its place in its file.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let theme = if colour { GraphicalTheme::unicode() } else { GraphicalTheme::unicode_nocolor() };
        let handler = GraphicalReportHandler::new_themed(theme).with_width(110).with_context_lines(1);
        let mut rendered = String::new();
        for file in &self.files {
            for problem in &file.list {
                let source = NamedSource::new(&file.name, file.text.clone());
                let report = miette::Report::new(file.diagnostic(problem)).with_source_code(source);
                handler
                    .render_report(&mut rendered, report.as_ref())
                    .expect("writing into a String cannot fail");
                rendered.push('\n');
            }
        }
        rendered
    }
}

impl ProblemFile {
    fn diagnostic(&self, problem: &Problem) -> MietteDiagnostic {
        let severity = match problem.weight {
            Weight::Warning => Severity::Warning,
            Weight::Mistake => Severity::Error,
        };
        let message = match &problem.origin {
            Origin::File(_) => problem.message.clone(),
            other => format!("{}: {}", self.place(other), problem.message),
        };
        let diagnostic = MietteDiagnostic::new(message).with_severity(severity).with_help(&problem.help);
        match &problem.origin {
            Origin::File(span) => diagnostic.with_label(LabeledSpan::underline(span.clone())),
            Origin::Environment(_) | Origin::Absent => diagnostic,
        }
    }

    fn place(&self, origin: &Origin) -> String {
        match origin {
            Origin::File(span) => {
                let before = self.text.get(..span.start).unwrap_or(&self.text);
                format!("{}:{}", self.name, before.matches('\n').count() + 1)
            }
            Origin::Environment(variable) => format!("environment variable {variable}"),
            Origin::Absent => self.name.clone(),
        }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in self.lines() {
            writeln!(formatter, "{line}")?;
        }
        Ok(())
    }
}
