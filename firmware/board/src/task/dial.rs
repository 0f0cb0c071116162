//! The way to the gateway's TCP port: one socket, used again for every connection.

use embassy_net::{IpAddress, IpEndpoint, Ipv4Address, Stack, dns::DnsQueryType, tcp::TcpSocket};
use embassy_time::{Duration, with_timeout};
use embedded_io_async::{ErrorType, Read, Write};
use fieldpost_firmware::slot::GatewayAddress;
use fieldpost_link::Dial;
use static_cell::StaticCell;

/// Two segments: a gateway's whole flight of a handshake.
const RX_BYTES: usize = 3072;
/// A frame of the longest kind in its TLS record.
const TX_BYTES: usize = 2048;
/// What a connection left behind has to go out within.
const FAREWELL: Duration = Duration::from_secs(2);

static RX: StaticCell<[u8; RX_BYTES]> = StaticCell::new();
static TX: StaticCell<[u8; TX_BYTES]> = StaticCell::new();

/// Dials the gateway of the provisioning slot.
pub(crate) struct Dialler {
    stack: Stack<'static>,
    socket: TcpSocket<'static>,
    address: GatewayAddress<'static>,
    port: u16,
}

/// Nobody answers, or the gateway's host has no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, defmt::Format)]
pub(crate) struct NoAnswer;

impl Dialler {
    pub(crate) fn new(stack: Stack<'static>, address: GatewayAddress<'static>, port: u16) -> Self {
        let mut socket = TcpSocket::new(stack, RX.init([0; RX_BYTES]), TX.init([0; TX_BYTES]));
        // A record is written whole: nothing to gather.
        socket.set_nagle_enabled(false);
        Self { stack, socket, address, port }
    }

    async fn find(&self) -> Result<IpAddress, NoAnswer> {
        match self.address {
            GatewayAddress::Ipv4([a, b, c, d]) => Ok(Ipv4Address::new(a, b, c, d).into()),
            GatewayAddress::Host(host) => {
                let found = self.stack.dns_query(host, DnsQueryType::A).await.map_err(|_| NoAnswer)?;
                found.first().copied().ok_or(NoAnswer)
            }
        }
    }
}

impl Dial for Dialler {
    type Stream<'a> = Call<'a>;
    type Error = NoAnswer;

    async fn dial(&mut self) -> Result<Call<'_>, NoAnswer> {
        self.socket.abort();
        // What is not gone by then, the peer finds out by itself.
        let _ = with_timeout(FAREWELL, self.socket.flush()).await;
        self.stack.wait_config_up().await;
        let address = self.find().await?;
        self.socket.connect(IpEndpoint::new(address, self.port)).await.map_err(|_| NoAnswer)?;
        Ok(Call(&mut self.socket))
    }
}

/// A connection. Dropping it closes it: what was written still goes out.
pub(crate) struct Call<'a>(&'a mut TcpSocket<'static>);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl ErrorType for Call<'_> {
    type Error = embassy_net::tcp::Error;
}

impl Read for Call<'_> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        self.0.read(buffer).await
    }
}

impl Write for Call<'_> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        self.0.write(bytes).await
    }

    /// Does not wait until the peer has it: TCP takes it from here, and MQTT answers.
    async fn flush(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}
