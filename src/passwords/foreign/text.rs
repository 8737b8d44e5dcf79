//! What the parsers share: fields, numbers and base64, each of bounded length.

use std::ops::RangeInclusive;

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};

use super::RefusedHash;

/// The maximum length of a stored hash, in bytes. The longest form is that of Kratos for Firebase, with two keys in it.
pub(super) const MAX_TEXT: usize = 1024;

const SALT_BYTES: RangeInclusive<u64> = 1..=256;
/// Fewer bytes would let too many passwords in, and more only cost time.
const HASH_BYTES: RangeInclusive<u64> = 16..=128;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Splits a text at each `$` into `N` fields.
pub(super) fn fields<const N: usize>(text: &str) -> Option<[&str; N]> {
    text.split('$').collect::<Vec<_>>().try_into().ok()
}

/// Parses digits without a sign. A number that is too large for a `u64` becomes the largest one, which no bound allows.
pub(super) fn number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u64::MAX))
}

/// Parses `a=1,b=2`: each of the names once, in any order, and no other.
pub(super) fn parameters<const N: usize>(text: &str, names: [&str; N]) -> Option<[u64; N]> {
    let mut found = [None; N];
    for pair in text.split(',') {
        let (name, value) = pair.split_once('=')?;
        let place = found.get_mut(names.iter().position(|known| *known == name)?)?;
        if place.replace(number(value)?).is_some() {
            return None;
        }
    }
    let mut values = [0; N];
    for (value, found) in values.iter_mut().zip(found) {
        *value = found?;
    }
    Some(values)
}

/// Checks a parameter against its bounds.
pub(super) fn bounded(what: &'static str, value: u64, bounds: RangeInclusive<u64>) -> Result<u32, RefusedHash> {
    let (least, most) = bounds.into_inner();
    let within = u32::try_from(value).ok().filter(|_| (least..=most).contains(&value));
    within.ok_or(RefusedHash::OutOfBounds { what, least, most })
}

/// Checks the lengths of salt and hash.
pub(super) fn check_lengths(salt: &[u8], hash: &[u8]) -> Result<(), RefusedHash> {
    bounded("the length of the salt in bytes", salt.len() as u64, SALT_BYTES)?;
    bounded("the length of the hash in bytes", hash.len() as u64, HASH_BYTES)?;
    Ok(())
}

/// Decodes base64 with or without padding. passlib and LDAP write `.` for `+`, and some exports use the alphabet for URLs.
pub(super) fn base64(text: &str) -> Option<Vec<u8>> {
    let standard: String = text
        .chars()
        .map(|c| match c {
            '.' | '-' => '+',
            '_' => '/',
            other => other,
        })
        .collect();
    BASE64.decode(standard).ok()
}

/// Decodes hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    text.as_bytes().chunks(2).map(byte).collect()
}
