//! Bodies: what a frame says, by class. **A body only ever grows at its end.**
//!
//! A decoder of today reads the fields it knows and ignores what follows; a decoder of tomorrow gives a field that an
//! old body does not have its stated default. Bytes after the known fields may also be padding: a device pads an alarm
//! so that its size on the air does not tell it from a status.

mod alarm;
mod event;
mod health;
mod heard;
mod loss;
mod position;
mod status;

pub use alarm::{Alarm, AlarmCancel};
pub use event::SensorEvent;
pub use health::Health;
pub use heard::Heard;
pub use loss::{Loss, SeqRange};
pub use position::{Position, PositionError};
pub use status::Status;

use crate::{
    batch::BatchDecoder,
    code::Class,
    envelope::Head,
    wire::{DecodeError, EncodeError, Reader, Writer},
};

/// A decoded body.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// One position.
    Position(Position),
    /// Many positions: an iterator over items that each have their own sequence and time.
    PositionBatch(BatchDecoder<'a>),
    /// The device's state.
    Status(Status),
    /// A sensor changed.
    SensorEvent(SensorEvent),
    /// The wearer needs help.
    Alarm(Alarm),
    /// The wearer takes an alarm back.
    AlarmCancel(AlarmCancel),
    /// What the device dropped.
    Loss(Loss),
    /// Opt-in health of the wearer.
    Health(Health),
    /// The device has a receipt.
    Heard(Heard),
    /// A class that this version does not know. If it [is of the alarm family](Class::is_alarm_family), raise it.
    Unknown(Class),
}

impl<'a> Body<'a> {
    /// Reads the body of an envelope whose head is `head`.
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not a body of that class, or a value is outside its range.
    pub fn decode(head: &Head, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        Ok(match head.class {
            Class::POSITION => Self::Position(reader.value::<Position>()?.checked()?),
            Class::POSITION_BATCH => Self::PositionBatch(BatchDecoder::try_new(head, bytes)?),
            Class::STATUS => Self::Status(reader.value()?),
            Class::SENSOR_EVENT => Self::SensorEvent(reader.value()?),
            Class::ALARM => Self::Alarm(reader.value::<Alarm>()?.checked()?),
            Class::ALARM_CANCEL => Self::AlarmCancel(reader.value()?),
            Class::LOSS => Self::Loss(reader.value::<Loss>()?.checked()?),
            Class::HEALTH => Self::Health(reader.value()?),
            Class::HEARD => Self::Heard(reader.value()?),
            other => Self::Unknown(other),
        })
    }
}

macro_rules! encodes {
    ($($body:ident => $class:ident),* $(,)?) => {
        $(impl $body {
            /// The class of an envelope that carries this body.
            pub const CLASS: Class = Class::$class;

            /// Writes the body to the front of `buffer` and returns its bytes.
            ///
            /// # Errors
            /// [`EncodeError::BufferTooSmall`]; [`crate::limits::BODY_BYTES_MAX`] bytes always suffice.
            pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
                let mut writer = Writer::new(buffer);
                writer.value(self)?;
                Ok(writer.finish())
            }
        })*
    };
}

encodes! {
    Position => POSITION,
    Status => STATUS,
    SensorEvent => SENSOR_EVENT,
    Alarm => ALARM,
    AlarmCancel => ALARM_CANCEL,
    Loss => LOSS,
    Health => HEALTH,
    Heard => HEARD,
}
