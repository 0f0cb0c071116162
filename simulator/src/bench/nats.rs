//! nats-server with JetStream that syncs every message (`sync_interval: always`): its own protocol over mutual TLS 1.3, as its
//! MQTT side keeps no message without a subscriber. An acknowledgement there means what a PUBACK means here.

use async_nats::{ConnectOptions, jetstream};
use bytes::Bytes;
use tokio::task::JoinSet;

use super::{Figure, IngestLoad, Server};

/// Publishes as fast as the server acknowledges, `load.window` at a time over each connection.
///
/// # Errors
/// A connection or a message is refused.
pub async fn pump_jetstream(server: &Server, load: IngestLoad) -> Result<Figure, async_nats::Error> {
    let mut contexts = Vec::new();
    for device in &server.devices[..load.connection_count] {
        let options = ConnectOptions::new().require_tls(true).tls_client_config((*device.tls).clone());
        let client = options.connect(format!("tls://{}", server.address)).await?;
        contexts.push(jetstream::new(client));
    }
    let stream = jetstream::stream::Config {
        name: "BENCH".to_owned(),
        subjects: vec!["bench.>".to_owned()],
        ..Default::default()
    };
    contexts[0].create_stream(stream).await?;
    // As many publishers as the windows have places, each waiting for its acknowledgement.
    let publishers_count = (load.connection_count * load.window) as u64;
    let share = (load.message_count / publishers_count).max(1);
    let payload = Bytes::from(vec![0x5A; load.payload_bytes]);
    let before = server.usage()?.cpu_s;
    let mut running = JoinSet::new();
    for (number, context) in contexts.iter().enumerate() {
        for _ in 0..load.window {
            let (context, payload, subject) = (context.clone(), payload.clone(), format!("bench.{number}"));
            running.spawn(async move {
                for _ in 0..share {
                    context.publish(subject.clone(), payload.clone()).await?.await?;
                }
                Ok::<(), async_nats::Error>(())
            });
        }
    }
    while let Some(ended) = running.join_next().await {
        ended.expect("a benchmark task does not panic")?;
    }
    let cpu_s = server.usage()?.cpu_s - before;
    Ok(Figure {
        server: server.name,
        what: format!("pump, {} connections", load.connection_count),
        value: cpu_s / (share * publishers_count) as f64 * 1e6,
        unit: "CPU-s per million messages",
    })
}
