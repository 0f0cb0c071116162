//! Everything the program says. Results go to standard output, progress to standard error; nothing else may print.

use std::io::{IsTerminal, Write};

/// Prints a result, with a line end.
#[expect(clippy::print_stdout, reason = "the one place where results are printed")]
pub fn result(text: &str) {
    println!("{text}");
}

/// Prints a line of progress.
#[expect(clippy::print_stderr, reason = "the one place where progress is printed")]
pub fn progress(text: &str) {
    clear_live_line();
    eprintln!("{text}");
}

/// Replaces the living line at the bottom of a terminal; says nothing where there is no terminal.
pub fn live_line(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        // A terminal that cannot be written to has nobody in front of it.
        let _ = write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush());
    }
}

fn clear_live_line() {
    live_line("");
}
