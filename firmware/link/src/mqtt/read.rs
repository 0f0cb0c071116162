//! Bytes of the gateway to packets (MQTT 5 chapter 3).

use super::PACKET_BYTES_MAX;

/// Not a packet that a gateway may send, or longer than announced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Malformed {
    /// Over [`PACKET_BYTES_MAX`].
    TooLong,
    /// Anything else.
    Packet,
}

/// What CONNACK says (section 3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connack {
    /// The gateway kept the session.
    pub session_present: bool,
    /// 0 is success.
    pub reason: u8,
    /// Publishes that may be under way.
    pub receive_max: u16,
    /// The longest packet that the gateway takes.
    pub packet_bytes_max: u32,
    /// The interval that the gateway wants instead of ours.
    pub keep_alive_s: Option<u16>,
    /// Quality 1 is served.
    pub serves_quality_one: bool,
}

/// One packet, borrowing the receive buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to CONNECT.
    Connack(Connack),
    /// A downlink message.
    Publish {
        /// Set for quality 1.
        packet_id: Option<u16>,
        /// Its topic.
        topic: &'a str,
        /// Its payload.
        payload: &'a [u8],
    },
    /// The answer to a publish.
    Puback {
        /// Which.
        packet_id: u16,
        /// Below 0x80 is success.
        reason: u8,
    },
    /// The answer to SUBSCRIBE.
    Suback {
        /// Which.
        packet_id: u16,
        /// Below 0x80 is success.
        reason: u8,
    },
    /// The answer to PINGREQ.
    Pingresp,
    /// The gateway ends the connection.
    Disconnect {
        /// Why (section 3.14.2.1).
        reason: u8,
    },
}

/// Takes one packet from the front: it and its length, or `None` if more bytes are needed.
///
/// # Errors
/// [`Malformed`]; the size is judged as soon as the fixed header is there.
pub fn split(bytes: &[u8]) -> Result<Option<(Packet<'_>, usize)>, Malformed> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut fields = Fields(rest);
    let Some(body_len) = fields.varint_if_whole()? else { return Ok(None) };
    let header_len = bytes.len() - fields.0.len();
    let packet_len = header_len + body_len;
    if packet_len > PACKET_BYTES_MAX {
        return Err(Malformed::TooLong);
    }
    let Some(body) = bytes.get(header_len..packet_len) else { return Ok(None) };
    Ok(Some((read(first, Fields(body))?, packet_len)))
}

fn read(first: u8, mut body: Fields<'_>) -> Result<Packet<'_>, Malformed> {
    let packet = match first {
        0x20 => Packet::Connack(read_connack(&mut body)?),
        0x30..=0x3F => return read_publish(first & 0x0F, body),
        0x40 => {
            let packet_id = body.packet_id()?;
            let reason = body.reason_and_properties()?;
            Packet::Puback { packet_id, reason }
        }
        0x90 => {
            let packet_id = body.packet_id()?;
            body.properties(|_, _| Ok(()))?;
            // One subscription, one answer.
            Packet::Suback { packet_id, reason: body.u8()? }
        }
        0xD0 => Packet::Pingresp,
        0xE0 => Packet::Disconnect { reason: body.reason_and_properties()? },
        _ => return Err(Malformed::Packet),
    };
    if body.0.is_empty() { Ok(packet) } else { Err(Malformed::Packet) }
}

fn read_connack(body: &mut Fields<'_>) -> Result<Connack, Malformed> {
    let (flags, reason) = (body.u8()?, body.u8()?);
    if flags > 1 {
        return Err(Malformed::Packet);
    }
    let mut connack = Connack {
        session_present: flags == 1,
        reason,
        receive_max: u16::MAX,
        packet_bytes_max: u32::MAX,
        keep_alive_s: None,
        serves_quality_one: true,
    };
    body.properties(|id, value| {
        match (id, value) {
            (0x21, Value::Two(0)) | (0x27, Value::Four(0)) => return Err(Malformed::Packet),
            (0x21, Value::Two(value)) => connack.receive_max = value,
            (0x27, Value::Four(value)) => connack.packet_bytes_max = value,
            (0x13, Value::Two(value)) => connack.keep_alive_s = Some(value),
            (0x24, Value::One(value)) => connack.serves_quality_one = value == 1,
            _ => {}
        }
        Ok(())
    })?;
    Ok(connack)
}

fn read_publish(flags: u8, mut body: Fields<'_>) -> Result<Packet<'_>, Malformed> {
    let topic = body.text()?;
    let packet_id = match flags >> 1 & 0b11 {
        // A quality-0 message cannot be a redelivery (MQTT-3.3.1-2).
        0 if flags & 0b1000 == 0 => None,
        1 => Some(body.packet_id()?),
        // Quality 2 is not subscribed.
        _ => return Err(Malformed::Packet),
    };
    // Our Topic Alias Maximum is 0: an alias is a fault (MQTT-3.1.2-26).
    body.properties(|id, _| if id == 0x23 { Err(Malformed::Packet) } else { Ok(()) })?;
    if topic.is_empty() || topic.bytes().any(|byte| matches!(byte, b'+' | b'#' | 0)) {
        return Err(Malformed::Packet);
    }
    Ok(Packet::Publish { packet_id, topic, payload: body.0 })
}

/// A property's value, as far as its size goes.
enum Value {
    One(u8),
    Two(u16),
    Four(u32),
    Other,
}

/// Takes fields from the front of a packet's body.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Malformed::Packet)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        self.take(4).map(|bytes| u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn packet_id(&mut self) -> Result<u16, Malformed> {
        self.u16().and_then(|id| if id == 0 { Err(Malformed::Packet) } else { Ok(id) })
    }

    fn binary(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    fn text(&mut self) -> Result<&'a str, Malformed> {
        core::str::from_utf8(self.binary()?).map_err(|_| Malformed::Packet)
    }

    /// A variable byte integer (section 1.5.5), `None` if it is cut short.
    fn varint_if_whole(&mut self) -> Result<Option<usize>, Malformed> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(4).enumerate() {
            value |= usize::from(byte & 0x7F) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(Some(value));
            }
        }
        if self.0.len() >= 4 { Err(Malformed::Packet) } else { Ok(None) }
    }

    fn varint(&mut self) -> Result<usize, Malformed> {
        self.varint_if_whole()?.ok_or(Malformed::Packet)
    }

    /// A reason code that may be left out together with the properties after it: success then.
    fn reason_and_properties(&mut self) -> Result<u8, Malformed> {
        if self.0.is_empty() {
            return Ok(0);
        }
        let reason = self.u8()?;
        if !self.0.is_empty() {
            self.properties(|_, _| Ok(()))?;
        }
        Ok(reason)
    }

    /// Reads every property (section 2.2.2.2), the known ones once each.
    fn properties(
        &mut self,
        mut take: impl FnMut(u8, Value) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        const USER_PROPERTY: u8 = 0x26;
        let len = self.varint()?;
        let mut properties = Fields(self.take(len)?);
        let mut seen = 0_u64;
        while let Ok(id) = properties.u8() {
            let value = properties.value(id)?;
            if id != USER_PROPERTY {
                if seen & 1 << id != 0 {
                    return Err(Malformed::Packet);
                }
                seen |= 1 << id;
            }
            take(id, value)?;
        }
        Ok(())
    }

    /// A property's value by its identifier (table 2-4), for every property that a server may send.
    fn value(&mut self, id: u8) -> Result<Value, Malformed> {
        Ok(match id {
            // Payload format, maximum quality, retain, wildcard, identifiers, shared available.
            0x01 | 0x24 | 0x25 | 0x28..=0x2A => Value::One(self.u8()?),
            // Keep alive, receive maximum, topic alias maximum, topic alias.
            0x13 | 0x21 | 0x22 | 0x23 => Value::Two(self.u16()?),
            // Message expiry, session expiry, packet size.
            0x02 | 0x11 | 0x27 => Value::Four(self.u32()?),
            // Content type, response topic, assigned client id, authentication method, response information, server
            // reference, reason string.
            0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => {
                self.text()?;
                Value::Other
            }
            // Correlation data, authentication data.
            0x09 | 0x16 => {
                self.binary()?;
                Value::Other
            }
            0x0B => {
                self.varint()?;
                Value::Other
            }
            0x26 => {
                self.text()?;
                self.text()?;
                Value::Other
            }
            _ => return Err(Malformed::Packet),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_taken_whole_or_not_at_all() {
        let bytes = [0x40, 2, 1, 2, 0xD0, 0];
        assert_eq!(split(&bytes), Ok(Some((Packet::Puback { packet_id: 0x102, reason: 0 }, 4))));
        assert_eq!(split(&bytes[4..]), Ok(Some((Packet::Pingresp, 2))));
        for cut in 0..4 {
            assert_eq!(split(&bytes[..cut]), Ok(None));
        }
    }

    #[test]
    fn an_oversized_packet_is_refused_at_its_header() {
        assert_eq!(split(&[0x30, 0x80, 0x03]), Err(Malformed::TooLong));
        assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]), Err(Malformed::TooLong));
        assert_eq!(split(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Err(Malformed::Packet));
    }

    #[test]
    fn what_a_gateway_may_not_send_is_refused() {
        let refused: [&[u8]; 12] = [
            &[0x10, 0],                                  // CONNECT
            &[0x00, 0],                                  // reserved
            &[0x41, 2, 0, 1],                            // flags of PUBACK
            &[0x40, 2, 0, 0],                            // packet id 0
            &[0x40, 1, 0],                               // cut short
            &[0xD0, 1, 0],                               // PINGRESP with a body
            &[0x20, 3, 2, 0, 0],                         // CONNACK flags
            &[0x20, 6, 0, 0, 3, 0x21, 0, 0],             // receive maximum 0
            &[0x20, 9, 0, 0, 6, 0x21, 0, 9, 0x21, 0, 9], // twice
            &[0x34, 6, 0, 1, b'a', 0, 1, 0],             // quality 2
            &[0x30, 4, 0, 1, b'#', 0],                   // wildcard
            &[0x30, 7, 0, 1, b'a', 3, 0x23, 0, 1],       // alias
        ];
        for bytes in refused {
            assert_eq!(split(bytes), Err(Malformed::Packet), "{bytes:02x?}");
        }
    }

    #[test]
    fn a_connack_is_read_with_its_limits() {
        let bytes = [0x20, 17, 1, 0, 14, 0x21, 0, 100, 0x27, 0, 0, 8, 0, 0x24, 1, 0x13, 0, 60, 0x22];
        assert_eq!(split(&bytes), Err(Malformed::Packet), "the last property is cut short");
        let bytes = [0x20, 16, 1, 0, 13, 0x21, 0, 100, 0x27, 0, 0, 8, 0, 0x24, 1, 0x13, 0, 60];
        let connack = Connack {
            session_present: true,
            reason: 0,
            receive_max: 100,
            packet_bytes_max: 2048,
            keep_alive_s: Some(60),
            serves_quality_one: true,
        };
        assert_eq!(split(&bytes), Ok(Some((Packet::Connack(connack), 18))));
    }
}
