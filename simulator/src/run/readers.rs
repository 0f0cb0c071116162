//! Everything that reads what arrives: one task for each sink, one for the page.

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{Gateway, RunError};
use crate::check::{
    board::Board,
    file,
    jetstream::JetStream,
    page::{Operator, Page, PageState},
    webhook,
};

/// Differences between the gateway's ledger and the truth that are told one by one.
const DIFFERENCES_MAX: usize = 5;

/// Everything that reads what arrives.
pub(super) struct Readers {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    pub(super) page: Option<watch::Receiver<PageState>>,
    pub(super) operator: Option<Operator>,
}

impl Readers {
    /// Starts a reader for every sink, in the order of the ledger: file, webhook, nats.
    pub(super) async fn start(
        gateway: &Gateway,
        receiver: Option<webhook::Receiver>,
        jetstream: Option<JetStream>,
        board: &Board,
    ) -> Result<Self, RunError> {
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let mut sink = 0..;
        let mut next_sink = || sink.next().expect("the range has no end");
        if let Some(path) = gateway.events.clone() {
            let (board, stop, sink) = (board.clone(), stop.clone(), next_sink());
            tasks.spawn(async move { file::follow(&path, &board, sink, &stop).await });
        }
        if let Some(receiver) = receiver {
            let serving: JoinHandle<()> = receiver.serve(board.clone(), next_sink(), stop.clone());
            tasks.spawn(async move {
                // Its own errors are logged by itself.
                let _ = serving.await;
            });
        }
        if let Some(jetstream) = jetstream {
            let (board, stop, sink) = (board.clone(), stop.clone(), next_sink());
            tasks.spawn(async move { Box::pin(jetstream.follow(&board, sink, &stop)).await });
        }
        let mut readers = Self { stop, tasks, page: None, operator: None };
        if let Some(link) = &gateway.page_link {
            readers.open_page(link, board).await?;
        }
        Ok(readers)
    }

    async fn open_page(&mut self, link: &str, board: &Board) -> Result<(), RunError> {
        let page = Page::open(link).await?;
        self.page = Some(page.state());
        self.operator = Some(page.operator());
        let (board, stop) = (board.clone(), self.stop.clone());
        self.tasks.spawn(async move {
            if let Err(error) = page.follow(&board, &stop).await {
                tracing::error!(%error, "the page is lost");
            }
        });
        Ok(())
    }

    /// Alarms on the page: (shown, acknowledged).
    pub(super) fn alarms(&self) -> (usize, usize) {
        let Some(page) = &self.page else { return (0, 0) };
        let page = page.borrow();
        let acknowledged = page.alarms.values().filter(|alarm| alarm.state == "acknowledged").count();
        (page.alarms.len(), acknowledged)
    }

    /// Where the gateway's own ledger and the truth differ, in words. Nothing without a page: it is read through one.
    pub(super) async fn ledger_faults(&self, board: &Board) -> Vec<String> {
        let Some(operator) = &self.operator else { return Vec::new() };
        let (accounts, missed) = match operator.accounts().await {
            Ok(read) => read,
            Err(error) => return vec![format!("the loss ledger cannot be read: {error}")],
        };
        let mut differences = board.ledger().compare(&accounts);
        let count = differences.len();
        differences.truncate(DIFFERENCES_MAX);
        if count > DIFFERENCES_MAX {
            differences.push(format!("the loss ledger: {} more differences", count - DIFFERENCES_MAX));
        }
        if missed > 0 {
            differences.push(format!("the loss ledger could not read {missed} entries of the spool"));
        }
        differences
    }

    /// Whether there was a page and it could not be opened again.
    pub(super) fn page_is_lost(&self) -> bool {
        // Its sender goes with the task that follows it.
        self.page.as_ref().is_some_and(|page| page.has_changed().is_err())
    }

    /// Ends every reader, the file's only after its last line.
    pub(super) async fn stop(mut self) {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
