//! Fingerprints of components and of sets of policies.

use std::{fmt, str::FromStr};

use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

/// What is no digest.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct NotADigest;

impl Digest {
    /// What stands for the digest of nothing.
    pub const ZERO: Self = Self([0; 32]);

    /// That of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Its first 12 digits: enough to tell apart what one machine ever had.
    pub fn short(&self) -> String {
        self.0[..6].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = NotADigest;

    fn from_str(text: &str) -> Result<Self, NotADigest> {
        let mut bytes = [0; 32];
        let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
        let digits = digits.filter(|digits| digits.len() == 2 * bytes.len()).ok_or(NotADigest)?;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = pair[0] << 4 | pair[1];
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn what_is_shown_is_read() {
        let digest = Digest::of(b"abc");
        let shown = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((digest.to_string().as_str(), digest.short().as_str()), (shown, "ba7816bf8f01"));
        assert_eq!(shown.parse(), Ok(digest));
        assert_eq!(shown.to_uppercase().parse(), Ok(digest));
    }

    #[rstest]
    #[case::empty("")]
    #[case::short("ba7816bf")]
    #[case::long(&"0".repeat(66))]
    #[case::sign(&format!("+{}", "0".repeat(63)))]
    #[case::letter(&"g".repeat(64))]
    #[case::wide(&"é".repeat(32))]
    fn what_is_none_is_refused(#[case] text: &str) {
        assert_eq!(text.parse::<Digest>(), Err(NotADigest));
    }
}
