//! What the embedded history costs: rows taken, tracks, every unit at one time, and a part of a replay.
//!
//! The production store in this process, on a real directory. **A store that does not give back every row has no figures.**

use std::{path::Path, time::Instant};

use fieldpost_gateway::{
    history::{
        FileStore, HistoryError, HistoryStore as _, Sees, Settings, Track,
        row::{Row, Said},
    },
    live::unit::UnitId,
};
use fieldpost_protocol::{ClockQuality, FixSource, Mode, Position, ReportReason};

use super::{Figure, Usage};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Rows of each unit, one a second.
const SECONDS: u32 = 100;
/// Every so many seconds what was gathered is written, as the minute does.
const SETTLED_EVERY: u32 = 25;
/// Noon of a day: all rows lie in one hour.
const NOON_MS: u64 = (20_775 * 24 + 12) * 3_600_000;
/// One unit of so many is asked for its track.
const ASKED_EVERY: usize = 100;

/// Puts 100 positions of each of `units_count` units into a store in `dir`, in turn, and asks for them.
///
/// # Errors
/// The store cannot be written, or an answer is not whole: then no figure is worth anything.
pub async fn history(units_count: u32, dir: &Path) -> Outcome<Vec<Figure>> {
    history_in(units_count, Settings::new(dir.to_owned())).await
}

async fn history_in(units_count: u32, settings: Settings) -> Outcome<Vec<Figure>> {
    let store = FileStore::open(settings)?.0;
    let names = (0..units_count).map(|n| format!("metropolitan/pc-{n:06}").parse::<UnitId>());
    let units = names.collect::<Result<Vec<_>, _>>()?;
    let rows_count = f64::from(units_count) * f64::from(SECONDS);
    let figure = |what: &str, value, unit| {
        let what = format!("history of {units_count} units, {SECONDS} rows each: {what}");
        Figure { server: "fieldpost", what, value, unit }
    };

    let before = Usage::of(std::process::id())?.cpu_s;
    for second in 0..SECONDS {
        let rows = || units.iter().zip(0..).map(|(unit, n)| (unit.clone(), row(second, n))).collect();
        // As the gateway's task does: where there is no room, what is there is written first.
        match store.take(rows()).await {
            Err(HistoryError::Full) => {
                store.settle(NOON_MS).await?;
                store.take(rows()).await?;
            }
            taken => taken?,
        }
        if second % SETTLED_EVERY == SETTLED_EVERY - 1 {
            store.settle(NOON_MS).await?;
        }
    }
    let cpu_s = Usage::of(std::process::id())?.cpu_s - before;
    let mut figures = vec![
        figure("taking", cpu_s * 1e6 / rows_count, "CPU us a row"),
        figure("on disk", store.condition().bytes as f64 / rows_count, "bytes a row"),
    ];

    let start = Instant::now();
    let asked = units.iter().step_by(ASKED_EVERY);
    let asked_count = asked.len() as f64;
    for unit in asked {
        let question =
            Track { unit: unit.clone(), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 1_000 };
        whole(store.track(question).await?.items.len(), SECONDS as usize)?;
    }
    figures.push(figure("a track", ms_since(start) / asked_count, "ms"));
    let start = Instant::now();
    whole(store.everyone(NOON_MS + 50_000, Sees::All).await?.items.len(), units.len())?;
    figures.push(figure("every unit at one time", ms_since(start), "ms"));
    let start = Instant::now();
    let part = store.window(NOON_MS, NOON_MS + 30_000, Sees::All, units.len() * 40).await?;
    whole(part.items.len(), units.len() * 30)?;
    figures.push(figure("30 s of everybody", ms_since(start), "ms"));
    Ok(figures)
}

fn ms_since(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

fn whole(found: usize, wanted: usize) -> Outcome<()> {
    if found == wanted { Ok(()) } else { Err(format!("{found} rows were given back, not {wanted}").into()) }
}

/// The position of unit `n` in a second; units do not report at the same instant.
fn row(second: u32, n: u32) -> Row {
    let at_ms = NOON_MS + u64::from(second) * 1000 + u64::from(n.wrapping_mul(2_654_435_761) % 900);
    let step = i32::try_from(second * 7).unwrap_or(0);
    let position = Position {
        latitude_udeg: 51_500_000 + step * 13,
        longitude_udeg: -120_000 + step * 17,
        speed_cmps: Some(140),
        course_turn256: Some(64),
        accuracy_m: 5,
        source: FixSource::GNSS,
        reason: ReportReason::INTERVAL,
    };
    Row {
        at_ms,
        received_at_ms: at_ms + 100,
        boot: 1,
        seq: second,
        print: 0,
        mode: Mode::Test,
        clock: ClockQuality::Gnss,
        is_backlog: false,
        said: Said::Position(position),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_small_history_gives_everything_back_and_has_five_figures() {
        let dir = tempfile::tempdir().unwrap();
        let figures = history(20, dir.path()).await.unwrap();
        assert_eq!(figures.len(), 5);
        let bytes = figures.iter().find(|figure| figure.unit == "bytes a row").unwrap().value;
        assert!((5.0..200.0).contains(&bytes), "{bytes} bytes a row");
    }

    #[tokio::test]
    async fn a_history_without_room_for_more_rows_writes_those_it_has_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { rows_max: 60, ..Settings::new(dir.path().to_owned()) };
        assert_eq!(history_in(20, settings).await.unwrap().len(), 5, "every row is given back");
    }
}
