//! What a process has used, from /proc (proc(5)).

use std::{fs, io};

/// User and system time, and resident memory, of one process.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User plus system CPU time in seconds, in steps of 10 ms.
    pub cpu_s: f64,
    /// Resident memory in KiB.
    pub resident_kib: u64,
}

/// Clock ticks a second in /proc: fixed at 100 on every Linux that shows it to user space.
const TICKS_PER_S: f64 = 100.0;

impl Usage {
    /// Reads the usage of process `pid`.
    ///
    /// # Errors
    /// If the process is gone or /proc does not read as documented.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The name in brackets may hold spaces: fields are counted from behind it.
        let after_name = stat.rsplit_once(") ").map(|(_, rest)| rest).ok_or_else(malformed)?;
        let field = |number: usize| -> io::Result<f64> {
            let text = after_name.split(' ').nth(number - 3).ok_or_else(malformed)?;
            text.parse().map_err(|_| malformed())
        };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or_else(malformed)?;
        let resident_kib = resident.trim().trim_end_matches(" kB").parse().map_err(|_| malformed())?;
        Ok(Self { cpu_s: (field(14)? + field(15)?) / TICKS_PER_S, resident_kib })
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc does not read as proc(5) says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_usage_reads() {
        let usage = Usage::of(std::process::id()).expect("we are alive");
        assert!(usage.resident_kib > 100);
    }
}
