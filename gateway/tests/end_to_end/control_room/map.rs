//! A map file of the force: served tile by tile, and never in the way of the room.

use super::rig::{MAP, Site};

/// A PMTiles archive of pictures with nothing packed: one tile, 0/0/0.
fn archive(picture: &[u8]) -> Vec<u8> {
    let mut header = vec![0_u8; 127];
    header[..8].copy_from_slice(b"PMTiles\x03");
    // One entry: tile 0, run 1, its length, offset 0.
    let root = [1, 0, 1, u8::try_from(picture.len()).unwrap(), 1];
    let mut at = 127_u64;
    let parts: [(usize, &[u8]); 4] = [(8, &root), (24, b"{}"), (40, b""), (56, picture)];
    for (field, part) in parts {
        header[field..field + 8].copy_from_slice(&at.to_le_bytes());
        header[field + 8..field + 16].copy_from_slice(&(part.len() as u64).to_le_bytes());
        at += part.len() as u64;
    }
    // Directories and tiles unpacked, PNG.
    header[97..100].copy_from_slice(&[1, 1, 2]);
    for (_, part) in parts {
        header.extend_from_slice(part);
    }
    header
}

#[tokio::test]
async fn without_a_map_file_the_page_is_told_so() {
    let site = Site::new();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let base = browser.get("/map/base.json").await.json();
    assert_eq!((base["kind"].as_str(), base["fault"].is_null()), (Some("none"), true));
    assert_eq!(browser.get("/map/tiles/0/0/0").await.status, 404);
    room.stop().await;
}

#[tokio::test]
async fn a_map_file_is_served_tile_by_tile() {
    let site = Site::new();
    std::fs::write(site.dir.path().join(MAP), archive(b"a picture")).unwrap();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let base = browser.get("/map/base.json").await.json();
    assert_eq!((base["kind"].as_str(), base["fault"].is_null()), (Some("raster"), true));
    let tile = browser.get("/map/tiles/0/0/0").await;
    assert_eq!((tile.status, tile.headers["content-type"].to_str().unwrap()), (200, "image/png"));
    assert_eq!(tile.text(), "a picture");
    assert_eq!(tile.headers["x-content-type-options"], "nosniff");
    assert_eq!(browser.get("/map/tiles/1/0/0").await.status, 204, "there is nothing to draw there");
    for nonsense in ["/map/tiles/99/0/0", "/map/tiles/3/4294967295/0"] {
        assert_eq!(browser.get(nonsense).await.status, 204, "{nonsense}");
    }
    for nonsense in ["/map/tiles/0/0/-1", "/map/tiles/300/0/0", "/map/tiles/a/b/c"] {
        assert_eq!(browser.get(nonsense).await.status, 400, "{nonsense}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_map_file_that_is_none_costs_the_map_and_not_the_room() {
    let site = Site::new();
    std::fs::write(site.dir.path().join(MAP), b"SQLite format 3, or a holiday picture").unwrap();
    let room = site.open().await;
    let browser = room.browser("anna").await;
    let base = browser.get("/map/base.json").await.json();
    assert_eq!(base["kind"].as_str(), Some("none"));
    assert!(base["fault"].as_str().unwrap().contains("cannot be read"), "{base}");
    assert_eq!(browser.get("/api/v1/units").await.status, 200);
    room.stop().await;
}
