//! The device logic's end of the wire.

use fieldpost_firmware::{Input, Output};

use super::{News, Order};

/// Translates between the device logic and the session, and drops what a connection that is over had still to say.
#[derive(Debug, Default)]
pub struct Switchboard {
    attempt: u32,
    is_wanted: bool,
}

impl Switchboard {
    /// No attempt yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { attempt: 0, is_wanted: false }
    }

    /// The order behind an output, if it is one for the session. A publish's frame goes with it.
    pub fn order(&mut self, output: &Output<'_>) -> Option<Order> {
        match *output {
            Output::Connect => {
                self.attempt = self.attempt.wrapping_add(1);
                self.is_wanted = true;
                Some(Order::Connect { attempt: self.attempt })
            }
            Output::Subscribe => Some(Order::Subscribe),
            Output::Publish { handle, lane, frame } => {
                Some(Order::Publish { handle, lane, len: frame.len() })
            }
            Output::HangUp(_) => {
                self.is_wanted = false;
                Some(Order::HangUp)
            }
            Output::Notice(_) => None,
        }
    }

    /// The input behind news, if the attempt is still wanted.
    pub fn input<'a>(&mut self, attempt: u32, news: &News<'a>) -> Option<Input<'a>> {
        if !self.is_wanted || attempt != self.attempt {
            return None;
        }
        Some(match *news {
            News::Connected { session_present } => Input::Connected { session_present },
            News::Disconnected(_) => {
                self.is_wanted = false;
                Input::Disconnected
            }
            News::Acknowledged(handle) => Input::Acknowledged(handle),
            News::Refused(handle) => Input::Refused(handle),
            News::Downlink(frame) => Input::Downlink(frame),
        })
    }
}
