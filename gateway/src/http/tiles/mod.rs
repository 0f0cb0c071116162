//! The ground under the units: a map of the force, tile by tile, from this origin alone.
//!
//! ```text
//! [map] pmtiles = "region.pmtiles" -> Archive ----+-> GET /map/base.json           what it is
//! [map] tiles = "https://..."      -> TileServer -+-> GET /map/tiles/{z}/{x}/{y}   one tile
//! ```
//! **A map that cannot be had costs the map, never the room**: it is said in the log and on the page, and the built-in
//! outline is shown instead. A tile tells nothing of a unit, so it needs a session and no access record.
//!
//! Bounds: [`archive::TILE_BYTES_MAX`] a tile, [`archive::DIRECTORY_BYTES_MAX`] a directory, [`READS_MAX`] reads at once;
//! a server's are in [`server`].

pub mod archive;
pub mod fault;
pub mod server;
pub mod template;

mod cache;
mod directory;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path as Segments, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::archive::{Archive, ArchiveError, Coding, Kind};
use self::cache::Known;
use self::server::{Limits, ServerSettings, Tile, TileServer};
use super::{App, refusal};

/// Reads of the map file at once: enough for a screen of tiles, and the blocking threads stay free for the journal.
pub const READS_MAX: usize = 8;

/// What lies under the units, as configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Ground {
    /// The built-in outline alone.
    #[default]
    Outline,
    /// A PMTiles archive. Whether it is one shows when it is opened.
    File(PathBuf),
    /// A tile server of the force.
    Server(Box<ServerSettings>),
}

/// A map, or the reason why there is none.
#[derive(Debug, Clone)]
pub struct Tiles {
    source: Source,
    fault: Option<&'static str>,
    reads: Arc<Semaphore>,
}

#[derive(Debug, Clone)]
enum Source {
    None,
    File(Arc<Archive>),
    Server(Arc<TileServer>),
}

/// What the page is told: `/map/base.json`.
#[derive(Debug, Serialize)]
struct Base<'a> {
    /// `none`, `vector` or `raster`.
    kind: &'static str,
    minzoom: u8,
    maxzoom: u8,
    /// West, south, east, north; degrees WGS 84.
    bounds: [f64; 4],
    /// Names of the layers of a vector map.
    layers: &'a [String],
    attribution: &'a str,
    /// Why the configured map is not shown, or not all of it.
    fault: Option<&'static str>,
}

const EVERYWHERE: [f64; 4] = [-180.0, -85.0, 180.0, 85.0];
const NOT_SHOWN: &str = "The map of this gateway cannot be read: its outline is shown instead.";

impl Tiles {
    /// No map: the outline.
    #[must_use]
    pub fn none() -> Self {
        Self { source: Source::None, fault: None, reads: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Opens the configured map. One that cannot be had is said in the log, and the outline takes its place. Blocking.
    #[must_use]
    pub fn open(ground: &Ground) -> Self {
        match ground {
            Ground::Outline => Self::none(),
            Ground::File(path) => Archive::open(path).map_or_else(
                |error: ArchiveError| {
                    tracing::error!(path = %path.display(), "the map file is not shown: {error}; check `map.pmtiles`");
                    Self { fault: Some(NOT_SHOWN), ..Self::none() }
                },
                |archive| Self { source: Source::File(Arc::new(archive)), ..Self::none() },
            ),
            Ground::Server(settings) => Self::of_server(ServerSettings::clone(settings), Limits::default()),
        }
    }

    /// A tile server under other limits than its own. Blocking.
    #[must_use]
    pub fn of_server(settings: ServerSettings, limits: Limits) -> Self {
        match TileServer::try_new(settings, limits) {
            Ok(server) => Self { source: Source::Server(Arc::new(server)), ..Self::none() },
            Err(error) => {
                tracing::error!("the map server is not asked: {error}; check `map.authority`");
                Self { fault: Some(NOT_SHOWN), ..Self::none() }
            }
        }
    }

    fn base(&self) -> Base<'_> {
        let kind = |is_vector| if is_vector { "vector" } else { "raster" };
        match &self.source {
            Source::None => Base {
                kind: "none",
                minzoom: 0,
                maxzoom: 0,
                bounds: EVERYWHERE,
                layers: &[],
                attribution: "",
                fault: self.fault,
            },
            Source::File(archive) => Base {
                kind: kind(archive.kind() == Kind::Vector),
                minzoom: archive.zooms().0,
                maxzoom: archive.zooms().1,
                bounds: archive.bounds(),
                layers: archive.layers(),
                attribution: archive.attribution(),
                fault: None,
            },
            Source::Server(server) => {
                let ServerSettings { is_raster, zooms, layers, attribution, .. } = server.settings();
                Base {
                    kind: kind(!is_raster),
                    minzoom: zooms.0,
                    maxzoom: zooms.1,
                    bounds: EVERYWHERE,
                    layers,
                    attribution,
                    fault: server.trouble(),
                }
            }
        }
    }
}

/// `GET /map/base.json`.
pub(super) async fn base(State(app): State<Arc<App>>) -> Response {
    Json(app.tiles.base()).into_response()
}

/// `GET /map/tiles/{z}/{x}/{y}`. 204: there is nothing to draw there.
pub(super) async fn tile(State(app): State<Arc<App>>, Segments(place): Segments<(u8, u32, u32)>) -> Response {
    let tile = match &app.tiles.source {
        Source::None => return refusal(StatusCode::NOT_FOUND, "there is no map here"),
        Source::File(archive) => from_file(&app.tiles.reads, archive, place)
            .await
            .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "this part of the map file cannot be read")),
        Source::Server(server) => server
            .tile(place)
            .await
            .map_err(|_| (StatusCode::BAD_GATEWAY, "the map server has not given this part of the map")),
    };
    match tile {
        Ok(Known { tile: Some(tile), is_fresh }) => respond(tile, is_fresh),
        Ok(Known { tile: None, .. }) => StatusCode::NO_CONTENT.into_response(),
        Err((status, sentence)) => {
            app.live.metrics().live.map_tile_failures.inc();
            refusal(status, sentence)
        }
    }
}

async fn from_file(
    reads: &Semaphore,
    archive: &Arc<Archive>,
    (zoom, column, row): (u8, u32, u32),
) -> Result<Known, ArchiveError> {
    let _permit = reads.acquire().await.expect("nobody closes this semaphore");
    let reader = Arc::clone(archive);
    let read = spawn_blocking(move || reader.tile(zoom, column, row))
        .await
        .expect("reading a tile does not panic, and nobody aborts it")?;
    let whole = |bytes: Vec<u8>| Tile { bytes: bytes.into(), kind: archive.kind(), coding: archive.coding() };
    Ok(Known { tile: read.map(whole), is_fresh: true })
}

fn respond(tile: Tile, is_fresh: bool) -> Response {
    let mut response = tile.bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(tile.kind.media_type()));
    // A file changes with the gateway's start at most, and a server's tile is kept here as long; an hour is soon enough.
    // One that is older goes out because the server is in trouble: the next one is wanted soon after that is over.
    let age = if is_fresh { "private, max-age=3600" } else { "private, max-age=60" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(age));
    if tile.coding == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_keeps_a_fresh_tile_for_an_hour_and_an_old_one_for_a_minute() {
        for (is_fresh, age) in [(true, "private, max-age=3600"), (false, "private, max-age=60")] {
            let tile = Tile { bytes: "a picture".into(), kind: Kind::Png, coding: Coding::Plain };
            assert_eq!(respond(tile, is_fresh).headers()[header::CACHE_CONTROL], age);
        }
    }
}
