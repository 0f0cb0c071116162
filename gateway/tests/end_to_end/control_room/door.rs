//! Who gets in, and what every answer carries.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use fieldpost_gateway::audit::AccessFiles;
use fieldpost_gateway::config::material::ServerIdentity;
use fieldpost_gateway::http::listener::{CONNECTIONS_MAX, HEAD_MS_MAX};
use fieldpost_gateway::http::session::PAGES_OF_SESSION_MAX;
use fieldpost_gateway::pki::{Authority, PageTls};
use fieldpost_gateway::spool::RealDisk;
use hyper::Method;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::rig::Site;

const ROUTES: [(&str, &str); 18] = [
    ("GET", "/api/v1/people"),
    ("POST", "/api/v1/password"),
    ("GET", "/"),
    ("GET", "/index.html"),
    ("GET", "/assets/app.js"),
    ("GET", "/map/outline.json"),
    ("GET", "/map/streets.json"),
    ("GET", "/map/base.json"),
    ("GET", "/map/tiles/0/0/0"),
    ("GET", "/api/v1/session"),
    ("GET", "/api/v1/units"),
    ("GET", "/api/v1/alarms"),
    ("GET", "/api/v1/ledger"),
    ("GET", "/api/v1/trace?device=sim/pc-0001&seq=0"),
    ("GET", "/api/v1/stream"),
    ("GET", "/api/v1/nothing"),
    ("POST", "/api/v1/alarms/acknowledge"),
    ("DELETE", "/api/v1/units"),
];

#[tokio::test]
async fn without_a_session_every_route_answers_401_and_tells_nothing() {
    let site = Site::new();
    let room = site.open().await;
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    let stranger = room.stranger();
    let forged = room.stranger().with("cookie", &format!("fieldpost={}", "A".repeat(43)));
    for (method, path) in ROUTES {
        for browser in [&stranger, &forged] {
            let answer = browser.ask(Method::from_bytes(method.as_bytes()).unwrap(), path, "{}").await;
            assert_eq!(answer.status, 401, "{method} {path}");
            assert!(!answer.text().contains("pc-0001"), "{method} {path}");
        }
    }
    let page = stranger.get("/").await;
    assert!(page.text().contains("fieldpost login -c FILE --operator NAME"));
    room.stop().await;
}

#[tokio::test]
async fn a_link_works_once() {
    let site = Site::new();
    let room = site.open().await;
    let link = room.link("anna");
    let mut browser = room.stranger();
    let first = browser.get(&link).await;
    assert_eq!((first.status, first.headers["location"].to_str().unwrap()), (303, "/"));
    let second = browser.get(&link).await;
    assert_eq!(second.status, 401);
    assert!(second.text().contains("already been used"), "{}", second.text());
    assert!(second.headers.get("set-cookie").is_none());
    browser.keep_cookie(&first);
    let session = browser.get("/api/v1/session").await.json();
    assert_eq!((&session["operator"], &session["force"]), (&"anna".into(), &"*".into()));
    assert_eq!(session["server_time_ms"], site.now_ms());
    for bad in ["/login?token=", "/login?token=%00", "/login?token=a&token=b"] {
        let answer = browser.get(bad).await;
        assert!(matches!(answer.status, 400 | 401), "{bad}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_look_at_a_link_does_not_use_it_up() {
    let site = Site::new();
    let room = site.open().await;
    let link = room.link("anna");
    let browser = room.stranger();
    for path in [link.as_str(), "/login?token=AAAA", "/login"] {
        let preview = browser.ask(Method::HEAD, path, "").await;
        assert_eq!(preview.status, 200, "the same for every link, so that it tells nothing of it");
        assert!(preview.headers.get("set-cookie").is_none());
    }
    assert_eq!(browser.get(&link).await.status, 303, "the person who opens it gets in");
    room.stop().await;
}

#[tokio::test]
async fn the_page_and_its_files_come_typed_and_are_revalidated() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    for (path, kind) in [
        ("/", "text/html; charset=utf-8"),
        ("/assets/app.js", "text/javascript; charset=utf-8"),
        ("/vendor/maplibre-gl-worker.mjs", "text/javascript; charset=utf-8"),
        ("/assets/style.css", "text/css; charset=utf-8"),
        ("/map/outline.json", "application/json"),
        ("/map/streets.json", "application/json"),
        ("/favicon.svg", "image/svg+xml"),
    ] {
        let answer = browser.get(path).await;
        assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, kind), "{path}");
    }
    let page = browser.get("/").await;
    assert_eq!(page.headers["cache-control"], "private, no-cache");
    let again = room.browser("ben").await.with("if-none-match", page.headers["etag"].to_str().unwrap());
    assert_eq!(again.get("/").await.status, 304);
    assert_eq!(browser.get("/../Cargo.toml").await.status, 404);
    assert_eq!(
        browser.get("/map/streets.json").await.text(),
        r#"{"type":"FeatureCollection","features":[]}"#
    );
    room.stop().await;
}

#[tokio::test]
async fn every_answer_carries_exactly_the_security_headers() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    for path in ["/", "/api/v1/units", "/nothing", "/login", "/api/v1/nothing"] {
        let headers = browser.get(path).await.headers;
        for (name, value) in [
            (
                "content-security-policy",
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                 worker-src 'self'; font-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
            ),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("x-frame-options", "DENY"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            (
                "permissions-policy",
                "accelerometer=(), camera=(), geolocation=(), gyroscope=(), microphone=(), payment=(), usb=()",
            ),
        ] {
            assert_eq!(headers[name], value, "{path}");
        }
    }
    assert_eq!(browser.get("/api/v1/units").await.headers["cache-control"], "no-store");
    room.stop().await;
}

#[tokio::test]
async fn a_request_from_another_site_is_refused() {
    let site = Site::new();
    let room = site.open().await;
    let (alarm, record) = site.alarm("pc-0001");
    room.commit(&record).await;
    let foreign = [
        ("origin", "http://evil.example".to_owned()),
        ("origin", "null".to_owned()),
        ("origin", format!("https://{}", room.http.address())),
        ("sec-fetch-site", "cross-site".to_owned()),
        ("sec-fetch-site", "same-site".to_owned()),
        ("sec-fetch-site", "none".to_owned()),
        ("x-fieldpost", "0".to_owned()),
    ];
    for (name, value) in foreign {
        let browser = room.browser("anna").await.with(name, &value);
        assert_eq!(browser.acknowledge(&alarm.to_string()).await.status, 403, "{name}: {value}");
    }
    assert_eq!(room.live().unacknowledged_count(), 1);
    let ours = room.browser("anna").await.with("origin", &format!("http://{}", room.http.address()));
    let ours = ours.with("sec-fetch-site", "same-origin");
    assert_eq!(ours.acknowledge(&alarm.to_string()).await.status, 200);
    room.stop().await;
}

#[tokio::test]
async fn a_foreign_name_for_this_machine_is_refused() {
    let site = Site::new();
    let room = site.open().await;
    let rebound = room.browser("anna").await.with("host", "evil.example");
    assert_eq!(rebound.get("/api/v1/units").await.status, 421);
    assert_eq!(room.stranger().with("host", "evil.example").get(&room.link("anna")).await.status, 421);
    let tunnel = room.browser("anna").await.with("host", "localhost:9000");
    assert_eq!(tunnel.get("/api/v1/session").await.status, 200);
    room.stop().await;
}

#[tokio::test]
async fn a_body_that_is_not_the_one_expected_is_refused_in_words() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    for (body, status) in [
        (String::new(), 400),
        ("{}".to_owned(), 422),
        (r#"{"id":"sim/pc/1/1","force":true}"#.to_owned(), 422),
        (r#"{"id":"nonsense"}"#.to_owned(), 400),
        (r#"{"id":"sim/pc-0001/1/1"}"#.to_owned(), 404),
        (format!(r#"{{"id":"{}"}}"#, "x".repeat(10_000)), 413),
    ] {
        let answer = browser.ask(Method::POST, "/api/v1/alarms/acknowledge", &body).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.json()["error"].is_string());
    }
    room.stop().await;
}

#[tokio::test]
async fn over_tls_the_cookie_never_travels_in_clear_and_the_browser_remembers() {
    let site = Site::new();
    let path = |name: &str| site.dir.path().join(name);
    let mut authority = Authority::create(&path("authority")).unwrap();
    let issued = authority.issue_server(&["localhost".to_owned()], 30).unwrap();
    fs::write(path("page.pem"), &issued.certificate_pem).unwrap();
    fs::write(path("page.key"), &issued.key_pem).unwrap();
    let identity = ServerIdentity::load(&path("page.pem"), &path("page.key")).unwrap();
    let tls = PageTls::new(&identity).unwrap();
    let journal = AccessFiles::new(site.dir.path());
    let room = site.open_on(site.spool(Arc::new(RealDisk)), journal, Some(tls.server_config())).await;

    let mut browser = room.stranger().over_tls(crate::door::roots(&authority));
    let answer = browser.get(&room.link("anna")).await;
    let cookie = answer.headers["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-fieldpost="), "{cookie}");
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Max-Age=43200; Secure"), "{cookie}");
    browser.keep_cookie(&answer);
    let answer = browser.get("/api/v1/units").await;
    assert_eq!(
        (answer.status, &answer.headers["strict-transport-security"]),
        (200, &"max-age=31536000".parse().unwrap())
    );
    let origin = format!("https://{}", room.http.address());
    let ours = browser.with("origin", &origin);
    assert_eq!(ours.acknowledge("sim/pc-0001/1/1").await.status, 404, "past the origin check");
    room.stop().await;
}

#[tokio::test]
async fn strangers_who_take_every_place_keep_nobody_out() {
    let site = Site::new();
    let room = site.open().await;
    let operator = room.browser("anna").await;
    let mut stream = operator.stream().await;
    stream.next_of("gateway").await.unwrap();
    // Above the places; none of them says a word.
    let address = room.http.address();
    let mut strangers = Vec::new();
    for _ in 0..CONNECTIONS_MAX + 100 {
        strangers.push(TcpStream::connect(address).await.unwrap());
    }
    let patience = Duration::from_millis(HEAD_MS_MAX / 2);
    let came_in = timeout(patience, room.browser("ben"));
    assert_eq!(came_in.await.expect("a place").get("/api/v1/session").await.status, 200);
    room.commit(&site.position("pc-0001", 51_500_000)).await;
    stream.next_of("units").await.expect("who was in stays in");
    drop(strangers);
    room.stop().await;
}

#[tokio::test]
async fn one_session_cannot_take_every_page() {
    let site = Site::new();
    let room = site.open().await;
    let (anna, ben) = (room.browser("anna").await, room.browser("ben").await);
    let mut pages = Vec::new();
    for _ in 0..PAGES_OF_SESSION_MAX {
        pages.push(anna.stream().await);
    }
    assert_eq!(anna.status_of(Method::GET, "/api/v1/stream", "").await, 503);
    ben.stream().await;
    pages.pop();
    let mut page = anna.status_of(Method::GET, "/api/v1/stream", "").await;
    while page == 503 {
        // The gateway hears of the closed connection a moment later.
        tokio::task::yield_now().await;
        page = anna.status_of(Method::GET, "/api/v1/stream", "").await;
    }
    assert_eq!(page, 200, "a page that went gives its place back");
    room.stop().await;
}
