//! Placeholder.
fn main() {
    let t = fieldpost_simulator::world::Town::build(
        std::env::args().nth(1).and_then(|s| s.parse().ok()).unwrap_or(1),
    );
    std::fs::write("/tmp/town.json", fieldpost_simulator::world::geojson::render(&t)).expect("x");
}
