//! The built binary as a running process: signals, supervisor, exit codes.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use crate::door::PATIENCE;

/// A gateway process on free ports.
pub(crate) struct Process {
    dir: Arc<tempfile::TempDir>,
    child: Child,
    out: Receiver<String>,
    log: Receiver<String>,
    pub(crate) front_door: SocketAddr,
    control_room: SocketAddr,
    pub(crate) metrics: SocketAddr,
}

pub(crate) fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_fieldpost"))
}

/// The lines of a pipe, read as they come: a full pipe would stop the process.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        // Ends with the pipe, or with the test.
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

/// A directory as `fieldpost init` makes it, on free ports, that logs JSON.
pub(crate) fn new_gateway() -> Arc<tempfile::TempDir> {
    let dir = tempfile::tempdir().unwrap();
    let made = binary().arg("init").arg(dir.path()).args(["--listen", "127.0.0.1:0"]).output().unwrap();
    assert!(made.status.success());
    let config = dir.path().join("gateway.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("127.0.0.1:8088", "127.0.0.1:0").replace("127.0.0.1:9464", "127.0.0.1:0");
    fs::write(&config, text.replace("#format = \"text\"", "format = \"json\"")).unwrap();
    Arc::new(dir)
}

impl Process {
    /// Starts and waits until it says that it is ready.
    fn started() -> Self {
        Self::started_with(&[])
    }

    fn started_with(environment: &[(&str, &str)]) -> Self {
        let dir = new_gateway();
        let mut command = binary();
        command.args(["run", "-c"]).arg(dir.path().join("gateway.toml")).envs(environment.iter().copied());
        Self::run(dir, command)
    }

    /// Starts what is in a directory.
    pub(crate) fn started_in(dir: &Arc<tempfile::TempDir>) -> Self {
        let mut command = binary();
        command.args(["run", "-c"]).arg(dir.path().join("gateway.toml"));
        Self::run(Arc::clone(dir), command)
    }

    /// Starts with a command that ends in `fieldpost run`.
    pub(crate) fn run(dir: Arc<tempfile::TempDir>, mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = lines_of(child.stdout.take().unwrap());
        let log = lines_of(child.stderr.take().unwrap());
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let mut process =
            Self { dir, child, out, log, front_door: nowhere, control_room: nowhere, metrics: nowhere };
        let lines = process.out_until("ready");
        let address = |prefix: &str, suffix: &str| -> SocketAddr {
            let line = lines.iter().find_map(|line| line.strip_prefix(prefix)?.strip_suffix(suffix));
            line.unwrap_or_else(|| panic!("{prefix} in {lines:?}")).parse().unwrap()
        };
        process.front_door = address("front_door ", "");
        process.control_room = address("control_room http://", "");
        process.metrics = address("metrics http://", "/metrics");
        process
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Status line, headers and body of a GET to the metrics listener.
    pub(crate) fn ask(&self, path: &str) -> String {
        get(self.metrics, path)
    }

    /// Waits until a time series has a value.
    pub(crate) fn until_metric(&self, series: &str, expected: f64) {
        until_metric(self.metrics, series, expected);
    }

    /// Ends it as a power failure would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.dir.path().join("gateway.toml")
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.config()).unwrap();
        assert!(text.contains(from), "{from}");
        fs::write(self.config(), text.replacen(from, to, 1)).unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Standard output up to a line; fails when the process ends first, or after [`PATIENCE`].
    fn out_until(&mut self, last: &str) -> Vec<String> {
        let mut lines = Vec::new();
        loop {
            let next = self.out.recv_timeout(PATIENCE);
            lines.push(next.unwrap_or_else(|error| panic!("no {last:?} ({error}) after {lines:?}")));
            if lines.last().is_some_and(|line| line == last) {
                return lines;
            }
        }
    }

    /// Log events up to one whose message contains `needle`; fails when the process ends first, or
    /// after [`PATIENCE`] without a line.
    pub(crate) fn log_until(&mut self, needle: &str) -> Vec<serde_json::Value> {
        let mut events: Vec<serde_json::Value> = Vec::new();
        loop {
            let next = self.log.recv_timeout(PATIENCE);
            let line = next.unwrap_or_else(|error| panic!("no {needle:?} ({error}) after {events:#?}"));
            events.push(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}")));
            let message = events.last().and_then(|event| event["message"].as_str());
            if message.is_some_and(|message| message.contains(needle)) {
                return events;
            }
        }
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn sigterm_and_sigint_drain_and_exit_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::started();
        process.signal(signal);
        process.log_until("gateway stopped");
        assert_eq!(process.wait().code(), Some(0));
    }
}

#[test]
fn supervisor_is_told_when_it_is_ready_alive_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor.set_read_timeout(Some(PATIENCE)).unwrap();
    let hear = || {
        let mut buffer = [0; 256];
        let length = supervisor.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let mut process =
        Process::started_with(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "200000")]);
    assert!(hear().contains("READY=1"));
    for _ in 0..3 {
        assert!(hear().contains("WATCHDOG=1"));
    }
    process.signal(Signal::TERM);
    while !hear().contains("STOPPING=1") {}
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn sighup_with_a_broken_configuration_keeps_the_old_one_and_logs_every_mistake() {
    let mut process = Process::started();
    process.edit("#receive_max = 256", "receive_max = 1");
    process.edit("[clock]", "[clok]");
    process.signal(Signal::HUP);
    let events = process.log_until("the old configuration stays in force");
    let mistakes: Vec<_> = events
        .iter()
        .filter(|event| event["level"] == "ERROR")
        .map(|event| event["message"].to_string())
        .collect();
    assert!(mistakes.iter().any(|mistake| mistake.contains("receive_max")), "{mistakes:#?}");
    assert!(mistakes.iter().any(|mistake| mistake.contains("did you mean `clock`")), "{mistakes:#?}");

    process.edit("receive_max = 1", "receive_max = 300");
    process.edit("[clok]", "[clock]");
    process.edit("#segment_bytes = 16777216", "segment_bytes = 8388608");
    process.signal(Signal::HUP);
    let events = process.log_until("configuration reloaded");
    let waits: Vec<_> = events.iter().filter(|event| event["key"] == "spool.segment_bytes").collect();
    assert!(waits[0]["message"].as_str().unwrap().contains("needs a restart"), "{waits:#?}");

    fs::remove_file(process.config()).unwrap();
    process.signal(Signal::HUP);
    process.log_until("the old configuration stays in force");
    process.signal(Signal::TERM);
    process.log_until("gateway stopped");
    assert_eq!(process.wait().code(), Some(0));
}

#[test]
fn occupied_port_exits_69_and_names_the_key() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (key, variable) in [
        ("front_door.listen", "FIELDPOST__FRONT_DOOR__LISTEN"),
        ("control_room.listen", "FIELDPOST__CONTROL_ROOM__LISTEN"),
        ("metrics.listen", "FIELDPOST__METRICS__LISTEN"),
    ] {
        let dir = new_gateway();
        let mut second = binary();
        second.args(["run", "-c"]).arg(dir.path().join("gateway.toml")).env(variable, address.to_string());
        let second = second.output().unwrap();
        assert_eq!(second.status.code(), Some(69), "{key}");
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(said.contains(&format!("`{key}`: cannot listen on {address}")), "{said}");
        assert!(said.contains("another process has this port"), "{said}");
        assert!(!dir.path().join("data").exists(), "nothing was touched");
    }
}

/// The value of one time series in a scrape.
pub(crate) fn metric_in(scrape: &str, series: &str) -> f64 {
    let value = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {series} in {scrape}")).parse().unwrap()
}

/// Waits until a time series of the metrics listener has a value.
pub(crate) fn until_metric(metrics: SocketAddr, series: &str, expected: f64) {
    let since = Instant::now();
    loop {
        let value = metric_in(&get(metrics, "/metrics"), series);
        if (value - expected).abs() < f64::EPSILON {
            return;
        }
        assert!(since.elapsed() < PATIENCE, "{series} is {value}, not {expected}");
    }
}

/// Status line, headers and body of a GET.
pub(crate) fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn login_link_of_the_command_lets_one_person_in_once() {
    let mut process = Process::started();
    let link = binary().args(["login", "--operator", "demo", "-c"]).arg(process.config()).output().unwrap();
    assert!(link.status.success());
    let link = String::from_utf8_lossy(&link.stdout).into_owned();
    let path = &link.trim()[link.find("/login?token=").unwrap()..];
    let first = get(process.control_room, path);
    assert!(first.starts_with("HTTP/1.1 303 "), "{first}");
    assert!(first.to_lowercase().contains("set-cookie: ") && first.contains("HttpOnly"), "{first}");
    let second = get(process.control_room, path);
    assert!(
        !second.starts_with("HTTP/1.1 303 ") && !second.to_lowercase().contains("set-cookie: "),
        "{second}"
    );
    assert!(get(process.control_room, "/").starts_with("HTTP/1.1 401 "), "nobody gets in without");
    process.signal(Signal::TERM);
    process.wait();
}

#[test]
fn doctor_and_spool_look_at_a_running_gateway_without_disturbing_it() {
    let mut process = Process::started();
    let doctor = binary().args(["doctor", "--json", "-c"]).arg(process.config()).output().unwrap();
    assert_eq!(doctor.status.code(), Some(0), "{}", String::from_utf8_lossy(&doctor.stderr));
    let findings: serde_json::Value = serde_json::from_slice(&doctor.stdout).unwrap();
    let names: Vec<_> =
        findings.as_array().unwrap().iter().map(|finding| finding["name"].as_str().unwrap()).collect();
    for expected in
        ["disk sync", "disk space", "clock", "revocation list", "front_door.listen", "file descriptors"]
    {
        assert!(names.contains(&expected), "{expected} in {names:?}");
    }
    for command in [["spool", "ls"], ["spool", "verify"]] {
        let looked = binary().args(command).args(["--json", "-c"]).arg(process.config()).output().unwrap();
        assert_eq!(looked.status.code(), Some(0));
        serde_json::from_slice::<serde_json::Value>(&looked.stdout).unwrap();
    }
    let exported = binary().args(["spool", "export", "-c"]).arg(process.config()).output().unwrap();
    assert_eq!(exported.status.code(), Some(0));
    process.signal(Signal::TERM);
    process.log_until("gateway stopped");
    assert_eq!(process.wait().code(), Some(0));
}
