//! `[map]`: what lies under the units.

use super::forward::authority;
use super::parse::narrow;
use super::section::{Located, Section};
use crate::http::tiles::Ground;
use crate::http::tiles::server::ServerSettings;
use crate::http::tiles::template::{Template, TemplateError};

/// Web maps have no tiles above; a page zooms on with the last ones.
const ZOOM_MAX: u64 = 22;
const LAYERS_MAX: usize = 64;
/// A line under the map.
const ATTRIBUTION_CHARS_MAX: usize = 200;
/// Layers of OS Open Zoomstack, then of the OpenMapTiles scheme. A layer that a map does not have costs nothing.
const LAYERS: [&str; 27] = [
    "sea",
    "foreshore",
    "national_parks",
    "urban_areas",
    "woodland",
    "greenspaces",
    "surfacewater",
    "waterlines",
    "local_buildings",
    "district_buildings",
    "boundaries",
    "rail",
    "roads",
    "names",
    "water",
    "waterway",
    "landcover",
    "landuse",
    "park",
    "building",
    "transportation",
    "boundary",
    "aeroway",
    "water_name",
    "transportation_name",
    "place",
    "aerodrome_label",
];

/// Reads the section.
pub(super) fn ground(root: &Section<'_>) -> Option<Ground> {
    let section = root.section("map");
    let pmtiles = section.path("pmtiles");
    let tiles = section.text("tiles");
    let ground = match (pmtiles, tiles) {
        (Some(_), Some(tiles)) => {
            section.report().mistake(
                &tiles.origin,
                "`map.pmtiles` and `map.tiles` are two maps",
                "remove one of them",
            );
            None
        }
        (Some(pmtiles), None) => {
            no_server(&section);
            Some(Ground::File(pmtiles.value))
        }
        (None, Some(tiles)) => server(&section, &tiles).map(|server| Ground::Server(Box::new(server))),
        (None, None) => {
            no_server(&section);
            Some(Ground::Outline)
        }
    };
    section.finish();
    ground
}

/// What describes a server says nothing without one.
fn no_server(section: &Section<'_>) {
    for key in ["authority", "kind", "minzoom", "maxzoom", "layers", "attribution"] {
        if section.has(key) {
            section.report().mistake(
                section.origin(),
                format!("`map.{key}` describes a tile server, and there is none"),
                "write `map.tiles`, or remove it",
            );
        }
    }
}

fn server(section: &Section<'_>, tiles: &Located<String>) -> Option<ServerSettings> {
    let template = Template::try_new(&tiles.value).map_err(|error| {
        // It may hold a key of the server: it is shown in the file's own line, not repeated here.
        section.report().mistake(&tiles.origin, format!("`{}`: {error}", tiles.key), help_for(&error));
    });
    let authority = authority(section);
    let is_raster =
        section.choice("kind", &[("auto", None), ("vector", Some(false)), ("raster", Some(true))]);
    let lowest = section.integer("minzoom", 0, 0..=ZOOM_MAX);
    let highest = section.integer("maxzoom", 14, 0..=ZOOM_MAX);
    if lowest > highest {
        section.report().mistake(section.origin(), "`map.minzoom` is above `map.maxzoom`", "swap them");
    }
    let layers = layers(section);
    let attribution = attribution(section);
    let template = template.ok()?;
    Some(ServerSettings {
        is_raster: is_raster.unwrap_or_else(|| template.is_of_pictures()),
        template,
        authority: authority?,
        zooms: (narrow(lowest), narrow(highest)),
        layers,
        attribution,
    })
}

fn help_for(error: &TemplateError) -> &'static str {
    match error {
        TemplateError::Login => "use a server that knows this machine by its address, or a key in the query",
        TemplateError::ClearText => "use https://; http:// is for loopback only",
        TemplateError::Url | TemplateError::Holes => {
            "for example tiles = \"https://tiles.force.example/county/{z}/{x}/{y}.pbf\""
        }
    }
}

fn layers(section: &Section<'_>) -> Vec<String> {
    if !section.has("layers") {
        return LAYERS.map(str::to_owned).to_vec();
    }
    let layers = section.texts("layers");
    if layers.len() > LAYERS_MAX {
        section.report().mistake(
            section.origin(),
            format!("`map.layers` names {} layers; at most {LAYERS_MAX}", layers.len()),
            "name those that are to be drawn",
        );
    }
    layers.into_iter().map(|layer| layer.value).collect()
}

fn attribution(section: &Section<'_>) -> String {
    let Some(text) = section.text("attribution") else { return String::new() };
    if text.value.chars().count() > ATTRIBUTION_CHARS_MAX {
        section.report().mistake(
            &text.origin,
            format!("`{}` is longer than {ATTRIBUTION_CHARS_MAX} characters", text.key),
            "it is a line under the map: shorten it",
        );
    }
    text.value
}
