//! A body for the device logic: a session in a thread of its own, as a board runs it in a task of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fieldpost_firmware::{Device, FrameBuffer, Handle, RamStorage, Settings};
use fieldpost_link::{
    Buffers, Clock, Desk, End, Entropy, EntropyFailed, News, Order, Provider, Session, Switchboard, Tls,
};
use fieldpost_protocol::limits::FRAME_BYTES_MAX;
use fieldpost_protocol::{DeviceId, Mode};
use tokio::sync::{mpsc, oneshot};

use crate::wire::{Meter, TcpDial};

/// Longer than any step of a test takes; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The host's generator.
#[derive(Debug)]
struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), EntropyFailed> {
        use std::io::Read as _;
        std::fs::File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(out))
            .map_err(|_| EntropyFailed)
    }
}

pub(crate) static PROVIDER: Provider = Provider::new(&HostEntropy);

/// Time since the start; the device's clock is set by the test.
#[derive(Debug, Clone)]
pub(crate) struct TestClock {
    started: Instant,
    unix_s: Arc<AtomicU32>,
}

impl TestClock {
    pub(crate) fn good() -> Self {
        let now = std::time::UNIX_EPOCH.elapsed().expect("the host is past 1970").as_secs();
        Self::at(u32::try_from(now).expect("before 2106"))
    }

    /// 0: not set.
    pub(crate) fn at(unix_s: u32) -> Self {
        Self { started: Instant::now(), unix_s: Arc::new(AtomicU32::new(unix_s)) }
    }

    pub(crate) fn set(&self, unix_s: u32) {
        self.unix_s.store(unix_s, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).expect("short")
    }

    fn unix_s(&self) -> Option<u32> {
        Some(self.unix_s.load(Ordering::Relaxed)).filter(|unix_s| *unix_s > 0)
    }

    async fn wait_until_ms(&self, at_ms: u64) {
        tokio::time::sleep_until((self.started + Duration::from_millis(at_ms)).into()).await;
    }
}

/// News that own their bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard {
    Connected { session_present: bool },
    Disconnected(End),
    Acknowledged(Handle),
    Refused(Handle),
    Downlink(Vec<u8>),
}

struct Channels {
    orders: mpsc::Receiver<(Order, Vec<u8>)>,
    news: mpsc::Sender<(u32, Heard)>,
}

impl Desk for Channels {
    async fn order(&mut self, frame: &mut FrameBuffer) -> Order {
        match self.orders.recv().await {
            Some((order, bytes)) => {
                frame[..bytes.len()].copy_from_slice(&bytes);
                order
            }
            None => std::future::pending().await,
        }
    }

    async fn report(&mut self, attempt: u32, news: News<'_>) {
        let heard = match news {
            News::Connected { session_present } => Heard::Connected { session_present },
            News::Disconnected(end) => Heard::Disconnected(end),
            News::Acknowledged(handle) => Heard::Acknowledged(handle),
            News::Refused(handle) => Heard::Refused(handle),
            News::Downlink(frame) => Heard::Downlink(frame.to_vec()),
        };
        // A test that is over does not listen.
        _ = self.news.send((attempt, heard)).await;
    }
}

/// A session that runs, and both ends of its desk.
pub(crate) struct Link {
    pub(crate) orders: mpsc::Sender<(Order, Vec<u8>)>,
    pub(crate) news: mpsc::Receiver<(u32, Heard)>,
    pub(crate) meter: Arc<Meter>,
    stop: Option<oneshot::Sender<()>>,
}

async fn serve(
    mut dial: TcpDial,
    mut desk: Channels,
    tls: Tls,
    device: DeviceId,
    clock: TestClock,
    stopped: oneshot::Receiver<()>,
) {
    let mut buffers = Box::new(Buffers::new());
    let mut session = Session::new(tls, device, &mut buffers);
    tokio::select! {
        _ = stopped => {}
        never = session.run(&mut dial, &mut desk, &clock) => match never {},
    }
}

impl Link {
    /// Starts a session to `address` in a thread of its own: its futures are not `Send`, on no board are they.
    pub(crate) fn start(address: SocketAddr, tls: Tls, device: &DeviceId, clock: TestClock) -> Self {
        let (link, channels, stopped) = Self::wire();
        let dial = TcpDial { address, meter: Arc::clone(&link.meter) };
        let device = device.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(dial, channels, tls, device, clock, stopped));
        });
        link
    }

    /// A session that runs only while the test waits.
    pub(crate) fn here(
        address: SocketAddr,
        tls: Tls,
        device: &DeviceId,
        clock: TestClock,
    ) -> (Self, impl Future<Output = ()> + use<>) {
        let (link, channels, stopped) = Self::wire();
        let dial = TcpDial { address, meter: Arc::clone(&link.meter) };
        (link, serve(dial, channels, tls, device.clone(), clock, stopped))
    }

    fn wire() -> (Self, Channels, oneshot::Receiver<()>) {
        let (orders, order_queue) = mpsc::channel(4);
        let (news_queue, news) = mpsc::channel(4);
        let (stop, stopped) = oneshot::channel();
        let link = Self { orders, news, meter: Arc::new(Meter::default()), stop: Some(stop) };
        (link, Channels { orders: order_queue, news: news_queue }, stopped)
    }

    /// Orders, as the device logic would.
    pub(crate) async fn order(&self, order: Order, frame: &[u8]) {
        self.orders.send((order, frame.to_vec())).await.expect("the session runs");
    }

    /// The next news.
    pub(crate) async fn hear(&mut self) -> Heard {
        let heard = tokio::time::timeout(PATIENCE, self.news.recv()).await;
        heard.expect("news come in time").expect("the session runs").1
    }

    /// Connects and says how that ends.
    pub(crate) async fn connect(&mut self) -> Heard {
        self.order(Order::Connect { attempt: 1 }, &[]).await;
        self.hear().await
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        _ = self.stop.take().map(|stop| stop.send(()));
    }
}

/// The device logic on a link.
pub(crate) struct Body {
    pub(crate) device: Device<RamStorage<256>>,
    pub(crate) link: Link,
    pub(crate) heard: Vec<Heard>,
    switchboard: Switchboard,
    clock: TestClock,
}

impl Body {
    pub(crate) fn new(settings: Settings, link: Link, clock: TestClock) -> Self {
        let device = Device::start(settings, RamStorage::new()).expect("RAM serves");
        Self { device, link, heard: Vec::new(), switchboard: Switchboard::new(), clock }
    }

    pub(crate) fn settings() -> Settings {
        Settings::vehicle(Mode::Test)
    }

    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Runs until `is_true`; panics after [`PATIENCE`].
    pub(crate) async fn until(&mut self, what: &str, mut is_true: impl FnMut(&Self) -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut random = || 0;
        let mut frame = [0; FRAME_BYTES_MAX];
        loop {
            // As a board must: poll only while the channel has room.
            while self.link.orders.capacity() > 0 {
                let now_ms = self.clock.now_ms();
                let Some(output) = self.device.poll(now_ms, &mut random, &mut frame) else { break };
                let bytes = match &output {
                    fieldpost_firmware::Output::Publish { frame, .. } => frame.to_vec(),
                    _ => Vec::new(),
                };
                if let Some(order) = self.switchboard.order(&output) {
                    self.link.orders.try_send((order, bytes)).expect("there is room");
                }
            }
            if is_true(self) {
                return;
            }
            let poll_at_ms = self.device.poll_at().unwrap_or(u64::MAX / 2).min(self.now_ms() + 50);
            tokio::select! {
                news = self.link.news.recv() => {
                    let (attempt, heard) = news.expect("the session runs");
                    self.take(attempt, &heard);
                    self.heard.push(heard);
                }
                () = self.clock.wait_until_ms(poll_at_ms) => {}
                () = tokio::time::sleep_until(deadline) => panic!("never came true: {what}"),
            }
        }
    }

    fn take(&mut self, attempt: u32, heard: &Heard) {
        let news = match heard {
            Heard::Connected { session_present } => News::Connected { session_present: *session_present },
            Heard::Disconnected(end) => News::Disconnected(*end),
            Heard::Acknowledged(handle) => News::Acknowledged(*handle),
            Heard::Refused(handle) => News::Refused(*handle),
            Heard::Downlink(frame) => News::Downlink(frame),
        };
        if let Some(input) = self.switchboard.input(attempt, &news) {
            self.device.handle(self.clock.now_ms(), input);
        }
    }
}
