//! The ground under the units: a map file of the force, tile by tile, from this origin alone.
//!
//! ```text
//! [map] pmtiles = "region.pmtiles" -> Archive -> GET /map/base.json           what it is
//!                                             -> GET /map/tiles/{z}/{x}/{y}   one tile, as it lies in the file
//! ```
//! **A map file that is none costs the map, never the room**: it is said in the log at start and on the page, and the
//! built-in outline is shown instead. A tile tells nothing of a unit, so it needs a session and no access record.
//!
//! Bounds: [`archive::TILE_BYTES_MAX`] a tile, [`archive::DIRECTORY_BYTES_MAX`] a directory, [`READS_MAX`] reads at once.

pub mod archive;
mod directory;

use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path as Segments, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use self::archive::{Archive, Coding, Kind};
use super::{App, refusal};

/// Reads of the map file at once: enough for a screen of tiles, and the blocking threads stay free for the journal.
pub const READS_MAX: usize = 8;

/// A map file, or the reason why there is none.
#[derive(Debug, Clone)]
pub struct Tiles {
    archive: Option<Arc<Archive>>,
    fault: Option<&'static str>,
    reads: Arc<Semaphore>,
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
    /// Why the configured map is not shown.
    fault: Option<&'static str>,
}

impl Tiles {
    /// No map file: the outline.
    #[must_use]
    pub fn none() -> Self {
        Self { archive: None, fault: None, reads: Arc::new(Semaphore::new(READS_MAX)) }
    }

    /// Opens the configured map file. One that is none is said in the log, and the outline takes its place. Blocking.
    #[must_use]
    pub fn open(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::none() };
        match Archive::open(path) {
            Ok(archive) => Self { archive: Some(Arc::new(archive)), ..Self::none() },
            Err(error) => {
                tracing::error!(path = %path.display(), "the map file is not shown: {error}; check `map.pmtiles`");
                let fault = "The map file of this gateway cannot be read: its outline is shown instead.";
                Self { fault: Some(fault), ..Self::none() }
            }
        }
    }

    fn base(&self) -> Base<'_> {
        let nothing = Base {
            kind: "none",
            minzoom: 0,
            maxzoom: 0,
            bounds: [-180.0, -85.0, 180.0, 85.0],
            layers: &[],
            attribution: "",
            fault: self.fault,
        };
        let Some(archive) = &self.archive else { return nothing };
        Base {
            kind: if archive.kind() == Kind::Vector { "vector" } else { "raster" },
            minzoom: archive.zooms().0,
            maxzoom: archive.zooms().1,
            bounds: archive.bounds(),
            layers: archive.layers(),
            attribution: archive.attribution(),
            ..nothing
        }
    }
}

/// `GET /map/base.json`.
pub(super) async fn base(State(app): State<Arc<App>>) -> Response {
    Json(app.tiles.base()).into_response()
}

/// `GET /map/tiles/{z}/{x}/{y}`. 204: there is nothing to draw there.
pub(super) async fn tile(State(app): State<Arc<App>>, Segments(place): Segments<(u8, u32, u32)>) -> Response {
    let Some(archive) = app.tiles.archive.clone() else {
        return refusal(StatusCode::NOT_FOUND, "there is no map file here");
    };
    let _permit = app.tiles.reads.acquire().await.expect("nobody closes this semaphore");
    let reader = Arc::clone(&archive);
    let read = spawn_blocking(move || reader.tile(place.0, place.1, place.2))
        .await
        .expect("reading a tile does not panic, and nobody aborts it");
    match read {
        Ok(Some(bytes)) => respond(&archive, bytes),
        Ok(None) => StatusCode::NO_CONTENT.into_response(),
        Err(_) => refusal(StatusCode::INTERNAL_SERVER_ERROR, "this part of the map file cannot be read"),
    }
}

fn respond(archive: &Archive, bytes: Vec<u8>) -> Response {
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(archive.kind().media_type()));
    // A map changes with the gateway's start at most; an hour is soon enough to show it.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    if archive.coding() == Coding::Gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}
