//! Power cuts at random instants under load: **nothing that was STORED is missing, no alarm is lost, no board is bricked, no boot
//! id returns, and every sequence is accounted for.**
//!
//! ```text
//! power on -> fixes without pause, now and then the panic button, now and then the cable out -> kill -9    again and again
//! at last: power on without fixes, until nothing is owed -> the account (crate::account)
//! ```
//!
//! Half of the cuts fall anywhere from the first instruction on, so that start, recovery and handshake are hit; the other half
//! fall after the connection stands, so that publishes and receipts are. Before one in four the cable goes, so that what is on its
//! way is lost for certain, and the board says how many it has issued. The seed decides every instant.
//!
//! The rig is worth what its red is worth: an image that forgets records before they are STORED, or uses boot ids again, must
//! not pass.

use std::{
    sync::mpsc::{self, Sender},
    time::Duration,
};

use fieldpost_firmware::Profile;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use crate::{
    Bench, Failure,
    account::{self, Life, Verdict},
    bench::{DEVICE, LINK_WAIT_MAX},
    feed::{Feed, walk},
    inputs::{Pin, unix_s_now},
    qemu::{Board, Image},
};

/// Fixes come this often: more than any receiver sends.
const FIX_PERIOD: Duration = Duration::from_millis(20);
/// A cut falls within this after power-on, or after the connection.
const CUT_MS_MAX: u64 = 1500;
/// From a press to its release, and to the next press: longer than the debounce, short enough for a double press.
const PRESS: Duration = Duration::from_millis(80);
/// While fixes come, the board says where its records are once a second.
const LEDGER_WAIT_MAX: Duration = Duration::from_secs(20);
/// For the last power-on to bring everything that is owed.
const SETTLE_WAIT_MAX: Duration = Duration::from_secs(180);

/// How often and with what.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The image.
    pub image: Image,
    /// How often the power is cut.
    pub cut_count: usize,
    /// Decides the instants.
    pub seed: u64,
}

/// One power-on up to its cut.
#[derive(Debug, Clone, Copy)]
struct Fate {
    waits_for_link: bool,
    presses: bool,
    /// The cable goes first: what is on its way then arrives nowhere.
    unplugs: bool,
    cut_after: Duration,
}

/// Runs the plan; `progress` hears of every cut.
///
/// # Errors
/// [`Failure`] if the rig itself cannot work, or the board does not come back after a cut.
pub fn run(plan: &Plan, mut progress: impl FnMut(usize)) -> Result<Verdict, Failure> {
    let bench = Bench::new(plan.image.clone(), |slot| slot.profile = Profile::Every)?;
    let mut dice = StdRng::seed_from_u64(plan.seed);
    let (mut lives, mut resets) = (Vec::new(), Vec::new());
    for cut in 0..plan.cut_count {
        let fate = Fate {
            waits_for_link: cut % 2 == 1,
            presses: dice.random_bool(0.5),
            unplugs: cut % 4 == 3,
            cut_after: Duration::from_micros(dice.random_range(0..CUT_MS_MAX * 1000)),
        };
        let log = one_life(&bench, fate)?;
        lives.extend(account::lives(&log)?);
        resets.extend(account::resets(&log));
        progress(cut + 1);
    }
    lives.extend(bring_in_the_rest(&bench)?);
    let mut verdict = account::settle(DEVICE, &lives, &bench.gateway.records()?);
    verdict.resets = resets;
    let account = bench.gateway.account(DEVICE)?;
    verdict.gateway_misses_count =
        ["owed", "unaccounted"].iter().filter_map(|state| account.get(*state)).sum();
    Ok(verdict)
}

fn one_life(bench: &Bench, fate: Fate) -> Result<crate::log::Log, Failure> {
    let mut board = bench.power_on()?;
    let feed = Feed::start(&board, walk(unix_s_now()), FIX_PERIOD)?;
    if fate.waits_for_link {
        board.log().wait_for("link up", LINK_WAIT_MAX)?;
    }
    let mut left = fate.cut_after;
    if fate.presses {
        left = left.saturating_sub(press_twice(&mut board, left)?);
    }
    if fate.unplugs {
        board.set_link(false)?;
        // Once it has said how many it issued, all of those are owed.
        board.log().wait_from(board.log().len(), "ledger ", LEDGER_WAIT_MAX)?;
    }
    pass(left);
    let log = board.cut_power()?;
    drop(feed);
    log.ok_or_else(|| Failure::child("image", "was not on this board"))
}

/// Two short presses are a call for help. Takes at most `left`; the cut may fall between them.
fn press_twice(board: &mut Board, left: Duration) -> Result<Duration, Failure> {
    let mut taken = Duration::ZERO;
    for level in [true, false, true, false] {
        board.set_pin(Pin::Panic, level)?;
        let step = PRESS.min(left.saturating_sub(taken));
        pass(step);
        taken += step;
    }
    Ok(taken)
}

/// Powers on for the last time and waits until the board owes nothing.
fn bring_in_the_rest(bench: &Bench) -> Result<Vec<Life>, Failure> {
    let board = bench.power_on()?;
    board.log().wait_until_settled(SETTLE_WAIT_MAX)?;
    let log = board.cut_power()?.ok_or_else(|| Failure::child("image", "was not on this board"))?;
    account::lives(&log)
}

/// Lets time pass up to the instant of a fault; it is not a wait for something to be ready.
fn pass(time: Duration) {
    let (_keep, nothing): (Sender<()>, _) = mpsc::channel();
    let _ = nothing.recv_timeout(time);
}
