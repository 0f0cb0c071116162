//! Commit throughput of the spool next to a bare preallocated append + fdatasync, in turn on the same disk.
//!
//! Rounds alternate, and their order too, so that a busy moment of the machine hits both: believe the ratio and the CPU
//! time, not the rates.
//! - *bare*: one thread, N records of 100 bytes built into a buffer, one pwrite into a zero-filled file, one fdatasync.
//! - *overlapped*: N entries of 100 bytes appended while the N before them are being committed, as devices do it; a commit may
//!   then cover up to 2 N, so its ratio is group commit at work, not the cost of the spool.
//! - *not erasing*: the same without overwriting recycled segments (`erase_recycled = false`).
//! - *read at the tail*: the same with a reader that takes every entry as soon as it is committed.
//! - *in step*: N entries appended, their commit awaited, then the next: at most N per commit (the first
//!   often go ahead alone), and two thread hand-overs each. This ratio is the spool at its worst.

use std::{
    error::Error,
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use fieldpost_gateway::spool::{BatchLimits, EntryClass, Lsn, Reader, RealDisk, Spool, SpoolSettings};

use super::Figure;

type Outcome<T> = Result<T, Box<dyn Error>>;

const RECORD_BYTES: usize = 100;
/// Rounds of each kind; the median counts.
const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_millis(200);
const BARE_BYTES: u64 = 16 << 20;

/// What one round measured.
#[derive(Clone, Copy)]
struct Round {
    records_per_s: f64,
    cpu_us_per_record: f64,
}

/// How the spool is used in a round.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    pipelined: bool,
    erases: bool,
    reads: bool,
}

const KINDS: [Kind; 4] = [
    Kind { name: "overlapped", pipelined: true, erases: true, reads: false },
    Kind { name: "not erasing", pipelined: true, erases: false, reads: false },
    Kind { name: "read at the tail", pipelined: true, erases: true, reads: true },
    Kind { name: "in step", pipelined: false, erases: true, reads: false },
];

/// Measures commits of 64 and of 512 records in the empty folder `dir`.
///
/// # Errors
/// The disk or the spool does not work.
pub async fn commits(dir: &Path) -> Outcome<Vec<Figure>> {
    let mut figures = Vec::new();
    for count in [64, 512] {
        let mut bare_cpu = Vec::new();
        for kind in KINDS {
            let (mut ratios, mut cpu) = (Vec::new(), Vec::new());
            for number in 0..ROUNDS {
                // Each has its own bare round right beside it, before and after in turn.
                let early = if number % 2 == 0 { Some(bare_round(dir, count, ROUND)?) } else { None };
                let measured = spool_round(dir, count, ROUND, kind).await?;
                let floor = match early {
                    Some(floor) => floor,
                    None => bare_round(dir, count, ROUND)?,
                };
                ratios.push(measured.records_per_s / floor.records_per_s);
                cpu.push(measured.cpu_us_per_record);
                bare_cpu.push(floor.cpu_us_per_record);
            }
            let what = format!("commits of {count}, {}", kind.name);
            figures.push(figure("spool", &what, ratios, "times the bare rate"));
            figures.push(figure("spool", &what, cpu, "CPU-us a record"));
        }
        let what = format!("commits of {count}");
        figures.push(figure("bare append", &what, bare_cpu, "CPU-us a record"));
    }
    Ok(figures)
}

/// The median, with the least and the most in the text.
fn figure(server: &'static str, what: &str, mut values: Vec<f64>, unit: &'static str) -> Figure {
    values.sort_by(f64::total_cmp);
    let (least, most) = (values[0], values[values.len() - 1]);
    let what = format!("{what}, {unit} ({least:.2} to {most:.2})");
    Figure { server, what, value: values[values.len() / 2], unit }
}

/// The floor: nothing but the bytes and the sync.
fn bare_round(dir: &Path, count: usize, duration: Duration) -> Outcome<Round> {
    let path = dir.join("bare");
    let file = OpenOptions::new().create(true).truncate(true).read(true).write(true).open(&path)?;
    fill_with_zeros(&file)?;
    settle(dir)?;
    let mut batch = Vec::with_capacity(count * RECORD_BYTES);
    let (started, cpu_before) = (Instant::now(), cpu_ns()?);
    let (mut records, mut at) = (0u64, 0u64);
    while started.elapsed() < duration {
        batch.clear();
        for number in 0..count {
            batch.extend_from_slice(&record(records + number as u64));
        }
        if at + batch.len() as u64 > BARE_BYTES {
            at = 0;
        }
        file.write_all_at(&batch, at)?;
        rustix::fs::fdatasync(&file)?;
        at += batch.len() as u64;
        records += count as u64;
    }
    let measured = round(started, cpu_before, records)?;
    std::fs::remove_file(&path)?;
    Ok(measured)
}

/// Lets the file system finish what the round before left it with, so that no round pays for another.
fn settle(dir: &Path) -> Outcome<()> {
    Ok(rustix::fs::syncfs(File::open(dir)?)?)
}

fn fill_with_zeros(file: &File) -> Outcome<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, BARE_BYTES)?;
    file.write_all_at(&vec![0; BARE_BYTES as usize], 0)?;
    rustix::fs::fdatasync(file)?;
    Ok(())
}

async fn spool_round(dir: &Path, count: usize, duration: Duration, kind: Kind) -> Outcome<Round> {
    let dir = dir.join("spool");
    let settings = SpoolSettings {
        // Segments go as soon as they are full: the steady state, with recycling in the measured time.
        retain_ms: 0,
        erase_recycled: kind.erases,
        ..SpoolSettings::default()
    };
    let (spool, _) = Spool::open(&dir, settings, Arc::new(RealDisk))?;
    spool.tend().await;
    settle(&dir)?;
    let reader = kind.reads.then(|| tokio::spawn(read_all(spool.reader(Lsn(1)))));
    let (started, cpu_before) = (Instant::now(), cpu_ns()?);
    let (mut records, mut before) = (0u64, Lsn(0));
    while started.elapsed() < duration {
        let mut last = Lsn(0);
        for number in 0..count {
            let record = record(records + number as u64);
            last = spool.append(EntryClass::Live, &record).await?;
        }
        records += count as u64;
        spool.wait_committed(if kind.pipelined { before } else { last }).await?;
        before = last;
    }
    spool.wait_committed(before).await?;
    let measured = round(started, cpu_before, records)?;
    spool.close().await;
    if let Some(reader) = reader {
        let accounted = reader.await?;
        if accounted != records {
            return Err(format!("{records} records stored, {accounted} accounted for by the reader").into());
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(measured)
}

/// Everything until the spool is closed; returns the records it accounted for.
async fn read_all(mut reader: Reader) -> u64 {
    let limits = BatchLimits { count_max: 10_000, bytes_max: 1 << 20, age_ms_max: 0 };
    let mut accounted = 0;
    while let Ok(batch) = reader.next_batch(limits).await {
        accounted += batch.len() as u64 + batch.gap.map_or(0, |gap| gap.count());
    }
    accounted
}

fn record(number: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0x5a; RECORD_BYTES];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record
}

fn round(started: Instant, cpu_before_ns: u64, records: u64) -> Outcome<Round> {
    let cpu_ns = cpu_ns()?.saturating_sub(cpu_before_ns);
    Ok(Round {
        records_per_s: records as f64 / started.elapsed().as_secs_f64(),
        cpu_us_per_record: cpu_ns as f64 / 1000.0 / records as f64,
    })
}

/// Time on a processor of all threads of this process, nanoseconds (first figure of the scheduler's statistics).
fn cpu_ns() -> Outcome<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        let statistics = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let on_cpu = statistics.split_whitespace().next().unwrap_or("0");
        sum += on_cpu.parse::<u64>()?;
    }
    Ok(sum)
}
