//! One board and one gateway on a bench, enrolled and wired.

use std::{path::Path, time::Duration};

use tempfile::TempDir;

use crate::{
    Failure,
    broker::Broker,
    flash::{self, SlotPlan},
    gateway::Gateway,
    inputs::{Pin, UPRIGHT_MG},
    qemu::{Board, BoardPlan, Image, Part},
};

/// The bench's device.
pub const DEVICE: &str = "bw-0001";
/// Under a loaded host a handshake of the emulated board takes some seconds.
pub const LINK_WAIT_MAX: Duration = Duration::from_secs(60);

/// A gateway, and the plan of a board that is enrolled with it.
#[derive(Debug)]
pub struct Bench {
    /// The gateway, running.
    pub gateway: Gateway,
    /// How the board is powered on.
    pub plan: BoardPlan,
    // Last: it goes after what uses it.
    dir: TempDir,
}

impl Bench {
    /// Sets up; `shape` changes what the slot says.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn new(image: Image, shape: impl FnOnce(&mut SlotPlan)) -> Result<Self, Failure> {
        let bench = Self::bare(image)?;
        let enrolled = bench.gateway.enrol(DEVICE, "test")?;
        let mut slot = SlotPlan::body_worn(bench.gateway.addresses().front_door.port());
        shape(&mut slot);
        flash::write(&bench.plan.flash(), 0, &slot.encode(&enrolled)?)?;
        Ok(bench)
    }

    /// A gateway, and a board that was never provisioned.
    fn bare(image: Image) -> Result<Self, Failure> {
        let dir = tempfile::tempdir().map_err(Failure::io("cannot make a temporary folder"))?;
        let gateway = Gateway::start(&dir.path().join("gateway"))?;
        let plan = BoardPlan::new(Some(image), &dir.path().join("board"));
        plan.ensure_flash()?;
        Ok(Self { gateway, plan, dir })
    }

    /// The same with a broker in between: what the slot says is all that differs on the board. Keep the broker.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn behind_broker(image: Image) -> Result<(Self, Broker), Failure> {
        let mut bench = Self::bare(image)?;
        let enrolled = bench.gateway.enrol(DEVICE, "test")?;
        let (broker, envelope_key) = bench.gateway.go_behind_broker(DEVICE)?;
        let slot = SlotPlan { envelope_key: Some(envelope_key), ..SlotPlan::body_worn(broker.port) };
        flash::write(&bench.plan.flash(), 0, &slot.encode(&enrolled)?)?;
        Ok((bench, broker))
    }

    /// Powers the board on, on duty, upright and still, the weapon in its holster, no button pressed.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn power_on(&self) -> Result<Board, Failure> {
        self.power_on_with(|_| Ok(()))
    }

    /// The same, with other inputs from the first instruction on.
    ///
    /// # Errors
    /// [`Failure`].
    pub fn power_on_with(
        &self,
        inputs: impl FnOnce(&mut Board) -> Result<(), Failure>,
    ) -> Result<Board, Failure> {
        let mut board = Board::start(&self.plan)?;
        let pins = [(Pin::Holster, true), (Pin::Duty, true), (Pin::Panic, false), (Pin::Cancel, false)];
        if self.plan.missing != Some(Part::Panel) {
            pins.into_iter().try_for_each(|(pin, level)| board.set_pin(pin, level))?;
            board.watch_wearer()?;
        }
        if self.plan.missing != Some(Part::Thermometer) {
            board.set_temperature(20_000)?;
        }
        board.set_acceleration(UPRIGHT_MG)?;
        inputs(&mut board)?;
        board.go()?;
        Ok(board)
    }

    /// The bench's folder; gone with the bench.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
