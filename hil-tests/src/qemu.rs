//! One power-on of the emulated board: QEMU with every socket the rig needs. **It dies with its handle.**
//!
//! The machine starts stopped, so that inputs stand before the first instruction; [`Board::go`] lets it run. A power cut is
//! `kill -9`: what the image wrote into its flash file stays, everything else is gone.

use std::{
    fs::{self, File},
    io::Write as _,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use serde_json::json;

use crate::{
    Failure,
    log::{Log, Strings},
    qmp::Qmp,
    qtest::Qtest,
    socket::Door,
};

/// Debian's package is `qemu-system-arm`.
const QEMU: &str = "qemu-system-arm";
/// QEMU connects in a fraction of a second; on a machine that builds at the same time, in seconds.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(20);
/// The emulated board's persistent memory.
pub const FLASH_BYTES: usize = 16 << 20;

/// What the Ethernet port is plugged into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Network {
    /// QEMU's user network: DHCP, and the host at 10.0.2.2.
    #[default]
    Host,
    /// A switch with nothing else on it: a link, but no DHCP answer ever.
    Silent,
}

/// A part on the I2C bus that a board may lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The tmp105.
    Thermometer,
    /// The max7310 with buttons, switches and the output for the wearer.
    Panel,
}

/// How to power a board on.
#[derive(Debug, Clone)]
pub struct BoardPlan {
    /// The image; `None` is a board without one, for tests of the rig itself.
    pub image: Option<Image>,
    /// Flash, sockets and captures live here. The same folder is the same board.
    pub dir: PathBuf,
    /// The real-time clock at power-on, `2026-06-01T12:00:00`; `None` is this machine's time.
    pub rtc: Option<String>,
    /// One instruction takes 1 ns of virtual time: for counting instructions. Slow.
    pub counts_instructions: bool,
    /// Its network.
    pub network: Network,
    /// A part that is not there.
    pub missing: Option<Part>,
}

/// An image and its strings.
#[derive(Debug, Clone)]
pub struct Image {
    /// The ELF.
    pub elf: PathBuf,
    /// Its defmt strings.
    pub strings: Strings,
}

/// A running board.
#[derive(Debug)]
pub struct Board {
    child: Child,
    qmp: Qmp,
    qtest: Qtest,
    gnss: UnixStream,
    uart0: UnixStream,
    log: Option<Log>,
    capture: PathBuf,
    errors: PathBuf,
}

impl BoardPlan {
    /// A board of `image` in `dir` on the host's network, with this machine's time.
    #[must_use]
    pub fn new(image: Option<Image>, dir: &Path) -> Self {
        Self {
            image,
            dir: dir.to_path_buf(),
            rtc: None,
            counts_instructions: false,
            network: Network::Host,
            missing: None,
        }
    }

    /// The file behind the board's flash.
    #[must_use]
    pub fn flash(&self) -> PathBuf {
        self.dir.join("nv.bin")
    }

    /// Makes the flash as it leaves the factory, all ones, unless it is there.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn ensure_flash(&self) -> Result<(), Failure> {
        let path = self.flash();
        if path.exists() {
            return Ok(());
        }
        fs::create_dir_all(&self.dir).map_err(Failure::at("make", &self.dir))?;
        fs::write(&path, vec![0xFF; FLASH_BYTES]).map_err(Failure::at("write", &path))
    }

    /// Captures of this board so far, oldest first: one for each power-on.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn captures(&self) -> Result<Vec<PathBuf>, Failure> {
        let entries = fs::read_dir(&self.dir).map_err(Failure::at("list", &self.dir))?;
        let mut captures: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|extension| extension == "pcap"))
            .collect();
        captures.sort();
        Ok(captures)
    }

    fn command(&self, capture: &Path, errors: File) -> Command {
        let socket = |name: &str| format!("unix:{}", self.dir.join(name).display());
        let mut qemu = Command::new(QEMU);
        qemu.args(["-M", "mps2-an386,memory-backend=nv", "-object"])
            .arg(format!("memory-backend-file,id=nv,size=16M,mem-path={},share=on", self.flash().display()))
            .args(["-display", "none", "-monitor", "none", "-accel", "tcg", "-S"])
            .args(["-serial", &socket("log.sock"), "-serial", &socket("gnss.sock")])
            .args(["-qmp", &socket("qmp.sock"), "-qtest", &socket("qtest.sock"), "-qtest-log", "none"])
            .args(match self.network {
                Network::Host => ["-nic", "user,model=lan9118,id=n0,ipv6=off"],
                Network::Silent => ["-nic", "hubport,model=lan9118,id=n0,hubid=0"],
            })
            .arg("-object")
            .arg(format!("filter-dump,id=f0,netdev=n0,file={}", capture.display()))
            .args(["-device", "ds1338,address=0x68"])
            .args(["-device", "lsm303dlhc_mag,address=0x1e,id=a0"])
            .args(["-semihosting-config", "enable=on,target=native", "-rtc"])
            .arg(format!("base={},clock=vm", self.rtc.as_deref().unwrap_or("utc")));
        if self.missing != Some(Part::Thermometer) {
            qemu.args(["-device", "tmp105,address=0x48,id=t0"]);
        }
        if self.missing != Some(Part::Panel) {
            qemu.args(["-device", "max7310,address=0x20,id=io0"]);
        }
        if self.counts_instructions {
            qemu.args(["-icount", "shift=0"]);
        }
        if let Some(image) = &self.image {
            qemu.arg("-kernel").arg(&image.elf);
        }
        qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        qemu
    }
}

impl Board {
    /// Powers on, stopped before the first instruction.
    ///
    /// # Errors
    /// [`Failure`]; what QEMU said stands in it.
    pub fn start(plan: &BoardPlan) -> Result<Self, Failure> {
        plan.ensure_flash()?;
        let open = |file: &str, name| Door::open(&plan.dir.join(file), name);
        let doors = (
            open("log.sock", "log")?,
            open("gnss.sock", "GNSS")?,
            open("qmp.sock", "QMP")?,
            open("qtest.sock", "qtest")?,
        );
        let capture = plan.dir.join(format!("net-{:05}.pcap", plan.captures()?.len()));
        let errors = plan.dir.join("qemu.err");
        let sink = File::create(&errors).map_err(Failure::at("write", &errors))?;
        let child = plan.command(&capture, sink).spawn().map_err(|error| Failure::tool(QEMU, error))?;
        let mut child = Unborn(Some(child));
        let said = || fs::read_to_string(&errors).unwrap_or_default();
        let connected = |door: &Door| {
            let stream = door.accept(CONNECT_WAIT_MAX)?;
            stream.ok_or_else(|| Failure::child("qemu", format!("did not connect: {}", said())))
        };
        // QEMU connects in the order of its own start-up; the sockets' backlog makes that order irrelevant here.
        let (uart0, gnss) = (connected(&doors.0)?, connected(&doors.1)?);
        let (qmp, qtest) = (Qmp::open(connected(&doors.2)?)?, Qtest::new(connected(&doors.3)?));
        let kept = uart0.try_clone().map_err(Failure::io("cannot share the board's log port"))?;
        let log = match &plan.image {
            Some(image) => Some(Log::follow(uart0, image.strings.clone())?),
            None => None,
        };
        let child = child.0.take().expect("it was put in above and nothing took it");
        Ok(Self { child, qmp, qtest, gnss, uart0: kept, log, capture, errors })
    }

    /// Lets the processor run.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn go(&mut self) -> Result<(), Failure> {
        self.qmp.execute("cont", json!({})).map(drop)
    }

    /// Stops the processor and its clock; [`Board::go`] goes on.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn pause(&mut self) -> Result<(), Failure> {
        self.qmp.execute("stop", json!({})).map(drop)
    }

    /// Plugs the network cable in or out.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn set_link(&mut self, up: bool) -> Result<(), Failure> {
        self.qmp.execute("set_link", json!({ "name": "n0", "up": up })).map(drop)
    }

    /// Cuts the power: `kill -9`. Its log keeps what was said.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn cut_power(mut self) -> Result<Option<Log>, Failure> {
        self.child.kill().and_then(|()| self.child.wait()).map_err(Failure::io("cannot kill qemu"))?;
        if let Some(log) = &self.log {
            log.wait_for_end();
        }
        Ok(self.log.clone())
    }

    /// QEMU's machine protocol.
    pub fn qmp(&mut self) -> &mut Qmp {
        &mut self.qmp
    }

    /// QEMU's test protocol.
    pub fn qtest(&mut self) -> &mut Qtest {
        &mut self.qtest
    }

    /// Bytes into the GNSS port. Blocks while the board takes none.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn gnss(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.gnss.write_all(bytes).map_err(Failure::io("cannot write to the board's GNSS port"))
    }

    /// A byte into the log's UART: the image answers any with a line of usage, and one built with `drills` fails as it says.
    ///
    /// # Errors
    /// [`Failure`] if QEMU is gone.
    pub fn ask(&mut self, byte: u8) -> Result<(), Failure> {
        self.uart0.write_all(&[byte]).map_err(Failure::io("the board's log port is closed"))
    }

    /// The GNSS port, for a feed that runs beside the test.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn gnss_port(&self) -> Result<UnixStream, Failure> {
        self.gnss.try_clone().map_err(Failure::io("cannot share the board's GNSS port"))
    }

    /// What the image says.
    ///
    /// # Panics
    /// If the board was started without an image.
    #[must_use]
    pub fn log(&self) -> &Log {
        self.log.as_ref().expect("a board with an image has a log")
    }

    /// The capture of this power-on.
    #[must_use]
    pub fn capture(&self) -> &Path {
        &self.capture
    }

    /// QEMU's process.
    #[must_use]
    pub fn process_id(&self) -> u32 {
        self.child.id()
    }

    /// How QEMU ended, if it has.
    ///
    /// # Errors
    /// [`Failure::Io`].
    pub fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        self.child.try_wait().map_err(Failure::io("cannot ask for qemu"))
    }

    /// What QEMU wrote on its standard error.
    #[must_use]
    pub fn errors(&self) -> String {
        fs::read_to_string(&self.errors).unwrap_or_default()
    }
}

impl Drop for Board {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A child that nobody holds yet: it ends if starting goes no further.
struct Unborn(Option<Child>);

impl Drop for Unborn {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            end(child);
        }
    }
}

fn end(child: &mut Child) {
    if matches!(child.try_wait(), Ok(None)) {
        // Nothing is left to report to.
        let _ = child.kill();
        let _ = child.wait();
    }
}
