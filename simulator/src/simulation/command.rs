//! `fieldpost-sim check`: many seeds, or one in detail.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use clap::Args;
use fieldpost_gateway::sabotage::Sabotage;

use super::{Outcome, Plan, Trace, simulate};
use crate::console;

/// Runs seeds of the deterministic simulation and checks every promise in each.
#[derive(Debug, Clone, Args)]
pub struct CheckCommand {
    /// How many seeds.
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// This seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "first"])]
    seed: Option<u64>,
    /// A shift of so many officers, in forces of a hundred with a gateway each.
    #[arg(long, conflicts_with = "seeds")]
    officers: Option<u64>,
    /// How long the shift is.
    #[arg(long, default_value_t = 8, requires = "officers")]
    hours: u64,
    /// Print everything that happens, of the one seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// With a gateway that is broken on purpose, in a build with the feature `sabotage`: goes on until it has found it.
    #[arg(long, value_name = "HOW", value_parser = how)]
    broken: Option<Sabotage>,
    /// Seeds at once. Default: one a processor.
    #[arg(long)]
    jobs: Option<usize>,
}

/// Officers that share a gateway in a shift.
const FORCE_SIZE: u64 = 100;

#[derive(Default)]
struct Totals {
    next: AtomicU64,
    runs: AtomicU64,
    stored: AtomicU64,
    crashes: AtomicU64,
    events: AtomicU64,
    virtual_ms: AtomicU64,
    broken: AtomicU64,
}

impl CheckCommand {
    /// Runs it. True if every promise held.
    #[must_use]
    pub fn run(&self) -> bool {
        if self.broken.is_some() && !cfg!(feature = "sabotage") {
            console::progress("error: this gateway cannot be broken; build with --features sabotage");
            return false;
        }
        match self.seed {
            Some(seed) => self.one(seed),
            None => self.many(),
        }
    }

    /// How many runs, and what each is.
    fn runs(&self) -> u64 {
        self.officers.map_or(self.seeds, |officers| officers.div_ceil(FORCE_SIZE))
    }

    fn plan(&self, seed: u64) -> Plan {
        let Some(officers) = self.officers else { return Plan::of(seed) };
        // A seed by itself is one force, of so many officers as it takes.
        let before = if self.seed.is_some() { 0 } else { seed.saturating_sub(self.first) * FORCE_SIZE };
        let left = officers.saturating_sub(before);
        Plan::shift(seed, left.min(FORCE_SIZE) as usize, self.hours)
    }

    fn one(&self, seed: u64) -> bool {
        let plan = self.plan(seed);
        if self.trace {
            console::result(&format!("{plan:#?}"));
        }
        sabotage(self.broken);
        let outcome = simulate(&plan, Trace::new(self.trace));
        console::result(&format!(
            "seed {seed}: {} virtual s, {} events, {} records STORED, {} crashes, trace {:016x}",
            outcome.ended_ms / 1000,
            outcome.trace.events(),
            outcome.stored,
            outcome.crashes,
            outcome.trace.hash()
        ));
        self.tell(seed, &plan, &outcome)
    }

    fn many(&self) -> bool {
        let began = Instant::now();
        let totals = Totals { next: AtomicU64::new(self.first), ..Totals::default() };
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.unwrap_or(processors).max(1) {
                scope.spawn(|| self.work(&totals));
            }
        });
        let total = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        console::result(&format!(
            "{}{} seeds from {} in {:.1} s: {} virtual hours, {} events, {} records STORED, {} crashes of the gateway, {} seeds broke a promise",
            self.officers.map_or(String::new(), |count| format!("{count} officers for {} h, ", self.hours)),
            total(&totals.runs),
            self.first,
            began.elapsed().as_secs_f64(),
            total(&totals.virtual_ms) / 3_600_000,
            total(&totals.events),
            total(&totals.stored),
            total(&totals.crashes),
            total(&totals.broken),
        ));
        total(&totals.broken) == 0
    }

    fn work(&self, totals: &Totals) {
        sabotage(self.broken);
        loop {
            let seed = totals.next.fetch_add(1, Ordering::Relaxed);
            let is_found = self.broken.is_some() && totals.broken.load(Ordering::Relaxed) > 0;
            if seed >= self.first + self.runs() || is_found {
                return;
            }
            let plan = self.plan(seed);
            let outcome = simulate(&plan, Trace::new(false));
            let add = |counter: &AtomicU64, count| _ = counter.fetch_add(count, Ordering::Relaxed);
            add(&totals.runs, 1);
            add(&totals.stored, outcome.stored);
            add(&totals.crashes, outcome.crashes);
            add(&totals.events, outcome.trace.events());
            add(&totals.virtual_ms, outcome.ended_ms);
            add(&totals.broken, u64::from(!self.tell(seed, &plan, &outcome)));
        }
    }

    /// Says what was broken, if something was, and how to see it. True if nothing was.
    fn tell(&self, seed: u64, plan: &Plan, outcome: &Outcome) -> bool {
        if let Some(breach) = &outcome.breach {
            let shift = self.officers.map_or(String::new(), |_| {
                format!(" --officers {} --hours {}", plan.device_count, self.hours)
            });
            console::result(&format!(
                "seed {seed} BROKEN at {:.3} s: {}: {} (see it: fieldpost-sim check{shift} --seed {seed} --trace)",
                outcome.ended_ms as f64 / 1000.0,
                breach.promise,
                breach.words
            ));
        }
        outcome.breach.is_none()
    }
}

/// Breaks the gateways of this thread, if they can be broken.
fn sabotage(broken: Option<Sabotage>) {
    #[cfg(feature = "sabotage")]
    fieldpost_gateway::sabotage::choose(broken);
    #[cfg(not(feature = "sabotage"))]
    let _ = broken;
}

fn how(name: &str) -> Result<Sabotage, String> {
    let names = Sabotage::ALL.map(Sabotage::as_str);
    Sabotage::named(name).ok_or_else(|| format!("not one of {}", names.join(", ")))
}
