//! What the image costs: flash, RAM, bytes on the wire, instructions. The committed table is `hil-tests/costs.txt`.

use std::{fs, iter, time::Duration};

use fieldpost_firmware::Profile;
use fieldpost_hil_tests::{
    Bench,
    bench::LINK_WAIT_MAX,
    costs::{Costs, Table},
    feed::{Feed, walk},
    flash::SlotPlan,
    image::size,
    inputs::unix_s_now,
    log::Line,
    pcap::{Bytes, Capture},
    places,
    qemu::Board,
};

use crate::image;

/// For a few hundred records to be STORED, on a loaded machine.
const STORED_WAIT_MAX: Duration = Duration::from_secs(90);
const LIVE_COUNT: usize = 60;
const BACKLOG_COUNT: usize = 300;
/// The image says what it uses this often.
const USAGE_PERIOD_MS: u64 = 2000;
const POSITION_ROUNDS: u32 = 5;

#[test]
fn costs_of_the_emulated_image_have_not_grown() {
    let mut measured = Costs::new();
    measure_image(&mut measured);
    measure_live(&mut measured);
    measure_backlog(&mut measured);
    measure_instructions(&mut measured);
    let table = Table::committed().unwrap();
    let shown = table.show(&measured);
    println!("emulated board, what the image costs:\n{shown}");
    let kept = places::target_dir().join("board/costs.txt");
    fs::write(&kept, shown).unwrap();
    let faults: Vec<String> = table.compare(&measured).iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{}\nmeasured: {}", faults.join("\n"), kept.display());
}

fn measure_image(measured: &mut Costs) {
    let size = size(&image().elf).unwrap();
    measured.insert("image_flash_bytes".to_owned(), size.flash_bytes);
    measured.insert("image_variables_and_heap_bytes".to_owned(), size.ram_bytes);
}

/// One position at a time on a standing connection: publish, PUBACK, and TCP's own acknowledgements.
fn measure_live(measured: &mut Costs) {
    let bench = Bench::new(image(), |slot| slot.profile = Profile::Every).unwrap();
    let board = bench.power_on().unwrap();
    board.log().wait_for("link up", LINK_WAIT_MAX).unwrap();
    let before = board.log().wait_until_stored(1, STORED_WAIT_MAX).unwrap().number("issued").unwrap();
    let packets_before = Capture::read(board.capture()).unwrap().tcp.len();
    let feed = Feed::start(&board, walk(unix_s_now()).take(LIVE_COUNT), Duration::from_millis(300)).unwrap();
    assert_eq!(feed.finish(), LIVE_COUNT);
    let ledger = board.log().wait_until_stored(before + LIVE_COUNT as u64, STORED_WAIT_MAX).unwrap();
    let count = usize::try_from(ledger.number("issued").unwrap() - before).unwrap();
    let bytes = front_door_bytes(&bench, board.capture(), packets_before);
    println!("live, {count} records: {bytes:?}");
    measured.insert("live_position_bytes_up".to_owned(), each(bytes.up, count));
    measured.insert("live_position_bytes_both_ways".to_owned(), each(bytes.up + bytes.down, count));
    measured.insert("live_position_bytes_with_bare_acks".to_owned(), each(bytes.total(), count));
    let usage = board.log().wait_from(board.log().len(), "usage ", STORED_WAIT_MAX).unwrap().1;
    measured.insert("heap_peak_bytes".to_owned(), usage.number("heap_peak").unwrap());
    measured.insert("stack_peak_bytes".to_owned(), usage.number("stack_peak").unwrap());
    let stack_bytes = usage.number("stack_size").unwrap();
    let ram_bytes = measured["image_variables_and_heap_bytes"] + stack_bytes;
    measured.insert("ram_with_stack_and_heap_bytes".to_owned(), ram_bytes);
}

/// A backlog in batches of 30. The connection itself is in it, so a second one with nothing to bring is taken off.
fn measure_backlog(measured: &mut Costs) {
    let (with, empty) = (connection_with(BACKLOG_COUNT), connection_with(0));
    println!("backlog: {with:?} without: {empty:?}");
    let both = with.total().saturating_sub(empty.total());
    let up = with.up.saturating_sub(empty.up);
    measured.insert("backlog_batch_of_30_bytes_up".to_owned(), each(up * 30, BACKLOG_COUNT));
    measured.insert("backlog_batch_of_30_bytes_with_bare_acks".to_owned(), each(both * 30, BACKLOG_COUNT));
    measured.insert("connection_bytes_with_bare_acks".to_owned(), empty.total() as u64);
}

fn connection_with(position_count: usize) -> Bytes {
    let bench = Bench::new(image(), |slot| slot.profile = Profile::Every).unwrap();
    let mut board = bench.power_on_with(|board| board.set_link(false)).unwrap();
    let feed =
        Feed::start(&board, walk(unix_s_now()).take(position_count), Duration::from_millis(20)).unwrap();
    assert_eq!(feed.finish(), position_count);
    let issued = |line: &Line| {
        line.text.starts_with("ledger ")
            && line.number("issued").is_ok_and(|count| count > position_count as u64)
    };
    board.log().wait_that(0, "every position issued", STORED_WAIT_MAX, issued).unwrap();
    board.set_link(true).unwrap();
    board.log().wait_until_stored(position_count as u64 + 1, STORED_WAIT_MAX).unwrap();
    front_door_bytes(&bench, board.capture(), 0)
}

fn front_door_bytes(bench: &Bench, capture: &std::path::Path, from: usize) -> Bytes {
    Capture::read(capture).unwrap().bytes(bench.gateway.addresses().front_door.port(), from)
}

fn each(bytes: usize, count: usize) -> u64 {
    bytes.div_ceil(count) as u64
}

/// One instruction is 1 ns of the board's time, and the image says how much of that it slept.
fn measure_instructions(measured: &mut Costs) {
    let mut bench = Bench::new(image(), |slot| slot.profile = Profile::Every).unwrap();
    bench.plan.counts_instructions = true;
    let board = bench.power_on().unwrap();
    let (link_up, _) = board.log().wait_from(0, "link up", STORED_WAIT_MAX).unwrap();
    let mut numbered = (0..).zip(usages(&board, 0));
    let (periods, (_, usage)) = numbered.find(|(_, (line, _))| *line > link_up).expect("usage has no end");
    let refused = awake_us_after(periods, |slot| slot.gateway_port = 1);
    measured.insert("handshake_kiloinstructions".to_owned(), awake_us(&usage).saturating_sub(refused));
    board.log().wait_until_stored(1, STORED_WAIT_MAX).unwrap();

    let quiet = awake_over(&board, POSITION_ROUNDS);
    let period = Duration::from_millis(200);
    let feed = Feed::start(&board, walk(unix_s_now()), period).unwrap();
    let busy = awake_over(&board, POSITION_ROUNDS);
    drop(feed);
    let count = u64::from(POSITION_ROUNDS) * USAGE_PERIOD_MS / u64::try_from(period.as_millis()).unwrap();
    measured.insert("position_kiloinstructions".to_owned(), busy.saturating_sub(quiet) / count);
    let usage = board.log().wait_from(board.log().len(), "usage ", STORED_WAIT_MAX).unwrap().1;
    measured.insert("sensors_late_us_max".to_owned(), usage.number("sense_late_us_max").unwrap());
}

/// Kiloinstructions up to the line of usage that follows so many others, with another slot.
fn awake_us_after(periods: usize, shape: impl FnOnce(&mut SlotPlan)) -> u64 {
    let mut bench = Bench::new(image(), shape).unwrap();
    bench.plan.counts_instructions = true;
    let board = bench.power_on().unwrap();
    awake_us(&usages(&board, 0).nth(periods).expect("usage has no end").1)
}

/// Kiloinstructions over so many periods of usage, from the next line on.
fn awake_over(board: &Board, rounds: u32) -> u64 {
    let lines = usages(board, board.log().len()).take(rounds as usize + 1);
    let awake: Vec<u64> = lines.map(|(_, line)| awake_us(&line)).collect();
    awake[awake.len() - 1] - awake[0]
}

/// The lines of usage from line number `from` on, each waited for, with their numbers.
fn usages(board: &Board, from: usize) -> impl Iterator<Item = (usize, Line)> {
    let mut next = from;
    iter::from_fn(move || {
        let found = board.log().wait_from(next, "usage ", STORED_WAIT_MAX).unwrap();
        next = found.0 + 1;
        Some(found)
    })
}

fn awake_us(usage: &Line) -> u64 {
    usage.at_us().unwrap() - usage.number("idle_us").unwrap()
}
