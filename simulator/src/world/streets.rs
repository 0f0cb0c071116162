//! The street network: junctions, the streets between them, and which way they lead.
//!
//! **Every street can be reached from every other.**

use super::plane::Point;

/// How big a street is; decides its width on the map and the speed on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreetClass {
    /// The ring road.
    Trunk,
    /// Main roads into the town.
    Primary,
    /// Roads between quarters.
    Secondary,
    /// Where people live.
    Residential,
    /// For people on foot.
    Path,
}

impl StreetClass {
    /// The class in GeoJSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trunk => "trunk",
            Self::Primary => "primary",
            Self::Secondary => "secondary",
            Self::Residential => "residential",
            Self::Path => "path",
        }
    }

    /// Usual driving speed in m/s: 40, 30, 30 and 20 mph less what traffic takes; 0 where nobody drives.
    #[must_use]
    pub fn driving_mps(self) -> f64 {
        match self {
            Self::Trunk => 16.5,
            Self::Primary => 12.5,
            Self::Secondary => 11.5,
            Self::Residential => 7.5,
            Self::Path => 0.0,
        }
    }
}

/// Names a junction: its place in [`StreetMap::junctions`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JunctionId(pub u32);

/// A straight piece of street between two junctions.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Piece {
    /// One end.
    pub a: JunctionId,
    /// The other end.
    pub b: JunctionId,
    /// How big the street is.
    pub class: StreetClass,
    /// The drawn line it is part of: its place in [`StreetMap::names`].
    pub line: u32,
}

/// A way out of a junction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Way {
    /// Where it leads.
    pub to: JunctionId,
    /// How long it is in metres.
    pub length_m: f64,
    /// How big the street is.
    pub class: StreetClass,
}

/// The network, connected.
#[derive(Debug, Clone)]
pub struct StreetMap {
    junctions: Vec<Point>,
    pieces: Vec<Piece>,
    ways: Vec<Vec<Way>>,
    names: Vec<String>,
}

impl StreetMap {
    pub(super) fn new(junctions: Vec<Point>, pieces: Vec<Piece>, names: Vec<String>) -> Self {
        let mut ways = vec![Vec::new(); junctions.len()];
        for piece in &pieces {
            let length_m = junctions[index(piece.a)].distance_m(junctions[index(piece.b)]);
            ways[index(piece.a)].push(Way { to: piece.b, length_m, class: piece.class });
            ways[index(piece.b)].push(Way { to: piece.a, length_m, class: piece.class });
        }
        Self { junctions, pieces, ways, names }
    }

    /// Where every junction is.
    #[must_use]
    pub fn junctions(&self) -> &[Point] {
        &self.junctions
    }

    /// Every junction's id.
    pub fn junction_ids(&self) -> impl Iterator<Item = JunctionId> + '_ {
        (0..self.junctions.len()).map(junction)
    }

    /// Every piece of street.
    #[must_use]
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// The name of a drawn line.
    #[must_use]
    pub fn name(&self, line: u32) -> &str {
        self.names.get(line as usize).map_or("", String::as_str)
    }

    /// Where a junction is.
    #[must_use]
    pub fn place(&self, junction: JunctionId) -> Point {
        self.junctions[index(junction)]
    }

    /// The ways out of a junction.
    #[must_use]
    pub fn ways(&self, junction: JunctionId) -> &[Way] {
        &self.ways[index(junction)]
    }

    /// The class of the street between two neighbouring junctions.
    #[must_use]
    pub fn class_between(&self, a: JunctionId, b: JunctionId) -> StreetClass {
        self.ways(a).iter().find(|way| way.to == b).map_or(StreetClass::Residential, |way| way.class)
    }

    /// Distance from `place` to the nearest street, in metres.
    #[must_use]
    pub fn distance_to_street_m(&self, place: Point) -> f64 {
        let distances = self
            .pieces
            .iter()
            .map(|piece| place.distance_to_line_m(self.place(piece.a), self.place(piece.b)));
        distances.fold(f64::INFINITY, f64::min)
    }

    /// The junction nearest to `place` that has a way which `usable` accepts.
    #[must_use]
    pub fn nearest_junction(&self, place: Point, usable: impl Fn(StreetClass) -> bool) -> Option<JunctionId> {
        self.junction_ids()
            .filter(|id| self.ways(*id).iter().any(|way| usable(way.class)))
            .min_by(|a, b| self.place(*a).distance_m(place).total_cmp(&self.place(*b).distance_m(place)))
    }
}

pub(super) fn index(junction: JunctionId) -> usize {
    junction.0 as usize
}

pub(super) fn junction(index: usize) -> JunctionId {
    JunctionId(u32::try_from(index).expect("a town has fewer than 2^32 junctions"))
}
