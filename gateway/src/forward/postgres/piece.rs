//! How many events go into one transaction.
//!
//! **A batch that takes the server longer than an attempt may is not sent again and again in vain**: what did not end in its time
//! comes again in halves, each committed and counted by itself, until one ends; then they grow again.

use crate::forward::RetryReason;
use crate::postgres::Fault;

/// All of the largest batch that the configuration allows.
const COUNT_MAX: usize = 10_000;

/// The size of the next transaction.
#[derive(Debug)]
pub(super) struct Piece {
    count_max: usize,
    /// How many are on their way. Still so when the next begins: the attempt was cut off.
    under_way: Option<usize>,
}

impl Default for Piece {
    fn default() -> Self {
        Self { count_max: COUNT_MAX, under_way: None }
    }
}

impl Piece {
    /// How many of `count` events the next transaction has, 1 at least.
    pub(super) fn begin(&mut self, count: usize) -> usize {
        if let Some(cut_count) = self.under_way.take() {
            self.halve(cut_count);
        }
        let count = count.min(self.count_max);
        self.under_way = Some(count);
        count
    }

    /// It has ended, by itself.
    pub(super) fn end(&mut self, fault: Option<&Fault>) {
        let count = self.under_way.take();
        match (count, fault) {
            (Some(count), Some(Fault::Again { reason: RetryReason::Timeout, .. })) => self.halve(count),
            (Some(_), None) => self.count_max = (self.count_max * 2).min(COUNT_MAX),
            _ => {}
        }
    }

    fn halve(&mut self, count: usize) {
        self.count_max = (count / 2).max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_comes_again_in_halves_and_grows_again() {
        let mut piece = Piece::default();
        let tried = [(); 4].map(|()| piece.begin(1_000));
        assert_eq!(tried, [1_000, 500, 250, 125], "each cut off");
        piece.end(None);
        assert_eq!(piece.begin(875), 250);
        piece.end(Some(&Fault::again(RetryReason::Timeout, "statement timeout")));
        assert_eq!(piece.begin(875), 125);
        piece.end(Some(&Fault::again(RetryReason::Unreachable, "gone")));
        assert_eq!(piece.begin(875), 125, "that it was gone says nothing about its size");
        for _ in 0..20 {
            piece.begin(1);
        }
        assert_eq!(piece.begin(1), 1, "never fewer");
    }
}
