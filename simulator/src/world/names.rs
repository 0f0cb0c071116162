//! Invented street names. No personal names.

use super::{dice::Dice, streets::StreetClass};

const FIRST: [&str; 40] = [
    "Alder", "Ash", "Barley", "Beacon", "Bell", "Birch", "Bridle", "Brook", "Cannon", "Castle", "Chapel",
    "Cherry", "Clay", "Copper", "Cross", "Drover", "Elm", "Fern", "Field", "Fuller", "Furnace", "Glebe",
    "Hawthorn", "Hazel", "Heron", "Kiln", "Lime", "Malt", "Meadow", "Mill", "Orchard", "Priory", "Quarry",
    "Rook", "Saddler", "Stone", "Tanner", "Tithe", "Weaver", "Willow",
];
const LANES: [&str; 10] =
    ["Street", "Lane", "Road", "Close", "Crescent", "Avenue", "Gardens", "Row", "Rise", "Walk"];
const BIG_FIRST: [&str; 12] = [
    "Station",
    "London",
    "Market",
    "Northgate",
    "Castle",
    "Albion",
    "Canal",
    "Priory",
    "Abbey",
    "Foundry",
    "Bridge",
    "Racecourse",
];

/// A name for a street of this class; roads that carry traffic sound like it.
pub(super) fn street(dice: &mut Dice, class: StreetClass) -> String {
    let (first, last) = match class {
        StreetClass::Trunk => ("Ring", "Road"),
        StreetClass::Primary => (BIG_FIRST[dice.index(BIG_FIRST.len())], "Road"),
        StreetClass::Secondary => (FIRST[dice.index(FIRST.len())], ["Road", "Street", "Hill"][dice.index(3)]),
        StreetClass::Residential => (FIRST[dice.index(FIRST.len())], LANES[dice.index(LANES.len())]),
        StreetClass::Path => (FIRST[dice.index(FIRST.len())], "Path"),
    };
    format!("{first} {last}")
}
