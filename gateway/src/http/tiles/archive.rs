//! A PMTiles archive (version 3): all tiles of a map in one file, read where they lie.
//!
//! Only `pread`: nothing is kept in memory but the root directory. Whatever the file says is checked against its length
//! before it is believed.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;

use super::directory::{Entry, find, parse, tile_number};

/// Largest tile: a dense vector tile has some hundred kilobytes.
pub const TILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Largest directory or metadata, before and after it is unpacked.
pub const DIRECTORY_BYTES_MAX: u64 = 8 * 1024 * 1024;
/// Root, leaf, leaf of a leaf: the specification knows no deeper one.
const DEPTH_MAX: usize = 3;
const HEADER_BYTES: usize = 127;

/// Why a file is no map.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(#[from] io::Error),
    /// It begins otherwise.
    #[error("it is no PMTiles archive of version 3")]
    NotPmtiles,
    /// It is packed in a way that is not read here.
    #[error(
        "its {0} are packed in a way that is not read here: convert it with `pmtiles convert` (gzip or none)"
    )]
    Packing(&'static str),
    /// Its tiles are of a kind that cannot be drawn.
    #[error("its tiles are neither vector tiles nor PNG, JPEG or WebP pictures")]
    Kind,
    /// It contradicts itself.
    #[error("its {0} cannot be right: the file is cut short or damaged")]
    Damaged(&'static str),
}

/// What the tiles are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Mapbox vector tiles.
    Vector,
    /// Pictures.
    Png,
    /// Pictures.
    Jpeg,
    /// Pictures.
    Webp,
}

impl Kind {
    /// As HTTP names it.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Vector => "application/vnd.mapbox-vector-tile",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

/// How something is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
}

impl Coding {
    fn of(code: u8, what: &'static str) -> Result<Self, ArchiveError> {
        match code {
            1 => Ok(Self::Plain),
            2 => Ok(Self::Gzip),
            _ => Err(ArchiveError::Packing(what)),
        }
    }
}

/// A stretch of the file.
#[derive(Debug, Clone, Copy)]
struct Span {
    offset: u64,
    length: u64,
}

/// What the file says of itself beside the header.
#[derive(Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    attribution: String,
    #[serde(default)]
    vector_layers: Vec<Layer>,
}

#[derive(Debug, Deserialize)]
struct Layer {
    id: String,
}

/// An open archive.
#[derive(Debug)]
pub struct Archive {
    file: File,
    root: Vec<Entry>,
    leaves: Span,
    tiles: Span,
    directories: Coding,
    coding: Coding,
    kind: Kind,
    zooms: (u8, u8),
    bounds: [f64; 4],
    layers: Vec<String>,
    attribution: String,
}

impl Archive {
    /// Opens and checks a file. Blocking.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        let mut header = [0_u8; HEADER_BYTES];
        if length < HEADER_BYTES as u64 {
            return Err(ArchiveError::NotPmtiles);
        }
        file.read_exact_at(&mut header, 0)?;
        if &header[..7] != b"PMTiles" || header[7] != 3 {
            return Err(ArchiveError::NotPmtiles);
        }
        let span = |at: usize, what: &'static str| {
            let span = Span { offset: u64_at(&header, at), length: u64_at(&header, at + 8) };
            let end = span.offset.checked_add(span.length);
            if end.is_some_and(|end| end <= length) { Ok(span) } else { Err(ArchiveError::Damaged(what)) }
        };
        let (root, metadata) = (span(8, "root directory")?, span(24, "metadata")?);
        let (leaves, tiles) = (span(40, "leaf directories")?, span(56, "tiles")?);
        let directories = Coding::of(header[97], "directories")?;
        let root = unpacked(&file, root, directories, "root directory")?;
        let root = parse(&root).ok_or(ArchiveError::Damaged("root directory"))?;
        let metadata = unpacked(&file, metadata, directories, "metadata")?;
        // A map without a description is a map.
        let metadata: Metadata = serde_json::from_slice(&metadata).unwrap_or_default();
        let degrees = |at: usize| f64::from(i32_at(&header, at)) / 1e7;
        Ok(Self {
            file,
            root,
            leaves,
            tiles,
            directories,
            coding: Coding::of(header[98], "tiles")?,
            kind: kind_of(header[99])?,
            zooms: (header[100], header[101].max(header[100])),
            bounds: [degrees(102), degrees(106), degrees(110), degrees(114)],
            layers: metadata.vector_layers.into_iter().map(|layer| layer.id).collect(),
            attribution: metadata.attribution,
        })
    }

    /// What its tiles are.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How its tiles are packed.
    #[must_use]
    pub fn coding(&self) -> Coding {
        self.coding
    }

    /// Lowest and highest zoom with tiles.
    #[must_use]
    pub fn zooms(&self) -> (u8, u8) {
        self.zooms
    }

    /// West, south, east, north; degrees.
    #[must_use]
    pub fn bounds(&self) -> [f64; 4] {
        self.bounds
    }

    /// Layers of a vector map.
    #[must_use]
    pub fn layers(&self) -> &[String] {
        &self.layers
    }

    /// Whom to name for it.
    #[must_use]
    pub fn attribution(&self) -> &str {
        &self.attribution
    }

    /// One tile as it lies in the file; `None`: there is none. Blocking.
    ///
    /// # Errors
    /// [`ArchiveError`] if the file cannot be read there.
    pub fn tile(&self, zoom: u8, column: u32, row: u32) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some(number) = tile_number(zoom, column, row) else { return Ok(None) };
        let Some(mut entry) = find(&self.root, number) else { return Ok(None) };
        for _ in 1..DEPTH_MAX {
            if entry.run > 0 {
                break;
            }
            let leaf = within(self.leaves, entry, "leaf directories")?;
            let leaf = unpacked(&self.file, leaf, self.directories, "leaf directory")?;
            let leaf = parse(&leaf).ok_or(ArchiveError::Damaged("leaf directory"))?;
            let Some(found) = find(&leaf, number) else { return Ok(None) };
            entry = found;
        }
        if entry.run == 0 {
            return Err(ArchiveError::Damaged("directories"));
        }
        let tile = within(self.tiles, entry, "tiles")?;
        read(&self.file, tile, TILE_BYTES_MAX, "tile").map(Some)
    }
}

/// Where an entry lies in the file, if that is inside its section.
fn within(section: Span, entry: Entry, what: &'static str) -> Result<Span, ArchiveError> {
    let end = entry.offset.checked_add(entry.length);
    if end.is_none_or(|end| end > section.length) {
        return Err(ArchiveError::Damaged(what));
    }
    Ok(Span { offset: section.offset + entry.offset, length: entry.length })
}

fn read(file: &File, span: Span, bytes_max: u64, what: &'static str) -> Result<Vec<u8>, ArchiveError> {
    if span.length > bytes_max {
        return Err(ArchiveError::Damaged(what));
    }
    let mut bytes = vec![0; usize::try_from(span.length).map_err(|_| ArchiveError::Damaged(what))?];
    file.read_exact_at(&mut bytes, span.offset)?;
    Ok(bytes)
}

fn unpacked(file: &File, span: Span, coding: Coding, what: &'static str) -> Result<Vec<u8>, ArchiveError> {
    let bytes = read(file, span, DIRECTORY_BYTES_MAX, what)?;
    if coding == Coding::Plain {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    // One byte more than allowed tells a bomb from a large directory.
    let mut unpacking = GzDecoder::new(bytes.as_slice()).take(DIRECTORY_BYTES_MAX + 1);
    unpacking.read_to_end(&mut plain).map_err(|_| ArchiveError::Damaged(what))?;
    if plain.len() as u64 > DIRECTORY_BYTES_MAX { Err(ArchiveError::Damaged(what)) } else { Ok(plain) }
}

fn kind_of(code: u8) -> Result<Kind, ArchiveError> {
    match code {
        1 => Ok(Kind::Vector),
        2 => Ok(Kind::Png),
        3 => Ok(Kind::Jpeg),
        4 => Ok(Kind::Webp),
        _ => Err(ArchiveError::Kind),
    }
}

fn u64_at(header: &[u8; HEADER_BYTES], at: usize) -> u64 {
    u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes were taken"))
}

fn i32_at(header: &[u8; HEADER_BYTES], at: usize) -> i32 {
    i32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes were taken"))
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
