//! Makes a network of loose lines: cuts them where they cross, joins ends that nearly meet, trims what leads nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    plane::Point,
    sketch::Sketch,
    streets::{JunctionId, Piece, StreetClass, StreetMap, index, junction},
};

/// Junctions closer than this are one, in metres.
const SAME_JUNCTION_M: f64 = 9.0;
/// A dead end shorter than this is trimmed, in metres. Longer ones are closes, as every town has them.
const DEAD_END_M: f64 = 62.0;
/// Side of the squares that crossings are looked for in, in metres; no segment is longer.
const CELL_M: f64 = 64.0;

#[derive(Clone, Copy)]
struct Segment {
    a: Point,
    b: Point,
    line: u32,
    class: StreetClass,
}

pub(super) fn join(sketch: &Sketch) -> StreetMap {
    let segments = segments(sketch);
    let mut network = Network::default();
    for (segment, cuts) in segments.iter().zip(crossings(&segments)) {
        network.add(segment, cuts);
    }
    network.trim_dead_ends();
    network.keep_largest_part();
    let names = sketch.lines.iter().map(|line| line.name.clone()).collect();
    network.into_map(names)
}

fn segments(sketch: &Sketch) -> Vec<Segment> {
    let mut segments = Vec::new();
    for (number, line) in sketch.lines.iter().enumerate() {
        let number = u32::try_from(number).expect("a town has fewer than 2^32 lines");
        for pair in line.points.windows(2) {
            let &[a, b] = pair else { continue };
            let wet = sketch.river.side_m(a) * sketch.river.side_m(b) <= 0.0;
            if wet && !line.bridge {
                continue;
            }
            let pieces = (a.distance_m(b) / CELL_M).ceil().max(1.0);
            let mut from = a;
            for piece in 1.. {
                let to = a.towards(b, (f64::from(piece) / pieces).min(1.0));
                segments.push(Segment { a: from, b: to, line: number, class: line.class });
                from = to;
                if f64::from(piece) >= pieces {
                    break;
                }
            }
        }
    }
    segments
}

#[expect(clippy::cast_possible_truncation, reason = "a town is a few thousand metres wide")]
fn cell(place: Point, side_m: f64) -> (i32, i32) {
    ((place.x / side_m).floor() as i32, (place.y / side_m).floor() as i32)
}

/// For every segment the shares (0 to 1) at which others cross it.
fn crossings(segments: &[Segment]) -> Vec<Vec<f64>> {
    let mut cells: BTreeMap<(i32, i32), Vec<usize>> = BTreeMap::new();
    for (number, segment) in segments.iter().enumerate() {
        cells.entry(cell(segment.a.towards(segment.b, 0.5), CELL_M)).or_default().push(number);
    }
    let mut cuts = vec![Vec::new(); segments.len()];
    for (number, segment) in segments.iter().enumerate() {
        let (x, y) = cell(segment.a.towards(segment.b, 0.5), CELL_M);
        for (dx, dy) in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (dx, dy))) {
            for &other in cells.get(&(x + dx, y + dy)).into_iter().flatten() {
                if other > number
                    && let Some((own, its)) = crossing(segment, &segments[other])
                {
                    cuts[number].push(own);
                    cuts[other].push(its);
                }
            }
        }
    }
    cuts
}

fn crossing(one: &Segment, two: &Segment) -> Option<(f64, f64)> {
    let (d1, d2, between) = (one.b.minus(one.a), two.b.minus(two.a), two.a.minus(one.a));
    let cross = d1.x * d2.y - d1.y * d2.x;
    if cross.abs() < 1e-6 {
        return None;
    }
    let own = (between.x * d2.y - between.y * d2.x) / cross;
    let its = (between.x * d1.y - between.y * d1.x) / cross;
    ((0.0..=1.0).contains(&own) && (0.0..=1.0).contains(&its)).then_some((own, its))
}

#[derive(Default)]
struct Network {
    junctions: Vec<Point>,
    by_cell: BTreeMap<(i32, i32), Vec<usize>>,
    pieces: BTreeMap<(usize, usize), (StreetClass, u32)>,
}

impl Network {
    fn add(&mut self, segment: &Segment, mut cuts: Vec<f64>) {
        cuts.extend([0.0, 1.0]);
        cuts.sort_by(f64::total_cmp);
        let stops: Vec<usize> =
            cuts.iter().map(|share| self.junction_at(segment.a.towards(segment.b, *share))).collect();
        for pair in stops.windows(2) {
            let &[a, b] = pair else { continue };
            if a != b {
                let new = (segment.class, segment.line);
                let kept = self.pieces.entry((a.min(b), a.max(b))).or_insert(new);
                *kept = (*kept).min(new);
            }
        }
    }

    fn junction_at(&mut self, place: Point) -> usize {
        let (x, y) = cell(place, SAME_JUNCTION_M);
        for (dx, dy) in (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (dx, dy))) {
            for &known in self.by_cell.get(&(x + dx, y + dy)).into_iter().flatten() {
                if self.junctions[known].distance_m(place) < SAME_JUNCTION_M {
                    return known;
                }
            }
        }
        self.junctions.push(place);
        let new = self.junctions.len() - 1;
        self.by_cell.entry((x, y)).or_default().push(new);
        new
    }

    fn neighbours(&self) -> Vec<BTreeSet<usize>> {
        let mut neighbours = vec![BTreeSet::new(); self.junctions.len()];
        for &(a, b) in self.pieces.keys() {
            neighbours[a].insert(b);
            neighbours[b].insert(a);
        }
        neighbours
    }

    /// Trims every dead end shorter than [`DEAD_END_M`] back to its junction.
    fn trim_dead_ends(&mut self) {
        let mut neighbours = self.neighbours();
        let ends: Vec<usize> = (0..neighbours.len()).filter(|end| neighbours[*end].len() == 1).collect();
        for end in ends {
            let mut stub = vec![end];
            let mut length_m = 0.0;
            while let Some(&next) = neighbours[stub[stub.len() - 1]].iter().find(|next| !stub.contains(*next))
            {
                length_m += self.junctions[next].distance_m(self.junctions[stub[stub.len() - 1]]);
                stub.push(next);
                if neighbours[next].len() != 2 || length_m > DEAD_END_M {
                    break;
                }
            }
            if length_m > DEAD_END_M {
                continue;
            }
            for pair in stub.windows(2) {
                let &[a, b] = pair else { continue };
                neighbours[a].remove(&b);
                neighbours[b].remove(&a);
                self.pieces.remove(&(a.min(b), a.max(b)));
            }
        }
    }

    fn keep_largest_part(&mut self) {
        let neighbours = self.neighbours();
        let mut part_of = vec![usize::MAX; neighbours.len()];
        let mut sizes = Vec::new();
        for start in 0..neighbours.len() {
            if part_of[start] != usize::MAX {
                continue;
            }
            let part = sizes.len();
            sizes.push(0_usize);
            let mut open = vec![start];
            part_of[start] = part;
            while let Some(at) = open.pop() {
                sizes[part] += 1;
                for &next in &neighbours[at] {
                    if part_of[next] == usize::MAX {
                        part_of[next] = part;
                        open.push(next);
                    }
                }
            }
        }
        let largest = (0..sizes.len()).max_by_key(|part| sizes[*part]).unwrap_or(0);
        self.pieces.retain(|(a, _), _| part_of[*a] == largest);
    }

    fn into_map(self, names: Vec<String>) -> StreetMap {
        let used: BTreeSet<usize> = self.pieces.keys().flat_map(|(a, b)| [*a, *b]).collect();
        let new_ids: BTreeMap<usize, JunctionId> =
            used.iter().enumerate().map(|(new, old)| (*old, junction(new))).collect();
        let junctions = used.iter().map(|old| self.junctions[*old]).collect();
        let pieces = self
            .pieces
            .iter()
            .map(|((a, b), (class, line))| Piece { a: new_ids[a], b: new_ids[b], class: *class, line: *line })
            .collect();
        let map = StreetMap::new(junctions, pieces, names);
        debug_assert!(map.pieces().iter().all(|piece| index(piece.a) < map.junctions().len()));
        map
    }
}
