//! A bad network between devices and gateway: **nothing acknowledged is lost, nothing is stored twice, and when it heals
//! everything owed is taken.**
//!
//! ```text
//! unshare --net: a network namespace with a loopback of its own
//!   nft: of all packets to or from the front door, a random third is dropped; then all of them; then none
//! ```
//!
//! Both directions lose packets: publishes, PUBACKs, handshakes. A device whose PUBACK was lost sends the record again, and
//! only the key tells that it is there. Devices give a connection up when nothing has moved for a while, as the real ones do.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use super::{
    RigError, Verdict,
    error::tool,
    gateway::{Launch, Setup},
    load::{self, Account, Load, Pace},
    spool,
};

/// What to do.
#[derive(Debug, Clone)]
pub struct NetworkPlan {
    /// The gateway's binary.
    pub binary: PathBuf,
    /// Devices that send without pause.
    pub device_count: usize,
    /// Of a hundred packets, how many are lost.
    pub lost_percent: u32,
    /// How long packets are lost; a third of it nothing gets through, several times.
    pub lasts: Duration,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct NetworkReport {
    /// Packets dropped.
    pub dropped_count: u64,
    /// Connections made again.
    pub reconnected_count: u64,
    /// Publishes written, those that were written again included.
    pub published_count: u64,
    /// At the end.
    pub account: Account,
}

/// Set in the process inside the namespace.
const INSIDE: &str = "FIELDPOST_RIG_NETWORK";

const PACE: Pace = Pace { patience: Duration::from_secs(1), ..Pace::new(8, 20) };

/// Whether this process has a network of its own.
pub(super) fn is_isolated() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program with the same arguments in a network namespace of its own, and returns its verdict. Needs root.
pub(super) fn isolated() -> Result<Verdict, RigError> {
    let this = std::env::current_exe().map_err(RigError::io("find this program"))?;
    let output = Command::new("unshare")
        .args(["--net", "--"])
        .arg(this)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .stderr(Stdio::inherit())
        .output()
        .map_err(RigError::io("start unshare (Debian package util-linux)"))?;
    match (output.status.code(), serde_json::from_slice(&output.stdout)) {
        (Some(code @ (0 | 1)), Ok(report)) => Ok(Verdict { report, held: code == 0 }),
        (_, _) => Err(RigError::Inside(output.status)),
    }
}

/// Runs the plan in the empty folder `dir`, inside the namespace.
///
/// # Errors
/// [`RigError`] if the rig itself cannot work.
pub async fn bad_network(plan: &NetworkPlan, dir: &Path) -> Result<NetworkReport, RigError> {
    tool(&["ip", "link", "set", "lo", "up"])?;
    let setup = Setup::new(&dir.join("gateway"), plan.device_count, "")?;
    let mut gateway = tokio::task::block_in_place(|| setup.start(&Launch::of(&plan.binary)))?;
    let load = Load::start(setup.address, &setup.devices, Load::fresh(plan.device_count), PACE);
    load.everyone_hears(10).await?;
    let (connected, port) = (load.connected_count(), setup.address.port());
    let mut dropped_count = 0;
    for _ in 0..3 {
        drop_packets(port, plan.lost_percent)?;
        tokio::time::sleep(plan.lasts * 2 / 9).await;
        dropped_count += dropped()?;
        drop_packets(port, 100)?;
        tokio::time::sleep(plan.lasts / 9).await;
        dropped_count += dropped()?;
    }
    tool(&["nft", "flush", "ruleset"])?;
    // Everybody gets through again.
    load.everyone_hears(1).await?;
    let reconnected_count = load.connected_count() - connected;
    let mut windows = load.end().await?;
    load::settle(&setup, &mut windows).await?;
    gateway.terminate()?;
    let stored = spool::stored(&dir.join("gateway/data/spool")).await?;
    Ok(NetworkReport {
        dropped_count,
        reconnected_count,
        published_count: windows.iter().map(|window| window.published_count).sum(),
        account: Account::of(&setup.devices, &load::counts(&windows), &stored),
    })
}

/// From now on `percent` of the packets to and from `port` are lost.
fn drop_packets(port: u16, percent: u32) -> Result<(), RigError> {
    let chance = if percent < 100 { format!("numgen random mod 100 < {percent}") } else { String::new() };
    let rule = |side: &str| format!("tcp {side} {port} {chance} counter drop");
    let rules = format!(
        "flush ruleset\ntable inet rig {{\nchain lose {{\ntype filter hook input priority 0\n{}\n{}\n}}\n}}\n",
        rule("dport"),
        rule("sport")
    );
    let file = tempfile::NamedTempFile::new().map_err(RigError::io("make a file"))?;
    std::fs::write(file.path(), rules).map_err(RigError::io("write the rules"))?;
    tool(&["nft", "-f", &file.path().to_string_lossy()]).map(drop)
}

/// What the rules in force have dropped.
fn dropped() -> Result<u64, RigError> {
    let rules = tool(&["nft", "list", "ruleset"])?;
    let words: Vec<&str> = rules.split_whitespace().collect();
    let counted = words.windows(2).filter(|pair| pair[0] == "packets").map(|pair| pair[1].parse::<u64>());
    Ok(counted.filter_map(Result::ok).sum())
}
