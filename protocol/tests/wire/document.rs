//! docs/PROTOCOL.md is what a supplier works from: it must say what the code does.

use fieldpost_protocol::{
    AlarmCause, AuthAlgorithm, CancelReason, Class, Duty, EventCode, FixSource, LossReason, Power,
    ReportReason, ResetReason,
};

const DOCUMENT: &str = include_str!("../../../docs/PROTOCOL.md");

#[test]
fn every_code_stands_in_the_document_with_its_value() {
    macro_rules! check {
        ($($table:ident)*) => {$(
            let (_, table) = DOCUMENT
                .split_once(concat!("**", stringify!($table), "**"))
                .unwrap_or_else(|| panic!("no table {}", stringify!($table)));
            let table = table.split("\n**").next().expect("split yields at least one part");
            for code in $table::KNOWN {
                let name = code.name().expect("a known code has a name");
                let decimal = format!("| {} | `{name}` |", code.0);
                let hexadecimal = format!("| 0x{:02x} | `{name}` |", code.0);
                assert!(
                    table.contains(&decimal) || table.contains(&hexadecimal),
                    "{} {} {name} is not in docs/PROTOCOL.md",
                    stringify!($table),
                    code.0,
                );
            }
        )*};
    }
    check!(Class AuthAlgorithm FixSource ReportReason Duty Power ResetReason EventCode AlarmCause CancelReason LossReason);
}

#[test]
fn the_golden_vectors_stand_in_the_document() {
    assert!(DOCUMENT.contains(include_str!("../golden/v1.txt")));
}
