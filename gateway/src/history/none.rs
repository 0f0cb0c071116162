//! The store that could not be opened: it holds nothing and says why.

use super::row::Row;
use super::standing::Standing;
use super::{AlarmStory, Alarms, Answer, Condition, Found, HistoryError, HistoryStore, Sees, Track};
use crate::live::unit::UnitId;

/// Why there is no store.
pub(super) struct NoStore(pub(super) String);

impl NoStore {
    fn refuse<T: Send + 'static>(&self) -> Answer<T> {
        Box::pin(std::future::ready(Err(HistoryError::Storage(self.0.clone()))))
    }
}

impl HistoryStore for NoStore {
    fn take(&self, _: Vec<(UnitId, Row)>) -> Answer<()> {
        self.refuse()
    }

    fn settle(&self, _: u64) -> Answer<()> {
        self.refuse()
    }

    fn let_go(&self) -> Answer<u64> {
        self.refuse()
    }

    fn track(&self, _: Track) -> Answer<Found<Row>> {
        self.refuse()
    }

    fn at(&self, _: UnitId, _: u64) -> Answer<Found<Standing>> {
        self.refuse()
    }

    fn everyone(&self, _: u64, _: Sees) -> Answer<Found<Standing>> {
        self.refuse()
    }

    fn window(&self, _: u64, _: u64, _: Sees, _: usize) -> Answer<Found<(UnitId, Row)>> {
        self.refuse()
    }

    fn alarms(&self, _: Alarms) -> Answer<Found<AlarmStory>> {
        self.refuse()
    }

    fn condition(&self) -> Condition {
        Condition { degraded: vec![format!("There is no history: {}", self.0)], ..Condition::default() }
    }
}
