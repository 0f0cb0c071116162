//! What turns at a desk promise: **an alarm does not wait for those who bring much**, and what was said before a connection ended is
//! heard.

use std::collections::{HashSet, VecDeque};
use std::future::ready;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use fieldpost_protocol::topic::short;
use fieldpost_protocol::{BootId, Class, ClockQuality, Envelope, ForceId, Head, Lane, Mode, Seq};
use tokio_util::sync::CancellationToken;

use super::super::arrival::serve_on;
use super::super::commit::CommitBell;
use super::super::{ClockBounds, Door, IngestConfig, Pipe};
use super::*;
use crate::dedup::{Dedup, DedupBounds};
use crate::downlink::{Downlink, DownlinkBounds};
use crate::metrics::Metrics;
use crate::pki::Identity;
use crate::spool::faulty::FaultyDisk;
use crate::spool::{BatchLimits, Clock, Crew, EntryClass, Lsn, Spool, SpoolSettings, Wait};

/// Reads of a connection, then silence or its end.
struct Said {
    reads: VecDeque<Vec<u8>>,
    ends: bool,
}

impl Pipe for Said {
    fn poll_read(&mut self, _: &mut Context<'_>, opened: &mut Vec<u8>) -> Poll<io::Result<()>> {
        *opened = match self.reads.pop_front() {
            Some(read) => read,
            None if self.ends => Vec::new(),
            None => return Poll::Pending,
        };
        Poll::Ready(Ok(()))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &mut Vec<u8>) -> Poll<io::Result<()>> {
        bytes.clear();
        Poll::Ready(Ok(()))
    }

    async fn close(&mut self, _: &mut Vec<u8>) -> io::Result<()> {
        Ok(())
    }
}

const WINDOW: u32 = 32;
const CROWD: u64 = 40;

fn publish(lane: Lane, class: Class, seq: u32) -> Vec<u8> {
    let (mode, clock) = (Mode::Test, ClockQuality::Gnss);
    let head = Head { version: 1, class, mode, clock, boot: BootId(1), seq: Seq(seq), time_ms: 1_000 };
    let mut buffer = [0; 128];
    let payload = Envelope { head, body: &[7; 30], trailer: None }.encode(&mut buffer).unwrap();
    let packet_id = u8::try_from(seq + 1).unwrap();
    let mut packet = vec![0x32, 0, 0, 1];
    packet.extend(short(lane).bytes());
    packet.extend([0, packet_id, 0]);
    packet.extend(payload);
    packet[1] = u8::try_from(packet.len() - 2).unwrap();
    packet
}

fn window(of: Lane) -> Vec<u8> {
    (0..WINDOW).flat_map(|seq| publish(of, Class(0x66), seq)).collect()
}

/// A desk with a spool on a disk in memory.
struct Bench {
    door: Arc<Door>,
    bell: Arc<CommitBell>,
    turns: Option<Arc<Turns>>,
    spool: Spool,
    crew: Crew,
}

impl Bench {
    fn new(turns: Option<Arc<Turns>>) -> Self {
        let mut settings = SpoolSettings::default();
        (settings.segment_bytes, settings.bytes_max, settings.reserve_bytes) = (2 << 20, 64 << 20, 2 << 20);
        let disk = Arc::new(FaultyDisk::new());
        let (spool, crew, _) = Spool::open_by_hand(Path::new("/spool"), settings, disk).unwrap();
        let bell = Arc::new(CommitBell::new(&spool.committed_watch().borrow()));
        let config = IngestConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            forces: Arc::new(HashSet::from([ForceId::try_new("sim").unwrap()])),
            revocation_list: None,
            connections_max: 1000,
            connect_deadline: Duration::from_secs(10),
            keep_alive_s_max: 120,
            session_expiry_s_max: 0,
            packet_bytes_max: 2048,
            receive_max: 100,
            topic_alias_max: 0,
            clock: ClockBounds { future_ms_max: 1_000, past_ms_max: 1_000 },
        };
        let door = Door::new(
            config,
            spool.clone(),
            Dedup::new(DedupBounds::default()),
            Downlink::new(DownlinkBounds::default()),
            Metrics::new(),
            CancellationToken::new(),
            Clock::new(|| 1_000),
        );
        Self { door, bell, turns, spool, crew }
    }

    /// A device that says `reads` behind its CONNECT.
    fn connect(
        &self,
        number: u64,
        reads: Vec<Vec<u8>>,
        ends: bool,
    ) -> impl Future<Output = ()> + Send + use<> {
        let device = format!("pc-{number:04}");
        let mut connect = b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x07".to_vec();
        connect.extend(device.bytes());
        let reads = std::iter::once(connect).chain(reads).collect();
        let identity = Identity {
            force: ForceId::try_new("sim").unwrap(),
            device: device.parse().unwrap(),
            ceiling: Mode::Test,
            serial: vec![1],
            not_after_s: i64::MAX,
        };
        let nowhere = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let (door, bell, turns) = (Arc::clone(&self.door), Arc::clone(&self.bell), self.turns.clone());
        serve_on(ready(Ok((Said { reads, ends }, identity))), nowhere, door, bell, turns)
    }

    /// Runs the desk until so many records are appended; the class of each, in the order of the spool.
    async fn classes(&mut self, records_count: u64) -> Vec<EntryClass> {
        if let Some(turns) = self.turns.clone() {
            tokio::spawn(async move { turns.give().await });
        }
        while self.spool.stats().appended < Lsn(records_count) {
            tokio::task::yield_now().await;
        }
        while self.crew.step(Instant::now() + Duration::from_secs(1)) == Some(Wait::Nothing) {}
        let everything = BatchLimits { count_max: usize::MAX, bytes_max: usize::MAX, age_ms_max: 0 };
        let batch = self.spool.reader(Lsn(1)).next_batch(everything).await.unwrap();
        batch.entries().map(|entry| entry.class).collect()
    }
}

/// How many records are stored before an alarm whose device comes behind a crowd that is back with full windows.
async fn before_the_alarm(turns: Option<Arc<Turns>>) -> usize {
    let mut bench = Bench::new(turns);
    for number in 0..CROWD {
        tokio::spawn(bench.connect(number, vec![window(Lane::Backlog)], false));
    }
    let alarm = publish(Lane::Alarm, Class::ALARM, 0);
    tokio::spawn(bench.connect(CROWD, vec![alarm], false));
    let classes = bench.classes(CROWD * u64::from(WINDOW) + 1).await;
    classes.iter().position(|class| *class == EntryClass::Alarm).expect("it is stored")
}

#[tokio::test]
async fn an_alarm_does_not_wait_for_those_who_bring_much() {
    let turns_at_once = TURNS_AT_ONCE * WINDOW as usize;
    assert!(before_the_alarm(Some(Arc::default())).await <= turns_at_once);
    let all_of_them = CROWD as usize * WINDOW as usize;
    assert_eq!(before_the_alarm(None).await, all_of_them, "as it is where nobody waits for a turn");
}

#[tokio::test]
async fn an_alarm_behind_what_waits_takes_the_whole_connection_with_it() {
    let mut bench = Bench::new(Some(Arc::default()));
    for number in 0..CROWD {
        tokio::spawn(bench.connect(number, vec![window(Lane::Backlog)], false));
    }
    let alarm = publish(Lane::Alarm, Class::ALARM, WINDOW);
    tokio::spawn(bench.connect(CROWD, vec![window(Lane::Backlog), alarm], false));
    let classes = bench.classes((CROWD + 1) * u64::from(WINDOW) + 1).await;
    let before = classes.iter().position(|class| *class == EntryClass::Alarm).unwrap();
    assert!(before <= (TURNS_AT_ONCE + 1) * WINDOW as usize, "{before} before it");
}

#[tokio::test]
async fn what_was_said_before_the_connection_ended_is_heard() {
    let mut bench = Bench::new(Some(Arc::default()));
    tokio::spawn(bench.connect(0, vec![window(Lane::Live), publish(Lane::Live, Class(0x66), WINDOW)], true));
    assert_eq!(bench.classes(u64::from(WINDOW) + 1).await.len(), WINDOW as usize + 1);
    assert_eq!(bench.turns.as_ref().unwrap().lock().bytes, 0);
}
