//! One board and one gateway on a bench, enrolled and wired.

use std::{path::Path, time::Duration};

use tempfile::TempDir;

use crate::{
    Failure,
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
        let dir = tempfile::tempdir().map_err(Failure::io("cannot make a temporary folder"))?;
        let gateway = Gateway::start(&dir.path().join("gateway"))?;
        let plan = BoardPlan::new(Some(image), &dir.path().join("board"));
        plan.ensure_flash()?;
        let enrolled = gateway.enrol(DEVICE, "test")?;
        let mut slot = SlotPlan::body_worn(gateway.addresses().front_door.port());
        shape(&mut slot);
        flash::write(&plan.flash(), 0, &slot.encode(&enrolled)?)?;
        Ok(Self { gateway, plan, dir })
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
