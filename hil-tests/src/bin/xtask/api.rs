//! The API of a running gateway against its own document, by schemathesis: a party that we did not write makes up thousands
//! of calls, well-formed and not, and holds every answer to what the document says.

use crate::demo::Demo;
use crate::step::{Failure, command, run_command, tools_dir};

/// Runs schemathesis with a login of the demo, which has units, tracks and an alarm.
pub(crate) fn test() -> Result<(), Failure> {
    let mut demo = Demo::start(&["--units", "24"])?;
    let link = demo.login_link()?;
    let python = tools_dir().join("venv/bin/python");
    let mut check = command(python);
    check.arg("hil-tests/api/holds_its_document.py").args(["--login", &link]);
    let checked = run_command(&mut check);
    let ended = demo.interrupt();
    checked.and(ended)
}
