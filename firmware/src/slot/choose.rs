//! Which of the two slots is in force.

use super::{Provision, SlotError, SlotsError, decode};

/// One of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SlotName {
    /// The first, written at enrolment.
    A,
    /// The second, for renewal.
    B,
}

impl SlotName {
    /// The slot a renewal writes while this one is in force.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// The valid slot with the higher generation; A if both have the same. The error of the other one, unless it is just empty,
/// is worth a line in the log.
///
/// # Errors
/// [`SlotsError`] if neither is valid.
pub fn newest<'a>(
    a: &'a [u8],
    b: &'a [u8],
) -> Result<(SlotName, Provision<'a>, Option<SlotError>), SlotsError> {
    match (decode(a), decode(b)) {
        (Ok(a), Ok(b)) if b.generation > a.generation => Ok((SlotName::B, b, None)),
        (Ok(a), Ok(_)) => Ok((SlotName::A, a, None)),
        (Ok(a), Err(error)) => Ok((SlotName::A, a, notable(error))),
        (Err(error), Ok(b)) => Ok((SlotName::B, b, notable(error))),
        (Err(a), Err(b)) => Err(SlotsError { a, b }),
    }
}

fn notable(error: SlotError) -> Option<SlotError> {
    (error != SlotError::Empty).then_some(error)
}
