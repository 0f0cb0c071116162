use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// 2.0 degrees west to 1 degree west, 53 to 54 north.
const BOUNDS: [i32; 4] = [-20_000_000, 530_000_000, -10_000_000, 540_000_000];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// An archive with the tile 0/0/0 in its root and 1/0/0, 1/0/1 (one run) in a leaf.
fn archive() -> Vec<u8> {
    let metadata = gzip(br#"{"attribution":"Ordnance Survey","vector_layers":[{"id":"roads"}]}"#);
    let leaf = gzip(&[1, 1, 2, 4, 5]);
    let length = u8::try_from(leaf.len()).unwrap();
    // Two entries: tile 0 (run 1, 4 bytes, offset 0) and tile 1 (leaf, offset 0).
    let root = gzip(&[2, 0, 1, 1, 0, 4, length, 1, 1]);
    let tiles = b"zeroones";
    let mut bytes = vec![0_u8; HEADER_BYTES];
    bytes[..7].copy_from_slice(b"PMTiles");
    bytes[7] = 3;
    for (at, part) in [(8, &root), (24, &metadata), (40, &leaf), (56, &tiles.to_vec())] {
        let offset = bytes.len() as u64;
        bytes[at..at + 8].copy_from_slice(&offset.to_le_bytes());
        bytes[at + 8..at + 16].copy_from_slice(&(part.len() as u64).to_le_bytes());
        bytes.extend_from_slice(part);
    }
    bytes[97] = 2;
    bytes[98] = 1;
    bytes[99] = 1;
    bytes[101] = 1;
    for (index, degrees) in BOUNDS.iter().enumerate() {
        let at = 102 + 4 * index;
        bytes[at..at + 4].copy_from_slice(&degrees.to_le_bytes());
    }
    bytes
}

fn opened(bytes: &[u8]) -> Result<Archive, ArchiveError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("map.pmtiles");
    fs::write(&path, bytes).unwrap();
    Archive::open(&path)
}

#[test]
fn a_tile_is_found_in_the_root_and_in_a_leaf_and_one_for_a_run() {
    let map = opened(&archive()).unwrap();
    assert_eq!(map.tile(0, 0, 0).unwrap().as_deref(), Some(b"zero".as_slice()));
    assert_eq!(map.tile(1, 0, 0).unwrap().as_deref(), Some(b"ones".as_slice()));
    assert_eq!(map.tile(1, 0, 1).unwrap().as_deref(), Some(b"ones".as_slice()));
    assert_eq!(map.tile(1, 1, 1).unwrap(), None);
    assert_eq!(map.tile(9, 0, 0).unwrap(), None);
    assert_eq!(map.tile(1, 7, 7).unwrap(), None);
}

#[test]
fn a_map_says_what_it_is() {
    let map = opened(&archive()).unwrap();
    assert_eq!(map.kind(), Kind::Vector);
    assert_eq!(map.zooms(), (0, 1));
    assert_eq!(map.layers(), ["roads"]);
    assert_eq!(map.attribution(), "Ordnance Survey");
    for (degrees, expected) in map.bounds().iter().zip([-2.0, 53.0, -1.0, 54.0]) {
        assert!((degrees - expected).abs() < 1e-6);
    }
}

#[test]
fn a_file_that_is_no_map_is_refused_and_says_why() {
    let whole = archive();
    let with = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        opened(&bytes)
    };
    assert!(matches!(opened(b""), Err(ArchiveError::NotPmtiles)));
    assert!(matches!(opened(&[b'x'; 500]), Err(ArchiveError::NotPmtiles)));
    assert!(matches!(with(7, 2), Err(ArchiveError::NotPmtiles)));
    assert!(matches!(with(97, 3), Err(ArchiveError::Packing("directories"))));
    assert!(matches!(with(98, 4), Err(ArchiveError::Packing("tiles"))));
    assert!(matches!(with(99, 9), Err(ArchiveError::Kind)));
    assert!(matches!(with(12, 0xff), Err(ArchiveError::Damaged("root directory"))));
}

#[test]
fn a_file_cut_or_flipped_anywhere_is_an_error_or_a_map_never_a_panic() {
    let whole = archive();
    for cut in 0..whole.len() {
        assert!(opened(&whole[..cut]).is_err(), "cut at {cut}");
    }
    for at in 0..whole.len() {
        for bit in [1, 0x80] {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            let Ok(map) = opened(&bytes) else { continue };
            for (zoom, column, row) in [(0, 0, 0), (1, 0, 0), (1, 1, 1), (26, 5, 5)] {
                // An error is an answer; what matters is that there is one.
                _ = map.tile(zoom, column, row);
            }
        }
    }
}
