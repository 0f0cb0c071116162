//! What the NMEA sink promises.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fieldpost_protocol::{Class, FixSource, Head, Mode, Position};
use proptest::prelude::*;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::audit::What;
use crate::config::material::{Authority, ServerIdentity};
use crate::forward::event::{Gap, GapReason, Renderer};
use crate::forward::release::Release;
use crate::forward::testing::{
    MemoryJournal, RECEIVED_MS, alarm_record, head, position, position_record, record_of,
};
use crate::pki;
use crate::record::Record;
use crate::spool::Lsn;

struct Site {
    listener: TcpListener,
    journal: MemoryJournal,
    sink: NmeaSink,
    renderer: Renderer,
}

impl Site {
    async fn new(sends_every_position: bool) -> Self {
        Self::of(sends_every_position, |_| {}).await
    }

    async fn of(sends_every_position: bool, over: impl FnOnce(&mut NmeaServer)) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let journal = MemoryJournal::default();
        let mut server = NmeaServer {
            host: "127.0.0.1".into(),
            port: listener.local_addr().unwrap().port(),
            is_tls: false,
            authority: None,
            client: None,
        };
        over(&mut server);
        let settings = NmeaSettings {
            server,
            sends_every_position,
            sends_every_mode: true,
            clock: ClockBounds::default(),
            recipient: journal.recipient(),
            wall: Clock::system(),
        };
        let renderer = Renderer::new(ClockBounds::default(), Release::everything());
        Self { listener, journal, sink: NmeaSink::try_new(settings).unwrap(), renderer }
    }

    fn events(&mut self, records: &[Record]) -> Vec<Event> {
        records.iter().map(|record| self.renderer.event(record).unwrap()).collect()
    }

    fn disclosed(&self) -> Vec<String> {
        self.journal.keys(What::RecordsDisclosed)
    }
}

async fn accept(listener: &TcpListener) -> BufReader<TcpStream> {
    BufReader::new(listener.accept().await.unwrap().0)
}

async fn line(from: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    from.read_line(&mut line).await.unwrap();
    line
}

fn states(events: &[Event]) -> Vec<EventState> {
    events.iter().map(|event| event.state).collect()
}

fn place(latitude_udeg: i32, longitude_udeg: i32) -> Position {
    Position { latitude_udeg, longitude_udeg, ..position() }
}

#[test]
fn a_sentence_is_written_digit_by_digit() {
    let page = include_str!("../../../../docs/sinks/nmea.md");
    let text = sentence::write("pc-0001", &position(), RECEIVED_MS - 1_000);
    let expected = "\\s:pc-0001,c:1789999999*04\\$GPRMC,141319.123,A,5130.44400,N,00007.66548,W,2.60,90.00,210926,,,A*4D\r\n";
    assert_eq!(text, expected);
    assert!(page.contains(text.trim_end()), "docs/sinks/nmea.md shows this sentence");
    let augmented = Position { source: FixSource::GNSS_AUGMENTED, ..position() };
    let text = sentence::write("pc-0001", &augmented, RECEIVED_MS - 1_000);
    assert_eq!(text, expected.replace(",A*4D", ",D*48"));
    let edge = Position {
        speed_cmps: None,
        course_turn256: Some(255),
        source: FixSource(9),
        ..place(-90_000_000, 180_000_000)
    };
    let text = sentence::write("a", &edge, 0);
    assert!(text.contains("$GPRMC,000000.000,A,9000.00000,S,18000.00000,E,,358.59,010170,,,E*"), "{text}");
}

proptest! {
    #[test]
    fn every_place_comes_back_to_the_micro_degree_in_a_sentence_that_is_not_too_long(
        latitude in -90_000_000..=90_000_000_i32,
        longitude in -180_000_000..=180_000_000_i32,
        speed in proptest::option::of(any::<u16>()),
        course in proptest::option::of(any::<u8>()),
        time_ms in 0..4_000_000_000_000_u64,
    ) {
        let position = Position { speed_cmps: speed, course_turn256: course, ..place(latitude, longitude) };
        let text = sentence::write("sim-pc_0001.abc", &position, time_ms);
        let (tag, sentence) = text.split_once("\\$").unwrap();
        prop_assert!(sentence.len() < 82 && tag.len() < 80, "{}", text);
        let (body, sum) = sentence.trim_end().split_once('*').unwrap();
        let xor = body.bytes().fold(0, |sum, byte| sum ^ byte);
        prop_assert_eq!(u8::from_str_radix(sum, 16).unwrap(), xor);
        let fields: Vec<_> = body.split(',').collect();
        let degrees = |text: &str, width: usize, side: &str| {
            let value = text[..width].parse::<f64>().unwrap() + text[width..].parse::<f64>().unwrap() / 60.0;
            if "SW".contains(side) { -value } else { value }
        };
        let off = |said: f64, udeg: i32| (said * 1e6 - f64::from(udeg)).abs();
        prop_assert!(off(degrees(fields[3], 2, fields[4]), latitude) < 0.01);
        prop_assert!(off(degrees(fields[5], 3, fields[6]), longitude) < 0.01);
        match speed {
            None => prop_assert_eq!(fields[7], ""),
            Some(cmps) => {
                let knots = f64::from(cmps) * 36.0 / 1_852.0;
                prop_assert!((fields[7].parse::<f64>().unwrap() - knots).abs() <= 0.005_001);
            }
        }
        let is_course = course.map_or(fields[8].is_empty(), |_| fields[8].parse::<f64>().unwrap() < 360.0);
        prop_assert!(is_course, "{}", text);
    }
}

#[tokio::test]
async fn only_positions_that_are_the_newest_of_their_unit_are_sent_and_only_they_are_on_the_log() {
    let mut site = Site::new(false).await;
    let mut events =
        site.events(&[position_record(5), alarm_record(6), position_record(4), position_record(7)]);
    events.push(site.renderer.gap(
        "avl",
        &Gap { first: Lsn(8), last: Lsn(9), reason: GapReason::Retention },
        0,
    ));
    let (delivered, mut server) = tokio::join!(site.sink.deliver(&mut events), accept(&site.listener));
    delivered.unwrap();
    let passed = EventState::PassedOver;
    let (owed, older, none) = (EventState::Owed, passed(PassedOver::Older), passed(PassedOver::NoWord));
    assert_eq!(
        states(&events),
        [owed, none, older, owed, none],
        "owed: accepted by the forwarder with the batch"
    );
    assert_eq!(site.disclosed(), ["sim.pc-0001.3.5", "sim.pc-0001.3.7"]);
    for _ in 0..2 {
        assert!(line(&mut server).await.starts_with("\\s:pc-0001,c:"));
    }
    let mut older = site.events(&[position_record(6)]);
    site.sink.deliver(&mut older).await.unwrap();
    assert_eq!(states(&older), [passed(PassedOver::Older)]);
}

#[tokio::test]
async fn what_is_exercise_or_test_is_passed_over_unless_that_is_asked_for() {
    let mut site = Site::new(false).await;
    site.sink.settings.sends_every_mode = false;
    let of_mode = |lsn: u64, mode| {
        let mut buffer = [0; 64];
        let head = Head { mode, ..head(Class::POSITION, u32::try_from(lsn).unwrap()) };
        record_of(lsn, head, position().encode(&mut buffer).unwrap())
    };
    let mut events =
        site.events(&[of_mode(5, Mode::Exercise), of_mode(6, Mode::Actual), of_mode(7, Mode::Test)]);
    let (delivered, _server) = tokio::join!(site.sink.deliver(&mut events), accept(&site.listener));
    delivered.unwrap();
    let passed = EventState::PassedOver(PassedOver::NotActual);
    assert_eq!(states(&events), [passed, EventState::Owed, passed]);
    assert_eq!(site.disclosed(), ["sim.pc-0001.3.6"]);
}

#[tokio::test]
async fn every_position_is_sent_where_that_is_asked_for() {
    let mut site = Site::new(true).await;
    let mut events = site.events(&[position_record(5), position_record(4)]);
    let (delivered, _server) = tokio::join!(site.sink.deliver(&mut events), accept(&site.listener));
    delivered.unwrap();
    assert_eq!(site.disclosed(), ["sim.pc-0001.3.4", "sim.pc-0001.3.5"], "a run of keys");
}

#[tokio::test]
async fn nothing_is_written_that_is_not_on_the_log() {
    let mut site = Site::new(false).await;
    *site.journal.failures_left.lock().unwrap() = 1;
    let mut events = site.events(&[position_record(5)]);
    let (refused, mut server) = tokio::join!(site.sink.deliver(&mut events), accept(&site.listener));
    assert!(matches!(refused, Err(SinkError::Retry { reason: RetryReason::Storage, .. })));
    drop(site.sink);
    let mut said = Vec::new();
    server.read_to_end(&mut said).await.unwrap();
    assert!(said.is_empty());
}

#[tokio::test]
async fn a_server_that_ended_the_connection_is_connected_to_again_before_anything_is_written() {
    let mut site = Site::new(false).await;
    let mut first = site.events(&[position_record(1)]);
    let (delivered, mut server) = tokio::join!(site.sink.deliver(&mut first), accept(&site.listener));
    delivered.unwrap();
    line(&mut server).await;
    drop(server);
    let mut second = site.events(&[position_record(2)]);
    let (delivered, mut server) = tokio::join!(
        async {
            // Its end is on the way.
            while site.sink.link.is_open().await {
                tokio::task::yield_now().await;
            }
            site.sink.deliver(&mut second).await
        },
        accept(&site.listener)
    );
    delivered.unwrap();
    assert!(line(&mut server).await.contains("$GPRMC,141319.123,A,"));
}

#[tokio::test]
async fn a_unit_whose_name_has_no_room_in_a_sentence_is_refused_by_name() {
    let mut site = Site::new(false).await;
    let mut buffer = [0; 64];
    let mut record = record_of(3, head(Class::POSITION, 3), position().encode(&mut buffer).unwrap());
    record.device = DeviceId::try_new("a-device-with-a-long-name").unwrap();
    let mut events = site.events(&[position_record(1), record]);
    let refused = site.sink.deliver(&mut events).await.unwrap_err();
    assert!(matches!(refused, SinkError::Refuse { reason: RefuseReason::TooLarge, .. }));
    assert!(refused.to_string().contains("a-device-with-a-long-name"), "{refused}");
    assert!(site.disclosed().is_empty());
}

/// An authority, and the files of a client that it issued.
struct Papers {
    authority: PathBuf,
    /// Certificate and key of a server at `127.0.0.1`.
    server: (PathBuf, PathBuf),
    certificate: PathBuf,
    key: PathBuf,
}

impl Papers {
    fn make(dir: &Path, name: &str) -> Self {
        let mut authority = pki::Authority::create(&dir.join(name)).unwrap();
        let issued = authority.issue_server(&["127.0.0.1".to_owned()], 1).unwrap();
        let request = pki::DeviceRequest {
            force: fieldpost_protocol::ForceId::try_new("sim").unwrap(),
            device: DeviceId::try_new("gateway").unwrap(),
            mode: fieldpost_protocol::Mode::Test,
            validity: pki::Validity::days_from(jiff::Timestamp::now().as_second(), 1),
            replace: false,
        };
        let client = authority.issue_devices(&[request]).unwrap().remove(0);
        let write = |kind: &str, pem: &str| {
            let path = dir.join(format!("{name}-{kind}.pem"));
            std::fs::write(&path, pem).unwrap();
            path
        };
        Self {
            server: (write("server", &issued.certificate_pem), write("server-key", &issued.key_pem)),
            authority: write("ca", authority.certificate_pem()),
            certificate: write("client", &client.certificate_pem),
            key: write("client-key", &client.key_pem),
        }
    }

    /// A server of this authority that lets in whom `clients` issued.
    fn acceptor(&self, clients: &Self) -> TlsAcceptor {
        let identity = ServerIdentity::load(&self.server.0, &self.server.1).unwrap();
        let clients = Authority::load(&clients.authority).unwrap();
        TlsAcceptor::from(pki::mutual_server(&identity, &clients, None).unwrap())
    }
}

async fn over_tls(papers: &Papers) -> Site {
    Site::of(false, |server| {
        server.is_tls = true;
        server.authority = Some(papers.authority.clone());
        server.client = Some((papers.certificate.clone(), papers.key.clone()));
    })
    .await
}

#[tokio::test]
async fn nothing_counts_as_taken_by_a_server_that_refuses_our_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Papers::make(dir.path(), "ours"), Papers::make(dir.path(), "others"));
    let mut site = over_tls(&ours).await;
    // However busy this machine is.
    site.sink.link.grace = Duration::from_secs(60);
    let acceptor = ours.acceptor(&others);
    let mut events = site.events(&[position_record(5)]);
    let (refused, accepted) = tokio::join!(site.sink.deliver(&mut events), async {
        acceptor.accept(site.listener.accept().await.unwrap().0).await.map(drop)
    });
    assert!(accepted.is_err(), "it was issued by another authority");
    assert!(matches!(refused, Err(SinkError::Retry { reason: RetryReason::Credentials, .. })), "{refused:?}");
    assert_eq!(states(&events), [EventState::Owed]);
    assert!(site.disclosed().is_empty());
}

#[tokio::test]
async fn a_server_that_shows_a_strangers_certificate_is_told_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, others) = (Papers::make(dir.path(), "ours"), Papers::make(dir.path(), "others"));
    let mut site = over_tls(&ours).await;
    let acceptor = others.acceptor(&ours);
    let mut events = site.events(&[position_record(5)]);
    let (refused, accepted) = tokio::join!(site.sink.deliver(&mut events), async {
        acceptor.accept(site.listener.accept().await.unwrap().0).await.map(drop)
    });
    assert!(accepted.is_err(), "we hung up");
    assert!(matches!(refused, Err(SinkError::Retry { .. })), "{refused:?}");
    assert_eq!(states(&events), [EventState::Owed]);
    assert!(site.disclosed().is_empty());
}

#[tokio::test]
async fn a_server_that_takes_our_certificate_is_told_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    let ours = Papers::make(dir.path(), "ours");
    let mut site = over_tls(&ours).await;
    let acceptor = ours.acceptor(&ours);
    let mut events = site.events(&[position_record(5)]);
    let (delivered, told) = tokio::join!(site.sink.deliver(&mut events), async {
        let stream = acceptor.accept(site.listener.accept().await.unwrap().0).await.unwrap();
        let (mut told, mut stream) = (String::new(), BufReader::new(stream));
        stream.read_line(&mut told).await.unwrap();
        told
    });
    delivered.unwrap();
    assert!(told.starts_with("\\s:pc-0001,c:"), "{told}");
    assert_eq!(site.disclosed(), ["sim.pc-0001.3.5"]);
}
