//! Directories of a PMTiles archive: which tile lies where. Pure.
//!
//! Source: PMTiles version 3 specification, "Directories" and "Tile ids".

/// Where one tile, a run of equal tiles, or a leaf directory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tile: u64,
    /// From the start of the tiles, or of the leaf directories.
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Tiles it stands for; 0: a leaf directory.
    pub(super) run: u64,
}

/// Reads a directory; `None` if the bytes are none.
pub(super) fn parse(bytes: &[u8]) -> Option<Vec<Entry>> {
    let mut rest = bytes;
    let count = usize::try_from(varint(&mut rest)?).ok()?;
    // Four numbers of at least a byte each: a lying count allocates nothing.
    if count > rest.len() / 4 {
        return None;
    }
    let mut entries = Vec::with_capacity(count);
    let mut tile = 0_u64;
    for _ in 0..count {
        tile = tile.checked_add(varint(&mut rest)?)?;
        entries.push(Entry { tile, offset: 0, length: 0, run: 0 });
    }
    for entry in &mut entries {
        entry.run = varint(&mut rest)?;
    }
    for entry in &mut entries {
        entry.length = varint(&mut rest)?;
    }
    let mut after = 0_u64;
    for entry in &mut entries {
        // 0: right behind the entry before; else the offset plus one.
        entry.offset = varint(&mut rest)?.checked_sub(1).unwrap_or(after);
        after = entry.offset.checked_add(entry.length)?;
    }
    Some(entries)
}

/// The entry that a tile is in, or whose leaf directory knows.
pub(super) fn find(entries: &[Entry], tile: u64) -> Option<Entry> {
    let at = entries.partition_point(|entry| entry.tile <= tile).checked_sub(1)?;
    let entry = entries[at];
    (entry.run == 0 || tile - entry.tile < entry.run).then_some(entry)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// Highest zoom whose tile numbers are shown.
pub(super) const ZOOM_MAX: u8 = 26;

/// The number of a tile: all lower zooms first, then along a Hilbert curve. `None`: there is no such tile.
pub(super) fn tile_number(zoom: u8, column: u32, row: u32) -> Option<u64> {
    if zoom > ZOOM_MAX || u64::from(column.max(row)) >= 1 << zoom {
        return None;
    }
    let before = ((1_u64 << (2 * u32::from(zoom))) - 1) / 3;
    let (mut x, mut y) = (u64::from(column), u64::from(row));
    let mut along = 0;
    let mut side = (1_u64 << zoom) >> 1;
    while side > 0 {
        let (right, low) = (u64::from(x & side > 0), u64::from(y & side > 0));
        along += side * side * ((3 * right) ^ low);
        if low == 0 {
            if right == 1 {
                // Within this quadrant the curve runs mirrored.
                x = (side - 1).wrapping_sub(x) & (side - 1);
                y = (side - 1).wrapping_sub(y) & (side - 1);
            }
            std::mem::swap(&mut x, &mut y);
        }
        side >>= 1;
    }
    Some(before + along)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_numbered_as_the_specification_says() {
        for (number, (zoom, column, row)) in
            [(0, (0, 0, 0)), (1, (1, 0, 0)), (2, (1, 0, 1)), (3, (1, 1, 1)), (4, (1, 1, 0)), (5, (2, 0, 0))]
        {
            assert_eq!(tile_number(zoom, column, row), Some(number), "{zoom}/{column}/{row}");
        }
        assert_eq!(tile_number(12, 3423, 1763), Some(19_078_479), "the specification's example");
    }

    #[test]
    fn each_zoom_is_a_curve_without_a_leap() {
        let mut places: Vec<_> = (0..16_u32)
            .flat_map(|column| {
                (0..16_u32).map(move |row| (tile_number(4, column, row).unwrap(), column, row))
            })
            .collect();
        places.sort_unstable();
        for pair in places.windows(2) {
            assert_eq!(pair[1].0, pair[0].0 + 1);
            assert_eq!(pair[0].1.abs_diff(pair[1].1) + pair[0].2.abs_diff(pair[1].2), 1);
        }
    }

    #[test]
    fn a_tile_outside_the_world_has_no_number() {
        for (zoom, column, row) in [(0, 1, 0), (3, 8, 0), (3, 0, 8), (27, 0, 0), (255, 0, 0)] {
            assert_eq!(tile_number(zoom, column, row), None);
        }
    }

    #[test]
    fn a_count_that_lies_allocates_nothing() {
        assert_eq!(parse(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 1]), None);
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&[0]), Some(Vec::new()));
    }
}
