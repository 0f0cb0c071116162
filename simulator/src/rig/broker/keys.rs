//! The end of the gateways' former envelope key: **what was sealed with it is refused from then on, and by its name**, however true
//! it was before. Until then devices that were told either key have been heard and answered alike.

use std::collections::HashMap;

use tokio::task::block_in_place;

use super::{
    Pair, RigError,
    evil::{Caught, Evil},
    house::House,
};
use crate::fleet::connection::FrontDoor;

const RELOADS: &str = "fieldpost_service_reloads_total";
const REFUSED: &str = "fieldpost_broker_refused_total{reason=\"key-ended\"}";
const BELIEVED: [&str; 3] = [
    "fieldpost_ingest_records_total",
    "fieldpost_broker_duplicates_total",
    "fieldpost_broker_stored_elsewhere_total",
];

/// What was said with the former key after its end, and what became of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Ended {
    /// Messages that it had sealed. Must be some.
    pub said_count: u64,
    /// Refused because the key has ended. Must be all.
    pub refused_count: u64,
    /// Stored, or known as stored. Must be 0.
    pub believed_count: u64,
}

impl Ended {
    /// Whether nothing was believed, and there was something not to believe.
    pub(super) fn held(&self) -> bool {
        self.said_count > 0 && self.refused_count >= self.said_count && self.believed_count == 0
    }
}

/// Ends the former key while the gateways run, says again what it sealed, and tells every device the new one. No device may
/// be at work.
pub(super) async fn end_former(
    house: &mut House,
    broker: &FrontDoor,
    caught: &[Caught],
    pair: &Pair,
) -> Result<Ended, RigError> {
    let count = |counts: &HashMap<String, u64>, name: &str| counts.get(name).copied().unwrap_or(0);
    let reloads = block_in_place(|| {
        let reloads = count(&pair.counts()?, RELOADS);
        house.end_former_key()?;
        pair.signal("HUP")?;
        Ok::<_, RigError>(reloads)
    })?;
    let before = pair.counts_when(|now| count(now, RELOADS) >= reloads + pair.setups.len() as u64).await?;
    let is_former = |caught: &&Caught| {
        let device = house.devices.iter().find(|device| device.id == caught.device);
        device.is_some_and(|device| device.key != device.new_key)
    };
    let said_count =
        Evil::connect(broker, house.evil.clone()).repeat(caught.iter().filter(is_former)).await?;
    let moved = |now: &HashMap<String, u64>, names: &[&str]| {
        names.iter().map(|name| count(now, name) - count(&before, name)).sum::<u64>()
    };
    let is_judged = |now: &HashMap<String, u64>| moved(now, &[REFUSED]) + moved(now, &BELIEVED) >= said_count;
    let now = pair.counts_when(is_judged).await?;
    house.tell_new_key();
    Ok(Ended { said_count, refused_count: moved(&now, &[REFUSED]), believed_count: moved(&now, &BELIEVED) })
}
