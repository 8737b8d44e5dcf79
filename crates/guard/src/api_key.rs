//! The format of API keys: `grk_`, 256 random bits in base62, and a checksum.

/// The prefix, by which an API key is told from a token.
const PREFIX: &str = "grk_";

/// Returns whether a credential is meant as an API key.
pub(crate) fn is_api_key(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

/// Returns whether an API key has the right length, characters and checksum. A typo is refused without a request to the
/// issuer. Not in constant time: anybody can compute a checksum.
#[cfg(feature = "issuer")]
pub(crate) fn is_well_formed(key: &str) -> bool {
    /// 43 digits for 256 bits, and the checksum.
    const DIGITS: usize = 43 + CHECKSUM_LEN;
    let Some(digits) = key.strip_prefix(PREFIX) else { return false };
    if digits.len() != DIGITS || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return false;
    }
    let (body, sum) = key.split_at(key.len() - CHECKSUM_LEN);
    checksum(body).as_slice() == sum.as_bytes()
}

#[cfg(feature = "issuer")]
const CHECKSUM_LEN: usize = 6;

/// Returns the CRC-32 of a text in base62, padded with zeros.
#[cfg(feature = "issuer")]
fn checksum(text: &str) -> [u8; CHECKSUM_LEN] {
    const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut rest = crc32fast::hash(text.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    digits
}

/// Returns a well-formed key whose body ends with this number.
#[cfg(all(test, feature = "issuer"))]
pub(crate) fn key(number: u32) -> String {
    let body = format!("{PREFIX}{number:0>43}");
    let sum = checksum(&body).map(char::from);
    body + &String::from_iter(sum)
}

#[cfg(all(test, feature = "issuer"))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_typo_is_found() {
        let good = key(1);
        assert!(is_well_formed(&good));
        // Computed with Python's zlib.crc32.
        assert_eq!(&good[47..], "010MGj");
        for at in 4..good.len() {
            let mut wrong = good.clone();
            wrong.replace_range(at..=at, if &good[at..=at] == "x" { "y" } else { "x" });
            assert!(!is_well_formed(&wrong), "{wrong}");
        }
        for wrong in ["", "grk_", &good[..52], &good[1..], &format!("{good}0"), &good.replace("grk", "grs")] {
            assert!(!is_well_formed(wrong), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_checked(text in "(grk_)?\\PC{0,60}") {
            prop_assert!(!is_well_formed(&text) || text.len() == 53);
        }
    }
}
