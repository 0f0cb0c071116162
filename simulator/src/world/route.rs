//! Finding a way through the streets, on foot or driving.

use std::{cmp::Ordering, collections::BinaryHeap};

use super::streets::{JunctionId, StreetClass, StreetMap, index};

/// How somebody travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Travel {
    /// Walking: anywhere but the ring road, by the shortest way.
    OnFoot,
    /// Driving: not on paths, by the quickest way.
    Driving,
}

impl Travel {
    /// Whether a street of this class can be used.
    #[must_use]
    pub fn permits(self, class: StreetClass) -> bool {
        match self {
            Self::OnFoot => class != StreetClass::Trunk,
            Self::Driving => class != StreetClass::Path,
        }
    }

    /// Seconds a metre of such a street takes.
    fn seconds_per_m(self, class: StreetClass) -> f64 {
        match self {
            Self::OnFoot => 1.0 / 1.35,
            Self::Driving => 1.0 / class.driving_mps().max(1.0),
        }
    }
}

#[derive(PartialEq)]
struct Open {
    estimate_s: f64,
    at: JunctionId,
}

impl Eq for Open {}

impl Ord for Open {
    /// The smallest estimate first; ties by junction, so that the way found is always the same.
    fn cmp(&self, other: &Self) -> Ordering {
        other.estimate_s.total_cmp(&self.estimate_s).then(other.at.cmp(&self.at))
    }
}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best way from one junction to another, without the first; `None` if there is none (A*).
#[must_use]
pub fn find(
    streets: &StreetMap,
    travel: Travel,
    from: JunctionId,
    to: JunctionId,
) -> Option<Vec<JunctionId>> {
    let goal = streets.place(to);
    // Never more than the truth: straight there at the best speed.
    let best_s_per_m = travel.seconds_per_m(StreetClass::Trunk);
    let remaining_s = |at: JunctionId| streets.place(at).distance_m(goal) * best_s_per_m;
    let mut cost_s = vec![f64::INFINITY; streets.junctions().len()];
    let mut came_from: Vec<Option<JunctionId>> = vec![None; streets.junctions().len()];
    let mut open = BinaryHeap::from([Open { estimate_s: remaining_s(from), at: from }]);
    cost_s[index(from)] = 0.0;
    while let Some(Open { estimate_s, at }) = open.pop() {
        if at == to {
            return Some(trace(&came_from, from, to));
        }
        if estimate_s > cost_s[index(at)] + remaining_s(at) + 1e-9 {
            continue;
        }
        for way in streets.ways(at).iter().filter(|way| travel.permits(way.class)) {
            let new_s = cost_s[index(at)] + way.length_m * travel.seconds_per_m(way.class);
            if new_s < cost_s[index(way.to)] {
                cost_s[index(way.to)] = new_s;
                came_from[index(way.to)] = Some(at);
                open.push(Open { estimate_s: new_s + remaining_s(way.to), at: way.to });
            }
        }
    }
    None
}

fn trace(came_from: &[Option<JunctionId>], from: JunctionId, to: JunctionId) -> Vec<JunctionId> {
    let mut way = vec![to];
    let mut at = to;
    while let Some(before) = came_from[index(at)] {
        if before == from {
            break;
        }
        way.push(before);
        at = before;
    }
    way.reverse();
    way
}
