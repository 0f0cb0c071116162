//! What is claimed of TAK clients that connect to us, each as a test: over memory, in virtual time. TLS and names are in the
//! gateway's end-to-end tests.

use std::sync::{Arc, Mutex};

use fieldpost_protocol::{Mode, Seq};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::{mpsc, watch};

use super::door::{Arrival, Pass};
use super::metrics::{TakEnd, TakMetrics, TakTaking};
use super::picture::Spans;
use super::settings::Terms;
use super::sink::TakSink;
use crate::alarms::{AlarmId, Cause, Grade, Origin, Queue};
use crate::audit::What;
use crate::audit::line::Note;
use crate::forward::Sink as _;
use crate::forward::event::{Event, EventState, PassedOver, Renderer};
use crate::forward::release::Release;
use crate::forward::testing::{MemoryJournal, RECEIVED_MS, alarm_record, position_record};
use crate::live::AcknowledgeError;
use crate::live::order::ClockBounds;
use crate::live::standing::{Acknowledging, Quiet, Situation, StandingAlarm};
use crate::live::unit::{UnitId, UnitName};
use crate::login::Operator;
use crate::record::Record;
use crate::spool::Clock;

const FOR_EVER_S: i64 = i64::MAX;

/// One client's place, and who may come to it.
struct Place {
    sink: TakSink,
    journal: MemoryJournal,
    metrics: TakMetrics,
    door: mpsc::Sender<Arrival>,
}

impl Place {
    fn new() -> Self {
        Self::with(Quiet::shared(), None)
    }

    fn with(situation: Arc<dyn Situation>, operator: Option<Operator>) -> Self {
        let (door, arrivals) = mpsc::channel(1);
        let (journal, metrics) = (MemoryJournal::default(), TakMetrics::default());
        let spans = Spans {
            sends_every_position: false,
            position_stale_ms: u64::MAX / 4,
            alarm_repeat_ms: 30_000,
            alarm_stale_ms: 300_000,
            clock: ClockBounds { ahead_ms_max: 60_000, behind_ms_max: 3_600_000 },
        };
        let (release, recipient) = (Release::everything(), journal.recipient());
        let terms = Terms { name: "room".to_owned(), takes_protobuf: true, release, recipient, spans };
        let began = tokio::time::Instant::now();
        let clock = Clock::new(move || RECEIVED_MS + u64::try_from(began.elapsed().as_millis()).unwrap());
        let sink = TakSink::of_guest(arrivals, metrics.clone(), (terms, operator), situation, clock);
        Self { sink, journal, metrics, door }
    }

    async fn let_in(&self, buffer_bytes: usize, not_after_s: i64) -> DuplexStream {
        let (ours, theirs) = duplex(buffer_bytes);
        let peer = ([127, 0, 0, 1], 1).into();
        // Nobody renews a list here.
        let judges = watch::Sender::new(rustls::server::WebPkiClientVerifier::no_client_auth()).subscribe();
        let pass = Pass::new(Vec::new(), judges);
        let arrival = Arrival { stream: Box::new(ours), peer, not_after_s, pass };
        assert!(self.door.send(arrival).await.is_ok());
        theirs
    }

    async fn deliver(&mut self, records: &[Record]) -> Vec<EventState> {
        let mut renderer = Renderer::new(Default::default(), Release::everything());
        let mut events: Vec<Event> = records.iter().map(|record| renderer.event(record).unwrap()).collect();
        self.sink.deliver(&mut events).await.unwrap();
        events.iter().map(|event| event.state).collect()
    }

    fn disclosed(&self) -> Vec<String> {
        self.journal.keys(What::RecordsDisclosed)
    }

    async fn until_gone(&self, why: TakEnd) {
        while self.metrics.ended(why).get() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        assert_eq!(self.metrics.connected.get(), 0);
    }
}

async fn hear(client: &mut DuplexStream, until: &str) -> String {
    let (mut heard, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&heard).into_owned();
        if text.contains(until) {
            return text;
        }
        let count = client.read(&mut buffer).await.unwrap();
        assert!(count > 0, "waited in vain for {until}: {text}");
        heard.extend_from_slice(&buffer[..count]);
    }
}

fn event(kind: &str, detail: &str) -> String {
    format!("<event version='2.0' uid='them' type='{kind}'><detail>{detail}</detail></event>")
}

#[tokio::test(start_paused = true)]
async fn while_nobody_is_there_nothing_is_sent_or_logged_and_who_comes_is_told_the_newest() {
    let mut place = Place::new();
    let states = place.deliver(&[position_record(5), position_record(6), alarm_record(7)]).await;
    assert_eq!(states, [EventState::PassedOver(PassedOver::NobodyThere); 3]);
    assert_eq!(place.disclosed(), [""; 0]);
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    let told = hear(&mut client, "<track").await;
    assert!(told.contains("t-x-takp-v") && told.matches("uid=\"fieldpost.test.sim.pc-0001\"").count() == 1);
    // The alarm brought a newer position along.
    assert_eq!(place.disclosed(), ["sim.pc-0001.3.7"]);
    assert_eq!(place.deliver(&[position_record(8), alarm_record(9)]).await, [EventState::Accepted; 2]);
    hear(&mut client, "b-a-o-tbl").await;
    drop(client);
    place.until_gone(TakEnd::PeerGone).await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_cut_off_and_its_output_goes_on() {
    let mut place = Place::new();
    let client = place.let_in(16, FOR_EVER_S).await;
    let began = tokio::time::Instant::now();
    let states = place.deliver(&[position_record(5)]).await;
    assert_eq!(states, [EventState::PassedOver(PassedOver::NobodyThere)]);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    place.until_gone(TakEnd::TooSlow).await;
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_what_is_not_tak_is_cut_off() {
    let place = Place::new();
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    let bad = "<!DOCTYPE e [<!ENTITY a SYSTEM 'file:///etc/passwd'>]>".to_owned() + &event("a", "&a;");
    client.write_all(bad.repeat(15).as_bytes()).await.unwrap();
    client.write_all(event("t-x-c-t", "").as_bytes()).await.unwrap();
    hear(&mut client, "t-x-c-t-r").await;
    client.write_all(bad.as_bytes()).await.unwrap();
    place.until_gone(TakEnd::NotTak).await;
    assert_eq!(place.metrics.events_refused.get(), 16);
    let mut endless = place.let_in(1 << 20, FOR_EVER_S).await;
    endless.write_all(&vec![b'x'; 80 * 1024]).await.unwrap();
    while place.metrics.ended(TakEnd::NotTak).get() < 2 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_asks_for_protobuf_gets_frames_from_the_answer_on() {
    let mut place = Place::new();
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    hear(&mut client, "TakProtocolSupport version=\"1\"").await;
    let ask = event("t-x-takp-q", "<TakControl><TakRequest version='1'/></TakControl>");
    client.write_all(ask.as_bytes()).await.unwrap();
    let answer = hear(&mut client, "</event>").await;
    let answer = if answer.contains("t-x-takp-r") { answer } else { hear(&mut client, "t-x-takp-r").await };
    assert!(answer.contains("uid=\"them\"") && answer.contains("<TakResponse status=\"true\"/>"), "{answer}");
    place.deliver(&[position_record(5)]).await;
    assert_eq!(client.read_u8().await.unwrap(), 0xbf);
}

#[tokio::test(start_paused = true)]
async fn who_comes_again_takes_the_place_of_the_older_connection() {
    let mut place = Place::new();
    let mut older = place.let_in(1 << 20, FOR_EVER_S).await;
    hear(&mut older, "t-x-takp-v").await;
    let mut newer = place.let_in(1 << 20, FOR_EVER_S).await;
    place.until_came_again().await;
    place.deliver(&[position_record(5)]).await;
    hear(&mut newer, "fieldpost.test.sim.pc-0001").await;
    let mut rest = String::new();
    older.read_to_string(&mut rest).await.unwrap();
    assert!(!rest.contains("fieldpost.test"), "{rest}");
}

impl Place {
    async fn until_came_again(&self) {
        while self.metrics.ended(TakEnd::CameAgain).get() == 0 || self.metrics.connected.get() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

/// One alarm, and who has taken it.
struct OneAlarm {
    alarm: Mutex<StandingAlarm>,
    taken_by: Mutex<Vec<String>>,
    changes: watch::Sender<u64>,
}

impl Situation for OneAlarm {
    fn name(&self, unit: &UnitId, at_ms: u64) -> UnitName {
        Quiet::default().name(unit, at_ms)
    }

    fn alarms(&self) -> Vec<StandingAlarm> {
        vec![self.alarm.lock().unwrap().clone()]
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn acknowledge<'a>(&'a self, alarm: &'a AlarmId, operator: &'a Operator) -> Acknowledging<'a> {
        if *alarm != self.alarm.lock().unwrap().id {
            return Box::pin(std::future::ready(Err(AcknowledgeError::NotFound)));
        }
        self.taken_by.lock().unwrap().push(operator.to_string());
        self.alarm.lock().unwrap().is_acknowledged = true;
        self.changes.send_modify(|revision| *revision += 1);
        Box::pin(std::future::ready(Ok(())))
    }
}

fn one_alarm() -> Arc<OneAlarm> {
    let alarm = StandingAlarm {
        id: "sim/pc-0001/3/7".parse().unwrap(),
        callsign: "VT21".to_owned(),
        cause: Cause::Button,
        grade: Grade::P1,
        mode: Mode::Test,
        origin: Origin::Device,
        queue: Queue::Operations,
        raised_at_ms: 1_790_000_000_000,
        position_udeg: None,
        is_acknowledged: false,
        is_taken_back: false,
        closed_at_ms: None,
    };
    Arc::new(OneAlarm {
        alarm: Mutex::new(alarm),
        taken_by: Mutex::default(),
        changes: watch::Sender::default(),
    })
}

/// As ATAK sends it.
fn cancel(uid: &str) -> String {
    let detail = "<link uid='fieldpost.test.sim.pc-0001' type='a-f-G-U-U-L-C' relation='p-p'/>\
                  <contact callsign='VT21-Alert'/><emergency cancel='true'>VT21</emergency>";
    event("b-a-o-can", detail).replace("uid='them'", &format!("uid='{uid}'"))
}

#[tokio::test(start_paused = true)]
async fn cancelling_an_alert_takes_the_alarm_in_the_certificates_name_and_the_alert_stands() {
    let alarm = one_alarm();
    let situation = Arc::clone(&alarm) as Arc<dyn Situation>;
    let place = Place::with(situation, Some(Operator::try_new("anna@tak").unwrap()));
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    hear(&mut client, "Nobody has acknowledged.").await;
    // Of no alert that it was told, and of one that no cancel is of.
    client.write_all(cancel("fieldpost.test.sim.pc-0002.3.7-9-1-1").as_bytes()).await.unwrap();
    let no_cancel = cancel("fieldpost.test.sim.pc-0001.3.7-9-1-1").replace("cancel='true'", "");
    client.write_all(no_cancel.as_bytes()).await.unwrap();
    client.write_all(cancel("fieldpost.test.sim.pc-0001.3.7-9-1-1").as_bytes()).await.unwrap();
    let told = hear(&mut client, "Acknowledged, not closed.").await;
    assert!(told.contains("type=\"b-a-o-tbl\"") && !told.contains("b-a-o-can"), "{told}");
    assert_eq!(*alarm.taken_by.lock().unwrap(), ["anna@tak"]);
    assert_eq!(place.metrics.acknowledged(TakTaking::Taken).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_may_not_takes_no_alarm_and_is_told_that_the_alert_stands() {
    let alarm = one_alarm();
    let place = Place::with(Arc::clone(&alarm) as Arc<dyn Situation>, None);
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    hear(&mut client, "</remarks>").await;
    client.write_all(cancel("fieldpost.test.sim.pc-0001.3.7-9-1-1").as_bytes()).await.unwrap();
    hear(&mut client, "Nobody has acknowledged.").await;
    assert_eq!(alarm.taken_by.lock().unwrap().len(), 0);
    assert_eq!(place.metrics.acknowledged(TakTaking::NotAllowed).get(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_cancel_takes_the_alarm_whose_alert_it_names_and_none_that_came_after_it() {
    let alarm = one_alarm();
    let situation = Arc::clone(&alarm) as Arc<dyn Situation>;
    let place = Place::with(situation, Some(Operator::try_new("anna@tak").unwrap()));
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    hear(&mut client, "</remarks>").await;
    // The queue has another now: who cancels has looked at the one before.
    alarm.alarm.lock().unwrap().id.seq = Seq(12);
    alarm.changes.send_modify(|revision| *revision += 1);
    hear(&mut client, "</remarks>").await;
    client.write_all(cancel("fieldpost.test.sim.pc-0001.3.7-9-1-1").as_bytes()).await.unwrap();
    while place.metrics.acknowledged(TakTaking::Failed).get() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(alarm.taken_by.lock().unwrap().len(), 0);
    client.write_all(cancel("fieldpost.test.sim.pc-0001.3.12-9-1-1").as_bytes()).await.unwrap();
    hear(&mut client, "Acknowledged, not closed.").await;
    assert_eq!(*alarm.taken_by.lock().unwrap(), ["anna@tak"]);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_cancels_holds_up_nothing_and_writes_a_line_every_few_seconds() {
    let alarm = one_alarm();
    let mut place = Place::with(Arc::clone(&alarm) as Arc<dyn Situation>, None);
    let client = place.let_in(1 << 20, FOR_EVER_S).await;
    let (mut hearing, mut saying) = tokio::io::split(client);
    let flood = tokio::spawn(async move {
        let cancel = cancel("fieldpost.test.sim.pc-0001.3.7-9-1-1");
        while saying.write_all(cancel.as_bytes()).await.is_ok() {}
    });
    let ears = tokio::spawn(async move { tokio::io::copy(&mut hearing, &mut tokio::io::sink()).await });
    let began = tokio::time::Instant::now();
    let refused = place.metrics.acknowledged(TakTaking::TooSoon);
    while refused.get() < 2_000 {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(place.deliver(&[position_record(5)]).await, [EventState::Accepted]);
    let again = |notes: &[Note]| notes.iter().filter(|note| note.what == What::RecordsDisclosedAgain).count();
    let lines = again(&place.journal.notes.lock().unwrap()) as u64;
    assert!((1..=2 + began.elapsed().as_secs() / 5).contains(&lines), "{lines} in {:?}", began.elapsed());
    flood.abort();
    ears.abort();
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_the_certificate_that_it_was_made_with() {
    let place = Place::new();
    let client = place.let_in(1 << 20, 1_000_000).await;
    place.until_gone(TakEnd::Outdated).await;
    drop(client);
}

#[tokio::test(start_paused = true)]
async fn without_a_disclosure_log_a_client_is_told_nothing_and_the_forwarder_keeps_the_record() {
    let mut place = Place::new();
    let mut client = place.let_in(1 << 20, FOR_EVER_S).await;
    hear(&mut client, "t-x-takp-v").await;
    *place.journal.failures_left.lock().unwrap() = 1;
    let mut renderer = Renderer::new(Default::default(), Release::everything());
    let mut events = vec![renderer.event(&position_record(5)).unwrap()];
    assert!(place.sink.deliver(&mut events).await.is_err());
    assert_eq!(events[0].state, EventState::Owed);
    place.until_gone(TakEnd::NoLog).await;
    let mut rest = String::new();
    client.read_to_string(&mut rest).await.unwrap();
    assert!(!rest.contains("fieldpost.test"), "{rest}");
}
