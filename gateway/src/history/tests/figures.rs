//! Figures of docs/decisions/0048: `cargo test --release -p fieldpost-gateway --lib history::tests::figures -- --ignored --nocapture`.

use std::time::Instant;

use super::super::{FileStore, HistoryStore, Sees, Settings, Track};
use super::{NOON_MS, place, unit};

const UNITS: u32 = 10_000;
const SECONDS: u32 = 100;

fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

#[tokio::test]
#[ignore = "a figure, not a claim"]
async fn a_million_rows_of_ten_thousand_units() {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = FileStore::open(Settings::new(dir.path().to_owned())).unwrap().0;
    let units: Vec<_> = (0..UNITS).map(|n| unit(&format!("metropolitan/pc-{n:06}"))).collect();
    let (start, cpu) = (Instant::now(), cpu_s());
    for second in 0..SECONDS {
        let rows = units.iter().zip(0u32..).map(|(of, n)| {
            let jitter = u64::from(n.wrapping_mul(2_654_435_761) % 900);
            (of.clone(), place(NOON_MS + u64::from(second) * 1000 + jitter, second * 7))
        });
        store.take(rows.collect()).await.unwrap();
        if second % 25 == 24 {
            store.settle(NOON_MS).await.unwrap();
        }
    }
    let rows_count = f64::from(UNITS * SECONDS);
    let condition = store.condition();
    println!(
        "{rows_count} rows: {:.1} s, {:.2} us CPU a row, {:.1} bytes a row",
        start.elapsed().as_secs_f64(),
        (cpu_s() - cpu) * 1e6 / rows_count,
        condition.bytes as f64 / rows_count
    );
    let start = Instant::now();
    for of in units.iter().step_by(100) {
        let question =
            Track { unit: of.clone(), from_ms: 0, until_ms: u64::MAX, after: None, rows_max: 1000 };
        assert_eq!(store.track(question).await.unwrap().items.len(), SECONDS as usize);
    }
    println!("a track of {SECONDS} points: {:.2} ms", start.elapsed().as_secs_f64() * 10.0);
    let start = Instant::now();
    assert_eq!(store.everyone(NOON_MS + 50_000, Sees::All).await.unwrap().items.len(), UNITS as usize);
    println!("every unit at one time: {:.0} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    let window = store.window(NOON_MS, NOON_MS + 30_000, Sees::All, 400_000).await.unwrap();
    println!("a window of {} rows: {:.0} ms", window.len(), start.elapsed().as_secs_f64() * 1e3);
}
