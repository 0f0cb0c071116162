//! The link: `fieldpost_link` between the device's orders and the gateway.

use embassy_net::Stack;
use embassy_time::{Instant, Timer};
use fieldpost_firmware::{FrameBuffer, slot::Provision};
use fieldpost_link::{
    Buffers, Clock, ConfigError, Desk, End, News, Order, Provider, Session, Tls, TlsIdentity,
};
use static_cell::StaticCell;

use super::dial::Dialler;
use crate::{
    board::ENTROPY,
    guard::{self, Watched},
    release, say,
    wire::{self, Letter, NEWS, ORDERS},
};

static PROVIDER: Provider = Provider::new(&ENTROPY);
static BUFFERS: StaticCell<Buffers> = StaticCell::new();

/// Serves the device's orders for ever; `no_key` says why there is no envelope key although the slot wants one.
#[embassy_executor::task]
pub(crate) async fn run(
    stack: Stack<'static>,
    provision: &'static Provision<'static>,
    no_key: Option<ConfigError>,
) -> ! {
    match no_key.map_or_else(|| configure(provision), Err) {
        Ok(tls) => {
            let mut session = Session::new(tls, provision.device.clone(), BUFFERS.init_with(Buffers::new));
            if provision.envelope_key.is_some() {
                session = session.behind_broker();
            }
            let mut dialler = Dialler::new(stack, provision.gateway_address, provision.gateway_port);
            match session.run(&mut dialler, &mut Post, &Uptime).await {}
        }
        Err(error) => {
            say::unusable_identity(error);
            refuse_all().await
        }
    }
}

fn configure(provision: &Provision<'_>) -> Result<Tls, ConfigError> {
    Tls::new(
        &PROVIDER,
        &TlsIdentity {
            chain: &provision.chain,
            key_pkcs8: provision.private_key.expose_pkcs8_der(),
            authorities: &provision.authorities,
            gateway_name: provision.gateway_name,
            built_unix_s: release::BUILT_UNIX_S,
        },
    )
}

/// Without an identity or a controller no dial succeeds; the device keeps its records. Orders that nobody took would look to the
/// guard like a link that hangs.
pub(crate) async fn refuse_all() -> ! {
    let mut frame = [0; fieldpost_protocol::limits::FRAME_BYTES_MAX];
    loop {
        if let Order::Connect { attempt } = Post.order(&mut frame).await {
            Post.report(attempt, News::Disconnected(End::Dial)).await;
        }
    }
}

/// The session's end of the channels.
struct Post;

impl Desk for Post {
    async fn order(&mut self, frame: &mut FrameBuffer) -> Order {
        guard::report(Watched::Link);
        let order = ORDERS.take(frame).await;
        guard::report(Watched::Link);
        order
    }

    async fn report(&mut self, attempt: u32, news: News<'_>) {
        NEWS.send(Letter::new(attempt, &news)).await;
    }
}

/// The board's time.
struct Uptime;

impl Clock for Uptime {
    fn now_ms(&self) -> u64 {
        Instant::now().as_millis()
    }

    fn unix_s(&self) -> Option<u32> {
        wire::unix_s()
    }

    async fn wait_until_ms(&self, at_ms: u64) {
        Timer::at(Instant::from_millis(at_ms)).await;
    }
}
