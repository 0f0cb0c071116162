//! The force: who is on duty in the town. Callsigns are invented; nobody has a name.

use super::{
    Town,
    unit::{Identity, Unit, UnitKind},
};

/// The force every simulated device is enrolled with.
pub const FORCE: &str = "sim";

/// Every fourth unit is a vehicle.
const VEHICLE_EVERY: usize = 4;
/// Two letters of a beat: quarter of the town, then shift.
const QUARTERS: [char; 8] = ['A', 'B', 'C', 'D', 'E', 'F', 'G', 'H'];
const SHIFTS: [char; 4] = ['B', 'D', 'K', 'T'];
const FLEETS: [&str; 5] = ["RESPONSE", "TRAFFIC", "PATROL", "ARMED", "DOG"];

/// The identities of a force of `count` units: the first `n` are the same whatever the count.
#[must_use]
pub fn roster(count: usize) -> Vec<Identity> {
    let (mut officers, mut vehicles) = (0, 0);
    (0..count)
        .map(|number| {
            if number % VEHICLE_EVERY == VEHICLE_EVERY - 1 {
                vehicles += 1;
                vehicle(vehicles)
            } else {
                officers += 1;
                officer(officers)
            }
        })
        .collect()
}

/// The units of a force, at their places in the town.
#[must_use]
pub fn units(town: &Town, seed: u64, count: usize) -> Vec<Unit> {
    let with_number = roster(count).into_iter().enumerate();
    with_number.map(|(number, identity)| Unit::new(town, seed, number, identity)).collect()
}

fn officer(number: usize) -> Identity {
    let quarter = QUARTERS[number % QUARTERS.len()];
    let shift = SHIFTS[number / QUARTERS.len() % SHIFTS.len()];
    // Thirty-two beats of two letters; the number is unique within each.
    let beat = 10 + number / (QUARTERS.len() * SHIFTS.len());
    Identity {
        device: format!("pc-{number:04}"),
        callsign: format!("{quarter}{shift}{beat}"),
        kind: UnitKind::Officer,
    }
}

fn vehicle(number: usize) -> Identity {
    let fleet = FLEETS[number % FLEETS.len()];
    Identity {
        device: format!("car-{number:04}"),
        callsign: format!("{fleet} {}", number / FLEETS.len() + 1),
        kind: UnitKind::Vehicle,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_device_and_callsign_is_unique() {
        let roster = roster(5_000);
        let devices: BTreeSet<&str> = roster.iter().map(|unit| unit.device.as_str()).collect();
        let callsigns: BTreeSet<&str> = roster.iter().map(|unit| unit.callsign.as_str()).collect();
        assert_eq!((devices.len(), callsigns.len()), (5_000, 5_000));
    }
}
