//! A server that is slower than an attempt may be, and one that answers before it has written.

use std::time::Duration;

use tokio::time::timeout;

use super::{Database, EventState, Link, NOON_MS, PostgresSink, deliver, events, place, settings};
use crate::forward::Sink as _;

/// A row takes 10 ms and an attempt 300 ms: all of them never fit.
#[tokio::test]
async fn a_batch_that_takes_longer_than_an_attempt_gets_there_in_pieces() {
    let database = Database::new();
    let settings = settings(&database);
    deliver(&settings, &[place("pc-1", 0, NOON_MS)]).await.unwrap();
    database.sql(
        "CREATE FUNCTION fieldpost.slow() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(0.01); RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON fieldpost.positions FOR EACH ROW EXECUTE FUNCTION fieldpost.slow()",
    );
    let records: Vec<_> = (1..=60).map(|seq| place("pc-1", seq, NOON_MS)).collect();
    let mut sent = events(&records);
    let mut sink = PostgresSink::new(settings);
    let mut attempts_count = 0;
    while sent.iter().any(|event| event.state == EventState::Owed) {
        // On a busy machine even one row may take too long now and then.
        assert!(attempts_count < 1_000, "it never gets there");
        attempts_count += 1;
        if let Ok(Err(error)) = timeout(Duration::from_millis(300), sink.deliver(&mut sent)).await {
            panic!("{error}");
        }
    }
    assert!(attempts_count > 1);
    assert_eq!(database.sql("SELECT count(*), count(DISTINCT seq) FROM fieldpost.positions"), "61|61");
}

/// The servers of these tests do not write before they answer.
#[tokio::test]
async fn a_server_that_may_forget_what_it_has_answered_is_named_by_its_settings() {
    let database = Database::new();
    let link = Link::open(&database.server()).await.unwrap();
    assert_eq!(link.forgets_by().await.unwrap().as_deref(), Some("fsync"));
}
