//! The past as GeoJSON (RFC 7946): of a track a Point for each position, with all that is known of it, and a LineString for each run of
//! positions without a gap; of alarms a Feature each.
//!
//! **No line crosses a gap, the antimeridian or a change of the mode**: there the run ends and another begins. Every feature says its
//! mode, so that an exercise never looks actual. Longitude comes first. Foreign members
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
        "properties": {"unit": track.unit, "mode": run.first().map(|point| point.mode), "times_ms": times_ms},
    })
}

/// Neighbouring points that a line may join; at least two each (RFC 7946, 3.1.4).
fn runs(track: &TrackView) -> Vec<&[PointView]> {
    let is_joined = |a: &PointView, b: &PointView| {
        let crosses = (a.lon - b.lon).abs() > 180.0;
        let has_gap = track.gaps.iter().any(|gap| gap.from_ms < b.at_ms && gap.until_ms > a.at_ms);
        !crosses && !has_gap && a.mode == b.mode
    };
    track.points.chunk_by(is_joined).filter(|run| run.len() >= 2).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(at_ms: u64, mode: &'static str) -> PointView {
        PointView {
            at_ms,
            lon: -0.12,
            lat: 51.5,
            accuracy_m: None,
            speed_mps: None,
            course_deg: None,
            backlog: false,
            received_at_ms: at_ms,
            clock: "gnss",
            mode,
        }
    }

    #[test]
    fn no_line_joins_an_exercise_to_what_is_actual_and_every_feature_says_its_mode() {
        let modes = ["actual", "actual", "exercise", "exercise", "exercise", "actual"];
        let points = modes.iter().zip(0..).map(|(mode, at_ms)| point(at_ms, mode)).collect();
        let track = TrackView {
            unit: "met/pc-1".to_owned(),
            from_ms: 0,
            until_ms: 6,
            points,
            gaps: Vec::new(),
            next: None,
        };
        let features = collection(&track)["features"].as_array().cloned().unwrap_or_default();
        let said = features.iter().map(|feature| feature["properties"]["mode"].as_str().unwrap_or_default());
        assert_eq!(said.collect::<Vec<_>>(), [&modes[..], &["actual", "exercise"]].concat());
        assert_eq!(features[7]["properties"]["times_ms"], json!([2, 3, 4]));
    }
}
