//! Commit throughput of the spool next to a bare preallocated append + fdatasync, in the same run on the same disk.
//!
//! `cargo run --release -p fieldpost-gateway --example spool_bench -- [DIR] [SECONDS]`
//!
//! Rounds alternate, so that a busy moment of the machine hits both; believe the ratio and the CPU time, not the rates.
//! - *bare*: one thread, N records of 100 bytes built into a buffer, one pwrite into a zero-filled file, one fdatasync.
//! - *spool*: N entries of 100 bytes appended, while the N before them are being committed (as devices do it).
//! - *spool, in step*: N entries appended, their commit awaited, then the next: adds two thread hand-overs per commit.

use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fieldpost_gateway::spool::{EntryClass, Lsn, RealDisk, Spool, SpoolSettings};

type Outcome<T> = Result<T, Box<dyn Error>>;

const RECORD_BYTES: usize = 100;
/// Rounds of each kind; the median is printed.
const ROUNDS: usize = 7;
const BARE_BYTES: u64 = 16 << 20;

/// What one round measured.
#[derive(Clone, Copy)]
struct Round {
    records_per_s: f64,
    cpu_us_per_record: f64,
}

fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let dir =
        arguments.next().map_or_else(|| std::env::temp_dir().join("fieldpost-spool-bench"), PathBuf::from);
    let seconds: f64 = arguments.next().map_or(Ok(1.0), |text| text.parse())?;
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
            ("spool", true, true, Vec::new()),
            ("spool, not erasing", true, false, Vec::new()),
            ("spool, in step", false, true, Vec::new()),
        ];
        for _ in 0..ROUNDS {
            let floor = bare_round(&dir, count, round)?;
            bare.push((floor, 1.0));
            for (_, pipelined, erase, rounds) in &mut kinds {
                let measured = runtime.block_on(spool_round(&dir, count, round, *pipelined, *erase))?;
                rounds.push((measured, measured.records_per_s / floor.records_per_s));
            }
        }
        print(&mut out, count, "bare append + fdatasync", &bare)?;
        for (name, _, _, rounds) in &kinds {
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
    let middle = rounds.len() / 2;
    writeln!(
        out,
        "{count:>4} per commit  {name:<24} {:>9.0} records/s  ratio {:.2} ({:.2} to {:.2})  {:.2} CPU us/record",
        rate[middle],
        ratio[middle],
        ratio[0],
        ratio[ratio.len() - 1],
        cpu[middle],
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

fn fill_with_zeros(file: &File) -> Outcome<()> {
    rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, BARE_BYTES)?;
    file.write_all_at(&vec![0; BARE_BYTES as usize], 0)?;
    rustix::fs::fdatasync(file)?;
    Ok(())
}

async fn spool_round(
    dir: &Path,
    count: usize,
    duration: Duration,
    pipelined: bool,
    erase_recycled: bool,
) -> Outcome<Round> {
    let dir = dir.join("spool");
    let settings = SpoolSettings {
        // Segments go as soon as they are full: the steady state, with recycling in the measured time.
        retain_ms: 0,
        erase_recycled,
        ..SpoolSettings::default()
    };
    let (spool, _) = Spool::open(&dir, settings, Arc::new(RealDisk))?;
    spool.tend().await;
    let (started, cpu_before) = (Instant::now(), cpu_ns()?);
    let (mut records, mut before) = (0u64, Lsn(0));
    while started.elapsed() < duration {
        let mut last = Lsn(0);
        for number in 0..count {
            let record = record(records + number as u64);
            last = spool.append(EntryClass::Live, &record).await?;
        }
        records += count as u64;
        spool.wait_committed(if pipelined { before } else { last }).await?;
        before = last;
    }
    spool.wait_committed(before).await?;
    let measured = round(started, cpu_before, records)?;
    spool.close().await;
    std::fs::remove_dir_all(&dir)?;
    Ok(measured)
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
