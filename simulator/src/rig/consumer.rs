//! The reference consumer of docs/sinks/nats.md, as it stands there: a program in another language, over libraries that are not
//! ours, into a database of its own.

use std::{
    collections::HashSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use super::{RigError, error::tool, postgres::Beside};

const PAGE: &str = include_str!("../../../docs/sinks/nats.md");

/// Its folder, and the program if it runs. Ended when dropped.
pub(super) struct Consumer {
    python: PathBuf,
    dir: PathBuf,
    database_url: String,
    program: Option<Child>,
}

impl Consumer {
    /// Does not start it. `dir` gets its log.
    pub(super) fn new(python: &Path, dir: &Path, database: &Beside) -> Result<Self, RigError> {
        fs::create_dir_all(dir).map_err(RigError::io("make the consumer's folder"))?;
        let program = PAGE.split_once("```python\n").and_then(|(_, from)| from.split_once("```"));
        let (program, _) = program.ok_or_else(|| RigError::Cannot {
            what: "find the consumer".to_owned(),
            why: "docs/sinks/nats.md has no Python program".to_owned(),
        })?;
        fs::write(dir.join("consume.py"), program).map_err(RigError::io("write the consumer"))?;
        let (python, dir) = (python.to_path_buf(), dir.to_path_buf());
        Ok(Self { python, dir, database_url: database.url_of_consumer(), program: None })
    }

    /// Starts it (again) on its database.
    pub(super) fn run(&mut self, urls: &[String]) -> Result<(), RigError> {
        self.kill()?;
        let log = fs::File::options().create(true).append(true).open(self.dir.join("consume.log"));
        let log = log.map_err(RigError::io("make a log"))?;
        let program = Command::new(&self.python)
            .arg("consume.py")
            .arg(&self.database_url)
            .args(urls)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(RigError::io("start the consumer (python3 with nats-py and asyncpg)"))?;
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

    /// Waits until every one of `keys` is in its database: what is killed then has a place to go on from.
    pub(super) async fn has_stored(
        &mut self,
        database: &Beside,
        keys: &[String],
        most: Duration,
    ) -> Result<(), RigError> {
        let ids = self.ids_with(database, keys, most).await?;
        if keys.iter().all(|key| ids.contains(key)) { Ok(()) } else { Err(RigError::Hang(most)) }
    }

    /// Waits until every one of `keys` is in its database; what is there after `most` in any case.
    pub(super) async fn ids_with(
        &mut self,
        database: &Beside,
        keys: &[String],
        most: Duration,
    ) -> Result<HashSet<String>, RigError> {
        let start = Instant::now();
        loop {
            let ids = database.ids_of_consumer()?;
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
