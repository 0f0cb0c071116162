//! The programs that our pages hand to whoever receives events, run as they stand there.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A program of a page. Ended when dropped.
pub(crate) struct Program {
    child: Child,
    said: PathBuf,
}

impl Program {
    /// Starts the Python program of `page` in `dir`, as `name`. Needs a `python3` with the packages of `cargo xtask tools`.
    pub(crate) fn start(page: &str, dir: &Path, name: &str, arguments: &[&str]) -> Self {
        let (path, said) = (dir.join(name), dir.join(format!("{name}.out")));
        std::fs::write(&path, python(page)).unwrap();
        let out = std::fs::File::create(&said).unwrap();
        let child = Command::new("python3")
            .arg(&path)
            .args(arguments)
            .current_dir(dir)
            .stdin(Stdio::null())
            .stderr(out.try_clone().unwrap())
            .stdout(out)
            .spawn()
            .expect("python3 is needed: run `cargo xtask test`");
        Self { child, said }
    }

    /// What it has printed so far. Panics if it has ended: it runs for ever.
    pub(crate) fn said(&mut self) -> String {
        let said = std::fs::read_to_string(&self.said).unwrap();
        assert!(self.child.try_wait().unwrap().is_none(), "the program ended: {said}");
        said
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The first Python program of a page.
fn python(page: &str) -> &str {
    let (_, from) = page.split_once("```python\n").expect("the page has a Python program");
    from.split_once("```").expect("it ends").0
}
