//! The only place that writes to standard output and standard error. A reader that goes away (`| head`) is not an error.

use std::io::{self, IsTerminal as _, Write as _};

/// Results go here.
pub(crate) fn out(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// A line of results.
pub(crate) fn line(text: &str) {
    out(&format!("{text}\n"));
}

/// Notes and errors go here.
pub(crate) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
}

/// A serialisable value as one pretty JSON document.
pub(crate) fn json(value: &impl serde::Serialize) {
    let text = serde_json::to_string_pretty(value).expect("the value has only plain fields");
    line(&text);
}

/// Whether standard error may be coloured: <https://no-color.org>.
pub(crate) fn error_colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
}
