//! Writes JSON objects straight into a buffer: numbers from integers, so nothing is ever rounded by a float.

use std::fmt::{self, Display, Write as _};

use bytes::{BufMut as _, BytesMut};

/// An open JSON object. Keys are ours and plain; values are escaped where they need it. Finish with [`Object::close`].
pub(super) struct Object<'o> {
    out: &'o mut BytesMut,
    is_empty: bool,
}

impl<'o> Object<'o> {
    pub(super) fn open(out: &'o mut BytesMut) -> Self {
        out.put_u8(b'{');
        Self { out, is_empty: true }
    }

    pub(super) fn close(self) {
        self.out.put_u8(b'}');
    }

    fn key(&mut self, key: &str) {
        if !self.is_empty {
            self.out.put_u8(b',');
        }
        self.is_empty = false;
        self.out.put_u8(b'"');
        self.out.put_slice(key.as_bytes());
        self.out.put_slice(b"\":");
    }

    fn put(&mut self, value: fmt::Arguments<'_>) {
        self.out.write_fmt(value).expect("writing into a growing buffer cannot fail");
    }

    /// A string.
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        if value.bytes().all(|b| b >= 0x20 && b != b'"' && b != b'\\') {
            self.out.put_u8(b'"');
            self.out.put_slice(value.as_bytes());
            self.out.put_u8(b'"');
        } else {
            let escaped = serde_json::to_string(value).expect("a string is always JSON");
            self.out.put_slice(escaped.as_bytes());
        }
    }

    /// A string made of identities and numbers only: nothing in it needs escaping.
    pub(super) fn display(&mut self, key: &str, value: fmt::Arguments<'_>) {
        self.key(key);
        self.put(format_args!("\"{value}\""));
    }

    /// An integer.
    pub(super) fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        self.put(format_args!("{value}"));
    }

    pub(super) fn boolean(&mut self, key: &str, value: bool) {
        self.key(key);
        self.put(format_args!("{value}"));
    }

    /// `value / 10^decimals` with exactly that many decimals.
    pub(super) fn fixed(&mut self, key: &str, value: i64, decimals: u32) {
        self.key(key);
        let scale = 10_u64.pow(decimals);
        let sign = if value < 0 { "-" } else { "" };
        let magnitude = value.unsigned_abs();
        let width = decimals as usize;
        self.put(format_args!("{sign}{}.{:0width$}", magnitude / scale, magnitude % scale));
    }

    /// Unix time in ms as RFC 3339 in UTC with three decimals; times after the year 9999 become its last instant.
    pub(super) fn time(&mut self, key: &str, unix_ms: u64) {
        let time = i64::try_from(unix_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
        self.key(key);
        self.put(format_args!("\"{:.3}\"", time.unwrap_or(jiff::Timestamp::MAX)));
    }

    /// A value that is JSON already.
    pub(super) fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.out.put_slice(json);
    }

    /// Members that are JSON already, commas between them; possibly none.
    pub(super) fn members(&mut self, json: &[u8]) {
        if json.is_empty() {
            return;
        }
        if !self.is_empty {
            self.out.put_u8(b',');
        }
        self.is_empty = false;
        self.out.put_slice(json);
    }

    /// A nested object; close it before the outer one is written again.
    pub(super) fn object(&mut self, key: &str) -> Object<'_> {
        self.key(key);
        Object::open(self.out)
    }

    /// An array of objects, each written by `write`.
    pub(super) fn objects<T>(
        &mut self,
        key: &str,
        items: impl Iterator<Item = T>,
        mut write: impl FnMut(&mut Object<'_>, T),
    ) {
        self.key(key);
        self.out.put_u8(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.put_u8(b',');
            }
            let mut object = Object::open(self.out);
            write(&mut object, item);
            object.close();
        }
        self.out.put_u8(b']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = BytesMut::new();
        let mut object = Object::open(&mut out);
        write(&mut object);
        object.close();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn fixed_point_keeps_every_digit_and_the_sign_of_small_numbers() {
        let text = written(|object| {
            object.fixed("a", -1, 6);
            object.fixed("b", 51_500_000, 6);
            object.fixed("c", -179_999_999, 6);
            object.fixed("d", 7, 2);
        });
        assert_eq!(text, r#"{"a":-0.000001,"b":51.500000,"c":-179.999999,"d":0.07}"#);
    }

    #[test]
    fn times_are_rfc_3339_with_milliseconds_and_never_fail() {
        let text = written(|object| {
            object.time("a", 1_790_000_000_005);
            object.time("b", u64::MAX);
        });
        assert!(text.starts_with(r#"{"a":"2026-09-21T14:13:20.005Z","b":"9999-12-30T"#), "{text}");
    }

    #[test]
    fn text_is_escaped_only_where_it_must_be() {
        assert_eq!(written(|object| object.text("a", "b\"\n")), r#"{"a":"b\"\n"}"#);
    }
}
