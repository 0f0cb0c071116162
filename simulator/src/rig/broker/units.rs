//! The devices of the rig, all at once.

use tokio::{sync::watch, task::JoinSet, time::timeout};

use super::{
    HANG, RigError,
    house::House,
    unit::{Phase, Standing, Unit},
};
use crate::fleet::connection::FrontDoor;

/// The devices at work.
pub(super) struct Units {
    pub(super) phase: watch::Sender<Phase>,
    pub(super) standings: Vec<watch::Receiver<Standing>>,
    running: JoinSet<()>,
}

impl Units {
    pub(super) fn start(house: &House, broker: &FrontDoor) -> Self {
        let (phase, _) = watch::channel(Phase::Load);
        let mut units = Self { phase, standings: Vec::new(), running: JoinSet::new() };
        for device in &house.devices {
            let (standing, seen) = watch::channel(Standing::default());
            units.standings.push(seen);
            let unit = Unit {
                id: device.id.clone(),
                key: device.key,
                tls: device.tls.clone(),
                broker: broker.clone(),
                phase: units.phase.subscribe(),
                standing,
            };
            units.running.spawn(Box::pin(unit.run()));
        }
        units
    }

    /// Waits until every device has had ten more records stored.
    pub(super) async fn everyone_hears(&self) -> Result<(), RigError> {
        let before: Vec<u32> = self.standings.iter().map(|standing| standing.borrow().stored).collect();
        self.everyone(|at, now| now.stored >= before[at] + 10).await
    }

    /// Waits until every device has had so many records stored.
    pub(super) async fn everyone_has_stored(&self, count: u32) -> Result<(), RigError> {
        self.everyone(|_, now| now.stored >= count).await
    }

    /// Waits until every device has been told DELIVERED of an alarm.
    pub(super) async fn everyone_is_told(&self) -> Result<(), RigError> {
        self.everyone(|_, now| now.delivered > 0).await
    }

    /// Waits until the broker has taken eight messages of every device: it has done before what each asked before.
    pub(super) async fn everyone_is_taken(&self) -> Result<(), RigError> {
        self.everyone(|_, now| now.taken >= 8).await
    }

    async fn everyone(&self, is_so: impl Fn(usize, &Standing) -> bool) -> Result<(), RigError> {
        for (at, standing) in self.standings.iter().enumerate() {
            let mut standing = standing.clone();
            let reached = standing.wait_for(|now| is_so(at, now));
            timeout(HANG, reached).await.map_err(|_| RigError::Hang(HANG))?.ok();
        }
        Ok(())
    }

    /// Nothing new, and waits until nothing is owed.
    pub(super) async fn all_stored(&self) -> Result<(), RigError> {
        self.phase.send_replace(Phase::Drain);
        self.everyone(|_, now| now.issued > 0 && now.owed == 0).await
    }

    /// Sends again.
    pub(super) fn go_on(&self) {
        self.phase.send_replace(Phase::Load);
    }

    pub(super) async fn end(mut self) -> Vec<Standing> {
        self.phase.send_replace(Phase::Stop);
        while self.running.join_next().await.is_some() {}
        self.standings.iter().map(|standing| *standing.borrow()).collect()
    }
}
