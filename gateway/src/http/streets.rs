//! The streets under the units: GeoJSON from the configuration, checked once.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

/// Largest street file: a city's streets are some megabytes.
pub const STREETS_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// No streets.
pub const EMPTY: &[u8] = br#"{"type":"FeatureCollection","features":[]}"#;

/// Why the streets cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum StreetsError {
    /// The file could not be read.
    #[error("cannot read the streets {path}: {source}; check `control_room.streets`")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is too large to send to a page.
    #[error("the streets {path} have {bytes} bytes; at most {STREETS_BYTES_MAX} are shown: simplify them")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        bytes: u64,
    },
    /// The file is not GeoJSON.
    #[error("the streets {path} are not a GeoJSON FeatureCollection: {detail}")]
    NotGeoJson {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
}

#[derive(Deserialize)]
struct Collection {
    #[serde(rename = "type")]
    kind: String,
    #[serde(rename = "features")]
    _features: Vec<IgnoredAny>,
}

/// Reads the file, or gives an empty collection if there is none. Blocking.
///
/// # Errors
/// [`StreetsError`].
pub fn load(path: Option<&Path>) -> Result<Bytes, StreetsError> {
    let Some(path) = path else { return Ok(Bytes::from_static(EMPTY)) };
    let unreadable = |source| StreetsError::Unreadable { path: path.to_owned(), source };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > STREETS_BYTES_MAX {
        return Err(StreetsError::TooLarge { path: path.to_owned(), bytes });
    }
    let text = fs::read(path).map_err(unreadable)?;
    let wrong = |detail| StreetsError::NotGeoJson { path: path.to_owned(), detail };
    let collection: Collection = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if collection.kind != "FeatureCollection" {
        return Err(wrong("its type is another".to_owned()));
    }
    Ok(Bytes::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streets_are_a_feature_collection_or_an_error_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("streets.json");
        assert_eq!(load(None).unwrap(), EMPTY);
        assert!(matches!(load(Some(&path)), Err(StreetsError::Unreadable { .. })));
        fs::write(&path, EMPTY).unwrap();
        assert_eq!(load(Some(&path)).unwrap(), EMPTY);
        for bad in ["", "[]", r#"{"type":"Feature"}"#, r#"{"type":"Topology","features":[]}"#] {
            fs::write(&path, bad).unwrap();
            assert!(matches!(load(Some(&path)), Err(StreetsError::NotGeoJson { .. })), "{bad}");
        }
    }
}
