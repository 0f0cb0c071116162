//! Orders from standard input, a line each: `press pc-0001`, `fall ..`, `rise ..`, `hide ..`: out of radio reach, `rattle ..`: more
//! records at once than its store has room for, `stay ..`: in radio reach and on duty from now on.
//!
//! For a test that drives a real fleet from outside. **A line that means nothing is said and passed over**; the end of the
//! input ends the run. Lines are read on a thread of their own, as a terminal's reading cannot be cancelled.

use std::{collections::HashMap, io::BufRead as _};

use tokio::sync::mpsc;

use crate::{console, world::unit::Order};

/// Orders that wait: more than any script says at once.
const WAITING_MAX: usize = 64;

/// Whom something happens to, by number in the fleet, and what.
type Spoken = (usize, Order);

/// The orders still to come.
pub(super) struct Orders(mpsc::Receiver<Spoken>);

impl Orders {
    /// Of standard input, for the devices of these names.
    pub(super) fn of_stdin(names: &[String]) -> Self {
        let numbers: HashMap<String, usize> =
            names.iter().cloned().enumerate().map(|(number, name)| (name, number)).collect();
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        std::thread::spawn(move || {
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                let Some(spoken) = understood(&line, &numbers) else {
                    console::progress(&format!(
                        "not understood: {line}; say press, fall, rise, hide, rattle or stay, and a device"
                    ));
                    continue;
                };
                if sender.blocking_send(spoken).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }
}

/// The next order; `None` at the end of them. Without orders it never returns. Cancel-safe.
pub(super) async fn next(orders: &mut Option<Orders>) -> Option<Spoken> {
    match orders {
        Some(Orders(receiver)) => receiver.recv().await,
        None => std::future::pending().await,
    }
}

fn understood(line: &str, numbers: &HashMap<String, usize>) -> Option<Spoken> {
    let (verb, device) = line.trim().split_once(' ')?;
    let order = match verb {
        "press" => Order::Press,
        "fall" => Order::Fall,
        "rise" => Order::GetUp,
        "hide" => Order::OutOfReach,
        "rattle" => Order::Rattle,
        "stay" => Order::AllInReach,
        _ => return None,
    };
    Some((*numbers.get(device)?, order))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_verb_and_a_device_of_the_fleet() {
        let numbers = HashMap::from([("pc-0001".to_owned(), 3)]);
        assert_eq!(understood("press pc-0001", &numbers), Some((3, Order::Press)));
        assert_eq!(understood(" fall pc-0001 ", &numbers), Some((3, Order::Fall)));
        for nonsense in ["", "press", "press pc-0002", "shout pc-0001", "press  pc-0001"] {
            assert_eq!(understood(nonsense, &numbers), None, "{nonsense:?}");
        }
    }
}
