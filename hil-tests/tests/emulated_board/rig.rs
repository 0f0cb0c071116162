//! The rig itself, without an image: every input reaches the emulated board, and the gateway can be killed and asked.

use fieldpost_hil_tests::{
    gateway::{FORCE, Gateway},
    inputs::Pin,
    qemu::{Board, BoardPlan, FLASH_BYTES},
};
use serde_json::json;

#[test]
fn every_input_of_the_emulated_board_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut board = Board::start(&BoardPlan::new(None, dir.path())).unwrap();
    board.set_temperature(21_500).unwrap();
    assert_eq!(board.qmp().get("t0", "temperature").unwrap(), json!(21_500));
    board.set_acceleration([-4000, 0, 1000]).unwrap();
    for pin in [Pin::Holster, Pin::Duty, Pin::Panic, Pin::Cancel, Pin::Dock, Pin::CedArmed] {
        board.set_pin(pin, true).unwrap();
    }
    board.watch_wearer().unwrap();
    board.set_link(false).unwrap();
    board.gnss(b"$GPRMC\r\n").unwrap();
    assert!(board.ended().unwrap().is_none(), "{}", board.errors());
}

#[test]
fn flash_outlives_a_power_cut_and_ram_does_not() {
    const FLASH: u32 = 0x2100_0000;
    const RAM: u32 = 0x2000_0000;
    let dir = tempfile::tempdir().unwrap();
    let plan = BoardPlan::new(None, dir.path());
    let mut board = Board::start(&plan).unwrap();
    assert_eq!(board.qtest().read_word(FLASH).unwrap(), u32::MAX, "new flash is all ones");
    board.qtest().write_word(FLASH, 0x1234_5678).unwrap();
    board.qtest().fill(RAM, 4, 0xC5).unwrap();
    assert_eq!(board.qtest().read(RAM, 4).unwrap(), [0xC5; 4]);
    board.cut_power().unwrap();
    let mut board = Board::start(&plan).unwrap();
    assert_eq!(board.qtest().read_word(FLASH).unwrap(), 0x1234_5678);
    assert_eq!(board.qtest().read_word(RAM).unwrap(), 0);
    assert_eq!(std::fs::metadata(plan.flash()).unwrap().len(), FLASH_BYTES as u64);
    assert_eq!(plan.captures().unwrap().len(), 2, "one capture for each power-on");
}

#[test]
fn board_dies_with_its_handle() {
    let dir = tempfile::tempdir().unwrap();
    let board = Board::start(&BoardPlan::new(None, dir.path())).unwrap();
    let process = format!("/proc/{}", board.process_id());
    assert!(std::path::Path::new(&process).exists());
    drop(board);
    assert!(!std::path::Path::new(&process).exists());
}

#[test]
fn gateway_comes_back_after_kill_9_on_the_same_ports_with_its_records() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = Gateway::start(&dir.path().join("gateway")).unwrap();
    let before = gateway.addresses();
    assert!(before.front_door.port() != 0 && before.control_room.port() != 0);
    let enrolled = gateway.enrol("bw-1", "test").unwrap();
    assert_eq!((enrolled.device.as_str(), FORCE), ("bw-1", "bench"));
    assert!(!enrolled.chain.is_empty() && !enrolled.key.is_empty() && !enrolled.authorities.is_empty());
    gateway.kill().unwrap();
    gateway.run().unwrap();
    assert_eq!(gateway.addresses(), before);
    assert_eq!(gateway.records().unwrap().0.len(), 0);
    gateway.open_page("sgt-bench").unwrap();
}
