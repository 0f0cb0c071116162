//! Several segments of one slot as one stream: unit by unit, each row once.
//!
//! **Memory is that of one unit's rows**, however many units there are. A block that is damaged is left out and its segment
//! named; so is the rest of a segment whose index is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::row::Row;
use super::segment::{Segment, SegmentError, SegmentReader};
use super::table::in_order;
use crate::live::unit::UnitId;
use crate::spool::Disk;

struct Head<'a> {
    segment: &'a Segment,
    reader: SegmentReader,
    n: u64,
    hash: u64,
}

/// Calls `each` with every unit of `segments`, in the order of their hash, and its rows in order. Returns the segments that
/// are damaged.
pub(super) fn merge(
    disk: &dyn Disk,
    segments: &[Segment],
    mut each: impl FnMut(&UnitId, Vec<Row>) -> Result<(), SegmentError>,
) -> Result<Vec<PathBuf>, SegmentError> {
    let mut damaged = BTreeSet::new();
    let mut heads = Vec::new();
    for segment in segments {
        let reader = segment.read(disk)?;
        heads.extend(head_at(segment, reader, 0, &mut damaged)?);
    }
    while let Some(hash) = heads.iter().map(|head| head.hash).min() {
        let (with_it, mut rest): (Vec<_>, Vec<_>) = heads.into_iter().partition(|head| head.hash == hash);
        let mut units: BTreeMap<UnitId, Vec<Row>> = BTreeMap::new();
        for mut head in with_it {
            // Two units may share a hash, so one segment may have several such blocks.
            loop {
                match head.reader.block(head.n) {
                    Ok((unit, rows)) => units.entry(unit).or_default().extend(rows),
                    Err(error @ SegmentError::Io { .. }) => return Err(error),
                    Err(SegmentError::Damaged { path, .. }) => _ = damaged.insert(path),
                }
                match head_at(head.segment, head.reader, head.n + 1, &mut damaged)? {
                    Some(next) if next.hash == hash => head = next,
                    Some(next) => break rest.push(next),
                    None => break,
                }
            }
        }
        for (unit, mut rows) in units {
            in_order(&mut rows);
            each(&unit, rows)?;
        }
        heads = rest;
    }
    Ok(damaged.into_iter().collect())
}

fn head_at<'a>(
    segment: &'a Segment,
    reader: SegmentReader,
    n: u64,
    damaged: &mut BTreeSet<PathBuf>,
) -> Result<Option<Head<'a>>, SegmentError> {
    if n >= reader.units_count() {
        return Ok(None);
    }
    match reader.hash_at(n) {
        Ok(hash) => Ok(Some(Head { segment, reader, n, hash })),
        Err(SegmentError::Damaged { path, .. }) => {
            damaged.insert(path);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
