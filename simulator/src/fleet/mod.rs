//! # The fleet: virtual devices that are the real device logic
//!
//! **A simulated device is `fieldpost_firmware::Device` with RAM for storage, the world for sensors and its own MQTT 5
//! connection over mutual TLS for a radio.** Nothing about sampling, storing, resending or backing off is written twice.
//!
//! ```text
//! world::Unit -> Device (firmware) -> connection (rumqttc, rustls) -> front door
//!                   ^ STORED, SEEN, commands <------'
//! ```
//!
//! Bounds: one small task per device, [`HANDSHAKES_MAX`] handshakes at once, [`source::OUTBOX_COUNT`] records owed per device.

mod agent;
pub mod connection;
pub mod enrol;
pub mod progress;
pub mod receiver_log;
pub mod source;
pub mod tls;

use std::{sync::Arc, time::Duration};

use fieldpost_firmware::{Device, RamStorage, Settings, StartError};
use fieldpost_gateway::pki::Issued;
use fieldpost_protocol::{Action, BootId, Command, DeviceId, Downlink, IdError, limits::DOWNLINK_BYTES_MAX};
use rustls::ClientConfig;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinSet,
};

pub use self::agent::Instruction;
use self::{
    agent::Agent,
    connection::FrontDoor,
    progress::Progress,
    source::{OUTBOX_COUNT, SimDevice, Source, unix_ms},
    tls::{DeviceTls, TlsError},
};
use crate::{check::board::Board, world::dice::Dice};

/// Handshakes at once: enough to keep two cores busy, few enough that each is quick.
pub const HANDSHAKES_MAX: usize = 24;
/// Instructions that may wait for one device.
const INSTRUCTIONS_MAX: usize = 8;
/// The whole fleet starts within this time, evenly spread.
const START_SPREAD: Duration = Duration::from_millis(1_000);

/// One device to be started.
pub struct DevicePlan {
    /// Its name in the certificate.
    pub device: String,
    /// Certificate and key.
    pub issued: Issued,
    /// What the device is told about itself.
    pub settings: Settings,
    /// Where its readings come from.
    pub source: Source,
    /// Reports a position every so many seconds, instead of the profile's intervals.
    pub interval_s: Option<u16>,
}

/// What all devices share.
#[derive(Clone)]
struct Shared {
    front_door: FrontDoor,
    board: Board,
    progress: Arc<Progress>,
    handshakes: Arc<Semaphore>,
}

/// Why a fleet cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A name is not an identity.
    #[error("\"{0}\" is not a device identity: {1}")]
    Name(String, IdError),
    /// A certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The device logic does not start.
    #[error("the device logic does not start: {0}")]
    Start(#[from] StartError),
}

/// A running fleet. Dropping it cuts every device off.
pub struct Fleet {
    progress: Arc<Progress>,
    instructions: Vec<mpsc::Sender<Instruction>>,
    tasks: JoinSet<()>,
}

impl Fleet {
    /// Starts every device. They connect in their own time.
    ///
    /// # Errors
    /// [`FleetError`]; then none was started.
    pub fn start(
        plans: Vec<DevicePlan>,
        authority_pem: &str,
        front_door: FrontDoor,
        board: &Board,
        seed: u64,
    ) -> Result<Self, FleetError> {
        let count = plans.len();
        let shared = Shared {
            front_door,
            board: board.clone(),
            progress: Arc::new(Progress::new(count)),
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
        };
        let tls = DeviceTls::new(authority_pem)?;
        let agents: Result<Vec<Agent>, FleetError> = plans
            .into_iter()
            .enumerate()
            .map(|(number, plan)| {
                let tls = tls.config(&plan.issued)?;
                let starts_after = START_SPREAD.mul_f64(fraction(number, count));
                prepare(number, plan, tls, Dice::new(seed, 1_000_000 + number as u64), starts_after)
            })
            .collect();
        let mut fleet =
            Self { progress: Arc::clone(&shared.progress), instructions: Vec::new(), tasks: JoinSet::new() };
        for agent in agents? {
            let (sender, receiver) = mpsc::channel(INSTRUCTIONS_MAX);
            fleet.instructions.push(sender);
            // Boxed: a device's task is a few KiB, and spawning moves it.
            fleet.tasks.spawn(Box::pin(agent::run(agent, shared.clone(), receiver)));
        }
        Ok(fleet)
    }

    /// How many devices it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instructions.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.instructions.is_empty()
    }

    /// How it is doing.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Tells one device something. Waits while its instructions are full.
    pub async fn tell(&self, device: usize, instruction: Instruction) {
        if let Some(sender) = self.instructions.get(device) {
            // An agent that has ended needs no instruction.
            let _ = sender.send(instruction).await;
        }
    }

    /// No more readings; waits until every record is stored or `deadline` has passed. Returns whether nothing is owed.
    pub async fn drain(&self, deadline: Duration) -> bool {
        for device in 0..self.instructions.len() {
            self.tell(device, Instruction::Drain).await;
        }
        let count = self.len();
        let settled = self.progress.wait(|progress| {
            let counts = progress.counts();
            counts.draining == count && counts.owed == 0
        });
        tokio::time::timeout(deadline, settled).await.is_ok()
    }

    /// Hangs up every device and waits for their tasks.
    pub async fn stop(mut self) {
        for device in 0..self.instructions.len() {
            self.tell(device, Instruction::Stop).await;
        }
        while self.tasks.join_next().await.is_some() {}
    }
}

#[expect(clippy::cast_precision_loss, reason = "fleets are far smaller than 2^52")]
fn fraction(number: usize, count: usize) -> f64 {
    number as f64 / count.max(1) as f64
}

fn prepare(
    number: usize,
    plan: DevicePlan,
    tls: Arc<ClientConfig>,
    dice: Dice,
    starts_after: Duration,
) -> Result<Agent, FleetError> {
    let id = DeviceId::try_new(&plan.device).map_err(|error| FleetError::Name(plan.device.clone(), error))?;
    let mut device: Box<SimDevice> = Box::new(Device::start(plan.settings, storage(unix_ms()))?);
    if let Some(seconds) = plan.interval_s {
        set_interval(&mut device, seconds);
    }
    Ok(Agent { number, id, device, source: plan.source, tls, dice, starts_after })
}

/// A simulated device keeps nothing between two runs, yet no boot id may repeat for a gateway that outlives them: it would
/// take the second run's records for the first's. So boots count the seconds since 2026.
fn storage(now_unix_ms: u64) -> RamStorage<OUTBOX_COUNT> {
    const START_2026_UNIX_S: u64 = 1_767_225_600;
    let seconds = (now_unix_ms / 1000).saturating_sub(START_2026_UNIX_S);
    RamStorage::after_boot(BootId(u32::try_from(seconds).unwrap_or(u32::MAX - 1)))
}

/// The command that a control room would send. The device's clock must be set for it, so it is set.
fn set_interval(device: &mut SimDevice, seconds: u16) {
    let unix_ms = unix_ms();
    let command =
        Command { id: u32::MAX, expires_at_ms: unix_ms + 60_000, action: Action::Interval { seconds } };
    for message in [Downlink::Time { unix_ms }, Downlink::Command(command)] {
        let mut buffer = [0; DOWNLINK_BYTES_MAX];
        let frame = message.encode(&mut buffer).expect("a time or an interval fits a downlink frame");
        device.handle(0, fieldpost_firmware::Input::Downlink(frame));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_run_has_a_later_boot() {
        let now = unix_ms();
        let start =
            |now| Device::start(Settings::replay(fieldpost_protocol::Mode::Test), storage(now)).unwrap();
        assert!(start(now).ledger().boot < start(now + 1000).ledger().boot);
    }
}
