//! Passwords: what is accepted as one, and its Argon2id hash.
//!
//! **A password is never kept, logged or shown again**: what is kept is a salted hash that costs [`MEMORY_KIB`] and
//! [`PASSES`] to compute, and so to guess.

use std::fmt;

use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::rand;

/// Memory of one hash, in KiB: 19 MiB, the least that the OWASP Password Storage Cheat Sheet names for two passes.
pub const MEMORY_KIB: u32 = 19 * 1024;
/// Passes over that memory.
pub const PASSES: u32 = 2;
/// Lanes: one, so that one login takes one core.
pub const LANES: u32 = 1;
/// Shortest password, in characters: the National Cyber Security Centre's three random words have more.
pub const CHARS_MIN: usize = 12;
/// Longest password in bytes: what is hashed is bounded before it is hashed.
pub const BYTES_MAX: usize = 256;

const SALT_BYTES: usize = 16;
/// 32 letters and digits that nobody takes for another: five bits each.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
/// 4 groups of 5: 100 bits.
const GROUPS: usize = 4;
const GROUP_CHARS: usize = 5;

/// Somebody's password, as typed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

/// The hash of a password, as a PHC string: algorithm, parameters, salt, hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Hashed(String);

/// Why a text is no password, or could not be made one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short.
    #[error("a password has at least {CHARS_MIN} characters: three random words will do")]
    Short,
    /// Too long.
    #[error("a password has at most {BYTES_MAX} bytes")]
    Long,
    /// It can be guessed without effort.
    #[error("this password is the name, or one character again and again: choose three random words")]
    Weak,
    /// The operating system gave no random bytes, or no memory.
    #[error("the password cannot be hashed now: try again")]
    Failed,
}

impl Password {
    /// What somebody typed to log in: anything that is not too long to be hashed.
    ///
    /// # Errors
    /// [`PasswordError::Long`].
    pub fn typed(text: String) -> Result<Self, PasswordError> {
        if text.len() > BYTES_MAX { Err(PasswordError::Long) } else { Ok(Self(text)) }
    }

    /// What somebody typed, or what nobody has if that is too long: it is wrong, at the cost of any other.
    #[must_use]
    pub fn typed_or_nobodys(text: String) -> Self {
        Self::typed(text).unwrap_or_else(|_| Self(String::new()))
    }

    /// A new password of `name`.
    ///
    /// # Errors
    /// Too short, too long, too weak.
    pub fn chosen(text: String, name: &str) -> Result<Self, PasswordError> {
        let password = Self::typed(text)?;
        let text = &password.0;
        if text.chars().count() < CHARS_MIN {
            return Err(PasswordError::Short);
        }
        let first = text.chars().next();
        let is_one_char = text.chars().all(|char| Some(char) == first);
        if is_one_char
            || text.to_lowercase().replace(&name.to_lowercase(), "").chars().count() < CHARS_MIN / 2
        {
            return Err(PasswordError::Weak);
        }
        Ok(password)
    }

    /// A random one of 100 bits, to be shown once.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub fn random() -> Result<Self, PasswordError> {
        let mut bytes = [0_u8; GROUPS * GROUP_CHARS];
        rand::fill(&mut bytes).map_err(|_| PasswordError::Failed)?;
        // 256 is a multiple of 32: every letter is as likely.
        let chars: Vec<char> =
            bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect();
        let groups: Vec<String> = chars.chunks(GROUP_CHARS).map(|group| group.iter().collect()).collect();
        Ok(Self(groups.join("-")))
    }

    /// The text, for the one place that shows it to its owner.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Its hash under a new salt. About 15 ms of a core and 19 MiB: never on a runtime thread.
    ///
    /// # Errors
    /// [`PasswordError::Failed`].
    pub fn hash(&self) -> Result<Hashed, PasswordError> {
        let mut salt = [0_u8; SALT_BYTES];
        rand::fill(&mut salt).map_err(|_| PasswordError::Failed)?;
        let salt = SaltString::encode_b64(&salt).map_err(|_| PasswordError::Failed)?;
        let hash = argon2id().hash_password(self.0.as_bytes(), &salt).map_err(|_| PasswordError::Failed)?;
        Ok(Hashed(hash.to_string()))
    }
}

impl Hashed {
    /// A hash out of a file.
    ///
    /// # Errors
    /// [`PasswordError::Failed`]: it is not an Argon2id hash, or one that costs more than ours.
    pub fn parse(text: &str) -> Result<Self, PasswordError> {
        let hash = PasswordHash::new(text).map_err(|_| PasswordError::Failed)?;
        let params = Params::try_from(&hash).map_err(|_| PasswordError::Failed)?;
        // A file must not make a login cost gigabytes.
        let is_ours = hash.algorithm == argon2::ARGON2ID_IDENT
            && hash.hash.is_some()
            && params.m_cost() <= MEMORY_KIB
            && params.t_cost() <= PASSES
            && params.p_cost() <= LANES;
        if is_ours { Ok(Self(text.to_owned())) } else { Err(PasswordError::Failed) }
    }

    /// The PHC string.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the hash of `password`; compared in constant time. Costs what [`Password::hash`] does.
    #[must_use]
    pub fn is_of(&self, password: &Password) -> bool {
        let parsed = PasswordHash::new(&self.0);
        parsed.is_ok_and(|hash| argon2id().verify_password(password.0.as_bytes(), &hash).is_ok())
    }
}

fn argon2id() -> Argon2<'static> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("constants within Argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

impl fmt::Debug for Hashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashed(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(text: &str) -> Password {
        Password::typed(text.to_owned()).unwrap()
    }

    #[test]
    fn a_hash_is_of_its_password_only_and_says_what_it_cost() {
        let hashed = typed("correct horse battery").hash().unwrap();
        assert!(hashed.as_str().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "OWASP's parameters");
        assert!(hashed.is_of(&typed("correct horse battery")));
        assert!(!hashed.is_of(&typed("correct horse batterz")) && !hashed.is_of(&typed("")));
        assert_ne!(typed("same").hash().unwrap(), typed("same").hash().unwrap(), "each under its own salt");
        assert_eq!(Hashed::parse(hashed.as_str()), Ok(hashed));
    }

    #[test]
    fn a_hash_from_a_file_is_ours_or_refused() {
        let good = typed("x").hash().unwrap();
        for bad in [
            String::new(),
            "hunter2".to_owned(),
            good.as_str().replace("argon2id", "argon2i"),
            good.as_str().replace("m=19456", "m=1945600"),
            good.as_str().replace("t=2", "t=2000"),
            good.as_str().rsplit_once('$').unwrap().0.to_owned(),
        ] {
            assert!(Hashed::parse(&bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_chosen_password_is_long_and_not_the_name() {
        let chosen = |text: &str| Password::chosen(text.to_owned(), "anna.smith").map(|_| ());
        assert_eq!(chosen("otter violin cloud"), Ok(()));
        assert_eq!(chosen("short"), Err(PasswordError::Short));
        assert_eq!(chosen(&"x".repeat(300)), Err(PasswordError::Long));
        for weak in ["aaaaaaaaaaaaaaa", "anna.smithAnna.Smith", "anna.smith123"] {
            assert_eq!(chosen(weak), Err(PasswordError::Weak), "{weak}");
        }
    }

    #[test]
    fn a_random_password_is_no_default_and_prints_nothing_of_itself() {
        let (one, other) = (Password::random().unwrap(), Password::random().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.reveal().len(), 23, "4 groups of 5");
        assert!(Password::chosen(one.reveal().to_owned(), "anna").is_ok());
        assert!(!format!("{one:?}").contains(one.reveal()));
        assert!(!format!("{:?}", one.hash().unwrap()).contains("argon2"));
    }
}
