//! A serde deserializer that reads postcard bytes and writes down what every byte was for. Because it follows the very
//! types the gateway decodes with, it cannot disagree with them, and names a new field the day it is added.
//!
//! Format: <https://postcard.jamesmunns.com/wire-format>. Little-endian base-128 varints, zigzag for signed integers, one
//! byte for `bool`, `u8`, `i8` and the tag of an option.

use std::fmt;

use serde::de::{self, DeserializeSeed, EnumAccess, IntoDeserializer, SeqAccess, VariantAccess, Visitor};

use super::meaning;

/// A run of bytes with its meaning.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Part {
    /// Offset of the first byte in the frame.
    pub(crate) offset: usize,
    /// The bytes in hexadecimal.
    pub(crate) bytes: String,
    /// Path of the field.
    pub(crate) field: String,
    /// What the bytes say.
    pub(crate) value: String,
}

/// Why reading stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Stop(String);

impl de::Error for Stop {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads `bytes` from the front, noting parts.
pub(crate) struct Annotator<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Field names from the outermost type inwards.
    path: Vec<String>,
    /// Name of the innermost struct: tells a position's `reason` from a cancel's.
    owner: &'static str,
    pub(crate) parts: Vec<Part>,
}

impl<'a> Annotator<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, path: Vec::new(), owner: "", parts: Vec::new() }
    }

    pub(crate) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// Notes the next `count` bytes as `field`; fewer if there are fewer.
    pub(crate) fn note(&mut self, count: usize, field: &str, value: impl Into<String>) {
        let end = (self.at + count).min(self.bytes.len());
        self.note_from(self.at, end, field, value.into());
    }

    pub(crate) fn u8(&mut self, field: &str, value: impl FnOnce(u8) -> String) -> Result<u8, Stop> {
        let byte = *self.rest().first().ok_or_else(|| end_of(field))?;
        self.note(1, field, value(byte));
        Ok(byte)
    }

    pub(crate) fn varint(&mut self, field: &str, value: impl FnOnce(u64) -> String) -> Result<u64, Stop> {
        let start = self.at;
        let (number, length) =
            read_varint(self.rest()).map_err(|reason| Stop(format!("{field}: {reason}")))?;
        self.note_from(start, start + length, field, value(number));
        Ok(number)
    }

    pub(crate) fn signed(&mut self, field: &str, value: impl FnOnce(i64) -> String) -> Result<i64, Stop> {
        let mut number = 0;
        self.varint(field, |raw| {
            number = zigzag(raw);
            value(number)
        })?;
        Ok(number)
    }

    /// Lets `read` see the next `count` bytes only.
    pub(crate) fn within<T>(
        &mut self,
        count: usize,
        read: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let whole = self.bytes;
        self.bytes = &whole[..self.at.saturating_add(count).min(whole.len())];
        let result = read(self);
        self.bytes = whole;
        result
    }

    /// Reads the fields of `read` under the name `name`.
    pub(crate) fn under<T>(
        &mut self,
        name: &str,
        read: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        self.path.push(name.to_owned());
        let result = read(self);
        self.path.pop();
        result
    }

    fn note_from(&mut self, start: usize, end: usize, field: &str, value: String) {
        let bytes = self.bytes[start..end].iter().map(|byte| format!("{byte:02x}")).collect();
        let field = if field.is_empty() { self.name() } else { self.joined(field) };
        self.parts.push(Part { offset: start, bytes, field, value });
        self.at = end;
    }

    fn name(&self) -> String {
        self.path.join(".").replace(".[", "[")
    }

    fn joined(&self, field: &str) -> String {
        if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.name()) }
    }

    fn leaf(&self) -> &str {
        self.path.iter().rev().find(|name| !name.starts_with('[')).map_or("", String::as_str)
    }

    fn unsigned(&mut self) -> Result<u64, Stop> {
        let (owner, leaf, name) = (self.owner, self.leaf().to_owned(), self.name());
        self.varint("", |number| meaning::of(owner, &leaf, i128::from(number))).map_err(|stop| stop.at(&name))
    }

    fn zigzagged(&mut self) -> Result<i64, Stop> {
        let (owner, leaf, name) = (self.owner, self.leaf().to_owned(), self.name());
        self.signed("", |number| meaning::of(owner, &leaf, i128::from(number))).map_err(|stop| stop.at(&name))
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (owner, leaf, name) = (self.owner, self.leaf().to_owned(), self.name());
        self.u8("", |byte| meaning::of(owner, &leaf, i128::from(byte))).map_err(|stop| stop.at(&name))
    }

    /// `count` single bytes that make up one value (a fixed-size integer, a version number): one part instead of many.
    fn collapse(&mut self, first_part: usize, count: usize) {
        let single = |part: &Part| part.bytes.len() == 2;
        if count < 2 || self.parts.len() != first_part + count || !self.parts[first_part..].iter().all(single)
        {
            return;
        }
        let offset = self.parts[first_part].offset;
        let value = meaning::of_bytes(self.leaf(), &self.bytes[offset..offset + count]);
        let bytes = self.parts.drain(first_part..).map(|part| part.bytes).collect();
        self.parts.push(Part { offset, bytes, field: self.name(), value });
    }
}

impl Stop {
    fn at(self, name: &str) -> Self {
        Self(format!("{name}{}", self.0))
    }
}

fn end_of(field: &str) -> Stop {
    Stop(format!("{field}: the bytes end before the value does"))
}

/// The number and how many bytes it took.
fn read_varint(bytes: &[u8]) -> Result<(u64, usize), &'static str> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().enumerate().take(10) {
        number |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((number, index + 1));
        }
    }
    if bytes.len() < 10 {
        Err("the bytes end before the value does")
    } else {
        Err("a varint of more than 10 bytes")
    }
}

fn zigzag(raw: u64) -> i64 {
    (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed()
}

fn fits<T: TryFrom<V>, V>(value: V) -> Result<T, Stop> {
    T::try_from(value).map_err(|_| Stop("the number is too large for its field".to_owned()))
}

macro_rules! numbers {
    ($($method:ident $visit:ident $read:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let number = self.$read()?;
            visitor.$visit(fits(number)?)
        })*
    };
}

macro_rules! unsupported {
    ($($method:ident),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Stop> {
            Err(Stop("no wire type has such a value".to_owned()))
        })*
    };
}

impl<'de> de::Deserializer<'de> for &mut Annotator<'de> {
    type Error = Stop;

    numbers!(
        deserialize_u8 visit_u8 byte,
        deserialize_u16 visit_u16 unsigned,
        deserialize_u32 visit_u32 unsigned,
        deserialize_u64 visit_u64 unsigned,
        deserialize_i16 visit_i16 zigzagged,
        deserialize_i32 visit_i32 zigzagged,
        deserialize_i64 visit_i64 zigzagged,
    );
    unsupported!(
        deserialize_any,
        deserialize_f32,
        deserialize_f64,
        deserialize_char,
        deserialize_map,
        deserialize_identifier,
        deserialize_ignored_any,
        deserialize_bytes,
        deserialize_byte_buf,
        deserialize_unit,
    );

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let (owner, leaf, name) = (self.owner, self.leaf().to_owned(), self.name());
        let byte = self.u8("", |byte| meaning::of(owner, &leaf, i128::from(byte.cast_signed())));
        visitor.visit_i8(byte.map_err(|stop| stop.at(&name))?.cast_signed())
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let name = self.name();
        match self.u8("", |byte| (byte != 0).to_string()).map_err(|stop| stop.at(&name))? {
            0 => visitor.visit_bool(false),
            1 => visitor.visit_bool(true),
            other => Err(Stop(format!("{name}: {other} is neither 0 nor 1"))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let name = self.name();
        let describe = |byte| if byte == 0 { "absent".to_owned() } else { "present".to_owned() };
        match self.u8("", describe).map_err(|stop| stop.at(&name))? {
            0 => visitor.visit_none(),
            1 => visitor.visit_some(self),
            other => Err(Stop(format!("{name}: option tag {other} is neither 0 nor 1"))),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let length = self.varint("length", |length| length.to_string())?;
        let name = self.name();
        let bytes = usize::try_from(length).ok().and_then(|length| self.rest().get(..length));
        let bytes = bytes.ok_or_else(|| end_of(&name))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Stop(format!("{name}: not UTF-8")))?;
        self.note(bytes.len(), "text", format!("{text:?}"));
        visitor.visit_borrowed_str(text)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        let count = self.varint("count", |count| count.to_string())?;
        // A corrupt count ends at the end of the bytes, item by item; nothing is allocated for it.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        visitor.visit_seq(Items { annotator: self, names: &[], next: 0, count })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Stop> {
        let first_part = self.parts.len();
        let value = visitor.visit_seq(Items { annotator: &mut *self, names: &[], next: 0, count })?;
        self.collapse(first_part, count);
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        count: usize,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.deserialize_tuple(count, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let outer = std::mem::replace(&mut self.owner, name);
        let value =
            visitor.visit_seq(Items { annotator: &mut *self, names: fields, next: 0, count: fields.len() });
        self.owner = outer;
        value
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        let known = |index: u64| usize::try_from(index).ok().and_then(|index| variants.get(index)).copied();
        let index = self.varint("", |index| known(index).unwrap_or("unknown").to_owned())?;
        visitor.visit_enum(Variant { annotator: self, index: fits(index)? })
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Items<'n, 'a> {
    annotator: &'n mut Annotator<'a>,
    names: &'static [&'static str],
    next: usize,
    count: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, 'de> {
    type Error = Stop;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Stop> {
        if self.next == self.count {
            return Ok(None);
        }
        let name =
            self.names.get(self.next).map_or_else(|| format!("[{}]", self.next), |name| (*name).to_owned());
        self.next += 1;
        self.annotator.under(&name, |annotator| seed.deserialize(annotator)).map(Some)
    }
}

struct Variant<'n, 'a> {
    annotator: &'n mut Annotator<'a>,
    index: u32,
}

impl<'n, 'de> EnumAccess<'de> for Variant<'n, 'de> {
    type Error = Stop;
    type Variant = &'n mut Annotator<'de>;

    fn variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<(T::Value, Self::Variant), Stop> {
        let value = seed.deserialize(self.index.into_deserializer())?;
        Ok((value, self.annotator))
    }
}

impl<'de> VariantAccess<'de> for &mut Annotator<'de> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Stop> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, count: usize, visitor: V) -> Result<V::Value, Stop> {
        de::Deserializer::deserialize_tuple(self, count, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        de::Deserializer::deserialize_struct(self, "", fields, visitor)
    }
}
