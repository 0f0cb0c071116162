//! One MQTT 5 connection to a broker. **It repeats nothing**: when it breaks it is dropped whole, with every PUBACK that was
//! not sent, and the broker sends again what it has no PUBACK for. So no PUBACK of one connection can reach another, where
//! the same packet id may stand for another message.

use std::sync::Arc;
use std::time::Duration;

use fieldpost_protocol::limits::MQTT_PACKET_BYTES_MAX;
use hyper::Uri;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v5::{Publish, SubscribeReasonCode};
use rumqttc::{
    AckMode, AsyncClient, Event, EventLoop, Incoming, MqttOptions, PersistedAckMode, SubscribeFilterInput,
    TlsConfiguration, Transport,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::mpsc::{self, error::TrySendError};

use super::session::IdleSession;
use crate::config::{BrokerLink, ClientFiles};

/// Frames for devices and PUBACKs that may wait for the connection, beside those of the receive window.
const REQUESTS_MAX: usize = 1024;
/// Frames for devices without the broker's PUBACK: the client's own table is as long, and the broker's receive maximum is
/// respected below it.
const IN_FLIGHT_MAX: u16 = 256;

/// What a connection tells.
#[derive(Debug)]
pub enum News {
    /// Connected; the subscriptions are asked for.
    Up {
        /// The broker had our session.
        is_resumed: bool,
    },
    /// A message came.
    Message(Box<Publish>),
}

/// Why there is no connection, or no longer. For the log.
pub(super) type Ended = String;

/// The half that speaks.
pub(super) fn open(
    link: &BrokerLink,
    topics: Vec<(String, QoS, bool)>,
) -> Result<(AsyncClient, Carrier, mpsc::Receiver<News>), Ended> {
    let options = options(link)?;
    let capacity = REQUESTS_MAX + usize::from(link.receive_max);
    let (client, events) = AsyncClient::builder(options).capacity(capacity).build();
    // The broker keeps to our receive maximum, or the connection ends; frames of other gateways have quality 0.
    let (sender, receiver) = mpsc::channel(4 * usize::from(link.receive_max));
    let carrier = Carrier { events, client: client.clone(), topics, sender };
    Ok((client, carrier, receiver))
}

/// The half that moves bytes.
pub(super) struct Carrier {
    events: EventLoop,
    client: AsyncClient,
    /// Filter, quality, and whether what we send ourselves is left out.
    topics: Vec<(String, QoS, bool)>,
    sender: mpsc::Sender<News>,
}

impl Carrier {
    /// Carries the connection to its end. Dropping it ends the connection.
    pub(super) async fn run(mut self) -> Ended {
        loop {
            let event = match self.events.poll().await {
                Ok(event) => event,
                Err(error) => return error.to_string(),
            };
            let Event::Incoming(packet) = event else { continue };
            let news = match packet {
                Incoming::ConnAck(ack) => {
                    // On every connection: the answer says that the broker still allows it.
                    let filters = self.topics.drain(..).map(|(topic, qos, no_local)| {
                        SubscribeFilterInput::new(topic, qos).no_local(no_local)
                    });
                    if self.client.try_subscribe_many(filters.collect::<Vec<_>>()).is_err() {
                        return "the subscriptions could not be sent".to_owned();
                    }
                    News::Up { is_resumed: ack.session_present }
                }
                Incoming::SubAck(ack) => {
                    let refused =
                        ack.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
                    if let Some(code) = refused {
                        return format!(
                            "the broker refused a subscription: {code:?}; look at its access list"
                        );
                    }
                    continue;
                }
                Incoming::Publish(publish) => News::Message(Box::new(publish)),
                Incoming::Disconnect(said) => return format!("the broker hung up: {:?}", said.reason_code),
                _ => continue,
            };
            match self.sender.try_send(news) {
                Ok(()) => {}
                // Quality 0 may be let go: it is what others have stored, and a record comes again.
                Err(TrySendError::Full(News::Message(publish))) if publish.qos == QoS::AtMostOnce => {}
                Err(TrySendError::Full(_)) => {
                    return "the broker sent more than our receive maximum".to_owned();
                }
                Err(TrySendError::Closed(_)) => return "nobody listens any more".to_owned(),
            }
        }
    }
}

fn options(link: &BrokerLink) -> Result<MqttOptions, Ended> {
    let uri: Uri = link.url.parse().map_err(said)?;
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let is_tls = uri.scheme_str() == Some("mqtts");
    let port = uri.port_u16().unwrap_or(if is_tls { 8883 } else { 1883 });
    let mut options = MqttOptions::new(link.client_id.clone(), (host, port));
    if is_tls {
        let tls = Arc::new(tls(link)?);
        options.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(tls)));
    }
    if let Some((name, file)) = &link.login {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        options.set_credentials(name.clone(), text.lines().next().unwrap_or_default().to_owned());
    }
    options.set_keep_alive(link.keep_alive_s);
    options.set_connect_timeout(Duration::from_millis(link.retry.attempt_ms_max));
    // The broker keeps what has no PUBACK; what we owe it, the spool and the devices know.
    options.set_clean_start(false);
    options.set_session_expiry_interval(Some(link.session_expiry_s));
    let acks = PersistedAckMode::Manual;
    options.set_session_store(IdleSession::new(&link.client_id, link.session_expiry_s, IN_FLIGHT_MAX, acks));
    options.set_ack_mode(AckMode::Manual);
    options.set_receive_maximum(Some(link.receive_max));
    options.set_outgoing_inflight_upper_limit(IN_FLIGHT_MAX);
    options.set_max_packet_size(Some(u32::try_from(MQTT_PACKET_BYTES_MAX).unwrap_or(u32::MAX)));
    Ok(options)
}

/// TLS 1.2 or 1.3 to a broker: it is somebody else's, and some still have no 1.3. What it carries proves itself.
fn tls(link: &BrokerLink) -> Result<ClientConfig, Ended> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(said)?.with_root_certificates(roots(link)?);
    match &link.client {
        None => Ok(builder.with_no_client_auth()),
        Some(ClientFiles { certificate, key }) => {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| format!("{}: {error}", certificate.display()))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(said)?;
            builder.with_client_auth_cert(chain, key).map_err(said)
        }
    }
}

fn roots(link: &BrokerLink) -> Result<RootCertStore, Ended> {
    let mut roots = RootCertStore::empty();
    match &link.authority {
        Some(path) => {
            let certificates = CertificateDer::pem_file_iter(path).map_err(said)?;
            for certificate in certificates {
                roots.add(certificate.map_err(said)?).map_err(said)?;
            }
        }
        None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs),
    }
    Ok(roots)
}

fn said(error: impl std::fmt::Display) -> Ended {
    error.to_string()
}
