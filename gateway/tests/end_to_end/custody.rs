//! Custody at the front door: what a PUBACK means.

use fieldpost_protocol::Mode;

use crate::door::TestDoor;
use crate::mqtt::{Client, Heard, position};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn puback_waits_for_commit() {
    let mut door = TestDoor::open().await;
    let mut client = Client::connected(&mut door, "pc-1").await;
    door.disk.hold_syncs();
    client.publish("fp1/pc-1/live", 7, &position(Mode::Test, 0)).await;
    // A ping answered after the publish was handled: had a PUBACK been written, it would come first.
    client.ping().await;
    assert_eq!(client.hear().await, Heard::Pingresp);
    assert_eq!(door.spool.committed().0, 0);
    door.disk.release_syncs();
    assert_eq!(client.hear().await, Heard::Puback { packet_id: 7, code: 0 });
    assert_eq!(door.spool.committed().0, 1);
}
