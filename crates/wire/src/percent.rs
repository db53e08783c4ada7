//! Percent-encoding as RFC 3986 and HTML forms have it.

use std::borrow::Cow;

/// Decodes `%XX`, and with `plus` also `+` as a space. What is no valid escape stays; what is not UTF-8 becomes U+FFFD.
pub(crate) fn decode(text: &str, plus: bool) -> Cow<'_, str> {
    if !text.bytes().any(|byte| byte == b'%' || (plus && byte == b'+')) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(&decode_bytes(text, plus)).into_owned())
}

/// As [`decode`], without a demand on the bytes that come out.
pub(crate) fn decode_bytes(text: &str, plus: bool) -> Vec<u8> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let digit = |offset: usize| bytes.get(index + offset).and_then(|byte| (*byte as char).to_digit(16));
        match (bytes[index], digit(1), digit(2)) {
            (b'%', Some(high), Some(low)) => {
                out.push((high * 16 + low) as u8);
                index += 3;
            }
            (b'+', ..) if plus => {
                out.push(b' ');
                index += 1;
            }
            (byte, ..) => {
                out.push(byte);
                index += 1;
            }
        }
    }
    out
}

/// Encodes all but unreserved characters and those in `keep`, with upper-case digits.
pub(crate) fn encode_into(out: &mut Vec<u8>, bytes: &[u8], keep: u8) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for &byte in bytes {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') || byte == keep {
            out.push(byte);
        } else {
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
}

/// The decoded pairs of a form or of a query. A name without `=` has an empty value.
pub(crate) fn form_pairs(text: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    raw_pairs(text).map(|(name, value)| (decode(name, true), decode(value, true))).collect()
}

/// The pairs as they stand.
pub(crate) fn raw_pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_what_is_valid_and_keeps_the_rest() {
        assert_eq!(decode("arn%3Aaws%3alambda", false), "arn:aws:lambda");
        assert_eq!(decode("a+b%2", true), "a b%2");
        assert_eq!(decode("a+b%zz%", false), "a+b%zz%");
        assert_eq!(decode("%ff", false), "\u{fffd}");
    }

    #[test]
    fn reads_pairs() {
        let pairs = form_pairs("Action=Get%20it&&flag&x=1=2");
        let expected = [("Action", "Get it"), ("flag", ""), ("x", "1=2")];
        assert_eq!(pairs, expected.map(|(n, v)| (Cow::from(n), Cow::from(v))));
    }
}
