//! The past as GeoJSON (RFC 7946): of a track a Point for each position, with all that is known of it, and a LineString for each run of
//! positions without a gap; of alarms a Feature each.
//!
//! **No line crosses a gap or the antimeridian**: there the run ends and another begins. Longitude comes first. Foreign members
//! `gaps` and `next` are those of the JSON answer.

use serde_json::{Value, json};

use super::TrackView;
use super::alarms::AlarmsView;
use super::view::{AlarmView, PointView};

/// The track as a FeatureCollection.
pub(super) fn collection(track: &TrackView) -> Value {
    let points = track.points.iter().map(|point| point_feature(track, point));
    let lines = runs(track).into_iter().map(|run| line_feature(track, run));
    json!({
        "type": "FeatureCollection",
        "features": points.chain(lines).collect::<Vec<_>>(),
        "gaps": track.gaps,
        "next": track.next,
    })
}

/// Alarms as a FeatureCollection: a Feature each, without a geometry (RFC 7946, 3.2) where nobody knows the place.
pub(super) fn alarms(view: &AlarmsView) -> Value {
    let feature = |alarm: &AlarmView| {
        let mut properties = json!(alarm);
        if let Some(properties) = properties.as_object_mut() {
            properties.remove("position");
        }
        let place = alarm.position.as_ref();
        let geometry = place.map(|place| json!({"type": "Point", "coordinates": [place.lon, place.lat]}));
        json!({"type": "Feature", "geometry": geometry, "properties": properties})
    };
    json!({
        "type": "FeatureCollection",
        "features": view.alarms.iter().map(feature).collect::<Vec<_>>(),
        "gaps": view.gaps,
        "next": view.next,
    })
}

fn point_feature(track: &TrackView, point: &PointView) -> Value {
    let mut properties = json!(point);
    if let Some(properties) = properties.as_object_mut() {
        properties.remove("lon");
        properties.remove("lat");
        properties.insert("unit".to_owned(), json!(track.unit));
    }
    json!({
        "type": "Feature",
        "geometry": {"type": "Point", "coordinates": [point.lon, point.lat]},
        "properties": properties,
    })
}

fn line_feature(track: &TrackView, run: &[PointView]) -> Value {
    let coordinates: Vec<[f64; 2]> = run.iter().map(|point| [point.lon, point.lat]).collect();
    let times_ms: Vec<u64> = run.iter().map(|point| point.at_ms).collect();
    json!({
        "type": "Feature",
        "geometry": {"type": "LineString", "coordinates": coordinates},
        "properties": {"unit": track.unit, "times_ms": times_ms},
    })
}

/// Neighbouring points that a line may join; at least two each (RFC 7946, 3.1.4).
fn runs(track: &TrackView) -> Vec<&[PointView]> {
    let is_joined = |a: &PointView, b: &PointView| {
        let crosses = (a.lon - b.lon).abs() > 180.0;
        let has_gap = track.gaps.iter().any(|gap| gap.from_ms < b.at_ms && gap.until_ms > a.at_ms);
        !crosses && !has_gap
    };
    track.points.chunk_by(is_joined).filter(|run| run.len() >= 2).collect()
}
