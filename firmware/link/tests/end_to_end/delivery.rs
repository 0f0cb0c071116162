//! What the device logic publishes arrives at the real gateway, and what comes down is heard.

use fieldpost_firmware::{Handle, Settings};
use fieldpost_gateway::downlink::Delivery;
use fieldpost_gateway::ingest::Reason;
use fieldpost_gateway::pki::Authority;
use fieldpost_gateway::record::Record;
use fieldpost_link::mqtt::Fault;
use fieldpost_link::tls::TlsFailure;
use fieldpost_link::{End, Order};
use fieldpost_protocol::{Action, Class, Command, DeviceId, Downlink, Duty, Lane, Mode};

use crate::body::{Body, Heard, Link, TestClock};
use crate::gateway::{FORCE, Gateway, tls_of};

pub(crate) fn device() -> DeviceId {
    DeviceId::try_new("unit-7").expect("an identity")
}

pub(crate) fn on_duty(gateway: &mut Gateway) -> Body {
    let clock = TestClock::good();
    let tls = gateway.enrol(&device());
    let link = Link::start(gateway.door.address(), tls, &device(), clock.clone());
    let settings = Settings { duty: Duty::AVAILABLE, ..Body::settings() };
    Body::new(settings, link, clock)
}

/// A fix at `second` past twelve, as a receiver says it.
pub(crate) fn sentence(second: u32) -> Vec<u8> {
    let body = format!(
        "GPRMC,12{:02}{:02}.00,A,53{:02}.{:04},N,00130.0000,W,28.0,{:03}.0,221126,,,A",
        second / 60,
        second % 60,
        second / 600,
        second * 7 % 10000,
        second * 13 % 360,
    );
    let sum = body.bytes().fold(0, |sum, byte| sum ^ byte);
    format!("${body}*{sum:02X}\r\n").into_bytes()
}

fn classes(records: &[Record]) -> Vec<Class> {
    records.iter().map(|record| record.envelope().expect("an envelope").head.class).collect()
}

fn count_of(body: &Body, is_it: impl Fn(&Heard) -> bool) -> usize {
    body.heard.iter().filter(|heard| is_it(heard)).count()
}

#[tokio::test]
async fn a_position_and_an_alarm_are_stored_and_the_downlink_is_heard() {
    let mut gateway = Gateway::open().await;
    let mut body = on_duty(&mut gateway);
    let now_ms = body.now_ms();
    body.device.on_nmea(now_ms, &sentence(0));
    body.device.on_button(now_ms, false);
    body.until("everything is stored", |body| body.device.ledger().owed == 0).await;
    let classes = classes(&gateway.records().await);
    for class in [Class::STATUS, Class::POSITION, Class::ALARM] {
        assert!(classes.contains(&class), "{classes:?}");
    }
    // The gateway says the time to whoever subscribes.
    body.until("the time comes down", |body| count_of(body, |heard| matches!(heard, Heard::Downlink(_))) > 0)
        .await;
    assert_eq!(body.device.counters().downlinks_malformed, 0);
}

#[tokio::test]
async fn a_command_down_is_delivered_and_carried_out() {
    let mut gateway = Gateway::open().await;
    let mut body = on_duty(&mut gateway);
    body.until("the time comes down", |body| count_of(body, |heard| matches!(heard, Heard::Downlink(_))) > 0)
        .await;
    let (force, id) = (FORCE.parse().expect("an identity"), device());
    let command = Command { id: 1, expires_at_ms: u64::MAX, action: Action::Duty(Duty::OFF_DUTY) };
    let mut sending = gateway.downlink.send(&force, &id, &Downlink::Command(command));
    body.until("the command is carried out", |body| body.device.duty() == Duty::OFF_DUTY).await;
    body.until("and answered", |_| sending.now() == Delivery::Delivered).await;
}

#[tokio::test]
async fn a_session_is_resumed_and_what_was_unanswered_is_sent_again_by_the_device_logic() {
    let mut gateway = Gateway::open().await;
    let mut body = on_duty(&mut gateway);
    body.until("the time comes down", |body| count_of(body, |heard| matches!(heard, Heard::Downlink(_))) > 0)
        .await;
    assert!(matches!(body.heard[0], Heard::Connected { session_present: false }), "a restart has no session");
    let (force, id) = (FORCE.parse().expect("an identity"), device());
    assert!(gateway.downlink.disconnect(&force, &id, Reason::Draining));
    let now_ms = body.now_ms();
    body.device.on_nmea(now_ms, &sentence(0));
    body.until("connected again", |body| {
        count_of(body, |heard| matches!(heard, Heard::Connected { session_present: true })) == 1
    })
    .await;
    body.until("everything is stored", |body| body.device.ledger().owed == 0).await;
    assert!(
        body.heard.contains(&Heard::Disconnected(End::Fault(Fault::Disconnected(0x8B)))),
        "{:?}",
        body.heard
    );
    let keys: Vec<_> = gateway.records().await.iter().map(Record::key).collect();
    let distinct: std::collections::HashSet<_> = keys.iter().collect();
    assert_eq!(keys.len(), distinct.len(), "a record is stored once");
}

#[tokio::test]
async fn a_device_of_another_authority_hears_of_its_refusal() {
    let gateway = Gateway::open().await;
    let force = FORCE.parse().expect("an identity");
    let mut elsewhere =
        Authority::create(tempfile::tempdir().expect("a directory").path()).expect("an authority");
    let stranger = elsewhere.issue_device(&force, &device(), Mode::Test, 1).expect("issued");
    let tls = tls_of(&stranger, gateway.authority.certificate_pem());
    let mut link = Link::start(gateway.door.address(), tls, &device(), TestClock::good());
    // In TLS 1.3 a client hears of its refusal after its own side of the handshake is done.
    let Heard::Disconnected(End::Tls(failure)) = link.connect().await else { panic!("a stranger got in") };
    assert!(matches!(failure, TlsFailure::Alert(42..=48) | TlsFailure::Transport), "{failure:?}");
}

#[tokio::test]
async fn hanging_up_ends_the_attempt_and_the_next_one_works() {
    let mut gateway = Gateway::open().await;
    let tls = gateway.enrol(&device());
    let mut link = Link::start(gateway.door.address(), tls, &device(), TestClock::good());
    link.order(Order::Connect { attempt: 1 }, &[]).await;
    link.order(Order::HangUp, &[]).await;
    link.order(Order::Connect { attempt: 2 }, &[]).await;
    loop {
        let (attempt, heard) = link.news.recv().await.expect("the session runs");
        if attempt == 2 {
            assert!(matches!(heard, Heard::Connected { .. }), "{heard:?}");
            return;
        }
    }
}

#[tokio::test]
async fn a_frame_over_the_gateways_packet_size_is_refused_here_and_the_connection_stands() {
    let mut gateway = Gateway::open_with(|ingest| ingest.packet_bytes_max = 64).await;
    let tls = gateway.enrol(&device());
    let mut link = Link::start(gateway.door.address(), tls, &device(), TestClock::good());
    assert_eq!(link.connect().await, Heard::Connected { session_present: false });
    let publish = |handle, len| Order::Publish { handle: Handle(handle), lane: Lane::Live, len };
    link.order(publish(1, 100), &[0; 100]).await;
    assert_eq!(link.hear().await, Heard::Refused(Handle(1)));
    // Not an envelope: kept in the gateway's quarantine, and answered.
    link.order(publish(2, 40), &[0; 40]).await;
    assert_eq!(link.hear().await, Heard::Acknowledged(Handle(2)));
}

/// 1 January 2050: after every certificate of these tests.
const LATER_UNIX_S: u32 = 2_524_608_000;

#[tokio::test]
async fn without_a_clock_a_gateway_is_judged_by_all_but_dates_and_by_dates_as_soon_as_there_is_one() {
    let mut gateway = Gateway::open().await;
    let clock = TestClock::at(0);
    let mut link = Link::start(gateway.door.address(), gateway.enrol(&device()), &device(), clock.clone());
    assert_eq!(link.connect().await, Heard::Connected { session_present: false });
    clock.set(LATER_UNIX_S);
    link.order(Order::Subscribe, &[]).await;
    let heard = loop {
        match link.hear().await {
            Heard::Downlink(_) => {}
            heard => break heard,
        }
    };
    assert_eq!(heard, Heard::Disconnected(End::DatesRefused));
}
