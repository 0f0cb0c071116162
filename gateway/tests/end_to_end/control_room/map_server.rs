//! A tile server of the force behind the page: what comes back is a tile or nothing, whatever the server does.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use fieldpost_gateway::http::tiles::Tiles;
use fieldpost_gateway::http::tiles::server::{Limits, ServerSettings};
use fieldpost_gateway::http::tiles::template::Template;
use fieldpost_gateway::pki::Authority;

use super::browser::Browser;
use super::rig::Site;
use crate::forward::webhook::tls_front;
use crate::postgres_server::quiet_port;

/// What the server does with one request; a picture once it has nothing more to do.
enum Knob {
    Answer(u16, &'static [(&'static str, &'static str)], Vec<u8>),
    Hang,
}

#[derive(Clone, Default)]
struct TileServer {
    script: Arc<Mutex<VecDeque<Knob>>>,
    asked: Arc<Mutex<Vec<(String, HeaderMap)>>>,
}

impl TileServer {
    fn with(script: impl IntoIterator<Item = Knob>) -> Self {
        let server = Self::default();
        server.script.lock().unwrap().extend(script);
        server
    }

    async fn start(&self) -> SocketAddr {
        self.start_at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_at(&self, address: SocketAddr) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = axum::Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        address
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(|(path, _)| path.clone()).collect()
    }
}

async fn answer(State(server): State<TileServer>, request: Request) -> Response {
    let asked = (request.uri().to_string(), request.headers().clone());
    server.asked.lock().unwrap().push(asked);
    let knob = server.script.lock().unwrap().pop_front();
    match knob {
        None => ([("content-type", "image/png")], "a picture").into_response(),
        Some(Knob::Hang) => std::future::pending().await,
        Some(Knob::Answer(status, headers, body)) => {
            let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            response.body(Body::from(body)).unwrap()
        }
    }
}

const HASTE: Limits =
    Limits { fetch_max: Duration::from_secs(15), pause: Duration::ZERO, cache_bytes_max: 1 << 20 };

fn of_pictures(url: &str) -> ServerSettings {
    ServerSettings {
        template: Template::try_new(url).unwrap(),
        authority: None,
        is_raster: true,
        zooms: (0, 14),
        layers: Vec::new(),
        attribution: "Ordnance Survey".to_owned(),
    }
}

/// A site whose map comes from `address`.
fn site(address: SocketAddr, limits: Limits) -> Site {
    let mut site = Site::new();
    let settings = of_pictures(&format!("http://{address}/county/{{z}}/{{x}}/{{y}}.png?key=k"));
    site.tiles = Some(Tiles::of_server(settings, limits));
    site
}

async fn trouble(browser: &Browser) -> Option<String> {
    let base = browser.get("/map/base.json").await.json();
    base["fault"].as_str().map(str::to_owned)
}

#[tokio::test]
async fn a_tile_is_asked_for_once_and_nothing_of_the_browser_goes_on() {
    let server = TileServer::default();
    let site = site(server.start().await, HASTE);
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let base = browser.get("/map/base.json").await.json();
    assert_eq!(
        (base["kind"].as_str(), base["attribution"].as_str()),
        (Some("raster"), Some("Ordnance Survey"))
    );
    for _ in 0..3 {
        let tile = browser.get("/map/tiles/7/63/42").await;
        assert_eq!((tile.status, tile.text().as_str()), (200, "a picture"));
        assert_eq!(tile.headers["content-type"], "image/png");
        assert_eq!(tile.headers["x-content-type-options"], "nosniff");
    }
    assert_eq!(server.asked(), ["/county/7/63/42.png?key=k"]);
    let (_, headers) = server.asked.lock().unwrap()[0].clone();
    for name in headers.keys() {
        assert!(["host", "user-agent", "accept", "accept-encoding"].contains(&name.as_str()), "{name}");
    }
    for outside in ["/map/tiles/15/0/0", "/map/tiles/3/8/0", "/map/tiles/0/0/1"] {
        assert_eq!(browser.get(outside).await.status, 204, "{outside}");
    }
    assert_eq!(server.asked().len(), 1, "what no map has is not asked for");
    room.stop().await;
}

#[tokio::test]
async fn whatever_is_no_tile_is_told_and_not_passed_on() {
    let png: &[(&str, &str)] = &[("content-type", "image/png")];
    let script = vec![
        (
            Knob::Answer(200, &[("content-type", "text/html")], b"<script>alert(1)</script>".into()),
            "cannot be shown",
        ),
        (Knob::Answer(200, &[("content-type", "image/svg+xml")], b"<svg/>".into()), "cannot be shown"),
        (
            Knob::Answer(200, &[("content-type", "image/png"), ("content-encoding", "br")], b"x".into()),
            "cannot be shown",
        ),
        (Knob::Answer(200, png, vec![0; (4 << 20) + 1]), "cannot be shown"),
        (Knob::Answer(404, &[], Vec::new()), "nothing at the configured address"),
        (Knob::Answer(500, png, b"a picture".into()), "does not answer"),
        (Knob::Answer(403, png, b"a picture".into()), "does not answer"),
    ];
    let (script, words): (Vec<_>, Vec<_>) = script.into_iter().unzip();
    let server = TileServer::with(script);
    let site = site(server.start().await, HASTE);
    let room = site.open().await;
    let browser = room.browser("anna").await;
    for (number, words) in words.into_iter().enumerate() {
        let tile = browser.get("/map/tiles/1/0/0").await;
        assert_eq!(tile.status, 502, "{number}");
        assert!(!tile.text().contains("picture") && !tile.text().contains("script"), "{number}");
        let trouble = trouble(&browser).await.unwrap();
        assert!(trouble.contains(words), "{number}: {trouble}");
    }
    assert_eq!(browser.get("/map/tiles/1/0/0").await.text(), "a picture");
    assert_eq!(trouble(&browser).await, None, "it is over, and said no more");
    assert!(room.metrics.encode().contains("fieldpost_live_map_tile_failures_total 7"));
    room.stop().await;
}

#[tokio::test]
async fn a_redirect_leads_nowhere() {
    let elsewhere = TileServer::default();
    let location: &'static str = format!("http://{}/{{z}}", elsewhere.start().await).leak();
    let headers: &'static [(&str, &str)] = vec![("location", location)].leak();
    let server =
        TileServer::with([301, 302, 307, 308].map(|status| Knob::Answer(status, headers, Vec::new())));
    let site = site(server.start().await, HASTE);
    let room = site.open().await;
    let browser = room.browser("anna").await;
    for _ in 0..4 {
        let tile = browser.get("/map/tiles/1/0/0").await;
        assert_eq!((tile.status, tile.headers.get("location")), (502, None));
    }
    assert_eq!(elsewhere.asked(), Vec::<String>::new());
    room.stop().await;
}

#[tokio::test]
async fn where_the_map_ends_there_is_nothing_and_no_trouble() {
    let server = TileServer::with([
        Knob::Answer(200, &[("content-type", "image/png")], b"a picture".into()),
        Knob::Answer(404, &[], Vec::new()),
        Knob::Answer(204, &[], Vec::new()),
        Knob::Answer(400, &[], Vec::new()),
        Knob::Answer(410, &[], Vec::new()),
    ]);
    let site = site(server.start().await, HASTE);
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let statuses = [
        browser.get("/map/tiles/2/0/0").await.status,
        browser.get("/map/tiles/2/1/0").await.status,
        browser.get("/map/tiles/2/2/0").await.status,
        browser.get("/map/tiles/2/3/0").await.status,
        browser.get("/map/tiles/2/0/1").await.status,
    ];
    assert_eq!(statuses, [200, 204, 204, 204, 204]);
    assert_eq!(trouble(&browser).await, None);
    room.stop().await;
}

#[tokio::test]
async fn a_server_that_hangs_or_is_gone_costs_the_map_and_not_the_room() {
    let address = SocketAddr::from(([127, 0, 0, 1], quiet_port()));
    let limits = Limits { fetch_max: Duration::from_millis(300), pause: Duration::from_secs(600), ..HASTE };
    let gone = site(address, limits);
    let hanging = TileServer::with([Knob::Hang]);
    let hangs = site(hanging.start().await, limits);
    for site in [gone, hangs] {
        let room = site.open().await;
        let browser = room.browser("anna").await;
        for _ in 0..3 {
            assert_eq!(browser.get("/map/tiles/1/0/0").await.status, 502);
        }
        assert!(trouble(&browser).await.unwrap().contains("does not answer"));
        assert_eq!(browser.get("/api/v1/units").await.status, 200);
        room.stop().await;
    }
    assert_eq!(hanging.asked().len(), 1, "a server in trouble is left alone");
}

#[tokio::test]
async fn over_tls_only_the_configured_authority_is_trusted() {
    let server = TileServer::default();
    let inside = server.start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut authority = Authority::create(&dir.path().join("ours")).unwrap();
    let stranger = Authority::create(&dir.path().join("stranger")).unwrap();
    let issued = authority.issue_server(&["127.0.0.1".to_owned()], 1).unwrap();
    let front = tls_front(&issued.certificate_pem, &issued.key_pem, inside).await;
    for (pem, status) in [(stranger.certificate_pem(), 502), (authority.certificate_pem(), 200)] {
        let path = dir.path().join("authority.pem");
        std::fs::write(&path, pem).unwrap();
        let mut settings = of_pictures(&format!("https://{front}/{{z}}/{{x}}/{{y}}.png"));
        settings.authority = Some(path);
        let mut site = Site::new();
        site.tiles = Some(Tiles::of_server(settings, HASTE));
        let room = site.open().await;
        assert_eq!(room.browser("anna").await.get("/map/tiles/1/0/0").await.status, status);
        room.stop().await;
    }
    assert_eq!(server.asked().len(), 1);
}
