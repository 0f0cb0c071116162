//! Commit throughput of the spool next to a bare preallocated append + fdatasync, in the same run on the same disk.
//!
//! `cargo run --release -p fieldpost-gateway --example spool_bench -- [DIR] [SECONDS]`
//!
//! Rounds alternate, and their order too, so that a busy moment of the machine hits both: believe the ratio and the CPU
//! time, not the rates.
//! - *bare*: one thread, N records of 100 bytes built into a buffer, one pwrite into a zero-filled file, one fdatasync.
//! - *spool*: N entries of 100 bytes appended while the N before them are being committed, as devices do it; a commit may
//!   then cover up to 2 N, so its ratio is group commit at work, not the cost of the spool.
//! - *spool, not erasing*: the same without overwriting recycled segments (`erase_recycled = false`).
//! - *spool, read at the tail*: the same with a reader that takes every entry as soon as it is committed.
//! - *spool, in step*: N entries appended, their commit awaited, then the next: at most N per commit (the first
//!   often go ahead alone), and two thread hand-overs each. This ratio is the spool at its worst.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldpost_gateway::spool::{BatchLimits, EntryClass, Lsn, Reader, RealDisk, Spool, SpoolSettings};

type Outcome<T> = Result<T, Box<dyn Error>>;

const RECORD_BYTES: usize = 100;
/// Rounds of each kind; the median is printed.
const ROUNDS: usize = 20;
const BARE_BYTES: u64 = 16 << 20;

/// What one round measured.
#[derive(Clone, Copy)]
struct Round {
    records_per_s: f64,
    cpu_us_per_record: f64,
    records_per_commit: f64,
}

/// How the spool is used in a round.
#[derive(Clone, Copy)]
struct Kind {
    pipelined: bool,
    erases: bool,
    reads: bool,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let dir =
        arguments.next().map_or_else(|| std::env::temp_dir().join("fieldpost-spool-bench"), PathBuf::from);
    let seconds: f64 = arguments.next().map_or(Ok(0.2), |text| text.parse())?;
    let round = Duration::from_secs_f64(seconds);
    std::fs::create_dir_all(&dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{ROUNDS} rounds of {seconds} s each, {RECORD_BYTES}-byte records, median (least to most)"
    )?;
    for count in [64, 512] {
        let mut bare = Vec::new();
        let mut kinds = [
            ("spool", Kind { pipelined: true, erases: true, reads: false }, Vec::new()),
            ("spool, not erasing", Kind { pipelined: true, erases: false, reads: false }, Vec::new()),
            ("spool, read at the tail", Kind { pipelined: true, erases: true, reads: true }, Vec::new()),
            ("spool, in step", Kind { pipelined: false, erases: true, reads: false }, Vec::new()),
        ];
        for number in 0..ROUNDS {
            for (_, kind, rounds) in &mut kinds {
                // Each has its own bare round right beside it, before and after in turn.
                let early = if number % 2 == 0 { Some(bare_round(&dir, count, round)?) } else { None };
                let measured = runtime.block_on(spool_round(&dir, count, round, *kind))?;
                let floor = match early {
                    Some(floor) => floor,
                    None => bare_round(&dir, count, round)?,
                };
                bare.push((floor, 1.0));
                rounds.push((measured, measured.records_per_s / floor.records_per_s));
            }
        }
        print(&mut out, count, "bare append + fdatasync", &bare)?;
        for (name, _, rounds) in &kinds {
            print(&mut out, count, name, rounds)?;
        }
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn print(out: &mut impl std::io::Write, count: usize, name: &str, rounds: &[(Round, f64)]) -> Outcome<()> {
    let rate = sorted(rounds.iter().map(|(round, _)| round.records_per_s));
    let ratio = sorted(rounds.iter().map(|(_, ratio)| *ratio));
    let cpu = sorted(rounds.iter().map(|(round, _)| round.cpu_us_per_record));
    let batch = sorted(rounds.iter().map(|(round, _)| round.records_per_commit));
    let middle = rounds.len() / 2;
    writeln!(
        out,
        "{count:>4} at once  {name:<24} {:>9.0} records/s  ratio {:.2} ({:.2} to {:.2})  {:.2} CPU us/record  {:.0} per commit",
        rate[middle],
        ratio[middle],
        ratio[0],
        ratio[ratio.len() - 1],
        cpu[middle],
        batch[middle],
    )?;
    Ok(())
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
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
    let measured = round(started, cpu_before, records, records / count as u64)?;
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
    let measured = round(started, cpu_before, records, spool.stats().commits_total)?;
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
        accounted += batch.entries.len() as u64 + batch.gap.map_or(0, |gap| gap.count());
    }
    accounted
}

fn record(number: u64) -> [u8; RECORD_BYTES] {
    let mut record = [0x5a; RECORD_BYTES];
    record[..8].copy_from_slice(&number.to_le_bytes());
    record
}

fn round(started: Instant, cpu_before_ns: u64, records: u64, commits: u64) -> Outcome<Round> {
    let cpu_ns = cpu_ns()?.saturating_sub(cpu_before_ns);
    Ok(Round {
        records_per_s: records as f64 / started.elapsed().as_secs_f64(),
        cpu_us_per_record: cpu_ns as f64 / 1000.0 / records as f64,
        records_per_commit: records as f64 / commits as f64,
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
