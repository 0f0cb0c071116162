//! The force's own tile server, asked from here so that the page asks nobody else.
//!
//! ```text
//! /map/tiles/{z}/{x}/{y} -> cache -(not fresh)-> turn -> pause? -> GET -> checked -> cache -> browser
//! ```
//! **A browser chooses three numbers of a request and nothing else, and is given a tile of a known kind or nothing**:
//! no cookie or header of its own goes on, no redirect is followed, no type, coding or length is passed on unchecked.
//! A server in trouble is left alone for a while, what is known of it is still shown, and the outline is always there.
//!
//! Bounds: [`FETCHES_MAX`] requests at once, [`TILE_BYTES_MAX`] a tile, [`Limits`] for time and memory.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, USER_AGENT};
use hyper::{Request, Response, StatusCode};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

use super::archive::{Coding, Kind, TILE_BYTES_MAX};
use super::cache::{Cache, Known};
use super::fault::{Fault, Telling};
use super::template::{Place, Template};
use crate::https::{self, AuthorityError, with_causes};

/// Requests to the server at once: a screen of tiles comes soon, and a small server is not flooded.
pub const FETCHES_MAX: usize = 8;

/// Where tiles come from, and what they are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSettings {
    /// Their address.
    pub template: Template,
    /// PEM of who issued the server's certificate; the system's roots otherwise.
    pub authority: Option<PathBuf>,
    /// Pictures; vector tiles otherwise.
    pub is_raster: bool,
    /// Lowest and highest zoom that is asked for.
    pub zooms: (u8, u8),
    /// Names of the layers of a vector map.
    pub layers: Vec<String>,
    /// Whom to name for it.
    pub attribution: String,
}

/// Time and memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a tile is there, waiting for a turn included. Below the time limit of an answer to a browser.
    pub fetch_max: Duration,
    /// How long a server in trouble is not asked.
    pub pause: Duration,
    /// Tiles in memory.
    pub cache_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let (fetch_max, pause) = (Duration::from_secs(10), Duration::from_secs(5));
        // Some 1,000 tiles of a dense town: the area that a control room looks at.
        Self { fetch_max, pause, cache_bytes_max: 32 << 20 }
    }
}

/// A tile that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// As they came.
    pub bytes: Bytes,
    /// What they are.
    pub kind: Kind,
    /// How they are packed.
    pub coding: Coding,
}

/// The server, as seen from here.
#[derive(Debug)]
pub struct TileServer {
    settings: ServerSettings,
    limits: Limits,
    client: Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    turns: Semaphore,
    cache: Mutex<Cache>,
    telling: Mutex<Telling>,
}

impl TileServer {
    /// A server that is asked at the first tile. Blocking: reads the authority's certificates.
    ///
    /// # Errors
    /// [`AuthorityError`].
    pub fn try_new(settings: ServerSettings, limits: Limits) -> Result<Self, AuthorityError> {
        let connector = https::connector(settings.authority.as_deref())?;
        let client =
            Client::builder(TokioExecutor::new()).pool_max_idle_per_host(FETCHES_MAX).build(connector);
        Ok(Self {
            client,
            turns: Semaphore::new(FETCHES_MAX),
            cache: Mutex::new(Cache::new(limits.cache_bytes_max)),
            telling: Mutex::new(Telling::new(limits.pause)),
            settings,
            limits,
        })
    }

    /// What it was made of.
    #[must_use]
    pub fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// One sentence for operators while the server has no tiles for them.
    #[must_use]
    pub fn trouble(&self) -> Option<&'static str> {
        self.telling().trouble(Instant::now())
    }

    /// One tile; `None`: there is nothing to draw. One that is not fresh is given while the server is in trouble. May be
    /// dropped at any time: the request ends with it.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) async fn tile(&self, place: Place) -> Result<Known, Fault> {
        if !self.has(place) {
            return Ok(Known { tile: None, is_fresh: true });
        }
        let known = self.cache().get(place, Instant::now());
        if let Some(known) = known.as_ref().filter(|known| known.is_fresh) {
            return Ok(known.clone());
        }
        let fetched = timeout(self.limits.fetch_max, self.in_turn(place)).await.unwrap_or_else(|_| {
            self.tell(Err(&Fault::Slow));
            Err(Fault::Slow)
        });
        match (fetched, known) {
            (Ok(tile), _) => Ok(Known { tile, is_fresh: true }),
            (Err(_), Some(old)) => Ok(old),
            (Err(fault), None) => Err(fault),
        }
    }

    /// What the server did, and nothing that was known before: only its own answer ends its trouble.
    fn tell(&self, outcome: Result<&Option<Tile>, &Fault>) {
        self.telling().tell(outcome, self.settings.template.host(), Instant::now());
    }

    async fn in_turn(&self, place: Place) -> Result<Option<Tile>, Fault> {
        let _permit = self.turns.acquire().await.expect("nobody closes this semaphore");
        // Whoever had a turn before may have asked for the same, or found the server in trouble.
        if let Some(known) = self.cache().get(place, Instant::now()).filter(|known| known.is_fresh) {
            return Ok(known.tile);
        }
        if self.telling().is_paused(Instant::now()) {
            return Err(Fault::Paused);
        }
        let fetched = self.fetch(place).await;
        self.tell(fetched.as_ref());
        let tile = fetched?;
        self.cache().put(place, tile.clone(), Instant::now());
        Ok(tile)
    }

    async fn fetch(&self, place: Place) -> Result<Option<Tile>, Fault> {
        let request = Request::get(self.settings.template.of(place))
            .header(USER_AGENT, concat!("fieldpost/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, if self.settings.is_raster { "image/*" } else { "*/*" })
            .header(ACCEPT_ENCODING, "gzip")
            .body(Empty::new())
            .expect("the address was checked, the rest is written here");
        let answer = self.client.request(request).await.map_err(|error| {
            let detail = with_causes(&error);
            if error.is_connect() { Fault::Unreachable(detail) } else { Fault::Broken(detail) }
        })?;
        match answer.status() {
            StatusCode::OK => self.checked(answer).await.map(Some),
            StatusCode::NO_CONTENT => Ok(None),
            // Most servers say so where their map ends; one that says nothing else has another address.
            StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST | StatusCode::GONE
                if self.telling().has_had_a_tile() =>
            {
                Ok(None)
            }
            StatusCode::NOT_FOUND => Err(Fault::NoTileYet),
            status => Err(Fault::Status(status)),
        }
    }

    async fn checked(&self, answer: Response<Incoming>) -> Result<Tile, Fault> {
        let text = |name: &HeaderName| answer.headers().get(name).and_then(|value| value.to_str().ok());
        let media_type = text(&CONTENT_TYPE).unwrap_or_default();
        let kind = kind_of(self.settings.is_raster, media_type)
            .ok_or_else(|| Fault::MediaType(media_type.chars().take(64).collect()))?;
        let coding = match text(&CONTENT_ENCODING).unwrap_or("identity") {
            "identity" => Coding::Plain,
            "gzip" => Coding::Gzip,
            _ => return Err(Fault::Coding),
        };
        let bytes_max = usize::try_from(TILE_BYTES_MAX).unwrap_or(usize::MAX);
        let body = Limited::new(answer.into_body(), bytes_max).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() { Fault::TooLarge } else { Fault::Broken(error.to_string()) }
        })?;
        let bytes = body.to_bytes();
        // Servers of files often keep vector tiles packed and do not say so. No vector tile begins like this.
        let is_packed = kind == Kind::Vector && bytes.starts_with(&[0x1f, 0x8b]);
        Ok(Tile { bytes, kind, coding: if is_packed { Coding::Gzip } else { coding } })
    }

    fn has(&self, (zoom, column, row): Place) -> bool {
        let (lowest, highest) = self.settings.zooms;
        let side = 1_u32.checked_shl(zoom.into()).unwrap_or(0);
        (lowest..=highest).contains(&zoom) && column < side && row < side
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn telling(&self) -> std::sync::MutexGuard<'_, Telling> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a media type promises, if it is one that is shown here.
fn kind_of(is_raster: bool, media_type: &str) -> Option<Kind> {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match (is_raster, essence.as_str()) {
        (
            false,
            "application/vnd.mapbox-vector-tile"
            | "application/x-protobuf"
            | "application/protobuf"
            | "application/octet-stream",
        ) => Some(Kind::Vector),
        (true, "image/png") => Some(Kind::Png),
        (true, "image/jpeg") => Some(Kind::Jpeg),
        (true, "image/webp") => Some(Kind::Webp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;

    use super::super::cache::FRESH_FOR;
    use super::*;

    const PLACE: Place = (7, 63, 42);

    /// One that is never asked.
    fn server() -> TileServer {
        let settings = ServerSettings {
            template: Template::try_new("http://127.0.0.1:9/{z}/{x}/{y}").unwrap(),
            authority: None,
            is_raster: true,
            zooms: (0, 14),
            layers: Vec::new(),
            attribution: String::new(),
        };
        TileServer::try_new(settings, Limits::default()).unwrap()
    }

    fn picture() -> Option<Tile> {
        Some(Tile { bytes: Bytes::from_static(b"a picture"), kind: Kind::Png, coding: Coding::Plain })
    }

    #[tokio::test]
    async fn a_tile_that_came_from_the_cache_ends_no_pause() {
        let server = server();
        let every_turn = server.turns.acquire_many(u32::try_from(FETCHES_MAX).unwrap()).await.unwrap();
        let mut asking = pin!(server.tile(PLACE));
        tokio::select! {
            biased;
            _ = &mut asking => panic!("it had no turn"),
            () = ready(()) => {}
        }
        // What others met meanwhile: this tile, and then trouble.
        server.cache().put(PLACE, picture(), Instant::now());
        server.tell(Err(&Fault::Slow));
        drop(every_turn);
        assert_eq!(asking.await, Ok(Known { tile: picture(), is_fresh: true }));
        assert!(server.telling().is_paused(Instant::now()) && server.trouble().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_tile_of_before_the_trouble_is_given_as_an_old_one() {
        let server = server();
        server.cache().put(PLACE, picture(), Instant::now());
        assert_eq!(server.tile(PLACE).await, Ok(Known { tile: picture(), is_fresh: true }));
        tokio::time::advance(FRESH_FOR).await;
        server.tell(Err(&Fault::Slow));
        assert_eq!(server.tile(PLACE).await, Ok(Known { tile: picture(), is_fresh: false }));
    }

    #[test]
    fn only_what_a_browser_draws_as_a_tile_is_a_tile() {
        assert_eq!(kind_of(false, "application/x-protobuf"), Some(Kind::Vector));
        assert_eq!(kind_of(false, "Application/Vnd.Mapbox-Vector-Tile; charset=utf-8"), Some(Kind::Vector));
        assert_eq!(kind_of(true, "image/webp"), Some(Kind::Webp));
        for (is_raster, media_type) in [
            (false, "text/html"),
            (true, "text/html"),
            (true, "image/svg+xml"),
            (true, "application/octet-stream"),
            (false, "image/png"),
            (false, ""),
        ] {
            assert_eq!(kind_of(is_raster, media_type), None, "{media_type}");
        }
    }
}
