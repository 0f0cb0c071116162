//! The town as GeoJSON (RFC 7946), for the control room's map and for `fieldpost-sim streets`.
//!
//! Streets are `LineString` features with `kind: "street"`, `class` (`trunk | primary | secondary | residential | path`)
//! and `name`; the river and the parks are `Polygon` features with `kind: "river" | "park"`.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    Town,
    plane::Point,
    streets::{JunctionId, Piece, StreetClass, StreetMap},
};

/// The whole town as one `FeatureCollection`; the same town gives the same bytes.
#[must_use]
pub fn render(town: &Town) -> String {
    let mut out = String::from("{\"type\":\"FeatureCollection\",\"features\":[");
    for park in town.parks() {
        area(&mut out, "park", &park.outline());
    }
    area(&mut out, "river", &town.river().outline());
    for (class, line, places) in chains(town.streets()) {
        let name = town.streets().name(line);
        let class = class.as_str();
        let head = format!("\"kind\":\"street\",\"class\":\"{class}\",\"name\":\"{name}\"");
        feature(&mut out, &head, "LineString", &coordinates(&places));
    }
    out.push_str("]}\n");
    out
}

fn area(out: &mut String, kind: &str, outline: &[Point]) {
    feature(out, &format!("\"kind\":\"{kind}\""), "Polygon", &format!("[{}]", coordinates(outline)));
}

fn feature(out: &mut String, properties: &str, geometry: &str, coordinates: &str) {
    if !out.ends_with('[') {
        out.push(',');
    }
    write!(
        out,
        "\n{{\"type\":\"Feature\",\"properties\":{{{properties}}},\"geometry\":{{\"type\":\"{geometry}\",\"coordinates\":{coordinates}}}}}"
    )
    .expect("writing to a string cannot fail");
}

fn coordinates(places: &[Point]) -> String {
    let pairs: Vec<String> = places
        .iter()
        .map(|place| {
            let (longitude_deg, latitude_deg) = place.degrees();
            // Five decimals are a metre: finer than a line on the screen.
            format!("[{longitude_deg:.5},{latitude_deg:.5}]")
        })
        .collect();
    format!("[{}]", pairs.join(","))
}

/// Pieces of one drawn line that follow each other, joined into one line each.
fn chains(streets: &StreetMap) -> Vec<(StreetClass, u32, Vec<Point>)> {
    let mut by_line: BTreeMap<(StreetClass, u32), Vec<&Piece>> = BTreeMap::new();
    for piece in streets.pieces() {
        by_line.entry((piece.class, piece.line)).or_default().push(piece);
    }
    let mut chains = Vec::new();
    // Small streets first: the big ones are drawn over them.
    for ((class, line), mut pieces) in by_line.into_iter().rev() {
        while let Some(piece) = pieces.pop() {
            let mut chain = vec![piece.a, piece.b];
            extend(&mut chain, &mut pieces);
            chain.reverse();
            extend(&mut chain, &mut pieces);
            chains.push((class, line, chain.iter().map(|junction| streets.place(*junction)).collect()));
        }
    }
    chains
}

fn extend(chain: &mut Vec<JunctionId>, pieces: &mut Vec<&Piece>) {
    while let Some(end) = chain.last().copied() {
        let Some(at) = pieces.iter().position(|piece| piece.a == end || piece.b == end) else { return };
        let piece = pieces.swap_remove(at);
        chain.push(if piece.a == end { piece.b } else { piece.a });
    }
}
