//! New ids and secrets, from the randomness that is passed in.
//!
//! Each letter is equally likely: bytes that would favour some are thrown away. Ids have the form of
//! AWS's: twenty or twenty-one capital letters and digits, of which the first four say what it is.

use crate::base::limits::{ACCESS_KEY_BYTES_NEW, SECRET_KEY_BYTES_NEW};

/// Where random bytes come from.
pub type Fill<'a> = &'a mut dyn FnMut(&mut [u8]);

const CAPITALS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const MIXED: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const DIGITS: &[u8] = b"0123456789";
/// `AIDA` and 17 more.
const USER_ID_BYTES: usize = 21;

pub fn access_key(fill: Fill<'_>) -> String {
    format!("AKIA{}", text(fill, CAPITALS, ACCESS_KEY_BYTES_NEW - 4))
}

pub fn secret_key(fill: Fill<'_>) -> String {
    text(fill, MIXED, SECRET_KEY_BYTES_NEW)
}

pub fn user_id(fill: Fill<'_>) -> String {
    format!("AIDA{}", text(fill, CAPITALS, USER_ID_BYTES - 4))
}

/// Twelve digits, the first not zero.
pub fn account_id(fill: Fill<'_>) -> String {
    let first = text(fill, b"123456789", 1);
    first + &text(fill, DIGITS, 11)
}

/// 64 hexadecimal digits.
pub fn canonical_id(fill: Fill<'_>) -> String {
    let mut bytes = [0; 32];
    fill(&mut bytes);
    hex::encode(bytes)
}

/// `length` letters, each equally likely.
pub fn text(fill: Fill<'_>, letters: &[u8], length: usize) -> String {
    assert!((2..=128).contains(&letters.len()), "the rejection below needs a small alphabet");
    let fair = 256 - 256 % letters.len();
    let mut text = String::with_capacity(length);
    let mut bytes = [0u8; 64];
    while text.len() < length {
        fill(&mut bytes);
        let kept = bytes.iter().map(|byte| usize::from(*byte)).filter(|byte| *byte < fair);
        text.extend(kept.take(length - text.len()).map(|byte| char::from(letters[byte % letters.len()])));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::policy::is_account_id;

    #[test]
    fn ids_have_their_forms() {
        let mut next = 0u8;
        let mut fill = |bytes: &mut [u8]| {
            bytes.fill_with(|| {
                next = next.wrapping_mul(5).wrapping_add(37);
                next
            });
        };
        assert_eq!(access_key(&mut fill).len(), ACCESS_KEY_BYTES_NEW);
        assert_eq!(secret_key(&mut fill).len(), SECRET_KEY_BYTES_NEW);
        assert!(user_id(&mut fill).starts_with("AIDA") && user_id(&mut fill).len() == USER_ID_BYTES);
        assert!(is_account_id(&account_id(&mut fill)));
        assert_ne!(canonical_id(&mut fill), canonical_id(&mut fill));
    }
}
