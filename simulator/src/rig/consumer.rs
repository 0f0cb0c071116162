//! The reference consumer of docs/sinks/nats.md, as it stands there: a program in another language, over a library that is not
//! ours, with a store of its own.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{RigError, error::tool};

const PAGE: &str = include_str!("../../../docs/sinks/nats.md");
const IDS: &str =
    "import sqlite3; [print(row[0]) for row in sqlite3.connect('seen.db').execute('SELECT id FROM event')]";

/// Its folder, and the program if it runs. Ended when dropped.
pub(super) struct Consumer {
    python: PathBuf,
    dir: PathBuf,
    program: Option<Child>,
}

impl Consumer {
    /// Does not start it. `dir` gets its store.
    pub(super) fn new(python: &Path, dir: &Path) -> Result<Self, RigError> {
        fs::create_dir_all(dir).map_err(RigError::io("make the consumer's folder"))?;
        let program = PAGE.split_once("```python\n").and_then(|(_, from)| from.split_once("```"));
        let (program, _) = program.ok_or_else(|| RigError::Cannot {
            what: "find the consumer".to_owned(),
            why: "docs/sinks/nats.md has no Python program".to_owned(),
        })?;
        fs::write(dir.join("consume.py"), program).map_err(RigError::io("write the consumer"))?;
        Ok(Self { python: python.to_path_buf(), dir: dir.to_path_buf(), program: None })
    }

    /// Starts it (again) on its store.
    pub(super) fn run(&mut self, urls: &[String]) -> Result<(), RigError> {
        self.kill()?;
        let log = fs::File::options().create(true).append(true).open(self.dir.join("consume.log"));
        let log = log.map_err(RigError::io("make a log"))?;
        let program = Command::new(&self.python)
            .arg("consume.py")
            .args(urls)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(RigError::io("start the consumer (python3 with nats-py)"))?;
        self.program = Some(program);
        Ok(())
    }

    /// `kill -9`, if it runs.
    pub(super) fn kill(&mut self) -> Result<(), RigError> {
        if let Some(mut program) = self.program.take() {
            program.kill().and_then(|()| program.wait()).map_err(RigError::io("kill the consumer"))?;
        }
        Ok(())
    }

    /// Every id in its store: the store has each once.
    fn ids(&self) -> Result<HashSet<String>, RigError> {
        let asked = Command::new(&self.python).args(["-c", IDS]).current_dir(&self.dir).output();
        let said = asked.map_err(RigError::io("ask the consumer's store"))?;
        if !said.status.success() && self.dir.join("seen.db").exists() {
            let why = String::from_utf8_lossy(&said.stderr).into_owned();
            return Err(RigError::Cannot { what: "ask the consumer's store".to_owned(), why });
        }
        Ok(String::from_utf8_lossy(&said.stdout).lines().map(str::to_owned).collect())
    }

    /// Waits until every one of `keys` is in its store; what is there after `most` in any case.
    pub(super) async fn ids_with(
        &mut self,
        keys: &[String],
        most: Duration,
    ) -> Result<HashSet<String>, RigError> {
        let start = Instant::now();
        loop {
            let ids = self.ids()?;
            let ended = matches!(self.program.as_mut().map(Child::try_wait), Some(Ok(Some(_))));
            if ended {
                let said = tool(&["tail", "-n", "5", &self.dir.join("consume.log").to_string_lossy()])?;
                return Err(RigError::Cannot { what: "keep the consumer running".to_owned(), why: said });
            }
            if keys.iter().all(|key| ids.contains(key)) || start.elapsed() > most {
                return Ok(ids);
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        if self.kill().is_err() {
            tracing::warn!("the consumer could not be ended");
        }
    }
}
