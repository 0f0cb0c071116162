//! A PostgreSQL server of a test's own, from Debian's packages, in a temporary directory.
//!
//! **It never outlives the test**: a shell watches a pipe whose other end this process has, and ends the server when it
//! closes, whatever became of us. PostgreSQL refuses to run as root; as root it runs as the packages' user `postgres`.
//!
//! The end-to-end tests and `fieldpost-sim rig postgres` have the same file in them.

use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

/// Where Debian puts the server's programs.
const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";
/// A start on a busy machine stays far below.
const START_MAX: Duration = Duration::from_secs(60);

/// A server. Ended when dropped. Not every user of this file has a use for all of it.
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    port: u16,
    options: Vec<String>,
    running: Option<Child>,
}

impl Cluster {
    /// Makes a server with a database `postgres` that has PostGIS, and waits until it answers. `options` are settings
    /// `name=value`; everybody on loopback is let in as whom they say.
    pub(crate) fn start(options: &[&str]) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("fieldpost-postgres-").tempdir()?;
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(dir.path()))?;
        }
        let data = dir.path().join("data");
        let arguments = ["-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "--no-sync", "-D"];
        run(program("initdb").args(arguments).arg(&data))?;
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut cluster = Self { dir, port: 0, options, running: None };
        // Another process may take the port between our look and the server's.
        let mut attempts_count = 0;
        loop {
            cluster.port = quiet_port();
            match cluster.restart() {
                Ok(()) => break,
                Err(error) if attempts_count >= 3 => return Err(error),
                Err(_) => attempts_count += 1,
            }
        }
        cluster.sql("postgres", "CREATE EXTENSION postgis")?;
        Ok(cluster)
    }

    /// The server's port on 127.0.0.1.
    #[allow(dead_code, reason = "the gateway's tests have no use for it")]
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Writes a file of the server's into its folder: a certificate, a setting.
    #[allow(dead_code, reason = "the unit tests alone have a use for it")]
    pub(crate) fn put(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        if is_root() {
            run(Command::new("chown").arg("postgres:").arg(&path))?;
        }
        Ok(path)
    }

    /// The url of `database` for `user`.
    pub(crate) fn url(&self, user: &str, database: &str) -> String {
        format!("postgresql://{user}@127.0.0.1:{}/{database}", self.port)
    }

    /// The server's first process: a signal to it is one to the server.
    pub(crate) fn process(&self) -> io::Result<u32> {
        let text = std::fs::read_to_string(self.dir.path().join("data/postmaster.pid"))?;
        text.lines()
            .next()
            .and_then(|line| line.parse().ok())
            .ok_or_else(|| io::Error::other("no process id"))
    }

    /// What the server has said since its last start.
    #[allow(dead_code, reason = "the gateway's tests have no use for it")]
    pub(crate) fn log(&self) -> io::Result<String> {
        std::fs::read_to_string(self.dir.path().join("log"))
    }

    /// Runs SQL as the administrator and returns what psql prints, unaligned.
    pub(crate) fn sql(&self, database: &str, sql: &str) -> io::Result<String> {
        let host = self.dir.path().to_string_lossy();
        let port = self.port.to_string();
        let mut psql = program("psql");
        psql.args([
            "-XAtq",
            "-v",
            "ON_ERROR_STOP=1",
            "-U",
            "postgres",
            "-h",
            &host,
            "-p",
            &port,
            "-d",
            database,
        ])
        .args(["-c", sql]);
        run(&mut psql)
    }

    /// Sends the first process a signal by its name.
    pub(crate) fn signal(&self, name: &str) -> io::Result<()> {
        run(Command::new("kill").args([&format!("-{name}"), &self.process()?.to_string()])).map(drop)
    }

    /// `kill -9` of the first process; returns when it is gone.
    #[allow(dead_code, reason = "the gateway's tests have no use for it")]
    pub(crate) fn kill(&mut self) -> io::Result<()> {
        self.signal("KILL")?;
        self.ended()
    }

    /// The administrator's stop: sessions are cut, what is committed is written.
    pub(crate) fn stop(&mut self) -> io::Result<()> {
        self.signal("INT")?;
        self.ended()
    }

    fn ended(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.running.take() {
            drop(child.stdin.take());
            child.wait()?;
        }
        Ok(())
    }

    /// Starts it on the same data and port, and waits until it answers.
    #[allow(clippy::disallowed_methods, reason = "other processes: they can only be looked at again")]
    pub(crate) fn restart(&mut self) -> io::Result<()> {
        let began = Instant::now();
        loop {
            self.ended()?;
            match self.spawn() {
                // Sessions of a server that was killed are on their way out.
                Err(error) if error.to_string().contains("still in use") && began.elapsed() < START_MAX => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                done => return done,
            }
        }
    }

    fn spawn(&mut self) -> io::Result<()> {
        let data = self.dir.path().join("data");
        // The shell ends the server when its input closes, and itself when the server has ended.
        // By descriptor 3: what a shell starts in the background has no input of its own.
        let script = "exec 3<&0; \"$@\" </dev/null 3<&- & server=$!; (read _ <&3; kill -INT $server) & watch=$!; \
                      wait $server; kill $watch 2>/dev/null";
        let mut command = unprivileged("sh");
        command.args(["-c", script, "sh"]).arg(Path::new(PROGRAMS).join("postgres")).arg("-D").arg(data);
        command.arg("-k").arg(self.dir.path()).args(["-p", &self.port.to_string()]);
        command.args(["-c", "listen_addresses=127.0.0.1"]);
        for option in &self.options {
            command.args(["-c", option]);
        }
        let log = std::fs::File::create(self.dir.path().join("log"))?;
        self.running = Some(command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log).spawn()?);
        self.until_it_answers()
    }

    #[allow(clippy::disallowed_methods, reason = "a process of its own: it can only be asked again")]
    fn until_it_answers(&mut self) -> io::Result<()> {
        let began = Instant::now();
        let host = self.dir.path().to_string_lossy().into_owned();
        loop {
            let mut ready = program("pg_isready");
            let said = ready.args(["-q", "-h", &host, "-p", &self.port.to_string()]).status()?;
            if said.success() {
                return Ok(());
            }
            let has_ended = self.running.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)));
            if has_ended || began.elapsed() > START_MAX {
                let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
                let last: Vec<&str> = log.lines().rev().take(5).collect();
                return Err(io::Error::other(format!("PostgreSQL did not start: {}", last.join("; "))));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // A stopped one would not hear the end of its input.
        if self.running.is_some() && (self.signal("CONT").is_err() || self.stop().is_err()) {
            _ = self.ended();
        }
    }
}

/// A port that stays free while nobody listens on it: below the range that the system gives to outgoing connections, one
/// of which could otherwise take it while a server is down.
pub(crate) fn quiet_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Test processes that run side by side start at different places.
    let start = u16::try_from(std::process::id() % 100).expect("below a hundred") * 100;
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn unprivileged(name: impl AsRef<std::ffi::OsStr>) -> Command {
    if !is_root() {
        return Command::new(name);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(name);
    command
}

fn program(name: &str) -> Command {
    let path: PathBuf = Path::new(PROGRAMS).join(name);
    let mut command = unprivileged(path);
    // Where the caller stands may be closed to the other user.
    command.current_dir("/");
    command
}

fn run(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(|error| {
        let what = command.get_program().to_string_lossy();
        io::Error::new(
            error.kind(),
            format!(
                "cannot run {what}: {error}; `cargo xtask test tools` installs postgresql-15 and PostGIS"
            ),
        )
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
