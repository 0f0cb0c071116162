//! What a step costs: seconds on the wall, and processor seconds of everything that it started and waited for.
//!
//! The two together say whether a step waits or works. On two processors a step that does nothing but work has twice as
//! many processor seconds as seconds; only the former can be compared between a busy machine and a quiet one.

use std::time::Instant;

use crate::step::say;

/// USER_HZ: the unit of times in `/proc/PID/stat` on every Linux port (proc_pid_stat(5)).
const TICKS_PER_SECOND: f64 = 100.0;

/// Running since it was made.
pub(crate) struct Meter {
    began: Instant,
    processor_s: f64,
}

impl Meter {
    pub(crate) fn start() -> Self {
        Self { began: Instant::now(), processor_s: processor_s_of_children() }
    }

    pub(crate) fn read(&self) -> Spent {
        let processor_s = processor_s_of_children() - self.processor_s;
        Spent { wall_s: self.began.elapsed().as_secs_f64(), processor_s }
    }
}

/// What was spent between two instants.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) wall_s: f64,
    pub(crate) processor_s: f64,
}

/// One row a step and their sum.
pub(crate) fn say_table(steps: &[(&str, Spent)]) {
    let row = |name: &str, spent: Spent| {
        say(&format!("  {name:<12} {:>7.0} s {:>9.0} s", spent.wall_s, spent.processor_s));
    };
    say("\n  step            wall  processors");
    let mut sum = Spent::default();
    for (name, spent) in steps {
        row(name, *spent);
        sum.wall_s += spent.wall_s;
        sum.processor_s += spent.processor_s;
    }
    row("together", sum);
}

/// User and system time of all children that have ended and were waited for, and of theirs.
fn processor_s_of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold anything; cutime and cstime are the 14th and 15th field behind it.
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(13).take(2);
    ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}
