//! One core, three bodies: the emulated board makes the same frame bytes as the host.

use std::time::Duration;

use fieldpost_firmware::{RamStorage, trace};
use fieldpost_hil_tests::{Bench, image};

/// Some 30,000 reads of the panel and 15,000 samples, twice.
const TRACE_WAIT_MAX: Duration = Duration::from_secs(120);

#[test]
fn same_stimuli_and_seed_give_the_same_frames_on_the_host_and_on_the_emulated_board() {
    let bench = Bench::new(image::build(&["trace"]).unwrap(), |_| {}).unwrap();
    let board = bench.power_on().unwrap();
    for which in 0..trace::EXPECTED.len() {
        let line = board.log().wait_for(&format!("trace which={which} "), TRACE_WAIT_MAX).unwrap();
        let host = trace::play(which, RamStorage::<64>::new()).unwrap();
        assert_eq!(line.field("hash"), Some(format!("{:016x}", host.hash).as_str()), "{}", line.text);
        assert_eq!(line.number("frames").unwrap(), u64::from(host.frame_count));
        println!("emulated board and host: {}", line.text);
    }
}
