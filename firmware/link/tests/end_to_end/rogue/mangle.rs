//! Turns a good flight into a bad one that is sealed well: what a stranger can say who knows TLS and holds no key.

/// A seeded source of damage.
pub(crate) struct Mangler(u64);

impl Mangler {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    /// xorshift64*.
    pub(crate) fn draw(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let drawn = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(drawn).expect("31 bits") % below.max(1)
    }

    fn byte(&mut self) -> u8 {
        let any = u8::try_from(self.draw(256)).expect("a byte");
        [0, 1, 0x7F, 0x80, 0xFF, any, any, any][self.draw(8)]
    }

    /// What becomes of a handshake message: usually one, sometimes none or two.
    pub(crate) fn message(&mut self, message: &[u8]) -> Vec<Vec<u8>> {
        let mut mangled = message.to_vec();
        for _ in 0..self.draw(3) {
            let at = self.draw(mangled.len());
            match self.draw(10) {
                0 => mangled.truncate(at),
                1 => return Vec::new(),
                2 => return vec![mangled.clone(), mangled],
                3 => mangled.insert(at, self.byte()),
                4 => {
                    let run = vec![self.byte(); self.draw(1500)];
                    mangled.splice(at..at, run);
                }
                // A length that is true again, so that what is inside is looked at.
                5 => restate_length(&mut mangled),
                _ if mangled.is_empty() => {}
                _ => mangled[at] = self.byte(),
            }
        }
        if self.draw(2) == 0 {
            restate_length(&mut mangled);
        }
        vec![mangled]
    }

    /// Bytes of any kind, as long as a record may be or a little longer than the device's buffer.
    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let len = [1, 4, 40, 400, 2500][self.draw(5)];
        (0..=self.draw(len)).map(|_| self.byte()).collect()
    }

    /// How a message is cut into records.
    pub(crate) fn pieces<'m>(&mut self, message: &'m [u8]) -> Vec<&'m [u8]> {
        let (mut rest, mut pieces) = (message, Vec::new());
        while !rest.is_empty() {
            let whole = rest.len();
            let len = if self.draw(4) == 0 { 1 + self.draw(whole) } else { whole };
            let (piece, after) = rest.split_at(len.min(2000));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

fn restate_length(message: &mut [u8]) {
    if let Some(body_len) = message.len().checked_sub(4) {
        let length = u32::try_from(body_len).expect("short").to_be_bytes();
        message[1..4].copy_from_slice(&length[1..]);
    }
}
